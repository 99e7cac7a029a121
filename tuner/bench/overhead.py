"""What a search costs beside training, read from its record, and from its process while it runs."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

from search_spaces.model import UserError
from trainables.state_files import STATE
from tuner.record import Record
from tuner.record_rows import TrialRow

POLL_S, END_S = 0.05, 20.0


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
    """Median over trials of the time from the end of the slot's trial before to the first training
    step of this one."""
    beside_s: float
    """Median over trials of all that a trial costs beside training and evaluation: its turnover,
    and after every epoch the writing of its state and the driver's answer."""


def overhead_of(trials: list[TrialRow], first_steps: dict[int, float]) -> Overhead | None:
    """Return a search's overhead; None if no slot had two trials.

    A slot is a worker's process. A trial that waited for another's epochs counts as training
    nothing meanwhile; measure without sharing.

    Parameters
    ----------
    trials : list of TrialRow
    first_steps : dict
        When each trial's first training step began, in Unix seconds, by the trial's number.
    """
    slots: dict[str, list[TrialRow]] = defaultdict(list)
    for trial in trials:
        if trial.worker is not None and trial.ended_at is not None:
            slots[trial.worker].append(trial)
    held = trained = 0.0
    beside, turnovers = [], []
    for slot in slots.values():
        ordered = sorted(slot, key=lambda trial: trial.ended_at or 0.0)
        for before, trial in itertools.pairwise(ordered):
            assert before.ended_at is not None and trial.ended_at is not None
            length, useful = trial.ended_at - before.ended_at, trial.train_s + trial.eval_s
            held, trained = held + length, trained + useful
            beside.append(length - useful)
            turnovers.append(first_steps[trial.number] - before.ended_at)
    if not beside:
        return None
    medians = (statistics.median(values) for values in (turnovers, beside))
    return Overhead(len(beside), trained, 1 - trained / held, *medians)


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
    first: dict[str, float] = {}
    states: dict[int, float] = {}
    cpu_at_start = cpu = ended = 0.0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", "run", "--runs", str(runs), "--name", name, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        seen = psutil.Process(process.pid)
        try:
            while process.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = seen.cpu_times()
                    cpu, ended = times.user + times.system, time.time()
                if "started" not in first:
                    first = _first(runs / name)
                if "started" not in first:
                    cpu_at_start = cpu
                _note_states(runs / name, states)
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:  # we are interrupted: it must not outlive its folder
                process.terminate()
                try:
                    process.wait(END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
        if process.returncode != 0:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            raise UserError(
                "The search that was to be measured failed:"
                f" {(lines or [f'status {process.returncode}'])[-1]}"
            )
    with Record.open(runs / name) as record:
        trials = record.trials()
        asked = min(event.at for event in record.events() if event.kind == "slots")
        epochs = sum(trial.epochs for trial in trials)
        # A state is written right after its epoch; the milliseconds that takes count as waiting.
        steps = {
            number: written - row["train_s"] - row["eval_s"]
            for number, written in states.items()
            for row in record.epochs(number)[:1]
        }
        created = record.run().created_at
    if not steps or "started" not in first:
        raise UserError("The search that was to be measured trained nothing that could be seen.")
    step = min(steps.values())
    return Watched(
        overhead_of([trial for trial in trials if trial.number in steps], steps),
        {
            "command, data and Ray": created - began,
            "search": asked - created,
            "a worker's process": first["started"] - asked,
            "torch and the network": step - first["started"],
        },
        (cpu - cpu_at_start) / (ended - first["started"]),
        epochs / (ended - first["started"]),
    )


def _first(folder: Path) -> dict[str, float]:
    """Return when the run's first trial started, if one has."""
    if not (folder / "record.db").exists():
        return {}
    try:
        with Record.open(folder) as record:
            started = [t.started_at for t in record.trials() if t.started_at is not None]
    except (UserError, OSError):  # it is being made
        return {}
    return {"started": min(started)} if started else {}


def _note_states(folder: Path, states: dict[int, float]) -> None:
    """Note when trials that have just written their first state did so."""
    for path in (folder / "trials").glob(f"*/{STATE}"):
        with contextlib.suppress(FileNotFoundError):  # it is being replaced, or the trial has ended
            states.setdefault(int(path.parent.name), path.stat().st_mtime)
