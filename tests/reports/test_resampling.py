"""The bootstrap resamples seeds, and does not become surer by resampling more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports import resampling
from reports.arm import arm_of
from reports.resampling import bootstrap_interval, seed_totals, seeds_confidence
from tests.reports.made_tables import DYNAMIC, PERIODIC, hits, made


def mean(one, _):
    return one[0] / one[1]


def interval_of(arm, other=None, statistic=mean):
    other = other or arm
    totals = [seed_totals(a, a.hits(0.5), np.ones(a.n)) for a in (arm, other)]
    return bootstrap_interval(arm, other, *totals, statistic, 0.95, 0)


def test_of_independent_trials_the_limits_are_the_binomial_quantiles():
    """Oracle: resampling n trials with h hits draws Binomial(n, h/n)."""
    found = interval_of(arm_of(hits(PERIODIC, 12, 40), PERIODIC))
    for limit, level in zip(found, (0.025, 0.975), strict=True):
        # The simulated level is right to six sigma of 9,999 draws.
        off = 6 * math.sqrt(0.025 * 0.975 / resampling.RESAMPLES)
        below, above = (stats.binom.ppf(level + sign * off, 40, 0.3) / 40 for sign in (-1, 1))
        assert below <= limit <= above


def test_trials_of_one_seed_are_resampled_together():
    """Ten equal trials of each seed are no more than one: limits are those of the four seeds."""
    single = arm_of(made(PERIODIC, [0.6, 0.6, 0.4, 0.4]), PERIODIC)
    tens = made(PERIODIC, [0.6, 0.6, 0.4, 0.4] * 10, seed=[1, 2, 3, 4] * 10)
    assert interval_of(arm_of(tens, PERIODIC)) == interval_of(single)


def test_seeds_that_both_arms_share_are_drawn_once_for_both():
    """With the same hits by seed the difference of the two is 0 in every resample."""
    scores, seeds = [0.6, 0.6, 0.4, 0.6, 0.4, 0.4], [1, 1, 2, 2, 3, 3]
    one = arm_of(made(PERIODIC, scores, seed=seeds), PERIODIC)
    two = arm_of(made(DYNAMIC, scores, seed=seeds), DYNAMIC)
    apart = arm_of(made(DYNAMIC, scores, seed=[7, 7, 8, 8, 9, 9]), DYNAMIC)

    def difference(a, b):
        return a[0] / a[1] - b[0] / b[1]

    assert interval_of(one, two, difference) is None  # no spread at all
    found = interval_of(one, apart, difference)
    assert found.low < 0 < found.high


def test_more_resamples_do_not_narrow_an_interval(monkeypatch: pytest.MonkeyPatch):
    arm = arm_of(hits(PERIODIC, 12, 40), PERIODIC)
    widths = []
    for resamples in (999, 9999):
        monkeypatch.setattr(resampling, "RESAMPLES", resamples)
        found = interval_of(arm)
        widths.append(found.high - found.low)
    assert widths[0] == pytest.approx(widths[1], abs=2 / 40)  # a step of one hit at either end


def test_nothing_is_said_by_one_seed_or_without_spread():
    assert interval_of(arm_of(made(PERIODIC, [0.6, 0.4], seed=[1, 1]), PERIODIC)) is None
    assert interval_of(arm_of(hits(PERIODIC, 5, 5), PERIODIC)) is None


def test_an_infinite_resample_gives_an_infinite_limit_and_no_nan():
    arm = arm_of(hits(PERIODIC, 1, 3), PERIODIC)

    def inverse(one, _):
        with np.errstate(divide="ignore"):
            return one[1] / one[0]

    assert interval_of(arm, statistic=inverse) == (1, math.inf)


def test_a_resamples_total_is_to_the_last_bit_the_sum_in_the_order_of_drawing():
    """Oracle: the same draws, added up one after the other; any other order rounds otherwise."""
    costs = np.random.default_rng(1).uniform(10, 100, 37)
    arm = arm_of(made(PERIODIC, [0.6] * 37), PERIODIC)
    seen = []

    def total(one, _):
        seen.append(one[0])
        return one[0]

    bootstrap_interval(arm, arm, costs[None], costs[None], total, 0.95, 0)
    drawn = np.random.default_rng(0).integers(0, 37, (len(seen[0]), 37))
    assert seen[0].tolist() == np.cumsum(costs[drawn], axis=1)[:, -1].tolist()


def test_confidence_over_few_seeds_is_that_of_students_interval():
    """Oracle: z · sqrt((G − 1)/G) at the wider confidence is Student's quantile at 95 %."""
    one = arm_of(made(PERIODIC, [0.6, 0.4] * 5, seed=[1, 2, 3, 4, 5] * 2), PERIODIC)
    wide = seeds_confidence(0.95, one, one)
    z = stats.norm.isf((1 - wide) / 2)
    assert z * math.sqrt(4 / 5) == pytest.approx(stats.t.ppf(0.975, 4))
    alone = arm_of(hits(PERIODIC, 5, 10), PERIODIC)
    assert seeds_confidence(0.95, alone, alone) == 0.95
    assert seeds_confidence(0.95, alone, one) == wide
