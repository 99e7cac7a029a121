"""Tell that a job has ended: POST to a webhook, run a command, or both; off unless configured.

A thread of its own, so that nothing here delays or breaks the supervisor. What was told is in the
database, and while one of two ways still fails, in the job's folder; what fails is tried again,
less and less often, also by the next service. A webhook's address is a secret and a command may
hold one: neither they nor the words of an error, which often repeat them, reach the log.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shlex
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import httpx

from search_spaces.model import UserError
from tuner.record import Record
from tuner.record_file import FILE
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.tables import JobRow
from tuner.summary import summary
from tuner.whole_file import write_whole

TIMEOUT_S = 30.0
FIRST_RETRY_S, LAST_RETRY_S = 10.0, 3600.0
TRIES = 12
"""Over some seven hours; then it is given up, and the service's log says so."""
IDLE_S = 60.0
TOLD = "told.json"
"""In a job's folder: when it ended, and which ways of telling have succeeded, if not yet all."""

End = tuple[str, float | None]
"""Which end: the job, and when it ended, as it may be resumed and end again."""

_log = logging.getLogger(__name__)


class Notifier:
    """Tells of ends.

    Parameters
    ----------
    settings : Settings
        Names the webhook and the command, if any.
    store : Store
    clock : callable, default time.monotonic
    """

    def __init__(
        self, settings: Settings, store: Store, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._failed: dict[End, tuple[int, float]] = {}  # tries, and when to try again
        self._told: dict[End, set[str]] = {}  # in which ways
        self._ways: dict[str, Callable[[dict[str, Any]], None]] = {}
        if settings.webhook is not None:
            self._ways["webhook"] = self._post
        if settings.notify_command is not None:
            self._ways["command"] = self._command
        self._wake = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to tell, in a thread."""
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what is being told now is left to its time limit."""
        self._ending = True
        self._wake.set()

    def wake(self) -> None:
        """Look now whether there is something to tell."""
        self._wake.set()

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(IDLE_S)
            self._wake.clear()
            try:
                self.step()
            except Exception as error:
                _log.error("Telling of ends failed, and is tried again: %s", _why(error))

    def step(self) -> None:
        """Tell of what has ended, where that is due; no job keeps another from being told of."""
        jobs = self._store.untold()
        ends = {(job.id, job.ended_at) for job in jobs}
        self._failed = {end: tried for end, tried in self._failed.items() if end in ends}
        self._told = {end: ways for end, ways in self._told.items() if end in ends}
        for job in jobs:
            tries, due_at = self._failed.get((job.id, job.ended_at), (0, 0.0))
            if tries and self._clock() < due_at:
                continue
            try:
                done = self._tell(job)
                if not done and tries + 1 >= TRIES:
                    _log.error("It is given up to tell that job %s ended.", job.id)
                    done = True
                if done:
                    self._store.set_told(job.id, job.ended_at)
            except Exception as error:
                _log.error("Telling that job %s ended failed: %s", job.id, _why(error))
                done = False
            if not done:
                wait_s = min(FIRST_RETRY_S * 2**tries, LAST_RETRY_S)
                self._failed[job.id, job.ended_at] = tries + 1, self._clock() + wait_s

    def _tell(self, job: JobRow) -> bool:
        """Tell in every way that has not succeeded yet; return whether all have."""
        told = self._told.setdefault((job.id, job.ended_at), self._read(job))
        left = [way for way in self._ways if way not in told]
        news = self._news(job) if left else {}
        for way in left:
            try:
                self._ways[way](news)
            except Exception as error:
                _log.warning(
                    "The %s could not tell that job %s ended: %s", way, job.id, _why(error)
                )
                continue
            told.add(way)
        if told and left and told < set(self._ways):
            self._write(job, told)
        return set(self._ways) <= told

    def _read(self, job: JobRow) -> set[str]:
        """Return the ways in which an earlier service has told of this end."""
        try:
            there = json.loads((self._settings.job_folder(job.id) / TOLD).read_bytes())
            return set(there["ways"]) if there["ended_at"] == job.ended_at else set()
        except (OSError, ValueError, KeyError, TypeError):
            return set()

    def _write(self, job: JobRow, told: set[str]) -> None:
        folder = self._settings.job_folder(job.id)
        text = json.dumps({"ended_at": job.ended_at, "ways": sorted(told)})
        with contextlib.suppress(OSError, UserError):  # then only the next service tells it again
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / TOLD, text.encode())

    def _post(self, news: dict[str, Any]) -> None:
        assert self._settings.webhook is not None
        httpx.post(self._settings.webhook, json=news, timeout=TIMEOUT_S).raise_for_status()

    def _command(self, news: dict[str, Any]) -> None:
        assert self._settings.notify_command is not None
        subprocess.run(
            shlex.split(self._settings.notify_command),
            input=json.dumps(news).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=True,
        )

    def _news(self, job: JobRow) -> dict[str, Any]:
        """Return what is told; `text` is what chat programs show."""
        best = self._best(job)
        why = "" if job.reason is None else f": {job.reason.rstrip('.')}"
        found = "" if best is None else f" Best validation macro-F1 {best['score']:.4f}."
        return {
            "text": f"tuner: job {job.id} of {job.user_name} {job.state}{why}.{found}",
            "job": job.id,
            "kind": job.kind,
            "user": job.user_name,
            "state": job.state,
            "reason": job.reason,
            "space": job.space,
            "digest": job.digest,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "ended_at": job.ended_at,
            "best": best,
        }

    def _best(self, job: JobRow) -> dict[str, Any] | None:
        folder = self._settings.run_folder(job.id)
        if not (folder / FILE).is_file():
            return None
        try:
            with Record.open(folder) as record:
                best: dict[str, Any] | None = summary(record)["best"]
        except UserError:
            return None
        return best


def _why(error: Exception) -> str:
    """Return what may be logged of an error: its kind and place, none of its own words."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code}"
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
        return type(error).__name__
    if isinstance(error, subprocess.CalledProcessError):
        return f"it ended with status {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took more than {error.timeout:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    places = [f"{one.name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    return f"{type(error).__name__} in {', '.join(places[-3:])}"
