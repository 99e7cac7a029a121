"""What was done is written down with it, and all comes back as it went in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from search_spaces.model import UserError
from tests.tuner.service.stores import Clock, free, new
from tuner.service.models import Raise
from tuner.service.store import HALF_LIFE_S, Conflict, Store
from tuner.service.tables import Act, AuditRow, DataSetRow


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
    store.add_session("s" * 64, "1" * 64, 10, by=act)
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
