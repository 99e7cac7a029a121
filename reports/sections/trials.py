"""The trial table: one row per trial with a thumbnail of its curve, and why trials failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from reports.figures.chart import Column, Table
from reports.figures.runs import Floats, Run, Trial
from reports.table import Trials
from tuner.cli.formatting import knob_text
from tuner.devices import all_kinds, named
from tuner.record_schema import FAILED_STATES

POINTS_IN_ALL = 200_000
"""Epochs of all curves in a page together; with more, each curve is thinned."""
THUMBNAIL = (64, 18)
"""Pixels."""


class TrialLine(NamedTuple):
    """A trial's row in the page."""

    trial: Trial
    knobs: str
    thumbnail: str
    """Path data of validation F1 by epoch; empty without epochs."""


class Failure(NamedTuple):
    """A trial that failed."""

    trial: Trial
    last_line: str
    full: str


def trial_lines(runs: Sequence[Run]) -> list[TrialLine]:
    """Return a line for every trial; all thumbnails share one scale."""
    trials = [trial for run in runs for trial in run.trials]
    scores = [trial.curve.val_f1_E for trial in trials if len(trial.curve.val_f1_E)]
    low = min((float(score.min()) for score in scores), default=0.0)
    high = max((float(score.max()) for score in scores), default=1.0)
    longest = max(map(len, scores), default=1)
    return [
        TrialLine(trial, knob_text(trial.row.knobs),
                  thumbnail(trial.curve.val_f1_E, longest, low, high))
        for trial in trials
    ]  # fmt: skip


def thumbnail(f1_E: Floats, longest: int, low: float, high: float) -> str:
    """Return the path of a small line in whole pixels.

    >>> thumbnail(np.array([0.0, 1.0]), 2, 0.0, 1.0)
    'M0 17L63 1'
    """
    if len(f1_E) == 0:
        return ""
    width, height = THUMBNAIL
    x = np.arange(len(f1_E)) / max(1, longest - 1) * (width - 1)
    y = height - 1 - (f1_E - low) / (high - low or 1.0) * (height - 2)
    points = dict.fromkeys(zip(x.round().astype(int), y.round().astype(int), strict=True))
    if len(f1_E) == 1:
        points = dict.fromkeys([(0, int(y[0].round())), (2, int(y[0].round()))])
    return "M" + "L".join(f"{a} {b}" for a, b in points)


def curve_data(runs: Sequence[Run]) -> dict[str, Any]:
    """Return all curves in a compact form for the page's script.

    Each trial has `e` (epochs, or absent where they are 1, 2, 3, …), `f` (validation F1) and `l`
    (training loss) in thousandths, and `i` (share injected) in hundredths.
    """
    trials = [trial for run in runs for trial in run.trials if len(trial.curve.val_f1_E)]
    most = max(10, POINTS_IN_ALL // max(1, len(trials)))
    found = {}
    for trial in trials:
        curve, count = trial.curve, len(trial.curve.val_f1_E)
        step = -(-count // most)
        at = np.unique(np.append(np.arange(0, count, step), count - 1))
        one: dict[str, Any] = {
            "f": _whole(curve.val_f1_E[at], 1000),
            "l": _whole(curve.train_loss_E[at], 1000),
        }
        if step > 1:
            one["e"] = (at + 1).tolist()
        if np.nansum(curve.injected_E) > 0:
            one["i"] = _whole(curve.injected_E[at], 100)
        found[trial.key] = one
    return found


def failures(runs: Sequence[Run]) -> list[Failure]:
    """Return the trials that crashed or diverged, with the last line of their error."""
    found = []
    for run in runs:
        for trial in run.trials:
            if trial.row.state in FAILED_STATES:
                text = (trial.row.error or "").strip()
                last = text.splitlines()[-1].strip() if text else trial.row.reason or "unknown"
                found.append(Failure(trial, last, text))
    return found


def as_table(runs: Sequence[Run]) -> Table:
    """Return the trials for files, every knob in a column of its own."""
    knobs = sorted({name for run in runs for trial in run.trials for name in trial.row.knobs})
    mixed = len(all_kinds(device for run in runs for device in run.devices)) > 1
    columns = (
        Column("run", "run"),
        Column("trial", "trial"),
        Column("arm", "arm"),
        Column("seed", "seed"),
        Column("state", "state"),
        Column("val_f1", "validation F1", 4),
        Column("test_f1", "test F1", 4),
        Column("best_epoch", "best epoch"),
        Column("epochs", "epochs"),
        Column("slot_s", "slot-seconds", 1),
        *([Column("device", "device")] if mixed else []),
        *(Column(f"knob.{name}", name) for name in knobs),
    )
    rows = tuple(
        (
            trial.run,
            trial.row.number,
            trial.row.arm,
            trial.row.seed,
            trial.row.state,
            trial.row.score,
            trial.row.test_score,
            trial.row.best_epoch,
            trial.row.epochs,
            trial.row.slot_s,
            *([named(trial.row.device, run.row.host)] if mixed else []),
            *(trial.row.knobs.get(name) for name in knobs),
        )
        for run in runs
        for trial in run.trials
    )
    return Table(columns, rows)


def rows_table(trials: Trials) -> Table:
    """Return rows of trial tables, every knob in a column of its own."""
    knobs = sorted({name for one in trials.knobs for name in one})
    columns = (
        Column("file", "file"),
        Column("row", "row"),
        Column("stage", "stage"),
        Column("arm", "arm"),
        Column("space", "space"),
        Column("seed", "seed"),
        Column("state", "state"),
        Column("val_f1", "validation F1", 4),
        Column("test_f1", "test F1", 4),
        Column("epochs", "epochs"),
        Column("slot_s", "slot-seconds", 1),
        *(Column(f"knob.{name}", name) for name in knobs),
    )
    values = zip(
        trials.source, trials.row, trials.stage, trials.arm, trials.space, trials.seed,
        trials.state, trials.score, trials.test_score, trials.epochs, trials.slot_seconds,
        strict=True,
    )  # fmt: skip
    return Table(
        columns,
        tuple(
            (*row, *(its.get(name) for name in knobs))
            for row, its in zip(values, trials.knobs, strict=True)
        ),
    )


def _whole(values: Floats, factor: int) -> list[int | None]:
    return [
        None if math.isnan(value) else int(value) for value in np.rint(values * factor).tolist()
    ]
