"""The command line of the laptop's side, as its user types it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from tests.trainables.data.layouts import class_folders
from tuner.cli import cli
from tuner.remote.client import Client

DATA = class_folders(["cat", "dog", "eel"], 5, ["train", "val", "test"])


def tuner(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


def done(*arguments: object) -> str:
    """Return what a command line that must succeed prints on stdout."""
    result = tuner(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    """Return the one line that a wrong command line gets on stderr, with exit status 2."""
    result = tuner(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


def leave_at(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let a request reach the server, and the user press Ctrl-C before its answer comes."""
    sent = getattr(Client, method)

    def leave(self: object, *arguments: object) -> None:
        sent(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, method, leave)
