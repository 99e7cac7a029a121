"""What the figures are drawn from: the records of some runs, with every trial's curves as arrays.

# E epochs, U injected units
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_spaces.model import validated
from search_spaces.space import Space
from tuner.cli.formatting import duration
from tuner.devices import all_kinds, by_device, named
from tuner.record import Record
from tuner.record_rows import EventRow, RungRow, RunRow, TrialRow
from tuner.record_schema import FAILED_STATES
from tuner.spec import RunSpec
from tuner.table import default_stage

Floats = NDArray[np.float64]
SHORT_S = 360.0
"""Below this many slot-seconds, hours are no reading matter: 36 s, not 0.01 h."""
MOST_POINTS = 300
"""Epochs of one drawn line; longer trainings are thinned to about so many."""


class Curve(NamedTuple):
    """A trial's epochs, from the first; NaN where a value is absent."""

    train_loss_E: Floats
    val_f1_E: Floats
    injected_E: Floats
    """Share of unit × steps that were injected."""
    units: tuple[str, ...]
    w_EU: Floats
    injecting_EU: Floats
    """Share of steps in which a unit was injecting."""


class Trial(NamedTuple):
    """A trial and its curve."""

    key: str
    """Unique in a report; also the anchor of its row."""
    run: str
    row: TrialRow
    curve: Curve

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.run} #{self.row.number}"


class Run(NamedTuple):
    """A run as its record tells it."""

    name: str
    """Unique in a report."""
    folder: Path
    row: RunRow
    space: Space
    """With every bound a number."""
    trials: tuple[Trial, ...]
    rungs: tuple[RungRow, ...]
    events: tuple[EventRow, ...]

    @property
    def stage(self) -> str:
        """pilot, census, search or confirm."""
        return default_stage(self.row)

    @property
    def devices(self) -> list[str]:
        """Kinds of device the trials ran on."""
        return all_kinds(named(trial.row.device, self.row.host) for trial in self.trials)

    def told_hours(self, seconds: Callable[[TrialRow], float]) -> str:
        """Return slot-seconds of its trials in hours, by device where these are of several kinds.

        Below a tenth of an hour they are told in minutes or seconds.

        Parameters
        ----------
        seconds : callable
            Slot-seconds of a trial's row.
        """
        rows = [trial.row for trial in self.trials]
        if len(self.devices) <= 1:
            total = sum(map(seconds, rows))
            if 0 < total < SHORT_S:
                return f"{duration(total)} of {'GPU' if self.gpu else 'CPU slot'} time"
            return f"{total / 3600:.4g} {self.slot_unit}"
        held = by_device((named(row.device, self.row.host), seconds(row)) for row in rows)
        return ", ".join(
            f"{duration(one) if one < SHORT_S else f'{one / 3600:.4g} h'} on {device}"
            for device, one in held.items()
            if one
        )

    @property
    def gpu(self) -> bool:
        """Whether trials held a GPU, so that slot-seconds are GPU-seconds."""
        return any((trial.row.device or "cpu") != "cpu" for trial in self.trials)

    @property
    def slot_unit(self) -> str:
        """What a slot-hour is."""
        return "GPU-hours" if self.gpu else "CPU slot-hours"


def read_runs(folders: Sequence[Path]) -> tuple[Run, ...]:
    """Read runs with all their epochs.

    Raises
    ------
    UserError
        If a record cannot be read.
    """
    runs: list[Run] = []
    for index, folder in enumerate(folders):
        with Record.open(folder) as record, record.transaction():
            row = record.run()
            name = row.name
            if any(run.name == name for run in runs):
                name = f"{name} ({index + 1})"
            trials = tuple(
                Trial(f"t{index}-{trial.number}", name, trial, _curve(record, trial.number))
                for trial in record.trials()
            )
            spec = validated(RunSpec, row.spec, f"run {name}")
            runs.append(
                Run(
                    name,
                    folder,
                    row,
                    spec.space.resolved(spec.epochs),
                    trials,
                    tuple(record.rungs()),
                    tuple(record.events()),
                )
            )
    return tuple(runs)


def all_trials(runs: Iterable[Run]) -> Iterator[Trial]:
    """Yield the trials of all runs, in order."""
    for run in runs:
        yield from run.trials


def arms(runs: Iterable[Run]) -> dict[str, list[Trial]]:
    """Return the trials of each arm that has any, in the order of the protocol."""
    from reports.figures.theme import ARMS

    found: dict[str, list[Trial]] = {arm: [] for arm in ARMS}
    for trial in all_trials(runs):
        found[trial.row.arm].append(trial)
    return {arm: trials for arm, trials in found.items() if trials}


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial with the highest score; failed ones matched nothing, and do not count."""
    counted = [
        trial
        for trial in trials
        if trial.row.score is not None and trial.row.state not in FAILED_STATES
    ]
    return max(counted, key=lambda trial: trial.row.score or 0.0, default=None)


def drawn_epochs(count: int) -> list[int]:
    """Return the epochs, from 1, that a line of `count` epochs is drawn through.

    >>> drawn_epochs(4)
    [1, 2, 3, 4]
    >>> drawn_epochs(1000)[:3], drawn_epochs(1000)[-1]
    ([1, 5, 9], 1000)
    """
    step = max(1, -(-count // MOST_POINTS))
    epochs = list(range(1, count + 1, step))
    return epochs if not epochs or epochs[-1] == count else [*epochs, count]


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of the values that are there."""
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def _curve(record: Record, number: int) -> Curve:
    names = ("train_loss", "val_f1", "injected_share", "units")
    loss, f1, injected, reported = record.epoch_columns(number, names)
    units = tuple(one["unit"] for one in (reported[0] or [] if reported else []))
    shape = (len(reported), len(units))

    def per_unit(name: str) -> Floats:
        values = [one[name] for of_epoch in reported for one in of_epoch or []]
        if len(values) != shape[0] * shape[1]:  # units were not always reported
            return np.full(shape, np.nan)
        return np.array(values, dtype=np.float64).reshape(shape)

    return Curve(
        np.array(loss, dtype=np.float64),
        np.array(f1, dtype=np.float64),
        np.array(injected, dtype=np.float64),
        units,
        per_unit("w"),
        per_unit("injecting"),
    )
