"""Records of trainings that never happened, written in one go: large enough for a report's limits.

Curves rise and saturate; injected epochs collapse and recover; the best T lies at a tenth of the
training. Everything follows from the seed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from search_spaces.space import Space
from trainables.schedule import injects
from tuner.record import Record
from tuner.record_file import FILE
from tuner.record_rows import encoded
from tuner.record_schema import columns_of
from tuner.spec import RunSpec, build_spec

UNITS = ("layer1.0.bn1", "layer1.1.bn1", "layer2.0.bn1", "layer2.1.bn1",
         "layer3.0.bn1", "layer3.1.bn1", "layer4.0.bn1", "layer4.1.bn1")  # fmt: skip
BEGAN = 1_700_000_000.0
EPOCH_S = 2.0
CENSUS: dict[str, Any] = {"sampler": {"name": "random"}, "scheduler": {"name": "none"}}
"""Flags of a run whose trials are independent draws."""


class Ending(NamedTuple):
    """How a trial ends."""

    state: str = "completed"
    epochs: int | None = None
    """None: all."""
    error: str | None = None


def made_spec(space: str | Space, epochs: int, **flags: Any) -> RunSpec:
    """Return a quick specification with fields replaced."""
    fields = {"epochs": epochs, **flags}
    if isinstance(space, Space):
        base = build_spec("quick", None, fields, {}, {}).model_dump(mode="json")
        return RunSpec.model_validate({**base, "space": space.model_dump(mode="json")})
    return build_spec("quick", None, {"space": space, **fields}, {}, {})


def make_record(
    folder: Path,
    space: str | Space = "periodic_T",
    trials: int = 4,
    epochs: int = 12,
    *,
    endings: Sequence[Ending] = (),
    knobs: Callable[[int], dict[str, Any]] | None = None,
    name: str | None = None,
    state: str = "finished",
    seed: int = 0,
    fingerprint: str = "f" * 64,
    host: dict[str, Any] | None = None,
    copies: int | None = None,
    **flags: Any,
) -> Path:
    """Write a run.

    Parameters
    ----------
    endings : sequence of Ending, optional
        Of the first trials; the others complete.
    knobs : callable, optional
        Trial number → knob values; by default random ones.
    copies : int, optional
        Validation images that are training images, too; by default this is not recorded.
    flags
        Fields of the specification.
    """
    spec = made_spec(space, epochs, **flags)
    resolved = spec.space.resolved(epochs)
    rng = np.random.default_rng(seed)
    with Record.create(
        folder,
        name=name or folder.name,
        spec=spec.model_dump(mode="json"),
        digest=spec.digest,
        versions={"python": "3.11.7", "torch": "2.15.0"},
        host=host or {"hostname": "h", "cpu": "a CPU", "cpu_cores": 2, "gpus": [], "system": "s"},
        command=["tuner", "run", "--space", spec.space.name],
        git_revision="0" * 40,
        data={
            "fingerprint": fingerprint,
            "classes": ["a", "b"],
            "images": {"train": 1500, "validation": 700, "test": 700},
            "channels": 1,
            "size": 48,
            "source": "synthetic",
            **({} if copies is None else {"copies_of_train": {"validation": copies, "test": 0}}),
        },
    ) as record:
        record.set_run(state, "made up")
        record.add_active(EPOCH_S * trials * epochs / 2)
    rows: dict[str, list[dict[str, Any]]] = {"config": [], "trial": [], "epoch": [], "rung": []}
    values: dict[str, Any] = {}
    for number in range(trials):
        if number % _seeds(spec) == 0:  # a new configuration
            values = knobs(number) if knobs else _drawn(resolved, rng)
        ending = endings[number] if number < len(endings) else Ending()
        _add_trial(rows, spec, number, values, ending, rng)
    connection = sqlite3.connect(folder / FILE)
    with connection:
        connection.execute("UPDATE run SET created_at = ?", (BEGAN,))
        for table, of_table in rows.items():
            names = [column for column in columns_of(table) if of_table and column in of_table[0]]
            marks = ", ".join(f":{column}" for column in names)
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                [encoded(table, {**dict.fromkeys(names), **row}) for row in of_table],
            ) if of_table else None
    connection.close()
    return folder


def _drawn(space: Any, rng: np.random.Generator) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, knob in space.knobs.items():
        match knob.kind:
            case "int":
                values[name] = int(rng.integers(knob.low, knob.high + 1))
            case "float":
                low, high = np.log([knob.low, knob.high]) if knob.log else (knob.low, knob.high)
                drawn = float(rng.uniform(low, high))
                values[name] = float(np.exp(drawn)) if knob.log else drawn
            case _:
                values[name] = knob.values[int(rng.integers(len(knob.values)))]
    return values


def _add_trial(
    rows: dict[str, list[dict[str, Any]]],
    spec: RunSpec,
    number: int,
    knobs: dict[str, Any],
    ending: Ending,
    rng: np.random.Generator,
) -> None:
    config = spec.trial(knobs, number)
    count = spec.epochs if ending.epochs is None else ending.epochs
    if ending.state == "waiting":
        count = 0
    quality = _quality(config, spec.epochs) + float(rng.normal(0, 0.01))
    start = BEGAN + EPOCH_S * spec.epochs * (number // 2)
    w = np.full(len(UNITS), config.injection.w_init)
    best, best_epoch, best_test = None, None, None
    for epoch in range(1, count + 1):
        share, units = 0.0, []
        if config.injection.method == "periodic":
            share = float(injects(epoch, config.injection.T or 1))
        elif config.injection.method == "dynamic":
            w = np.where(w > 0.01, w * 0.7, rng.normal(0, 0.004, len(UNITS)))
            units = [
                {"unit": unit, "w": float(value), "sign": 1 if value >= 0 else -1,
                 "injecting": float(value < 0), "floor_hits": 0}
                for unit, value in zip(UNITS, w, strict=True)
            ]  # fmt: skip
            share = float(np.mean(w < 0))
        f1 = quality * (1 - np.exp(-4 * epoch / spec.epochs)) * (1 - 0.5 * share)
        f1 = float(np.clip(f1 + rng.normal(0, 0.004), 0, 1))
        improved = best is None or f1 > best
        if improved:
            best, best_epoch, best_test = (
                f1,
                epoch,
                max(0.0, f1 - 0.01 + float(rng.normal(0, 0.008))),
            )
        rows["epoch"].append(
            {
                "trial": number, "epoch": epoch,
                "train_loss": float(2 * np.exp(-2 * epoch / spec.epochs) + share),
                "train_accuracy": f1, "val_loss": 2 - f1, "val_f1": f1, "val_accuracy": f1,
                "test_f1": best_test if improved else None, "best_val_f1": best,
                "best_epoch": best_epoch, "best_test_f1": best_test, "lr": 1e-3,
                "update_norm": 0.1, "weight_norm": 3.0, "injected_share": share, "units": units,
                "diverged": False, "shared": False,
                "train_s": EPOCH_S * 0.8, "eval_s": EPOCH_S * 0.2,
                "images_per_s": 1000.0,
            }
        )  # fmt: skip
    started = ending.state != "waiting"
    ended = ending.state not in ("waiting", "running")
    if number % _seeds(spec) == 0:
        rows["config"].append(
            {"number": number // _seeds(spec), "knobs": knobs, "state": "asked",
             "optuna_attrs": {}, "study_attrs": {}, "asked_at": start}
        )  # fmt: skip
    rows["trial"].append(
        {
            "number": number, "config": number // _seeds(spec), "seed": _seed(spec, number),
            "arm": config.injection.arm, "knobs": knobs,
            "trial_config": config.model_dump(mode="json"), "audited": False,
            "first_judged_epoch": 1, "state": ending.state,
            "reason": f"it was {ending.state}", "error": ending.error, "attempts": int(started),
            "device": "cpu" if started else None, "worker": "w" if started else None,
            "created_at": start, "started_at": start if started else None,
            "ended_at": start + EPOCH_S * max(1, count) if ended else None,
            "stand_alone_epochs": count, "as_run_epochs": count, "slot_s": EPOCH_S * count,
            "saved_slot_s": 0.0,
            "train_s": EPOCH_S * 0.8 * count, "eval_s": EPOCH_S * 0.2 * count,
            "best_epoch": best_epoch, "score": best, "test_score": best_test,
        }
    )  # fmt: skip
    if ending.state == "pruned" and best is not None:
        rows["rung"].append(
            {"id": len(rows["rung"]) + 1, "trial": number, "rung_epoch": count, "value": best,
             "cutoff": best + 0.01, "rank": 2, "entries": 2, "tied": 0, "stop": True,
             "would_stop": True, "at": start + EPOCH_S * count}
        )  # fmt: skip


def hash_of(spec: RunSpec) -> int:
    """Return a small number that differs between specifications, so that seeds do."""
    return int(spec.digest[:6], 16)


def _seeds(spec: RunSpec) -> int:
    return spec.seeds if isinstance(spec.seeds, int) else 1


def _seed(spec: RunSpec, number: int) -> int:
    """Return a trial's seed: fresh, or one of the few on which every configuration is trained."""
    if isinstance(spec.seeds, int):
        return number % spec.seeds
    return 1000 * (1 + abs(hash_of(spec))) + number


def _quality(config: Any, epochs: int) -> float:
    injection = config.injection
    level = {"none": 0.34, "periodic": 0.38, "dynamic": 0.385}[injection.method]
    if injection.method == "periodic":
        level -= 0.04 * abs(np.log((injection.T or 1) / max(1, epochs / 10)))
    if injection.method == "dynamic":
        level -= 0.01 * abs(np.log(injection.Constant))
    if injection.position == "all":
        level -= 0.02
    if injection.dropout_rate > 0:
        level -= 0.02
    return float(level)
