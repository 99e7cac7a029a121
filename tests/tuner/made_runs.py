"""Records of runs that were never trained, for what only reads records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.tuner.simulation import row
from tuner.record import Record
from tuner.seeding import is_audited
from tuner.spec import RunSpec, build_spec


def quick(space: str = "periodic_T", **flags: Any) -> RunSpec:
    """Return a quick specification of 12 epochs with fields replaced."""
    return build_spec("quick", None, {"space": space, **flags}, {}, {})


def make_run(
    folder: Path,
    curves: Sequence[tuple[dict[str, Any], Sequence[float], str]],
    spec: RunSpec | None = None,
    state: str = "finished",
    reason: str | None = "the budget of 16 trials is spent",
) -> Path:
    """Write a run whose trials are (knobs, validation F1 by epoch, final state).

    Every epoch costs two slot-seconds and one second of the driver's time.
    """
    spec = spec or quick()
    with Record.create(
        folder,
        name=folder.name,
        spec=spec.model_dump(mode="json"),
        digest=spec.digest,
        versions={"python": "3"},
        host={"hostname": "h"},
        command=["tuner", "run"],
        git_revision=None,
        data={
            "fingerprint": "f" * 64,
            "classes": ["a", "b"],
            "images": {"train": 1500, "validation": 700, "test": 700},
            "channels": 1,
            "size": 48,
            "source": "synthetic",
        },
    ) as record:
        record.add_event("slots", "2 at once", data={"concurrency": 2})
        for number, (knobs, curve, ending) in enumerate(curves):
            trial = spec.trial(knobs, number).model_dump(mode="json")
            record.add_config(number, knobs, {}, {})
            audited = is_audited(spec, number)
            record.add_trial(number, number, number, knobs, trial, audited, 1)
            if ending == "waiting":
                continue
            record.start_trial(number, 1000.0, "cpu", "here:1")
            best, best_epoch = -1.0, 0
            for epoch, f1 in enumerate(curve, start=1):
                if f1 > best:
                    best, best_epoch = f1, epoch
                record.add_epoch(number, row(epoch, f1, best, best_epoch))
                record.add_slot_time(number, 2.0)
                record.add_active(1.0)
            if ending != "running":
                error = "out of memory" if ending == "crashed" else None
                record.end_trial(number, ending, f"it was {ending}", error)
        record.set_run(state, reason)
    return folder
