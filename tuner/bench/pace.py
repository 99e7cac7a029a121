"""Time ways of training against each other: workers take turns, or train side by side."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from search_spaces.model import UserError
from tuner.bench.worker import Job


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
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tuner.bench.worker", job.as_argument()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )

    def ask(self, command: str) -> None:
        """Give a command; `answer` waits for what it says."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` tells why it died
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return the worker's next line.

        Raises
        ------
        UserError
            If it has died.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            told: dict[str, Any] = json.loads(line)
            return told
        _, errors = self._process.communicate()
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"A training process of the measurement ended early: {last}")

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


@contextlib.contextmanager
def workers(jobs: list[Job]) -> Iterator[list[Worker]]:
    """Yield workers that are ready, one loading after another."""
    started: list[Worker] = []
    try:
        for job in jobs:
            started.append(Worker(job))
            started[-1].answer()
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
        What `floors` says of each job that is not plain, else nothing.
    """
    rates: list[list[float]] = [[] for _ in jobs]
    with workers(jobs) as ready:
        for _ in range(repeats):
            for worker, values in zip(ready, rates, strict=True):
                worker.ask("steps")
                told = worker.answer()
                values.append(told["images"] / told["seconds"])
        floors: list[dict[str, Any]] = []
        for job, worker in zip(jobs, ready, strict=True):
            if job.kind != "plain":
                worker.ask("floor")
            floors.append({} if job.kind == "plain" else worker.answer())
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
    totals, told = [], []
    with workers([job] * count) as ready:
        for _ in range(repeats):
            for worker in ready:
                worker.ask(f"for {seconds}")
            told = [worker.answer() for worker in ready]
            totals.append(sum(one["images"] / one["seconds"] for one in told))
    used = [one["used_bytes"] for one in told if "used_bytes" in one]
    total = [one["total_bytes"] for one in told if "total_bytes" in one]
    return SideBySide(Rate.of(totals), max(used, default=None), max(total, default=None))
