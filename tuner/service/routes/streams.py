"""Event streams: the queue and one's jobs, and one job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from tuner.service.events import LOG_BYTES, Hub, Position
from tuner.service.news import BEGINNING
from tuner.service.routes.jobs import LARGEST_OFFSET, Cursor, Id
from tuner.service.state import CallerDep, ServiceDep
from tuner.service.views import MOST_LOG_BYTES

router = APIRouter(tags=["events"])

KIND = "text/event-stream"
RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"content": {KIND: {"schema": {"type": "string"}}}, "description": "Events, for ever."}
}


@router.get("/events", response_class=StreamingResponse, responses=RESPONSES)
async def events(user: CallerDep, request: Request) -> StreamingResponse:
    """Stream the queue and one's newest jobs, whenever they change: `queue` and `jobs`."""
    hub = _hub(request)
    hub.check_room(user)
    return _stream(hub.queue(user))


@router.get("/jobs/{id}/events", response_class=StreamingResponse, responses=RESPONSES)
async def job_events(
    id: Id,
    user: CallerDep,
    service: ServiceDep,
    request: Request,
    trials: Cursor = BEGINNING,
    curves: Cursor = BEGINNING,
    log: Annotated[int, Query(ge=-MOST_LOG_BYTES, le=LARGEST_OFFSET)] = -LOG_BYTES,
    cursor: Cursor | None = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Stream a job: `job`, `trials`, `curves` and `log`, from cursors or after an event's id."""
    await asyncio.to_thread(service.job, user, id)
    hub, last = _hub(request), last_event_id or cursor
    hub.check_room(user)
    position = Position.read(last) if last else Position(trials, curves, log)
    return _stream(hub.job(user, id, position))


def _hub(request: Request) -> Hub:
    hub = request.app.state.hub
    assert isinstance(hub, Hub)
    return hub


def _stream(events: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(events, media_type=KIND, headers={"X-Accel-Buffering": "no"})
