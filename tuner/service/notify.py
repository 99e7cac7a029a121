"""Tell that a job has ended: POST to a webhook, or run a command; off unless configured.

A thread of its own, so that nothing here delays or breaks the supervisor. What was told is in the
database; what fails is tried again, less and less often, also by the next service.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import threading
import time
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

TIMEOUT_S = 30.0
FIRST_RETRY_S, LAST_RETRY_S = 10.0, 3600.0
TRIES = 12
"""Over some seven hours; then it is given up, and the service's log says so."""
IDLE_S = 60.0

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
        self._failed: dict[str, tuple[int, float]] = {}  # job → tries, and when to try again
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
            except Exception:
                _log.exception("Telling of ends failed; it is tried again.")

    def step(self) -> None:
        """Tell of what has ended, where that is due."""
        for job in self._store.untold():
            tries, due_at = self._failed.get(job.id, (0, 0.0))
            if tries and self._clock() < due_at:
                continue
            try:
                self._tell(job)
            except (
                httpx.HTTPError,
                httpx.InvalidURL,
                OSError,
                subprocess.SubprocessError,
            ) as error:
                tries += 1
                _log.warning("Nobody could be told that job %s ended: %s", job.id, error)
                if tries < TRIES:
                    wait_s = min(FIRST_RETRY_S * 2 ** (tries - 1), LAST_RETRY_S)
                    self._failed[job.id] = tries, self._clock() + wait_s
                    continue
                _log.error("It is given up to tell that job %s ended.", job.id)
            self._failed.pop(job.id, None)
            self._store.set_told(job.id)

    def _tell(self, job: JobRow) -> None:
        webhook, command = self._settings.webhook, self._settings.notify_command
        if webhook is None and command is None:
            return
        told = self._news(job)
        if webhook is not None:
            httpx.post(webhook, json=told, timeout=TIMEOUT_S).raise_for_status()
        if command is not None:
            subprocess.run(
                shlex.split(command),
                input=json.dumps(told).encode(),
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
