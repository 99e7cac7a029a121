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
from collections.abc import Callable, Mapping

from search_spaces.model import UserError
from tuner.service.keeper import Keeper, epochs_of
from tuner.service.models import Capacity
from tuner.service.notify import Notifier
from tuner.service.queue import can_ever_run, gpus_held, share, starts
from tuner.service.ray_jobs import Machine, Ray, RayAway, RayJobs
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.tables import JobRow

INTERVAL_S = 1.0
CHARGE_EVERY_S = 30.0
"""Of what users held, no more than this is forgotten at a kill."""
ROOM_BYTES = 64 * 2**20
"""With less than this on the disk nothing is started."""

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
        self._keeper = Keeper(settings, store, self._ray, clock, wall)
        self._came: dict[tuple[str, int], float] = {}  # job and arrival → monotonic seconds
        self._used: defaultdict[str, float] = defaultdict(float)
        self._charged_at = self._counted_at = clock()
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._right = contextlib.ExitStack()
        self._held: Callable[[], bool] = lambda: False

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

    @property
    def waited_s(self) -> Mapping[str, float]:
        """By job, how long it has waited.

        Since this service was started by the monotonic clock; what was before is told by the wall
        clock, as no other is kept.
        """
        now = self._clock()
        return {id: now - came for (id, _), came in dict(self._came).items()}

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
            if self._may_supervise():
                self.step()
            self._wake.wait(INTERVAL_S)
            self._wake.clear()

    def _may_supervise(self) -> bool:
        """Return whether this process alone supervises; if it lost that right, take it again."""
        before = self._fault
        try:
            if self._held():
                return True
            self._held = lambda: False
            self._right.close()
            self._held = self._right.enter_context(self._store.supervising())
        except UserError as error:
            self._fault = f"Nothing is supervised now: {error}"
        except Exception as error:  # of the database's driver
            self._fault = f"Nothing is supervised now: {type(error).__name__}: {error}"
        else:
            _log.info("This service supervises again.")
            self._counted_at = self._clock()  # another may have counted what was before
            return True
        if self._fault != before:
            _log.error(self._fault)
        return False

    def step(self) -> None:
        """Look at everything once, and do what is due."""
        before, self._fault = self._fault, None
        self._try(self._look_at_queue)
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
        self._keeper.away, self._keeper.disk = self._away, self._disk
        for job in self._store.holding():
            self._try(functools.partial(self._keeper.look_after, job))

    def _look_at_queue(self) -> None:
        """Note since when each job waits."""
        now, wall = self._clock(), self._wall()
        self._came = {
            (job.id, job.arrival): self._came.get(
                (job.id, job.arrival), now - max(0.0, wall - job.queued_at)
            )
            for job in self._store.waiting()
        }

    def _look_at_ray(self) -> None:
        try:
            machine = self._ray.machine()
            if len(self._gpu_names) != machine.gpus:  # Ray finds them some seconds after its start
                self._gpu_names = self._ray.gpu_names()
            self._machine, self._away = machine, None
        except RayAway as error:
            if self._away is None:
                _log.warning(str(error))
            self._machine, self._away, self._gpu_names = None, str(error), []

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
        machine = self._machine
        if machine is None or self._disk is not None:
            return
        waiting = [job for job in self._store.waiting() if not self._keeper.rests(job)]
        for job in waiting:
            if not can_ever_run(job, machine):
                self._store.set_reason(job.id, _too_large(job, machine), [job.state])
        holding, usage = self._store.holding(whole=False), self._store.usage()
        placed = self._keeper.placed(holding)
        for job in starts(waiting, holding, machine, usage, self.waited_s, placed):
            begun = self._store.begin_attempt(job.id, epochs_of(self._settings.run_folder(job.id)))
            if begun is not None:
                _log.info("Job %s starts, attempt %d.", begun.id, begun.attempt)
                self._keeper.start(begun)


def _too_large(job: JobRow, machine: Machine) -> str:
    return (
        f"needs {gpus_held(job):g} GPUs and {job.cpus} cores, but there are {machine.gpus:g} and"
        f" {machine.cpus:g}; waits until there are more"
    )
