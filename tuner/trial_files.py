"""Where a trial's own files lie, and how they go: state, best weights, error text."""

from __future__ import annotations

import contextlib
from pathlib import Path


def trial_folder(run_folder: Path, number: int) -> Path:
    """Return the folder of a trial's state, weights and error text."""
    return run_folder / "trials" / f"{number:05d}"


def remove_state(folder: Path) -> None:
    """Delete a trial's state, also what a kill left of writing it."""
    for path in folder.glob("state*.pt*"):
        path.unlink(missing_ok=True)


def remove_weights(folder: Path) -> None:
    """Delete a trial's best weights."""
    for path in folder.glob("best.pt*"):
        path.unlink(missing_ok=True)


def write_error(folder: Path, error: str) -> None:
    """Append the text of a failure to the trial's `error.txt`."""
    with contextlib.suppress(OSError):  # the disk may be full, which the text then says
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "error.txt").open("a", encoding="utf-8") as file:
            file.write(error.rstrip() + "\n\n")
