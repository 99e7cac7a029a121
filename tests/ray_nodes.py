"""A Ray cluster of several nodes on this machine, each of which can be lost at once.

A node is a process namespace of its own, so that killing its first process kills all of it, and may
have a file system of its own: then it sees nothing of the others' `/tmp`, like another machine.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gates import wait_until
from tests.object_server import free_ports

ROOT = Path(__file__).resolve().parent.parent
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
SECOND = "127.0.0.2"
STORE_BYTES = 80_000_000
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # a lost head is told after it, not after 60 s
}


def need_namespaces() -> None:
    """Skip where this process may not make namespaces."""
    probe = ["unshare", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "true"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs the right to make namespaces (Linux, root)")


def _own_tmp() -> list[str]:
    """Return the commands that give a node a `/tmp` of its own, but for the program itself."""
    program = {path for path in (ROOT, Path(sys.prefix)) if path.is_relative_to("/tmp")}
    steps = ["mount -t tmpfs tmpfs /mnt"]
    for number, path in enumerate(sorted(program)):
        steps += [f"mkdir /mnt/{number}", f"mount --bind {path} /mnt/{number}"]
    steps.append("mount -t tmpfs tmpfs /tmp")
    for number, path in enumerate(sorted(program)):
        steps += [f"mkdir -p {path}", f"mount --bind /mnt/{number} {path}"]
    return steps


class Cluster:
    """Nodes of one Ray cluster: a head with one core, and others beside it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._port = folder, free_ports(1)[0]
        self._environment = environment
        self._second: tuple[dict[str, Any], subprocess.Popen[bytes]] | None = None
        self.address = f"127.0.0.1:{self._port}"
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.head = self._start(
            [*RAY, "--head", f"--port={self._port}", "--include-dashboard=false",
             "--num-cpus=1", f"--temp-dir={folder}", "--node-ip-address=127.0.0.1"],
            {"RAY_TMPDIR": str(folder)},
        )  # fmt: skip
        self.wait(1)

    def add(
        self,
        ip: str,
        cpus: int = 1,
        own_disk: bool = True,
        processor: str | None = None,
        instead: dict[Path, Path] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a node at an address such as 127.0.0.2, and return its process.

        Parameters
        ----------
        ip : str
        cpus : int, default 1
        own_disk : bool, default True
            Whether it sees a `/tmp` of its own only.
        processor : str, optional
            What its processor is to call itself.
        instead : dict, optional
            Files that it has in the place of others.
        """
        temp = f"/tmp/tuner-node-{ip.rpartition('.')[2]}"
        start = [
            *RAY, f"--address={self.address}", f"--node-ip-address={ip}", f"--num-cpus={cpus}",
            f"--object-store-memory={STORE_BYTES}",
        ]  # fmt: skip
        steps = _own_tmp() if own_disk else []
        if processor is not None:
            steps += [
                f"sed 's/^model name.*/model name : {processor}/' /proc/cpuinfo > /tmp/cpuinfo",
                "mount --bind /tmp/cpuinfo /proc/cpuinfo",
            ]
        steps += [f"mount --bind {new} {old}" for old, new in (instead or {}).items()]
        steps.append(f"mkdir -p {temp}; exec {shlex.join(start)}")
        inside = ["unshare", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "bash", "-c"]
        return self._start(
            [*inside, " && ".join(steps)], {"XDG_CACHE_HOME": "/tmp/cache"} if own_disk else {}
        )

    def second(self, **kind: Any) -> subprocess.Popen[bytes]:
        """Return the node beside the head at SECOND, made as `add` does; others there are lost."""
        if self._second is not None:
            there, node = self._second
            if there == kind and node.poll() is None:
                return node
            self.lose(node)
            self.wait(1)
        node = self.add(SECOND, **kind)
        self._second = kind, node
        self.wait(2)
        return node

    def wait(self, nodes: int) -> None:
        """Wait until so many nodes are alive."""
        wait_until(lambda: self._alive() == nodes, lambda: f"{nodes} nodes: {self.log()}")

    def _alive(self) -> int | None:
        from ray._raylet import GcsClient

        with contextlib.suppress(Exception):  # it does not answer yet
            found = GcsClient(address=self.address).get_all_node_info(timeout=5).values()
            return sum(node.state == 0 for node in found)
        return None

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """Kill a node with all that runs on it."""
        with contextlib.suppress(psutil.NoSuchProcess):
            whole = [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
            for process in whole:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        node.wait()

    def close(self) -> None:
        """Kill all nodes."""
        for node in reversed(self._nodes):
            self.lose(node)

    def log(self) -> str:
        """Return the end of what the nodes said."""
        return (self._folder / "nodes.log").read_text(errors="replace")[-3000:]

    def _start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self._folder / "nodes.log").open("ab") as log:
            node = subprocess.Popen(
                command,
                env={**os.environ, **ENVIRONMENT, **self._environment, **environment},
                stdout=log,
                stderr=log,
            )
        self._nodes.append(node)
        return node


@contextlib.contextmanager
def cluster(environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Yield a cluster of a head alone; all its nodes have these variables, too."""
    need_namespaces()
    folder = Path(tempfile.mkdtemp(prefix="tuner-rn-"))  # short: sockets lie in it
    made = None
    try:
        made = Cluster(folder, environment)
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder, ignore_errors=True)
