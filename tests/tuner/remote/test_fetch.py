"""Fetching again replaces what was fetched, whenever it is killed, and nothing that was not."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from tests.tuner.remote.lab import Lab, told
from tuner.fetched import MARK, refuse_fetched
from tuner.record import Record
from tuner.remote.client import Client
from tuner.remote.connection import Refused
from tuner.remote.fetch import UNFINISHED, fetch


@pytest.fixture
def client(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    def refuse(self: object, job: str) -> bytes:
        raise Refused("No report: it would take seconds.", 422, 1)

    monkeypatch.setattr(Client, "report", refuse)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if lab.store.job("job") is None:
        lab.add_job("job", state="finished")
        log = lab.settings.log_file("job")
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("trial 0 started\n")
    with Client(lab.target()) as found:
        yield found


@pytest.fixture
def folder(client: Client, tmp_path: Path) -> Path:
    """Return a folder into which the job has been fetched."""
    fetch(client, "job", tmp_path / "runs" / "mine")
    return tmp_path / "runs" / "mine"


def content(folder: Path) -> dict[str, bytes]:
    """Return all files but the mark, which tells a time, and what SQLite leaves."""
    files = {path for path in folder.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in (MARK, "record.db-shm", "record.db-wal")
    }


def test_what_was_added_stays(client: Client, folder: Path) -> None:
    before = content(folder)
    (folder / "trials" / "00009").mkdir(parents=True)
    (folder / "trials" / "00009" / "notes.txt").write_text("mine")
    (folder / "outside").symlink_to(folder.parent)
    (folder / "nowhere").symlink_to("nothing-there")
    for _ in range(2):
        fetch(client, "job", folder)
        assert content(folder) == {**before, "trials/00009/notes.txt": b"mine"}
        assert (folder / "outside").readlink() == folder.parent
        assert (folder / "nowhere").is_symlink()
        assert [one.name for one in folder.parent.iterdir()] == ["mine"]


def test_what_was_changed_is_told_and_stays(client: Client, folder: Path) -> None:
    (folder / "log.txt").write_text("mine")
    before = content(folder)
    line = told(lambda: fetch(client, "job", folder))
    assert line.startswith(f"{folder / 'log.txt'} has changed since it was fetched")
    assert content(folder) == before
    (folder / "log.txt").unlink()
    fetch(client, "job", folder)
    assert (folder / "log.txt").read_text() == "trial 0 started\n"


def test_reading_changes_nothing_and_writing_the_record_does(client: Client, folder: Path) -> None:
    with Record.open(folder) as record:
        assert record.trials()
        fetch(client, "job", folder)
    with closing(sqlite3.connect(folder / "record.db")) as writing:
        writing.execute("PRAGMA wal_autocheckpoint = 0")
        writing.execute("CREATE TABLE mine (what)")
        writing.commit()
        line = told(lambda: fetch(client, "job", folder))  # what is written stands in the log yet
        assert "record.db" in line
        assert writing.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    assert "record.db has changed" in told(lambda: fetch(client, "job", folder))


def test_a_fetch_that_is_killed_at_any_step_loses_nothing(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "notes.txt").write_text("mine")
    before = content(folder)
    here, steps, most = threading.get_ident(), 0, 0

    def until_killed(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            nonlocal steps
            if threading.get_ident() == here:  # the service is in this process, too
                steps += 1
                if steps > most:
                    raise SystemExit
            return real(*arguments, **more)

        return step

    for most in range(100):
        steps = 0
        with monkeypatch.context() as patched:
            for name in ("rename", "unlink", "mkdir", "rmdir", "open"):
                patched.setattr(Path, name, until_killed(getattr(Path, name)))
            patched.setattr(shutil, "rmtree", until_killed(shutil.rmtree))
            try:
                fetch(client, "job", folder)
                break
            except SystemExit:
                pass
        fetch(client, "job", folder)
        assert content(folder) == before, most
        assert [one.name for one in folder.parent.iterdir()] == ["mine"]
    assert 10 < most < 99


def test_what_another_put_in_the_place_of_a_fetched_folder_stays(
    client: Client, folder: Path
) -> None:
    old = folder.parent / UNFINISHED / "mine.old"
    old.parent.mkdir()
    shutil.copytree(folder, old)
    (old / "notes.txt").write_text("old")
    (folder / "notes.txt").write_text("new")
    assert "notes.txt was left by a fetch that was killed" in told(
        lambda: fetch(client, "job", folder)
    )
    assert (folder / "notes.txt").read_text() == "new"
    (old / "notes.txt").unlink()
    fetch(client, "job", folder)
    assert not old.exists()


def test_two_do_not_fetch_into_a_folder_at_once(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, lines = Client.archive, []

    def meanwhile(self: Client, job: str, file: Path) -> None:
        lines.append(told(lambda: fetch(client, "job", folder)))
        real(self, job, file)

    monkeypatch.setattr(Client, "archive", meanwhile)
    before = content(folder)
    fetch(client, "job", folder)
    assert lines == [f"Another process fetches into {folder}; wait for it."]
    assert content(folder) == before
    fetch(client, "job", folder)  # it is free again


@pytest.mark.parametrize("mark", ["", "[]", "{}", '{"job": "job", "called": "http://lab:1"}'])
def test_a_copy_is_refused_to_writers_whatever_its_mark_says(tmp_path: Path, mark: str) -> None:
    refuse_fetched(tmp_path)
    (tmp_path / MARK).write_text(mark)
    for place in (tmp_path, tmp_path / "census-periodic_T"):
        with pytest.raises(UserError, match=r"is a copy of .* tuner resume .*delete fetched.json"):
            refuse_fetched(place)
    with pytest.raises(UserError, match="is a copy of"):
        Record.open(place_with_record(tmp_path), write=True)
    assert not (tmp_path / "record.lock").exists()
    if "http" in mark:
        with pytest.raises(UserError, match="tuner resume :job --server http://lab:1"):
            refuse_fetched(tmp_path)


def place_with_record(folder: Path) -> Path:
    """Let a folder look as if it held a record."""
    (folder / "record.db").touch()
    return folder
