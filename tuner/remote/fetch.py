"""Bring a job's folder here: as a run of its own, whole or not at all."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from search_spaces.model import UserError
from tuner.remote.archive import unpack
from tuner.remote.client import Client, Refused
from tuner.whole_file import write_whole

MARK = "fetched.json"
"""Says from where a folder was fetched, and so that it may be replaced by fetching again."""
UNFINISHED = ".fetching"
"""Where a folder grows, out of the way of what lists runs."""
REPORT = "report.html"


def check_free(folder: Path, url: str, job: str) -> None:
    """Refuse a folder that holds anything but what was fetched of the same job before.

    Raises
    ------
    UserError
    """
    if not folder.exists():
        return
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        same = (mark["server"], mark["job"]) == (url, job)
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise UserError(
            f"{folder} exists and was not fetched from there; choose another folder with -o."
        )


def fetch(client: Client, job: str, folder: Path) -> str | None:
    """Fetch a job's record, report, curves and errors into a folder.

    Returns
    -------
    str or None
        Why the server made no report, if it made none.

    Raises
    ------
    UserError
        If the folder is taken, the disk is full, or what comes is no run; what was there stays.
    """
    growing = folder.parent / UNFINISHED
    archive, fresh, old = (growing / f"{folder.name}.{end}" for end in ("tar.gz", "new", "old"))
    try:
        if old.exists() and not folder.exists():  # killed between the two steps of `_replace`
            old.rename(folder)
        check_free(folder, client.target.url, job)
        growing.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        client.archive(job, archive)
        unpack(archive, job, fresh)
        if not any((fresh / name).is_file() for name in ("record.db", "study.json")):
            raise UserError(f"What {client.target.name} sent of {job} holds no run.")
        why = None
        try:
            write_whole(fresh / REPORT, client.report(job))
        except Refused as error:  # the record is there nevertheless
            why = str(error)
        mark = {"server": client.target.url, "job": job, "fetched_at": time.time()}
        write_whole(fresh / MARK, json.dumps(mark).encode() + b"\n")
        _replace(folder, fresh, old)
        return why
    except OSError as error:
        raise UserError(f"Cannot write {folder}: {error.strerror}.") from error
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(fresh, ignore_errors=True)
        if growing.is_dir() and not any(growing.iterdir()):
            growing.rmdir()


def _replace(folder: Path, fresh: Path, old: Path) -> None:
    """Put one folder in another's place; if that fails, what was there is there still."""
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
