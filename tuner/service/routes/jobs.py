"""Jobs: submitted, listed, stopped, paused, resumed, and what they write."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response

from tuner.service import news
from tuner.service.auth import address
from tuner.service.models import (
    OPEN,
    Checked,
    Curves,
    Job,
    JobState,
    Log,
    Queue,
    Raise,
    Submission,
    Trials,
    Wanted,
)
from tuner.service.state import CallerDep, Service, ServiceDep, check_raise
from tuner.service.submission import content_of
from tuner.service.tables import Act, JobRow, UserRow
from tuner.service.views import MOST_LOG_BYTES, log_part

router = APIRouter(tags=["jobs"])

Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")]
Cursor = Annotated[str, Query(max_length=news.LONGEST_CURSOR)]
SMALLEST_PART = 16
"""Bytes of a log: less might not hold one character."""
LARGEST_OFFSET = 2**53


@router.post("/jobs", status_code=201, responses={200: {"model": Job}})
def submit(
    submission: Submission,
    user: CallerDep,
    service: ServiceDep,
    request: Request,
    response: Response,
) -> Job:
    """Queue a search; asked again with the same key, return the job that was queued then."""
    before = service.store.job_with_key(user.name, submission.key)
    if before is not None and before.content == content_of(submission):
        response.status_code = 200
        return service.told(before)
    found = service.accepted(submission, user)
    job = found.new
    detail = f"{job.kind} {job.digest[:12]}, {job.gpus:g} GPUs, {job.cpus} cores"
    by = Act(user.name, "submit", detail, address(request))
    row, new = service.store.create_job(job, found.name, found.chosen, service.taken, by=by)
    if new:
        service.conductor.wake()
    else:
        response.status_code = 200
    return service.told(row)


@router.post("/jobs/check")
def check(submission: Submission, user: CallerDep, service: ServiceDep) -> Checked:
    """Say what a submission would queue, or refuse what would be refused; nothing is queued."""
    found = service.accepted(submission, user)
    return Checked(
        name=service.store.free_name(found.name, found.chosen, service.taken),
        digest=found.new.digest,
        gpus=found.new.gpus,
        cpus=found.new.cpus,
        position=service.board.place(found.new),
        notes=[*service.conductor.notes],
    )


@router.get("/jobs", response_model=list[Job])
def jobs(
    user: CallerDep,
    service: ServiceDep,
    state: Annotated[list[JobState] | None, Query()] = None,
    of: Annotated[str | None, Query(alias="user", max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """List jobs, the newest first: one's own, or for an admin all, or one user's."""
    whose = of if user.admin else user.name
    if of is not None and of != whose:
        return _json(b"[]")
    states = None if state is None else tuple(state)

    def rows() -> list[JobRow]:
        return service.store.jobs(user=whose, states=states, limit=limit)

    return _json(service.answers.answer((whose, states, limit), rows, one=False).body)


@router.get("/queue")
def queue(user: CallerDep, service: ServiceDep) -> Queue:
    """Tell what is held, and what waits in which order; others' jobs without their names."""
    return service.board.seen_by(user)


@router.get("/jobs/{id}", response_model=Job)
def job(id: Id, user: CallerDep, service: ServiceDep) -> Response:
    """Tell how a job is going."""
    return _json(service.job_answer(user, id))


@router.post("/jobs/{id}/stop", status_code=202)
def stop(id: Id, user: CallerDep, service: ServiceDep, request: Request, now: bool = False) -> Job:
    """Stop a job so that it can be resumed; `now` costs the epochs that are under way."""
    return _asked(id, "stop_now" if now else "stop", user, service, request)


@router.post("/jobs/{id}/pause", status_code=202)
def pause(id: Id, user: CallerDep, service: ServiceDep, request: Request) -> Job:
    """Pause a job: its epochs under way end, and its GPUs are free for others."""
    return _asked(id, "pause", user, service, request)


@router.post("/jobs/{id}/resume", status_code=202, responses={200: {"model": Job}})
def resume(
    id: Id,
    user: CallerDep,
    service: ServiceDep,
    request: Request,
    response: Response,
    more: Annotated[Raise, Body()] = Raise(),  # noqa: B008 - frozen
) -> Job:
    """Queue a job again that was paused or has ended, perhaps with a larger budget.

    Where that has been done already, as by the same key, the job is returned as it is (200).
    """
    before = service.job(user, id)
    detail = json.dumps(more.amounts) if more.amounts else None
    by = Act(user.name, "resume", detail, address(request))
    row = service.store.resume(id, more, check=check_raise, by=by)
    if row.arrival == before.arrival:
        response.status_code = 200
    service.conductor.wake()
    return service.told(row)


@router.get("/jobs/{id}/log")
def log(
    id: Id,
    user: CallerDep,
    service: ServiceDep,
    offset: Annotated[int, Query(ge=-MOST_LOG_BYTES, le=LARGEST_OFFSET)] = 0,
    limit: Annotated[int, Query(ge=SMALLEST_PART, le=MOST_LOG_BYTES)] = 65_536,
) -> Log:
    """Return part of what a job's process wrote; a negative offset counts from the end."""
    row = service.job(user, id)
    return log_part(service.settings.log_file(id), offset, limit, row.state not in OPEN)


@router.get("/jobs/{id}/trials")
def trials(
    id: Id, user: CallerDep, service: ServiceDep, after_change: Cursor = news.BEGINNING
) -> Trials:
    """Return the trials that are new or have changed since a cursor."""
    return news.trials(service.folders(service.job(user, id)), after_change)


@router.get("/jobs/{id}/curves")
def curves(
    id: Id, user: CallerDep, service: ServiceDep, after_change: Cursor = news.BEGINNING
) -> Curves:
    """Return the epochs that were recorded since a cursor."""
    return news.curves(service.folders(service.job(user, id)), after_change)


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _asked(id: str, wanted: Wanted, user: UserRow, service: Service, request: Request) -> Job:
    service.job(user, id)
    by = Act(user.name, wanted.replace("_", " "), address=address(request))
    row = service.store.want(id, wanted, by=by)
    service.conductor.wake()
    return service.told(row)
