"""A real service on a port of this machine, and a wire to it that can be cut or blocked."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn

from search_spaces.model import UserError
from tests.tuner.service.serving import Serving
from tuner.remote.servers import Target


class Lab(Serving):
    """The service of `Serving`, listening."""

    def __init__(self, folder: Path, max_upload_bytes: int = 10_000_000) -> None:
        super().__init__(folder, max_upload_bytes)
        config = uvicorn.Config(
            self.app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]

    def target(self, user: str = "alice", port: int | None = None) -> Target:
        """Return how a user reaches it, perhaps through a wire's port."""
        return Target("lab", f"http://127.0.0.1:{port or self.port}", self.tokens[user], None)

    def configure(self, folder: Path, user: str = "alice", port: int | None = None) -> Path:
        """Write the user's file of servers and return it."""
        token = folder / f"{user}.token"
        token.write_text(self.tokens[user] + "\n")
        token.chmod(0o600)
        path = folder / "servers.toml"
        url = f"http://127.0.0.1:{port or self.port}"
        path.write_text(f'[lab]\nurl = "{url}"\ntoken_file = "{token.name}"\n')
        return path

    def close(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.store.close()


class Fault(NamedTuple):
    """What happens to one connection."""

    up: int | None = None
    """Bytes of requests that pass; None is all."""
    down: int | None = None
    """Bytes of answers that pass."""
    stall: bool = False
    """Whether the connection then stays open and silent, instead of being reset."""
    mute: bytes | None = None
    """Once a request holds these bytes, no answer passes any more."""


class Wire:
    """A TCP proxy to a port; each new connection takes the next of `faults`, or has none."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.faults: deque[Fault] = deque()
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._listen, args=(self._listener,), daemon=True).start()

    def _listen(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                self.connections += 1
                fault = self.faults.popleft() if self.faults else Fault()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                muted = threading.Event()
                for source, sink, up in ((near, far, True), (far, near, False)):
                    arguments = (source, sink, up, fault, muted)
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(
        self,
        source: socket.socket,
        sink: socket.socket,
        up: bool,
        fault: Fault,
        muted: threading.Event,
    ) -> None:
        most, stall = fault.up if up else fault.down, fault.stall
        with contextlib.suppress(OSError):
            while content := source.recv(4096):
                if up and fault.mute is not None and fault.mute in content:
                    muted.set()
                if not up and muted.is_set():
                    continue
                if most is not None and len(content) >= most:
                    sink.sendall(content[:most])
                    if stall:
                        return
                    break
                sink.sendall(content)
                most = None if most is None else most - len(content)
        reset(source)
        reset(sink)

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._open:
            reset(self._open.pop())

    def mend(self) -> None:
        """Take connections again."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start()


def reset(one: socket.socket) -> None:
    """Close a connection at once, so that what is under way is lost."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        one.close()


@contextlib.contextmanager
def wired(lab: Lab) -> Iterator[Wire]:
    """Yield a wire to a lab."""
    wire = Wire(lab.port)
    yield wire
    with contextlib.suppress(OSError):
        wire.cut()


def told(call: Callable[[], object]) -> str:
    """Return the one line with which a call is refused."""
    with pytest.raises(UserError) as error:
        call()
    (line,) = str(error.value).splitlines()
    return line
