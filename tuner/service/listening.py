"""The socket at which the service listens: systemd's, where it was started with one, or its own.

A socket that systemd holds outlives the service: requests wait in it while the service starts
again, and no other user of the machine can take the port meanwhile. See sd_listen_fds(3).
"""

from __future__ import annotations

import errno
import os
import socket

from search_spaces.model import UserError

FIRST_INHERITED = 3
"""Number of the first file that systemd hands over."""
WAITING = 1024
"""Connections that may wait to be taken."""


def inherited() -> socket.socket | None:
    """Return the socket that systemd handed over, or None; once, as its variables are removed.

    Raises
    ------
    UserError
        If it handed over more than one, or something else than a socket of TCP that listens.
    """
    given = {
        name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    }
    if given["LISTEN_PID"] != str(os.getpid()):
        return None
    try:
        found = socket.socket(fileno=FIRST_INHERITED)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        of_tcp = found.family in (socket.AF_INET, socket.AF_INET6)
    except OSError:
        listens, of_tcp = 0, False
    if given["LISTEN_FDS"] != "1" or not listens or not of_tcp:
        raise UserError(
            "LISTEN_FDS must hand over one socket that listens at an address and a port. Give the"
            " socket's unit one ListenStream=ADDRESS:PORT."
        )
    found.set_inheritable(False)
    return found


def bound(host: str, port: int) -> socket.socket:
    """Return a new socket that listens; port 0 takes any free one.

    Raises
    ------
    UserError
        If the address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once, without waiting for more, only where the protocol is named
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(WAITING)
    except OSError as error:
        found.close()
        flag = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise UserError(
            f"Cannot listen at {host}:{port}: {error.strerror}. Choose another {flag}."
        ) from error
    return found
