"""Oracles: the paper's listing run line by line, answers derived by hand, torch's own Adam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LRScheduler

from trainables.config import TrainingConfig, TrialConfig, with_knobs
from trainables.schedule import (
    algorithm_1,
    first_judged_epoch,
    injects,
    warnings_for,
    zero_crossing_step,
)


def trial(**knobs: Any) -> TrialConfig:
    return with_knobs(TrialConfig(), knobs, "test")


@pytest.mark.parametrize(
    ("T", "expected"),
    [
        (1, ".X.X.X.X.X.X.X.X.X.X"),
        (2, ".XX..XX..XX..XX..XX."),
        (3, "..XXX...XXX...XXX..."),
        (7, "......XXXXXXX......."),
    ],
)
def test_clean_and_injected_steps_of_algorithm_1_derived_by_hand(T: int, expected: str) -> None:
    assert "".join("X" if flag else "." for flag in algorithm_1(T, 20)) == expected
    assert "".join("X" if injects(s, T) else "." for s in range(1, 21)) == expected


@given(T=st.integers(1, 60), steps=st.integers(0, 400))
def test_closed_form_equals_the_listing(T: int, steps: int) -> None:
    assert [injects(step, T) for step in range(1, steps + 1)] == algorithm_1(T, steps)


def first_clean_step_after_injection(T: int) -> int:
    flags = algorithm_1(T, 4 * T + 4)
    return flags.index(False, flags.index(True)) + 1


@given(T=st.integers(1, 60))
def test_periodic_trials_are_judged_from_the_first_clean_epoch_after_an_injected_one(
    T: int,
) -> None:
    config = trial(method="periodic", T=T, epochs=1000)
    assert first_judged_epoch(config, 7) == first_clean_step_after_injection(T)


@given(T=st.integers(1, 200), steps_per_epoch=st.integers(1, 50))
def test_step_intervals_are_judged_from_the_first_epoch_that_begins_after_the_injected_phase(
    T: int, steps_per_epoch: int
) -> None:
    config = trial(method="periodic", T=T, interval_unit="step", epochs=1000)
    clean = first_clean_step_after_injection(T)
    first_steps = range(1, 1000 * steps_per_epoch, steps_per_epoch)
    expected = next(e for e, first in enumerate(first_steps, start=1) if first >= clean)
    assert first_judged_epoch(config, steps_per_epoch) == expected


def test_trials_without_injection_are_judged_from_the_first_epoch() -> None:
    assert first_judged_epoch(trial(), 10) == 1
    assert first_judged_epoch(trial(dropout_rate=0.3), 10) == 1


def test_first_judged_epoch_is_at_most_the_last() -> None:
    assert first_judged_epoch(trial(method="periodic", T=40, epochs=60), 10) == 60
    assert first_judged_epoch(trial(method="dynamic", epochs=60, weight_decay=0), 10) == 60
    assert first_judged_epoch(trial(method="dynamic", epochs=60, optimizer="adamw"), 10) == 60


def test_dynamic_trials_are_judged_from_the_epoch_after_w_reaches_zero() -> None:
    config = trial(method="dynamic", w_init=0.1, lr=1e-3, epochs=60)
    crossing = zero_crossing_step(config.training, 0.1, 50, 60)
    assert crossing == 355  # in epoch 8 of 50 steps each; as torch's Adam, below
    assert first_judged_epoch(config, 50) == 9


@pytest.mark.parametrize("w_init", [0.03, 0.1])
@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-3},
        {"lr": 1e-2, "weight_decay": 1e-2, "beta1": 0.5, "beta2": 0.99, "eps": 1e-6},
        {"lr": 2e-3, "schedule": "cosine"},
        {"lr": 2e-3, "schedule": "step", "schedule_step": 3, "schedule_factor": 0.7},
        {"lr": 1e-5},
    ],
)
def test_zero_crossing_equals_torch_adam_on_a_weight_without_gradient(
    w_init: float, settings: dict[str, Any]
) -> None:
    training, steps_per_epoch, epochs = TrainingConfig(**settings), 40, 25
    w = torch.tensor([w_init], dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam(
        [w],
        lr=training.lr,
        betas=(training.beta1, training.beta2),
        eps=training.eps,
        weight_decay=training.weight_decay,
    )
    schedules: dict[str, Callable[[], LRScheduler]] = {
        "none": lambda: torch.optim.lr_scheduler.ConstantLR(adam, factor=1.0),
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=epochs),
        "step": lambda: torch.optim.lr_scheduler.StepLR(
            adam, training.schedule_step, training.schedule_factor
        ),
    }
    schedule = schedules[training.schedule]()
    crossing = None
    for step in range(1, steps_per_epoch * epochs + 1):
        w.grad = torch.zeros_like(w)
        adam.step()
        if step % steps_per_epoch == 0:
            schedule.step()
        if w.item() < 0:
            crossing = step
            break
    assert zero_crossing_step(training, w_init, steps_per_epoch, epochs) == crossing


@pytest.mark.parametrize(
    ("knobs", "steps_per_epoch", "named"),
    [
        ({"method": "dynamic", "optimizer": "adamw"}, None, "adamw"),
        ({"method": "dynamic", "optimizer": "sgd"}, None, "sgd"),
        ({"method": "dynamic", "weight_decay": 0}, None, "weight_decay is 0"),
        ({"method": "dynamic", "weight_decay": 0, "optimizer": "adamw"}, 5, "weight_decay is 0"),
        ({"method": "dynamic", "w_init": 0.5}, 20, "w_init = 0.5"),
        ({"method": "periodic", "T": 1, "epochs": 1}, 5, "T = 1"),
        ({"method": "periodic", "T": 301, "interval_unit": "step"}, 5, "T = 301"),
        ({"method": "periodic", "T": 2, "position": "shortcut", "stages": (1,)}, 5, "projection"),
    ],
)
def test_settings_that_inject_nothing_warn_in_one_line(
    knobs: dict[str, Any], steps_per_epoch: int | None, named: str
) -> None:
    [line] = warnings_for(trial(**knobs), steps_per_epoch)
    assert named in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("knobs", "steps_per_epoch"),
    [
        ({}, 5),
        ({"optimizer": "adamw", "weight_decay": 0}, 5),
        ({"method": "dynamic", "w_init": 0.05, "lr": 1e-3}, 5),
        ({"method": "dynamic", "w_init": 0.05, "lr": 1e-3, "gradient": "exact"}, 5),
        ({"method": "dynamic", "w_init": 0.5}, None),
        ({"method": "periodic", "T": 60}, 5),
        ({"method": "periodic", "T": 300, "interval_unit": "step"}, 5),
        ({"method": "periodic", "T": 301, "interval_unit": "step"}, None),
        (
            {"method": "periodic", "T": 2, "position": "shortcut", "stages": (1,), "depth": 50},
            5,
        ),
    ],
)
def test_settings_that_inject_do_not_warn(
    knobs: dict[str, Any], steps_per_epoch: int | None
) -> None:
    assert warnings_for(trial(**knobs), steps_per_epoch) == []
