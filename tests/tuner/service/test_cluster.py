"""The service with a real Ray head, two pretended GPUs, and real processes that are killed.

The oracle of every comparison is the same search run by hand with `tuner run`. One trial at a time:
what an asynchronous search asks next depends on who answers first.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.tuner.service.heads import ENVIRONMENT, Head
from tests.tuner.service.stores import free, new
from tests.tuner.test_engine import TINY, content, epochs_recorded
from tuner.record import Record
from tuner.service.job import LOG
from tuner.service.models import JobState, Raise
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.supervisor import Supervisor
from tuner.service.tables import JobRow
from tuner.spec import RunSpec, build_spec

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

TRIALS = 5
WAIT_S = 300.0
"""A search takes some 20 s; this machine may be busy."""
SERVE = """
import sys
from pathlib import Path
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.supervisor import Supervisor
settings = Settings(Path(sys.argv[1]), Path(sys.argv[2]), ray=sys.argv[3])
Supervisor(settings, Store(settings.database_url)).start()
print("supervising", flush=True)
sys.stdin.read()
"""
CLOCK = """
import os, pathlib, time
real, path = time.time, pathlib.Path(os.environ["TEST_CLOCK"])
time.time = lambda: real() + float(path.read_text())
"""
"""A sitecustomize.py: every Python process's clock is off by what a file says."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny configuration; packed data are cached in it."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "tiny.yaml").write_text(TINY)
    return folder


@pytest.fixture(scope="module")
def by_hand(shared: Path) -> dict[str, Any]:
    """Return what the search finds where it is run by hand."""
    command = [
        sys.executable, "-m", "tuner", "run", "--config", str(shared / "tiny.yaml"),
        "--trials", str(TRIALS), "--concurrency", "1", "--name", "it",
        "--runs", str(shared / "by-hand"), "--cache", str(shared / "cache"),
    ]  # fmt: skip
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return content(shared / "by-hand" / "it")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """Return a head of four cores and two GPUs, as it is told."""
    made = Head(cpus=4, gpus=2)
    made.start()
    yield made
    made.close()


class Service:
    """A service without HTTP: a store, and a supervisor in a thread of this process."""

    def __init__(self, runs: Path, shared: Path, head: Head) -> None:
        self.settings = Settings(runs, shared / "cache", ray=head.url)
        self.config = shared / "tiny.yaml"
        self.store = Store(self.settings.database_url)
        self.supervisor: Supervisor | None = None

    def start(self, room_bytes: int = 2**20) -> None:
        self.supervisor = Supervisor(self.settings, self.store, room_bytes=room_bytes)
        self.supervisor.start()

    def stop(self) -> None:
        if self.supervisor is not None:
            self.supervisor.stop()
        self.supervisor = None

    def submit(self, name: str, user: str = "ann", trials: int = TRIALS, **more: Any) -> None:
        resources = {"concurrency": 1, **more.pop("resources", {})}
        budget = {"trials": trials, **more.pop("budget", {})}
        flags = {"budget": budget, "resources": resources, "space": "periodic_T"}
        spec: RunSpec = build_spec("quick", self.config, flags, {}, {})
        fields = {"cpus": 1, "spec": spec.model_dump(mode="json"), "digest": spec.digest, **more}
        self.store.create_job(new(user, key=f"key-{name:>5}", **fields), name, True, free)

    def job(self, name: str) -> JobRow:
        job = self.store.job(name)
        assert job is not None
        return job

    def log(self, name: str) -> str:
        path = self.settings.job_folder(name) / LOG
        return path.read_text() if path.exists() else "no log"

    def wait(self, name: str, *states: JobState) -> JobRow:
        wait_until(lambda: self.job(name).state in states, lambda: self.told(name))
        return self.job(name)

    def told(self, name: str) -> str:
        job = self.job(name)
        return f"{name} is {job.state} ({job.reason}); its log ends:\n{self.log(name)[-4000:]}"

    def wait_for_epochs(self, name: str, count: int) -> None:
        folder = self.settings.run_folder(name)
        wait_until(lambda: epochs_recorded(folder) >= count, lambda: self.told(name))

    def process(self, name: str) -> psutil.Process:
        """Return the process of a job."""
        folder = str(self.settings.job_folder(name))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if "tuner.service.job" in command and folder in command:
                    return process
        pytest.fail(f"{name} has no process; {self.told(name)}")

    def gpu(self, name: str) -> str:
        """Return the GPUs that a job's process was given."""
        return self.process(name).environ()["CUDA_VISIBLE_DEVICES"]

    def found(self, name: str) -> dict[str, Any]:
        return content(self.settings.run_folder(name))


@pytest.fixture
def service(tmp_path: Path, shared: Path, head: Head) -> Iterator[Service]:
    made = Service(tmp_path / "runs", shared, head)
    yield made
    made.stop()


def serve(settings: Settings, environment: dict[str, str] = ENVIRONMENT) -> subprocess.Popen[str]:
    """Return the process of a service, once it supervises."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(settings.runs), str(settings.cache), settings.ray],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "supervising\n"
    return process


def wait_until(true: Callable[[], bool], told: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WAIT_S:.0f} s: {told()}"
        time.sleep(0.1)


def ended(job: JobRow) -> tuple[JobState, int]:
    return job.state, job.attempt


def test_three_searches_of_two_users_take_turns_and_find_what_they_find_by_hand(
    service: Service, by_hand: dict[str, Any]
) -> None:
    for name, user in (("ann-1", "ann"), ("ann-2", "ann"), ("bob-1", "bob")):
        service.submit(name, user)
    service.start()
    for name in ("ann-1", "bob-1"):
        service.wait_for_epochs(name, 1)
    assert service.job("ann-2").state == "queued"
    assert {service.gpu("ann-1"), service.gpu("bob-1")} == {"0", "1"}
    for name in ("ann-1", "ann-2", "bob-1"):
        assert ended(service.wait(name, "finished", "failed")) == ("finished", 1), service.told(
            name
        )
        assert service.found(name) == by_hand
    first_end = min(service.job(name).ended_at or 0 for name in ("ann-1", "bob-1"))
    assert (service.job("ann-2").started_at or 0) > first_end
    assert f"the budget of {TRIALS} trials is spent" in service.log("ann-2")


def test_halves_meet_on_one_gpu_beside_a_search_that_has_the_other_alone(
    service: Service,
) -> None:
    half = {"gpus": 0.5, "exclusive": False, "resources": {"gpus_per_trial": 0.5}}
    service.submit("half-1", "ann", **half)
    service.submit("half-2", "bob", **half)
    service.submit("whole", "cat")
    service.start()
    names = ("half-1", "half-2", "whole")
    gpus = []
    for name in names:
        service.wait_for_epochs(name, 1)
        gpus.append(service.gpu(name))  # before it has ended
    assert gpus[0] == gpus[1] != gpus[2]
    for name in names:
        assert service.wait(name, "finished", "failed").state == "finished", service.told(name)
        with Record.open(service.settings.run_folder(name)) as record:
            (slots,) = (event.data for event in record.events() if event.kind == "slots")
        assert slots == {"concurrency": 1, "fraction": 1.0 if name == "whole" else 0.5}


def test_two_trials_of_one_search_share_its_gpu(service: Service) -> None:
    service.submit("it", trials=2, cpus=2, resources={"gpus_per_trial": 0.5, "concurrency": 2})
    service.start()
    assert service.wait("it", "finished", "failed").state == "finished", service.told("it")
    with Record.open(service.settings.run_folder("it")) as record:
        first, second = record.trials()
    assert (second.started_at or 0) < (first.ended_at or 0)


def test_a_worker_that_is_killed_costs_no_trial_and_no_attempt(
    service: Service, by_hand: dict[str, Any]
) -> None:
    service.submit("it")
    service.start()
    service.wait_for_epochs("it", 8)
    workers = []
    deadline = time.monotonic() + 60
    while not workers and time.monotonic() < deadline:
        for child in service.process("it").children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "RayTrial" in " ".join(child.cmdline()):
                    workers.append(child)
    workers[0].kill()
    assert ended(service.wait("it", "finished", "failed")) == ("finished", 1), service.told("it")
    assert service.found("it") == by_hand
    assert "retry: " in service.log("it")


def test_a_driver_that_is_killed_goes_on_by_itself_before_all_others(
    service: Service, by_hand: dict[str, Any]
) -> None:
    service.submit("it", gpus=2.0)
    service.submit("next", "bob", gpus=2.0, priority=10, trials=1)
    service.store.want("next", "pause")
    service.start()
    service.wait_for_epochs("it", 8)
    service.store.resume("next", Raise())
    service.process("it").kill()
    wait_until(lambda: service.job("it").attempt == 2, lambda: service.told("it"))
    assert service.job("next").state == "queued"
    assert ended(service.wait("it", "finished", "failed")) == ("finished", 2), service.told("it")
    assert service.found("it") == by_hand
    assert service.log("it").count("attempt 2") == 1
    assert service.wait("next", "finished", "failed").state == "finished"


def test_a_service_that_is_killed_finds_its_jobs_again_and_doubles_none(
    service: Service, by_hand: dict[str, Any]
) -> None:
    for name in ("it", "other", "last"):
        service.submit(name)
    moments: list[Callable[[], bool]] = [
        lambda: service.job("it").state == "starting",
        lambda: service.job("it").state == "running",
        lambda: epochs_recorded(service.settings.run_folder("it")) >= 8,
        lambda: service.job("it").state == "finished",
    ]
    for moment in moments:
        process = serve(service.settings)
        wait_until(moment, lambda: service.told("it"))
        process.kill()
        process.wait()
        time.sleep(0.5)
    process = serve(service.settings)
    try:
        for name in ("it", "other", "last"):
            assert ended(service.wait(name, "finished", "failed")) == ("finished", 1)
            assert service.found(name) == by_hand
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("asked", ["stop", "stop_now", "pause"])
def test_what_is_stopped_or_paused_frees_its_gpu_and_goes_on_later(
    service: Service, by_hand: dict[str, Any], asked: Any
) -> None:
    service.submit("it", gpus=2.0)
    service.submit("next", "bob", gpus=2.0, trials=1)
    service.start()
    service.wait_for_epochs("it", 5)
    service.store.want("it", asked)
    state = "paused" if asked == "pause" else "stopped"
    assert ended(service.wait("it", state, "failed", "finished")) == (state, 1), service.told("it")
    told = "interrupted at once" if asked == "stop_now" else "interrupted"
    assert service.log("it").rstrip().endswith(f"Ended: interrupted, {told}")
    before = epochs_recorded(service.settings.run_folder("it"))
    assert service.wait("next", "finished", "failed").state == "finished", service.told("next")
    assert epochs_recorded(service.settings.run_folder("it")) == before
    service.store.resume("it", Raise())
    assert ended(service.wait("it", "finished", "failed")) == ("finished", 2), service.told("it")
    assert service.found("it") == by_hand


def test_a_budget_is_raised_once_though_the_process_that_raised_it_is_killed(
    service: Service, by_hand: dict[str, Any]
) -> None:
    service.submit("it", trials=2)
    service.start()
    assert service.wait("it", "finished", "failed").state == "finished", service.told("it")
    before = epochs_recorded(service.settings.run_folder("it"))
    service.store.resume("it", Raise(more_trials=TRIALS - 2))
    service.wait_for_epochs("it", before + 1)
    service.process("it").kill()
    assert ended(service.wait("it", "finished", "failed")) == ("finished", 3), service.told("it")
    assert service.found("it") == by_hand


def test_what_a_search_cannot_have_fails_with_the_reason(service: Service) -> None:
    service.submit("it", resources={"gpus_per_trial": 1, "concurrency": 2})
    service.start()
    job = service.wait("it", "failed", "finished")
    assert ended(job) == ("failed", 1)
    assert "--concurrency must be at most 1" in str(job.reason)
    assert not service.settings.run_folder("it").exists()


def test_a_head_that_is_killed_and_started_again_costs_no_trial(
    tmp_path: Path, shared: Path, by_hand: dict[str, Any]
) -> None:
    head = Head(cpus=2, gpus=1)
    head.start()
    service = Service(tmp_path / "runs", shared, head)
    try:
        service.submit("it")
        service.submit("next", "bob", trials=1)
        service.start()
        service.wait_for_epochs("it", 8)
        head.kill()
        wait_until(lambda: "waits for Ray" in str(service.job("it").reason))
        assert service.job("it").state == "running"
        assert service.supervisor is not None
        assert service.supervisor.capacity is None
        assert "does not answer" in service.supervisor.notes[0]
        head.start()
        assert ended(service.wait("it", "finished", "failed")) == ("finished", 2)
        assert service.found("it") == by_hand
        assert service.wait("next", "finished", "failed").state == "finished"
    finally:
        service.stop()
        head.close()


def test_a_clock_that_jumps_by_a_year_and_back_changes_no_search(
    tmp_path: Path, shared: Path, by_hand: dict[str, Any]
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CLOCK)
    path = f"{tmp_path / 'site'}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"
    environment = {**ENVIRONMENT, "PYTHONPATH": path, "TEST_CLOCK": str(clock)}
    head = Head(cpus=2, gpus=1, environment=environment)
    head.start()
    service = Service(tmp_path / "runs", shared, head)
    process = serve(service.settings, environment)
    try:
        service.submit("it", budget={"wall_hours": 1.0})
        service.submit("next", "bob", trials=1)
        for epochs, jump_s in ((1, 400 * 86400.0), (8, -400 * 86400.0)):
            service.wait_for_epochs("it", epochs)
            clock.write_text(str(jump_s))
        assert ended(service.wait("it", "finished", "failed")) == ("finished", 1)
        assert service.job("it").reason == f"the budget of {TRIALS} trials is spent"
        with Record.open(service.settings.run_folder("it")) as record:
            times = [event.at for event in record.events()]
        assert max(times) - min(times) > 700 * 86400  # it has jumped
        assert service.found("it") == by_hand
        assert service.wait("next", "finished", "failed").state == "finished"
        assert sum(service.store.usage().values()) < 3600
    finally:
        process.kill()
        process.wait()
        head.close()


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/shm").is_dir(), reason="mounts a disk")
def test_on_a_full_disk_a_search_says_so_and_goes_on_once_there_is_room(
    tmp_path: Path, shared: Path, head: Head, by_hand: dict[str, Any]
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(runs)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    service = Service(runs, shared, head)
    try:
        service.submit("it")
        service.start(room_bytes=0)
        wait_until(lambda: "full" in str(service.job("it").reason), lambda: service.told("it"))
        assert service.job("it").state == "queued"
        subprocess.run(["mount", "-o", "remount,size=100m", str(runs)], check=True)
        job = service.wait("it", "finished", "failed")
        assert job.state == "finished", service.told("it")
        assert service.found("it") == by_hand
    finally:
        service.stop()
        service.store.close()
        subprocess.run(["umount", "-l", str(runs)], check=True)
