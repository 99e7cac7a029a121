"""What a run may be called, and where its folder lies; makes nothing."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from search_spaces.model import UserError
from tuner.fetched import refuse_fetched
from tuner.record_file import FILE
from tuner.spec import RunSpec

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_name(name: str) -> bool:
    """Return whether a text may name a run, a data set or a user."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return a run's name if it is one.

    Raises
    ------
    UserError
        If it holds anything but letters, digits, dot, dash and underscore.
    """
    if not is_name(name):
        raise UserError(
            "--name must be 1 to 100 letters, digits, dots, dashes or underscores and start with a"
            f" letter or digit, but got {name!r}. Choose the folder with --runs."
        )
    return name


def writable(folder: Path, flag: str = "--runs") -> Path:
    """Return a folder that a flag names, made or yet to make.

    Raises
    ------
    UserError
        If it is no folder, or cannot be written to.
    """
    folder = folder.resolve()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{flag} must be a folder, but {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):  # seen now rather than after data were packed
        raise UserError(f"{flag} must be a folder that can be written to, but {there} cannot.")
    return folder


def new_folder(runs: Path, name: str | None, spec: RunSpec) -> Path:
    """Return the folder of a new run, which does not exist yet."""
    runs = writable(runs)
    refuse_fetched(runs)
    if name is not None:
        folder = runs / check_name(name)
        if folder.exists() and not (folder / FILE).exists():
            raise UserError(
                f"{folder} exists, but holds no run; delete it or choose another --name."
            )
        if folder.exists():
            raise UserError(
                f"Run {name!r} exists in {runs}. Go on with it by `tuner resume {name}`,"
                " or choose another --name."
            )
        return folder
    first = runs / _own_name(spec)
    folder, count = first, 1
    while folder.exists():
        count += 1
        folder = runs / f"{first.name}-{count}"
    return folder


def told_twin(folder: Path, spec: RunSpec) -> str | None:
    """Return a note on the run of the same specification, if that took a new run's own name."""
    first = _own_name(spec)
    if folder.name == first or not (folder.parent / first / FILE).exists():
        return None
    return f"Note: run {first} has the same specification; `tuner show {first}` tells of it."


def _own_name(spec: RunSpec) -> str:
    return f"{spec.space.name}-{spec.digest[:8]}"


def clear_unbegun(folder: Path) -> None:
    """Remove what a run that was killed before it had a record left behind."""
    if folder.is_dir() and all(
        one.name == "spec.json" or one.name.startswith(f"{FILE}.new") for one in folder.iterdir()
    ):
        shutil.rmtree(folder)
