"""The database: opened by many, brought up, supervised by one, and what is told when it fails."""

from __future__ import annotations

import builtins
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.schema import CreateTable

from search_spaces.model import UserError
from tests.tuner.service.stores import free, new
from tuner.service import database, tables
from tuner.service.models import Raise
from tuner.service.store import Store, StoreFull


def test_a_database_of_the_first_version_is_brought_up_with_all_that_it_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "service.db"
    store = Store(f"sqlite:///{path}")
    tag = store.tag
    store.create_job(new(), "it", True, free)
    store.set_state("it", ["queued"], "finished")
    store.close()
    with sqlite3.connect(path) as connection:  # all in which the first version differs
        connection.execute("DROP TABLE raises")
        connection.execute("UPDATE service SET schema_version = 1")
    for _ in range(2):
        store = Store(f"sqlite:///{path}")
        assert store.tag == tag
        assert store.resume("it", Raise(more_trials=2, key="raise-01")).more.more_trials == 2
        store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT schema_version FROM service").fetchall() == [(2,)]


def test_there_is_one_supervisor_to_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'service.db'}"
    script = (
        "import sys, time; from tuner.service.store import Store\n"
        "with Store(sys.argv[1]).supervising() as held:\n print(held(), flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    store = Store(url)
    with pytest.raises(UserError, match="Another service"), store.supervising():
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    with store.supervising() as held:
        assert held()


def test_two_databases_have_different_tags_and_keep_them(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path / name}" for name in ("a.db", "b.db")]
    tags = [Store(url).tag for url in urls]
    assert tags[0] != tags[1]
    assert [Store(url).tag for url in urls] == tags


def test_a_newer_or_foreign_database_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "service.db"
    Store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE service SET schema_version = 99")
    with pytest.raises(UserError, match="upgrade tuner"):
        Store(f"sqlite:///{path}")
    (tmp_path / "text").write_text("no database" * 1000)
    for url in (f"sqlite:///{tmp_path / 'text'}", "sqlite://", "nonsense", "mysql://h/d"):
        with pytest.raises(UserError, match="database"):
            Store(url)


def test_every_table_can_be_made_on_postgresql_too() -> None:
    for table in tables.metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=postgresql_dialect.dialect()))
        assert "CREATE TABLE" in text


def test_many_open_a_new_database_at_once(database_url: str) -> None:
    tags: list[str] = []

    def opens() -> None:
        store = Store(database_url)
        tags.append(store.tag)
        store.close()

    threads = [threading.Thread(target=opens) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tags) == 12
    assert len(set(tags)) == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://h/d", "sqlite:////PATH or postgresql"),
        ("mysql://ann:secret@h/d", "mysql://ann:\\*\\*\\*@h/d"),
        ("/srv/runs/service.db", "but got '/srv/runs/service.db'"),
        ("postgresql+psycopg://ann:secret@h:port/d", "URL of a database"),
    ],
)
def test_urls_that_cannot_be_meant_are_refused_without_their_password(url: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        database.opened(url)
    assert "secret" not in str(caught.value)


def test_a_missing_psycopg_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'")
        return really(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"psycopg\[binary\].*extra `postgres`"):
        database.opened("postgresql+psycopg://ann@h/d")


def test_a_full_disk_is_told_and_nothing_is_lost_or_half_done(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'service.db'}")
    store.create_job(new(), "it", True, free)
    with store._engine.connect() as connection:
        pages = connection.scalar(text("PRAGMA page_count"))

    def limited(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(store._engine, "checkout", limited)
    large = new(key="key-2nd-", spec={"x": "x" * 100_000})
    with pytest.raises(StoreFull, match="free space"):
        store.create_job(large, "large", True, free)
    assert [job.id for job in store.jobs()] == ["it"]
    event.remove(store._engine, "checkout", limited)
    event.listen(
        store._engine, "checkout", lambda one, *_: one.execute("PRAGMA max_page_count = 100000")
    )
    assert store.create_job(large, "large", True, free)[1]


@pytest.mark.parametrize("state", ["53100", "53300", "57P01", "08006", None])
def test_what_a_postgresql_cannot_do_now_is_told_in_one_line(state: str | None) -> None:
    class FailedError(Exception):
        sqlstate = state

    error = OperationalError("INSERT", {}, FailedError("no space left on device\nHINT: free some"))
    with pytest.raises(StoreFull) as caught:
        database.reraise(error)
    assert str(caught.value) == (
        "The service's database cannot be used now: no space left on device."
    )


def test_a_text_that_a_database_cannot_hold_is_the_askers_mistake() -> None:
    error = DataError("SELECT", {}, ValueError("PostgreSQL text cannot contain NUL bytes"))
    with pytest.raises(UserError, match="cannot hold what is asked: PostgreSQL text") as caught:
        database.reraise(error)
    assert not isinstance(caught.value, StoreFull)


def test_a_database_that_another_program_locks_is_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 50)
    store, other = Store(database_url), create_engine(database_url)
    with other.begin() as connection:
        connection.execute(text("UPDATE service SET changes = changes"))
        with pytest.raises(StoreFull, match="locked by another program"):
            store.create_job(new(), "it", True, free)
    assert store.create_job(new(), "it", True, free)[1]
    store.close()
    other.dispose()


def test_a_file_that_may_only_be_read_is_told(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'service.db'}")
    event.listen(store._engine, "checkout", lambda one, *_: one.execute("PRAGMA query_only = 1"))
    with pytest.raises(StoreFull, match="writable"):
        store.create_job(new(), "it", True, free)


def test_the_right_to_supervise_is_given_back_and_can_be_had_again(database_url: str) -> None:
    store, other = Store(database_url), Store(database_url)
    for _ in range(3):
        with store.supervising() as held:
            assert held()
            with pytest.raises(UserError, match="Another service"), other.supervising():
                pass
    with other.supervising() as held:
        assert held()
    store.close()
    other.close()


def test_a_right_that_was_lost_stays_lost_and_is_had_again_by_entering_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a stand-in: an SQLite whose connections have PostgreSQL's lock, until they are closed."""
    engine = create_engine(f"sqlite:///{tmp_path / 'stand-in.db'}")
    holders: list[Any] = []

    def connected(raw: Any, _: Any) -> None:
        def lock(_: int) -> bool:
            if not holders:
                holders.append(raw)
            return holders == [raw]

        raw.create_function("pg_try_advisory_lock", 1, lock)

    event.listen(engine, "connect", connected)
    event.listen(engine, "close_detached", lambda raw: raw in holders and holders.remove(raw))
    monkeypatch.setattr(database, "_file", lambda _: None)
    for _ in range(2):
        with database.supervising(engine) as held:
            assert held()
            with pytest.raises(UserError, match="Another service"), database.supervising(engine):
                pass
            holders.pop().close()
            assert not held()
            with database.supervising(engine) as again:
                assert again()
                assert not held()
        assert not holders


def test_a_restart_loses_the_right_to_supervise_which_can_be_had_again(
    postgresql: str, restart: Callable[[], None]
) -> None:
    store = Store(postgresql)
    for _ in range(2):
        with store.supervising() as held:
            assert held()
            restart()
            assert not held()
            assert not held()
            with store.supervising() as again:
                assert again()
                assert not held()
    with store.supervising() as held:
        assert held()
    store.close()


def test_a_restart_undoes_what_is_being_written_and_the_next_request_succeeds(
    postgresql: str, restart: Callable[[], None]
) -> None:
    store = Store(postgresql)
    store.create_job(new(), "it", True, free)

    def restarts(_: str) -> bool:
        restart()
        return False

    with pytest.raises(StoreFull, match="cannot be used now"):
        store.create_job(new(key="key-2nd-"), "other", True, restarts)
    assert [job.id for job in store.jobs()] == ["it"]
    assert store.create_job(new(key="key-2nd-"), "other", True, free)[1]
    store.close()


def test_what_postgresql_cannot_hold_does_not_reach_it(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    store.set_reason("it", "zero \0 and half a pair \ud800", ["queued"])
    job = store.job("it")
    assert job is not None and job.reason == "zero and half a pair ?"


def test_a_zero_character_finds_nothing_or_is_refused(postgresql: str) -> None:
    store = Store(postgresql)
    with pytest.raises(UserError, match="NUL"):
        store.jobs(user="a\0b")
    store.close()
