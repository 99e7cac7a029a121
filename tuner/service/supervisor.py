"""The loop that brings together what the database asks, what Ray runs, and what the records say.

Nothing is decided in memory. Before a process is started, its job is `starting` under a new attempt
in the database; what users ask is there before it is done; and how a process ended is in its
outcome.json. So a supervisor that was killed at any moment goes on by looking again, and what it
does twice does nothing the second time: Ray starts no process twice under one name.

Intervals are measured by a monotonic clock; the wall clock is only recorded.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_spaces.model import UserError
from tuner.record import Record
from tuner.record_file import record_folders, writer
from tuner.service.job import NOW, OUTCOME, REQUEST
from tuner.service.models import Assignment, Capacity, JobState, Outcome
from tuner.service.notify import Notifier
from tuner.service.queue import can_ever_run, gpus_held, share, starts
from tuner.service.ray_jobs import Machine, Order, Process, Ray, RayAway, RayJobs
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.tables import JobRow
from tuner.whole_file import write_whole

INTERVAL_S = 1.0
CHARGE_EVERY_S = 30.0
"""Of what users held, no more than this is forgotten at a kill."""
ASK_AGAIN_S = 30.0
"""How long after a request to stop, whose answer was lost, it is sent again."""
PLACE_WAIT_S = 10.0
"""After so long, a user is told that Ray has not placed a process yet."""
FULL_WAIT_S = 30.0
"""How long a job whose disk was full waits at least, since it may be another disk than is seen."""
ROOM_BYTES = 64 * 2**20
"""With less than this on the disk nothing is started."""
FRUITLESS = 3
"""A job whose process was lost so often in a row without a new epoch has failed."""

_log = logging.getLogger(__name__)


class Supervisor:
    """Supervises the jobs of one database.

    Parameters
    ----------
    settings : Settings
    store : Store
    ray : Ray, optional
        Default: the one at `settings.ray`.
    notifier : Notifier, optional
        Default: what `settings` says.
    clock, wall : callable
        Monotonic seconds, and Unix seconds.
    room_bytes : int
        Free space below which nothing starts.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ray: Ray | None = None,
        notifier: Notifier | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        room_bytes: int = ROOM_BYTES,
    ) -> None:
        self._settings, self._store = settings, store
        self._ray: Ray = ray or RayJobs(settings.ray)
        self._notifier = notifier or Notifier(settings, store)
        self._clock, self._wall, self._room_bytes = clock, wall, room_bytes
        self._machine: Machine | None = None
        self._gpu_names: list[str] = []
        self._away: str | None = "Ray has not been asked yet."
        self._disk: str | None = None
        self._fault: str | None = None
        self._asked: dict[str, float] = {}  # submission → when it was asked to stop
        self._pending: dict[str, float] = {}  # submission → since when Ray has not placed it
        self._full: dict[str, float] = {}  # job → when its disk was full
        self._used: defaultdict[str, float] = defaultdict(float)
        self._charged_at = self._counted_at = clock()
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._right = contextlib.ExitStack()

    # What the API shows.

    @property
    def capacity(self) -> Capacity | None:
        """What there is to give; None while Ray is away."""
        machine = self._machine
        if machine is None:
            return None
        return Capacity(
            gpus=machine.gpus,
            cpus=machine.cpus,
            gpu_names=self._gpu_names,
            pretended=machine.gpus > len(self._gpu_names),
        )

    @property
    def notes(self) -> list[str]:
        """What keeps jobs from starting or being looked after, if anything does."""
        return [note for note in (self._away, self._disk, self._fault) if note is not None]

    # The thread.

    def start(self) -> None:
        """Begin to supervise, in a thread.

        Raises
        ------
        UserError
            If another process supervises this database.
        """
        self._held = self._right.enter_context(self._store.supervising())
        self._notifier.start()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and leave the jobs running: the next supervisor takes them over."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._notifier.stop()
        self._right.close()

    def wake(self) -> None:
        """Look at the jobs now rather than within a second."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ending:
            if self._held():
                self.step()
            else:
                self._fault = "The database no longer lets this service supervise; restart it."
                _log.error(self._fault)
            self._wake.wait(INTERVAL_S)
            self._wake.clear()

    def step(self) -> None:
        """Look at everything once, and do what is due."""
        before, self._fault = self._fault, None
        self._try(self._look_at_ray)
        self._try(self._look_at_disk)
        self._try(self._look_after_all)
        self._try(self._charge)
        self._try(self._start_some)
        self._notifier.wake()
        if self._fault is not None and self._fault != before:
            _log.error(self._fault)

    def _try(self, part: Callable[[], None]) -> None:
        """Do a part of a step; one that fails keeps no other from being done."""
        try:
            part()
        except UserError as error:  # such as a full disk below the database
            self._fault = str(error)
        except Exception as error:
            _log.exception("A part of the supervisor's step failed; it goes on.")
            self._fault = f"The service hit {type(error).__name__}: {error}; see its log."

    def _look_after_all(self) -> None:
        for job in self._store.holding():
            self._try(functools.partial(self._look_after, job))

    def _look_at_ray(self) -> None:
        try:
            machine = self._ray.machine()
            if len(self._gpu_names) < machine.gpus:  # Ray finds them some seconds after its start
                self._gpu_names = self._ray.gpu_names()
            self._machine, self._away = machine, None
        except RayAway as error:
            if self._away is None:
                _log.warning(str(error))
            self._machine, self._away = None, str(error)

    def _look_at_disk(self) -> None:
        """Note whether there is room, where runs and data are written."""
        self._disk = None
        for folder in (self._settings.runs, self._settings.cache):
            there = next(path for path in (folder, *folder.parents) if path.exists())
            free = shutil.disk_usage(there).free
            if free < self._room_bytes:
                self._disk = (
                    f"The disk of {folder} is full ({free / 2**20:.0f} MiB free); nothing starts"
                    f" until there are {self._room_bytes / 2**20:.0f} MiB."
                )

    def _charge(self) -> None:
        """Count what users hold; jobs run on while Ray is away."""
        now = self._clock()
        for job in self._store.holding(whole=False):
            self._used[job.user_name] += share(job) * (now - self._counted_at)
        self._counted_at = now
        if self._used and now - self._charged_at >= CHARGE_EVERY_S:
            self._store.charge(self._used, now - self._charged_at)
            self._used.clear()
            self._charged_at = now

    # Jobs that wait.

    def _start_some(self) -> None:
        machine, now = self._machine, self._clock()
        if machine is None or self._disk is not None:
            return
        waiting = [
            job
            for job in self._store.waiting()
            if now - self._full.get(job.id, -FULL_WAIT_S) >= FULL_WAIT_S
        ]
        for job in waiting:
            if not can_ever_run(job, machine):
                self._store.set_reason(job.id, _too_large(job, machine), [job.state])
        holding, usage = self._store.holding(whole=False), self._store.usage()
        for job in starts(waiting, holding, machine, usage, self._wall()):
            begun = self._store.begin_attempt(job.id, epochs_of(self._settings.run_folder(job.id)))
            if begun is not None:
                _log.info("Job %s starts, attempt %d.", begun.id, begun.attempt)
                self._submit(begun)

    def _submit(self, job: JobRow) -> None:
        """Have Ray start a job's process; if that fails, the next step tries again."""
        if _being_written(self._settings.run_folder(job.id)):
            self._store.set_reason(job.id, "waits for its earlier process to end", [job.state])
            return
        folder = self._settings.job_folder(job.id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot make {folder}: {error.strerror}.") from error
        write_whole(folder / REQUEST, self._assignment(job).model_dump_json().encode())
        metadata = {"user": job.user_name, "kind": job.kind, "digest": job.digest}
        order = Order(
            self._submission(job), folder, job.attempt, gpus_held(job), job.cpus,
            {**metadata, "attempt": str(job.attempt)},
        )  # fmt: skip
        try:
            self._ray.submit(order)
        except RayAway as error:
            self._store.set_reason(job.id, f"waits for Ray: {error}", [job.state])

    def _submission(self, job: JobRow) -> str:
        """Return how Ray knows a job's present attempt."""
        return f"{job.id}-{job.attempt}-{self._store.tag}"

    def _assignment(self, job: JobRow) -> Assignment:
        spec = dict(job.spec)
        source = spec["data"]["source"]
        if job.fingerprint is not None:
            source = str(self._settings.data_folder(job.fingerprint, source))
        spec["data"] = {**spec["data"], "source": source}
        return Assignment(
            job=job.id,
            kind=job.kind,
            spec=spec,
            fingerprint=job.fingerprint,
            runs=str(self._settings.runs),
            cache=str(self._settings.cache),
            command=job.command,
            gpus=gpus_held(job),
            cpus=job.cpus,
            attempt=job.attempt,
            more=job.more,
        )

    # Jobs that hold something.

    def _look_after(self, job: JobRow) -> None:
        ended = self._outcome(job)
        if ended is None and self._away is not None:
            self._store.set_reason(job.id, f"waits for Ray: {self._away}", [job.state])
            return
        if ended is None:
            try:
                process = self._ray.process(self._submission(job))
                if process is not None and process.phase != "ended":
                    self._follow(job, process)
                    return
            except RayAway as error:
                self._store.set_reason(job.id, f"waits for Ray: {error}", [job.state])
                return
            ended = self._outcome(job)  # it may have been written just before the process ended
        if ended is not None:
            self._settle(job, ended)
        elif process is None and job.state == "starting":
            self._submit(job)
        elif process is None:
            self._lost(job, "Ray was started anew")
        elif not process.began and job.wanted == "run":
            self._again(job, f"Ray did not start it ({process.message})")
        else:
            self._lost(job, process.message)

    def _outcome(self, job: JobRow) -> Outcome | None:
        """Return how the job's present attempt ended, if it said so."""
        try:
            text = (self._settings.job_folder(job.id) / OUTCOME).read_bytes()
            outcome = Outcome.model_validate_json(text)
        except (OSError, ValueError):
            return None
        return outcome if outcome.attempt == job.attempt else None

    def _follow(self, job: JobRow, process: Process) -> None:
        """See to a process that is there."""
        now = self._clock()
        if job.wanted != "run":
            if job.wanted == "stop_now":
                write_whole(self._settings.job_folder(job.id) / NOW, str(job.attempt).encode())
            if now - self._asked.get(self._submission(job), -ASK_AGAIN_S) >= ASK_AGAIN_S:
                self._ray.stop(self._submission(job))
                self._asked[self._submission(job)] = now
            return
        if process.phase == "running":
            self._pending.pop(self._submission(job), None)
            if job.state == "starting" or job.reason is not None:
                started = job.started_at or self._wall()
                expected: tuple[JobState, ...] = ("starting", "running")
                self._store.set_state(job.id, expected, "running", reason=None, started_at=started)
        elif now - self._pending.setdefault(self._submission(job), now) >= PLACE_WAIT_S:
            self._store.set_reason(job.id, "waits for Ray to give it what others hold", [job.state])

    def _settle(self, job: JobRow, outcome: Outcome) -> None:
        """Write how a job's process said that it ended."""
        if outcome.state == "finished":
            self._end(job, "finished", outcome.reason)
        elif outcome.state == "failed":
            self._end(job, "failed", outcome.reason)
        elif outcome.state == "crashed":
            self._lost(job, outcome.reason or "no reason")
        elif job.wanted != "run":
            self._end(job, "paused" if job.wanted == "pause" else "stopped", None)
        elif outcome.state == "full":
            self._full[job.id] = self._clock()
            self._again(job, f"{outcome.reason} It goes on once there is room")
        else:
            self._again(job, "its process was interrupted")

    def _lost(self, job: JobRow, why: str) -> None:
        """A process ended without having finished: go on, unless that leads nowhere."""
        why = why.rstrip(".")
        if job.wanted != "run":
            state: JobState = "paused" if job.wanted == "pause" else "stopped"
            self._end(job, state, f"its process ended amid an epoch ({why})")
            return
        if epochs_of(self._settings.run_folder(job.id)) > job.epochs:
            fruitless = 0
        else:
            fruitless = job.fruitless + 1
        if self._disk is not None:  # a process that cannot write cannot say why it ended
            self._again(job, self._disk)
        elif fruitless >= FRUITLESS:
            reason = (
                f"Its process ended {FRUITLESS} times in a row without a new epoch, at last: {why}."
                " Its log may tell more."
            )
            self._end(job, "failed", reason, fruitless=fruitless)
        else:
            self._again(job, f"its process ended ({why})", fruitless=fruitless)

    def _again(self, job: JobRow, why: str, **changes: Any) -> None:
        """Queue a job before all others, as it did not give up its place."""
        reason = f"{why}; goes on by itself" if not why.endswith((".", "room")) else why
        self._move(job, "queued", reason, arrival=0, **changes)

    def _end(self, job: JobRow, state: JobState, reason: str | None, **changes: Any) -> None:
        self._move(job, state, reason, ended_at=self._wall(), **changes)

    def _move(self, job: JobRow, state: JobState, reason: str | None, **changes: Any) -> None:
        """Write a job's new state, unless a user has asked for something since it was read."""
        if self._store.set_state(job.id, (job.state,), state, reason=reason, **changes):
            _log.info("Job %s is %s%s", job.id, state, f": {reason}" if reason else ".")
            for memory in (self._asked, self._pending):
                memory.pop(self._submission(job), None)


def epochs_of(folder: Path) -> int:
    """Return how many epochs the records of a job hold; 0 where none can be read."""
    total = 0
    for run in record_folders(folder):
        with contextlib.suppress(UserError), Record.open(run) as record:
            total += record.totals().epochs
    return total


def _being_written(folder: Path) -> bool:
    return any(writer(run) is not None for run in record_folders(folder))


def _too_large(job: JobRow, machine: Machine) -> str:
    return (
        f"needs {gpus_held(job):g} GPUs and {job.cpus} cores, but there are {machine.gpus:g} and"
        f" {machine.cpus:g}; waits until there are more"
    )
