"""Where a target comes from, and which are refused."""

from __future__ import annotations

import pytest

from reports.arm import arm_of
from reports.target import check_target, chosen_target
from search_spaces.model import UserError
from tests.reports.made_tables import DYNAMIC, PERIODIC, joined, made

TRIALS = joined(made(DYNAMIC, [0.3, 0.4, 0.5]), made(PERIODIC, [0.2, 0.6]))
OTHER = made(DYNAMIC, [0.35, 0.45], source="pilot.csv", seed=[1, 2])


def chosen(trials=TRIALS, target=None, pilot=None):
    return chosen_target(trials, arm_of(trials, DYNAMIC), target, pilot)


def test_a_given_target_wins():
    assert chosen(target=0.37, pilot=OTHER) == (0.37, "given", False, None)


def test_a_pilots_median_is_next_and_is_independent_of_the_trials():
    assert chosen(pilot=OTHER) == (pytest.approx(0.4), "median of 2 pilot trials", False, 2)
    inside = joined(TRIALS, made(DYNAMIC, [0.7, 0.8], stage="pilot", seed=[1, 2]))
    assert chosen(inside).value == pytest.approx(0.75)


def test_the_pilot_of_another_space_serves_if_it_is_the_only_one():
    assert chosen(pilot=made("dynamic_pilot", [0.1, 0.3])).value == pytest.approx(0.2)
    two = joined(made("dynamic_pilot", [0.1]), made("dynamic_defalt", [0.2]))
    with pytest.raises(UserError, match=r"Unknown space 'dynamic_default'\. Did you mean"):
        chosen(pilot=two)


def test_without_a_pilot_it_is_dynamics_own_median():
    found = chosen()
    assert (found.value, found.own_median) == (0.4, True)
    assert found.source == "median of the 3 trials of dynamic_default itself"


def test_if_most_dynamic_trials_failed_there_is_none():
    found = chosen(joined(made(DYNAMIC, [None, None, 0.5]), made(PERIODIC, [0.2])))
    assert found.value is None


def test_a_pilot_of_the_very_trials_compared_is_refused():
    with pytest.raises(UserError, match=r"other trials than those compared.*made\.csv, row 2"):
        chosen(pilot=made(DYNAMIC, [0.3, 0.4, 0.5]))


def test_a_pilot_without_a_median_is_refused():
    with pytest.raises(UserError, match="median of the pilot is a failed trial"):
        chosen(pilot=made(DYNAMIC, [None, None], seed=[1, 2]))
    with pytest.raises(UserError, match="no ended trials"):
        chosen(pilot=made(DYNAMIC, [0.4], state="running"))


def test_a_target_outside_the_data_is_refused():
    check_target(TRIALS, 0.2)
    check_target(TRIALS, 0.6)
    with pytest.raises(UserError, match=r"0\.2 to 0\.6, but got 0\.7: no trial matches"):
        check_target(TRIALS, 0.7)
    with pytest.raises(UserError, match=r"but got 0\.1: every trial matches"):
        check_target(TRIALS, 0.1)
