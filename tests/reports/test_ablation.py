"""Shrinking the space around the published values."""

from __future__ import annotations

import pytest

from reports.ablation import kept, space_ablation
from reports.arm import arm_of
from reports.proportions import ratio_interval
from search_spaces.model import UserError
from search_spaces.space import ChoiceKnob, IntKnob, Space
from tests.reports.made_tables import DYNAMIC, PERIODIC, hits, made

T = IntKnob(kind="int", low=1, high=30, source="x")
SPACE = Space(name=PERIODIC, summary="x", knobs={"T": T})


def periodic():
    """T from 1 to 30, four trials each; only T from 3 to 6 matches."""
    values = [t for t in range(1, 31) for _ in range(4)]
    scores = [0.6 if 3 <= t <= 6 else 0.4 for t in values]
    return arm_of(made(PERIODIC, scores, knobs=[{"T": t} for t in values]), PERIODIC)


DYNAMIC_ARM = arm_of(hits(DYNAMIC, 10, 20), DYNAMIC)


def test_the_ratio_falls_as_useless_values_are_cut_off():
    found = space_ablation(periodic(), DYNAMIC_ARM, SPACE, {"T": 5}, 0.5, shrinks=(1, 0.5, 0.1))
    assert [one.trials for one in found] == [120, 60, 12]
    assert found[0].ratio == pytest.approx(0.5 / (16 / 120))
    assert found[0].ratio_limits == ratio_interval(10, 20, 16, 120, 0.95)
    # f = 0.5 keeps T from 3 to 17: 15 values, of which 4 match.
    assert found[1].box == {"T": (3, 17.5)}
    assert found[1].ratio == pytest.approx(0.5 / (4 / 15))
    # f = 0.1 keeps 4.6 to 7.5: T = 5, 6, 7.
    assert found[2].ratio == pytest.approx(0.5 / (2 / 3))
    assert found[2].median_trials == pytest.approx(0.631, abs=1e-3)  # ln 0.5 / ln(1/3)


def test_the_whole_space_keeps_everything_and_a_box_without_trials_knows_nothing():
    assert kept(T, 5, 1.0) == (1, 30)
    few = arm_of(made(PERIODIC, [0.6, 0.4], knobs=[{"T": 1}, {"T": 30}]), PERIODIC)
    found = space_ablation(few, DYNAMIC_ARM, SPACE, {"T": 15}, 0.5, shrinks=(1, 0.1))
    assert (found[0].trials, found[1].trials) == (2, 0)
    assert (found[1].ratio, found[1].hit_probability, found[1].limits) == (None, None, (0, 1))


def test_choices_stay_as_they_are():
    choice = ChoiceKnob(kind="choice", values=["bn1", "bn2"], source="x")
    space = SPACE.model_copy(update={"knobs": {"T": T, "position": choice}})
    rows = [{"T": t, "position": p} for t in (5, 25) for p in ("bn1", "bn2")]
    arm = arm_of(made(PERIODIC, [0.6, 0.4, 0.4, 0.4], knobs=rows), PERIODIC)
    found = space_ablation(arm, DYNAMIC_ARM, space, {"T": 5}, 0.5, shrinks=(0.1,))
    assert (found[0].trials, found[0].hits) == (2, 1)


@pytest.mark.parametrize("centre", [{}, {"T": 31}, {"T": "five"}])
def test_a_published_value_must_lie_in_the_space(centre):
    with pytest.raises(UserError, match="The published value of T must lie within 1 to 30"):
        space_ablation(periodic(), DYNAMIC_ARM, SPACE, centre, 0.5)
