"""Who starts next: pure functions of what waits, what is held, what there is, and who used what.

Order: who was interrupted by a fault goes on first; then who has waited longer than a day, by
arrival; then priority; then fair share: of the users who wait, the one who holds least, then who
used least lately, then who came first. The order stands for itself: nobody is overtaken by a job
that takes anything it waits for. So a search that needs both GPUs is not kept waiting by a stream
of searches that need one, and the patience of a day bounds what priorities and other users' shares
can do: nobody starves.

All this is about one machine, the one of Ray's head and of the service: it reads the records that
searches write, and SQLite's log cannot be read over a network.

What starts must be placed by Ray at once. Ray counts in ten-thousandths of a GPU, cut off; it puts
a fraction on the GPU with least room that is enough, gives whole GPUs only where nothing else is,
and moves nothing: two halves that are left on two GPUs leave no whole one (measured with Ray 2.60).
So it matters where each fraction lies, which its process tells once it runs. What starts before
that must fit wherever the others lie, and in whatever order Ray places them: fractions of one size
do, those of several sizes wait for one another.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from tuner.service.ray_jobs import Machine
from tuner.service.tables import JobRow

PATIENCE_S = 24 * 3600.0
"""Who waits longer goes before everybody who does not."""
CORE_SHARE = 0.01
"""What a CPU core counts beside a GPU where shares are compared."""
WHOLE = 10_000
"""A GPU, in the units that Ray counts."""


def gpus_held(job: JobRow) -> float:
    """Return the GPUs that a job takes: only a shared job of less than one shares a GPU."""
    return job.gpus if not job.exclusive and job.gpus < 1 else float(math.ceil(job.gpus))


def units(job: JobRow) -> int:
    """Return the GPUs that a job takes, in Ray's units: three thirds are less than one."""
    return int(gpus_held(job) * WHOLE)


def share(job: JobRow) -> float:
    """Return how much a job holds, in GPUs, for comparing users."""
    return gpus_held(job) + CORE_SHARE * job.cpus


def ordered(
    waiting: Iterable[JobRow],
    holding: Iterable[JobRow],
    usage: Mapping[str, float],
    waited_s: Mapping[str, float],
) -> list[JobRow]:
    """Return the jobs that wait in the order in which they are to start.

    Parameters
    ----------
    waiting, holding : iterable of JobRow
    usage : mapping
        By user, what was used lately, in GPU-seconds (`Store.usage`).
    waited_s : mapping
        By job, how long it has waited.
    """
    jobs = sorted(waiting, key=lambda job: (job.arrival, job.number))
    first = [job for job in jobs if job.arrival == 0]
    patient = [job for job in jobs if job.arrival and waited_s.get(job.id, 0.0) >= PATIENCE_S]
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
    waited_s: Mapping[str, float],
    placed: Mapping[str, str],
) -> list[JobRow]:
    """Return the jobs that start now, in order.

    Parameters
    ----------
    machine : Machine
        What there is in all; what is held is not taken off.
    placed : mapping
        By job that holds a fraction of a GPU, what Ray calls that GPU, as far as it is known.
    """
    holding = list(holding)
    room = _Room(machine)
    room.take_held(holding, placed)
    on_the_way = {units(job) for job in holding if _is_part(job) and job.id not in placed}
    result: list[JobRow] = []
    blocked: list[JobRow] = []
    for job in ordered(waiting, holding, usage, waited_s):
        if not can_ever_run(job, machine):
            continue  # it waits for a larger machine, and keeps nobody from this one
        in_any_order = not _is_part(job) or on_the_way <= {units(job)}
        if in_any_order and room.fits(job) and not room.delays(job, blocked):
            room.take(job)
            result.append(job)
            if _is_part(job):
                on_the_way.add(units(job))
        else:
            blocked.append(job)
    return result


def can_ever_run(job: JobRow, machine: Machine) -> bool:
    """Return whether a machine could hold a job if nobody else were there."""
    return _Room(machine).fits(job)


class _Room:
    """What is free: cores, and of each GPU, in Ray's units."""

    def __init__(self, machine: Machine) -> None:
        self.cpus = machine.cpus
        self.gpus = [WHOLE] * int(machine.gpus)

    def fits(self, job: JobRow) -> bool:
        """Return whether a job can start."""
        return job.cpus <= self.cpus and _gpus_fit(job, self.gpus)

    def take(self, job: JobRow) -> None:
        """Give a job what it holds; more than there is where a machine has shrunk."""
        self.gpus = self._left(job)
        self.cpus -= job.cpus

    def take_held(self, jobs: Collection[JobRow], placed: Mapping[str, str]) -> None:
        """Give jobs what they hold, each where it is or, if that is not known, where it may be."""
        names = sorted({placed[job.id] for job in jobs if _is_part(job) and job.id in placed})
        index_of = {name: index for index, name in enumerate(names) if index < len(self.gpus)}
        unknown: list[JobRow] = []
        for job in jobs:
            index = index_of.get(placed.get(job.id, "")) if _is_part(job) else None
            if index is not None:
                self.gpus[index] = max(0, self.gpus[index] - units(job))
                self.cpus -= job.cpus
            elif _is_part(job):
                unknown.append(job)
        for job in jobs:
            if not _is_part(job):
                self.take(job)
        # It may have got a GPU of its own, as another that has ended since was in its way.
        for job in unknown:
            if WHOLE in self.gpus:
                self.gpus[self.gpus.index(WHOLE)] -= units(job)
                self.cpus -= job.cpus
            else:
                self.take(job)

    def delays(self, job: JobRow, others: Iterable[JobRow]) -> bool:
        """Return whether a job would take anything for which one of the others waits.

        It does not where, beside it, there is enough now of all that it takes.
        """
        gpus, cpus = self._left(job), self.cpus - job.cpus
        return any(
            other.cpus > cpus or (units(job) > 0 and not _gpus_fit(other, gpus)) for other in others
        )

    def _left(self, job: JobRow) -> list[int]:
        """Return what a job leaves of each GPU: a fraction goes where least is left, as Ray's."""
        free, need = list(self.gpus), units(job)
        if _is_part(job):
            fitting = [index for index, one in enumerate(free) if one >= need]
            index = min(fitting or range(len(free)), key=lambda index: free[index], default=None)
            if index is not None:
                free[index] = max(0, free[index] - need)
            return free
        for index in sorted(range(len(free)), key=lambda index: -free[index])[: need // WHOLE]:
            free[index] = 0
        return free


def _is_part(job: JobRow) -> bool:
    return 0 < gpus_held(job) < 1


def _gpus_fit(job: JobRow, free: Iterable[int]) -> bool:
    need = units(job)
    if _is_part(job):
        return any(one >= need for one in free)
    return sum(one == WHOLE for one in free) * WHOLE >= need
