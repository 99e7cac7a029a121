"""A Ray head of its own for a test, with pretended GPUs, that can be killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.object_server import free_ports
from tuner.service.ray_jobs import RayAway, RayJobs

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
        ray, deadline = RayJobs(self.url), time.monotonic() + 120
        while True:
            try:
                assert ray.machine().gpus == self.gpus
                return
            except RayAway as error:
                assert time.monotonic() < deadline, f"no head within 120 s: {error}"
                time.sleep(0.3)

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
