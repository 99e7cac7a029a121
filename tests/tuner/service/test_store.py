"""The service's memory: idempotent, compare-and-set, one supervisor, and nothing lost at a kill."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from search_spaces.model import UserError
from tuner.service import tables
from tuner.service.models import Raise
from tuner.service.store import HALF_LIFE_S, Conflict, Store
from tuner.service.tables import Act, AuditRow, DataSetRow, NewJob


class Clock:
    """A wall clock that is set at will."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Store:
    return Store(f"sqlite:///{tmp_path / 'service.db'}", clock)


def new(user: str = "ann", key: str = "key-00000", content: str = "a" * 64, **more: Any) -> NewJob:
    fields = {
        "kind": "run", "user_name": user, "key": key, "content": content, "spec": {"x": 1},
        "digest": "d" * 64, "fingerprint": None, "space": "periodic_T", "gpus": 1.0, "cpus": 2,
    }  # fmt: skip
    return NewJob(**{**fields, **more})


def free(_: str) -> bool:
    return False


def test_the_same_key_queues_once_and_another_content_under_it_is_refused(store: Store) -> None:
    first, is_new = store.create_job(new(), "it", chosen=True, taken=free)
    assert is_new
    assert (first.state, first.wanted, first.attempt) == ("queued", "run", 0)
    again, is_new = store.create_job(new(), "it", chosen=True, taken=free)
    assert not is_new
    assert again == first
    with pytest.raises(Conflict, match="another key"):
        store.create_job(new(content="b" * 64), "other", chosen=True, taken=free)
    other, is_new = store.create_job(new("bob"), "its", chosen=True, taken=free)
    assert is_new
    assert [job.id for job in store.jobs()] == ["its", "it"]
    assert [job.id for job in store.jobs(user="bob", limit=1)] == ["its"]
    assert other.user_name == "bob"


def test_names_are_never_reused_and_runs_started_by_hand_keep_theirs(store: Store) -> None:
    ids = [
        store.create_job(new(key=f"key-0000{count}"), "T-1", False, lambda name: name == "T-1-2")[0]
        for count in range(3)
    ]
    assert [job.id for job in ids] == ["T-1", "T-1-3", "T-1-4"]
    store.want("T-1", "stop")
    for name, taken in (("T-1", free), ("new", lambda _: True)):
        with pytest.raises(Conflict, match="already"):
            store.create_job(new(key="key-chosen"), name, True, taken)


def test_ten_threads_with_one_key_make_one_job_and_with_ten_keys_ten(store: Store) -> None:
    made: list[tuple[str, bool]] = []

    def submit(key: str) -> None:
        job, is_new = store.create_job(new(key=key), "T", False, free)
        made.append((job.id, is_new))

    for keys in (["key-same"] * 10, [f"key-{number:05d}" for number in range(10)]):
        made.clear()
        threads = [threading.Thread(target=submit, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        count = len(set(keys))
        assert len({id for id, _ in made}) == count
        assert sum(is_new for _, is_new in made) == count


def test_a_state_changes_only_from_what_was_expected(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    assert not store.set_state("it", ("running",), "finished")
    begun = store.begin_attempt("it", epochs=7)
    assert begun is not None
    assert (begun.state, begun.attempt, begun.epochs) == ("starting", 1, 7)
    assert store.begin_attempt("it", epochs=7) is None
    assert store.set_state("it", ("starting", "running"), "running", started_at=1.0, reason="r")
    job = store.job("it")
    assert job is not None
    assert (job.state, job.started_at, job.reason) == ("running", 1.0, "r")
    assert store.job("none") is None


@pytest.mark.parametrize(
    ("state", "asked", "becomes"),
    [
        ("queued", "pause", "paused"),
        ("queued", "stop", "stopped"),
        ("paused", "stop", "stopped"),
        ("running", "pause", "pausing"),
        ("starting", "stop", "stopping"),
        ("pausing", "stop", "stopping"),
        ("stopping", "stop_now", "stopping"),
        ("stopping", "pause", "stopping"),
        ("paused", "pause", "paused"),
        ("stopped", "stop", "stopped"),
        ("stopped", "pause", None),
        ("finished", "stop", None),
        ("failed", "stop_now", None),
    ],
)  # fmt: skip
def test_what_is_asked_of_a_job_depends_on_its_state(
    store: Store, state: Any, asked: Any, becomes: str | None
) -> None:
    store.create_job(new(), "it", True, free)
    wanted = {"pausing": "pause", "stopping": "stop"}.get(state, "run")
    store.set_state("it", ("queued",), state, wanted=wanted)
    if becomes is None:
        with pytest.raises(Conflict, match=f"it is {state}"):
            store.want("it", asked)
        return
    assert store.want("it", asked).state == becomes
    before = store.changes(), store.job("it")
    assert store.want("it", asked).state == becomes  # a request that comes twice
    assert store.job("it") == before[1]
    with pytest.raises(Conflict, match="no job"):
        store.want("none", "stop")


def test_resuming_queues_again_at_the_end_and_adds_up_what_is_added(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    store.create_job(new(key="key-2nd-"), "later", True, free)
    store.set_state("it", ("queued",), "finished", told=True, fruitless=2, ended_at=1.0)
    with pytest.raises(Conflict, match="larger budget"):
        store.resume("it", Raise())
    store.resume("it", Raise(more_trials=2))
    store.want("it", "stop")
    job = store.resume("it", Raise(more_trials=3, more_gpu_hours=0.5))
    assert job.more == Raise(more_trials=5, more_gpu_hours=0.5)
    assert (job.state, job.wanted, job.told, job.fruitless, job.ended_at) == (
        "queued", "run", False, 0, None,
    )  # fmt: skip
    assert [one.id for one in store.waiting()] == ["later", "it"]
    assert store.resume("it", Raise()) == job  # asked twice
    with pytest.raises(Conflict, match="it is queued"):
        store.resume("it", Raise(more_trials=1))


def test_changes_tell_which_jobs_to_look_at_again(store: Store) -> None:
    store.create_job(new(), "a", True, free)
    store.create_job(new(key="key-2nd-"), "b", True, free)
    seen = store.changes()
    assert store.jobs(changed_after=seen) == []
    store.set_reason("a", "waits", ["queued"])
    assert [job.id for job in store.jobs(changed_after=seen)] == ["a"]
    seen = store.changes()
    store.set_reason("a", "waits", ["queued"])  # no change
    store.charge({"ann": 1.0}, 1.0)
    assert store.changes() == seen


def test_a_token_is_good_until_it_is_revoked_and_so_are_its_sessions(
    store: Store, clock: Clock
) -> None:
    assert not store.has_users()
    store.add_user("ann", "1" * 64, admin=True)
    with pytest.raises(Conflict, match="ann"):
        store.add_user("ann", "2" * 64)
    found = store.user_of("1" * 64)
    assert found is not None
    assert (found.name, found.admin) == ("ann", True)
    assert store.user_of("2" * 64) is None
    store.add_session("s" * 64, "1" * 64, clock.now_s + 10)
    assert store.session_user("s" * 64) == store.user_of("1" * 64)
    clock.now_s += 11
    assert store.session_user("s" * 64) is None
    store.add_session("t" * 64, "1" * 64, clock.now_s + 10)
    assert store.revoke_user("ann")
    assert not store.revoke_user("ann")
    assert store.user_of("1" * 64) is None
    assert store.session_user("t" * 64) is None
    assert not store.has_users()
    store.add_user("ann", "3" * 64)
    assert store.user_of("1" * 64) is None
    assert [(user.name, user.admin, user.revoked_at) for user in store.users()] == [
        ("ann", False, None)
    ]
    store.add_session("u" * 64, "3" * 64, clock.now_s + 10)
    store.drop_session("u" * 64)
    assert store.session_user("u" * 64) is None


def test_usage_fades_by_half_in_a_day_of_the_services_own_time(store: Store, clock: Clock) -> None:
    store.charge({"ann": 100.0, "bob": 40.0}, 0.0)
    clock.now_s += 1e9  # a wall clock that jumps makes nobody's use forgotten
    store.charge({"bob": 10.0}, HALF_LIFE_S)
    assert store.usage() == pytest.approx({"ann": 50.0, "bob": 30.0})


def test_data_sets_come_back_as_they_went_in(store: Store) -> None:
    row = DataSetRow("f" * 64, "fer", {"train": 3}, ["a", "b"], 48, 1, "ann", 5.0)
    assert store.add_data_set(row)
    assert not store.add_data_set(row)
    assert store.add_data_set(replace(row, name="fer2", added_at=6.0))
    assert store.data_set("f" * 64) == row
    assert store.data_set("f" * 64, "fer2") == replace(row, name="fer2", added_at=6.0)
    assert store.data_set("e" * 64) is None
    assert [one.name for one in store.data_sets()] == ["fer", "fer2"]


def test_the_audit_log_has_what_was_done_once_and_nothing_that_was_refused(
    store: Store, clock: Clock
) -> None:
    act = Act("ann", "act", "detail", "127.0.0.1")
    data = DataSetRow("f" * 64, "fer", {"train": 3}, ["a", "b"], 48, 1, "ann", 5.0)
    more = Raise(more_trials=1, key="raise-01")

    def twice(act: Callable[[], object]) -> None:
        before = len(store.audit())
        for _ in range(2):
            act()
        assert len(store.audit()) == before + 1

    twice(lambda: store.create_job(new(), "it", True, free, by=act))
    assert store.audit() == [AuditRow(clock.now_s, "ann", "act", "it", "detail", "127.0.0.1")]
    twice(lambda: store.want("it", "stop", by=act))
    twice(lambda: store.resume("it", more, by=act))
    twice(lambda: store.add_data_set(data, by=act))
    store.add_user("ann", "1" * 64, by=act)
    twice(lambda: store.revoke_user("ann", by=act))
    store.add_user("ann", "1" * 64, by=act)
    store.add_session("s" * 64, "1" * 64, clock.now_s + 10, by=act)
    count = len(store.audit())
    for refused in (
        lambda: store.create_job(new(content="b" * 64), "it", True, free, by=act),
        lambda: store.resume("it", Raise(more_trials=1), by=act),
        lambda: store.want("none", "stop", by=act),
        lambda: store.add_user("ann", "2" * 64, by=act),
    ):
        with pytest.raises(Conflict):
            refused()
    assert len(store.audit()) == count
    assert len(store.audit(2)) == 2


def test_what_cannot_be_noted_is_not_done(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create_job(new(), "it", True, free)

    def fails(*_: object) -> None:
        raise UserError("the disk fails")

    monkeypatch.setattr(store, "_note", fails)
    act = Act("ann", "act")
    data = DataSetRow("f" * 64, "fer", {"train": 3}, ["a", "b"], 48, 1, "ann", 5.0)
    for asked in (
        lambda: store.create_job(new(key="key-other"), "other", True, free, by=act),
        lambda: store.want("it", "stop", by=act),
        lambda: store.add_data_set(data, by=act),
        lambda: store.add_user("ann", "1" * 64, by=act),
    ):
        with pytest.raises(UserError, match="the disk fails"):
            asked()
    assert [(job.id, job.state) for job in store.jobs()] == [("it", "queued")]
    assert not store.data_sets()
    assert not store.users()


def test_a_reason_is_one_line_and_written_only_in_the_states_it_is_meant_for(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    store.set_reason("it", "waits\n for\tRay ", ["queued"])
    job = store.job("it")
    assert job is not None and job.reason == "waits for Ray"
    store.set_reason("it", "late", ["starting", "running"])
    assert store.job("it") == job
    store.set_state("it", ["queued"], "failed", reason="Traceback:\n  it broke")
    job = store.job("it")
    assert job is not None and job.reason == "Traceback: it broke"


def test_a_raise_counts_once_for_its_key_whatever_has_become_of_the_job(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    store.create_job(new(key="key-2nd-"), "other", True, free)
    more = Raise(more_trials=2, key="raise-01")
    for id in ("it", "other"):
        store.set_state(id, ["queued"], "finished")
    first = store.resume("it", more)
    assert (first.state, first.more) == ("queued", Raise(more_trials=2))
    for state in ("running", "finished", "failed", "paused", "pausing"):
        store.set_state("it", [first.state], state)
        seen = store.job("it")
        assert store.resume("it", more) == seen
        assert seen is not None
        first = seen
    with pytest.raises(Conflict, match="other amounts"):
        store.resume("it", Raise(more_trials=3, key="raise-01"))
    assert store.resume("other", more).more == Raise(more_trials=2)  # a key is its job's own
    store.set_state("it", ["pausing"], "paused")
    assert store.resume("it", Raise(more_trials=1, key="raise-02")).more == Raise(more_trials=3)


def test_a_raise_that_was_refused_leaves_its_key_unused(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    more = Raise(more_trials=2, key="raise-01")
    with pytest.raises(Conflict, match="it is queued"):
        store.resume("it", more)
    store.set_state("it", ["queued"], "finished")
    assert store.resume("it", more).more == Raise(more_trials=2)


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


def test_ends_are_told_once(store: Store) -> None:
    for number, state in enumerate(("finished", "paused", "failed", "running")):
        store.create_job(new(key=f"key-0000{number}"), state, True, free)
        store.set_state(state, ("queued",), state)  # type: ignore[arg-type]
    assert [job.id for job in store.untold()] == ["finished", "failed"]
    store.set_told("finished", None)
    assert [job.id for job in store.untold()] == ["failed"]


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
        text = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        assert "CREATE TABLE" in text


def test_a_user_has_so_many_open_jobs_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.service.store.MOST_OPEN", 2)
    for name in ("one", "two"):
        store.create_job(new(key=f"key-{name:>5}"), name, True, free)
    with pytest.raises(Conflict, match="2 jobs"):
        store.create_job(new(key="key-three"), "three", True, free)
    store.create_job(new("bob"), "bobs", True, free)
    store.want("one", "stop")
    store.create_job(new(key="key-three"), "three", True, free)
    with pytest.raises(Conflict, match="2 jobs"):
        store.resume("one", Raise())
    store.want("two", "pause")
    assert store.resume("two", Raise()).state == "queued"


def test_jobs_that_wait_are_read_without_what_is_long(store: Store) -> None:
    store.create_job(new(command=["tuner"]), "it", True, free)
    (waits,) = store.waiting()
    assert (waits.spec, waits.command) == ({}, [])
    begun = store.begin_attempt("it", 0)
    assert begun is not None and (begun.spec, begun.command) == ({"x": 1}, ["tuner"])
    assert store.holding() == [begun]
    assert store.holding(whole=False)[0].spec == {}


def test_raises_that_come_to_too_much_are_a_conflict(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    more = Raise(more_trials=1_000_000)
    store.set_state("it", ("queued",), "finished")
    store.resume("it", more)
    store.set_state("it", ("queued",), "finished")
    with pytest.raises(Conflict, match="in all"):
        store.resume("it", more)
