"""Open the service's database; all in which SQLite and PostgreSQL differ stands here."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Engine, create_engine, event, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from search_spaces.model import UserError
from tuner.record_file import primary_code
from tuner.service.tables import SCHEMA_VERSION, metadata, service

BUSY_MS = 30_000
"""How long a statement waits for another process's lock on an SQLite file."""
ADVISORY_LOCK = 0x74756E72
"""PostgreSQL's lock of the one supervisor: "tunr"."""


class StoreFull(UserError):  # noqa: N818 - it tells a state of the disk
    """The database cannot be written now, as the disk is full or fails. Nothing is lost."""


def opened(url: str) -> Engine:
    """Return the database at an SQLAlchemy URL, with its tables made if need be.

    Raises
    ------
    UserError
        If there is no such database, or it was written by a newer version.
    """
    try:
        file = _file(url)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, pool_size=16, pool_pre_ping=file is None)
    except (SQLAlchemyError, ImportError, OSError) as error:
        raise UserError(f"Cannot open the database {_shown(url)}: {_first(error)}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    try:
        with engine.begin() as connection:
            metadata.create_all(connection)
            version = connection.scalar(select(service.c.schema_version))
            if version is None:
                connection.execute(
                    insert(service).values(
                        id=1, tag=secrets.token_hex(4), schema_version=SCHEMA_VERSION, changes=0
                    )
                )
            elif version < SCHEMA_VERSION:  # tables are all that has been added since version 1
                connection.execute(update(service).values(schema_version=SCHEMA_VERSION))
    except SQLAlchemyError as error:
        engine.dispose()
        raise UserError(f"Cannot open the database {_shown(url)}: {_first(error)}") from error
    if version is not None and version > SCHEMA_VERSION:
        engine.dispose()
        raise UserError(
            f"The database {_shown(url)} was written by a newer version (schema {version}, this one"
            f" reads up to {SCHEMA_VERSION}): upgrade tuner."
        )
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def reraise(error: DBAPIError) -> NoReturn:
    """Raise the one line for a user where the error is no mistake of ours, else the error."""
    cause = error.orig
    if isinstance(cause, sqlite3.Error):
        code = primary_code(cause)
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise StoreFull(
                f"The service's database cannot be written ({cause}); free space on its disk. It"
                " goes on by itself once there is room."
            ) from error
        if code == sqlite3.SQLITE_BUSY:
            raise StoreFull(
                f"The service's database has been locked by another program for"
                f" {BUSY_MS // 1000} s; close it there."
            ) from error
    elif getattr(cause, "sqlstate", None) in ("53100", "53300", "57P01", "57P03", "08006", "08001"):
        raise StoreFull(f"The service's database cannot be used now: {_first(error)}") from error
    raise error


@contextlib.contextmanager
def supervising(engine: Engine) -> Iterator[Callable[[], bool]]:
    """Hold the right to supervise; yields what tells whether it is held still.

    SQLite: a lock on a file beside the database, which the kernel releases when the process ends,
    however it ends. PostgreSQL: an advisory lock, which its server releases with the connection.

    Raises
    ------
    UserError
        If another living process has it.
    """
    file = _file(str(engine.url.render_as_string(hide_password=False)))
    taken = UserError(
        f"Another service supervises {_shown(str(engine.url))}; stop that one first, or give this"
        " one a database of its own with --database."
    )
    if file is not None:
        with file.with_name(file.name + ".supervisor").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise taken from error
            yield lambda: True
        return
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})")):
            raise taken

        def held() -> bool:
            try:
                return bool(connection.scalar(text("SELECT true")))
            except SQLAlchemyError:
                return False

        yield held


def _file(url: str) -> Path | None:
    """Return the file of an SQLite database, None for another one."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise UserError(f"--database must name a file, sqlite:////PATH, but got {url}.")
    return Path(parsed.database)


def _shown(url: str) -> str:
    """Return a URL without its password."""
    with contextlib.suppress(SQLAlchemyError):
        return make_url(url).render_as_string(hide_password=True)
    return "URL"


def _first(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]
