"""Answers about jobs are made once for all who ask, and anew when anything changes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.tuner.service.serving import Serving
from tuner.service import answers
from tuner.service.answers import Answers
from tuner.service.models import Job
from tuner.service.tables import JobRow

MANY = 16


@pytest.fixture(autouse=True)
def kept_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no answer expire, however slow the machine is."""
    monkeypatch.setattr(answers, "LOOK_S", 600.0)


class Telling:
    """Answers about the jobs of a service, whose telling takes a while and is counted."""

    def __init__(self, folder: Path) -> None:
        self.serving = Serving(folder)
        self.serving.add_job("one")
        self.told = 0
        self.seen = 0
        self._service = self.serving.app.state.service
        self.answers = Answers(self._service.store, self._told, lambda job: self.seen)
        self._lock = threading.Lock()

    def _told(self, job: JobRow) -> Job:
        with self._lock:
            self.told += 1
        time.sleep(0.05)
        return self._service.told(job)

    def body(self) -> bytes:
        """Ask about all jobs."""
        store = self._service.store
        return self.answers.answer("all", lambda: store.jobs(limit=10), one=False).body

    def together(self) -> set[bytes]:
        """Let many ask at the same moment."""
        at_once = threading.Barrier(MANY)

        def ask(_: int) -> bytes:
            at_once.wait()
            return self.body()

        with ThreadPoolExecutor(MANY) as threads:
            return set(threads.map(ask, range(MANY)))


def test_of_many_who_ask_one_makes_the_answer(tmp_path: Path) -> None:
    telling = Telling(tmp_path)
    assert len(telling.together()) == 1
    assert telling.told == 1


def test_it_is_made_anew_once_the_database_or_a_record_changes(tmp_path: Path) -> None:
    telling = Telling(tmp_path)
    telling.body()
    telling.seen += 1
    assert len(telling.together()) == 1
    assert telling.told == 2
    telling.serving.add_job("two")
    (body,) = telling.together()
    assert telling.told == 4
    assert b'"two"' in body
