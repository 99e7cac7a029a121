"""Tuning curves: numbers against the closed form, the drawing by smoke test."""

from __future__ import annotations

import pytest

from reports.answer import compare
from reports.arm import arm_of
from reports.figures.tuning import TuningCurves, draw_tuning, marks, tuning_curves
from reports.table import Trials
from tests.reports.drawing import assert_drawn
from tests.reports.made_tables import DYNAMIC, PERIODIC, joined, made


def curves(trials: Trials | None = None, stage: str = "census", **columns: object) -> TuningCurves:
    """Return the curves of these trials, or of ten periodic and four dynamic ones."""
    trials = trials or joined(
        made(PERIODIC, [0.1 * i for i in range(10)], stage=stage, **columns),
        made(DYNAMIC, [0.6, 0.7, 0.8, 0.9], stage=stage, **columns),
    )
    answer = compare(trials, periodic=PERIODIC, dynamic=DYNAMIC, target=0.75)
    sides = [(arm_of(trials, PERIODIC), "periodic"), (arm_of(trials, DYNAMIC), "dynamic")]
    found = tuning_curves(sides, answer, 0.95)
    assert found is not None
    return found


def test_the_first_point_is_the_median_and_the_last_is_at_all_trials() -> None:
    points = [point for point in curves().points if point.arm == PERIODIC]
    # F⁻¹(½) of the empirical distribution of 0, 0.1, …, 0.9
    assert (points[0].trials, points[0].score) == (1.0, pytest.approx(0.4))
    assert (points[-1].trials, points[-1].score) == (10.0, pytest.approx(0.9))
    assert (points[-1].epochs, points[-1].slot_hours) == (100.0, pytest.approx(200 / 3600))


def test_trials_to_match_are_the_answers() -> None:
    # 2 of 10 match: ln ½ / ln 0.8; 2 of 4 match: 1
    assert curves().to_match == (pytest.approx(3.106, abs=1e-3), pytest.approx(1.0))


def test_independent_trials_have_a_band_and_a_search_says_why_it_has_none() -> None:
    census = curves()
    assert census.why_no_band == (None, None)
    assert all(p.low is not None and p.low <= p.score <= p.high for p in census.points)  # type: ignore[operator]
    assert_drawn(draw_tuning(census, "GPU-hours", 0.95))
    search = curves(stage="search")
    assert all(p.low is None and p.high is None for p in search.points)
    figure = draw_tuning(search, "GPU-hours", 0.95)
    assert any("depend on one another" in note for note in figure.notes)
    assert_drawn(figure)


def test_where_trials_were_stopped_their_number_is_told_as_a_bound_and_has_no_cross() -> None:
    """One of 8 matched and 4 more might have: ln ½ / ln(1 − 5/8) = 0.71, of which 1 is run."""
    states = ["completed"] * 4 + ["pruned"] * 4
    found = curves(
        joined(
            made(PERIODIC, [0.8] + [0.4] * 7, stage="search", state=states),
            made(DYNAMIC, [0.6, 0.7, 0.8, 0.9]),
        )
    )
    figure = draw_tuning(found, "GPU-hours", 0.95)
    assert (
        "periodic_T needs at least 1 trial (4 of its 8 trials were stopped before they could)"
        " and dynamic_default needs 1 trial."
    ) in figure.message
    assert [mark["arm"] for mark in marks(found, "trials")] == [DYNAMIC]
    assert "Crosses: trials to match, but for periodic_T, of which only a bound is known." in (
        figure.notes
    )
    assert_drawn(figure)
    states = ["completed", "completed", "completed", "pruned"]
    found = curves(
        joined(made(PERIODIC, [0.4] * 4), made(DYNAMIC, [0.8, 0.8, 0.7, 0.7], state=states))
    )
    figure = draw_tuning(found, "GPU-hours", 0.95)
    assert (
        "dynamic_default needs at most 1 trial (1 of its 4 trials was stopped before it could)"
        in (figure.message)
    )
    assert not any(note.startswith("Crosses") for note in figure.notes)


def test_only_what_is_drawn_is_described_and_only_a_census_is_called_random() -> None:
    census = draw_tuning(curves(), "GPU-hours", 0.95)
    assert census.title == "Tuning curves: the best of k random trials"
    assert census.notes[:2] == (
        "Bands are simultaneous 95 % limits, cut where they leave the plot.",
        "Crosses: trials to match.",
    )
    search = draw_tuning(curves(stage="search"), "GPU-hours", 0.95)
    assert search.title == "Tuning curves: the best of k trials"
    assert "among k trials taken at random from those of each arm" in search.message
    assert not any(note.startswith("Bands") for note in search.notes)


def test_without_known_costs_there_is_one_panel() -> None:
    figure = draw_tuning(curves(slot_seconds=None, epochs=None), "GPU-hours", 0.95)
    assert len(figure.charts) == 1
    assert_drawn(figure)
