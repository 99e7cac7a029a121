"""A trial's scratch folder: what the store holds of it at every moment, and what is left here."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.object_server import ObjectServer
from tests.trainables.tiny import digest_of, tiny_trial, without_times
from trainables.data.packed import PackedData
from trainables.object_store import ObjectStore
from trainables.remote_folder import RemoteFolder
from trainables.train import Trial


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def trained(data: PackedData, folder: RemoteFolder, epochs: int) -> Trial:
    """Return a trial that goes on from what its folder's store holds, as a worker does it."""
    trial = tiny_trial(data)
    folder.bring()
    if trial.load(folder.folder):
        folder.holds(trial.best_digest)
    while trial.epoch < epochs:
        row = trial.run_epoch()
        if row["best_epoch"] == row["epoch"]:
            trial.save_best(folder.folder)
        trial.save(folder.folder)
        folder.keep(trial.best_digest)
    return trial


def test_another_machine_goes_on_with_the_same_numbers(
    server: ObjectServer, data: PackedData
) -> None:
    alone = RemoteFolder(server.uri("alone"))
    undisturbed = trained(data, alone, 3)
    here, there = RemoteFolder(server.uri("moved")), RemoteFolder(server.uri("moved"))
    first = trained(data, here, 2)
    first.close()
    here.close()  # nothing of it is left on this machine
    second = trained(data, there, 3)
    assert without_times(second.history) == without_times(undisturbed.history)
    assert digest_of(second) == digest_of(undisturbed)
    stores = [ObjectStore(server.uri(name)) for name in ("alone", "moved")]
    assert stores[0].names() == ["best.pt", "state.pt"]
    assert stores[0].read_bytes("best.pt") == stores[1].read_bytes("best.pt")
    undisturbed.close()
    second.close()


def test_weights_that_did_not_change_are_not_put_again(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RemoteFolder(server.uri("again"))
    put: list[str] = []
    monkeypatch.setattr(ObjectStore, "put", lambda self, name, source: put.append(name))
    folder.keep(None)
    folder.keep("digest 1")
    folder.keep("digest 1")
    folder.keep("digest 2")
    assert put == ["state.pt", "best.pt", "state.pt", "state.pt", "best.pt", "state.pt"]


def test_what_a_killed_process_left_is_removed(server: ObjectServer, scratch: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (scratch / f"tuner-trial-{gone.pid}-abc").mkdir()
    folder = RemoteFolder(server.uri("left"))
    assert [path for path in scratch.iterdir() if path.is_dir()] == [folder.folder]
    folder.close()
    assert not folder.folder.exists()
