"""What tests change in every Python process whose PYTHONPATH begins with this folder.

TEST_GATES, a folder: trials wait there where a test wants them to; see `tests/gates.py`.
TEST_CLOCK, a file: the wall clock is off by the seconds that it holds.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import os
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "trainables.ray_trial"


class Wrapped(importlib.abc.MetaPathFinder):
    """Changes the module that trains trials once it is imported, which takes torch."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Find that one module as others would."""
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            wrap(module.RayTrial)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def wrap(ray_trial: Any) -> None:
    """Let its trials wait as their worker starts, which is epoch 0, and amid each epoch.

    Amid an epoch it is trained, but neither saved nor told.
    """
    begin, setup = ray_trial._begin, ray_trial.setup

    def run_of(given: Any) -> str:
        return Path(given["folder"]).parents[1].name

    def setup_gated(self: Any, config: Any) -> None:
        wait(run_of(config), config["number"], 0)
        setup(self, config)

    def begin_gated(self: Any) -> None:
        begin(self)
        train, given = self._trial.run_epoch, self._assignment

        def run_epoch() -> Any:
            row = train()
            wait(run_of(given), given["number"], row["epoch"])
            return row

        self._trial.run_epoch = run_epoch

    ray_trial._begin, ray_trial.setup = begin_gated, setup_gated


def wait(run: str, trial: int, epoch: int) -> None:
    """Wait while the run's gate is closed for this trial and epoch, and tell who waits."""
    gate = Path(os.environ["TEST_GATES"]) / run
    mark = gate.with_name(f"{run}.{trial}")
    while is_closed(gate, trial, epoch):
        if not mark.exists():
            new = gate.with_name(f"{run}.{trial}.{os.getpid()}")
            new.write_text(f"{os.getpid()} {epoch}")
            with contextlib.suppress(FileNotFoundError):  # a gate that closes forgets all marks
                new.replace(mark)
        time.sleep(0.02)
    mark.unlink(missing_ok=True)


def is_closed(gate: Path, trial: int, epoch: int) -> bool:
    """Return whether a gate is closed."""
    try:
        first_trial, first_epoch = map(int, gate.read_text().split())
    except FileNotFoundError:
        return False
    return trial >= first_trial and epoch >= first_epoch


if "TEST_GATES" in os.environ:
    sys.meta_path.insert(0, Wrapped())
if "TEST_CLOCK" in os.environ:
    clock, real = Path(os.environ["TEST_CLOCK"]), time.time
    time.time = lambda: real() + float(clock.read_text())
