"""The service serves at a socket that it is handed, and a restart loses no request."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tuner.test_cli import ROOT
from tuner.service.listening import FIRST_INHERITED, bound

HAND_OVER = f"""
import os, sys
given = [int(number) for number in sys.argv[1].split(",")]
for target, source in enumerate(given, {FIRST_INHERITED}):
    os.dup2(source, target, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(given)), LISTEN_FDNAMES="x")
os.execv(sys.executable, [sys.executable, "-m", "tuner", "serve", *sys.argv[2:]])
"""
"""What systemd does before it starts a service."""


def handed(runs: Path, *sockets: socket.socket) -> subprocess.Popen[str]:
    """Start a service that is handed these sockets; its own port would be 1, which it may not."""
    numbers = []
    for one in sockets:  # out of the way of those that they become
        numbers.append(os.dup(one.fileno()))
        while numbers[-1] < 10:
            numbers.append(os.dup(numbers.pop()))
    try:
        return subprocess.Popen(
            [sys.executable, "-c", HAND_OVER, ",".join(map(str, numbers)), "--port", "1",
             "--host", "192.0.2.1", "--runs", str(runs), "--ray", "http://127.0.0.1:9"],
            cwd=ROOT, stderr=subprocess.PIPE, text=True, pass_fds=numbers,
            env={**os.environ, "XDG_CACHE_HOME": str(runs)},
        )  # fmt: skip
    finally:
        for number in numbers:
            os.close(number)


def ask(address: tuple[str, int]) -> socket.socket:
    """Send a request, without waiting for an answer."""
    asking = socket.create_connection(address)
    asking.settimeout(300)
    asking.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    return asking


def answer(asking: socket.socket) -> str:
    """Return the answer's first line."""
    with asking, asking.makefile("rb") as reading:
        return reading.readline().decode().strip()


def test_a_socket_that_is_handed_over_is_served_and_a_restart_loses_no_request(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        for _ in range(2):
            waiting = ask(address)  # nobody serves yet, or again
            process = handed(tmp_path, listening)
            assert process.stderr is not None
            try:
                assert answer(waiting) == "HTTP/1.1 200 OK"
                assert answer(ask(address)) == "HTTP/1.1 200 OK"
                process.send_signal(signal.SIGTERM)
                told = process.stderr.read()
                process.wait()
            finally:
                process.kill()
            assert f"Serving at http://127.0.0.1:{address[1]}\n" in told


@pytest.mark.parametrize("what", ["two", "one that does not listen", "a Unix socket"])
def test_anything_but_one_socket_of_tcp_that_listens_is_refused(tmp_path: Path, what: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as good,
        socket.socket() as silent,
        socket.socket(socket.AF_UNIX) as unix,
    ):
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        given = {
            "two": [good, good], "one that does not listen": [silent], "a Unix socket": [unix],
        }[what]  # fmt: skip
        process = handed(tmp_path, *given)
        _, told = process.communicate()
    assert process.returncode == 2
    assert told.startswith("LISTEN_FDS must hand over one socket") and told.count("\n") == 1


def test_a_socket_that_is_open_to_other_machines_needs_a_user_as_an_address_does(
    tmp_path: Path,
) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        process = handed(tmp_path, listening)
        _, told = process.communicate()
    assert process.returncode == 2
    assert "--host 0.0.0.0 is open to other machines" in told


def test_an_answer_in_two_parts_waits_for_no_word_of_the_client() -> None:
    async def without_delay() -> bool:
        found = asyncio.get_running_loop().create_future()

        async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            found.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
            writer.close()

        listening = bound("127.0.0.1", 0)
        async with await asyncio.start_server(take, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            writer.close()
            return bool(await found)

    assert asyncio.run(without_delay())
