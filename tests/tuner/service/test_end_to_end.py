"""Everything at once: `tuner serve` over HTTP, a real Ray head, two users' command lines, a kill.

The oracle of what the searches find is the same search run by hand with `tuner run`.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from tests.gates import WAIT_S, Gates, gates, wait_until
from tests.object_server import free_ports
from tests.tuner.searches import TINY, content
from tests.tuner.service.heads import ENVIRONMENT, Head
from tuner.cli import cli
from tuner.service.models import OPEN

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

SEARCH = ["--space", "periodic_T", "--trials", "2", "--concurrency", "1", "--config", "tiny.yaml"]


class Place:
    """A server's service and head, and a folder in which users type their commands."""

    def __init__(self, folder: Path, head: Head) -> None:
        self.folder, self._head = folder, head
        self._port = free_ports(1)[0]
        self._served: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        (folder / "tiny.yaml").write_text(TINY)
        self._own = ["--runs", str(folder / "runs"), "--cache", str(folder / "cache")]

    def user(self, name: str, *more: str) -> None:
        """Make a user, who knows the server."""
        home = self.folder / name
        home.mkdir()
        done = CliRunner().invoke(cli, ["user", "add", name, *more, *self._own[:2]])
        (home / "token").write_text(done.stdout)
        (home / "token").chmod(0o600)
        (home / "servers.toml").write_text(f'[lab]\nurl = "{self.url}"\ntoken_file = "token"\n')

    def begin(self, user: str, *words: str) -> subprocess.Popen[str]:
        """Start a user's command."""
        home = self.folder / user
        own = {"TUNER_SERVERS": str(home / "servers.toml"), "XDG_STATE_HOME": str(home / "state")}
        return subprocess.Popen(
            [sys.executable, "-m", "tuner", *words], cwd=self.folder, env={**ENVIRONMENT, **own},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finish(self, process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
        """Return the last line of stderr, and stdout, of a command that ends with this status."""
        stdout, stderr = process.communicate(timeout=WAIT_S)
        assert process.returncode == status, stderr[-3000:]
        return (stderr.strip().splitlines() or [""])[-1], stdout.strip()

    def submit(self, user: str, name: str, *more: str) -> subprocess.Popen[str]:
        """Start to submit a search."""
        return self.begin(user, "submit", *SEARCH, "--gpus", "1", "--name", name, *more)

    def serve(self) -> None:
        """Start the service, and return once it answers."""
        with (self.folder / "serve.log").open("ab") as log:
            self._served = subprocess.Popen(
                [sys.executable, "-m", "tuner", "serve", "--port", str(self._port), *self._own,
                 "--ray", self._head.url],
                env=ENVIRONMENT, stderr=log,
            )  # fmt: skip
        wait_until(self._healthy, (self.folder / "serve.log").read_text)

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=WAIT_S).is_success
        except httpx.HTTPError:
            return False

    def kill(self) -> None:
        """Kill the service."""
        if self._served is not None:
            self._served.kill()
            self._served.wait()

    def get(self, user: str, path: str) -> Any:
        """Return what the service answers to a user."""
        token = (self.folder / user / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{self.url}/api/v1/{path}", headers=headers, timeout=WAIT_S)
        return answer.raise_for_status().json()


@pytest.fixture
def closable() -> Iterator[Gates]:
    with gates() as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, closable: Gates) -> Iterator[Place]:
    head = Head(cpus=2, gpus=2, environment={**ENVIRONMENT, **closable.environment})
    made = Place(tmp_path, head)
    try:
        head.start()
        yield made
    finally:
        made.kill()
        head.close()


def test_what_two_users_submit_to_a_service_that_is_killed_is_done_once_and_as_by_hand(
    place: Place, closable: Gates
) -> None:
    for user, flags in (("ann", ()), ("bob", ()), ("root", ("--admin",))):
        place.user(user, *flags)
    place.serve()
    closable.close("ann-1", 0, 3)
    closable.close("ann-2", 1)
    once = ("--key", "one-of-a-kind")
    queued = place.submit("ann", "ann-1"), place.submit("ann", "ann-2", *once)
    assert [place.finish(one)[1] for one in queued] == ["ann-1", "ann-2"]
    closable.wait("ann-1", 0)
    closable.wait("ann-2", 1)

    place.kill()
    for one in (place.submit("ann", "ann-2", *once), place.submit("bob", "bob-1")):
        told, stdout = place.finish(one, status=2)
        assert place.url in told
        assert stdout == ""
    closable.open("ann-1", "ann-2")  # they go on without it
    place.serve()
    again = place.submit("ann", "ann-2", *once), place.submit("bob", "bob-1")
    assert [place.finish(one)[1] for one in again] == ["ann-2", "bob-1"]

    by_hand = place.begin(
        "root", "run", *SEARCH, "--name", "by-hand", "--runs", "own", "--cache", "cache"
    )
    owners = {"ann-1": "ann", "ann-2": "ann", "bob-1": "bob"}
    for name, user in owners.items():
        wait_until(
            lambda: place.get(user, f"jobs/{name}")["state"] not in OPEN,  # noqa: B023
            lambda: str(place.get("root", "jobs")),
        )
        job = place.get(user, f"jobs/{name}")
        assert (job["state"], job["attempt"]) == ("finished", 1), job
    place.finish(by_hand)
    found = content(place.folder / "own" / "by-hand")
    assert len(found["trials"]) == 2
    for name in owners:
        assert content(place.folder / "runs" / name) == found

    fetched = place.begin("bob", "fetch", "bob-1", "-o", "mine")
    others = place.begin("bob", "fetch", "ann-1", "-o", "hers")
    place.finish(fetched)
    assert content(place.folder / "mine") == found
    assert (place.folder / "mine" / "report.html").stat().st_size > 1000
    assert "ann-1" in place.finish(others, status=2)[0]
    assert not (place.folder / "hers").exists()
    assert [job["id"] for job in place.get("bob", "jobs")] == ["bob-1"]

    log = Counter(
        (act["user"], act["action"], act["job"] or act["detail"])
        for act in place.get("root", "audit")
    )
    done = {(user, "submit", name) for name, user in owners.items()}
    assert done <= log.keys()
    assert set(log.values()) == {1}, log
