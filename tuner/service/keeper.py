"""Keeps each job that holds something to what is asked of it, and to what became of its process.

Ray is asked how the process is, the job's folder what it said itself (`tuner.service.job_files`).
A job gives up its GPUs only when its process is gone: when Ray says that it has ended, or knows
none, and nobody has the lock in the job's folder. Before it does, what the process was to do is
taken back, as one may start later whose start Ray has not confirmed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from search_spaces.model import UserError
from tuner.record import Record
from tuner.record_file import record_folders, writer
from tuner.service import job_files
from tuner.service.models import Assignment, JobState, Outcome
from tuner.service.queue import gpus_held
from tuner.service.ray_jobs import Order, Process, Ray, RayAway, RayRefuses
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.tables import JobRow
from tuner.whole_file import write_whole

ASK_AGAIN_S = 30.0
"""How long after a request to stop, whose answer was lost, it is sent again."""
PLACE_WAIT_S = 10.0
"""After so long, a user is told that Ray has not placed a process yet."""
FULL_WAIT_S = 30.0
"""How long a job whose disk was full waits at least, since it may be another disk than is seen."""
OUTLIVE_S = 60.0
"""How long a process may take to go once it has said how it ended, or Ray has lost sight of it."""
FRUITLESS = 3
"""A job whose process was lost so often in a row without a new epoch has failed."""
MOST_TRIES = 12
"""A job that Ray did not start so often in a row has failed: after six minutes."""
LONGEST_PAUSE_S = 60.0
"""Before Ray is asked again to start what it did not: 1 s, then twice as long each time."""

_log = logging.getLogger(__name__)


class Keeper:
    """Starts the processes of jobs, and looks after them.

    Parameters
    ----------
    settings : Settings
    store : Store
    ray : Ray
    clock, wall : callable
        Monotonic seconds, and Unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ray: Ray,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._settings, self._store, self._ray = settings, store, ray
        self._clock, self._wall = clock, wall
        self.away: str | None = None
        """Why Ray is not to be asked now."""
        self.disk: str | None = None
        """What is said of a disk that is full."""
        self._asked: dict[str, float] = {}  # submission → when it was asked to stop
        self._pending: dict[str, float] = {}  # submission → since when Ray has not placed it
        self._outliving: dict[str, float] = {}  # submission → since when it should be gone
        self._placed: dict[str, str] = {}  # submission → its GPU
        self._tries: dict[str, int] = {}  # job → how often in a row Ray did not start it
        self._rests: dict[str, float] = {}  # job → until when it is not to be started

    def rests(self, job: JobRow) -> bool:
        """Return whether a job that waits is not to be started yet, after what befell it."""
        return self._clock() < self._rests.get(job.id, -1.0)

    def placed(self, jobs: Iterable[JobRow]) -> dict[str, str]:
        """Return on which GPU each job's process runs, of those that share one and have said so."""
        result = {}
        for job in jobs:
            submission = self._submission(job)
            if submission not in self._placed and 0 < gpus_held(job) < 1:
                said = job_files.latest(self._folder(job))
                if said is not None and said.submission == submission and said.gpus:
                    self._placed[submission] = said.gpus[0]
            if submission in self._placed:
                result[job.id] = self._placed[submission]
        return result

    def start(self, job: JobRow) -> None:
        """Have Ray start a job's process; if that fails, it is tried again when looked after."""
        folder = self._folder(job)
        if job_files.living(folder) is not None or _being_written(self._run_folder(job)):
            self._say(job, "waits for its earlier process to end")
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Cannot make {folder}: {error.strerror}.") from error
        assignment = self._assignment(job).model_dump_json().encode()
        write_whole(folder / job_files.REQUEST, assignment)
        metadata = {"user": job.user_name, "kind": job.kind, "digest": job.digest}
        order = Order(
            self._submission(job), folder, gpus_held(job), job.cpus,
            {**metadata, "attempt": str(job.attempt)},
        )  # fmt: skip
        try:
            self._ray.submit(order)
        except RayRefuses as error:
            self._not_started(job, str(error))
        except RayAway as error:
            self._say(job, f"waits for Ray: {error}")

    def look_after(self, job: JobRow) -> None:
        """See to a job that holds something."""
        try:
            if self.away is not None:
                raise RayAway(self.away)
            process = self._ray.process(self._submission(job))
            if process is not None and process.phase != "ended":
                self._follow(job, process)
                return
        except RayAway as error:
            self._without_ray(job, str(error))
            return
        living = job_files.living(self._folder(job))
        if living is not None:
            self._outlives(job, living)
            return
        outcome = self._outcome(job)
        if outcome is not None:
            self._settle(job, outcome)
        elif process is None and job.state == "starting":
            self.start(job)
        elif process is None:
            self._lost(job, "Ray was started anew")
        elif process.began or job.wanted != "run":
            self._lost(job, process.message)
        elif process.unplaced:
            self._again(job, f"Ray did not start it ({process.message.rstrip('.')})")
        else:
            self._not_started(job, process.message)

    # What is there.

    def _submission(self, job: JobRow) -> str:
        """Return how Ray knows a job's present attempt."""
        return f"{job.id}-{job.attempt}-{self._store.tag}"

    def _folder(self, job: JobRow) -> Path:
        return self._settings.job_folder(job.id)

    def _run_folder(self, job: JobRow) -> Path:
        return self._settings.run_folder(job.id)

    def _outcome(self, job: JobRow) -> Outcome | None:
        """Return how the job's present attempt ended, if it said so."""
        return job_files.outcome_of(self._folder(job), self._submission(job))

    def _say(self, job: JobRow, reason: str) -> None:
        self._store.set_reason(job.id, reason, [job.state])

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
            submission=self._submission(job),
            more=job.more,
        )

    # A process that is there.

    def _follow(self, job: JobRow, process: Process) -> None:
        """See to a process that Ray knows."""
        now, submission = self._clock(), self._submission(job)
        outcome = self._outcome(job)
        if outcome is not None:  # it will be gone at once, if it does not hang
            if self._outlived(submission):
                self._say(
                    job, f"has {outcome.state}, but its process does not end; is being stopped"
                )
                self._ask_to_stop(submission)
        elif job.wanted != "run":
            try:
                self._ask_to_stop(submission)
            finally:  # also on a full disk the one is done, and while Ray is away the other
                if job.wanted == "stop_now":
                    job_files.stop_now(self._folder(job), submission)
        elif process.phase == "running":
            self._pending.pop(submission, None)
            self._tries.pop(job.id, None)
            if job.state == "starting" or job.reason is not None:
                started = job.started_at or self._wall()
                expected: tuple[JobState, ...] = ("starting", "running")
                self._store.set_state(job.id, expected, "running", reason=None, started_at=started)
        elif now - self._pending.setdefault(submission, now) >= PLACE_WAIT_S:
            self._say(job, "waits for Ray to give it what others hold")

    def _without_ray(self, job: JobRow, why: str) -> None:
        """See to what can be done while Ray does not answer."""
        living, outcome = job_files.living(self._folder(job)), self._outcome(job)
        if outcome is not None and living is None:
            self._settle(job, outcome)
            return
        self._say(job, f"waits for Ray: {why}")
        if living is not None and job.wanted == "stop_now":
            job_files.stop_now(self._folder(job), living.submission)

    def _outlives(self, job: JobRow, living: job_files.Holder) -> None:
        """See to a process that lives although Ray says that it has none."""
        if self._outlived(living.submission) or job.wanted == "stop_now":
            self._say(job, f"waits for its process {living.pid} to end, which Ray has lost")
            job_files.stop_now(self._folder(job), living.submission)

    def _outlived(self, submission: str) -> bool:
        """Return whether a process that should be gone has been there for too long."""
        now = self._clock()
        return now - self._outliving.setdefault(submission, now) >= OUTLIVE_S

    def _ask_to_stop(self, submission: str) -> None:
        """Have Ray interrupt a process; a second time only if the first may have been lost."""
        now = self._clock()
        if now - self._asked.get(submission, -ASK_AGAIN_S) >= ASK_AGAIN_S:
            self._ray.stop(submission)
            self._asked[submission] = now

    # A process that is gone, or never was.

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
            self._rests[job.id] = self._clock() + FULL_WAIT_S
            self._again(job, f"{outcome.reason} It goes on once there is room")
        else:
            why = str(outcome.reason)
            self._again(
                job, "its process was interrupted" if why.startswith("interrupted") else why
            )

    def _not_started(self, job: JobRow, why: str) -> None:
        """Ray did not start a process: try again after a pause, but not for ever."""
        tries = self._tries.get(job.id, 0) + 1
        why = f"Ray did not start it ({why.rstrip('.')})"
        if tries >= MOST_TRIES:
            self._end(
                job, "failed", f"{why}, {tries} times in a row; resume it once that is mended."
            )
            return
        pause_s = min(2.0 ** (tries - 1), LONGEST_PAUSE_S)
        self._tries[job.id], self._rests[job.id] = tries, self._clock() + pause_s
        self._again(job, f"{why}; try {tries + 1} of {MOST_TRIES} follows {pause_s:.0f} s later")

    def _lost(self, job: JobRow, why: str) -> None:
        """A process ended without having finished: go on, unless that leads nowhere."""
        why = why.rstrip(".")
        if job.wanted != "run":
            state: JobState = "paused" if job.wanted == "pause" else "stopped"
            self._end(job, state, f"its process ended by itself first ({why})")
            return
        progress = epochs_of(self._run_folder(job)) > job.epochs
        fruitless = 0 if progress else job.fruitless + 1
        if self.disk is not None:  # a process that cannot write cannot say why it ended
            self._again(job, self.disk)
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
        reason = why if why.endswith((".", "room", "later")) else f"{why}; goes on by itself"
        self._move(job, "queued", reason, arrival=0, **changes)

    def _end(self, job: JobRow, state: JobState, reason: str | None, **changes: Any) -> None:
        self._move(job, state, reason, ended_at=self._wall(), **changes)

    def _move(self, job: JobRow, state: JobState, reason: str | None, **changes: Any) -> None:
        """Write a job's new state, unless a user has asked for something since it was read."""
        job_files.take_back(self._folder(job))
        if job_files.living(self._folder(job)) is not None:
            return  # it started just now; the next step finds it
        if self._store.set_state(job.id, (job.state,), state, reason=reason, **changes):
            _log.info("Job %s is %s%s", job.id, state, f": {reason}" if reason else ".")
            for memory in (self._asked, self._pending, self._outliving, self._placed):
                memory.pop(self._submission(job), None)
            if state != "queued":
                self._tries.pop(job.id, None)
                self._rests.pop(job.id, None)


def epochs_of(folder: Path) -> int:
    """Return how many epochs the records of a job hold; 0 where none can be read."""
    total = 0
    for run in record_folders(folder):
        with contextlib.suppress(UserError), Record.open(run) as record:
            total += record.totals().epochs
    return total


def _being_written(folder: Path) -> bool:
    return any(writer(run) is not None for run in record_folders(folder))
