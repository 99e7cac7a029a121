"""When dynamic injection injects: the data exactly, the drawing by smoke test."""

from __future__ import annotations

import pytest

from reports.figures.weights import draw_shares, draw_weights, shares, weights
from tests.reports.drawing import assert_drawn
from tests.reports.made_trials import made_curve, made_trial

UNITS = {"layer1": [0.1, -0.1, -0.2], "layer2": [0.1, 0.1, 0.1]}


def test_units_are_those_of_the_best_dynamic_trial() -> None:
    trials = {
        "dynamic": [
            made_trial(0, made_curve([0.1, 0.1, 0.1]), arm="dynamic"),
            made_trial(1, made_curve([0.1, 0.2, 0.3], units=UNITS), arm="dynamic"),
        ]
    }
    (found,) = weights(trials)
    assert (found.trial, found.units, found.epochs) == ("r #1", ("layer1", "layer2"), 3)
    assert [(p.unit, p.epoch, p.w, p.injecting) for p in found.points][:3] == [
        ("layer1", 1, 0.1, 0.0),
        ("layer1", 2, -0.1, 1.0),
        ("layer1", 3, -0.2, 1.0),
    ]
    figure = draw_weights(found)
    assert "1 of 2 units injected at some time; after the last epoch w is negative in 1" in (
        figure.message
    )
    assert_drawn(figure)


def test_without_a_dynamic_trial_there_are_no_units() -> None:
    assert weights({"periodic": [made_trial(0)]}) == []
    assert shares({"baseline": [made_trial(0, arm="baseline")]}) is None


def test_shares_are_means_over_the_trials_that_reached_the_epoch() -> None:
    trials = {
        "periodic": [
            made_trial(0, made_curve([0.1] * 4, injected=[0, 1, 0, 1])),
            made_trial(1, made_curve([0.1] * 2, injected=[0, 0])),
        ]
    }
    found = shares(trials)
    assert found is not None
    assert [(p.epoch, p.trials, p.mean) for p in found.points] == [
        (1, 2, 0.0),
        (2, 2, 0.5),
        (3, 1, 0.0),
        (4, 1, 1.0),
    ]
    assert found.injected == pytest.approx((2 / 6,))
    assert found.changes == (1.5,)  # three in the first trial, none in the second
    assert_drawn(draw_shares(found))


def test_many_units_draw_without_a_legend() -> None:
    units = {f"u{i}": [0.1 - i / 20, 0.0] for i in range(48)}
    (found,) = weights({"dynamic": [made_trial(0, made_curve([0.1, 0.2], units=units))]})
    assert_drawn(draw_weights(found))
