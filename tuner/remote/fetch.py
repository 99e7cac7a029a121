"""Bring a job's folder here: as a run of its own, whole or not at all.

Fetching again replaces what was fetched and nothing else: a file that somebody added stays, and one
that somebody changed is never overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search_spaces.model import UserError
from trainables.state_files import digest_of_file
from tuner.fetched import MARK, mark_of
from tuner.record_file import FILE as RECORD
from tuner.remote.archive import unpack
from tuner.remote.client import Client
from tuner.remote.connection import Refused
from tuner.remote.keys import locked, state_folder
from tuner.whole_file import write_whole

UNFINISHED = ".fetching"
"""Where a folder grows, out of the way of what lists runs."""
REPORT = "report.html"
INDEX, LOG = f"{RECORD}-shm", f"{RECORD}-wal"
"""What SQLite makes beside a record that is read; there is something in its log only if somebody
wrote, and it goes with that record alone."""


def fetch(client: Client, job: str, folder: Path) -> str | None:
    """Fetch a job's record, report, curves and errors into a folder.

    Returns
    -------
    str or None
        Why the server made no report, if it made none.

    Raises
    ------
    UserError
        If the folder is taken, another process fetches into it, the disk is full, or what comes is
        no run; what was there stays.
    """
    with _alone(folder):
        return _fetch(client, job, folder)


def _fetch(client: Client, job: str, folder: Path) -> str | None:
    growing = folder.parent / UNFINISHED
    archive, fresh, old = (growing / f"{folder.name}.{end}" for end in ("tar.gz", "new", "old"))
    try:
        if old.exists() and not folder.exists():  # killed between the steps of `_replace`
            old.rename(folder)
        check_free(folder, client.target.url, job)
        growing.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists():
            _bring_over(old, folder)
            shutil.rmtree(old)
        client.archive(job, archive)
        unpack(archive, job, fresh)
        if not any((fresh / name).is_file() for name in (RECORD, "study.json")):
            raise UserError(f"What {client.target.name} sent of {job} holds no run.")
        why = None
        try:
            write_whole(fresh / REPORT, client.report(job))
        except Refused as error:  # the record is there nevertheless
            why = str(error)
        mark = {
            "server": client.target.url,
            "called": client.target.name,
            "job": job,
            "fetched_at": time.time(),
            "files": {str(path): _digest(fresh / path) for path in _files(fresh)},
        }
        write_whole(fresh / MARK, json.dumps(mark).encode() + b"\n")
        _replace(folder, fresh, old)
        return why
    except OSError as error:
        raise UserError(f"Cannot write {folder}: {error.strerror}.") from error
    finally:
        if growing.is_dir():
            archive.unlink(missing_ok=True)
            shutil.rmtree(fresh, ignore_errors=True)
            if not any(growing.iterdir()):
                growing.rmdir()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse to fetch into a folder twice at once."""
    path = state_folder() / "fetches" / hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()
    try:
        descriptor = locked(path, wait=False)
    except BlockingIOError as error:
        raise UserError(f"Another process fetches into {folder}; wait for it.") from error
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
    with os.fdopen(descriptor):  # which ends the lock
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def check_free(folder: Path, url: str, job: str) -> None:
    """Refuse a folder that holds anything but what was fetched of the same job before.

    Raises
    ------
    UserError
    """
    if not folder.exists():
        return
    mark = mark_of(folder) or {}
    if (mark.get("server"), mark.get("job")) != (url, job):
        such = f", such as {folder / job}" if folder.is_dir() else ""
        raise UserError(
            f"{folder} exists and was not fetched from there; choose another folder with -o{such}."
        )


def _replace(folder: Path, fresh: Path, old: Path) -> None:
    """Put one folder in another's place; if that fails, what was there is there still."""
    if not folder.exists():
        fresh.rename(folder)
        return
    for path in _own(folder):
        if (fresh / path).exists() or path.name == LOG:
            raise UserError(
                f"{folder / path} has changed since it was fetched, or was not fetched, and would"
                " be overwritten: move it away, or choose another folder with -o."
            )
    folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    _bring_over(old, folder)
    old.rename(fresh)  # to be deleted; half deleted as `old`, it could not be told what was added


def _bring_over(old: Path, folder: Path) -> None:
    """Move what was not fetched from a folder that was replaced into the new one."""
    for path in _own(old):
        target = folder / path
        if os.path.lexists(target):
            raise UserError(f"{old / path} was left by a fetch that was killed: move it away.")
        target.parent.mkdir(parents=True, exist_ok=True)
        (old / path).rename(target)


def _own(folder: Path) -> list[Path]:
    """Return the files of a fetched folder that were not fetched, or have changed since."""
    fetched = (mark_of(folder) or {}).get("files", {})
    return [path for path in _files(folder) if not _is_fetched(folder / path, str(path), fetched)]


def _is_fetched(file: Path, name: str, fetched: dict[str, str]) -> bool:
    if name == MARK or file.name == INDEX or (file.name == LOG and not file.stat().st_size):
        return True
    return name in fetched and fetched[name] == _digest(file)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all that is no folder, relative to this one; what a link leads to is not looked at."""
    for place, folders, files in os.walk(folder):
        linked = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*files, *linked]):
            yield (Path(place) / name).relative_to(folder)


def _digest(file: Path) -> str | None:
    """Return SHA-256 of a regular file's content; None of anything else."""
    if file.is_symlink() or not file.is_file():
        return None
    return digest_of_file(file)
