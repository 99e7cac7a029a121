"""Where a run's states lie, what goes when, and that two runs never meet in one storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.object_server import ObjectServer
from tests.tuner.made_runs import make_run, quick
from trainables.object_store import ObjectStore
from trainables.state_files import BEST, PREVIOUS, STATE
from tuner.record import Record
from tuner.run_storage import RunStorage
from tuner.spec_sections import ResourcesConfig

CURVES = [({"T": 2}, [0.2], "completed"), ({"T": 3}, [0.3], "pruned")]


def storage_of(run: Path, where: str | None) -> RunStorage:
    with Record.open(run) as record:
        return RunStorage(where, run, record)


def test_without_a_storage_states_lie_in_the_runs_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", CURVES)
    storage = storage_of(run, None)
    assert (storage.base, storage.uri, storage.trial_uri(3)) == (run, None, None)
    assert storage.folder(3) == run / "trials" / "00003"


def test_runs_of_one_name_have_parts_of_their_own_that_a_resume_finds_again(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a" / "run", CURVES), make_run(tmp_path / "b" / "run", CURVES)
    where = str(tmp_path / "storage")
    first, second = storage_of(one, where), storage_of(other, where)
    assert first.base.parent == second.base.parent == tmp_path / "storage"
    assert first.base.name.startswith("run-") and first.base != second.base
    moved = one.rename(tmp_path / "moved")
    assert storage_of(moved, where).base == first.base
    uri = storage_of(moved, "s3://faces/x?scheme=http").trial_uri(7)
    assert uri == f"s3://faces/x/{first.base.name}/trials/00007?scheme=http"


def filled(run: Path, where: str | None) -> tuple[RunStorage, Callable[[], set[str]]]:
    """Return a storage with state and weights of trials 0 to 2, and what lists it."""
    storage = storage_of(run, where)
    files = {f"{number:05d}/{name}" for number in range(3) for name in (STATE, BEST)}
    if storage.uri is not None:
        store = ObjectStore(storage.uri)
        for name in files:
            store.put_bytes(f"trials/{name}", name.encode())
        return storage, lambda: {name.removeprefix("trials/") for name in store.names()}
    for name in files:
        path = storage.base / "trials" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (storage.folder(0) / PREVIOUS).touch()
    trials = storage.base / "trials"
    return storage, lambda: {str(p.relative_to(trials)) for p in trials.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["own", "folder", "bucket"])
def test_states_and_weights_go_apart_and_the_best_come_to_the_run(
    kind: str, server: ObjectServer, tmp_path: Path
) -> None:
    run = make_run(tmp_path / f"run-{kind}", CURVES)
    where = {"own": None, "folder": str(tmp_path / "storage"), "bucket": server.uri("states")}[kind]
    storage, names = filled(run, where)
    storage.remove_state(0)
    assert names() == {f"0000{n}/{BEST}" for n in range(3)} | {f"0000{n}/{STATE}" for n in (1, 2)}
    storage.fetch_best(1)
    assert (run / "trials" / "00001" / BEST).read_text() == f"00001/{BEST}"
    storage.remove_weights(1)
    assert not (run / "trials" / "00001" / BEST).exists()
    storage.tidy(states={1}, weights={0, 1})
    assert names() == {f"00002/{BEST}", f"00002/{STATE}"}


def test_a_store_that_is_away_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.run_storage.PATIENCE_S", 0.0)
    run = make_run(tmp_path / "run", CURVES)
    storage = storage_of(run, "s3://faces/x?endpoint_override=127.0.0.1:1&scheme=http")
    storage.remove_state(0)
    storage.fetch_best(0)
    storage.tidy({0}, {0})


def test_a_storage_is_an_absolute_folder_or_a_bucket_and_changes_no_digest() -> None:
    plain = quick()
    for where in ("/mnt/lab", "s3://faces/x"):
        spec = quick(resources={"storage": where})
        assert spec.digest == plain.digest
        assert "storage" not in plain.model_dump()["resources"]
        assert spec.model_dump()["resources"]["storage"] == where
    with pytest.raises(ValueError, match="absolute path"):
        ResourcesConfig(storage="lab")


def test_epochs_are_shared_through_a_folder_only() -> None:
    bucket = {"storage": "s3://faces/x"}
    assert quick(seeds="fixed", resources={"storage": "/mnt/lab"}).shares
    assert not quick(seeds="fixed", resources=bucket).shares
    assert quick(seeds="fixed", resources={**bucket, "trunks": "/mnt/trunks"}).shares
    with pytest.raises(UserError, match="share needs a folder that all machines see"):
        quick(resources={**bucket, "share": True})
