"""Charging dynamic's default: the formula, its limits, its break-even."""

from __future__ import annotations

import math

import pytest

from reports.hidden_knob import accounting, curve


def test_at_the_break_even_the_ratio_over_so_many_tasks_is_1():
    point = accounting(20.0, 3.0, 2.0, 1.0, 50)
    m = point.break_even_tasks
    assert (20 * 2.0) / ((3 + 50 / m) * 1.0) == pytest.approx(1)
    assert point.ratio == pytest.approx(40 / 53)


def test_without_charge_it_is_the_plain_ratio_of_costs():
    assert accounting(20.0, 3.0, 2.0, 1.0, 0) == (0, pytest.approx(40 / 3), 0)


def test_a_dynamic_that_needs_more_never_breaks_even():
    assert accounting(2.0, 3.0, 1.0, 1.0, 5).break_even_tasks is None


def test_an_arm_that_did_not_match_has_no_number():
    assert accounting(math.inf, 3.0, 1.0, 1.0, 5) == (5, None, None)
    assert accounting(3.0, math.inf, 1.0, 1.0, 5) == (5, None, None)
    point, points = curve(math.inf, 3.0, 1.0, 1.0)
    assert point.break_even_tasks is None
    assert len(points) == 9


def test_nobody_is_charged_less_than_one_trial():
    """All trials of an arm match: K_½ is 0, but one has to be trained."""
    assert accounting(4.0, 0.0, 1.0, 1.0, 0).ratio == 4
    assert accounting(4.0, 0.0, 1.0, 1.0, 3) == (3, 1, 1)
    assert accounting(0.0, 0.0, 3.0, 2.0, 0).ratio == 1.5
    assert accounting(0.2, 0.4, 1.0, 1.0, 0) == (0, 1, None)


def test_the_yardstick_is_the_whole_trials_that_tuning_periodic_takes():
    point, points = curve(7.3, 1.0, 1.0, 1.0)
    assert point.trials_spent == 8
    assert point in points
    ratios = [one.ratio for one in points]
    assert ratios == sorted(ratios, reverse=True)
