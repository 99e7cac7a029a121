"""A service whose supervisor takes steps when told to, against a Ray that does as it is told.

No process, no port, no second of waiting. Processes end as the test says; what real ones do is in
`test_cluster.py`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from tests.tuner.made_runs import make_run
from tests.tuner.service.stores import Clock, new
from tuner.service import job_files
from tuner.service.job_files import OUTCOME, Holder
from tuner.service.models import JobState, Outcome
from tuner.service.notify import Notifier
from tuner.service.ray_jobs import Machine, Order, Process, RayAway, RayRefuses
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.supervisor import Supervisor
from tuner.service.tables import JobRow


class MadeRay:
    """Ray as the supervisor sees it; its processes are called JOB-ATTEMPT, without the tag."""

    def __init__(self) -> None:
        self.there: Machine | None = Machine(28, 2)
        self.orders: dict[str, Order] = {}
        self.processes: dict[str, Process] = {}
        self.stops: list[str] = []
        self.loses_answers = False
        self.refuses = ""
        self.breaks = ""
        self.gpus: list[str] = []

    def _answer(self) -> None:
        if self.there is None:
            raise RayAway("Ray does not answer.")

    def machine(self) -> Machine:
        self._answer()
        assert self.there is not None
        return self.there

    def gpu_names(self) -> list[str]:
        return self.gpus

    def submit(self, order: Order) -> None:
        self._answer()
        if self.refuses:
            raise RayRefuses(self.refuses)
        name = order.submission.rpartition("-")[0]
        if name not in self.orders:
            self.orders[name] = order
            self.processes[name] = Process("pending", "", False)
        if self.loses_answers:
            raise RayAway("no answer in time")

    def process(self, submission: str) -> Process | None:
        self._answer()
        name = submission.rpartition("-")[0]
        if name == self.breaks:
            raise KeyError(name)
        return self.processes.get(name)

    def stop(self, submission: str) -> None:
        self._answer()
        self.stops.append(submission.rpartition("-")[0])

    def begin(self) -> None:
        for name, process in self.processes.items():
            if process.phase == "pending":
                self.processes[name] = Process("running", "Job is currently running.", True)

    def lose(self, name: str, message: str = "it was killed", began: bool = True) -> None:
        self.processes[name] = Process("ended", message, began)


class Made:
    """A service with a supervisor that takes steps when told to."""

    def __init__(self, folder: Path) -> None:
        self.wall, self.monotonic = Clock(), Clock()
        self.settings = Settings(runs=folder / "runs", cache=folder / "cache")
        self.store = Store(self.settings.database_url, self.wall)
        self.ray = MadeRay()
        self.room_bytes = 0
        self.anew()

    def anew(self) -> None:
        """Start the service anew: all that was in memory is gone."""
        self.supervisor = Supervisor(
            self.settings, self.store, self.ray, Notifier(self.settings, self.store),
            clock=self.monotonic, wall=self.wall, room_bytes=self.room_bytes,
        )  # fmt: skip

    def submit(self, name: str, user: str = "ann", **more: Any) -> None:
        fields = {"spec": {"data": {"source": "synthetic"}}, **more}
        self.store.create_job(
            new(user, key=f"key-{name:>5}", **fields), name, True, lambda _: False
        )

    def step(self, seconds: float = 1.0) -> None:
        self.monotonic.now_s += seconds
        self.wall.now_s += seconds
        self.supervisor.step()

    def job(self, name: str) -> JobRow:
        job = self.store.job(name)
        assert job is not None
        return job

    def state(self, name: str) -> JobState:
        return self.job(name).state

    def run(self, name: str) -> None:
        """Bring a job to where its process runs."""
        self.step()
        self.ray.begin()
        self.step()
        assert self.state(name) == "running"

    def end(
        self,
        name: str,
        state: Literal["finished", "interrupted", "failed", "full", "crashed"],
        reason: str | None = None,
    ) -> None:
        """Let a job's process end in its own words."""
        attempt = self.job(name).attempt
        self.say(name, state, reason)
        self.ray.lose(f"{name}-{attempt}")

    def submission(self, name: str) -> str:
        return f"{name}-{self.job(name).attempt}-{self.store.tag}"

    def say(
        self,
        name: str,
        state: Literal["finished", "interrupted", "failed", "full", "crashed"],
        reason: str | None = None,
        submission: str | None = None,
    ) -> None:
        """Write how a job's process ends, which may hang then."""
        submission = submission or self.submission(name)
        outcome = Outcome(submission=submission, state=state, reason=reason, ended_at=0.0)
        (self.settings.job_folder(name) / OUTCOME).write_text(outcome.model_dump_json())

    @contextlib.contextmanager
    def living(self, name: str, *gpus: str) -> Iterator[None]:
        """Let a job have a living process, whatever Ray knows."""
        folder = self.settings.job_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = job_files.lock(folder, Holder(self.submission(name), 4711, gpus))
        assert descriptor is not None
        try:
            yield
        finally:
            os.close(descriptor)

    def record(self, name: str) -> None:
        """Give a job's run some epochs."""
        folder = self.settings.run_folder(name)
        folder.mkdir(parents=True)
        make_run(folder, [({"T": 1}, [0.1, 0.2], "completed")], state="running")
