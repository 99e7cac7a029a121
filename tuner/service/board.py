"""The queue as people see it: what is held, who waits where, and when their turn may come.

Made at most once a second, however many ask; the order is `queue.ordered`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tuner.service import queue
from tuner.service.models import Capacity, Queue, Raise, Waiting
from tuner.service.store import Store
from tuner.service.tables import JobRow, NewJob, UserRow

KEPT_S = 1.0
HIDDEN = "–"
"""What another user's job is called."""


class Snapshot(NamedTuple):
    """The queue at one moment."""

    capacity: Capacity | None
    """None while Ray is away."""
    notes: tuple[str, ...]
    held: tuple[JobRow, ...]
    waiting: tuple[JobRow, ...]
    """In order."""
    starts_s: dict[str, float | None]
    """Waiting job → seconds until it may start; None where nothing can be said."""

    def position(self, job: JobRow) -> int | None:
        """Return a job's place, from 1; None unless it waits."""
        return next((n for n, one in enumerate(self.waiting, 1) if one.id == job.id), None)


class Board:
    """Knows the queue.

    Parameters
    ----------
    store : Store
    capacity : callable
        Returns what there is to give, or None while Ray is away.
    notes : callable
        Returns lines such as that Ray is away.
    remaining_s : callable
        Estimates how long a job that holds GPUs will still take; None if unknown.
    waited_s : callable
        Returns by job how long it has waited.
    """

    def __init__(
        self,
        store: Store,
        capacity: Callable[[], Capacity | None],
        notes: Callable[[], Sequence[str]],
        remaining_s: Callable[[JobRow], float | None],
        waited_s: Callable[[], Mapping[str, float]],
    ) -> None:
        self._store, self._capacity, self._notes = store, capacity, notes
        self._remaining_s, self._waited_s = remaining_s, waited_s
        self._lock = threading.Lock()
        self._kept: tuple[float, int, Snapshot] | None = None

    def snapshot(self) -> Snapshot:
        """Return the queue, at most a second old and never older than a change of a job."""
        changes = self._store.changes()
        with self._lock:
            now_s = time.monotonic()
            if self._kept and self._kept[1] == changes and now_s - self._kept[0] < KEPT_S:
                return self._kept[2]
            found = self._made()
            self._kept = now_s, changes, found
            return found

    def place(self, new: NewJob) -> int:
        """Return the position that a job would get now."""
        waiting = self._store.waiting()
        last = max((job.arrival for job in waiting), default=0)
        more = JobRow(
            **vars(new), id="", state="queued", wanted="run", reason=None, more=Raise(),
            attempt=0, fruitless=0, epochs=0, number=0, arrival=last + 1, changed=0,
            created_at=time.time(),
            queued_at=time.time(), started_at=None, ended_at=None, told=False,
        )  # fmt: skip
        order = self._ordered([*waiting, more])
        return next(number for number, job in enumerate(order, 1) if job.id == "")

    def seen_by(self, user: UserRow) -> Queue:
        """Return the queue as a user may see it: others' jobs without their names."""
        now = self.snapshot()

        def shown(job: JobRow, position: int) -> Waiting:
            own = user.admin or job.user_name == user.name
            return Waiting(
                id=job.id if own else HIDDEN,
                user=job.user_name,
                position=position,
                gpus=job.gpus,
                cpus=job.cpus,
                exclusive=job.exclusive,
                priority=job.priority,
                state=job.state,
                started_at=job.started_at,
                expected_start_s=now.starts_s.get(job.id),
            )

        return Queue(
            capacity=now.capacity,
            held=[shown(job, 0) for job in now.held],
            waiting=[shown(job, position) for position, job in enumerate(now.waiting, 1)],
            notes=list(now.notes),
        )

    def _made(self) -> Snapshot:
        held, waiting = self._store.holding(whole=False), self._store.waiting()
        order, capacity = self._ordered(waiting, held), self._capacity()
        ends = [(self._remaining_s(job), job) for job in held]
        starts = expected_starts(order, ends, capacity) if capacity else {}
        return Snapshot(capacity, tuple(self._notes()), tuple(held), tuple(order), starts)

    def _ordered(
        self, waiting: Sequence[JobRow], held: Sequence[JobRow] | None = None
    ) -> list[JobRow]:
        holding = self._store.holding(whole=False) if held is None else held
        return queue.ordered(waiting, holding, self._store.usage(), self._waited_s())


def expected_starts(
    order: Sequence[JobRow],
    held: Sequence[tuple[float | None, JobRow]],
    capacity: Capacity,
) -> dict[str, float | None]:
    """Return in how many seconds each waiting job may start, as far as that can be said.

    Jobs start in order; those that hold GPUs end when their estimate says, and how long a job
    that has not started will take is not known, so that what waits for it has no estimate.

    Parameters
    ----------
    order : sequence of JobRow
        Waiting jobs in order.
    held : sequence of (seconds or None, JobRow)
        When each job that holds GPUs ends; None is not known.
    capacity : Capacity
    """
    gpus = capacity.gpus - sum(job.gpus for _, job in held)
    cpus = capacity.cpus - sum(job.cpus for _, job in held)
    ends = sorted(
        ((end_s, job) for end_s, job in held if end_s is not None), key=lambda one: one[0]
    )
    starts: dict[str, float | None] = dict.fromkeys((job.id for job in order), None)
    now_s = 0.0
    for job in order:
        while job.gpus > gpus + 1e-9 or job.cpus > cpus + 1e-9:
            if not ends:
                return starts
            now_s, ended = ends.pop(0)
            gpus, cpus = gpus + ended.gpus, cpus + ended.cpus
        starts[job.id] = now_s
        gpus, cpus = gpus - job.gpus, cpus - job.cpus
    return starts
