"""An open record: its transactions, and all that can be read from it.

The driver reads its own uncommitted changes; anyone else reads beside it what was committed last.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from search_spaces.model import UserError
from tuner.devices import by_device, named
from tuner.record_file import reraise
from tuner.record_rows import ConfigRow, EventRow, RungRow, RunRow, Totals, TrialRow, decoded
from tuner.record_schema import END_STATES, SCORED_STATES, TABLES, TRIAL_STATES

SYNC_EVERY_S = 1.0
"""A commit waits for the disk unless one did less than this ago: 2900 instead of 270 epochs a
second on a virtual disk. What the process has committed survives its killing in any case."""

_JSON_OF_EPOCHS = {one.name for one in TABLES["epoch"].columns if one.base_kind == "JSON"}


class RecordReader:
    """The reading half of `tuner.record.Record`, which opens it.

    Parameters
    ----------
    folder : Path
        The run's folder.
    connection : sqlite3.Connection
    lock : file or None
        Held while this process may write.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: IO[str] | None) -> None:
        self.folder = folder
        self._connection = connection
        self._lock = lock
        self._inside = False
        self._broken = False
        self._synced_at = -SYNC_EVERY_S

    def close(self) -> None:
        """Close the file and, for a writer, let others write."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all writes inside together, or none; for a reader: see one moment throughout.

        A nested one joins the outer one. If anything inside fails, nothing is kept, even where
        the caller catches the error within the outer transaction.

        Raises
        ------
        RecordFull
            If the disk is full or fails.
        """
        if self._inside:
            try:
                yield
            except BaseException:
                self._broken = True
                raise
            return
        self._inside, self._broken = True, False
        try:
            if self._lock is not None:
                self._choose_sync()
            self._connection.execute("BEGIN IMMEDIATE" if self._lock else "BEGIN")
            yield
            if self._broken:
                raise RuntimeError("A write of this transaction failed; nothing of it is kept.")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            reraise(error, self.folder)
        finally:
            self._inside = False
            if self._connection.in_transaction:  # SQLite may have rolled back itself
                self._connection.execute("ROLLBACK")

    def run(self) -> RunRow:
        """Return the run."""
        return RunRow(**decoded("run", self._all("SELECT * FROM run")[0]))

    def configs(self) -> list[ConfigRow]:
        """Return all configurations in the order of asking."""
        rows = self._all("SELECT * FROM config ORDER BY number")
        return [ConfigRow(**decoded("config", row)) for row in rows]

    def trials(self, states: Iterable[str] | None = None) -> list[TrialRow]:
        """Return the trials in these states, or all, by number."""
        wanted = TRIAL_STATES if states is None else tuple(states)
        where = f"state IN ({', '.join('?' * len(wanted))})"
        rows = self._all(f"SELECT * FROM trial WHERE {where} ORDER BY number", wanted)
        return [TrialRow(**decoded("trial", row)) for row in rows]

    def news(self, after: int, numbers: Iterable[int]) -> list[TrialRow]:
        """Return the trials above a number, and those of these numbers: what may have changed.

        Parameters
        ----------
        after : int
            The highest number seen so far; -1 asks for all.
        numbers : iterable of int
            Trials that were waiting or running when last seen.
        """
        rows = self._all(
            "SELECT * FROM trial WHERE number > ? OR number IN (SELECT value FROM json_each(?))"
            " ORDER BY number",
            (after, json.dumps(list(numbers))),
        )
        return [TrialRow(**decoded("trial", row)) for row in rows]

    def trial(self, number: int) -> TrialRow:
        """Return one trial.

        Raises
        ------
        UserError
            If there is none of this number.
        """
        rows = self._all("SELECT * FROM trial WHERE number = ?", (number,))
        if not rows:
            count = self._all("SELECT count(*) FROM trial")[0][0]
            raise UserError(f"Run {self.folder.name} has {count} trials, but none is {number}.")
        return TrialRow(**decoded("trial", rows[0]))

    def epochs(self, number: int) -> list[dict[str, Any]]:
        """Return a trial's epoch rows as they were added, absent values as None."""
        rows = self._all("SELECT * FROM epoch WHERE trial = ? ORDER BY epoch", (number,))
        result = [decoded("epoch", row) for row in rows]
        for row in result:
            del row["trial"]
        return result

    def epoch_columns(self, number: int, names: Sequence[str]) -> list[list[Any]]:
        """Return some columns of a trial's epochs: in half the time of whole rows.

        Parameters
        ----------
        number : int
            The trial's.
        names : sequence of str
            Columns of the table `epoch` that hold numbers or JSON.
        """
        query = f"SELECT {', '.join(names)} FROM epoch WHERE trial = ? ORDER BY epoch"
        rows = self._all(query, (number,))
        columns = {name: [row[name] for row in rows] for name in names}
        for name in _JSON_OF_EPOCHS & set(names):
            columns[name] = json.loads(f"[{','.join(text or 'null' for text in columns[name])}]")
        return list(columns.values())

    def points(self, after: int, most: int) -> list[tuple[int, int, int, float, float, float]]:
        """Return epochs of all trials in the order in which they were recorded.

        Each is (position, trial, epoch, val_f1, best_val_f1, injected_share).

        Parameters
        ----------
        after : int
            Position of the last one seen; 0 asks from the first.
        most : int
            How many at once.
        """
        rows = self._all(
            "SELECT rowid, trial, epoch, val_f1, coalesce(best_val_f1, val_f1),"
            " coalesce(injected_share, 0.0) FROM epoch WHERE rowid > ? ORDER BY rowid LIMIT ?",
            (after, most),
        )
        return [tuple(row) for row in rows]

    def last_point(self) -> int:
        """Return the position of the epoch that was recorded last, 0 if there is none."""
        return int(self._all("SELECT coalesce(max(rowid), 0) FROM epoch")[0][0])

    def rungs(self) -> list[RungRow]:
        """Return all judgements of early stopping in the order of arrival."""
        rows = self._all("SELECT * FROM rung ORDER BY id")
        return [RungRow(**decoded("rung", row)) for row in rows]

    def events(self, after_id: int = 0) -> list[EventRow]:
        """Return the history, or what came after an event."""
        rows = self._all("SELECT * FROM event WHERE id > ? ORDER BY id", (after_id,))
        return [EventRow(**decoded("event", row)) for row in rows]

    def totals(self) -> Totals:
        """Return what the run has spent so far."""
        counts = dict.fromkeys(TRIAL_STATES, 0)
        sums = [0, 0.0, 0, 0.0]
        ended_epochs = 0
        columns = ("as_run_epochs", "slot_s", "stand_alone_epochs", "saved_slot_s")
        chosen = ", ".join(f"sum({column})" for column in columns)
        for state, count, *of_state in self._all(
            f"SELECT state, count(*), {chosen} FROM trial GROUP BY state"
        ):
            counts[state] = count
            ended_epochs += of_state[0] if state in END_STATES else 0
            sums = [total + part for total, part in zip(sums, of_state, strict=True)]
        epochs, slot_s, stand_alone_epochs, saved_slot_s = sums
        active_s = self._all("SELECT active_s FROM run")[0][0]
        return Totals(
            counts, int(epochs), slot_s, active_s, int(stand_alone_epochs), slot_s + saved_slot_s,
            int(ended_epochs),
        )  # fmt: skip

    def slot_seconds_by_device(self) -> dict[str, float]:
        """Return slot-seconds held so far by the device that they were held on."""
        host = self.run().host
        rows = self._all(
            "SELECT device, sum(slot_s) AS slot_s FROM trial WHERE slot_s > 0"
            " GROUP BY device ORDER BY min(number)"
        )
        return by_device((named(row["device"], host), row["slot_s"]) for row in rows)

    def best(self) -> TrialRow | None:
        """Return the trial with the highest score, the lowest number where scores are equal.

        Running trials count with what they have reached. Crashed and diverged ones do not: the
        measurement protocol counts neither as having matched anything.
        """
        return next(iter(self.leading(1, TRIAL_STATES)), None)

    def leading(self, most: int, states: Sequence[str] = END_STATES) -> list[TrialRow]:
        """Return the trials in these states with the highest scores, as `best` orders them."""
        scored = [state for state in states if state in SCORED_STATES]
        rows = self._all(
            f"SELECT * FROM trial WHERE score IS NOT NULL AND state IN"
            f" ({', '.join('?' * len(scored))}) ORDER BY score DESC, number LIMIT ?",
            (*scored, most),
        )
        return [TrialRow(**decoded("trial", row)) for row in rows]

    def _choose_sync(self) -> None:
        now = time.monotonic()
        full = now - self._synced_at >= SYNC_EVERY_S
        if full:
            self._synced_at = now
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    def _all(self, query: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(query, tuple(values)).fetchall()
        except sqlite3.Error as error:
            reraise(error, self.folder)
