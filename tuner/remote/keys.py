"""Keep a request's key until its answer has come, so that saying it again does it once.

The key lies in a small file named after what is asked. A request that got an answer removes it; one
whose connection broke, or whose process was killed, leaves it for the next that asks the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.model import UserError
from trainables.config import canonical_json
from trainables.data.cache import user_folder


@dataclass
class Key:
    """The key of a submission or of a raise."""

    text: str
    answered: bool = False
    """To be set when the answer has come: the file then goes."""


def state_folder() -> Path:
    """Return `$XDG_STATE_HOME/tuner`, or `~/.local/state/tuner` (XDG base directories)."""
    return user_folder("XDG_STATE_HOME", ".local/state")


@contextmanager
def kept_key(what: dict[str, Any]) -> Iterator[Key]:
    """Yield a request's key; another process that asks the same waits meanwhile.

    Parameters
    ----------
    what : dict
        All that makes the request what it is, as plain JSON values.

    Raises
    ------
    UserError
        If the key cannot be kept.
    """
    name = hashlib.sha256(canonical_json(what).encode()).hexdigest()[:32]
    path = state_folder() / "keys" / name
    try:
        descriptor = locked(path)
    except OSError as error:
        raise UserError(
            f"Cannot keep the request's key in {path}: {error.strerror}; let XDG_STATE_HOME name a"
            " folder that can be written to."
        ) from error
    with os.fdopen(descriptor, "r+") as file:  # which ends the lock
        text = file.read().strip()
        key = Key(text or secrets.token_hex(16))
        if not text:
            file.write(key.text)
            file.flush()
            os.fsync(descriptor)
        yield key
        if key.answered:
            path.unlink()


def locked(path: Path, wait: bool = True) -> int:
    """Return a file, made if need be, open and locked; who has it may remove it and let it go.

    Raises
    ------
    OSError
        If it cannot be made; `BlockingIOError` if another has it, unless one waits.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            raise
        try:
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)
