"""Who calls: tokens for programs, sessions for the page, and how often anyone may fail or ask.

A token is 256 random bits, shown once; only its SHA-256 is kept, by which it is looked up, so that
a database read by another is worth nothing, and the time a look-up takes tells nothing. The page
exchanges a token for a session's cookie, which scripts cannot read and other sites cannot send; to
change anything with it takes a header that other sites cannot set.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from fastapi import HTTPException, Request, Response

from tuner.service.store import Store
from tuner.service.tables import Act, JobRow, UserRow

COOKIE = "tuner_session"
"""How its name begins; the database's tag follows, since all ports of a host share its cookies."""
PAGE_HEADER = "X-Tuner"
"""Sent as 1 by the page with everything but GET."""
SESSION_S = 12 * 3600
SAFE = ("GET", "HEAD")
LONGEST_ADDRESS = 45
"""Of IPv6, with an IPv4 address in it."""
MOST_KEYS = 10_000
"""Addresses or users whose rate is remembered."""


def new_token() -> str:
    """Return a token that has never been given out."""
    return f"tuner_{secrets.token_urlsafe(32)}"


def hashed(secret: str) -> str:
    """Return what is kept of a token or a session."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class Rate:
    """Lets each key do something so often: a bucket that fills at a steady rate.

    Parameters
    ----------
    per_s : float
    burst : float
        How many at once after a long rest.
    clock : callable, default time.monotonic
    """

    def __init__(
        self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> bool:
        """Count one; return whether it is within the rate."""
        now_s = self._clock()
        with self._lock:
            left, at_s = self._left.pop(key, (self._burst, now_s))
            left = min(self._burst, left + (now_s - at_s) * self._per_s)
            allowed = left >= 1
            self._left[key] = (left - 1 if allowed else left), now_s
            if len(self._left) > MOST_KEYS:
                self._left.popitem(last=False)
        return allowed


class Auth:
    """Finds out who calls, and what they may do."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cookie = f"{COOKIE}_{store.tag}"
        self._failures = Rate(per_s=10 / 60, burst=10)
        self._log_ins = Rate(per_s=10 / 60, burst=10)
        self._writes = Rate(per_s=50, burst=500)

    def caller(self, request: Request) -> UserRow:
        """Return whose token or session a request carries.

        A good token is never refused for others' failures, so nobody can lock anyone out.

        Raises
        ------
        HTTPException
            401 if it carries none or a bad one, 403 if the page's header is missing, 429 if there
            were too many.
        """
        header = request.headers.get("authorization")
        cookie = request.cookies.get(self._cookie)
        if header is not None:
            scheme, _, token = header.partition(" ")
            user = self._of_token(token.strip()) if scheme.lower() == "bearer" else None
        elif cookie is not None:
            user = self._store.session_user(hashed(cookie))
            if user and request.method not in SAFE and request.headers.get(PAGE_HEADER) != "1":
                raise HTTPException(403, f"A page must send the header {PAGE_HEADER}: 1.")
        else:
            raise _unknown("This needs a token: send Authorization: Bearer TOKEN.")
        if user is None:
            self._failed(request)
            raise _unknown("The token or session is not known here, or no longer good.")
        if request.method not in SAFE and not self._writes.take(user.name):
            raise _too_many("Too many requests; wait a second.", 1)
        return user

    def still_good(self, user: UserRow) -> bool:
        """Return whether a user's token is still good, for whoever stays connected."""
        return self._of_hash(user.token_hash) is not None

    def log_in(self, request: Request, response: Response, token: str) -> UserRow:
        """Open a session for the page and set its cookie.

        Good tokens are counted for each address and user: through tunnels all users come from one
        address, where one must not keep the others out.

        Raises
        ------
        HTTPException
            401 if the token is not known, 429 if there were too many attempts.
        """
        user = self._of_token(token)
        if user is None:
            self._failed(request)
            raise _unknown("The token is not known here, or no longer good.")
        if not self._log_ins.take(f"{address(request)} {user.name}"):
            raise _too_many("Too many log-ins from this address; wait a few seconds.", 6)
        session = secrets.token_urlsafe(32)
        by = Act(user.name, "log in", address=address(request))
        self._store.add_session(hashed(session), user.token_hash, SESSION_S, by=by)
        response.set_cookie(
            self._cookie, session, max_age=SESSION_S, httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return user

    def log_out(self, request: Request, response: Response) -> None:
        """Forget the session, if there is one."""
        cookie = request.cookies.get(self._cookie)
        if cookie is not None:
            self._store.drop_session(hashed(cookie))
        response.delete_cookie(self._cookie, httponly=True, samesite="strict")

    def _of_token(self, token: str) -> UserRow | None:
        return self._of_hash(hashed(token))

    def _of_hash(self, token_hash: str) -> UserRow | None:
        user = self._store.user_of(token_hash)
        if user is None or not hmac.compare_digest(user.token_hash, token_hash):
            return None
        return user

    def _failed(self, request: Request) -> None:
        if not self._failures.take(address(request)):
            raise _too_many("Too many failed attempts from this address; wait a minute.", 60)


def address(request: Request) -> str:
    """Return from where a request came."""
    return request.client.host[:LONGEST_ADDRESS] if request.client else "unknown"


def may_see(user: UserRow, job: JobRow) -> bool:
    """Return whether a job exists for a user: their own do, and all for an admin."""
    return user.admin or user.name == job.user_name


def _unknown(text: str) -> HTTPException:
    return HTTPException(401, text, {"WWW-Authenticate": "Bearer"})


def _too_many(text: str, wait_s: int) -> HTTPException:
    return HTTPException(429, text, {"Retry-After": str(wait_s)})
