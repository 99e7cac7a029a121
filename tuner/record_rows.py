"""The rows of a record as plain frozen data, and how values travel to SQLite and back.

Fields carry the names of the columns; their units and meanings stand in `record_schema.py`.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainables.config import canonical_json
from tuner.record_schema import END_STATES, TABLES
from tuner.rungs import Decision


@dataclass(frozen=True)
class RunRow:
    """The run."""

    id: int
    name: str
    spec: dict[str, Any]
    digest: str
    state: str
    reason: str | None
    created_at: float
    versions: dict[str, str]
    host: dict[str, Any]
    command: list[str]
    git_revision: str | None
    data: dict[str, Any]
    budget: dict[str, Any]
    active_s: float


@dataclass(frozen=True)
class ConfigRow:
    """A configuration that the sampler proposed."""

    number: int
    knobs: dict[str, Any]
    state: str
    value: float | None
    optuna_attrs: dict[str, Any]
    study_attrs: dict[str, Any]
    asked_at: float


@dataclass(frozen=True)
class TrialRow:
    """One configuration and one seed, trained."""

    number: int
    config: int
    seed: int
    arm: str
    knobs: dict[str, Any]
    trial_config: dict[str, Any]
    audited: bool
    first_judged_epoch: int
    state: str
    reason: str | None
    error: str | None
    attempts: int
    device: str | None
    worker: str | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    stand_alone_epochs: int
    as_run_epochs: int
    slot_s: float
    saved_slot_s: float
    sharing: str | None
    train_s: float
    eval_s: float
    rung: int | None
    best_epoch: int | None
    score: float | None
    test_score: float | None

    @property
    def epochs(self) -> int:
        """Epochs trained, whether shared or not: the last epoch recorded."""
        return self.stand_alone_epochs

    @property
    def stand_alone_slot_s(self) -> float:
        """Slot-seconds that it would have cost without sharing."""
        return self.slot_s + self.saved_slot_s


@dataclass(frozen=True)
class RungRow:
    """One judgement of early stopping."""

    id: int
    trial: int
    rung_epoch: int
    value: float
    cutoff: float | None
    rank: int
    entries: int
    tied: int
    stop: bool
    would_stop: bool
    at: float

    @property
    def decision(self) -> Decision:
        """The judgement as early stopping gave it, for its `restore`."""
        return Decision(
            stop=self.stop,
            rung=self.rung_epoch,
            value=self.value,
            cutoff=self.cutoff,
            rank=self.rank,
            entries=self.entries,
            tied=self.tied,
            would_stop=self.would_stop,
        )


@dataclass(frozen=True)
class EventRow:
    """Something that happened."""

    id: int
    at: float
    kind: str
    message: str
    trial: int | None
    data: dict[str, Any] | None


@dataclass(frozen=True)
class Totals:
    """What a run has spent so far."""

    trials: dict[str, int]
    """Trials by state; every state is present."""
    epochs: int
    """Epochs computed in this run."""
    slot_s: float
    """Slot-seconds held."""
    active_s: float
    """Seconds during which a driver ran."""
    stand_alone_epochs: int = 0
    """Epochs of all trials, shared ones counted for each."""
    stand_alone_slot_s: float = 0.0
    """Slot-seconds that the trials would have cost without sharing."""
    ended_epochs: int = 0
    """Of `epochs`, those of trials that have ended."""

    @property
    def num_ended(self) -> int:
        """Trials that have ended, however."""
        return sum(self.trials.get(state, 0) for state in END_STATES)

    @property
    def num_trials(self) -> int:
        """Trials of all states."""
        return sum(self.trials.values())


_DECODERS: dict[str, Callable[[Any], Any]] = {"JSON": json.loads, "BOOL": bool}
_DECODED = {
    name: [
        (column.name, _DECODERS[column.base_kind])
        for column in table.columns
        if column.base_kind in _DECODERS
    ]
    for name, table in TABLES.items()
}
_KINDS = {
    name: {column.name: column.base_kind for column in table.columns}
    for name, table in TABLES.items()
}


def decoded(table: str, row: sqlite3.Row) -> dict[str, Any]:
    """Return a database row as column name → Python value."""
    values = dict(zip(row.keys(), row, strict=True))
    for name, decode in _DECODED[table]:
        if values[name] is not None:
            values[name] = decode(values[name])
    return values


def encoded(table: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return column name → value as SQLite stores it.

    Raises
    ------
    ValueError
        If a column is unknown, or a number is NaN or infinite: SQLite would turn NaN into NULL.
    """
    kinds = _KINDS[table]
    unknown = set(values) - set(kinds)
    if unknown:
        raise ValueError(f"table {table} has no column {', '.join(sorted(unknown))}")
    result = {}
    for name, value in values.items():
        if value is not None and kinds[name] == "JSON":
            value = canonical_json(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be finite, but got {value} (table {table})")
        result[name] = value
    return result
