"""What the parts of the store share: transactions, and the audit row that goes with an act."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.exc import DBAPIError

from search_spaces.model import UserError
from tuner.service import database, tables
from tuner.service.tables import Act, AuditRow


class Conflict(UserError):  # noqa: N818 - it tells of two requests, not of a fault
    """What is asked does not go with what is there: HTTP 409."""


class Transactions:
    """A database, written to by one at a time.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:////srv/runs/.service/service.db`` or ``postgresql+psycopg://…``.
        Tables, and the folder of an SQLite file, are made if need be.
    clock : callable, default time.time
        Wall clock, Unix seconds; only ever recorded and shown.

    Raises
    ------
    UserError
        If there is no such database, or it was written by a newer version.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._engine = database.opened(url)
        self._clock = clock

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _transaction(self, bump: bool = True) -> Iterator[tuple[Connection, int]]:
        """Yield a connection and the number of this change; all is written, or nothing.

        The first statement is a write to the same row in every transaction, so that what is read
        after it holds until the end, and none waits for another that waits for it. Without `bump`
        no job is told to have changed.
        """
        changes = tables.service.c.changes
        try:
            with self._engine.begin() as connection:
                connection.execute(update(tables.service).values(changes=changes + int(bump)))
                yield connection, connection.scalar(select(changes)) or 0
        except DBAPIError as error:
            database.reraise(error)

    def _all(self, statement: Any) -> list[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return list(connection.execute(statement))
        except DBAPIError as error:
            database.reraise(error)

    def _first(self, statement: Any) -> Row[Any] | None:
        rows = self._all(statement)
        return rows[0] if rows else None

    def _note(self, connection: Connection, by: Act | None, job: str | None = None) -> None:
        """Add to the audit log, in the transaction of what was done."""
        if by is not None:
            row = AuditRow(self._clock(), by.user, by.action, job, by.detail, by.address)
            connection.execute(insert(tables.audit).values(**asdict(row)))
