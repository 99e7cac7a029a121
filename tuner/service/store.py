"""The service's memory: users, jobs, data sets, usage and the audit log, in one database.

Every method is one transaction and may be called from any thread; what it takes as `by` goes to the
audit log with what was done, or neither does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict

from sqlalchemy import insert, select, update

from tuner.service import database, tables
from tuner.service.database import StoreFull
from tuner.service.job_store import JobStore
from tuner.service.tables import Act, AuditRow, DataSetRow
from tuner.service.transactions import Conflict
from tuner.service.user_store import UserStore

__all__ = ["Conflict", "Store", "StoreFull"]

HALF_LIFE_S = 24 * 3600.0
"""What a user used a day ago counts half."""


class Store(UserStore, JobStore):
    """All that the service keeps in its database."""

    @functools.cached_property
    def tag(self) -> str:
        """What tells this database's jobs from those of another, on the same Ray."""
        row = self._first(select(tables.service.c.tag))
        assert row is not None
        return str(row[0])

    def changes(self) -> int:
        """Return a number that grows whenever a job changes; costs some 50 µs."""
        row = self._first(select(tables.service.c.changes))
        assert row is not None
        return int(row[0])

    def supervising(self) -> AbstractContextManager[Callable[[], bool]]:
        """Hold the right to supervise; yields what tells whether it is held still.

        It is lost when a PostgreSQL is restarted, and for good: leave this, and enter it anew until
        that succeeds.

        Raises
        ------
        UserError
            If another living process has it.
        StoreFull
            If the database cannot be used now.
        """
        return database.supervising(self._engine)

    def charge(self, used: Mapping[str, float], elapsed_s: float) -> None:
        """Add what users held, after letting what they used before fade over `elapsed_s`."""
        usage, fade = tables.usage, 0.5 ** (elapsed_s / HALF_LIFE_S)
        with self._transaction(bump=False) as (connection, _):
            connection.execute(update(usage).values(amount=usage.c.amount * fade))
            for user, amount in used.items():
                of_user = usage.c.user_name == user
                raised = update(usage).where(of_user).values(amount=usage.c.amount + amount)
                if connection.execute(raised).rowcount == 0:
                    connection.execute(insert(usage).values(user_name=user, amount=amount))

    def usage(self) -> dict[str, float]:
        """Return GPU-seconds (without GPUs: core-seconds) by user, with a half-life of a day of
        the service's own running time."""
        return {row.user_name: row.amount for row in self._all(select(tables.usage))}

    def add_data_set(self, row: DataSetRow, *, by: Act | None = None) -> bool:
        """Register a data set; False if it is there under that name already."""
        sets = tables.data_sets
        with self._transaction() as (connection, _):
            here = (sets.c.fingerprint == row.fingerprint) & (sets.c.name == row.name)
            if connection.execute(select(sets.c.name).where(here)).first() is not None:
                return False
            connection.execute(insert(sets).values(**asdict(row)))
            self._note(connection, by)
            return True

    def data_set(self, fingerprint: str, name: str | None = None) -> DataSetRow | None:
        """Return a data set, under any name if none is given."""
        sets = tables.data_sets
        statement = select(sets).where(sets.c.fingerprint == fingerprint).order_by(sets.c.added_at)
        if name is not None:
            statement = statement.where(sets.c.name == name)
        row = self._first(statement)
        return None if row is None else DataSetRow(**row._mapping)

    def data_sets(self) -> list[DataSetRow]:
        """Return all data sets, by name."""
        sets = tables.data_sets
        rows = self._all(select(sets).order_by(sets.c.name, sets.c.added_at))
        return [DataSetRow(**row._mapping) for row in rows]

    def audit(self, limit: int = 100) -> list[AuditRow]:
        """Return the audit log, the newest first."""
        audit = tables.audit
        names = [audit.c[name] for name in AuditRow.__dataclass_fields__]
        rows = self._all(select(*names).order_by(audit.c.id.desc()).limit(limit))
        return [AuditRow(**row._mapping) for row in rows]
