"""A service and a wire to it, with nothing that waits for long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuner.remote.lab import Lab, Wire, wired
from tuner.remote import client, connection


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for long."""
    for name, seconds in (
        ("FIRST_PAUSE_S", 0.01), ("FIRST_PATIENCE_S", 0.1), ("PATIENCE_S", 60.0),
        ("TOLD_AFTER_S", 0.03),
    ):  # fmt: skip
        monkeypatch.setattr(connection, name, seconds)
    monkeypatch.setattr(client, "POLL_S", 0.02)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("lab"))
    yield found
    found.close()


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    with wired(lab) as found:
        yield found


@pytest.fixture
def home(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder to work in, of a user whose only server is the lab."""
    config = tmp_path / "config"
    config.mkdir()
    monkeypatch.setenv("TUNER_SERVERS", str(lab.configure(config)))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TUNER_TOKEN_FILE", raising=False)
    for module, name in (
        (connection, "FIRST_PATIENCE_S"), (connection, "FIRST_PAUSE_S"), (client, "POLL_S"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 0.02)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work
