"""Who listens at the other end of a connection within this machine, as the kernel knows it.

Any user of a machine may listen at a port of its loopback that is free for a moment. Whoever sends
a secret there looks first whose socket it is: /proc/net/tcp and tcp6 tell the user who opened it.
Other machines, and systems without such files, tell nothing; the address has to be trusted there.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

NET = Path("/proc/net")
_LISTENS = "0A"
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Impostor(Exception):  # noqa: N818 - it tells of somebody, not of a fault
    """Somebody else listens where a service of ours should."""


def trusted_users() -> set[int]:
    """Return the users who may be sent secrets of this process: its own, and root."""
    return {os.geteuid(), 0}


def check_listener(connection: socket.socket, net: Path = NET) -> None:
    """Refuse a connection within this machine if it leads to another user's process.

    To be called when the connection stands, before anything is sent: what listens then is what has
    taken it.

    Raises
    ------
    Impostor
    """
    peer, own = connection.getpeername(), connection.getsockname()
    address = _plain(ipaddress.ip_address(peer[0].partition("%")[0]))
    within = address.is_loopback or peer[0] == own[0]
    if not within or not (net / "tcp").exists():
        return
    users = listening_users(address, peer[1], net)
    if not users:
        raise Impostor(f"nobody listens at {address}, port {peer[1]}, any more")
    if strange := users - trusted_users():
        raise Impostor(f"another user (uid {min(strange)}) listens at {address}, port {peer[1]}")


def listening_users(address: _Address, port: int, net: Path = NET) -> set[int]:
    """Return the users whose sockets take connections to an address of this machine.

    The kernel prefers sockets that are bound to the very address to those bound to all: those of
    IPv4, then those of IPv6, which may take IPv4 as well.
    """
    found = [
        (_plain(bound), user)
        for bound, bound_port, user in (*_sockets(net / "tcp"), *_sockets(net / "tcp6"))
        if bound_port == port
    ]
    of_ipv4 = [ipaddress.IPv4Address(0)] if address.version == 4 else []
    for wanted in (address, *of_ipv4, ipaddress.IPv6Address(0)):
        users = {user for bound, user in found if bound == wanted}
        if users:
            return users
    return set()


def _plain(address: _Address) -> _Address:
    """Return an IPv4 address that is written as one of IPv6 as itself."""
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _sockets(file: Path) -> Iterator[tuple[_Address, int, int]]:
    """Yield address, port and user of the sockets that listen."""
    try:
        lines = file.read_text().splitlines()[1:]
    except OSError:  # a kernel without IPv6
        return
    for line in lines:
        _, local, _, state, _, _, _, user, *_ = line.split()
        if state == _LISTENS:
            digits, _, port = local.partition(":")
            words = [bytes.fromhex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
            # each word of four bytes is written in the processor's own order
            swapped = b"".join(w[::-1] if sys.byteorder == "little" else w for w in words)
            yield ipaddress.ip_address(swapped), int(port, 16), int(user)
