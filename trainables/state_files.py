"""Names of a trial's files, and how they are written to the disk and removed; torch-free."""

from __future__ import annotations

import os
from pathlib import Path

STATE, PREVIOUS, BEST = "state.pt", "state.previous.pt", "best.pt"


def durable(path: Path, content: bytes) -> Path:
    """Write `content` beside `path`, to the disk and not just to its cache; return where."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def sync_folder(folder: Path) -> None:
    """Put renames and links on the disk; they are entries of the folder, not of the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_state(folder: Path) -> None:
    """Delete a trial's state, the reserve and what a kill left of writing it; weights stay."""
    for path in folder.glob("state*.pt*"):
        path.unlink(missing_ok=True)


def remove_weights(folder: Path) -> None:
    """Delete a trial's best weights."""
    for path in folder.glob("best.pt*"):
        path.unlink(missing_ok=True)
