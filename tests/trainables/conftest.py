"""Fixtures that several tests of a trial share."""

from __future__ import annotations

import pytest

from tests.trainables.tiny import write_tiny_data
from trainables.data.packed import PackedData


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedData:
    """Three classes of 16-pixel gray images: 34 for training, 24 each to validate and test."""
    return write_tiny_data(tmp_path_factory.mktemp("data") / "tiny")
