"""What a search costs beside training, read from its record, and from its process while it runs."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from search_spaces.model import UserError
from tuner.record import Record
from tuner.record_rows import TrialRow

POLL_S = 0.05


@dataclass(frozen=True)
class Overhead:
    """What a search's slots did after the first trial of each."""

    trials: int
    """Trials looked at."""
    training_s: float
    """Their seconds of training and evaluation."""
    share: float
    """Share of the slots' time, from the end of a slot's first trial to that of its last, in which
    nothing was trained or evaluated."""
    turnover_s: float
    """Median over trials of the time between the end of the slot's trial before and this one's,
    less this one's training and evaluation: everything else that a trial costs, writing its state
    after every epoch among it."""


def overhead_of(trials: list[TrialRow]) -> Overhead | None:
    """Return a search's overhead; None if no slot had two trials.

    A slot is a worker's process. A trial that waited for another's epochs counts as training
    nothing meanwhile; measure without sharing.
    """
    slots: dict[str, list[TrialRow]] = defaultdict(list)
    for trial in trials:
        if trial.worker is not None and trial.ended_at is not None:
            slots[trial.worker].append(trial)
    held = trained = 0.0
    gaps = []
    for slot in slots.values():
        ordered = sorted(slot, key=lambda trial: trial.ended_at or 0.0)
        for before, trial in itertools.pairwise(ordered):
            assert before.ended_at is not None and trial.ended_at is not None
            length, useful = trial.ended_at - before.ended_at, trial.train_s + trial.eval_s
            held, trained = held + length, trained + useful
            gaps.append(length - useful)
    if not gaps:
        return None
    return Overhead(len(gaps), trained, 1 - trained / held, statistics.median(gaps))


@dataclass(frozen=True)
class Watched:
    """A search that was run and watched from its first second."""

    overhead: Overhead | None
    start_s: dict[str, float]
    """Seconds from the start of the process to the first training step, by what they went to."""
    driver_share: float
    """Share of one core that the driver used, from the first trial's start to the end."""
    results_per_s: float
    """Epochs that it received meanwhile."""

    @property
    def to_first_step_s(self) -> float:
        """Seconds from the start of the process to the first training step."""
        return sum(self.start_s.values())


def watch(arguments: list[str], runs: Path, name: str) -> Watched:
    """Run ``tuner run ARGUMENTS`` and measure what it costs beside training.

    Raises
    ------
    UserError
        If it fails.
    """
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "run", "--runs", str(runs), "--name", name, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = psutil.Process(process.pid)
    first: dict[str, float] = {}
    cpu_at_start = cpu = ended = 0.0
    while process.poll() is None:
        try:
            times = seen.cpu_times()
        except psutil.NoSuchProcess:
            break
        cpu, ended = times.user + times.system, time.time()
        if "row" not in first:
            first = _first(runs / name)
            if "started" not in first:
                cpu_at_start = cpu
        time.sleep(POLL_S)
    _, errors = process.communicate()
    if process.returncode != 0:
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"The search that was to be measured failed: {last}")
    with Record.open(runs / name) as record:
        trials = record.trials()
        asked = min(event.at for event in record.events() if event.kind == "slots")
        epochs = sum(trial.epochs for trial in trials)
        first_row = record.epochs(min(t.number for t in trials))[0]
        created = record.run().created_at
    step = first["row"] - first_row["train_s"] - first_row["eval_s"]
    return Watched(
        overhead_of(trials),
        {
            "command, data and Ray": created - began,
            "search": asked - created,
            "a worker's process": first["started"] - asked,
            "torch and the network": step - first["started"],
        },
        (cpu - cpu_at_start) / (ended - first["started"]),
        epochs / (ended - first["started"]),
    )


def _first(folder: Path) -> dict[str, Any]:
    """Return when the run's first trial started, and when its first row was there, if so yet."""
    if not (folder / "record.db").exists():
        return {}
    try:
        with Record.open(folder) as record:
            trials = [trial for trial in record.trials() if trial.started_at is not None]
            if not trials:
                return {}
            started = min(trial.started_at or 0.0 for trial in trials)
            rows = any(trial.epochs for trial in trials)
    except (UserError, OSError):  # it is being made
        return {}
    return {"started": started, **({"row": time.time()} if rows else {})}
