"""Parallel coordinates and heat maps: the data exactly, the drawing by smoke test."""

from __future__ import annotations

import pytest

from reports.figures.several_knobs import draw_heat_map, draw_parallel, heat_maps, parallel
from tests.reports.drawing import assert_drawn
from tests.reports.made_records import made_spec
from tests.reports.made_trials import made_curve, made_trial

PERIODIC = made_spec("periodic", 12).space.resolved(12)
DYNAMIC = made_spec("dynamic", 12).space.resolved(12)


def test_places_are_along_each_knobs_own_scale() -> None:
    knobs = {"Constant": 0.5, "w_init": 0.01, "position": "all"}
    trials = [made_trial(i, made_curve([0.1 * i]), knobs=knobs) for i in (1, 2)]
    found = parallel("s", DYNAMIC, trials)
    assert found is not None
    assert [line.score for line in found.lines] == [0.2, 0.1]
    places = dict(zip(found.knobs, found.lines[0].places, strict=True))
    assert places == pytest.approx({"Constant": 0.5, "w_init": 0.0, "position": 1.0})
    assert_drawn(draw_parallel(found))


def test_of_many_lines_the_best_stay_and_the_rest_are_thinned_evenly() -> None:
    trials = [
        made_trial(i, made_curve([i / 1000]), knobs={"T": 1 + i % 6, "position": "bn1"})
        for i in range(1000)
    ]
    found = parallel("s", PERIODIC, trials)
    assert found is not None
    assert len(found.lines) == 200
    assert [line.score for line in found.lines[:100]] == [(999 - i) / 1000 for i in range(100)]
    assert found.lines[-1].score == 0.008  # steps of nine ranks from rank 100
    assert found.left_out == 800
    assert "800 trials are not drawn" in draw_parallel(found).notes[0]


def test_one_knob_or_one_trial_is_no_parallel_plot() -> None:
    single = made_spec("periodic_T", 12).space.resolved(12)
    assert parallel("s", single, [made_trial(0, knobs={"T": 1})] * 3) is None
    assert parallel("s", PERIODIC, [made_trial(0, knobs={"T": 1, "position": "bn1"})]) is None


def test_cells_hold_medians_and_counts_of_fully_trained_trials() -> None:
    rows = [(1, "bn1", 0.1), (1, "bn1", 0.3), (1, "bn1", 0.2), (6, "all", 0.4)]
    trials = [
        made_trial(i, made_curve([score]), knobs={"T": t, "position": position})
        for i, (t, position, score) in enumerate(rows)
    ]
    trials.append(
        made_trial(9, made_curve([0.9]), knobs={"T": 2, "position": "bn1"}, state="pruned")
    )
    (found,) = heat_maps("s", PERIODIC, trials)
    assert [tuple(cell) for cell in found.cells] == [
        ("1", "bn1", 0.2, 3),
        ("6", "all", 0.4, 1),
    ]
    assert_drawn(draw_heat_map(found))


def test_numeric_cells_are_equal_parts_of_the_knobs_scale() -> None:
    trials = [
        made_trial(i, made_curve([0.1]), knobs={"Constant": c, "w_init": 0.1, "position": "bn1"})
        for i, c in enumerate((0.05, 0.5, 5.0))
    ]
    found = heat_maps("s", DYNAMIC, trials)[0]
    # eight parts of log 0.05 … log 5: 0.5 is the edge of the fifth
    assert [cell.one for cell in found.cells] == [
        found.one_labels[0], found.one_labels[4], found.one_labels[7]
    ]  # fmt: skip
