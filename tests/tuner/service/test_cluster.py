"""The service with a real Ray head, two pretended GPUs, and real processes that are killed.

The oracle of every comparison is the same search run by hand with `tuner run`. One trial at a time:
what an asynchronous search asks next depends on who answers first. What is done to a search, or
asserted of it, amid its epochs is so while it waits at a gate (`tests/gates.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gates import Gates, gates, wait_until
from tests.tuner.searches import TINY, content
from tests.tuner.service.heads import ENVIRONMENT, Head, Service, serve
from tuner.record import Record
from tuner.service import supervisor
from tuner.service.job import OUTCOME
from tuner.service.models import Raise

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS = 5
ONCE = ("finished", 1)
"""How a job ends whose first process did."""
DAY_S = 86400.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny configuration; packed data are cached in it."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "clock").write_text("0")
    return folder


@pytest.fixture(scope="module")
def by_hand(shared: Path) -> dict[str, Any]:
    """Return what the search finds where it is run by hand."""
    command = [
        sys.executable, "-m", "tuner", "run", "--config", str(shared / "tiny.yaml"),
        "--trials", str(TRIALS), "--concurrency", "1", "--name", "it",
        "--runs", str(shared / "by-hand"), "--cache", str(shared / "cache"),
    ]  # fmt: skip
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    return content(shared / "by-hand" / "it")


@pytest.fixture(scope="module")
def closable() -> Iterator[Gates]:
    """Return the gates of the searches under the head."""
    with gates() as made:
        yield made


@pytest.fixture(scope="module")
def environment(shared: Path, closable: Gates) -> dict[str, str]:
    """Return the environment of head and searches, whose clock a test may set."""
    return {**ENVIRONMENT, **closable.environment, "TEST_CLOCK": str(shared / "clock")}


@pytest.fixture(scope="module")
def one_head(environment: dict[str, str]) -> Iterator[Head]:
    """Return a head of four cores and two GPUs, as it is told."""
    made = Head(cpus=4, gpus=2, environment=environment)
    yield made
    made.close()


@pytest.fixture
def head(one_head: Head) -> Head:
    """Return the head; an earlier test may have left it killed."""
    if not one_head.alive:
        one_head.start()
    return one_head


@pytest.fixture
def service(
    tmp_path: Path,
    shared: Path,
    head: Head,
    closable: Gates,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Service]:
    monkeypatch.setattr(supervisor, "INTERVAL_S", 0.5)
    made = Service(tmp_path / "runs", shared / "cache", shared / "tiny.yaml", head, closable)
    yield made
    made.stop()
    made.store.close()


def set_clock(shared: Path, off_s: float) -> None:
    """Set how far the clock of the head, its searches, and a service of its own is off."""
    (shared / "new").write_text(f"{off_s}")
    (shared / "new").replace(shared / "clock")  # it is read all the time


def slots(service: Service, name: str) -> Any:
    """Return how many trials at once a job's search had, and what fraction of a GPU each."""
    with Record.open(service.settings.run_folder(name)) as record:
        (found,) = (event.data for event in record.events() if event.kind == "slots")
    return found


def gone(process: psutil.Process) -> bool:
    """Return whether a process has ended, perhaps unnoticed by its parent."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_three_searches_of_two_users_take_turns_and_a_killed_worker_costs_none_of_them_anything(
    service: Service, by_hand: dict[str, Any]
) -> None:
    names = ("ann-1", "ann-2", "bob-1")
    service.gates.close("ann-1", 0, 2)
    service.gates.close("bob-1", 2)
    for name in names:
        service.submit(name, name.partition("-")[0])
    service.start()
    service.at_gate("ann-1", 0)
    worker = service.at_gate("bob-1", 2)
    assert service.job("ann-2").state == "queued"
    assert {service.gpu("ann-1"), service.gpu("bob-1")} == {"0", "1"}
    worker.kill()
    service.gates.open("ann-1", "bob-1")
    for name in names:
        assert service.end(name) == ONCE, service.told(name)
        assert service.found(name) == by_hand
    assert "retry: " in service.log("bob-1")
    assert "retry: " not in service.log("ann-1") + service.log("ann-2")
    first_end = min(service.job(name).ended_at or 0 for name in ("ann-1", "bob-1"))
    assert (service.job("ann-2").started_at or 0) > first_end
    assert slots(service, "ann-2") == {"concurrency": 1, "fraction": 1.0}
    assert f"the budget of {TRIALS} trials is spent" in service.log("ann-2")


def test_halves_meet_on_one_gpu_beside_two_trials_that_share_the_other(service: Service) -> None:
    half = {"gpus": 0.5, "exclusive": False, "resources": {"gpus_per_trial": 0.5}, "trials": 1}
    two = {"cpus": 2, "resources": {"gpus_per_trial": 0.5, "concurrency": 2}, "trials": 2}
    at_once = {"half-1": 1, "half-2": 1, "whole": 2}
    for (name, count), user in zip(at_once.items(), ("ann", "bob", "cat"), strict=True):
        service.gates.close(name, 0)
        service.submit(name, user, **(half if count == 1 else two))
    service.start()
    for name, count in at_once.items():
        for trial in range(count):
            service.at_gate(name, trial)
    gpus = [service.gpu(name) for name in at_once]
    assert gpus[0] == gpus[1] != gpus[2]
    service.gates.open(*at_once)
    for name, count in at_once.items():
        assert service.end(name) == ONCE, service.told(name)
        assert slots(service, name) == {"concurrency": count, "fraction": 0.5}
    with Record.open(service.settings.run_folder("whole")) as record:
        first, second = record.trials()
    assert (second.started_at or 0) < (first.ended_at or 0)


def test_after_a_kill_of_the_process_and_of_the_head_a_search_goes_on_before_all_others(
    service: Service, head: Head, by_hand: dict[str, Any]
) -> None:
    service.gates.close("it", 0, 4)
    service.submit("it", gpus=2.0)
    service.submit("next", "bob", gpus=2.0, priority=10, trials=1)
    service.store.want("next", "pause")
    service.start()
    worker = service.at_gate("it", 0)
    service.store.resume("next", Raise())
    service.process("it").kill()
    wait_until(lambda: gone(worker))
    service.gates.close("it", 2)
    service.at_gate("it", 2)
    assert (service.job("it").attempt, service.job("next").state) == (2, "queued")
    head.kill()
    wait_until(lambda: "waits for Ray" in str(service.job("it").reason))
    assert service.job("it").state == "running"
    assert service.supervisor is not None
    assert service.supervisor.capacity is None
    assert "does not answer" in service.supervisor.notes[0]
    head.start()
    service.says("it", "attempt 3")
    assert service.job("next").state == "queued"
    service.gates.open("it")
    assert service.end("it") == ("finished", 3), service.told("it")
    assert service.found("it") == by_hand
    assert service.log("it").count("attempt 2") == 1
    assert service.end("next") == ONCE, service.told("next")


def test_a_service_that_is_killed_finds_its_jobs_again_and_doubles_none(
    service: Service, by_hand: dict[str, Any]
) -> None:
    for name, gpus in (("it", 1.0), ("last", 2.0)):
        service.submit(name, gpus=gpus)
    service.gates.close("it", 2)
    with serve(service.settings):
        wait_until(lambda: service.job("it").state != "queued", lambda: service.told("it"))
    with serve(service.settings):
        service.wait("it", "running")
    with serve(service.settings):
        service.at_gate("it", 2)
    service.gates.open("it")
    ended = service.settings.job_folder("it") / OUTCOME
    wait_until(ended.exists, lambda: service.told("it"))
    assert service.job("it").state == "running"  # nobody has seen its end
    with serve(service.settings):
        service.wait("it", "finished")
    with serve(service.settings):
        for name in ("it", "last"):
            assert service.end(name) == ONCE, service.told(name)
            assert service.found(name) == by_hand


def test_what_is_paused_or_stopped_frees_its_gpus_and_goes_on_later(
    service: Service, by_hand: dict[str, Any]
) -> None:
    """A search that cannot run, with the reason, is what its GPUs are freed for at times."""
    impossible = {"resources": {"gpus_per_trial": 1, "concurrency": 3}}
    cases: list[tuple[Any, str, int, dict[str, Any]]] = [
        ("pause", "paused", 0, {"trials": 1}),
        ("stop", "stopped", 2, impossible),
        ("stop_now", "stopped", 3, impossible),
    ]
    service.gates.close("it", 0)
    service.submit("it", gpus=2.0)
    service.start()
    for attempt, (asked, state, trial, other) in enumerate(cases, start=1):
        service.gates.close("it", trial)
        if attempt > 1:
            service.store.resume("it", Raise())
        service.at_gate("it", trial)
        before = service.epochs("it")
        service.submit(asked, "bob", gpus=2.0, **other)
        service.store.want("it", asked)
        if asked != "stop_now":
            service.says("it", rf"attempt {attempt}, process (?s:.*)Finishing the running epochs")
            service.gates.open("it")
            before += 1
        assert service.end("it") == (state, attempt), service.told("it")
        told = "interrupted at once" if asked == "stop_now" else "interrupted"
        assert service.log("it").rstrip().endswith(f"Ended: interrupted, {told}")
        ended = service.end(asked)
        assert service.epochs("it") == before
        if other is not impossible:
            assert ended == ONCE, service.told(asked)
            continue
        assert ended == ("failed", 1)
        assert "--concurrency must be at most 1" in str(service.job(asked).reason)
        assert not service.settings.run_folder(asked).exists()
    service.gates.open("it")
    service.store.resume("it", Raise())
    assert service.end("it") == ("finished", 4), service.told("it")
    assert service.found("it") == by_hand


def test_a_budget_is_raised_once_though_the_process_that_raised_it_is_killed(
    service: Service, by_hand: dict[str, Any]
) -> None:
    service.submit("it", trials=2)
    service.gates.close("it", 3)
    service.start()
    assert service.end("it") == ONCE, service.told("it")
    service.store.resume("it", Raise(more_trials=TRIALS - 2))
    service.at_gate("it", 3)
    service.process("it").kill()
    service.gates.open("it")
    assert service.end("it") == ("finished", 3), service.told("it")
    assert service.found("it") == by_hand


def test_a_clock_that_jumps_by_a_year_and_back_changes_no_search(
    service: Service, shared: Path, environment: dict[str, str], by_hand: dict[str, Any]
) -> None:
    service.submit("it", gpus=2.0, budget={"wall_hours": 1.0})
    service.submit("next", "bob", gpus=2.0, trials=1)
    service.gates.close("it", 0, 2)
    try:
        with serve(service.settings, environment):
            service.at_gate("it", 0)
            set_clock(shared, 400 * DAY_S)
            service.gates.close("it", 2)
            service.at_gate("it", 2)
            set_clock(shared, -400 * DAY_S)
            service.gates.open("it")
            assert service.end("it") == ONCE, service.told("it")
            assert service.job("it").reason == f"the budget of {TRIALS} trials is spent"
            with Record.open(service.settings.run_folder("it")) as record:
                times = [event.at for event in record.events()]
            assert max(times) - min(times) > 700 * DAY_S  # it has jumped
            assert service.found("it") == by_hand
            assert service.end("next") == ONCE, service.told("next")
            assert sum(service.store.usage().values()) < 3600
    finally:
        set_clock(shared, 0.0)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/shm").is_dir(), reason="mounts a disk")
def test_on_a_full_disk_a_search_says_so_and_goes_on_once_there_is_room(
    tmp_path: Path, shared: Path, head: Head, closable: Gates, by_hand: dict[str, Any]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(runs)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    service = Service(runs, shared / "cache", shared / "tiny.yaml", head, closable)

    def waits_for_room() -> bool:
        job = service.job("it")
        return job.state == "queued" and "full" in str(job.reason)

    try:
        service.submit("it")
        service.start(room_bytes=0)
        wait_until(waits_for_room, lambda: service.told("it"))
        subprocess.run(["mount", "-o", "remount,size=100m", str(runs)], check=True)
        service.ahead_s = 3600.0  # it does not try again at once
        assert service.end("it")[0] == "finished", service.told("it")
        assert service.found("it") == by_hand
    finally:
        service.stop()
        service.store.close()
        subprocess.run(["umount", "-l", str(runs)], check=True)
