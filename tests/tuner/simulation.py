"""A scheduler of one slot in plain Python, to drive a run's state machine without Ray or torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from tuner import restore
from tuner.driver import Driver
from tuner.record import Record
from tuner.search import Search
from tuner.spec import RunSpec, build_spec

TRAIN_IMAGES = 640
"""Ten steps an epoch at batch 64."""

Curve = Callable[[TrialConfig, int], float]
"""Validation F1 of a trial at an epoch."""


class Killed(Exception):  # noqa: N818 - it stands for a signal, not for an error
    """The driver's process is gone."""


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def spec(space: str = "periodic_T", **flags: Any) -> RunSpec:
    """Return a quick specification of 12 epochs with fields replaced."""
    return build_spec("quick", None, {"space": space, **flags}, {}, {})


def row(epoch: int, f1: float, best: float, best_epoch: int, **changes: Any) -> dict[str, Any]:
    """Return one epoch's metrics in the shape that a trial reports them."""
    improved = best_epoch == epoch
    return {
        "epoch": epoch,
        "train_loss": 2.0 - f1,
        "train_accuracy": f1,
        "val_loss": 2.0 - f1,
        "val_f1": f1,
        "val_accuracy": f1,
        "test_f1": f1 - 0.01 if improved else None,
        "best_val_f1": best,
        "best_epoch": best_epoch,
        "best_test_f1": best - 0.01,
        "lr": 1e-3,
        "update_norm": 0.1,
        "weight_norm": 3.0,
        "injected_share": 0.0,
        "units": [],
        "diverged": False,
        "reason": None,
        "shared": False,
        "train_s": 1.0,
        "eval_s": 0.1,
        "images_per_s": 640.0,
        **changes,
    }


def rows(trial: TrialConfig, curve: Curve) -> list[dict[str, Any]]:
    """Return all the rows of a trial whose validation F1 follows `curve`."""
    result, best, best_epoch = [], -1.0, 0
    for epoch in range(1, trial.epochs + 1):
        f1 = curve(trial, epoch)
        if f1 > best:
            best, best_epoch = f1, epoch
        result.append(row(epoch, f1, best, best_epoch))
    return result


def open_driver(
    folder: Path, specification: RunSpec, clock: Clock, steady: Clock | None = None
) -> Driver:
    """Return the driver of a new run, or of one that goes on if the folder has a record."""
    space = specification.space.resolved(specification.epochs)
    stopping = specification.stopping()
    arguments = (
        space,
        specification.sampler,
        specification.seed,
        folder / "optuna.db",
        folder.name,
    )
    fresh = not (folder / "record.db").exists()
    if fresh:
        folder.mkdir(parents=True, exist_ok=True)
        record = Record.create(
            folder,
            name=folder.name,
            spec=specification.model_dump(mode="json"),
            digest=specification.digest,
            versions={},
            host={},
            command=["test"],
            git_revision=None,
            data={"fingerprint": "f" * 64, "images": {"train": TRAIN_IMAGES}},
        )
        search = Search.create(*arguments)
        found = {}
    else:
        record = Record.open(folder, write=True)
        found = restore.groups(record)
        configs = record.configs()
        search = Search.rebuild(
            *arguments,
            restore.told(configs, found),
            configs[-1].study_attrs if configs else {},
        )
        if stopping is not None:
            stopping.restore(record.rungs())
    driver = Driver(
        specification, record, search, stopping, folder, TRAIN_IMAGES, 1.0,
        specification.budget, clock, steady or clock,
    )  # fmt: skip
    if not fresh:
        restore.adopt(driver, found)
    return driver


def run(
    folder: Path,
    specification: RunSpec,
    curve: Curve,
    *,
    clock: Clock | None = None,
    events_before_kill: int | None = None,
    on_event: Callable[[Driver, int, int], None] | None = None,
) -> None:
    """Run, or go on with, a search on one slot; epochs last one second of a made clock.

    Raises
    ------
    Killed
        After `events_before_kill` epochs, with nothing cleaned up.
    """
    clock = clock or Clock()
    driver = open_driver(folder, specification, clock)
    events = 0
    try:
        while (assignment := driver.next_trial()) is not None:
            driver.on_started(assignment.number, "cpu", "worker")
            for epoch_row in rows(assignment.trial, curve)[assignment.acknowledged :]:
                if events == events_before_kill:
                    raise Killed
                events += 1
                clock.now_s += 1.0
                if on_event is not None:
                    on_event(driver, assignment.number, epoch_row["epoch"])
                if driver.on_row(assignment.number, epoch_row, 0.0):
                    break
    finally:
        driver.board.close()
        driver.record.close()


def run_in_pieces(folder: Path, specification: RunSpec, curve: Curve) -> int:
    """Run a search that is killed after every few epochs; return how often it was."""
    killed = 0
    while True:
        try:
            run(folder, specification, curve, events_before_kill=7 + killed % 5)
            return killed
        except Killed:
            killed += 1
