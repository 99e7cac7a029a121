"""How Ray places shares of GPUs, for tests: an oracle beside the queue's own reckoning."""

from __future__ import annotations

from tuner.service.queue import WHOLE, gpus_held
from tuner.service.ray_jobs import Machine
from tuner.service.tables import JobRow


class Packing:
    """Ray's GPUs: an oracle that places as `ResourceInstanceSet::TryAllocate` of Ray 2.60 does.

    `test_packing.py` compares it with Ray.
    """

    def __init__(self, machine: Machine) -> None:
        self.free = [WHOLE] * int(machine.gpus)
        self.cpus = machine.cpus
        self.taken: dict[str, dict[int, int]] = {}  # job → GPU → units
        self.jobs: dict[str, JobRow] = {}

    def place(self, job: JobRow) -> bool:
        """Place a job, if there is room."""
        need, taken = int(gpus_held(job) * WHOLE), dict[int, int]()
        for index, free in enumerate(self.free):
            if need >= WHOLE and free == WHOLE:
                taken[index] = WHOLE
                need -= WHOLE
        if need:
            fitting = [index for index, free in enumerate(self.free) if free >= need]
            if need >= WHOLE or not fitting:
                return False
            taken[min(fitting, key=lambda index: self.free[index])] = need
        if job.cpus > self.cpus:
            return False
        self.cpus -= job.cpus
        for index, amount in taken.items():
            self.free[index] -= amount
        self.taken[job.id], self.jobs[job.id] = taken, job
        return True

    def end(self, job: JobRow) -> None:
        """Give back what a job holds."""
        self.cpus += job.cpus
        for index, amount in self.taken.pop(job.id).items():
            self.free[index] += amount
        del self.jobs[job.id]

    def names(self) -> dict[str, str]:
        """Return where each fraction lies, as processes tell it."""
        return {
            id: str(next(iter(taken)))
            for id, taken in self.taken.items()
            if 0 < gpus_held(self.jobs[id]) < 1
        }
