"""Whose socket a connection leads to: against real sockets, and files as the kernel writes them."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import cast

import pytest

from tuner.service.listener import NET, Impostor, check_listener, listening_users, trusted_users

pytestmark = pytest.mark.skipif(
    sys.byteorder != "little", reason="the files below are of such a processor"
)
V4 = ipaddress.ip_address("127.0.0.1")
V6 = ipaddress.ip_address("::1")
HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
LOOPBACK, LOOPBACK_6, ALL, ALL_6 = "0100007F", f"{'0' * 24}01000000", "0" * 8, "0" * 32
MAPPED = "0000000000000000FFFF00000100007F"


def net(folder: Path, *sockets: tuple[str, int, int, str]) -> Path:
    """Write the files for sockets of an address, a port, a user and a state."""
    for name, length in (("tcp", 8), ("tcp6", 32)):
        lines = [
            f"   {n}: {address}:{port:04X} {'0' * length}:0000 {state} 00000000:00000000"
            f" 00:00000000 00000000 {user:5}        0 1 1 0000 100 0 0 10 0\n"
            for n, (address, port, user, state) in enumerate(sockets)
            if len(address) == length
        ]
        (folder / name).write_text(HEADING + "".join(lines))
    return folder


@pytest.mark.parametrize(
    ("address", "sockets", "users"),
    [
        (V4, [(LOOPBACK, 8265, 7, "0A")], {7}),
        (V4, [(LOOPBACK, 8266, 7, "0A")], set()),
        (V4, [(LOOPBACK, 8265, 7, "01")], set()),  # a connection
        (V4, [("0200007F", 8265, 7, "0A")], set()),  # 127.0.0.2
        (V4, [(ALL, 8265, 7, "0A"), (ALL_6, 8265, 8, "0A")], {7}),
        (V4, [(LOOPBACK, 8265, 7, "0A"), (ALL_6, 8265, 8, "0A")], {7}),
        (V4, [(ALL_6, 8265, 8, "0A")], {8}),
        (V4, [(MAPPED, 8265, 9, "0A")], {9}),
        (V4, [(LOOPBACK_6, 8265, 9, "0A")], set()),
        (V6, [(LOOPBACK_6, 8265, 9, "0A"), (ALL_6, 8265, 8, "0A")], {9}),
        (V6, [(ALL, 8265, 7, "0A"), (ALL_6, 8265, 8, "0A")], {8}),
    ],
)
def test_the_socket_that_takes_a_connection_is_the_most_specific(
    tmp_path: Path, address: ipaddress.IPv4Address, sockets: list[tuple[str, int, int, str]],
    users: set[int],
) -> None:  # fmt: skip
    assert listening_users(address, 8265, net(tmp_path, *sockets)) == users


@pytest.mark.skipif(not (NET / "tcp").exists(), reason="the kernel does not say who listens")
@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_socket_of_this_process_is_its_own_users(bound: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    try:
        listening = socket.create_server((bound, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    to = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)
    port = listening.getsockname()[1]
    with listening, socket.create_connection((to, port)) as connection:
        assert listening_users(ipaddress.ip_address(to), port) == {os.geteuid()}
        check_listener(connection)


def test_another_users_or_a_vanished_socket_is_refused_within_this_machine_alone(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as connection:
            stranger = max(trusted_users()) + 1
            files = net(tmp_path, (LOOPBACK, port, stranger, "0A"))
            with pytest.raises(Impostor, match=f"uid {stranger}"):
                check_listener(connection, files)
            with pytest.raises(Impostor, match="nobody listens"):
                check_listener(connection, net(tmp_path))
            check_listener(connection, net(tmp_path, (LOOPBACK, port, 0, "0A")))
            check_listener(connection, tmp_path / "another system")


class Far:
    """A connection to another machine, whose sockets are not in this one's files."""

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.1", 40000

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.2", 8265


def test_another_machine_is_trusted(tmp_path: Path) -> None:
    check_listener(cast(socket.socket, Far()), net(tmp_path))
