"""Scores over one knob: the data exactly, the drawing by smoke test."""

from __future__ import annotations

import pytest

from reports.figures.chart import specification
from reports.figures.knobs import axis_title, by_space, draw_knob, knob_scores
from reports.figures.runs import Trial
from search_spaces.space import Space
from tests.reports.drawing import assert_drawn
from tests.reports.made_records import made_spec
from tests.reports.made_trials import made_curve, made_run, made_trial


def space(name: str) -> Space:
    """Return a space of trainings of 12 epochs."""
    return made_spec(name, 12).space.resolved(12)


def scored(values: list[tuple[object, float]], knob: str = "T", **fields: object) -> list[Trial]:
    """Return trials with a value of a knob and a score."""
    return [
        made_trial(i, made_curve([score]), knobs={knob: value}, **fields)
        for i, (value, score) in enumerate(values)
    ]


def test_failed_and_unstarted_trials_are_counted_but_not_drawn_and_stopped_ones_marked() -> None:
    trials = [
        made_trial(0, made_curve([0.3]), knobs={"T": 2}),
        made_trial(1, made_curve([0.2]), knobs={"T": 3}, state="pruned"),
        made_trial(2, made_curve([0.9]), knobs={"T": 4}, state="crashed"),
        made_trial(3, made_curve([]), knobs={"T": 5}, state="waiting"),
    ]
    found = knob_scores("s", space("periodic_T"), trials, "T")
    assert [(one.value, one.score, one.kind) for one in found.scored] == [
        (2, 0.3, "full training"),
        (3, 0.2, "stopped early"),
    ]
    assert (found.unscored, found.low, found.high, found.log) == (2, 1.0, 6.0, False)
    assert_drawn(draw_knob(found))


def test_medians_are_by_value_where_there_are_few_values() -> None:
    values = [(t, t / 10 + i / 100) for t in (1, 2, 3) for i in range(5)]
    found = knob_scores("s", space("periodic_T"), scored(values), "T")
    assert [(m.value, m.median, m.trials) for m in found.middles] == [
        (1.0, pytest.approx(0.12), 5),
        (2.0, pytest.approx(0.22), 5),
        (3.0, pytest.approx(0.32), 5),
    ]


def test_medians_are_in_bins_of_equal_counts_where_there_are_many() -> None:
    values = [(0.1 + i / 100, i / 100) for i in range(36)]
    found = knob_scores("s", space("dynamic_constant"), scored(values, "Constant"), "Constant")
    assert [middle.trials for middle in found.middles] == [6] * 6
    assert found.middles[0].median == pytest.approx(0.025)


def test_the_axis_is_logarithmic_where_the_space_is() -> None:
    found = knob_scores(
        "s", space("dynamic_constant"), scored([(0.1, 0.2), (1.0, 0.3)], "Constant"), "Constant"
    )
    assert found.log
    spec = specification(draw_knob(found).charts[0])
    scale = spec["layer"][0]["encoding"]["x"]["scale"]
    assert (scale["type"], scale["domain"]) == ("log", [0.05, 5.0])


def test_choices_keep_the_order_of_the_space() -> None:
    trials = scored([("all", 0.2), ("bn1", 0.3)], "position")
    found = knob_scores("s", space("periodic_position"), trials, "position")
    assert found.choices[0] == "bn1"
    assert_drawn(draw_knob(found))


def test_many_trials_are_drawn_with_their_medians() -> None:
    values = [(p, 0.3 + i / 10_000) for i, p in enumerate(["bn1", "bn2", "all"] * 100)]
    found = knob_scores("s", space("periodic_position"), scored(values, "position"), "position")
    assert len(found.middles) == 3
    assert_drawn(draw_knob(found))


def test_runs_of_one_space_are_put_together_and_those_of_other_epochs_are_not() -> None:
    runs = [
        made_run([made_trial(0)], "a"),
        made_run([made_trial(0)], "b"),
        made_run([made_trial(0)], "c", epochs=20),
    ]
    groups = by_space(runs)
    assert {name: len(trials) for name, (_, trials) in groups.items()} == {
        "periodic_T": 2,
        "periodic_T, 20 epochs": 1,
    }


def test_the_axis_of_an_interval_says_what_it_counts() -> None:
    for unit in ("epoch", "step"):
        trials = [made_trial(0, trial_config={"injection": {"interval_unit": unit}})]
        assert axis_title("T", trials) == f"T ({unit}s)"
    assert axis_title("dropout_rate", []) == "dropout_rate"
