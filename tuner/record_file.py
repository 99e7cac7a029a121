"""The file behind a record: made whole or not at all, one writer, checked when it is opened.

The writer holds a lock on RUN/record.lock that the kernel releases when the process ends, however
it ends; a lock file that was left behind therefore locks nobody out.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NoReturn
from urllib.parse import quote

from search_spaces.model import UserError
from trainables.state_files import sync_folder
from tuner.fetched import refuse_fetched
from tuner.record_schema import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    TABLES,
    columns_of,
    create_statements,
)

FILE = "record.db"
LOCK_FILE = "record.lock"
BUSY_MS = 30_000
"""How long a statement waits for another program's lock; readers never hold one for long."""
LOCK_WAIT_S = 0.5
"""`writer` holds the lock for microseconds while it asks; a driver that starts then tries again."""


class RecordFull(UserError):  # noqa: N818 - it tells a state of the disk
    """The record cannot grow. What was recorded before is kept."""


def record_folders(folder: Path) -> list[Path]:
    """Return the folders of the records that a run's or a study's folder holds: one, or several."""
    if (folder / FILE).is_file():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{FILE}"))


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 where the error is the Python module's own."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def reraise(error: sqlite3.Error, folder: Path) -> NoReturn:
    """Raise the one line for a user where SQLite's error is not our mistake, else the error."""
    code = primary_code(error)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        raise RecordFull(
            f"Cannot write the record in {folder}: {error}. Everything recorded before is kept;"
            f" free space there, then continue with: tuner resume {folder.name}"
        ) from error
    if code == sqlite3.SQLITE_BUSY:
        raise UserError(
            f"{folder / FILE} has been locked by another program for {BUSY_MS // 1000} s; close it"
            f" there, then continue with: tuner resume {folder.name}"
        ) from error
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        raise _damaged(folder, str(error)) from error
    raise error


def create_file(folder: Path, fill: Callable[[sqlite3.Connection], None]) -> None:
    """Make the record's file in one step: after a kill it is either absent or complete.

    Raises
    ------
    UserError
        If there is one already.
    """
    path, unfinished = folder / FILE, folder / f"{FILE}.new"
    if path.exists():
        raise UserError(
            f"{folder} already holds a run; choose another name, or: tuner resume {folder.name}"
        )
    for leftover in folder.glob(f"{FILE}.new*"):
        leftover.unlink()
    connection = sqlite3.connect(unfinished, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN")
        for statement in create_statements():
            connection.execute(statement)
        fill(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise UserError(f"Cannot make a record in {folder}: {error}.") from error
    finally:
        connection.close()  # moves the log into the file and removes it
    unfinished.rename(path)
    sync_folder(folder)


def must_exist(folder: Path) -> None:
    """Raise `UserError` if the folder holds no record."""
    if not (folder / FILE).is_file():
        lack = f"it holds no {FILE}" if folder.is_dir() else "there is no such folder"
        raise UserError(f"No run in {folder}: {lack}.")


def open_file(folder: Path, write: bool) -> sqlite3.Connection:
    """Return a checked connection to an existing record.

    Raises
    ------
    UserError
        If there is none, or it is damaged, of another program, or of a newer version.
    """
    must_exist(folder)
    try:
        if write:
            return _checked(_connected(folder / FILE, "mode=rw"), folder, thorough=True)
        return _opened_to_read(folder)
    except sqlite3.Error as error:
        reraise(error, folder)


def _opened_to_read(folder: Path) -> sqlite3.Connection:
    path = folder / FILE
    try:
        return _checked(_connected(path, "mode=ro"), folder)
    except sqlite3.OperationalError as error:
        if primary_code(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        if not os.access(path, os.R_OK):
            raise UserError(f"Cannot read {path}: permission denied.") from error
        log = folder / f"{FILE}-wal"
        if log.exists() and log.stat().st_size > 0:
            raise UserError(
                f"{path} was not closed, and its log cannot be replayed in a folder that you may"
                " not write to; copy the folder, and read the copy."
            ) from error
        # No log, and none can be made: nobody writes, so the file may be read as it lies.
        return _checked(_connected(path, "mode=ro&immutable=1"), folder)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1000)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _checked(
    connection: sqlite3.Connection, folder: Path, thorough: bool = False
) -> sqlite3.Connection:
    """Return the connection if it leads to a record that this version reads; else close it."""
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise _damaged(folder, "not written by tuner, or never finished")
        if version > SCHEMA_VERSION:
            raise UserError(
                f"{folder / FILE} was written by a newer version (schema {version}, this one reads"
                f" up to {SCHEMA_VERSION}): upgrade tuner."
            )
        for table in TABLES:
            found = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
            missing = [name for name in columns_of(table) if name not in found]
            if missing:
                raise _damaged(folder, f"table {table} lacks {missing[0] if found else 'all'}")
        if connection.execute("SELECT 1 FROM run").fetchone() is None:
            raise _damaged(folder, "it describes no run")
        if thorough:  # before going on to write
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise _damaged(folder, verdict.splitlines()[-1])
    except BaseException:
        connection.close()
        raise
    return connection


def _damaged(folder: Path, why: str) -> UserError:
    return UserError(f"{folder / FILE} is damaged or no record ({why}); restore it from a copy.")


def lock_file(folder: Path) -> IO[str]:
    """Return the lock file, open and locked for this process until it is closed.

    Raises
    ------
    UserError
        If a living process holds it, the folder cannot be written, or is a copy of a server's run.
    """
    refuse_fetched(folder)
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"Cannot write in {folder}: {error.strerror}.") from error
    file = os.fdopen(descriptor, "r+")
    deadline = time.monotonic() + LOCK_WAIT_S
    while not _locked(file, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            other = _holder(file)
            file.close()
            raise UserError(f"Run {folder.name} is being written by {other}.")
        time.sleep(0.02)
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
    except OSError as error:
        file.close()
        raise UserError(f"Cannot write in {folder}: {error.strerror}.") from error
    return file


def writer(folder: Path) -> str | None:
    """Return who writes the record now, as `process 123 on host h`, or None if nobody does."""
    try:
        with (folder / LOCK_FILE).open() as file:
            return None if _locked(file, fcntl.LOCK_SH) else _holder(file)
    except FileNotFoundError:
        return None


def _locked(file: IO[str], kind: int) -> bool:
    # flock, not lockf: closing any other descriptor of the file would release a POSIX lock.
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[str]) -> str:
    try:
        holder = json.loads(file.read())
    except ValueError:  # the holder is just about to write its name
        return "another process"
    return f"process {holder['pid']} on host {holder['host']}"
