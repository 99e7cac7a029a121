"""Gates at which the trials of a search wait until a test has seen, or done, what it is about.

A search of a test takes seconds, and so does a look at it on a busy machine: what is asserted of a
search amid its epochs, or done to it there, needs one that waits. A trial waits amid an epoch,
after its training and before its state is saved. The processes find the gates by their environment,
through `tests/site/sitecustomize.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATH = f"{ROOT / 'tests' / 'site'}{os.pathsep}{ROOT}"
"""The PYTHONPATH of processes that are to know gates."""
WAIT_S = 400.0
"""Nothing that a test waits for takes more than some 20 s, on a machine that has nothing else."""


def wait_until(true: Callable[[], object], told: Callable[[], str] = str) -> None:
    """Return once something is so; fail with what `told` returns if that takes too long."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WAIT_S:.0f} s: {told()}"
        time.sleep(0.1)


class Gates:
    """The gates of some searches, each under its run's name.

    Parameters
    ----------
    folder : Path
        Of these gates alone; it must be seen by all that train.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = {"PYTHONPATH": PATH, "TEST_GATES": str(folder)}
        """What the processes of these searches need."""

    def close(self, run: str, trial: int, epoch: int = 1) -> None:
        """Let trials of this number and higher ones wait amid this epoch, or any later one.

        Epoch 0 is the start of a trial's worker.
        """
        for mark in self._folder.glob(f"{run}.*"):  # of processes that were killed as they waited
            mark.unlink(missing_ok=True)
        new = self._folder / f".{run}"
        new.write_text(f"{trial} {epoch}")
        new.replace(self._folder / run)

    def open(self, *runs: str) -> None:
        """Let all trials of these runs go on."""
        for run in runs:
            (self._folder / run).unlink(missing_ok=True)

    def open_all(self) -> None:
        """Let all go on, and forget who waited."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def waiting(self, run: str, trial: int) -> int | None:
        """Return the process that waits with a trial, as it knows itself; None if none does."""
        try:
            pid, _ = (self._folder / f"{run}.{trial}").read_text().split()
        except FileNotFoundError:
            return None
        return int(pid)

    def wait(self, run: str, *trials: int, told: Callable[[], str] = str) -> list[int]:
        """Wait until these trials wait at the gate, and return their processes."""
        wait_until(lambda: all(self.waiting(run, one) is not None for one in trials), told)
        return [self.waiting(run, one) or 0 for one in trials]


@contextlib.contextmanager
def gates() -> Iterator[Gates]:
    """Yield gates in a folder that nodes with a `/tmp` of their own see, too."""
    folder = Path(tempfile.mkdtemp(prefix="tuner-gates-", dir="/var/tmp"))
    made = Gates(folder)
    try:
        yield made
    finally:
        made.open_all()
        shutil.rmtree(folder, ignore_errors=True)
