"""A tiny search that all who compare with it share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gates import Gates, gates
from tests.tuner.searches import (
    TINY,
    TRIALS,
    command,
    finish,
)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny configuration; packed data are cached in it."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "tiny.yaml").write_text(TINY)
    return folder


@pytest.fixture
def closable() -> Iterator[Gates]:
    """Return the gates of what `begun` starts: a test's own, as killed searches leave workers."""
    with gates() as made:
        yield made


@pytest.fixture(scope="session")
def undisturbed(shared: Path) -> Path:
    """Return the folder of a search with one trial at a time, left alone."""
    runs = shared / "undisturbed"
    finish(command(shared, runs, "--name", "it", "--trials", TRIALS, "--concurrency", "1"))
    return runs / "it"
