"""Basin width and importance."""

from __future__ import annotations

import numpy as np
import pytest

from reports.arm import arm_of
from reports.proportions import exact_interval
from reports.sensitivity import basin, importance, knob_basins
from search_spaces.space import ChoiceKnob, FloatKnob, IntKnob, Space
from tests.reports.made_tables import PERIODIC, made

SPACE = Space(
    name=PERIODIC,
    summary="x",
    knobs={
        "T": IntKnob(kind="int", low=1, high=30, source="x"),
        "lr": FloatKnob(kind="float", low=1e-4, high=1e-2, log=True, source="x"),
        "position": ChoiceKnob(kind="choice", values=["bn1", "bn2"], source="x"),
    },
)


def drawn(n: int = 120, **columns):
    """Return random trials whose score falls with T and rises a little for bn1."""
    generator = np.random.default_rng(4)
    knobs, scores = [], []
    for _ in range(n):
        t, place = int(generator.integers(1, 31)), str(generator.choice(["bn1", "bn2"]))
        knobs.append({"T": t, "lr": float(10 ** generator.uniform(-4, -2)), "position": place})
        scores.append(0.5 - 0.01 * t + 0.005 * (place == "bn1"))
    return made(PERIODIC, scores, knobs=knobs, **columns)


def test_of_uniform_scores_the_basin_is_delta_wide():
    """Y ~ U(0, 1) on a grid, best 1: W_δ = δ, to one step."""
    arm = arm_of(made(PERIODIC, ((np.arange(200) + 0.5) / 200).tolist()), PERIODIC)
    found = basin(arm, 0.2, retrained=[1.0, 1.0])
    assert found.share == pytest.approx(0.2, abs=1 / 200)
    assert found.limits == exact_interval(found.within, 200, 0.95)
    assert found.source == "re-trained"


def test_the_best_seen_is_the_luckiest_and_narrows_the_basin():
    generator = np.random.default_rng(1)
    arm = arm_of(made(PERIODIC, (0.4 + 0.02 * generator.standard_normal(100)).tolist()), PERIODIC)
    assert basin(arm, 0.02).share < basin(arm, 0.02, retrained=[0.4]).share
    assert basin(arm, 0.02).source == "best seen"


def test_failed_trials_are_outside_and_without_scores_there_is_no_basin():
    assert basin(arm_of(made(PERIODIC, [0.5, None]), PERIODIC), 0.1).share == 0.5
    assert basin(arm_of(made(PERIODIC, [None]), PERIODIC), 0.1) is None
    assert basin(arm_of(made(PERIODIC, []), PERIODIC), 0.1) is None


def test_along_a_knob_the_basin_is_the_share_of_its_parts_near_the_best():
    found = {one.knob: one for one in knob_basins(arm_of(drawn(), PERIODIC), SPACE, 0.5, 0.1)}
    # Scores within 0.1 of 0.5 are T up to 10: about the first three of ten parts of 2.9.
    assert found["T"].share == pytest.approx(0.3)
    assert [one.label for one in found["position"].bins] == ["bn1", "bn2"]
    for one in found.values():
        assert sum(part.trials for part in one.bins) == 120


def test_both_evaluators_are_named_and_find_the_knob_that_matters():
    found = importance(drawn(), SPACE)
    assert [one.evaluator for one in found] == ["fANOVA", "PED-ANOVA"]
    for one in found:
        assert max(one.shares, key=one.shares.get) == "T"
        assert sum(one.shares.values()) == pytest.approx(1)
        assert (one.trials, one.left_out) == (120, 0)


def test_stopped_and_failed_trials_are_left_out_and_counted():
    states = ["completed"] * 80 + ["pruned"] * 30 + ["crashed"] * 10
    whole = drawn(state=states)
    found = importance(whole, SPACE)
    assert {(one.trials, one.left_out) for one in found} == {(80, 40)}
    alone = importance(whole.take(range(80)), SPACE)
    assert [one.shares for one in found] == [one.shares for one in alone]


def test_pruning_the_worst_changes_a_knobs_share():
    """The evaluators see completed trials only, which is why the number left out is told."""
    whole = drawn(200)
    order = np.argsort(whole.score)
    states = ["completed"] * 200
    for i in order[:80]:
        states[int(i)] = "pruned"
    pruned = whole.take(range(200))
    pruned.state[:] = states
    shares = [importance(table, SPACE)[0].shares["T"] for table in (whole, pruned)]
    assert shares[1] < shares[0]


def test_what_has_no_importance_is_empty_and_no_error():
    assert importance(drawn(1), SPACE) == []
    assert importance(made(PERIODIC, [0.1, 0.2]), SPACE) == []
    assert (
        importance(made(PERIODIC, [0.5] * 9, knobs=[{"T": i + 1} for i in range(9)]), SPACE) == []
    )
    outside = made(PERIODIC, [0.1, 0.2, 0.3], knobs=[{"T": 1}, {"T": 9}, {"T": 99}])
    assert {one.left_out for one in importance(outside, SPACE)} == {1}
