"""The savings in trials: known ratios, stopped trials, clustered seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reports.arm import arm_of
from reports.effective import effective_counts
from reports.proportions import exact_interval, melded_equal_success, ratio_interval
from reports.savings import share_interval, trial_savings, trials_ratio
from tests.reports.made_tables import DYNAMIC, PERIODIC, hits, made


def arm(space, scores, **columns):
    return arm_of(made(space, list(scores), **columns), space)


def savings(dynamic, periodic, target=0.5, own=False):
    return trial_savings(dynamic, periodic, target, own, 0.95, 0)


@pytest.mark.parametrize("target", [0.25, 0.5, 0.9])
def test_of_uniform_and_quadratic_scores_the_ratio_is_the_closed_form(target):
    """Periodic U(0, 1): s = 1 − y. Dynamic √U, the best of two: s = 1 − y², so R = 1 + y, and the
    equal-success ratio is 2 at every y. A grid of 1,000 scores has s to half a step.
    """
    grid = (np.arange(1000) + 0.5) / 1000
    found = savings(arm(DYNAMIC, np.sqrt(grid)), arm(PERIODIC, grid), target)
    half = 0.5 / 1000
    assert found.trials.ratio == pytest.approx(1 + target, rel=2 * half / (1 - target))
    # d ln(1 − s) is half a step over 1 − s, which is y and y².
    relative = half * (1 / target + 1 / (2 * target**2)) / -math.log(target)
    assert found.equal_success.ratio == pytest.approx(2, rel=relative)
    assert found.trials.low < 1 + target < found.trials.high
    assert found.equal_success.low < 2 < found.equal_success.high


def test_padding_the_space_with_useless_values_doubles_the_ratio():
    dynamic = arm_of(hits(DYNAMIC, 10, 20), DYNAMIC)
    before = savings(dynamic, arm_of(hits(PERIODIC, 20, 100), PERIODIC))
    after = savings(dynamic, arm_of(hits(PERIODIC, 20, 200), PERIODIC))
    assert after.trials.ratio == 2 * before.trials.ratio


def test_independent_trials_have_the_score_interval():
    found = savings(arm_of(hits(DYNAMIC, 8, 20), DYNAMIC), arm_of(hits(PERIODIC, 12, 99), PERIODIC))
    assert found.trials[1:3] == ratio_interval(8, 20, 12, 99, 0.95)
    assert found.trials.method == "Miettinen–Nurminen score interval"


def test_stopped_trials_give_the_interval_around_both_ends():
    """Periodic: 10 of 50 matched, 15 stopped; dynamic: 8 of 20, none stopped."""
    states = ["completed"] * 10 + ["pruned"] * 15 + ["completed"] * 25
    periodic = arm(PERIODIC, [0.6] * 10 + [0.3] * 40, state=states)
    found = savings(arm_of(hits(DYNAMIC, 8, 20), DYNAMIC), periodic).trials
    assert found.low == ratio_interval(8, 20, 25, 50, 0.95).low
    assert found.high == ratio_interval(8, 20, 10, 50, 0.95).high
    assert found.ratio == pytest.approx(0.4 / 0.5)  # the end that favours dynamic least
    assert "both ends" in found.method


def test_stopped_trials_that_had_matched_change_nothing():
    plain = savings(arm_of(hits(DYNAMIC, 8, 20), DYNAMIC), arm_of(hits(PERIODIC, 5, 30), PERIODIC))
    states = ["pruned"] * 5 + ["completed"] * 25
    stopped = arm_of(hits(PERIODIC, 5, 30, state=states), PERIODIC)
    assert savings(arm_of(hits(DYNAMIC, 8, 20), DYNAMIC), stopped) == plain


def clustered(space, per_seed, trials):
    """Return an arm in which seed i has `per_seed[i]` matches among so many trials."""
    scores = [0.6 if j < count else 0.4 for count in per_seed for j in range(trials)]
    seeds = [i for i, _ in enumerate(per_seed) for _ in range(trials)]
    return arm(space, scores, seed=seeds)


def test_clustered_trials_have_wider_limits_than_independent_ones_of_the_same_counts():
    per_seed = [0, 1, 9, 10, 5, 2, 8, 10, 0, 5]
    wide = savings(arm_of(hits(DYNAMIC, 10, 20), DYNAMIC), clustered(PERIODIC, per_seed, 10)).trials
    narrow = savings(
        arm_of(hits(DYNAMIC, 10, 20), DYNAMIC), arm_of(hits(PERIODIC, 50, 100), PERIODIC)
    ).trials
    assert wide.ratio == narrow.ratio == 1
    assert wide.method == (
        "Miettinen–Nurminen score interval; effective trials, as seeds are shared (Korn–Graubard)"
    )
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("per_seed", [[0, 0, 0], [10, 10, 10], [5, 5, 5], [1, 0, 9]])
def test_limits_of_clustered_trials_are_those_of_effective_counts(per_seed):
    one = clustered(PERIODIC, per_seed, 10)
    counts = effective_counts(one, one.hits(0.5), 0.95)
    assert counts.trials < 10
    assert share_interval(one, one.hits(0.5), 0.95) == exact_interval(*counts, 0.95)
    dynamic = arm_of(hits(DYNAMIC, 5, 10), DYNAMIC)
    found = savings(dynamic, one)
    assert found.trials[1:3] == ratio_interval(5, 10, *counts, 0.95)
    assert found.equal_success[1:3] == melded_equal_success(5, 10, *counts, 0.95)


def test_one_seed_says_nothing_about_others():
    one = clustered(PERIODIC, [5], 10)
    assert share_interval(one, one.hits(0.5), 0.95) == exact_interval(0.5, 1, 0.95)
    found = savings(arm_of(hits(DYNAMIC, 5, 10), DYNAMIC), one).trials
    assert (found.low, found.high) == (0, math.inf)


def test_without_a_target_or_trials_nothing_is_known():
    some, none = arm_of(hits(DYNAMIC, 5, 10), DYNAMIC), arm(PERIODIC, [])
    for found in (savings(some, some, None), savings(some, none), savings(none, some)):
        assert found.trials[:3] == found.equal_success[:3] == (None, 0, math.inf)


@pytest.mark.parametrize("own", [False, True])
def test_the_ratio_of_trials_alone_is_the_one_of_both(own):
    dynamic, stopped = arm_of(hits(DYNAMIC, 8, 20), DYNAMIC), ["pruned"] * 15 + ["completed"] * 35
    for periodic in (
        arm_of(hits(PERIODIC, 20, 100), PERIODIC),
        arm(PERIODIC, [0.3] * 40 + [0.6] * 10, state=stopped),
        clustered(PERIODIC, [0, 1, 9, 10, 5], 10),
        clustered(PERIODIC, [5, 5, 5], 10),
        arm(PERIODIC, []),
    ):
        both = savings(dynamic, periodic, 0.5, own)
        assert trials_ratio(dynamic, periodic, 0.5, own, 0.95, 0) == both.trials
