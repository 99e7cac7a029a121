"""Where a trial's own files lie, and the text of its failures."""

from __future__ import annotations

import contextlib
from pathlib import Path


def trial_folder(run_folder: Path, number: int) -> Path:
    """Return the folder of a trial's state, weights and error text."""
    return run_folder / "trials" / f"{number:05d}"


def write_error(folder: Path, error: str) -> None:
    """Append the text of a failure to the trial's `error.txt`."""
    with contextlib.suppress(OSError):  # the disk may be full, which the text then says
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "error.txt").open("a", encoding="utf-8") as file:
            file.write(error.rstrip() + "\n\n")
