"""Replicated searches as survival data, against hand-computed curves and lifelines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test
from lifelines.utils import restricted_mean_survival_time

from reports.searches import Search, log_rank, searches_of, summary, survival
from tests.reports.made_tables import PERIODIC, joined, made

FIVE = [Search(2, True), Search(3, True), Search(5, False), Search(7, True), Search(9, False)]


def test_the_survival_curve_is_kaplan_and_meiers():
    curve = survival(FIVE)
    assert curve.cost == (2, 3, 5, 7, 9)
    assert curve.survival == pytest.approx((0.8, 0.6, 0.6, 0.3, 0.3))  # 0.6 × (1 − 1/2)
    assert all(0 <= low <= high <= 1 for low, high in zip(curve.low, curve.high, strict=True))


def test_the_summary_is_what_can_be_computed_by_hand():
    found = summary(FIVE)
    assert (found.searches, found.matched, found.median, found.horizon) == (5, 3, 7, 9)
    # Area: 2 × 1 + 1 × 0.8 + 4 × 0.6 + 2 × 0.3.
    assert found.restricted_mean == pytest.approx(2 + 0.8 + 2.4 + 0.6)
    assert found.expected == pytest.approx((2 + 3 + 5 + 7 + 9) / 3)
    assert found.median_limits.low <= 7 <= found.median_limits.high


def test_the_mean_is_not_the_trapezium_of_a_table_of_the_curve():
    """lifelines joins the steps by lines when it is given the table instead of the fit."""
    fitted = KaplanMeierFitter().fit([s.cost for s in FIVE], [s.matched for s in FIVE])
    with pytest.warns(Warning):
        table = restricted_mean_survival_time(fitted.survival_function_, t=9)
    assert abs(table - summary(FIVE).restricted_mean) > 0.3


def test_a_horizon_between_steps_cuts_the_area():
    assert summary(FIVE, horizon=4).restricted_mean == pytest.approx(2 + 0.8 + 0.6)


def test_where_more_than_half_survive_the_median_is_not_reached():
    found = summary([Search(2, True), Search(9, False), Search(9, False)])
    assert found.median is None
    assert math.isinf(found.median_limits.high)
    assert found.expected == 20


def test_all_or_no_matches_and_one_search_are_defined():
    none = summary([Search(9, False), Search(8, False)])
    assert (none.expected, none.median, none.restricted_mean) == (None, None, 9)
    assert none.success == (0, pytest.approx(1 - 0.025**0.5))
    every = summary([Search(4, True), Search(4, True)])
    assert (every.expected, every.median, every.restricted_mean) == (4, 4, 4)
    one = summary([Search(3, True)])
    assert (one.median, one.restricted_mean, one.success.high) == (3, 3, 1)
    for found in (none, every, one):
        assert not any(math.isnan(x) for x in (*found.median_limits, found.restricted_mean))


def test_of_geometric_searches_the_expected_cost_is_one_over_s():
    """ERT is unbiased under censoring: with s = 0.2 and cost 1 a trial, E = 5; six sigma of n."""
    generator = np.random.default_rng(8)
    trials = generator.geometric(0.2, 4000)
    found = summary([Search(min(n, 10), n <= 10) for n in trials.tolist()])
    sigma = math.sqrt(0.8) / 0.2 / math.sqrt(found.matched)
    assert found.expected == pytest.approx(5, abs=6 * sigma)


def test_the_log_rank_test_is_lifelines():
    other = [Search(1, True), Search(2, True), Search(2, True), Search(4, True), Search(6, False)]
    theirs = logrank_test(*([s.cost for s in x] for x in (FIVE, other)),
                          *([s.matched for s in x] for x in (FIVE, other)))  # fmt: skip
    assert log_rank(FIVE, other) == pytest.approx(theirs.p_value)
    assert log_rank([Search(3, False)], [Search(4, False)]) is None


def test_a_search_pays_until_its_first_match_and_a_failed_trial_matches_nothing():
    scores, states = [0.3, 0.9, 0.7, 0.8], ["completed", "crashed", "completed", "completed"]
    table = made(PERIODIC, scores, state=states, stage="search", epochs=[5, 2, 7, 9])
    assert searches_of(table, PERIODIC, 0.6, "epochs") == [Search(14, True)]
    assert searches_of(table, PERIODIC, 0.95, "epochs") == [Search(23, False)]


def test_each_run_is_a_search_also_where_one_table_holds_several():
    ids = ["a/0", "a/1", "b/0", "b/1"]
    table = made(PERIODIC, [0.3, 0.7, 0.2, 0.3], config_id=ids, stage="search")
    other = made(PERIODIC, [0.9], source="other.csv", stage="search")
    expected = [Search(20, True), Search(20, False), Search(10, True)]
    assert searches_of(joined(table, other), PERIODIC, 0.6, "epochs") == expected
    unknown = made(PERIODIC, [0.3, 0.7], epochs=[3, None])
    assert searches_of(unknown, PERIODIC, 0.6, "epochs") == []
