"""Write what is committed of a study of real faces, from its runs."""

from __future__ import annotations

import csv
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faces.committed import COPIES, CURVES, FIRST, FOLDER, files_of
from reports.real_searches import real_search
from trainables.data.packed import PackedData
from tuner.record import Record
from tuner.record_file import record_folders
from tuner.study.spec import load_study
from tuner.table import write_table

ALIKE = 0.9
"""Correlation of two images' pixels from which one counts as a copy of the other."""


def collect(study: str, folder: Path, sides: Path) -> None:
    """Write the tables of a study's runs, and of those beside it."""
    runs = [*record_folders(folder), *record_folders(sides)]
    target = _target(folder)
    files = files_of(study)
    files.sides.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "study.json", files.folder / "study.json")
    for replay in folder.glob("replay-*.json"):
        shutil.copyfile(replay, files.folder / replay.name)
    _table([one for one in runs if one.parent == folder], files.trials)
    for run in runs:
        if run.parent == sides:
            _table([run], files.sides / f"{run.name}.csv")
    _write(files.searches, [_search(run, target) for run in runs if _is_search(run)])
    _write(files.injection, [row for run in runs for row in _injected(run)])
    census = [run for run in runs if run.name.startswith("census-")]
    _write(files.fit, [row for run in census for row in _fitted(run)])
    curves = [run for run in census if run.name.removeprefix("census-") in CURVES]
    _write(files.curves, [row for run in curves for row in _curves(run)])


def copies(packed: Path) -> None:
    """Write how many images of each class lie in the training images as well, nearly the same."""
    limit = load_study(str(FOLDER / f"{FIRST}.yaml")).data.limit
    data = PackedData.open(packed)

    def standard(split: str) -> tuple[Any, Any]:
        images, labels = data.split(split, limit)[:2]
        flat = np.asarray(images, np.float32).reshape(len(images), -1)
        flat -= flat.mean(1, keepdims=True)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-6), np.asarray(labels)

    train, of_train = standard("train")
    rows = []
    for split in ("validation", "test"):
        images, labels = standard(split)
        copied = ((images @ train.T > ALIKE) & (of_train == labels[:, None])).any(1)
        rows += [
            {
                "split": split, "class": name, "images": int((labels == k).sum()),
                "copies": int((copied & (labels == k)).sum()),
            }
            for k, name in enumerate(data.classes)
        ]  # fmt: skip
    _write(COPIES, rows)


def _table(runs: Sequence[Path], file: Path) -> None:
    records = [Record.open(run) for run in runs]
    try:
        write_table(records, file, "csv")
    finally:
        for record in records:
            record.close()


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as written:
        table = csv.DictWriter(written, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _target(folder: Path) -> float:
    """Return the median of the pilot's scores."""
    with Record.open(folder / "pilot-dynamic_default") as record:
        return statistics.median(one.score or 0.0 for one in record.trials())


def _is_search(run: Path) -> bool:
    return run.name.startswith(("search-", "shared_"))


def _search(run: Path, target: float) -> dict[str, Any]:
    """Return what a search cost until the target; `computed` leaves out shared epochs."""
    found = real_search(run, target)
    return {
        "run": found.run, "space": found.space, "reached": int(found.reached),
        "trials": found.trials, "epochs": found.epochs, "computed": found.computed,
    }  # fmt: skip


def _injected(run: Path) -> list[dict[str, Any]]:
    """Return when and how much each dynamic trial injected, and how often its units' signs changed.

    A change is one between the ends of two epochs that follow each other.
    """
    rows = []
    with Record.open(run) as record:
        for trial in record.trials():
            if not trial.arm.startswith("dynamic") or trial.state != "completed":
                continue
            epochs = record.epochs(trial.number)
            shares = [row["injected_share"] or 0.0 for row in epochs]
            first = next((epoch for epoch, share in enumerate(shares, 1) if share > 0), "")
            signs = np.array([[unit["sign"] for unit in row["units"] or []] for row in epochs])
            changes = (signs[1:] != signs[:-1]).sum(0)
            rows.append(
                {
                    "run": run.name, "trial": trial.number, "first": first,
                    "share": round(statistics.fmean(shares), 6), "units": len(changes),
                    "changes": int(changes.sum()), "unchanged": int((changes == 0).sum()),
                }
            )  # fmt: skip
    return rows


def _curves(run: Path) -> list[dict[str, Any]]:
    """Return each epoch's validation score, and whether it was trained with injection."""
    with Record.open(run) as record:
        return [
            {
                "run": run.name, "trial": trial.number, "epoch": row["epoch"],
                "val_f1": round(row["val_f1"], 6),
                "injected": int((row["injected_share"] or 0.0) > 0.0),
            }
            for trial in record.trials()
            for row in record.epochs(trial.number)
        ]  # fmt: skip


def _fitted(run: Path) -> list[dict[str, Any]]:
    """Return how many training images each trial classified correctly in its best epoch."""
    rows = []
    with Record.open(run) as record:
        for trial in record.trials():
            epochs = record.epochs(trial.number)
            if trial.best_epoch is not None and trial.state == "completed":
                fitted = epochs[trial.best_epoch - 1]["train_accuracy"]
                rows.append({"run": run.name, "trial": trial.number, "train_accuracy": fitted})
    return rows
