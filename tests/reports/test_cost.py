"""Cost per match and its ratio: closed forms, and every case in which a match is missing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.arm import arm_of
from reports.cost import arms_cost_ratio, cost_per_match, cost_ratio
from reports.proportions import exact_interval, ratio_interval
from reports.savings import arms_ratio_interval, share_interval
from tests.reports.made_tables import DYNAMIC, PERIODIC, hits, made


def arm(space, matched, count, **columns):
    return arm_of(hits(space, matched, count, **columns), space)


def per_match(one, column="epochs"):
    return cost_per_match(one, one.hits(0.5), one.cost(column), 0.95, 0)


def test_it_charges_every_trial_and_not_the_mean_of_the_completed():
    """Two matches at 10 epochs, a crash at 4 and a pruned one at 2: 26 epochs for 2 matches."""
    states = ["completed", "completed", "crashed", "pruned"]
    one = arm_of(
        made(PERIODIC, [0.6, 0.6, 0.3, 0.3], state=states, epochs=[10, 10, 4, 2]), PERIODIC
    )
    assert per_match(one).estimate == 13


def test_with_few_matches_the_limits_are_the_mean_cost_over_the_exact_ones():
    found = per_match(arm(PERIODIC, 2, 20))
    low, high = exact_interval(2, 20, 0.95)
    assert found == pytest.approx((100, 10 / high, 10 / low))


def test_at_equal_costs_the_bootstrap_is_that_of_the_share_of_matches():
    """Oracle: hits of resamples are binomial, so limits are c/s at its quantiles, to one hit."""
    found = per_match(arm(PERIODIC, 20, 50))
    assert found.estimate == 25
    assert found.low == pytest.approx(10 / (27 / 50), rel=1 / 26)  # binom.ppf(0.975, 50, 0.4) = 27
    assert found.high == pytest.approx(10 / (13 / 50), rel=1 / 13)  # binom.ppf(0.025, 50, 0.4) = 13


def test_without_a_match_the_cost_has_a_lower_limit_only():
    found = per_match(arm(PERIODIC, 0, 20))
    assert found.estimate == found.high == math.inf
    assert found.low == pytest.approx(10 / exact_interval(0, 20, 0.95).high)


def test_trials_and_epochs_can_tell_different_stories():
    """Five times as many trials, each at a quarter of the epochs: 1.25 times the epochs."""
    dynamic, periodic = arm(DYNAMIC, 50, 50, epochs=40), arm(PERIODIC, 20, 100, epochs=10)
    assert arms_cost_ratio(dynamic, periodic, 0.5, "epochs", 0.95, 0).ratio == 1.25


def ratio(d, p):
    costs = (d.cost("epochs"), p.cost("epochs"))
    return cost_ratio(d, p, d.hits(0.5), p.hits(0.5), *costs, 0.95, 0)


def test_below_five_matches_it_is_the_score_interval_times_the_ratio_of_mean_costs():
    found = ratio(arm(DYNAMIC, 8, 20, epochs=20), arm(PERIODIC, 4, 100, epochs=10))
    low, high = ratio_interval(8, 20, 4, 100, 0.95)
    assert found[:3] == pytest.approx((10 / 2, low / 2, high / 2))
    assert "fewer than 5" in found.method


def test_from_five_matches_on_it_is_bootstrapped_and_finite():
    found = ratio(arm(DYNAMIC, 10, 20), arm(PERIODIC, 5, 100))
    assert found.method == "percentile bootstrap of the inverse"
    assert 1 < found.low < found.ratio == 10 < found.high


@pytest.mark.parametrize(
    ("d", "p", "expected"),
    [
        ((3, 5), (0, 9), (math.inf, True, math.inf)),
        ((0, 5), (3, 9), (0.0, False, 9.0)),
        ((0, 5), (0, 9), (math.nan, False, math.inf)),
    ],
)
def test_missing_matches_give_one_sided_limits(d, p, expected):
    found = ratio(arm(DYNAMIC, *d), arm(PERIODIC, *p))
    assert found.ratio == expected[0] or (math.isnan(found.ratio) and math.isnan(expected[0]))
    assert (found.low > 0) == expected[1]
    assert math.isinf(found.high) == math.isinf(expected[2])


def test_the_same_trials_on_both_sides_have_a_ratio_of_1_in_the_limits():
    for matched, count in ((0, 3), (2, 9), (9, 9), (12, 40)):
        one = arm(PERIODIC, matched, count, epochs=list(range(1, count + 1)))
        found = ratio(one, one)
        assert found.low <= 1 <= found.high
        assert matched == 0 or found.ratio == 1


def test_with_shared_seeds_five_seeds_must_match_before_costs_are_resampled():
    """Ten matches of one seed are one: the limits are those of the effective hit probability."""
    seeds, epochs = [1 + i // 10 for i in range(100)], [5, 15] * 50
    scores = [0.6 if i < 10 else 0.4 for i in range(100)]
    one = arm_of(made(PERIODIC, scores, seed=seeds, epochs=epochs), PERIODIC)
    share = share_interval(one, one.hits(0.5), 0.95)
    assert per_match(one)[1:] == pytest.approx((10 / share.high, 10 / share.low))
    found = ratio(arm(DYNAMIC, 10, 20), one)
    assert "fewer than 5 seeds with a match" in found.method


def test_with_shared_seeds_a_cost_is_never_surer_than_the_hit_probability():
    seeds, epochs = [1 + i // 2 for i in range(100)], [5, 15] * 50
    for matched in range(0, 100, 7):
        scores = [0.6 if i * 37 % 100 < matched else 0.4 for i in range(100)]
        one = arm_of(made(PERIODIC, scores, seed=seeds, epochs=epochs), PERIODIC)
        share = share_interval(one, one.hits(0.5), 0.95)
        found, other = per_match(one), arm(DYNAMIC, 10, 20)
        assert found.low <= 10 / share.high * (1 + 1e-12)
        assert share.low == 0 or found.high >= 10 / share.low * (1 - 1e-12)
        limits = arms_ratio_interval(other, other.hits(0.5), one, one.hits(0.5), 0.95)
        assert ratio(other, one).low <= limits.low * (1 + 1e-12)
        assert ratio(other, one).high >= limits.high * (1 - 1e-12)


def test_stopped_trials_give_the_ratio_of_costs_around_both_ends():
    """Periodic: 6 of 50 matched, 15 stopped, at unequal costs; dynamic: 8 of 20, none stopped."""
    states = ["completed"] * 6 + ["pruned"] * 15 + ["completed"] * 29
    epochs = [10] * 6 + [2] * 15 + [10] * 29
    p = arm_of(hits(PERIODIC, 6, 50, state=states, epochs=epochs), PERIODIC)
    d = arm(DYNAMIC, 8, 20)
    found = arms_cost_ratio(d, p, 0.5, "epochs", 0.95, 0)
    costs = (d.cost("epochs"), p.cost("epochs"))
    least = cost_ratio(d, p, d.hits(0.5), p.maybe(0.5), *costs, 0.95, 0)
    most = cost_ratio(d, p, d.hits(0.5), p.hits(0.5), *costs, 0.95, 0)
    assert (found.ratio, found.low, found.high) == (least.ratio, least.low, most.high)
    assert found.ratio == pytest.approx((380 / 21) / (200 / 8))  # all that were stopped matched
    assert found.low < found.ratio < most.ratio < found.high
    assert found.method.endswith("around both ends of what stopped trials allow")


def test_clustered_trials_are_resampled_by_seed():
    seeds = [1 + i // 10 for i in range(100)]
    scores = np.where(np.arange(100) < 50, 0.6, 0.4).tolist()  # seeds 1 to 5 match, 6 to 10 do not
    clustered = arm_of(made(PERIODIC, scores, seed=seeds), PERIODIC)
    single = arm_of(made(PERIODIC, scores), PERIODIC)
    wide, narrow = per_match(clustered), per_match(single)
    assert wide.low < narrow.low < 20 < narrow.high < wide.high


def test_slot_seconds_of_different_devices_are_not_compared():
    dynamic, periodic = arm(DYNAMIC, 3, 5, device="A100"), arm(PERIODIC, 3, 5, device="RTX 3090")
    assert arms_cost_ratio(dynamic, periodic, 0.5, "slot_seconds", 0.95, 0) is None
    assert arms_cost_ratio(dynamic, periodic, 0.5, "epochs", 0.95, 0) is not None
    assert arms_cost_ratio(dynamic, periodic, None, "epochs", 0.95, 0) is None
