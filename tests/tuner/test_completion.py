"""Tab in real shells: commands, runs, spaces, presets, servers, jobs, without heavy imports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from search_spaces.space import known_spaces
from tests.tuner.made_runs import make_run
from tests.tuner.test_cli import ROOT, tuner
from tuner.cli import COMMANDS
from tuner.cli.data import DataCommand
from tuner.record_file import FILE
from tuner.spec import known_presets
from tuner.study.spec import FILE as STUDY

SERVERS = """
[lab]
url = "http://127.0.0.1:8642"
token_file = "t"
[other]
url = "https://h"
token_file = "t"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with runs, a study and servers, and a `tuner` to be found in bin/."""
    make_run(tmp_path / "runs" / "night-1", [])
    make_run(tmp_path / "runs" / "night-2", [])
    make_run(tmp_path / "elsewhere" / "day", [])
    (tmp_path / "runs" / "ours").mkdir()
    (tmp_path / "runs" / "ours" / STUDY).write_text("{}")
    (tmp_path / "servers.toml").write_text(SERVERS)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "tuner"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tuner "$@"\n')
    program.chmod(0o755)
    return tmp_path


def asked(home: Path, *command: str) -> str:
    """Return what a program prints there."""
    done = subprocess.run(
        command, cwd=home, capture_output=True, text=True, check=False,
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "TUNER_SERVERS": str(home / "servers.toml"),
            "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_bash(home: Path, line: str) -> list[str]:
    """Return what bash offers at the end of a line, by the function that it calls at Tab."""
    words = line.split(" ")
    script = (
        'eval "$(tuner completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        ' _tuner_completion tuner "${COMP_WORDS[COMP_CWORD]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return asked(home, "bash", "--norc", "-c", script, "bash", *words).split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tuner res", ["resume"]),
        ("tuner ", sorted(COMMANDS)),
        ("tuner resume ", ["night-1", "night-2"]),
        ("tuner export night-1 ni", ["night-1", "night-2"]),
        ("tuner status --runs elsewhere ", ["day"]),
        ("tuner report o", ["ours"]),
        ("tuner show night", ["night-1", "night-2"]),
        ("tuner run --space ", list(known_spaces())),
        ("tuner submit --space periodic_T --preset ", sorted(known_presets())),
        ("tuner study q", ["quick"]),
        ("tuner jobs --server ", ["lab", "other"]),
        ("tuner stop --n", ["--now"]),
        ("tuner user re", ["revoke"]),
        ("tuner data ", sorted(DataCommand.commands)),
        ("tuner data pu", ["push"]),
    ],
)
def test_bash_offers_what_may_come_next(home: Path, line: str, offered: list[str]) -> None:
    assert in_bash(home, line) == offered


class _Jobs(BaseHTTPRequestHandler):
    """A server with two jobs, for whoever has the token."""

    answer = json.dumps([{"id": "night-9"}, {"id": "day-1"}]).encode()

    def do_GET(self) -> None:
        known = (
            self.headers["Authorization"] == "Bearer secret-token" and self.path == "/api/v1/jobs"
        )
        self.send_response(200 if known else 401)
        self.end_headers()
        if known and self.answer:
            self.wfile.write(self.answer)
        elif known:
            time.sleep(20)

    def log_message(self, *_: object) -> None:
        """Be silent."""


def test_bash_offers_the_jobs_of_the_server_that_the_line_means(home: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Jobs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (home / "t").write_text("secret-token")
        (home / "t").chmod(0o600)
        here = f"http://127.0.0.1:{server.server_port}"
        (home / "servers.toml").write_text(
            SERVERS.replace('"http://127.0.0.1:8642"', f'"{here}"\ndefault = true')
        )
        for command in ("logs", "stop", "pause", "fetch", "jobs"):
            assert in_bash(home, f"tuner {command} ") == ["day-1", "night-9"]
        assert in_bash(home, "tuner fetch --server lab ni") == ["night-9"]
        for strange in (
            b"<html>",
            b"null",
            b"{}",
            b'[1, {"id": 3}, {"id": "a b"}]',
            b"\xff",
            b"[" * 9999,
        ):
            _Jobs.answer = strange
            assert in_bash(home, "tuner fetch ") == []
        _Jobs.answer = b""  # and no end of it
        began = time.monotonic()
        assert in_bash(home, "tuner fetch ") == []
        assert time.monotonic() - began < 10
        (home / "t").write_text("wrong-token")
        assert in_bash(home, "tuner fetch ") == []
        server.shutdown()
    began = time.monotonic()
    assert in_bash(home, "tuner fetch ") == []  # nobody listens there any more
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_the_script_and_get_the_same_names(home: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    if shell == "fish":
        script = "tuner completion fish | source; complete -C 'tuner resume ni'"
        assert asked(home, "fish", "--no-config", "-c", script).split() == ["night-1", "night-2"]
        return
    script = (
        'autoload -Uz compinit; compinit -D; eval "$(tuner completion zsh)"; print $_comps[tuner]'
    )
    assert asked(home, "zsh", "-f", "-c", script).strip() == "_tuner_completion"


@pytest.mark.parametrize("line", ["tuner re", "tuner run --space pe", "tuner resume n"])
def test_names_are_offered_without_the_import_of_any_command(home: Path, line: str) -> None:
    """A press of Tab is to be answered in 0.2 s: click alone takes half of that."""
    words = line.split(" ")
    code = (
        "import os, sys\n"
        f"os.environ.update(_TUNER_COMPLETE='bash_complete', COMP_WORDS={line!r},"
        f" COMP_CWORD='{len(words) - 1}')\n"
        "import tuner.cli\n"
        "try: tuner.cli.main()\n"
        "except SystemExit: print(*sys.modules)\n"
    )
    imported = set(asked(home, sys.executable, "-c", code).split())
    assert "tuner.cli.completing" in imported
    heavy = {"torch", "ray", "optuna", "numpy", "pydantic", "sqlite3", "tuner.cli.search"}
    assert not imported & heavy


def test_files_by_which_runs_are_known_are_those_that_are_written() -> None:
    text = (ROOT / "tuner" / "cli" / "completing.py").read_text()
    assert f'"{FILE}"' in text and f'"{STUDY}"' in text


def test_an_unknown_shell_is_refused() -> None:
    result = tuner("completion", "tcsh")
    assert result.exit_code == 2 and "bash" in result.stderr
