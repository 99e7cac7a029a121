"""Jobs: idempotent, and changed only from the state in which they are expected."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from search_spaces.model import UserError
from tests.tuner.service.stores import free, new
from tuner.service.models import Raise
from tuner.service.store import Conflict, Store
from tuner.service.tables import JobRow


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


def test_a_raise_that_counted_already_is_not_checked_again(store: Store) -> None:
    def once(job: JobRow, more: Raise) -> None:
        if job.more.amounts:
            raise UserError("more than any budget has")

    store.create_job(new(), "it", True, free)
    store.set_state("it", ["queued"], "finished")
    more = Raise(more_trials=2, key="raise-01")
    job = store.resume("it", more, check=once)
    assert store.resume("it", more, check=once) == job
    store.set_state("it", ["queued"], "finished")
    other = Raise(more_trials=2, key="raise-02")
    with pytest.raises(UserError, match="more than any"):
        store.resume("it", other, check=once)
    assert store.resume("it", other).more == Raise(more_trials=4)  # its key is unused still


def test_a_raise_that_was_refused_leaves_its_key_unused(store: Store) -> None:
    store.create_job(new(), "it", True, free)
    more = Raise(more_trials=2, key="raise-01")
    with pytest.raises(Conflict, match="it is queued"):
        store.resume("it", more)
    store.set_state("it", ["queued"], "finished")
    assert store.resume("it", more).more == Raise(more_trials=2)


def test_ends_are_told_once(store: Store) -> None:
    for number, state in enumerate(("finished", "paused", "failed", "running")):
        store.create_job(new(key=f"key-0000{number}"), state, True, free)
        store.set_state(state, ("queued",), state)  # type: ignore[arg-type]
    assert [job.id for job in store.untold()] == ["finished", "failed"]
    store.set_told("finished", None)
    assert [job.id for job in store.untold()] == ["failed"]


def test_a_user_has_so_many_open_jobs_and_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.service.job_store.MOST_OPEN", 2)
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
