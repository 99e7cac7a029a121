"""The loop: what starts, what is counted, and what is said when parts of it fail."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.tuner.service.made_service import Made
from tuner.service.queue import PATIENCE_S
from tuner.service.ray_jobs import Machine
from tuner.service.supervisor import Supervisor


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_jobs_wait_for_one_another_and_for_machines(made: Made) -> None:
    made.ray.there = Machine(28, 1)
    for name in ("a", "b"):
        made.submit(name)
    made.submit("large", "bob", gpus=2.0)
    made.step()
    assert [made.state(name) for name in ("a", "b", "large")] == ["starting", "queued", "queued"]
    assert "needs 2 GPUs" in str(made.job("large").reason)
    made.ray.begin()
    made.step()
    made.end("a", "finished")
    made.step()
    assert made.state("b") == "starting"
    assert list(made.ray.orders) == ["a-1", "b-1"]


def test_a_service_that_is_killed_at_any_step_starts_nothing_twice(made: Made) -> None:
    made.submit("it")
    made.store.begin_attempt("it", 0)  # killed before it asked Ray
    made.anew()
    made.step()
    assert list(made.ray.orders) == ["it-1"]
    made.anew()  # killed after it asked Ray
    made.ray.begin()
    made.step()
    assert (made.state("it"), made.job("it").attempt) == ("running", 1)
    made.end("it", "finished")
    made.anew()
    made.step()
    assert made.state("it") == "finished"


def test_while_ray_is_away_jobs_wait_and_the_user_is_told(made: Made) -> None:
    made.submit("it")
    made.run("it")
    made.submit("other")
    assert made.supervisor.capacity is not None
    machine, made.ray.there = made.ray.there, None
    made.step()
    assert made.state("it") == "running"
    assert "waits for Ray" in str(made.job("it").reason)
    assert made.state("other") == "queued"
    assert made.supervisor.capacity is None
    assert made.supervisor.notes == ["Ray does not answer."]
    made.ray.there = machine
    made.step()
    assert made.job("it").reason is None
    assert made.supervisor.notes == []
    assert made.state("other") == "starting"


def test_little_room_starts_nothing_and_says_so_and_lost_processes_do_not_count(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path)
    made.submit("it")
    made.run("it")
    made.room_bytes = 2**60
    made.anew()
    made.submit("other")
    made.step()
    for _ in range(5):
        made.ray.lose("it-1")
        made.step()
    assert (made.state("it"), made.job("it").fruitless) == ("queued", 0)
    assert made.state("other") == "queued"
    assert any("nothing starts until" in note for note in made.supervisor.notes)
    made.room_bytes = 0
    made.anew()
    made.step()
    assert made.state("it") == made.state("other") == "starting"


def test_a_step_that_fails_is_said_and_the_next_goes_on(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.submit("it")
    with monkeypatch.context() as patch:
        patch.setattr(made.store, "holding", lambda whole=True: 1 / 0)
        made.step()
        assert "ZeroDivisionError" in made.supervisor.notes[-1]
    made.step()
    assert made.supervisor.notes == []
    assert made.state("it") == "starting"


def test_one_job_that_cannot_be_looked_after_keeps_no_other_from_it(made: Made) -> None:
    for name in ("bad", "good"):
        made.submit(name)
    made.step()
    made.ray.begin()
    made.ray.breaks = "bad-1"
    made.step()
    assert made.state("good") == "running"
    assert made.state("bad") == "starting"
    assert "KeyError" in made.supervisor.notes[-1]
    made.ray.breaks = ""
    made.step()
    assert made.state("bad") == "running"


def test_halves_that_are_left_on_two_gpus_leave_no_whole_one(made: Made) -> None:
    for name in ("a", "b"):
        made.submit(name, gpus=0.5, exclusive=False)
    made.step()
    with made.living("a", "0"), made.living("b", "1"):
        made.ray.begin()
        made.step()
        made.submit("whole", "bob")
        made.step()
        assert made.state("whole") == "queued"
    with made.living("a", "0"), made.living("b", "0"):
        made.anew()
        made.step()
        assert made.state("whole") == "starting"


def test_what_a_machine_gains_is_given_and_shown(made: Made) -> None:
    made.ray.there, made.ray.gpus = Machine(28, 1), ["A"]
    for name in ("a", "b"):
        made.submit(name)
    made.step()
    assert [made.state(name) for name in ("a", "b")] == ["starting", "queued"]
    made.ray.there, made.ray.gpus = Machine(28, 2), ["A", "B"]
    made.step()
    assert made.state("b") == "starting"
    assert made.supervisor.capacity is not None
    assert made.supervisor.capacity.gpu_names == ["A", "B"]
    made.ray.there, machine = None, made.ray.there
    made.step()
    made.ray.there, made.ray.gpus = machine, ["A", "C"]
    made.step()
    assert made.supervisor.capacity.gpu_names == ["A", "C"]


def test_patience_runs_by_no_clock_that_jumps(made: Made) -> None:
    made.ray.there = Machine(28, 1)
    made.submit("it")
    made.run("it")
    made.submit("humble", "ann", priority=-5)
    made.step()
    made.wall.now_s += 3 * PATIENCE_S
    made.submit("eager", "bob", priority=5)
    made.step()
    assert made.supervisor.waited_s["humble"] < 10
    made.end("it", "finished")
    made.step()
    assert [made.state(name) for name in ("humble", "eager")] == ["queued", "starting"]
    made.ray.begin()
    made.step()
    made.monotonic.now_s += PATIENCE_S
    made.wall.now_s -= 10 * PATIENCE_S
    made.submit("new", "bob", priority=5)
    made.end("eager", "finished")
    made.step()
    assert [made.state(name) for name in ("humble", "new")] == ["starting", "queued"]


def test_patience_outlives_the_service(made: Made) -> None:
    made.ray.there = None
    made.submit("it")
    made.step(100.0)
    made.wall.now_s += 50.0  # the service is down
    made.anew()
    made.step()
    assert made.supervisor.waited_s["it"] == pytest.approx(151.0)


def test_a_right_to_supervise_that_was_lost_is_taken_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds, closed = [True], []
    refusal: list[Exception] = []

    @contextlib.contextmanager
    def supervising() -> Iterator[Callable[[], bool]]:
        if refusal:
            raise refusal[0]
        mine = len(holds)
        yield lambda: holds[mine - 1]
        closed.append(mine)

    def wait(true: Callable[[], bool]) -> None:
        for _ in range(6000):
            made.supervisor.wake()
            if true():
                return
            time.sleep(0.01)
        pytest.fail(f"not within a minute: {made.supervisor.notes}")

    monkeypatch.setattr(made.store, "supervising", supervising)
    made.supervisor.start()
    try:
        wait(lambda: made.supervisor.notes == [])
        refusal.append(UserError("Another service supervises it."))
        holds[0] = False
        wait(lambda: any("Another service" in note for note in made.supervisor.notes))
        made.submit("it")
        refusal[0] = ConnectionError("the database is starting")
        wait(lambda: any("is starting" in note for note in made.supervisor.notes))
        assert made.state("it") == "queued"
        holds.append(True)
        refusal.clear()
        wait(lambda: list(made.ray.orders) == ["it-1"])
        wait(lambda: made.supervisor.notes == [])
        assert closed == [1]
    finally:
        made.supervisor.stop()
    assert closed == [1, 2]


def test_a_clock_that_jumps_changes_nothing_but_times(made: Made) -> None:
    made.submit("it")
    made.run("it")
    made.submit("a", "bob", gpus=2.0)
    made.submit("b", "cat")
    for jump_s in (-400 * 86400.0, 800 * 86400.0):
        made.wall.now_s += jump_s
        made.step()
        assert made.state("it") == "running"
    made.end("it", "finished")
    made.step()
    assert made.state("a") == "starting"
    usage = made.store.usage()
    assert sum(usage.values()) < 3600


def test_users_are_charged_what_they_held_also_while_ray_is_away(made: Made) -> None:
    made.submit("it", gpus=2.0, cpus=10)
    made.run("it")
    made.ray.there = None
    made.step(100.0)
    made.step(100.0)
    # 2 GPUs and 10 hundredths for the cores, for 200 s, and the step in which it began
    assert made.store.usage()["ann"] == pytest.approx(2.1 * 201, rel=0.01)
    made.wall.now_s += 1e9
    assert made.store.usage()["ann"] == pytest.approx(2.1 * 201, rel=0.01)


def test_a_second_service_on_one_database_is_refused(made: Made) -> None:
    made.supervisor.start()
    try:
        other = Supervisor(made.settings, made.store, made.ray)
        with pytest.raises(UserError, match="Another service"):
            other.start()
    finally:
        made.supervisor.stop()


def test_the_thread_looks_at_once_when_woken(made: Made) -> None:
    made.supervisor.start()
    try:
        made.submit("it")
        made.supervisor.wake()
        for _ in range(100):
            if made.ray.orders:
                break
            time.sleep(0.02)
        assert list(made.ray.orders) == ["it-1"]
    finally:
        made.supervisor.stop()
