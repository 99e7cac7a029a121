"""What counts as a match, and what an arm's rows are."""

from __future__ import annotations

import numpy as np
import pytest

from reports.arm import NEVER, arm_of, same_seeds
from tests.reports.made_tables import PERIODIC, joined, made


def test_a_score_equal_to_the_target_is_a_match():
    arm = arm_of(made(PERIODIC, [0.5, 0.5, 0.4999999]), PERIODIC)
    assert arm.hits(0.5).tolist() == [True, True, False]


def test_a_crashed_or_diverged_trial_has_not_matched_whatever_it_had_reached():
    states = ["completed", "crashed", "diverged"]
    arm = arm_of(made(PERIODIC, [0.9, 0.9, 0.9], state=states), PERIODIC)
    assert arm.hits(0.5).tolist() == [True, False, False]
    assert arm.scores.tolist() == [0.9, NEVER, NEVER]
    assert arm.cost("epochs").tolist() == [10, 10, 10]  # the cost counts in full


def test_a_stopped_trial_that_had_matched_is_a_match_and_another_might_have_been():
    states = ["pruned", "pruned", "stopped", "completed"]
    arm = arm_of(made(PERIODIC, [0.9, 0.3, 0.3, 0.3], state=states), PERIODIC)
    assert arm.hits(0.5).tolist() == [True, False, False, False]
    assert arm.maybe(0.5).tolist() == [True, True, True, False]


def test_trials_that_have_not_ended_are_left_out():
    states = ["completed", "running", "waiting"]
    assert arm_of(made(PERIODIC, [0.9, 0.9, None], state=states), PERIODIC).n == 1


def test_the_census_counts_and_only_without_one_the_search():
    search = made(PERIODIC, [0.1, 0.2], stage="search")
    census, confirm = made(PERIODIC, [0.3]), made(PERIODIC, [0.9], stage="confirm")
    assert arm_of(joined(search, census, confirm), PERIODIC).scores.tolist() == [0.3]
    assert arm_of(joined(search, confirm), PERIODIC).scores.tolist() == [0.1, 0.2]
    assert arm_of(confirm, PERIODIC).n == 0


def test_a_seed_used_twice_makes_a_cluster():
    arm = arm_of(made(PERIODIC, [0.1, 0.2, 0.3], seed=[7, 5, 7]), PERIODIC)
    assert arm.clusters.tolist() == [1, 0, 1]
    assert (arm.seeds, arm.clustered) == (2, True)
    other = arm_of(made("other", [0.1, 0.2], seed=[5, 7]), "other")
    assert same_seeds(arm, other)
    assert not other.clustered


DRAWN = {"definition": '[{"Constant":1.2},{}]', "stage": "search"}


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({}, False),
        ({"state": ["completed", "crashed", "diverged"]}, False),
        ({"state": ["completed", "completed", "pruned"]}, True),
        ({"state": ["completed", "completed", "stopped"]}, True),
        ({"state": ["completed", "completed", "running"]}, True),
        ({"seed": [1, 2, 1]}, True),
        ({"definition": '[{},{"T":{"kind":"int"}}]'}, True),
        ({"knobs": [{"T": 3}, {"T": 3}, {"T": 4}]}, True),
        ({"definition": None}, True),
    ],
)
def test_a_search_of_a_space_without_knobs_that_ended_no_trial_has_chosen_nothing(columns, chosen):
    trials = made("dynamic_default", [0.1, 0.2, 0.3], **DRAWN | columns)
    assert arm_of(trials, "dynamic_default").chosen == chosen
    census = made("dynamic_default", [0.1, 0.2, 0.3], **DRAWN | columns | {"stage": "census"})
    assert not arm_of(census, "dynamic_default").chosen


def test_a_table_that_gives_the_knobs_of_others_tells_that_a_space_has_none():
    search = made("dynamic_default", [0.1, 0.2], stage="search")
    others = made(PERIODIC, [0.1, 0.2], stage="search", knobs=[{"T": 3}, {"T": 4}])
    trials = joined(search, others)
    assert not arm_of(trials, "dynamic_default").chosen
    assert arm_of(trials, PERIODIC).chosen
    elsewhere = made(PERIODIC, [0.1], knobs=[{"T": 3}], source="other.csv")
    assert arm_of(joined(search, elsewhere), "dynamic_default").chosen


def test_a_cost_that_is_not_known_for_every_trial_is_not_known():
    assert arm_of(made(PERIODIC, [0.1, 0.2], epochs=[3, None]), PERIODIC).cost("epochs") is None
    assert arm_of(made(PERIODIC, [0.1, 0.2], epochs=[0, 0]), PERIODIC).cost("epochs") is None
    known = arm_of(made(PERIODIC, [0.1, 0.2], epochs=[0, 3]), PERIODIC).cost("epochs")
    assert np.array_equal(known, [0, 3])
