"""Where a run's states lie, what goes when, and that two runs never meet in one storage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.object_server import ObjectServer
from tests.tuner.made_runs import make_run, quick
from trainables.object_store import ObjectStore
from trainables.state_files import BEST, PREVIOUS, STATE
from tuner import tune_loop
from tuner.driver import Driver
from tuner.engine import resume
from tuner.record import Record
from tuner.run_storage import RunStorage, bring_best
from tuner.spec_sections import BudgetConfig, ResourcesConfig

CURVES = [({"T": 2}, [0.2], "completed"), ({"T": 3}, [0.3], "pruned")]
AWAY = "s3://faces/x?endpoint_override=127.0.0.1:1&scheme=http"


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
    assert storage.fetch_best(1) is None
    assert weights_of(run) == {1: f"00001/{BEST}"} or kind == "own"
    storage.remove_weights(1)
    assert f"00001/{BEST}" not in names()
    assert storage.fetch_best(2) is None
    assert weights_of(run)[2] == f"00002/{BEST}"
    storage.tidy(states={1}, weights={0, 1})
    assert names() == {f"00002/{BEST}", f"00002/{STATE}"}


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_better_weights_replace_the_runs_best_ones_at_once(
    kind: str, server: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on finds better ones: at no moment are there none, or half of them."""
    run = make_run(tmp_path / f"better-{kind}", CURVES)
    where = str(tmp_path / "storage") if kind == "folder" else server.uri("better")
    storage, _ = filled(run, where)
    assert storage.fetch_best(0) is None
    storage.remove_weights(0)  # trial 1 has ended with a higher score
    assert weights_of(run) == {0: f"00000/{BEST}"}
    replace = Path.replace

    def cut(path: Path, target: Path) -> None:
        raise OSError(5, "Input/output error", str(target))

    monkeypatch.setattr(Path, "replace", cut)
    assert "Input/output error" in str(storage.fetch_best(1))
    assert weights_of(run) == {0: f"00000/{BEST}"}
    monkeypatch.setattr(Path, "replace", replace)
    assert storage.fetch_best(1) is None
    assert weights_of(run) == {1: f"00001/{BEST}"}
    assert [path.name for path in (run / "trials" / "00001").iterdir()] == [BEST]


def weights_of(run: Path) -> dict[int, str]:
    """Return what lies in the run's own folder, by trial."""
    return {int(path.parent.name): path.read_text() for path in run.glob(f"trials/*/{BEST}")}


def away(run: Path, monkeypatch: pytest.MonkeyPatch) -> RunStorage:
    """Return a run's storage that nobody answers for."""
    for name in ("PATIENCE_S", "LAST_PATIENCE_S"):
        monkeypatch.setattr(f"tuner.run_storage.{name}", 0.0)
    return storage_of(run, AWAY)


def test_a_store_that_is_away_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = away(make_run(tmp_path / "run", CURVES), monkeypatch)
    storage.remove_state(0)
    assert "127.0.0.1:1" in str(storage.fetch_best(0))
    storage.tidy({0}, {0})


def warnings_in(run: Path) -> list[str]:
    with Record.open(run) as record:
        return [event.message for event in record.events() if event.kind == "warning"]


def test_weights_that_could_not_be_brought_are_told_in_the_record_and_brought_by_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", CURVES)
    storage = away(run, monkeypatch)
    with Record.open(run, write=True) as record:
        bring_best(storage, record, 1)
    (told,) = warnings_in(run)
    assert "trial 1's" in told and "127.0.0.1:1" in told and told.endswith("tuner resume run")
    there, _ = filled(run, str(tmp_path / "storage"))
    notes: list[str] = []
    resume(
        run, resources={"storage": str(tmp_path / "storage")}, cache=tmp_path, command=[],
        notice=notes.append,
    )  # fmt: skip
    assert "has finished" in notes[-1]
    assert weights_of(run) == {1: f"00001/{BEST}"}
    assert len(warnings_in(run)) == 1
    assert there.fetch_best(1) is None


@pytest.mark.parametrize("trouble", [None, KeyboardInterrupt])
def test_a_run_is_finished_once_its_best_weights_are_there_or_could_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: type[BaseException] | None
) -> None:
    run = make_run(tmp_path / "run", CURVES, state="running", reason=None)
    states: list[str] = []

    def fetch(self: RunStorage, number: int) -> None:
        assert number == 1
        with Record.open(run) as record:
            states.append(record.run().state)
        if trouble is not None:
            raise trouble

    monkeypatch.setattr(RunStorage, "fetch_best", fetch)
    monkeypatch.setattr(tune_loop, "_tune", lambda *_: None)
    with Record.open(run, write=True) as record:
        driver = Driver(
            quick(), record, search=None, stopping=None, folder=run, train_images=1,
            slot_fraction=1.0, budget=BudgetConfig(trials=2),
        )  # type: ignore[arg-type]  # fmt: skip
        driver.best = (0.3, -1)
        with pytest.raises(trouble) if trouble else contextlib.nullcontext():
            tune_loop.drive(driver, None, 0.0, 1, None, print)  # type: ignore[arg-type]
        assert states == ["running"]
        assert record.run().state == "finished"


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
