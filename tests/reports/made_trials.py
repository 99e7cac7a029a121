"""Trials and runs in memory, for figures that are drawn from plain data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reports.figures.runs import Curve, Run, Trial
from tests.reports.made_records import made_spec
from tuner.record_rows import RungRow, RunRow, TrialRow


def made_curve(
    f1: Sequence[float],
    loss: Sequence[float] | None = None,
    injected: Sequence[float] | None = None,
    units: dict[str, Sequence[float]] | None = None,
) -> Curve:
    """Return a curve; `units` gives each unit's w by epoch, which injects where it is negative."""
    count = len(f1)
    w = np.array(list((units or {}).values()), dtype=float).T.reshape(count, len(units or {}))
    return Curve(
        np.array(loss if loss is not None else [1.0] * count, dtype=float),
        np.array(f1, dtype=float),
        np.array(injected if injected is not None else [0.0] * count, dtype=float),
        tuple(units or {}),
        w,
        (w < 0).astype(float),
    )


def made_trial(
    number: int, curve: Curve | None = None, run: str = "r", arm: str = "periodic", **fields: Any
) -> Trial:
    """Return a completed trial; fields replace those of its row."""
    curve = made_curve([0.3]) if curve is None else curve
    f1 = curve.val_f1_E
    best = int(np.argmax(f1)) if len(f1) else None
    values: dict[str, Any] = {
        "number": number, "config": number, "seed": number, "arm": arm, "knobs": {},
        "trial_config": {}, "audited": False, "first_judged_epoch": 1, "state": "completed",
        "reason": None, "error": None, "attempts": 1, "device": "cpu", "worker": "w",
        "created_at": 0.0, "started_at": 60.0 * number, "ended_at": 60.0 * number + 60,
        "stand_alone_epochs": len(f1), "as_run_epochs": len(f1), "slot_s": 60.0,
        "saved_slot_s": 0.0, "sharing": None, "train_s": 50.0,
        "eval_s": 10.0, "rung": None, "best_epoch": None if best is None else best + 1,
        "score": None if best is None else float(f1[best]),
        "test_score": None if best is None else float(f1[best]) - 0.01,
        **fields,
    }  # fmt: skip
    return Trial(f"t-{run}-{number}", run, TrialRow(**values), curve)


def made_run(
    trials: Sequence[Trial],
    name: str = "r",
    space: str = "periodic_T",
    epochs: int = 12,
    rungs: Sequence[RungRow] = (),
    **flags: Any,
) -> Run:
    """Return a run of these trials."""
    spec = made_spec(space, epochs, **flags)
    row = RunRow(
        1, name, spec.model_dump(mode="json"), spec.digest, "finished", None, 0.0,
        {"torch": "2"}, {"hostname": "h", "cpu": "c", "gpus": []}, ["tuner", "run"], None,
        {"fingerprint": "f", "source": "synthetic", "images": {"train": 10}}, {}, 1.0,
    )  # fmt: skip
    return Run(name, Path(name), row, spec.space.resolved(epochs), tuple(trials), tuple(rungs), ())
