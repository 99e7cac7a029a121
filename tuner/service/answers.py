"""What is told of jobs, encoded once and kept while nothing of it changes.

Pages and programs ask for the same again and again: of 200 requests a second nearly all are
answered from here, after a look at the database's counter of changes and at the records of the jobs
that are open. What only a run by hand could change, records of other jobs, is a second old at most.
Of many who ask while an answer has to be made anew, one makes it, and the others wait for that one:
were each to make its own, they would take so long together that ever more wait.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from tuner.service.models import OPEN, Job
from tuner.service.store import Store
from tuner.service.tables import JobRow

MOST_BYTES = 32_000_000
"""Of all answers that are kept."""
LOOK_S = 1.0
"""How long an answer is kept at most."""
LOCKS = 64
"""Questions share so many locks; two that share one wait for each other, which is all."""
_JOBS: TypeAdapter[list[Job]] = TypeAdapter(list[Job])


class Answer(NamedTuple):
    """An answer about some jobs."""

    rows: Sequence[JobRow]
    changes: int
    at_s: float
    seen: list[Any]
    body: bytes


class Answers:
    """Answers about jobs.

    Parameters
    ----------
    store : Store
    told : callable
        Returns what is told of a job.
    seen : callable
        Returns what changes whenever that does, though the database does not.
    """

    def __init__(
        self, store: Store, told: Callable[[JobRow], Job], seen: Callable[[JobRow], Any]
    ) -> None:
        self._store, self._told, self._seen = store, told, seen
        self._kept: OrderedDict[Hashable, Answer] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._making = tuple(threading.Lock() for _ in range(LOCKS))

    def answer(self, key: Hashable, rows: Callable[[], Sequence[JobRow]], one: bool) -> Answer:
        """Return the answer about what `rows` returns, which is called only if anything changed.

        Parameters
        ----------
        key : hashable
            Of the question.
        rows : callable
        one : bool
            Whether it is one object rather than a list.
        """
        kept = self._fresh(key)
        if kept is None:
            with self._making[hash(key) % LOCKS]:
                kept = self._fresh(key) or self._made(key, rows, one)
        return kept

    def _fresh(self, key: Hashable) -> Answer | None:
        """Return the answer that is kept, if it still holds."""
        with self._lock:
            kept = self._kept.get(key)
        if kept is None or time.monotonic() - kept.at_s >= LOOK_S:
            return None
        if kept.changes != self._store.changes() or kept.seen != self._look(kept.rows):
            return None
        return kept

    def _made(self, key: Hashable, rows: Callable[[], Sequence[JobRow]], one: bool) -> Answer:
        """Make an answer and keep it."""
        changes, now_s = self._store.changes(), time.monotonic()
        found = rows()
        seen = self._look(found)  # before what it stands for is read
        jobs = [self._told(row) for row in found]
        body = jobs[0].model_dump_json().encode() if one else _JOBS.dump_json(jobs)
        made = Answer(found, changes, now_s, seen, body)
        with self._lock:
            self._forget(key)
            self._kept[key] = made
            self._bytes += len(body)
            while self._bytes > MOST_BYTES:
                self._forget(next(iter(self._kept)))
        return made

    def _look(self, rows: Sequence[JobRow]) -> list[Any]:
        return [self._seen(row) for row in rows if row.state in OPEN]

    def _forget(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        self._bytes -= len(kept.body) if kept else 0
