"""`tuner serve` and `tuner user`: who may use it, where it listens, and that it ends cleanly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.tuner.test_cli import ROOT, refused, tuner
from tuner.service.auth import hashed
from tuner.service.settings import Settings
from tuner.service.store import Store


def store_of(runs: Path) -> Store:
    return Store(Settings(runs, runs).database_url)


def test_a_users_token_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    result = tuner("user", "add", "alice", "--admin", "--runs", str(tmp_path))
    assert result.exit_code == 0
    (token,) = result.stdout.splitlines()
    user = store_of(tmp_path).user_of(hashed(token))
    assert user is not None and user.name == "alice" and user.admin
    listed = tuner("user", "list", "--runs", str(tmp_path), "--format", "json").stdout
    assert token not in listed and '"alice"' in listed


def test_a_revoked_token_is_worthless_and_may_be_replaced(tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path))
    first = tuner("user", "add", "alice", *runs).stdout.strip()
    assert "already" in refused("user", "add", "alice", *runs)
    assert tuner("user", "revoke", "alice", *runs).exit_code == 0
    assert store_of(tmp_path).user_of(hashed(first)) is None
    second = tuner("user", "add", "alice", *runs).stdout.strip()
    assert second != first
    assert store_of(tmp_path).user_of(hashed(second)) is not None


def test_unknown_users_and_bad_names_are_refused(tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path))
    tuner("user", "add", "alice", *runs)
    assert "Did you mean 'alice'?" in refused("user", "revoke", "alise", *runs)
    line = refused("user", "add", "a b", *runs)
    assert "user's name" in line and "--name" not in line


def test_users_are_looked_for_where_a_service_is_and_none_is_made_for_it(tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path / "mistyped"))
    for words in (("list",), ("revoke", "alice")):
        assert f"no service in {tmp_path}/mistyped" in refused("user", *words, *runs)
    assert not (tmp_path / "mistyped").exists()
    store_of(tmp_path).close()
    found = tuner("user", "list", "--runs", str(tmp_path))
    assert found.exit_code == 0 and "tuner user add" in found.stderr


def test_an_address_that_is_none_of_this_machine_is_told_as_such(tmp_path: Path) -> None:
    tuner("user", "add", "alice", "--runs", str(tmp_path))
    ray = ("--ray", "http://127.0.0.1:9")
    line = refused("serve", "--host", "192.0.2.1", "--runs", str(tmp_path), *ray)
    assert line.startswith("Cannot listen at 192.0.2.1:") and line.endswith("another --host.")


def test_other_machines_are_not_listened_to_before_there_is_a_user(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        line = refused("serve", "--host", host, "--runs", str(tmp_path))
        assert "tuner user add" in line


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--ray", "127.0.0.1:8265"), ("--webhook", "x"), ("--link", "x"), ("--link", "=http://x")],
)
def test_urls_are_checked_before_anything_starts(tmp_path: Path, flag: str, value: str) -> None:
    assert flag in refused("serve", flag, value, "--runs", str(tmp_path))


def started(runs: Path, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a service without a Ray at a free port; return its process and URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "serve", "--port", "0", "--runs", str(runs),
         "--ray", "http://127.0.0.1:9", *arguments],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "XDG_CACHE_HOME": str(runs)},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Serving at "):
            return process, line.removeprefix("Serving at ").strip()
    raise AssertionError("it did not serve")


def test_the_service_answers_and_a_signal_ends_it_with_its_streams(tmp_path: Path) -> None:
    token = tuner("user", "add", "alice", "--runs", str(tmp_path)).stdout.strip()
    process, url = started(tmp_path)
    try:
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/api/v1/me").status_code == 401
        assert httpx.get(f"{url}/api/v1/me", headers=headers).json()["user"] == "alice"
        assert httpx.get(f"{url}/api/v1/queue", headers=headers).json()["capacity"] is None
        with httpx.stream("GET", f"{url}/api/v1/events", headers=headers, timeout=20) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("retry")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            for _ in lines:
                pass
        process.wait(10)
        assert time.monotonic() - began < 8
    finally:
        process.kill()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = tuner(
            "serve", "--port", port, "--runs", str(tmp_path), "--ray", "http://127.0.0.1:9"
        )
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(f"Cannot listen at 127.0.0.1:{port}")
