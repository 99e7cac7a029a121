"""Time ways of training against each other: workers take turns, or train side by side."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from search_spaces.model import UserError
from tuner.bench.worker import Job

LOAD_S, ANSWER_S, END_S = 600.0, 300.0, 10.0
"""Seconds after which a worker that loads, trains or ends is taken to hang."""


class Rate(NamedTuple):
    """Images per second over repeats."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: list[float]) -> Self:
        """Return the median and the spread of some values."""
        return cls(statistics.median(values), min(values), max(values))


class Worker:
    """A process of `tuner.bench.worker`."""

    def __init__(self, job: Job) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tuner.bench.worker", job.as_argument()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )

    def ask(self, command: str) -> None:
        """Give a command; `answer` waits for what it says."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` tells why it died
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()

    def answer(self, within_s: float = ANSWER_S) -> dict[str, Any]:
        """Return the worker's next line.

        Raises
        ------
        UserError
            If it has died, or says nothing for so long.
        """
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(within_s):
                raise UserError(
                    f"A training process of the measurement has said nothing for {within_s:.0f} s."
                )
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in told:
            raise UserError(f"A training process of the measurement failed: {told['error']}")
        return told

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def _last_words(self) -> str:
        status = self._process.wait()
        if status < 0:
            return f"it was ended by signal {-status}; memory may have run out"
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return (lines or [f"it ended with status {status}"])[-1]


@contextlib.contextmanager
def workers(jobs: list[Job]) -> Iterator[list[Worker]]:
    """Yield workers that are ready, one loading after another."""
    started: list[Worker] = []
    try:
        for job in jobs:
            started.append(Worker(job))
            started[-1].answer(LOAD_S)
        yield started
    finally:
        for worker in started:
            worker.close()


def in_turns(jobs: list[Job], repeats: int) -> tuple[list[Rate], list[dict[str, Any]]]:
    """Time jobs in turns, each alone on the machine.

    Returns
    -------
    list of Rate
        Images per second, by job.
    list of dict
        What `floors` says of each job; nothing of a plain one.
    """
    rates: list[list[float]] = [[] for _ in jobs]
    with workers(jobs) as ready:
        for _ in range(repeats):
            for worker, values in zip(ready, rates, strict=True):
                worker.ask("steps")
                told = worker.answer()
                values.append(told["images"] / told["seconds"])
        floors = []
        for worker in ready:
            worker.ask("floor")
            floors.append(worker.answer())
    return [Rate.of(values) for values in rates], floors


class SideBySide(NamedTuple):
    """What trials that train at the same time reach together."""

    rate: Rate
    """Images per second of all of them."""
    used_bytes: int | None
    """GPU memory in use meanwhile, by all processes; None on a CPU."""
    total_bytes: int | None
    """GPU memory there is."""


def side_by_side(job: Job, count: int, seconds: float, repeats: int) -> SideBySide:
    """Time `count` processes that do the same job at the same time."""
    with workers([job] * count) as ready:
        return timed_together(ready, seconds, repeats)


def timed_together(ready: list[Worker], seconds: float, repeats: int) -> SideBySide:
    """Time workers that are ready and train at the same time, for so long at least."""
    totals, told = [], []
    for _ in range(repeats):
        for worker in ready:
            worker.ask(f"for {seconds}")
        told = [worker.answer() for worker in ready]
        totals.append(sum(one["images"] / one["seconds"] for one in told))
    used = [one["used_bytes"] for one in told if "used_bytes" in one]
    total = [one["total_bytes"] for one in told if "total_bytes" in one]
    return SideBySide(Rate.of(totals), max(used, default=None), max(total, default=None))
