"""Ablation, selected test, time to target and importance: drawn from results of `reports`."""

from __future__ import annotations

import math

import pytest

from reports.ablation import Ablated
from reports.figures.evidence import (
    draw_ablation,
    draw_importance,
    draw_selected_test,
    draw_survival,
)
from reports.proportions import Interval
from reports.searches import Search, log_rank, survival
from reports.searches import summary as summary_of
from reports.selection import selected_test
from reports.sensitivity import Importance
from tests.reports.drawing import assert_drawn
from tests.reports.made_tables import PERIODIC, made


def test_an_ablation_with_unbounded_and_empty_boxes_is_drawn() -> None:
    def box(shrink: float, trials: int, ratio: float | None, high: float) -> Ablated:
        limits = Interval(0.5, high)
        return Ablated(shrink, {"T": (1.0, 2.0)}, trials, 1, 0.1, limits, 3.0, ratio, limits)

    found = [box(1.0, 10, 4.0, math.inf), box(0.5, 5, None, math.inf), box(0.1, 0, None, 9.0)]
    figure = draw_ablation(found, "T = 3")
    assert "With the whole range the ratio is 4 (0.5 to" in figure.message
    assert "with 50% of it around T = 3, it is undefined" in figure.message
    assert [row[-1] for row in figure.table.rows] == [None, None, 9.0]
    assert_drawn(figure)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_the_selected_test_curve_is_drawn_for_few_and_many_trials(count: int) -> None:
    scores = [0.3 + i / 1000 for i in range(count)]
    curve = selected_test(made(PERIODIC, scores, test_score=[s - 0.02 for s in scores]))
    assert curve is not None
    figure = draw_selected_test([(PERIODIC, "periodic", curve)], 0.95)
    assert f"after {count} trials" in figure.message
    assert_drawn(figure)


def test_time_to_target_is_drawn_also_where_the_median_is_not_reached() -> None:
    first = [Search(10.0, True), Search(20.0, False), Search(20.0, False)]
    second = [Search(5.0, True), Search(8.0, True)]
    drawn = [
        (name, arm, survival(searches), summary_of(searches))
        for name, arm, searches in (("p", "periodic", first), ("d", "dynamic", second))
    ]
    figure = draw_survival(drawn, log_rank(first, second), 0.4)
    assert "p: 1 of 3 searches matched, median not reached" in figure.message
    assert "d: 2 of 2 searches matched, median 5 epochs" in figure.message
    assert_drawn(figure)


@pytest.mark.parametrize(("count", "told"), [(1, False), (4, False), (5, True)])
def test_a_log_rank_p_is_told_from_five_searches_a_side_on(count: int, told: bool) -> None:
    sides = [[Search(cost + i, True) for i in range(n)] for cost, n in ((10.0, 5), (50.0, count))]
    drawn = [
        (name, arm, survival(side), summary_of(side))
        for name, arm, side in zip("pd", ("periodic", "dynamic"), sides, strict=True)
    ]
    figure = draw_survival(drawn, log_rank(*sides), 0.4)
    assert ("Log-rank p" in figure.message) == told
    assert ("No log-rank p is given below 5 searches a side." in figure.notes) != told


def test_importance_names_both_evaluators_and_what_was_left_out() -> None:
    found = [
        Importance("fANOVA", {"T": 0.8, "position": 0.2}, 40, 3),
        Importance("PED-ANOVA", {"T": 0.3, "position": 0.7}, 40, 3),
    ]
    figure = draw_importance("periodic", found, step=2)
    assert "fANOVA puts T first; PED-ANOVA puts position first" in figure.message
    assert figure.notes == (
        "One trial in 2 was evaluated, evenly: fANOVA is slow.",
        "Left out: 3 trials stopped, failed or unscored.",
    )
    assert_drawn(figure)
