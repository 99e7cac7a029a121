"""The files are read back by TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboardX import record_writer

from tests.tuner.simulation import row
from tuner.tensorboard import METRICS, SCALARS, TensorBoard

UNITS = [{"unit": "layer1.0.bn1", "w": -0.25, "sign": -1, "injecting": 1.0, "floor_hits": 0}]


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return accumulator


def written(folder: Path, knobs: dict[str, Any]) -> TensorBoard:
    board = TensorBoard(folder)
    board.add_epoch(3, knobs, row(1, 0.25, 0.25, 1, units=UNITS))
    board.add_epoch(3, knobs, row(2, 0.2, 0.25, 1, units=UNITS))
    return board


def test_scalars_come_back_with_their_epochs_and_absent_ones_are_left_out(tmp_path: Path) -> None:
    written(tmp_path, {"T": 3}).close()
    scalars = read(tmp_path / "00003")
    assert set(scalars.Tags()["scalars"]) == {*SCALARS.values(), "w/layer1.0.bn1"}
    assert [(e.step, e.value) for e in scalars.Scalars("f1/validation")] == [
        (1, 0.25),
        (2, pytest.approx(0.2)),
    ]
    assert [e.step for e in scalars.Scalars("f1/test")] == [1]
    assert scalars.Scalars("w/layer1.0.bn1")[0].value == -0.25


def test_a_running_trial_already_has_its_hyperparameters(tmp_path: Path) -> None:
    written(tmp_path, {"T": 3, "position": "bn2"})
    metadata = read(tmp_path / "00003").summary_metadata
    assert "_hparams_/session_start_info" in metadata
    content = metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"position" in content
    assert b"bn2" in content


def test_hparams_metrics_are_scalars_that_exist() -> None:
    assert set(METRICS) <= set(SCALARS.values())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_an_error_at_once_and_never_a_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str) -> BinaryIO:
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(record_writer, "open_file", full)
    board = TensorBoard(tmp_path)
    for epoch in range(1, 5):
        with pytest.raises(OSError, match="No space left"):
            board.add_epoch(3, {"T": 3}, row(epoch, 0.5, 0.5, 1, units=UNITS))


def test_rewriting_replaces_what_a_kill_left(tmp_path: Path) -> None:
    written(tmp_path, {"T": 3}).close()
    board = TensorBoard(tmp_path)
    assert not board.is_complete(3)
    board.rewrite(3, {"T": 3}, [row(1, 0.5, 0.5, 1)])
    board.end(3, {"T": 3})
    assert board.is_complete(3)
    assert [e.value for e in read(tmp_path / "00003").Scalars("f1/validation")] == [0.5]
