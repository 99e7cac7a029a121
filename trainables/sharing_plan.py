"""What a worker must know to share a trunk: plain data that travels to it; torch-free."""

from __future__ import annotations

from typing import TypedDict


class TrunkPlan(TypedDict):
    """Where a trial finds its trunk, and what it publishes."""

    folder: str
    """The store's, absolute."""
    limit_bytes: int
    """What the store may take."""
    forks: list[int]
    """Epochs after which other trials of the search continue otherwise than this one."""
    ends: bool
    """Whether somebody may continue, or repeat, a trial that has ended."""
