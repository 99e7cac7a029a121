"""Heavy work for users, in a few threads of its own and for a limited number at once.

What takes seconds to hours, such as packing an archive, must not hold the threads that answer
everybody's small questions, nor may one user keep all others from it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from fastapi import HTTPException

ResultT = TypeVar("ResultT")


class Workers:
    """Threads for one kind of work, and who uses them.

    Parameters
    ----------
    what : str
        What the work is, plural, as a refusal calls it.
    threads : int
        How much is done at once; the rest waits.
    of_user : int
        How many a user may have under way or waiting.
    in_all : int
        How many all together may.
    """

    def __init__(self, what: str, *, threads: int, of_user: int, in_all: int) -> None:
        self._what, self._of_user, self._in_all = what, of_user, in_all
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=what)
        self._users: Counter[str] = Counter()

    @contextmanager
    def place(self, user: str) -> Iterator[None]:
        """Count one more as under way; called in the event loop's thread.

        Raises
        ------
        HTTPException
            429 if this user has too many, 503 if all together have.
        """
        if self.under_way(user) >= self._of_user:
            raise HTTPException(
                429,
                f"You have {self._of_user} {self._what} under way, and no more are done at once;"
                " try again when one is done.",
                {"Retry-After": "5"},
            )
        if self._users.total() >= self._in_all:
            raise HTTPException(
                503,
                f"The server has {self._in_all} {self._what} under way; try again later.",
                {"Retry-After": "15"},
            )
        self._users[user] += 1
        try:
            yield
        finally:
            self._users[user] -= 1
            self._users += Counter()  # forgets who has none

    def under_way(self, user: str) -> int:
        """Return how many a user has under way or waiting."""
        return self._users[user]

    async def do(self, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Return what a function returns that is called in one of the threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)
