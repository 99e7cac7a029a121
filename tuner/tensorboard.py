"""A run's TensorBoard files: scalars per epoch, hyperparameters per trial.

A projection of the record, written as epochs arrive, one folder per trial. Hyperparameters are
written when a trial starts, not when it ends, so that the HParams tab shows running trials.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import hparams, scalar

SCALARS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "val_f1": "f1/validation",
    "best_val_f1": "f1/best_validation",
    "test_f1": "f1/test",
    "injected_share": "injection/share",
    "lr": "optimizer/lr",
    "update_norm": "optimizer/update_norm",
    "weight_norm": "optimizer/weight_norm",
    "images_per_s": "speed/images_per_s",
}
"""Column of an epoch row → TensorBoard tag; values that are None are left out."""

METRICS = {"f1/best_validation": 0.0, "f1/test": 0.0}
"""What the HParams tab lists beside the knobs."""


class TensorBoard:
    """Writes RUN/tensorboard/NNNNN for each trial; at most one open writer per running trial.

    Writes at once, in the caller's thread: tensorboardX's own writer queues ten events for a
    thread, and once that has died of a full disk, the eleventh waits for ever.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[int, EventsWriter] = {}

    def add_epoch(self, number: int, knobs: dict[str, Any], row: dict[str, Any]) -> None:
        """Write one epoch of a trial; the first one also writes its hyperparameters."""
        writer = self._writers.get(number) or self._open(number, knobs)
        values = {tag: row.get(column) for column, tag in SCALARS.items()}
        values |= {f"w/{unit['unit']}": unit["w"] for unit in row["units"]}
        for tag, value in values.items():
            if value is not None:
                _add(writer, scalar(tag, value), row["epoch"])
        writer.flush()

    def end(self, number: int, knobs: dict[str, Any]) -> None:
        """Close a trial that has ended."""
        writer = self._writers.pop(number, None)
        if writer is None:
            return
        _add(writer, _hparams(knobs)[2])
        writer.close()
        (self._folder(number) / "complete").touch()

    def is_complete(self, number: int) -> bool:
        """Return whether a trial's files were closed after its last epoch."""
        return (self._folder(number) / "complete").exists()

    def rewrite(self, number: int, knobs: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
        """Replace a trial's files by what the record says: files may end anywhere after a kill."""
        shutil.rmtree(self._folder(number), ignore_errors=True)
        for row in rows:
            self.add_epoch(number, knobs, row)

    def close(self) -> None:
        """Close every file; trials that go on later get another file in the same folder."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _open(self, number: int, knobs: dict[str, Any]) -> EventsWriter:
        self._folder(number).mkdir(parents=True, exist_ok=True)
        writer = EventsWriter(str(self._folder(number) / "events"))
        experiment, start, _ = _hparams(knobs)
        _add(writer, experiment)
        _add(writer, start)
        self._writers[number] = writer
        return writer

    def _folder(self, number: int) -> Path:
        return self.folder / f"{number:05d}"


def _add(writer: EventsWriter, summary: Any, step: int = 0) -> None:
    writer.write_event(Event(summary=summary, step=step, wall_time=time.time()))


def _hparams(knobs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the experiment, session-start and session-end summaries of a trial."""
    experiment, start, end = hparams(knobs, METRICS)
    return experiment, start, end
