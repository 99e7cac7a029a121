"""The service's memory: users, jobs, data sets, usage and the audit log, in one database.

Every method is one transaction and may be called from any thread. What is asked of a job and what
state it is in are written here before anything is done about it, so that a service that was killed
goes on by reading it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from search_spaces.model import UserError
from tuner.service.models import HOLDING, RESUMABLE, JobState, Raise, Wanted
from tuner.service.tables import AuditRow, DataSetRow, JobRow, NewJob, UserRow

HALF_LIFE_S = 24 * 3600.0
"""What a user used a day ago counts half."""


class Conflict(UserError):  # noqa: N818 - it tells of two requests, not of a fault
    """What is asked does not go with what is there: HTTP 409."""


class StoreFull(UserError):  # noqa: N818 - it tells a state of the disk
    """The database cannot be written now, as the disk is full or fails. Nothing is lost."""


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

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None: ...

    def close(self) -> None:
        """Close all connections."""

    def changes(self) -> int:
        """Return a number that grows whenever a job changes; costs some 50 µs."""

    def supervising(self) -> AbstractContextManager[None]:
        """Hold the right to supervise: there is one supervisor to a database.

        Raises
        ------
        UserError
            If another living process has it.
        """

    # Users and page sessions; only hashes (SHA-256, hexadecimal) of what they show are kept.

    def add_user(self, name: str, token_hash: str, admin: bool = False) -> UserRow:
        """Add a user, or give a revoked one a new token.

        Raises
        ------
        Conflict
            If there is one of this name who has not been revoked.
        """

    def user_of(self, token_hash: str) -> UserRow | None:
        """Return whose token it is; None if nobody's, or revoked."""

    def users(self) -> list[UserRow]:
        """Return all users by name, revoked ones too."""

    def has_users(self) -> bool:
        """Return whether any token is good."""

    def revoke_user(self, name: str) -> bool:
        """Make a user's token and page sessions worthless; False if there is no such user."""

    def add_session(self, session_hash: str, token_hash: str, expires_at: float) -> None:
        """Remember a page session that was opened with a token; forget expired ones."""

    def session_user(self, session_hash: str) -> UserRow | None:
        """Return whose session it is; None if expired, dropped, or its token was revoked."""

    def drop_session(self, session_hash: str) -> None:
        """Forget a page session."""

    # Jobs.

    def create_job(
        self, new: NewJob, name: str, chosen: bool, taken: Callable[[str], bool]
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

        Raises
        ------
        Conflict
            If the key was used with another content, or the chosen name is taken.
        """

    def job(self, id: str) -> JobRow | None:
        """Return a job."""

    def jobs(
        self,
        *,
        user: str | None = None,
        states: Iterable[JobState] | None = None,
        changed_after: int | None = None,
        limit: int | None = None,
    ) -> list[JobRow]:
        """Return jobs, the newest first; `changed_after` is an earlier answer of `changes`."""

    def waiting(self) -> list[JobRow]:
        """Return the jobs that wait, in the order of arrival; `queue.ordered` orders them."""

    def holding(self) -> list[JobRow]:
        """Return the jobs that hold GPUs or cores, in the order of arrival."""

    def want(self, id: str, wanted: Wanted) -> JobRow:
        """Write what a user asks of a job: ``pause``, ``stop`` or ``stop_now``.

        A job that waits is paused or stopped by that; else the supervisor sees to it. Asking again
        changes nothing, and stop beats pause.

        Raises
        ------
        Conflict
            If the job has ended, or there is none.
        """

    def resume(self, id: str, more: Raise) -> JobRow:
        """Queue a job again that was paused or stopped, failed or finished; raise its budget.

        A job that is open is left as it is, so that asking twice queues once. Whether the budget
        has such a limit is for the caller to check (`tuner.budget.raised`).

        Raises
        ------
        Conflict
            If the job has finished and nothing is added, it is open and something is, or there is
            none.
        """

    def set_state(
        self, id: str, expected: Iterable[JobState], state: JobState, **changes: Any
    ) -> bool:
        """Move a job from one of the expected states to another; return whether it was in one.

        Parameters
        ----------
        changes : columns of `tables.jobs`
            What else changes, such as `reason`.
        """

    def begin_attempt(self, id: str, epochs: int) -> JobRow | None:
        """Move a job from queued to starting, under the next attempt; None if it did not wait."""

    def set_reason(self, id: str, reason: str | None) -> None:
        """Write why a job is in its state, if that is not what is there."""

    def untold(self) -> list[JobRow]:
        """Return the jobs that have ended without anyone having been told."""

    def set_told(self, id: str) -> None:
        """Write that a job's end was told."""

    # Fair share.

    def charge(self, used: Mapping[str, float], elapsed_s: float) -> None:
        """Add what users held, after letting what they used before fade over `elapsed_s`."""

    def usage(self) -> dict[str, float]:
        """Return GPU-seconds (without GPUs: core-seconds) by user, with a half-life of a day of
        the service's own running time."""

    # Data sets.

    def add_data_set(self, row: DataSetRow) -> bool:
        """Register a data set; False if it is there under that name already."""

    def data_set(self, fingerprint: str, name: str | None = None) -> DataSetRow | None:
        """Return a data set, under any name if none is given."""

    def data_sets(self) -> list[DataSetRow]:
        """Return all data sets, by name."""

    # Audit.

    def note(
        self,
        user: str,
        action: str,
        job: str | None = None,
        detail: str | None = None,
        address: str | None = None,
    ) -> None:
        """Add to the audit log."""

    def audit(self, limit: int = 100) -> list[AuditRow]:
        """Return the audit log, the newest first."""
