"""What the state of a trial depends on, and from which epoch on: the ground of trunk sharing.

Two trials share their state after epoch e if everything that it depends on by then is equal: data,
seed, network, training, and what injection has done so far. A periodic trial *is* the baseline
until its first injected step, whatever its interval and position; a schedule is none until it
first changes the learning rate; a training of 30 epochs is the first half of one of 60. An arm
says this once, as facts with the first epoch whose result depends on them, and which trials share
what follows. Knows neither torch nor the data. Epochs and steps count from 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from trainables.config import (
    DROPOUT_KNOBS,
    METHOD_KNOBS,
    TrainingConfig,
    TrialConfig,
    canonical_json,
)
from trainables.schedule import clean_epochs, injects

ADAM = ("beta1", "beta2", "eps")


class Fact(NamedTuple):
    """Something that a trial's state depends on."""

    epoch: int
    """The first epoch whose result depends on it."""
    name: str
    value: str
    """Canonical JSON."""


def lineage(trial: TrialConfig, steps_per_epoch: int) -> frozenset[Fact]:
    """Return everything but the data that decides a trial's state.

    Fields without effect are left out, such as the interval of a trial that is not periodic, so
    that trials which differ in nothing else are seen to be the same.

    Parameters
    ----------
    trial : TrialConfig
    steps_per_epoch : int
        Optimiser steps per epoch.

    Examples
    --------
    >>> periodic = {"method": "periodic", "T": 3}
    >>> trial = TrialConfig.model_validate({"injection": periodic, "epochs": 8})
    >>> [fact[:2] for fact in sorted(lineage(trial, 100)) if fact.epoch > 1]
    [(3, 'evaluation'), (3, 'injected'), (3, 'position'), (3, 'stages'), (6, 'injected')]
    """
    found = [*_network(trial), *_training(trial), *_injection(trial, steps_per_epoch)]
    return frozenset(Fact(epoch, name, canonical_json(value)) for epoch, name, value in found)


def common_epochs(one: frozenset[Fact], other: frozenset[Fact]) -> int | None:
    """Return after how many epochs two trials still have the same state; None if always."""
    return min((fact.epoch - 1 for fact in one ^ other), default=None)


def history_digest(facts: frozenset[Fact], epoch: int) -> str:
    """Return a digest, 64 hexadecimal digits, of all that the state after an epoch depends on.

    Equal digests mean equal states, on equal data and the same kind of machine.
    """
    known = sorted(fact for fact in facts if fact.epoch <= epoch)
    return hashlib.sha256(canonical_json([epoch, known]).encode()).hexdigest()


def _network(trial: TrialConfig) -> Iterator[tuple[int, str, Any]]:
    for name, value in trial.network.model_dump(mode="json").items():
        yield 1, name, value
    yield 1, "seed", trial.seed


def _training(trial: TrialConfig) -> Iterator[tuple[int, str, Any]]:
    training = trial.training
    values = training.model_dump(mode="json")
    without = {"schedule", "schedule_step", "schedule_factor"}
    without |= set(ADAM) if training.optimizer == "sgd" else {"momentum"}
    for name, value in values.items():
        if name not in without:
            yield 1, name, value
    changes = _first_other_rate(training)
    if changes is not None:
        yield changes, "schedule", training.schedule
        if training.schedule == "cosine":
            yield changes, "epochs", trial.epochs
        else:
            yield changes, "schedule_step", training.schedule_step
            yield changes, "schedule_factor", training.schedule_factor


def _first_other_rate(training: TrainingConfig) -> int | None:
    """Return the first epoch whose learning rate may differ from the first one's."""
    if training.schedule == "none":
        return None
    if training.schedule == "cosine":
        return 2
    if training.schedule == "step":
        return training.schedule_step + 1
    # Plateau: the first epoch always improves, and `schedule_step` without improvement must follow.
    return training.schedule_step + 2


def _injection(trial: TrialConfig, steps_per_epoch: int) -> Iterator[tuple[int, str, Any]]:
    injection = trial.injection
    values = injection.model_dump(mode="json")
    values["evaluation"] = injection.evaluated
    if injection.dropout_rate > 0:
        for name in DROPOUT_KNOBS:
            yield 1, name, values[name]
    if injection.method == "dynamic":  # AutoReLU stands in the network from the first step on
        yield 1, "method", "dynamic"
        for name in METHOD_KNOBS["dynamic"]:
            yield 1, name, values[name]
    if injection.method != "periodic":
        return
    assert injection.T is not None  # TrialConfig checks it
    first = clean_epochs(trial, steps_per_epoch) + 1
    if injection.interval_unit == "step":
        yield first, "T", injection.T
    else:
        # What counts is what was injected, not T itself: T = 1 and T = 2 agree through epoch 2.
        flags = [False, *(injects(epoch, injection.T) for epoch in range(1, trial.epochs + 1))]
        for epoch in range(1, trial.epochs + 1):
            if flags[epoch] != flags[epoch - 1]:
                yield epoch, "injected", flags[epoch]
    for name in METHOD_KNOBS["periodic"]:
        if name not in ("T", "interval_unit"):  # told above, by what follows from them
            yield first, name, values[name]
