"""Open the service's database; all in which SQLite and PostgreSQL differ stands here."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from search_spaces.model import UserError
from tuner.record_file import primary_code
from tuner.service.tables import SCHEMA_VERSION, metadata, service

BUSY_MS = 30_000
"""How long a statement waits for another program's lock."""
ADVISORY_LOCK = 0x74756E72
"""PostgreSQL's lock of the one supervisor: "tunr". The next one is held while tables are made."""
KINDS = "sqlite:////PATH or postgresql+psycopg://…"


class StoreFull(UserError):  # noqa: N818 - it tells a state of the database
    """The database cannot be used now, such as when the disk is full. Nothing is lost."""


def opened(url: str) -> Engine:
    """Return the database at an SQLAlchemy URL, with its tables made if need be.

    Raises
    ------
    UserError
        If there is no such database, or it was written by a newer version.
    """
    where = _parsed(url)
    file = _file(where)
    try:
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(where, pool_size=16, pool_pre_ping=file is None)
    except ImportError as error:
        raise UserError(
            f"The database {where!r} needs psycopg, which is not installed: pip install"
            f" 'psycopg[binary]', or tuner with its extra `postgres` ({error})."
        ) from error
    except (SQLAlchemyError, OSError) as error:
        raise UserError(f"Cannot open the database {where!r}: {_first(error)}.") from error
    event.listen(engine, "connect", _prepare_postgresql if file is None else _prepare_sqlite)
    try:
        with engine.begin() as connection:
            version = _prepare_tables(connection)
    except SQLAlchemyError as error:
        engine.dispose()
        raise UserError(f"Cannot open the database {where!r}: {_first(error)}.") from error
    if version > SCHEMA_VERSION:
        engine.dispose()
        raise UserError(
            f"The database {where!r} was written by a newer version (schema {version}, this one"
            f" reads up to {SCHEMA_VERSION}): upgrade tuner."
        )
    return engine


def _prepare_tables(connection: Connection) -> int:
    """Make or bring up the tables, unless they are of a newer version; return which they are of."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("BEGIN IMMEDIATE"))  # two programs may open a new database at once
    else:
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK + 1})"))
    version: int | None = None
    if inspect(connection).has_table(service.name):
        version = connection.scalar(select(service.c.schema_version))
    if version is not None and version >= SCHEMA_VERSION:
        return version
    metadata.create_all(connection)  # all that was added since version 1 is tables
    if version is None:
        row = {"id": 1, "tag": secrets.token_hex(4), "changes": 0}
        connection.execute(insert(service).values(schema_version=SCHEMA_VERSION, **row))
    else:
        connection.execute(update(service).values(schema_version=SCHEMA_VERSION))
    return SCHEMA_VERSION


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _prepare_postgresql(connection: Any, _: Any) -> None:
    connection.execute(f"SET lock_timeout = {BUSY_MS}")
    connection.commit()


def reraise(error: DBAPIError) -> NoReturn:
    """Raise the one line for a user where the error is no mistake of ours, else the error."""
    cause = error.orig
    locked = f"The service's database has been locked by another program for {BUSY_MS // 1000} s;"
    if isinstance(cause, sqlite3.Error):
        code = primary_code(cause)
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise StoreFull(
                f"The service's database cannot be written ({cause}); free space on its disk. It"
                " goes on by itself once there is room."
            ) from error
        if code == sqlite3.SQLITE_BUSY:
            raise StoreFull(f"{locked} close it there.") from error
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise StoreFull(
                f"The service's database cannot be written ({cause}): its file and folder must be"
                " there, and writable for whoever runs this."
            ) from error
    elif getattr(cause, "sqlstate", None) == "55P03":
        raise StoreFull(f"{locked} end what holds it there.") from error
    elif isinstance(error, DataError):  # such as text with a zero character, or one too long
        raise UserError(f"The database cannot hold what is asked: {_first(error)}.") from error
    elif isinstance(error, OperationalError | InterfaceError):
        raise StoreFull(f"The service's database cannot be used now: {_first(error)}.") from error
    raise error


@contextlib.contextmanager
def supervising(engine: Engine) -> Iterator[Callable[[], bool]]:
    """Hold the right to supervise; yields what tells whether it is held still.

    SQLite: a lock on a file beside the database, which the kernel releases when the process ends,
    however it ends. PostgreSQL: an advisory lock, which its server releases with the connection,
    so that it is lost when that server is restarted. Once lost it stays lost: leave this, and enter
    it anew until that succeeds.

    Raises
    ------
    UserError
        If another living process has it.
    StoreFull
        If the database cannot be used now.
    """
    file = _file(engine.url)
    taken = UserError(
        f"Another service supervises {engine.url!r}; stop that one first, or give this one a"
        " database of its own with --database."
    )
    if file is not None:
        with file.with_name(file.name + ".supervisor").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise taken from error
            yield lambda: True
        return
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(engine.connect())
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()  # the lock ends with the connection, which a pool would keep open
            if not connection.scalar(text(f"SELECT pg_try_advisory_lock({ADVISORY_LOCK})")):
                raise taken
        except DBAPIError as error:
            reraise(error)
        lost = False

        def held() -> bool:
            nonlocal lost
            if not lost:
                try:
                    connection.scalar(text("SELECT 1"))
                except SQLAlchemyError:
                    lost = True
            return not lost

        yield held


def _parsed(url: str) -> URL:
    """Return a URL, which shows itself without its password."""
    try:
        where = make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        got = f", but got {url!r}" if "://" not in url else ""
        raise UserError(f"--database must be the URL of a database, {KINDS}{got}.") from error
    if where.drivername not in ("sqlite", "postgresql+psycopg"):
        raise UserError(f"--database must be {KINDS}, but got {where!r}.")
    return where


def _file(url: URL) -> Path | None:
    """Return the file of an SQLite database, None for another one."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise UserError(f"--database must name a file, sqlite:////PATH, but got {url!r}.")
    return Path(url.database)


def _first(error: Exception) -> str:
    """Return the first line of what a database said, without a full stop."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, OSError) and cause.strerror is not None:
        return f"{cause.strerror}: {cause.filename}"
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
