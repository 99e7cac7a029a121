"""What tests of the service with real processes need: a Ray head, and a service without HTTP.

The head has pretended GPUs, and can be killed and started again; searches under it know gates.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.gates import Gates, wait_until
from tests.object_server import free_ports
from tests.tuner.searches import content, epochs_recorded
from tests.tuner.service.stores import free, new
from tuner.service.models import JobState
from tuner.service.ray_jobs import RayAway, RayJobs
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.supervisor import Supervisor
from tuner.service.tables import JobRow
from tuner.spec import RunSpec, build_spec

REPOSITORY = Path(__file__).parents[3]
ENVIRONMENT = {
    **os.environ,
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": str(REPOSITORY),
}


class Head:
    """`ray start --head` in a process group of its own."""

    def __init__(
        self, cpus: int = 2, gpus: int = 2, environment: dict[str, str] = ENVIRONMENT
    ) -> None:
        self.cpus, self.gpus, self._environment = cpus, gpus, environment
        self._ports = free_ports(6)
        self.url = f"http://127.0.0.1:{self._ports[1]}"
        self._folders: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether it has been started, and not been killed since."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and return once it can take jobs."""
        names = (
            "port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port",
            "dashboard-agent-grpc-port", "metrics-export-port",
        )  # fmt: skip
        ports = [f"--{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        folder = tempfile.mkdtemp(prefix="ray-test-")  # short: sockets lie below it
        self._folders.append(folder)
        self._process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
                f"--num-cpus={self.cpus}", f"--num-gpus={self.gpus}", f"--temp-dir={folder}",
                "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
                "--object-store-memory=100000000", *ports,
            ],
            env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        wait_until(self._ready, lambda: f"Ray at {self.url} is not ready")

    def _ready(self) -> bool:
        ray = RayJobs(self.url)
        try:
            return ray.machine().gpus == self.gpus
        except RayAway:
            return False
        finally:
            ray.close()

    def kill(self) -> None:
        """Kill the head, all its parts at once."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """End it and all that it started, and remove what it wrote."""
        if self._process is not None:
            started = descendants(self._process.pid)
            self.kill()
            for process in started:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


def descendants(pid: int) -> Sequence[psutil.Process]:
    """Return all processes below one."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


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


@contextlib.contextmanager
def serve(
    settings: Settings, environment: dict[str, str] = ENVIRONMENT
) -> Iterator[subprocess.Popen[str]]:
    """Yield the process of a service, once it supervises; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(settings.runs), str(settings.cache), settings.ray],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "supervising\n"
        yield process
    finally:
        process.kill()
        process.wait()


class Service:
    """A service without HTTP: a store, and a supervisor in a thread of this process.

    Parameters
    ----------
    runs, cache : Path
    config : Path
        What its searches train.
    head : Head
    gates : Gates
        Of the searches under the head.
    """

    def __init__(self, runs: Path, cache: Path, config: Path, head: Head, gates: Gates) -> None:
        self.settings = Settings(runs, cache, ray=head.url)
        self.config, self.gates = config, gates
        self.store = Store(self.settings.database_url)
        self.supervisor: Supervisor | None = None
        self.ahead_s = 0.0
        """How far the supervisor's monotonic clock is ahead."""

    def start(self, room_bytes: int = 2**20) -> None:
        """Begin to supervise."""
        self.supervisor = Supervisor(
            self.settings,
            self.store,
            clock=lambda: time.monotonic() + self.ahead_s,
            room_bytes=room_bytes,
        )
        self.supervisor.start()

    def stop(self) -> None:
        """Let all searches go on, and supervise no more."""
        self.gates.open_all()
        if self.supervisor is not None:
            self.supervisor.stop()
        self.supervisor = None

    def submit(self, name: str, user: str = "ann", trials: int = 5, **more: Any) -> None:
        """Queue a search of one trial at a time."""
        resources = {"concurrency": 1, **more.pop("resources", {})}
        budget = {"trials": trials, **more.pop("budget", {})}
        flags = {"budget": budget, "resources": resources, "space": "periodic_T"}
        spec: RunSpec = build_spec("quick", self.config, flags, {}, {})
        fields = {"cpus": 1, "spec": spec.model_dump(mode="json"), "digest": spec.digest, **more}
        self.store.create_job(new(user, key=f"key-{name:>5}", **fields), name, True, free)

    def job(self, name: str) -> JobRow:
        """Return what the database holds of a job."""
        job = self.store.job(name)
        assert job is not None
        return job

    def log(self, name: str) -> str:
        """Return what a job's processes wrote."""
        path = self.settings.log_file(name)
        return path.read_text() if path.exists() else "no log"

    def says(self, name: str, pattern: str) -> None:
        """Wait until a job's log has what a pattern describes."""
        wait_until(lambda: re.search(pattern, self.log(name)), lambda: self.told(name))

    def told(self, name: str) -> str:
        """Return what tells why a job is not what it should be."""
        job = self.job(name)
        return f"{name} is {job.state} ({job.reason}); its log ends:\n{self.log(name)[-4000:]}"

    def wait(self, name: str, *states: JobState) -> JobRow:
        """Wait until a job is in one of these states."""
        wait_until(lambda: self.job(name).state in states, lambda: self.told(name))
        return self.job(name)

    def end(self, name: str) -> tuple[JobState, int]:
        """Wait for a job's end; return how it ended, and in which attempt."""
        job = self.wait(name, "finished", "failed", "stopped", "paused")
        return job.state, job.attempt

    def at_gate(self, name: str, trial: int) -> psutil.Process:
        """Return the process that waits at the gate with a job's trial."""

        def there() -> bool:
            assert self.job(name).state not in ("finished", "failed"), self.told(name)
            return self.gates.waiting(name, trial) is not None

        wait_until(there, lambda: self.told(name))
        return psutil.Process(*self.gates.wait(name, trial))

    def process(self, name: str) -> psutil.Process:
        """Return the latest process of a job, whose search is at a gate."""
        *_, pid = re.findall(r"^Job .*, attempt \d+, process (\d+)", self.log(name), re.MULTILINE)
        return psutil.Process(int(pid))

    def gpu(self, name: str) -> str:
        """Return the GPUs that a job's process was given."""
        return self.process(name).environ()["CUDA_VISIBLE_DEVICES"]

    def epochs(self, name: str) -> int:
        """Return how many epochs a job's run has recorded."""
        return epochs_recorded(self.settings.run_folder(name))

    def found(self, name: str) -> dict[str, Any]:
        """Return what a job's search has found."""
        return content(self.settings.run_folder(name))
