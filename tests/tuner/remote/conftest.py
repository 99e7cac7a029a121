"""A service and a wire to it, with nothing that waits for long."""

from __future__ import annotations

from collections.abc import Iterator

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
