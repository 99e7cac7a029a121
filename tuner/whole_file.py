"""Write a file as a whole: whoever reads it under its name never finds half of it."""

from __future__ import annotations

import os
from pathlib import Path

from search_spaces.model import UserError


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path`, down to the disk, and move it there.

    A link is followed; what is no file, such as /dev/stdout or a pipe, is written into.

    Raises
    ------
    UserError
        If that fails; then what was there before is there still, and nothing else is.
    """
    if path.exists() and not path.is_file():
        try:
            path.write_bytes(content)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}.") from error
        return
    place = Path(os.path.realpath(path))
    unfinished = unfinished_path(place)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(place)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def check_place(path: Path) -> None:
    """Refuse a place where no file can be written, before work is done to fill one.

    Raises
    ------
    UserError
    """
    if path.is_dir():
        raise UserError(f"Cannot write {path}: that is a folder; name a file in it.")
    if path.exists() and not path.is_file():
        return
    if not path.parent.is_dir():
        raise UserError(f"Cannot write {path}: there is no folder {path.parent}; make it first.")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"Cannot write {path}: the folder {path.parent} may not be written to.")


def unfinished_path(path: Path) -> Path:
    """Return where the file lies until it is whole, and what a killed process leaves behind."""
    return path.with_name(f".{path.name}.unfinished")
