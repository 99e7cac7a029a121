"""The service's memory: users, jobs, data sets, usage and the audit log, in one database.

Every method is one transaction and may be called from any thread. What is asked of a job and what
state it is in are written here before anything is done about it, so that a service that was killed
goes on by reading it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from search_spaces.model import UserError
from tuner.service import database, tables
from tuner.service.database import StoreFull
from tuner.service.models import HOLDING, OPEN, RESUMABLE, JobState, Raise, Wanted
from tuner.service.tables import Act, AuditRow, DataSetRow, JobRow, NewJob, UserRow

__all__ = ["Conflict", "Store", "StoreFull"]

ENDED: tuple[JobState, ...] = ("finished", "failed", "stopped")
"""States of which a user wants to be told."""
MOST_OPEN = 200
"""Jobs of a user that are open or paused; each is looked at every second."""
TOUCHED_EVERY_S = 3600.0
HALF_LIFE_S = 24 * 3600.0
"""What a user used a day ago counts half."""


class Conflict(UserError):  # noqa: N818 - it tells of two requests, not of a fault
    """What is asked does not go with what is there: HTTP 409."""


class Store:
    """The database.

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

    @contextlib.contextmanager
    def _transaction(self, bump: bool = True) -> Iterator[tuple[Connection, int]]:
        """Yield a connection and the number of this change; all is written, or nothing.

        The first statement is a write, so that what is read after it holds until the end.
        """
        try:
            with self._engine.begin() as connection:
                number = 0
                if bump:
                    changes = tables.service.c.changes
                    connection.execute(update(tables.service).values(changes=changes + 1))
                    number = connection.scalar(select(changes)) or 0
                yield connection, number
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

    @functools.cached_property
    def tag(self) -> str:
        """What tells this database's jobs from those of another, on the same Ray."""
        row = self._first(select(tables.service.c.tag))
        assert row is not None
        return str(row[0])

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def changes(self) -> int:
        """Return a number that grows whenever a job changes; costs some 50 µs."""
        row = self._first(select(tables.service.c.changes))
        assert row is not None
        return int(row[0])

    def supervising(self) -> AbstractContextManager[Callable[[], bool]]:
        """Hold the right to supervise; yields what tells whether it is held still.

        Raises
        ------
        UserError
            If another living process has it.
        """
        return database.supervising(self._engine)

    # Users and page sessions; only hashes (SHA-256, hexadecimal) of what they show are kept.

    def add_user(
        self, name: str, token_hash: str, admin: bool = False, *, by: Act | None = None
    ) -> UserRow:
        """Add a user, or give a revoked one a new token.

        Raises
        ------
        Conflict
            If there is one of this name who has not been revoked.
        """
        users = tables.users
        row = UserRow(name, token_hash, admin, self._clock(), None, None)
        with self._transaction() as (connection, _):
            known = connection.execute(select(users).where(users.c.name == name)).first()
            if known is None:
                connection.execute(insert(users).values(**asdict(row)))
            elif known.revoked_at is None:
                raise Conflict(
                    f"There is a user {name!r} already; revoke that one first, or choose another"
                    " name."
                )
            else:
                connection.execute(update(users).where(users.c.name == name).values(**asdict(row)))
            self._note(connection, by)
        return row

    def user_of(self, token_hash: str) -> UserRow | None:
        """Return whose token it is; None if nobody's, or revoked."""
        users, now = tables.users, self._clock()
        found = self._first(
            select(users).where(users.c.token_hash == token_hash, users.c.revoked_at.is_(None))
        )
        if found is None:
            return None
        user = UserRow(**found._mapping)
        if user.last_used_at is None or abs(now - user.last_used_at) > TOUCHED_EVERY_S:
            touch = update(users).where(users.c.name == user.name).values(last_used_at=now)
            # whoever asks how things are is answered also while the disk is full
            with contextlib.suppress(StoreFull), self._transaction(bump=False) as (connection, _):
                connection.execute(touch)
        return user

    def users(self) -> list[UserRow]:
        """Return all users by name, revoked ones too."""
        rows = self._all(select(tables.users).order_by(tables.users.c.name))
        return [UserRow(**row._mapping) for row in rows]

    def has_users(self) -> bool:
        """Return whether any token is good."""
        users = tables.users
        return self._first(select(users.c.name).where(users.c.revoked_at.is_(None))) is not None

    def revoke_user(self, name: str, *, by: Act | None = None) -> bool:
        """Make a user's token and page sessions worthless; False if no good one was there."""
        users, sessions = tables.users, tables.sessions
        with self._transaction() as (connection, _):
            done = connection.execute(
                update(users)
                .where(users.c.name == name, users.c.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )
            connection.execute(delete(sessions).where(sessions.c.user_name == name))
            if done.rowcount > 0:
                self._note(connection, by)
        return done.rowcount > 0

    def add_session(
        self, session_hash: str, token_hash: str, expires_at: float, *, by: Act | None = None
    ) -> None:
        """Remember a page session that was opened with a token; forget expired ones."""
        sessions = tables.sessions
        user = self.user_of(token_hash)
        if user is None:
            raise UserError("This token is nobody's; ask for another.")
        with self._transaction(bump=False) as (connection, _):
            connection.execute(delete(sessions).where(sessions.c.expires_at < self._clock()))
            connection.execute(
                insert(sessions).values(
                    session_hash=session_hash,
                    user_name=user.name,
                    token_hash=token_hash,
                    expires_at=expires_at,
                )
            )
            self._note(connection, by)

    def session_user(self, session_hash: str) -> UserRow | None:
        """Return whose session it is; None if expired, dropped, or its token was revoked."""
        sessions = tables.sessions
        found = self._first(select(sessions).where(sessions.c.session_hash == session_hash))
        if found is None or found.expires_at < self._clock():
            return None
        return self.user_of(found.token_hash)

    def drop_session(self, session_hash: str) -> None:
        """Forget a page session."""
        sessions = tables.sessions
        with self._transaction(bump=False) as (connection, _):
            connection.execute(delete(sessions).where(sessions.c.session_hash == session_hash))

    # Jobs.

    def create_job(
        self,
        new: NewJob,
        name: str,
        chosen: bool,
        taken: Callable[[str], bool],
        *,
        by: Act | None = None,
    ) -> tuple[JobRow, bool]:
        """Queue a job, once for each key of a user; return it, and whether it is new.

        Parameters
        ----------
        new : NewJob
        name : str
            Its id: the name that the user chose, or else one to which ``-2``, ``-3``, … is added
            where it is taken.
        chosen : bool
        taken : callable
            Tells of names that are taken though no job has them, such as a run started by hand.
        by : Act, optional
            Written to the audit log if the job is new.

        Raises
        ------
        Conflict
            If the key was used with another content, the chosen name is taken, or the user has
            `MOST_OPEN` jobs already.
        """
        jobs = tables.jobs
        with self._transaction() as (connection, number):

            def known(id: str) -> bool:
                return (
                    connection.execute(select(jobs.c.id).where(jobs.c.id == id)).first() is not None
                )

            same_key = (jobs.c.user_name == new.user_name) & (jobs.c.key == new.key)
            there = connection.execute(select(jobs).where(same_key)).first()
            if there is not None:
                if there.content != new.content:
                    raise Conflict(
                        f"The key {new.key!r} was used for job {there.id}, which is another; choose"
                        " another key."
                    )
                return _job(there), False
            _check_room(connection, new.user_name)
            names = itertools.chain([name], (f"{name}-{count}" for count in itertools.count(2)))
            if chosen and (known(name) or taken(name)):
                raise Conflict(f"There is a job or run {name!r} already; choose another --name.")
            id = next(one for one in names if not (known(one) or taken(one)))
            now = self._clock()
            connection.execute(
                insert(jobs).values(
                    **asdict(new), id=id, state="queued", wanted="run", reason=None,
                    more=Raise().amounts, attempt=0, fruitless=0, epochs=0, number=number,
                    arrival=number, changed=number, created_at=now, queued_at=now,
                    started_at=None, ended_at=None, told=False,
                )
            )  # fmt: skip
            self._note(connection, by, id)
            return _must_be(connection, id), True

    def job(self, id: str) -> JobRow | None:
        """Return a job."""
        row = self._first(select(tables.jobs).where(tables.jobs.c.id == id))
        return None if row is None else _job(row)

    def job_with_key(self, user: str, key: str) -> JobRow | None:
        """Return the job that a user queued under a key."""
        jobs = tables.jobs
        row = self._first(select(jobs).where(jobs.c.user_name == user, jobs.c.key == key))
        return None if row is None else _job(row)

    def jobs(
        self,
        *,
        user: str | None = None,
        states: Iterable[JobState] | None = None,
        changed_after: int | None = None,
        limit: int | None = None,
        whole: bool = True,
    ) -> list[JobRow]:
        """Return jobs, the newest first; `changed_after` is an earlier answer of `changes`.

        What is not `whole` lacks specification and command line, by far the longest of a row.
        """
        jobs = tables.jobs
        columns = [one for one in jobs.c if whole or one.name not in _LONG]
        statement = select(*columns).order_by(jobs.c.number.desc())
        if user is not None:
            statement = statement.where(jobs.c.user_name == user)
        if states is not None:
            statement = statement.where(jobs.c.state.in_(tuple(states)))
        if changed_after is not None:
            statement = statement.where(jobs.c.changed > changed_after)
        if limit is not None:
            statement = statement.limit(limit)
        return [_job(row) for row in self._all(statement)]

    def waiting(self) -> list[JobRow]:
        """Return the jobs that wait, not whole, in the order of arrival.

        `queue.ordered` orders them, `begin_attempt` returns them whole.
        """
        return sorted(self.jobs(states=["queued"], whole=False), key=lambda job: job.arrival)

    def holding(self, whole: bool = True) -> list[JobRow]:
        """Return the jobs that hold GPUs or cores, in the order of arrival."""
        return sorted(self.jobs(states=HOLDING, whole=whole), key=lambda job: job.arrival)

    def want(self, id: str, wanted: Wanted, *, by: Act | None = None) -> JobRow:
        """Write what a user asks of a job: ``pause``, ``stop`` or ``stop_now``.

        A job that waits is paused or stopped by that; else the supervisor sees to it. Asking again
        changes nothing and is not written to the audit log again, and stop beats pause.

        Raises
        ------
        Conflict
            If the job has ended, or there is none.
        """
        with self._transaction() as (connection, number):
            job = _must_be(connection, id)
            changes: dict[str, Any] = {"wanted": wanted}
            if job.state in ("queued", "paused") and wanted != "pause":
                changes |= {"state": "stopped", "reason": "stopped while it waited"}
                changes |= {"ended_at": self._clock()}
            elif job.state == "queued":
                changes |= {"state": "paused", "reason": "paused while it waited"}
            elif job.state in HOLDING:
                if _BEATS.index(wanted) <= _BEATS.index(job.wanted):
                    return job
                changes["state"] = "pausing" if wanted == "pause" else "stopping"
                changes["reason"] = "asked to pause" if wanted == "pause" else "asked to stop"
            elif (job.state, wanted) in _DONE_ALREADY:
                return job
            else:
                raise Conflict(
                    f"Job {id} is {job.state}; only a job that is open can be {_PAST[wanted]}."
                )
            _change(connection, id, number, **changes)
            self._note(connection, by, id)
            return _must_be(connection, id)

    def resume(self, id: str, more: Raise, *, by: Act | None = None) -> JobRow:
        """Queue a job again that was paused or stopped, failed or finished; raise its budget.

        A key counts once for a job: asked again with it, whatever has become of the job since, this
        changes nothing. Without one, a job that is open is left as it is if nothing is added.
        Whether the budget has such a limit is for the caller to check (`tuner.budget.raised`).

        Raises
        ------
        Conflict
            If the key was used with other amounts, the job has finished and nothing is added, it is
            open and something is, there is none, or its user has `MOST_OPEN` others.
        """
        with self._transaction() as (connection, number):
            job = _must_be(connection, id)
            if more.key is not None and not _first_use(connection, id, more.key, more.amounts):
                return job
            adds = bool(more.amounts)
            if job.state not in RESUMABLE:
                if job.state in ("queued", "starting", "running") and not adds:
                    return job
                raise Conflict(f"Job {id} is {job.state}; it can be resumed once it has stopped.")
            if job.state == "finished" and not adds:
                raise Conflict(f"Job {id} has finished; it goes on only with a larger budget.")
            if job.state != "paused":  # which counts already
                _check_room(connection, job.user_name)
            _change(
                connection, id, number, state="queued", wanted="run", reason=None, told=False,
                fruitless=0, more=_sum(job.more, more).amounts, arrival=number,
                queued_at=self._clock(), ended_at=None,
            )  # fmt: skip
            self._note(connection, by, id)
            return _must_be(connection, id)

    def set_state(
        self, id: str, expected: Iterable[JobState], state: JobState, **changes: Any
    ) -> bool:
        """Move a job from one of the expected states to another; return whether it was in one.

        Parameters
        ----------
        changes : columns of `tables.jobs`
            What else changes, such as `reason`.
        """
        with self._transaction() as (connection, number):
            return _change(connection, id, number, tuple(expected), state=state, **changes)

    def begin_attempt(self, id: str, epochs: int) -> JobRow | None:
        """Move a job from queued to starting, under the next attempt; None if it did not wait."""
        attempt = tables.jobs.c.attempt
        with self._transaction() as (connection, number):
            begun = _change(
                connection, id, number, ("queued",), state="starting", attempt=attempt + 1,
                epochs=epochs, reason=None,
            )  # fmt: skip
            return _must_be(connection, id) if begun else None

    def set_reason(self, id: str, reason: str | None, expected: Iterable[JobState]) -> None:
        """Write why a job is in its state, if it is in an expected one and nothing else is there.

        Parameters
        ----------
        id : str
        reason : str or None
            Kept as one line.
        expected : iterable of JobState
            What the job has moved on to meanwhile has a reason of its own.
        """
        expected, line = tuple(expected), _one_line(reason)
        job = self.job(id)
        if job is not None and job.state in expected and job.reason != line:
            with self._transaction() as (connection, number):
                _change(connection, id, number, expected, reason=line)

    def untold(self) -> list[JobRow]:
        """Return the jobs that have ended without anyone having been told."""
        jobs = tables.jobs
        statement = select(jobs).where(jobs.c.state.in_(ENDED), jobs.c.told.is_(False))
        return [_job(row) for row in self._all(statement.order_by(jobs.c.changed))]

    def set_told(self, id: str, ended_at: float | None) -> None:
        """Write that a job's end was told, unless it has been resumed since that end."""
        jobs = tables.jobs
        this_end = (jobs.c.id == id) & (jobs.c.ended_at == ended_at) & jobs.c.state.in_(ENDED)
        with self._transaction(bump=False) as (connection, _):
            connection.execute(update(jobs).where(this_end).values(told=True))

    # Fair share.

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

    # Data sets.

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

    # Audit.

    def _note(self, connection: Connection, by: Act | None, job: str | None = None) -> None:
        """Add to the audit log, in the transaction of what was done."""
        if by is not None:
            row = AuditRow(self._clock(), by.user, by.action, job, by.detail, by.address)
            connection.execute(insert(tables.audit).values(**asdict(row)))

    def audit(self, limit: int = 100) -> list[AuditRow]:
        """Return the audit log, the newest first."""
        audit = tables.audit
        names = [audit.c[name] for name in AuditRow.__dataclass_fields__]
        rows = self._all(select(*names).order_by(audit.c.id.desc()).limit(limit))
        return [AuditRow(**row._mapping) for row in rows]


_BEATS: tuple[Wanted, ...] = ("run", "pause", "stop", "stop_now")
"""What is asked of a job that runs can only be made stronger."""
_DONE_ALREADY = (("paused", "pause"), ("stopped", "stop"), ("stopped", "stop_now"))
_LONG = ("spec", "command")
_PAST = {"run": "resumed", "pause": "paused", "stop": "stopped", "stop_now": "stopped"}


def _job(row: Row[Any]) -> JobRow:
    values = {"spec": {}, "command": [], **row._mapping}
    values["more"] = Raise.model_validate(values["more"])
    return JobRow(**values)


def _first_use(connection: Connection, id: str, key: str, amounts: dict[str, Any]) -> bool:
    """Remember a key of a job's, or return False if it was used with the same amounts."""
    raises = tables.raises
    same_key = (raises.c.job == id) & (raises.c.key == key)
    there = connection.execute(select(raises.c.amounts).where(same_key)).first()
    if there is None:
        connection.execute(insert(raises).values(job=id, key=key, amounts=amounts))
        return True
    if there.amounts != amounts:
        raise Conflict(
            f"The key {key!r} was used to resume job {id} with other amounts; choose another key."
        )
    return False


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


def _check_room(connection: Connection, user: str) -> None:
    jobs = tables.jobs
    counted = jobs.c.state.in_((*OPEN, "paused"))
    of_user = select(func.count()).where(jobs.c.user_name == user, counted)
    if (connection.scalar(of_user) or 0) >= MOST_OPEN:
        raise Conflict(
            f"{user} has {MOST_OPEN} jobs that are open or paused, and more are not kept; stop some"
            " or wait for their end."
        )


def _must_be(connection: Connection, id: str) -> JobRow:
    row = connection.execute(select(tables.jobs).where(tables.jobs.c.id == id)).first()
    if row is None:
        raise Conflict(f"There is no job {id!r}.")
    return _job(row)


def _change(
    connection: Connection,
    id: str,
    number: int,
    expected: tuple[JobState, ...] | None = None,
    **changes: Any,
) -> bool:
    jobs = tables.jobs
    if "reason" in changes:
        changes["reason"] = _one_line(changes["reason"])
    statement = update(jobs).where(jobs.c.id == id).values(changed=number, **changes)
    if expected is not None:
        statement = statement.where(jobs.c.state.in_(expected))
    return connection.execute(statement).rowcount > 0


def _sum(first: Raise, second: Raise) -> Raise:
    """Return what two raises add together.

    >>> _sum(Raise(more_trials=2), Raise(more_trials=3, more_gpu_hours=0.5)).amounts
    {'more_trials': 5, 'more_gpu_hours': 0.5}
    """
    total: dict[str, Any] = first.amounts
    for name, amount in second.amounts.items():
        total[name] = total.get(name, 0) + amount
    try:
        return Raise(**total)
    except ValidationError as error:
        raise Conflict("More than that cannot be added to a budget in all.") from error
