"""Savings by target and hidden knob: the data exactly, the drawing by smoke test."""

from __future__ import annotations

import pytest

from reports.answer import compare
from reports.arm import arm_of
from reports.figures.savings import draw_hidden_knob, draw_savings_by_target, savings_by_target
from tests.reports.drawing import assert_drawn
from tests.reports.made_tables import DYNAMIC, PERIODIC, joined, made


def test_the_ratio_at_each_score_is_that_of_the_shares_that_reach_it() -> None:
    trials = joined(made(PERIODIC, [0.1, 0.2, 0.3, 0.4]), made(DYNAMIC, [0.3, 0.4]))
    sides = arm_of(trials, PERIODIC), arm_of(trials, DYNAMIC)
    found = savings_by_target(*sides, 0.3, 0.95, 0)
    assert found is not None
    assert [(p.target, p.periodic_hits, p.dynamic_hits, p.ratio) for p in found.points] == [
        (0.1, 4, 2, 1.0),
        (0.2, 3, 2, pytest.approx(4 / 3)),
        (0.3, 2, 2, 2.0),
        (0.4, 1, 1, 2.0),
    ]
    figure = draw_savings_by_target(found)
    assert "from 1 to 2, depending on the target" in figure.message
    assert_drawn(figure)


def test_many_scores_are_thinned_and_both_ends_stay() -> None:
    trials = joined(made(PERIODIC, [i / 1000 for i in range(500)]), made(DYNAMIC, [0.6, 0.7, 0.9]))
    found = savings_by_target(arm_of(trials, PERIODIC), arm_of(trials, DYNAMIC), None, 0.95, 0)
    assert found is not None
    assert len(found.points) == 30
    assert (found.points[0].target, found.points[-1].target) == (0.0, 0.9)
    assert found.points[-1].ratio is None
    assert_drawn(draw_savings_by_target(found))


def test_one_score_or_no_trials_say_nothing() -> None:
    trials = joined(made(PERIODIC, [0.1]), made(DYNAMIC, [None]))
    sides = arm_of(trials, PERIODIC), arm_of(trials, DYNAMIC)
    assert savings_by_target(*sides, None, 0.95, 0) is None


def test_the_hidden_knob_is_drawn_from_the_answer() -> None:
    trials = joined(made(PERIODIC, [0.1] * 9 + [0.5]), made(DYNAMIC, [0.5, 0.1]))
    answer = compare(trials, periodic=PERIODIC, dynamic=DYNAMIC, target=0.4)
    figure = draw_hidden_knob(answer)
    assert figure is not None
    assert [row[:2] for row in figure.table.rows] == [
        (p.trials_spent, p.ratio) for p in answer.hidden_knob.curve
    ]
    assert_drawn(figure)


def test_where_periodic_never_matched_there_is_no_hidden_knob_curve() -> None:
    trials = joined(made(PERIODIC, [0.1]), made(DYNAMIC, [0.5]))
    answer = compare(trials, periodic=PERIODIC, dynamic=DYNAMIC, target=0.4)
    assert draw_hidden_knob(answer) is None
