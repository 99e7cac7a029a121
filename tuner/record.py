"""The durable account of a run: what was asked, trained, judged, spent, and why it ended.

One SQLite file, RUN/record.db, with the driver as its only writer; tables, units and promises
stand in `docs/record.md`. It knows neither torch nor Ray. Times are Unix seconds.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Self

from search_spaces.model import UserError
from trainables.config import InjectionConfig
from tuner.devices import joined
from tuner.record_file import RecordFull, create_file, lock_file, must_exist, open_file, writer
from tuner.record_read import RecordReader
from tuner.record_rows import ConfigRow, EventRow, RungRow, RunRow, Totals, TrialRow, encoded
from tuner.record_schema import END_STATES, OPEN_STATES

__all__ = [
    "ConfigRow",
    "EventRow",
    "Record",
    "RecordFull",
    "RunRow",
    "RungRow",
    "Totals",
    "TrialRow",
    "writer",
]


class Record(RecordReader):
    """A run's record, open for reading, or for writing by this process alone.

    Every writing method is one transaction, or joins the one that `transaction` began.

    Parameters
    ----------
    folder : Path
        The run's folder. Use `Record.create` or `Record.open`.
    """

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        name: str,
        spec: dict[str, Any],
        digest: str,
        versions: dict[str, str],
        host: dict[str, Any],
        command: list[str],
        git_revision: str | None,
        data: dict[str, Any],
    ) -> Self:
        """Make the record of a new run and open it for writing; its budget is the spec's.

        Raises
        ------
        UserError
            If the folder holds a run, is being written, or cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot make {folder}: {error.strerror}.") from error
        row = {
            "id": 1,
            "name": name,
            "spec": spec,
            "digest": digest,
            "state": "running",
            "created_at": time.time(),
            "versions": versions,
            "host": host,
            "command": command,
            "git_revision": git_revision,
            "data": data,
            "budget": spec.get("budget", {}),
            "active_s": 0.0,
        }
        lock = lock_file(folder)
        try:
            create_file(folder, lambda connection: _insert(connection, "run", row))
            return cls(folder, open_file(folder, write=True), lock)
        except BaseException:
            lock.close()
            raise

    @classmethod
    def open(cls, folder: Path, *, write: bool = False) -> Self:
        """Open an existing record; one writer, any number of readers, also at the same time.

        Raises
        ------
        UserError
            If there is none, it is damaged or of a newer version, or another process writes it.
        """
        if not write:
            return cls(folder, open_file(folder, write=False), None)
        must_exist(folder)  # before a lock file is left in a wrong folder
        lock = lock_file(folder)
        try:
            return cls(folder, open_file(folder, write=True), lock)
        except BaseException:
            lock.close()
            raise

    # ---- writing: the run

    def set_run(self, state: str, reason: str | None = None) -> None:
        """Set the run's state: running, finished, interrupted or failed."""
        self._update("run", {"state": state, "reason": reason})

    def set_budget(self, budget: dict[str, Any]) -> None:
        """Replace what the run may spend."""
        self._update("run", {"budget": budget})

    def add_active(self, seconds: float) -> None:
        """Add wall-clock seconds during which the driver ran."""
        self._add("run", "active_s", seconds, 1)

    def add_event(
        self,
        kind: str,
        message: str,
        trial: int | None = None,
        data: dict[str, Any] | None = None,
        at: float | None = None,
    ) -> None:
        """Add a line to the run's history."""
        row = {"kind": kind, "message": message, "trial": trial, "data": data, "at": _or_now(at)}
        with self.transaction():
            _insert(self._connection, "event", row)

    # ---- writing: configurations and trials

    def add_config(
        self,
        number: int,
        knobs: dict[str, Any],
        optuna_attrs: dict[str, Any],
        study_attrs: dict[str, Any],
    ) -> None:
        """Add a configuration that the sampler proposed."""
        row = {
            "number": number,
            "knobs": knobs,
            "state": "asked",
            "optuna_attrs": optuna_attrs,
            "study_attrs": study_attrs,
            "asked_at": time.time(),
        }
        with self.transaction():
            _insert(self._connection, "config", row)

    def set_config(
        self,
        number: int,
        state: str,
        value: float | None,
        optuna_attrs: dict[str, Any] | None = None,
    ) -> None:
        """Note what the sampler was told, and the score; attributes are kept unless given."""
        values: dict[str, Any] = {"state": state, "value": value}
        if optuna_attrs is not None:
            values["optuna_attrs"] = optuna_attrs
        self._update("config", values, number)

    def add_trial(
        self,
        number: int,
        config: int,
        seed: int,
        knobs: dict[str, Any],
        trial_config: dict[str, Any],
        audited: bool,
        first_judged_epoch: int,
    ) -> None:
        """Add a trial, waiting; `trial_config` is `TrialConfig` as plain data."""
        row = {
            "number": number,
            "config": config,
            "seed": seed,
            "arm": InjectionConfig.model_validate(trial_config["injection"]).arm,
            "knobs": knobs,
            "trial_config": trial_config,
            "audited": audited,
            "first_judged_epoch": first_judged_epoch,
            "state": "waiting",
            "created_at": time.time(),
            **dict.fromkeys(("attempts", "stand_alone_epochs", "as_run_epochs"), 0),
            **dict.fromkeys(("slot_s", "saved_slot_s", "train_s", "eval_s"), 0.0),
        }
        with self.transaction():
            _insert(self._connection, "trial", row)

    def start_trial(self, number: int, at: float | None, device: str, worker: str) -> None:
        """Note that an attempt began; also a further one of a trial that runs or ran before."""
        with self.transaction():
            trial = self._open_trial(number, "start")
            values = {
                "state": "running",
                "reason": None,
                "device": trial.device if trial.epochs else joined(trial.device, 0, "") or device,
                "worker": worker,
                "started_at": trial.started_at or _or_now(at),
                "attempts": trial.attempts + 1,
            }
            self._update("trial", values, number)

    def place_trial(self, number: int, device: str, worker: str | None) -> str:
        """Note where a trial's attempt turned out to run; return all that it has trained on."""
        with self.transaction():
            trial = self.trial(number)
            device = joined(trial.device, trial.epochs, device)
            self._update("trial", {"device": device, "worker": worker or trial.worker}, number)
        return device

    def add_epoch(self, number: int, row: dict[str, Any]) -> bool:
        """Add an epoch's metrics and bring the trial's score up to date.

        Returns False, and changes nothing, if that epoch is there already: after a crash a trial
        may report again what it had reported.

        Raises
        ------
        ValueError
            If the trial has ended, an epoch is left out, or a number is not finite.
        """
        epoch = row["epoch"]
        with self.transaction():
            trial = self.trial(number)
            if epoch <= trial.epochs:
                return False
            self._open_trial(number, "add an epoch to")
            if epoch != trial.epochs + 1:
                raise ValueError(f"Trial {number}: epoch {epoch} came after {trial.epochs}.")
            _insert(self._connection, "epoch", {"trial": number, **row})
            values = {
                "stand_alone_epochs": epoch,
                "as_run_epochs": trial.as_run_epochs + (not row["shared"]),
                "train_s": trial.train_s + (row.get("train_s") or 0.0),
                "eval_s": trial.eval_s + (row.get("eval_s") or 0.0),
            }
            if trial.score is None or row["val_f1"] > trial.score:
                values |= {"score": row["val_f1"], "best_epoch": epoch}
                values |= {"test_score": row.get("test_f1")}
            self._update("trial", values, number)
        return True

    def add_rung(
        self,
        number: int,
        rung_epoch: int,
        value: float,
        cutoff: float | None,
        rank: int,
        entries: int,
        tied: int,
        stop: bool,
        would_stop: bool | None = None,
    ) -> bool:
        """Add a judgement of early stopping; False if the trial had entered that rung before."""
        row = {
            "trial": number,
            "rung_epoch": rung_epoch,
            "value": value,
            "cutoff": cutoff,
            "rank": rank,
            "entries": entries,
            "tied": tied,
            "stop": stop,
            "would_stop": stop if would_stop is None else would_stop,
            "at": time.time(),
        }
        key = (number, rung_epoch)
        with self.transaction():
            if self._all("SELECT 1 FROM rung WHERE trial = ? AND rung_epoch = ?", key):
                return False
            _insert(self._connection, "rung", row)
            self._update("trial", {"rung": rung_epoch}, number)
        return True

    def add_slot_time(self, number: int, seconds: float) -> None:
        """Add slot-seconds that an attempt held: seconds × fraction of a GPU, or of its cores."""
        self._add("trial", "slot_s", seconds, number)

    def add_saved_time(self, number: int, seconds: float, sharing: str) -> None:
        """Add slot-seconds that sharing saved a trial, and say whether it may change a bit."""
        with self.transaction():
            self._add("trial", "saved_slot_s", seconds, number)
            self._update("trial", {"sharing": sharing}, number)

    def interrupt_trial(self, number: int, reason: str, at: float | None = None) -> None:
        """Put a trial back to waiting, to be continued from its last epoch."""
        with self.transaction():
            self._open_trial(number, "interrupt")
            self._update("trial", {"state": "waiting", "reason": reason}, number)
            self.add_event("interrupt", reason, trial=number, at=at)

    def end_trial(
        self,
        number: int,
        state: str,
        reason: str | None,
        error: str | None = None,
        at: float | None = None,
    ) -> None:
        """End a trial: completed, pruned, diverged, crashed or stopped."""
        if state not in END_STATES:
            raise ValueError(f"A trial ends as one of {', '.join(END_STATES)}, not {state!r}.")
        values = {"state": state, "reason": reason, "error": error, "ended_at": _or_now(at)}
        with self.transaction():
            self._open_trial(number, "end")
            self._update("trial", values, number)

    # ---- helpers

    def _open_trial(self, number: int, doing: str) -> TrialRow:
        """Return a trial that has not ended."""
        trial = self.trial(number)
        if trial.state not in OPEN_STATES:
            raise ValueError(f"Cannot {doing} trial {number}: it is {trial.state}.")
        return trial

    def _update(self, table: str, values: dict[str, Any], key: int = 1) -> None:
        """Set columns of the row whose primary key is `key`."""
        stored = encoded(table, values)
        assignments = ", ".join(f"{name} = :{name}" for name in stored)
        self._change(table, assignments, {**stored, "key": key})

    def _add(self, table: str, column: str, seconds: float, key: int) -> None:
        stored = encoded(table, {column: seconds})
        self._change(table, f"{column} = {column} + :{column}", {**stored, "key": key})

    def _change(self, table: str, assignments: str, values: dict[str, Any]) -> None:
        key = "id" if table == "run" else "number"
        with self.transaction():
            cursor = self._connection.execute(
                f"UPDATE {table} SET {assignments} WHERE {key} = :key", values
            )
            if cursor.rowcount != 1:
                raise ValueError(f"Run {self.folder.name} has no {table} {values['key']}.")


def _insert(connection: sqlite3.Connection, table: str, values: dict[str, Any]) -> None:
    stored = encoded(table, values)
    names = ", ".join(stored)
    marks = ", ".join(f":{name}" for name in stored)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", stored)


def _or_now(at: float | None) -> float:
    return time.time() if at is None else at
