"""A trial's scratch folder: what the store holds of it at every moment, and what is left here."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.object_server import ObjectServer
from tests.trainables.tiny import digest_of, tiny_trial, without_times
from trainables.data.packed import PackedData
from trainables.object_store import ObjectStore
from trainables.remote_folder import RemoteFolder
from trainables.state_files import BEST, NEXT, STATE, digest_of_file
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
    monkeypatch.setattr(ObjectStore, "move", lambda self, name, new: None)
    folder.keep(None)
    folder.keep("digest 1")
    folder.keep("digest 1")
    folder.keep("digest 2")
    assert put == [STATE, NEXT, STATE, STATE, NEXT, STATE]


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours handles it."""


@pytest.mark.parametrize("moment", ["weights", "state", "name", "removal"])
def test_a_node_lost_at_any_moment_leaves_weights_that_are_no_newer_than_the_state(
    server: ObjectServer, data: PackedData, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """`moment` is what the node was about to put into the store, of its second best epoch."""
    here, there = (RemoteFolder(server.uri(f"lost-{moment}")) for _ in range(2))
    trial = trained(data, here, 1)
    first = trial.best_digest
    put, move, remove = ObjectStore.put, ObjectStore.move, ObjectStore.remove

    def lost(function: Any, at: str | None = None) -> Any:
        def until(self: ObjectStore, name: str, *rest: Any) -> Any:
            if at is None or name == at:
                raise Killed
            return function(self, name, *rest)

        return until

    patch = {
        "weights": ("put", lost(put, NEXT)), "state": ("put", lost(put, STATE)),
        "name": ("move", lost(move)), "removal": ("remove", lost(remove)),
    }[moment]  # fmt: skip
    trial.run_epoch()
    trial.save_best(here.folder)
    trial.save(here.folder)
    monkeypatch.setattr(ObjectStore, *patch)
    with pytest.raises(Killed):
        here.keep(trial.best_digest)
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "tempdir", str(there.folder.parent))
    store = ObjectStore(server.uri(f"lost-{moment}"))
    stored = hashlib.sha256(store.read_bytes(BEST) or b"").hexdigest()
    assert stored == (trial.best_digest if moment == "removal" else first)
    there.bring()
    other = tiny_trial(data)
    assert other.load(there.folder)
    there.holds(other.best_digest)
    assert other.epoch == (1 if moment in ("weights", "state") else 2)
    assert digest_of_file(there.folder / BEST) == other.best_digest
    assert hashlib.sha256(store.read_bytes(BEST) or b"").hexdigest() == other.best_digest
    assert store.names() == [BEST, STATE]
    trial.close()
    other.close()


def test_what_a_killed_process_left_is_removed(server: ObjectServer, scratch: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (scratch / f"tuner-trial-{gone.pid}-abc").mkdir()
    folder = RemoteFolder(server.uri("left"))
    assert [path for path in scratch.iterdir() if path.is_dir()] == [folder.folder]
    folder.close()
    assert not folder.folder.exists()
