"""How a record of 10,000 trials of 60 epochs behaves: written, listed and shown.

    python -m benchmarks.record_scale [--trials 10000] [--epochs 60]

Trials are made up, not trained. Each trial's rows are written in one transaction, to be done
soon; then single epochs are added as a driver adds them, one transaction each, and timed. Commands
are timed as a user waits for them, from the start of the process to its end.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from tuner.record import Record
from tuner.spec import build_spec

COMMANDS = (["status", "big"], ["status", "big", "--format", "json"], ["list"],
            ["export", "big", "-o", "{folder}/trials.parquet"])  # fmt: skip
SINGLE = 200
"""Epochs that are added one by one."""


def epoch_row(epoch: int, f1: float, best: tuple[float, int]) -> dict[str, Any]:
    """Return an epoch as a trial of the periodic method reports it."""
    return {
        "epoch": epoch, "train_loss": 1.5, "train_accuracy": 0.4, "val_loss": 1.6, "val_f1": f1,
        "val_accuracy": f1, "test_f1": f1 if best[1] == epoch else None, "best_val_f1": best[0],
        "best_epoch": best[1], "best_test_f1": best[0], "lr": 1e-4, "update_norm": 1.0,
        "weight_norm": 50.0, "injected_share": 0.5, "units": [], "diverged": False, "reason": None,
        "shared": False, "train_s": 1.0, "eval_s": 0.1, "images_per_s": 2000.0,
    }  # fmt: skip


def fill(folder: Path, trials: int, epochs: int) -> tuple[float, float]:
    """Write the record; return seconds a trial, and seconds a single epoch at the end."""
    flags = {"space": "periodic", "epochs": epochs, "budget": {"trials": trials + 1}}
    spec = build_spec("quick", None, flags, {}, {})
    source = random.Random(0)
    with Record.create(
        folder, name=folder.name, spec=spec.model_dump(mode="json"), digest=spec.digest,
        versions={"python": "3"}, host={"hostname": "h"}, command=["tuner", "run"],
        git_revision=None,
        data={
            "fingerprint": "f" * 64, "classes": ["a", "b"], "channels": 1, "size": 48,
            "images": {"train": 1500, "validation": 700, "test": 700}, "source": "synthetic",
        },
    ) as record:  # fmt: skip
        record.add_event("slots", "2 at once", data={"concurrency": 2, "fraction": 1.0})
        started = time.perf_counter()
        for number in range(trials + 1):
            knobs = {"T": source.randint(1, epochs // 2), "position": "bn1"}
            with record.transaction():
                record.add_config(number, knobs, {}, {})
                trial = spec.trial(knobs, number).model_dump(mode="json")
                record.add_trial(number, number, number, knobs, trial, False, 1)
                record.start_trial(number, time.time(), "cpu", f"host:{number % 2}")
                best = (-1.0, 0)
                for epoch in range(1, epochs + 1) if number < trials else ():
                    f1 = source.random()
                    best = max(best, (f1, epoch))
                    record.add_epoch(number, epoch_row(epoch, f1, best))
                    record.add_slot_time(number, 1.1)
                if number < trials:
                    record.end_trial(number, "completed", None)
                    record.set_config(number, "completed", best[0])
        a_trial = (time.perf_counter() - started) / trials
        started = time.perf_counter()
        for epoch in range(1, min(SINGLE, epochs) + 1):
            with record.transaction():
                record.add_epoch(trials, epoch_row(epoch, 0.5, (0.5, epoch)))
                record.add_slot_time(trials, 1.1)
                record.add_active(1.0)
        return a_trial, (time.perf_counter() - started) / min(SINGLE, epochs)


@click.command()
@click.option("--trials", default=10_000, show_default=True)
@click.option("--epochs", default=60, show_default=True)
def main(trials: int, epochs: int) -> None:
    """Write a large record and time what reads it."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        a_trial, an_epoch = fill(folder / "big", trials, epochs)
        size = sum(path.stat().st_size for path in (folder / "big").rglob("*"))
        click.echo(f"{trials:,} trials of {epochs} epochs: {size / 2**20:.0f} MiB")
        click.echo(f"written at once: {1000 * a_trial:.1f} ms a trial")
        click.echo(f"one more epoch: {1000 * an_epoch:.2f} ms")
        for arguments in COMMANDS:
            given = [argument.format(folder=folder) for argument in arguments]
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "tuner", *given, "--runs", str(folder)],
                check=True, capture_output=True,
            )  # fmt: skip
            click.echo(f"tuner {' '.join(arguments)}: {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
