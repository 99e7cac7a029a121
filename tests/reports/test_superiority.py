"""P(one trial beats another) and its limits, where the library has none too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.nonparametric import rank_compare_2indep

from reports.arm import arm_of
from reports.proportions import exact_interval
from reports.superiority import beats
from tests.reports.made_tables import DYNAMIC, PERIODIC, made


def chance(first, second, one=None, two=None):
    a = arm_of(made(PERIODIC, first, **(one or {})), PERIODIC)
    b = arm_of(made(DYNAMIC, second, **(two or {})), DYNAMIC)
    return beats(a, b, 0.95, 0)


def test_it_is_the_share_of_pairs_with_ties_counting_half():
    found = chance([0.1, 0.5, 0.9], [0.5, 0.5])
    assert found.probability == pytest.approx((0 + 0.5 + 1) / 3)
    xs, ys = [0.1, 0.3, 0.5, 0.9, 0.2], [0.4, 0.5, 0.6, 0.25]
    theirs = rank_compare_2indep(xs, ys)
    found = chance(xs, ys)
    assert found.probability == pytest.approx(theirs.prob1)
    low, high = theirs.conf_int()
    assert (found.low, found.high) == pytest.approx((max(low, 0), min(high, 1)))


def test_complete_separation_has_limits_though_the_library_gives_nan():
    low, high = [0.1, 0.2, 0.3], [0.7, 0.8, 0.9, 1.0]
    with np.errstate(all="ignore"):
        assert math.isnan(rank_compare_2indep(low, high).conf_int()[0])
    found = chance(low, high)
    assert found.probability == 0
    # Of three disjoint pairs none was won.
    assert (found.low, found.high) == exact_interval(0, 3, 0.95)


def test_limits_never_leave_0_to_1_though_the_librarys_do():
    xs, ys = [0.1, 0.2, 0.31], [0.3, 0.8, 0.9, 1.0]
    assert rank_compare_2indep(xs, ys).conf_int()[0] < 0
    assert chance(xs, ys).low == 0


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [([0.5], [0.5], 0.5), ([0.5] * 4, [0.5] * 3, 0.5), ([0.9], [0.1], 1), ([None], [0.1], 0)],
)
def test_one_trial_or_only_ties_have_defined_limits(first, second, probability):
    found = chance(first, second)
    assert found.probability == probability
    assert 0 <= found.low <= probability <= found.high <= 1


def test_failed_trials_are_the_worst_and_tie():
    assert chance([None, 0.2], [None, 0.1]).probability == pytest.approx((0.5 + 0 + 1 + 1) / 4)


def test_without_trials_nothing_is_known():
    assert chance([], [0.1]) == (None, 0, 1)


def test_stopped_trials_give_limits_around_both_extremes():
    plain = chance([0.1, 0.3, 0.6, 0.5], [0.2, 0.4, 0.55])
    states = {"state": ["completed", "pruned", "pruned", "completed"]}
    found = chance([0.1, 0.3, 0.6, 0.5], [0.2, 0.4, 0.55], one=states)
    assert found.low == plain.low  # the lowest is what was seen
    assert found.probability > plain.probability
    assert found.high >= plain.high


def test_clustered_seeds_are_resampled_and_repeating_their_trials_adds_nothing():
    xs, ys = [0.1, 0.12, 0.5, 0.52, 0.8, 0.82], [0.4, 0.55, 0.35]
    seeds = [1, 1, 2, 2, 3, 3]
    once = chance(xs, ys, one={"seed": seeds})
    often = chance(xs * 20, ys, one={"seed": seeds * 20})
    assert often == pytest.approx(once)
    independent = chance(xs * 20, ys)
    assert often.high - often.low > independent.high - independent.low
