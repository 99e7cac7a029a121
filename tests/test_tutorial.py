"""docs/tutorial.md, done as a reader would: its files are written, its commands run, in order.

A line of the tutorial that is printed here must come in that order in what a command prints; in it
`…` stands for anything, and a line that is `…` alone for any lines, also for none.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TUTORIAL = Path(__file__).resolve().parents[1] / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
FILE = re.compile(r"`([\w.]+\.yaml)`:$")
MISTAKES = "## 7."
"""Below this heading commands fail, on purpose."""


class Step(NamedTuple):
    """A file to write, or a command to run."""

    file: str | None
    command: list[str]
    text: str
    """The file's content, or what is printed."""
    fails: bool


def steps(text: str) -> Iterator[Step]:
    """Yield what a reader of the tutorial would do."""
    mistakes = text.index(MISTAKES)
    for block in BLOCK.finditer(text):
        if block["kind"] == "yaml":
            named = FILE.search(block["before"])
            assert named is not None, f"which file is this? {block['before']}"
            yield Step(named[1], [], block["text"], False)
            continue
        assert block["kind"] == "console"
        for part in block["text"].removeprefix("$ ").split("\n$ "):
            command, _, printed = part.partition("\n")
            yield Step(None, shlex.split(command), printed, block.start() > mistakes)


def pattern(printed: str) -> re.Pattern[str]:
    """Return what matches all of a command's output."""
    found = ""
    for line in printed.splitlines():
        found += "(.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n"
    return re.compile(found)


@pytest.mark.slow
def test_every_command_prints_what_the_tutorial_says(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "COLUMNS": "80",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(TUTORIAL.parents[1]),
    }
    done = list(steps(TUTORIAL.read_text(encoding="utf-8")))
    assert len(done) > 15
    for step in done:
        if step.file is not None:
            (tmp_path / step.file).write_text(step.text, encoding="utf-8")
            continue
        assert step.command[0] == "tuner"
        result = subprocess.run(
            [sys.executable, "-m", *step.command], cwd=tmp_path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=560,
        )  # fmt: skip
        told = f"$ {shlex.join(step.command)}\n{result.stdout}"
        assert (result.returncode != 0) == step.fails, told
        assert pattern(step.text).fullmatch(result.stdout), f"{told}\nbut expected\n{step.text}"
        if step.fails:
            assert result.stdout.count("\n") == 1, told


def test_a_tutorial_that_says_otherwise_would_fail() -> None:
    assert pattern("a …\n…\nz\n").fullmatch("a 1\nb\nc\nz\n")
    assert pattern("a …\n…\nz\n").fullmatch("a 1\nz\n")
    assert not pattern("a …\nz\n").fullmatch("a 1\nb\nz\n")
    assert not pattern("z\n").fullmatch("z\nz\n")
