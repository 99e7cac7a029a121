"""What an account that may only open the tunnel can do, as the real sshd has it.

The tests' copy of the file names the group of whoever runs them, and a port that is free.
"""

from __future__ import annotations

import contextlib
import grp
import http.server
import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_units import DEPLOY
from tuner.cli.serve import PORT

DROP_IN = DEPLOY / "ssh" / "tuner-users.conf"
SSHD = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
WAIT_S = 60.0
pytestmark = [
    pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="needs OpenSSH"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sshd changes users"),
]
ME = pwd.getpwuid(os.geteuid()).pw_name
GROUP = grp.getgrgid(os.getegid()).gr_name


@pytest.fixture(autouse=True)
def separation() -> Iterator[None]:
    """Have the folder without which sshd does not start, which its service makes."""
    folder = Path("/run/sshd")
    made = not folder.exists()
    folder.mkdir(mode=0o755, exist_ok=True)
    yield
    if made:
        folder.rmdir()


def configuration(folder: Path, port: int = PORT, more: str = "") -> Path:
    """Write what Debian's and Ubuntu's sshd_config has, and the file; return where."""
    drop_ins = folder / "sshd_config.d"
    drop_ins.mkdir()
    text = DROP_IN.read_text().replace("Group tuner-users", f"Group {GROUP}")
    (drop_ins / DROP_IN.name).write_text(text.replace(f":{PORT}", f":{port}"))
    for name in ("host", "own"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)
    config = folder / "sshd_config"
    config.write_text(
        f"Include {drop_ins}/*.conf\nHostKey {folder}/host\nUsePAM no\nStrictModes no\n"
        f"PasswordAuthentication no\nAuthorizedKeysFile {folder}/own.pub\nPidFile none\n"
        f"X11Forwarding yes\nAllowTcpForwarding yes\nSubsystem sftp internal-sftp\n{more}"
    )
    return config


def settings(config: Path, user: str) -> set[str]:
    """Return the lines that sshd would go by for a user who connects."""
    done = subprocess.run(
        [str(SSHD), "-T", "-f", config, "-C", f"user={user},host=laptop,addr=192.0.2.7"],
        capture_output=True, text=True, check=True, timeout=WAIT_S,
    )  # fmt: skip
    return set(done.stdout.splitlines())


def test_members_of_the_group_are_bound_and_others_are_as_before(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    bound = {
        "allowtcpforwarding local", f"permitopen 127.0.0.1:{PORT}", "permitlisten none",
        "allowstreamlocalforwarding no", "allowagentforwarding no", "x11forwarding no",
        "permittunnel no", "permittty no", "permituserrc no", "forcecommand /usr/sbin/nologin",
    }  # fmt: skip
    assert bound <= settings(config, ME)
    free = settings(config, "nobody")
    assert {"allowtcpforwarding yes", "x11forwarding yes", "forcecommand none"} <= free
    assert not bound & free - {"permittunnel no"}  # which is no by itself


def test_the_groups_name_is_one_that_the_installer_makes() -> None:
    (line,) = [line for line in DROP_IN.read_text().splitlines() if line.startswith("Match")]
    made = (DEPLOY / "systemd" / "tuner.sysusers.conf").read_text().splitlines()
    assert f"g {line.split()[-1]} -" in made


class Server(http.server.BaseHTTPRequestHandler):
    """Stands for the service."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether somebody takes connections at a port."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S).close()
        return True
    return False


def wait(until: Callable[[], object]) -> None:
    """Wait until something is so."""
    ended = time.monotonic() + WAIT_S
    while not until():
        assert time.monotonic() < ended
        time.sleep(0.05)


@contextlib.contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that runs meanwhile."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def asked(port: int) -> bytes:
    """Return what a web server answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=WAIT_S) as answer:
        return bytes(answer.read())


def test_the_tunnel_opens_and_nothing_else_does(tmp_path: Path) -> None:
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) for _ in range(2)]
    for one in servers:
        threading.Thread(target=one.serve_forever, daemon=True).start()
    service, other = (one.server_address[1] for one in servers)
    config, port = configuration(tmp_path, service, "PermitRootLogin yes\n"), free_port()

    def ssh(*words: str) -> list[str]:
        return [
            "ssh", "-F", "none", "-p", str(port), "-i", str(tmp_path / "own"), "-l", ME,
            "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path / 'known'}",
            "-o", "ExitOnForwardFailure=yes", "-o", "BatchMode=yes", *words,
        ]  # fmt: skip

    with running(str(SSHD), "-D", "-e", "-f", config, "-p", str(port)):
        wait(lambda: listens(port))
        here, there = free_port(), free_port()
        tunnels = ["-L", f"{here}:127.0.0.1:{service}", "-L", f"{there}:127.0.0.1:{other}"]
        with running(*ssh("-N", *tunnels, "127.0.0.1")):
            wait(lambda: listens(here) and listens(there))
            assert asked(here) == b"ok"
            with pytest.raises(OSError, match=r"closed|reset"):
                asked(there)
        told = {"capture_output": True, "text": True, "timeout": WAIT_S, "check": False}
        command = subprocess.run(ssh("127.0.0.1", "id"), **told)
        assert command.returncode != 0 and "uid=" not in command.stdout
        back = subprocess.run(ssh("-N", "-R", f"0:127.0.0.1:{other}", "127.0.0.1"), **told)
        assert back.returncode != 0 and "forwarding failed" in back.stderr
    for one in servers:
        one.shutdown()
        one.server_close()
