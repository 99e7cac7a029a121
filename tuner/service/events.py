"""Server-sent events: what changes, pushed to whoever listens, cheap with many listeners.

A feed looks once a second, on behalf of all its listeners, and hands them the same text. An event
of a job carries as its id how far its listener has read; a listener that comes back with it is
first given what it missed, so that a broken connection loses nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from fastapi import HTTPException
from starlette.concurrency import iterate_in_threadpool

from search_spaces.model import UserError
from tuner.service import news
from tuner.service.models import OPEN
from tuner.service.state import Service
from tuner.service.tables import JobRow, UserRow
from tuner.service.views import Stamp, log_part, stamp

LOG = logging.getLogger("tuner.service")

INTERVAL_S = 1.0
HEARTBEAT_S = 15.0
RETRY_MS = 2000
MOST_BEHIND, MOST_BEHIND_CHARACTERS = 500, 8_000_000
"""A listener that has not taken so much is cut off, and comes back for what it missed. Where that
client reads nothing at all, the kernel ends the connection (`limits.cut_off_stalled`)."""
MOST_LISTENERS = 1000
MOST_OF_USER = 50
LOG_BYTES = 65_536
"""Of a log in one event, and for a listener that has read nothing of it yet."""
POINTS_AT_ONCE = 5_000
JOBS = 100


class Position(NamedTuple):
    """How far a listener has read of a job: cursors of trials and epochs, bytes of the log."""

    trials: str = news.BEGINNING
    curves: str = news.BEGINNING
    log: int = -LOG_BYTES

    @property
    def id(self) -> str:
        """As the id of an event."""
        return f"{self.trials}.{self.curves}.{self.log}"

    @classmethod
    def read(cls, id: str) -> Position:
        """Return the position that an event's id stands for.

        Raises
        ------
        UserError
            If it is none.
        """
        parts = id.split(".")
        whole = parts[-1].removeprefix("-")
        if len(parts) != 3 or not (whole.isascii() and whole.isdigit() and len(whole) < 19):
            raise UserError("The id of an event must be one that this stream has sent.")
        return cls(parts[0], parts[1], int(parts[2]))


def event(kind: str, data: str, id: str | None = None) -> str:
    """Return an event as it is sent; `data` is JSON, which has no line breaks."""
    return f"event: {kind}\n" + (f"id: {id}\n" if id else "") + f"data: {data}\n\n"


class Listener:
    """One connection."""

    def __init__(self, user: UserRow, position: Position | None = None) -> None:
        self.user = user
        self.position = position or Position()
        """Where it is when it joins."""
        self._given: asyncio.Queue[str | Position | None] = asyncio.Queue(MOST_BEHIND)
        self._characters = 0

    def put(self, item: str | Position | None) -> None:
        """Hand over an event, or the position up to which to catch up; None ends the connection.

        One that has fallen too far behind is ended.
        """
        behind = self._characters > MOST_BEHIND_CHARACTERS or self._given.full()
        if behind or item is None:
            while not self._given.empty():
                self._given.get_nowait()
            self._characters, item = 0, None
        self._given.put_nowait(item)
        self._characters += len(item) if isinstance(item, str) else 0

    async def take(self) -> str | Position | None:
        """Return what `put` handed over first, once there is something."""
        item = await self._given.get()
        self._characters -= len(item) if isinstance(item, str) else 0
        return item


class Feed:
    """What some listeners are told of; looks while there are any."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.listeners: set[Listener] = set()
        self.joining: set[Listener] = set()
        """Are told from the next look on."""
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    async def look(self) -> None:
        """Tell the listeners what has changed, and let the joining ones join."""
        raise NotImplementedError

    def missed(self, listener: Listener, until: Position) -> Iterator[str]:
        """Yield the events from a listener's position to another; called in a thread."""
        raise NotImplementedError

    def join(self, listener: Listener) -> None:
        """Tell one more, from the next look on."""
        self.joining.add(listener)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def leave(self, listener: Listener) -> None:
        """Tell one no more."""
        self.joining.discard(listener)
        self.listeners.discard(listener)

    async def _run(self) -> None:
        while self.listeners or self.joining:
            began_s = time.monotonic()
            try:
                await self.look()
                self._trouble = ""
            except Exception as error:  # one bad look must not silence a stream for good
                if str(error) != self._trouble:
                    LOG.warning("An event stream cannot be continued now: %s", error)
                self._trouble = str(error)
            await asyncio.sleep(max(0.1, INTERVAL_S - (time.monotonic() - began_s)))


class QueueFeed(Feed):
    """The queue, and every second time each user's newest jobs."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._told: dict[tuple[str, str], str] = {}
        self._looks = 0

    async def look(self) -> None:
        """Make each user's view once, and tell it to those who have not seen it."""
        new = set(self.joining)
        everyone = self.listeners | new
        users = {listener.user.name: listener.user for listener in everyone}
        self._looks += 1
        for user in users.values():
            fresh = {one for one in new if one.user.name == user.name}
            with_jobs = bool(fresh) or self._looks % 2 == 0
            for kind, text in (await asyncio.to_thread(self._views, user, with_jobs)).items():
                changed = self._told.get((user.name, kind)) != text
                self._told[user.name, kind] = text
                for listener in everyone if changed else fresh:
                    if listener.user.name == user.name:
                        listener.put(event(kind, text))
        self._told = {key: text for key, text in self._told.items() if key[0] in users}
        self.listeners |= new & self.joining  # who has left meanwhile is in neither
        self.joining -= new

    def _views(self, user: UserRow, with_jobs: bool) -> dict[str, str]:
        """Return what a user sees now, as JSON by kind of event."""
        views = {"queue": self.service.board.seen_by(user).model_dump_json()}
        if with_jobs:
            rows = self.service.store.jobs(user=None if user.admin else user.name, limit=JOBS)
            jobs = [self.service.told(row).model_dump(mode="json") for row in rows]
            views["jobs"] = json.dumps(jobs, separators=(",", ":"))
        return views


class JobFeed(Feed):
    """One job: itself, its trials, its curves, its log."""

    def __init__(self, service: Service, id: str) -> None:
        super().__init__(service)
        self._id = id
        self._head: Position | None = None
        """How far the feed has read; None before its first look."""
        self._job = ""
        self._stamp: Stamp = ()
        self._over_told = False

    async def look(self) -> None:
        """Tell what is new since the head; who joins catches up to the head by itself."""
        new = set(self.joining)
        for text in await asyncio.to_thread(self._look):
            for listener in self.listeners:
                listener.put(text)
        assert self._head is not None
        for listener in new & self.joining:
            listener.put(self._head)
            self.listeners.add(listener)
        self.joining -= new

    def missed(self, listener: Listener, until: Position) -> Iterator[str]:
        """Yield what a listener has not seen up to the head at which it joined.

        Trials are told as they are now; being whole rows, they may be told again.
        """
        row = self._row()
        yield event("job", self.service.told(row).model_dump_json(), listener.position.id)
        for text, _ in self._after(row, listener.position, until, over_told=False):
            yield text

    def _look(self) -> list[str]:
        row = self._row()
        folders, log = self.service.folders(row), self._log()
        now: Stamp = (*stamp(folders), row.changed, log.stat().st_size if log.is_file() else 0)
        if self._head is None:
            size = log.stat().st_size if log.is_file() else 0
            self._head, self._stamp = Position(*news.ends(folders), size), now
            self._over_told = row.state not in OPEN
        texts, head = [], self._head
        job = self.service.told(row).model_dump_json()
        if job != self._job:
            texts.append(event("job", job, head.id))
        if now != self._stamp:
            for text, position in self._after(row, head, None, self._over_told):
                texts.append(text)
                head = position
            self._over_told = row.state not in OPEN
        # only here, where nothing can fail any more: what a look finds is told or found again
        self._head, self._job, self._stamp = head, job, now
        return texts

    def _after(
        self, row: JobRow, at: Position, until: Position | None, over_told: bool
    ) -> Iterator[tuple[str, Position]]:
        """Yield the events after a position, each with the position that it leads to."""
        folders = self.service.folders(row)
        trials = news.trials(folders, at.trials)
        at = at._replace(trials=until.trials if until else trials.cursor)
        if trials.rows:
            yield event("trials", trials.model_dump_json(), at.id), at
        more = True
        while more:
            limit = until.curves if until else None
            curves = news.curves(folders, at.curves, POINTS_AT_ONCE, limit)
            more = curves.more
            if curves.points:
                at = at._replace(curves=curves.cursor)
                yield event("curves", curves.model_dump_json(), at.id), at
        over = row.state not in OPEN
        last = until.log if until else None
        while True:
            part = log_part(self._log(), at.log, LOG_BYTES, over, last)
            at = at._replace(log=part.next_offset)
            if part.text or (part.ended and not over_told):
                yield event("log", part.model_dump_json(), at.id), at
            if not part.text or part.next_offset >= part.size:
                return

    def _row(self) -> JobRow:
        row = self.service.store.job(self._id)
        assert row is not None
        return row

    def _log(self) -> Path:
        return self.service.settings.log_file(self._id)


class Hub:
    """All feeds."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._queue = QueueFeed(service)
        self._jobs: dict[str, JobFeed] = {}
        self._listeners: set[Listener] = set()
        self._closed = False

    def queue(self, user: UserRow) -> AsyncIterator[str]:
        """Return a stream of the queue and of a user's jobs."""
        return self._stream(None, Listener(user))

    def job(self, user: UserRow, id: str, position: Position) -> AsyncIterator[str]:
        """Return a stream of a job, from a position.

        Raises
        ------
        UserError
            If the position is none.
        """
        news.check(position.trials, position.curves)
        return self._stream(id, Listener(user, position))

    @property
    def count(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def check_room(self, user: UserRow) -> None:
        """Raise 429 or 503 if there are too many listeners already."""
        if sum(one.user.name == user.name for one in self._listeners) >= MOST_OF_USER:
            raise HTTPException(
                429, f"You have {MOST_OF_USER} event streams open; close one.", {"Retry-After": "5"}
            )
        if self._closed or self.count >= MOST_LISTENERS:
            raise HTTPException(503, "The server has no room for another event stream now.")

    def close(self) -> None:
        """End all streams, as the service ends."""
        self._closed = True
        for listener in self._listeners:
            listener.put(None)

    async def _stream(self, id: str | None, listener: Listener) -> AsyncIterator[str]:
        feed: Feed = self._queue
        if id is not None:
            feed = self._jobs.setdefault(id, JobFeed(self._service, id))
        self._listeners.add(listener)
        feed.join(listener)
        beat_s = time.monotonic() + HEARTBEAT_S
        try:
            yield f"retry: {RETRY_MS}\n\n"
            while True:
                try:
                    wait_s = max(0.0, beat_s - time.monotonic())
                    item = await asyncio.wait_for(listener.take(), wait_s)
                except TimeoutError:
                    if not await asyncio.to_thread(self._service.auth.still_good, listener.user):
                        return
                    beat_s = time.monotonic() + HEARTBEAT_S
                    yield event("heartbeat", json.dumps({"at": time.time()}))
                    continue
                if item is None:
                    return
                if isinstance(item, Position):
                    async for text in iterate_in_threadpool(feed.missed(listener, item)):
                        yield text
                else:
                    yield item
        finally:
            self._listeners.discard(listener)
            feed.leave(listener)
            if id is not None and not (feed.listeners or feed.joining):
                del self._jobs[id]
