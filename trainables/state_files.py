"""Names of a trial's files, and how they are written to the disk and removed; torch-free.

State and best weights are two files, of which a kill may leave the one new and the other old. The
state is written last and names its weights by their SHA-256: until it lies on the disk, new weights
wait under a name of their own. So `best.pt` is never newer than the state beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from pathlib import Path

STATE, PREVIOUS, BEST = "state.pt", "state.previous.pt", "best.pt"
NEXT = f"{BEST}.next"
"""Best weights that wait for the state that goes with them."""


def beside(path: Path) -> Path:
    """Return where a file is written before it gets its name: another place for every writer."""
    return path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")


def durable(path: Path, content: bytes) -> Path:
    """Write `content` beside `path`, to the disk and not just to its cache; return where.

    Raises
    ------
    OSError
        If that fails; nothing is left then.
    """
    temporary = beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file, down to the disk: whoever reads `target` never finds half of it.

    Raises
    ------
    OSError
        If that fails; `target` is as it was then, and nothing else is left.
    """
    copy = beside(target)
    try:
        with source.open("rb") as reading, copy.open("wb") as writing:
            shutil.copyfileobj(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
        copy.replace(target)
    finally:
        copy.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Put renames and links on the disk; they are entries of the folder, not of the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle_best(folder: Path, digest: str | None) -> None:
    """Let the weights that wait be the best ones if a state names them; else remove them.

    Parameters
    ----------
    folder : Path
        The trial's.
    digest : str or None
        SHA-256 of the best weights of the state that lies there; None if it has none.
    """
    waiting = folder / NEXT
    with contextlib.suppress(FileNotFoundError):  # also where another writer was faster
        if digest_of_file(waiting) == digest:
            waiting.replace(folder / BEST)
            sync_folder(folder)
        else:
            waiting.unlink()


def digest_of_file(path: Path) -> str:
    """Return a file's SHA-256, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_state(folder: Path) -> None:
    """Delete a trial's state, the reserve and what a kill left of writing; weights stay."""
    for pattern in ("state*.pt*", f"{BEST}.*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def remove_weights(folder: Path) -> None:
    """Delete a trial's best weights."""
    for path in folder.glob(f"{BEST}*"):
        path.unlink(missing_ok=True)
