"""Tiny searches as processes, left alone or held at a gate, and what they have found."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil

from tests.gates import WAIT_S, Gates, wait_until
from tuner.record import Record

ENVIRONMENT = {
    **os.environ,
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}
TINY = """
data: {synthetic_train: 192, synthetic_eval: 70}
network: {width: 8}
training: {lr: 0.001, batch_size: 32}
epochs: 6
"""
"""A trial of a few seconds: six steps an epoch."""
TRIALS = "8"
"""Trials of the searches that are compared with one left alone: 23 epochs, as most are pruned."""
TIMES = {"train_s", "eval_s", "images_per_s"}
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def command(shared: Path, runs: Path, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "tuner", "run", "--config", str(shared / "tiny.yaml"),
        "--runs", str(runs), "--cache", str(shared / "cache"), *arguments,
    ]  # fmt: skip


def resume_command(shared: Path, folder: Path, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "tuner", "resume", str(folder),
        "--cache", str(shared / "cache"), *arguments,
    ]  # fmt: skip


def finish(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=2 * WAIT_S
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@contextlib.contextmanager
def begun(arguments: list[str], closable: Gates, **pipes: Any) -> Iterator[subprocess.Popen[str]]:
    """Yield a search that knows gates, and end it, whatever happens."""
    environment = {**ENVIRONMENT, **closable.environment}
    process = subprocess.Popen(
        arguments, env=environment, text=True,
        **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **pipes},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_at_gate(
    closable: Gates, process: subprocess.Popen[str], *trials: int
) -> list[psutil.Process]:
    """Wait until these trials of a search wait at its gate; return their processes."""

    def there() -> bool:
        assert process.poll() is None, "the run ended too early"
        return all(closable.waiting("it", trial) for trial in trials)

    wait_until(there)
    return [psutil.Process(pid) for pid in closable.wait("it", *trials)]


def interrupt(process: subprocess.Popen[str]) -> None:
    """Send a search the first Ctrl-C, and return once it has told so."""
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("press Ctrl-C again" in line for line in process.stderr)


def content(folder: Path) -> dict[str, Any]:
    """Return all of a record but times, machine and worker."""
    with Record.open(folder) as record:
        trials = [
            (
                t.number,
                t.config,
                t.seed,
                t.knobs,
                t.state,
                t.reason,
                t.epochs,
                t.score,
                t.test_score,
            )
            for t in record.trials()
        ]
        epochs = [
            {key: value for key, value in row.items() if key not in TIMES | {"shared"}}
            for trial in trials
            for row in record.epochs(trial[0])
        ]
        rungs = [(r.trial, r.rung_epoch, r.value, r.rank, r.stop) for r in record.rungs()]
        asked = [(e.trial, e.message) for e in record.events() if e.kind == "ask"]
    return {"trials": trials, "epochs": epochs, "rungs": rungs, "asked": asked}


def optuna_states(folder: Path) -> list[str]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'optuna.db'}")
    return [trial.state.name for trial in study.trials]


def epochs_recorded(folder: Path) -> int:
    if not (folder / "record.db").exists():
        return 0
    with Record.open(folder) as record:
        return record.totals().epochs
