"""Fixtures that several tests of a trial share."""

from __future__ import annotations

import pytest
import torch

from tests.trainables.tiny import write_tiny_data
from trainables.data.packed import PackedData

# As in every trial: a test that writes out a loop of its own must sum in the same order.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> PackedData:
    """Three classes of 16-pixel gray images: 34 for training, 24 each to validate and test."""
    return write_tiny_data(tmp_path_factory.mktemp("data") / "tiny")
