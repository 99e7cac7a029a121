"""Jobs: what was submitted, what is asked of each, and what has become of it.

What is asked of a job and what state it is in are written here before anything is done about it, so
that a service that was killed goes on by reading it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from tuner.service import tables
from tuner.service.models import HOLDING, OPEN, RESUMABLE, JobState, Raise, Wanted
from tuner.service.raises import first_use, total
from tuner.service.tables import Act, JobRow, NewJob
from tuner.service.transactions import Conflict, Transactions

ENDED: tuple[JobState, ...] = ("finished", "failed", "stopped")
"""States of which a user wants to be told."""
MOST_OPEN = 200
"""Jobs of a user that are open or paused; each is looked at every second."""


class JobStore(Transactions):
    """All jobs, of which none is ever removed."""

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
            id = _free_name(name, chosen, lambda one: known(one) or taken(one))
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

    def free_name(self, name: str, chosen: bool, taken: Callable[[str], bool]) -> str:
        """Return the id that `create_job` would give a job now.

        Raises
        ------
        Conflict
            If the chosen name is taken.
        """
        return _free_name(name, chosen, lambda one: self.job(one) is not None or taken(one))

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

    def resume(
        self,
        id: str,
        more: Raise,
        *,
        check: Callable[[JobRow, Raise], object] = lambda job, more: None,
        by: Act | None = None,
    ) -> JobRow:
        """Queue a job again that was paused or stopped, failed or finished; raise its budget.

        A key counts once for a job: asked again with it, whatever has become of the job since, this
        changes nothing. Without one, a job that is open is left as it is if nothing is added.
        `check` raises if the budget has no such limit, or cannot take so much; a key that counted
        already is not checked again.

        Raises
        ------
        Conflict
            If the key was used with other amounts, the job has finished and nothing is added, it is
            open and something is, there is none, or its user has `MOST_OPEN` others.
        """
        with self._transaction() as (connection, number):
            job = _must_be(connection, id)
            if more.key is not None and not first_use(connection, id, more.key, more.amounts):
                return job
            check(job, more)
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
                fruitless=0, more=total(job.more, more).amounts, arrival=number,
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
        jobs, expected, line = tables.jobs, tuple(expected), _one_line(reason)
        job = self._first(select(jobs.c.state, jobs.c.reason).where(jobs.c.id == id))
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


_BEATS: tuple[Wanted, ...] = ("run", "pause", "stop", "stop_now")
"""What is asked of a job that runs can only be made stronger."""
_DONE_ALREADY = (("paused", "pause"), ("stopped", "stop"), ("stopped", "stop_now"))
_LONG = ("spec", "command")
_PAST = {"run": "resumed", "pause": "paused", "stop": "stopped", "stop_now": "stopped"}


def _free_name(name: str, chosen: bool, taken: Callable[[str], bool]) -> str:
    """Return a name, or if the user did not choose it, the first of NAME-2, … that is not taken."""
    if not taken(name):
        return name
    if chosen:
        raise Conflict(f"There is a job or run {name!r} already; choose another --name.")
    return next(one for count in itertools.count(2) if not taken(one := f"{name}-{count}"))


def _job(row: Row[Any]) -> JobRow:
    values = {"spec": {}, "command": [], **row._mapping}
    values["more"] = Raise.model_validate(values["more"])
    return JobRow(**values)


def _one_line(text: str | None) -> str | None:
    """Return a reason as one line of what any database can hold."""
    if text is None:
        return None
    return " ".join(text.replace("\0", " ").encode("utf-8", "replace").decode().split())


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
