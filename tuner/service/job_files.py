"""The files in a job's folder, by which the service and the job's process speak to each other.

request.json
    What the process is to do. Removed when the attempt is given up, so that a process which starts
    later, as Ray's answer was lost, finds nothing to do.
lock
    Locked by the process from its very start until the kernel has seen its end; says whose it is.
now
    Holds the name of the process that is to stop amid its epochs.
outcome.json
    How a process ended, in its own words.
log.txt
    What the processes printed, one after the other.
reserve
    Given up for outcome.json, so that a full disk can be told of.

Whatever belongs to one attempt says so by its submission, Ray's name of it, which holds the job,
the attempt and the tag of the database: a folder that another database's job had tells nothing of
this one's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple

from search_spaces.model import UserError
from tuner.service.models import Outcome
from tuner.whole_file import write_whole

REQUEST, OUTCOME, LOG, NOW = "request.json", "outcome.json", "log.txt", "now"
RESERVE, LOCK = "reserve", "lock"


class Holder(NamedTuple):
    """A job's process, as it wrote itself into the lock's file."""

    submission: str
    pid: int
    gpus: tuple[str, ...]
    """What Ray calls the GPUs that it gave it."""


def lock(folder: Path, me: Holder) -> int | None:
    """Return a descriptor that holds the lock until it is closed; None if a living process has it.

    Nobody closes it in a job's process: the kernel does, when all of the process is gone.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):  # a full disk; then it is not known which GPUs it has
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me._asdict()).encode(), 0)
    return descriptor


def living(folder: Path) -> Holder | None:
    """Return the process that has the lock; None if it is free. It may not have named itself."""
    try:
        with (folder / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return latest(folder) or Holder("", 0, ())
    except FileNotFoundError:
        pass
    return None


def latest(folder: Path) -> Holder | None:
    """Return the latest process that had the lock, whether it lives or not; None if unknown."""
    try:
        told = json.loads((folder / LOCK).read_bytes())
        return Holder(str(told["submission"]), int(told["pid"]), tuple(map(str, told["gpus"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def outcome_of(folder: Path, submission: str) -> Outcome | None:
    """Return how an attempt ended, if its process said so."""
    try:
        outcome = Outcome.model_validate_json((folder / OUTCOME).read_bytes())
    except (OSError, ValueError):
        return None
    return outcome if outcome.submission == submission else None


def stop_now(folder: Path, submission: str) -> None:
    """Let a process stop amid its epochs.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    if not is_to_stop_now(folder, submission):
        write_whole(folder / NOW, submission.encode())


def is_to_stop_now(folder: Path, submission: str) -> bool:
    """Return whether a process is to stop amid its epochs."""
    try:
        return (folder / NOW).read_text() == submission
    except (OSError, ValueError):  # it is not there
        return False


def take_back(folder: Path) -> None:
    """Take back what the latest attempt is to do: a process that has not read it finds nothing.

    Raises
    ------
    UserError
        If that fails.
    """
    try:
        (folder / REQUEST).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"Cannot remove {folder / REQUEST}: {error.strerror}.") from error
