"""Users and page sessions; only hashes (SHA-256, hexadecimal) of what they show are kept."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

from sqlalchemy import delete, insert, select, update

from search_spaces.model import UserError
from tuner.service import tables
from tuner.service.database import StoreFull
from tuner.service.tables import Act, UserRow
from tuner.service.transactions import Conflict, Transactions

TOUCHED_EVERY_S = 3600.0
MOST_SESSIONS = 20
"""Sessions of a user; the oldest make room."""


class UserStore(Transactions):
    """Who may use the service, and who is logged in on the page."""

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
        self, session_hash: str, token_hash: str, lifetime_s: float, *, by: Act | None = None
    ) -> None:
        """Remember a page session that was opened with a token.

        Expired ones are forgotten, and the oldest of a user who has more than `MOST_SESSIONS`.

        Raises
        ------
        UserError
            If the token is nobody's.
        """
        sessions = tables.sessions
        user = self.user_of(token_hash)
        if user is None:
            raise UserError("This token is nobody's; ask for another.")
        of_user = (
            select(sessions.c.session_hash)
            .where(sessions.c.user_name == user.name)
            .order_by(sessions.c.expires_at.desc())
        )
        now = self._clock()
        with self._transaction(bump=False) as (connection, _):
            connection.execute(delete(sessions).where(sessions.c.expires_at < now))
            oldest = connection.scalars(of_user.offset(MOST_SESSIONS - 1)).all()
            connection.execute(delete(sessions).where(sessions.c.session_hash.in_(oldest)))
            connection.execute(
                insert(sessions).values(
                    session_hash=session_hash,
                    user_name=user.name,
                    token_hash=token_hash,
                    expires_at=now + lifetime_s,
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
