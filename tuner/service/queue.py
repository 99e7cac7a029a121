"""Who starts next: pure functions of what waits, what is held, what there is, and who used what.

Order: who was interrupted by a fault goes on first; then who has waited longer than a day, by
arrival; then priority; then fair share: of the users who wait, the one who holds least, then who
used least lately, then who came first. The order stands for itself: nobody is overtaken by a job
that takes anything it waits for. So a search that needs both GPUs is not kept waiting by a stream
of searches that need one, and the patience of a day bounds what priorities and other users' shares
can do: nobody starves.

All this is about one machine, the one of Ray's head and of the service: it reads the records that
searches write, and SQLite's log cannot be read over a network.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tuner.service.ray_jobs import Machine
from tuner.service.tables import JobRow

PATIENCE_S = 24 * 3600.0
"""Who waits longer goes before everybody who does not."""
CORE_SHARE = 0.01
"""What a CPU core counts beside a GPU where shares are compared."""
_SLACK = 1e-6
"""Fractions of a GPU are compared with it: three thirds are one."""


def gpus_held(job: JobRow) -> float:
    """Return the GPUs that a job takes: only a shared job of less than one shares a GPU."""
    return job.gpus if not job.exclusive and job.gpus < 1 else float(math.ceil(job.gpus))


def share(job: JobRow) -> float:
    """Return how much a job holds, in GPUs, for comparing users."""
    return gpus_held(job) + CORE_SHARE * job.cpus


def ordered(
    waiting: Iterable[JobRow], holding: Iterable[JobRow], usage: Mapping[str, float], now: float
) -> list[JobRow]:
    """Return the jobs that wait in the order in which they are to start.

    Parameters
    ----------
    waiting, holding : iterable of JobRow
    usage : mapping
        By user, what was used lately, in GPU-seconds (`Store.usage`).
    now : float
        Unix seconds, to know who has waited for long.
    """
    jobs = sorted(waiting, key=lambda job: (job.arrival, job.number))
    first = [job for job in jobs if job.arrival == 0]
    patient = [job for job in jobs if job.arrival and now - job.queued_at >= PATIENCE_S]
    result = first + patient
    held: defaultdict[str, float] = defaultdict(float)
    for job in (*holding, *result):
        held[job.user_name] += share(job)
    taken = {job.id for job in result}
    rest = [job for job in jobs if job.id not in taken]
    for priority in sorted({job.priority for job in rest}, reverse=True):
        of_user: dict[str, list[JobRow]] = {}
        for job in rest:
            if job.priority == priority:
                of_user.setdefault(job.user_name, []).append(job)
        while of_user:
            user = min(
                of_user,
                key=lambda one: (
                    round(held[one], 6), usage.get(one, 0.0), of_user[one][0].arrival, one,
                ),
            )  # fmt: skip
            job = of_user[user].pop(0)
            if not of_user[user]:
                del of_user[user]
            held[user] += share(job)
            result.append(job)
    return result


def starts(
    waiting: Iterable[JobRow],
    holding: Iterable[JobRow],
    machine: Machine,
    usage: Mapping[str, float],
    now: float,
) -> list[JobRow]:
    """Return the jobs that start now, in order.

    Parameters
    ----------
    machine : Machine
        What there is in all; what is held is not taken off.
    """
    holding = list(holding)
    room = _Room(machine)
    for job in sorted(holding, key=lambda job: (-gpus_held(job), job.number)):
        room.take(job)
    result: list[JobRow] = []
    blocked: list[JobRow] = []
    for job in ordered(waiting, holding, usage, now):
        if not can_ever_run(job, machine):
            continue  # it waits for a larger machine, and keeps nobody from this one
        if room.fits(job) and not room.delays(job, blocked):
            room.take(job)
            result.append(job)
        else:
            blocked.append(job)
    return result


def can_ever_run(job: JobRow, machine: Machine) -> bool:
    """Return whether a machine could hold a job if nobody else were there."""
    return _Room(machine).fits(job)


class _Room:
    """What is free: cores, and of each GPU."""

    def __init__(self, machine: Machine) -> None:
        self.cpus = machine.cpus
        self.gpus = [1.0] * int(machine.gpus)

    def fits(self, job: JobRow) -> bool:
        """Return whether a job can start."""
        return job.cpus <= self.cpus + _SLACK and _gpus_fit(job, self.gpus)

    def take(self, job: JobRow) -> None:
        """Give a job what it holds; more than there is where a machine has shrunk."""
        self.gpus = self._left(job)
        self.cpus -= job.cpus

    def delays(self, job: JobRow, others: Iterable[JobRow]) -> bool:
        """Return whether a job would take anything for which one of the others waits.

        It does not where, beside it, there is enough now of all that it takes.
        """
        gpus, cpus = self._left(job), self.cpus - job.cpus
        return any(
            other.cpus > cpus + _SLACK or (gpus_held(job) > 0 and not _gpus_fit(other, gpus))
            for other in others
        )

    def _left(self, job: JobRow) -> list[float]:
        """Return what a job leaves of each GPU: a fraction goes where least is left, as Ray's."""
        free, need = list(self.gpus), gpus_held(job)
        if 0 < need < 1:
            fitting = [index for index, one in enumerate(free) if one >= need - _SLACK]
            index = min(fitting or range(len(free)), key=lambda index: free[index], default=None)
            if index is not None:
                free[index] = max(0.0, free[index] - need)
            return free
        for index in sorted(range(len(free)), key=lambda index: -free[index])[: int(need)]:
            free[index] = 0.0
        return free


def _gpus_fit(job: JobRow, free: Sequence[float]) -> bool:
    need = gpus_held(job)
    if 0 < need < 1:
        return any(one >= need - _SLACK for one in free)
    return sum(one >= 1 - _SLACK for one in free) >= need
