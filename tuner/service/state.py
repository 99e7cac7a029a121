"""What the routes share: settings, the store, who calls, and what is told of jobs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol
from urllib.parse import quote

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyCookie, HTTPBearer

from search_spaces.model import UserError
from tuner.record_file import FILE as RECORD
from tuner.record_file import record_folders
from tuner.service import models
from tuner.service.answers import Answers
from tuner.service.auth import COOKIE, Auth, may_see
from tuner.service.board import Board
from tuner.service.reporting import Reports
from tuner.service.settings import Settings
from tuner.service.store import Store
from tuner.service.submission import Accepted, accepted
from tuner.service.tables import JobRow, UserRow
from tuner.service.views import Progresses, stamp
from tuner.service.workers import Workers
from tuner.spec_sections import BudgetConfig

CHECKED_AT_ONCE = 2
"""Submissions; checking one takes up to a second of a core."""
CHECK_WAIT_S = 10.0
UPLOADS = 4
"""Data sets that are received at once, one of each user."""
ARCHIVES_OF_USER, ARCHIVES = 2, 12
"""Archives that are asked for at once; one is packed at a time."""


class Conductor(Protocol):
    """What the API needs of the supervisor."""

    @property
    def capacity(self) -> models.Capacity | None:
        """What there is to give; None while Ray is away."""

    @property
    def notes(self) -> Sequence[str]:
        """What users should know now."""

    @property
    def waited_s(self) -> Mapping[str, float]:
        """By job that waits, how long it has."""

    def wake(self) -> None:
        """Look at the queue at once."""


class Service:
    """Everything that a route may use."""

    def __init__(self, settings: Settings, store: Store, conductor: Conductor) -> None:
        self.settings, self.store, self.conductor = settings, store, conductor
        self.auth = Auth(store)
        self.progresses = Progresses()
        self.reports = Reports(settings)
        self.uploads = Workers("uploads", threads=UPLOADS, of_user=1, in_all=UPLOADS)
        self.archives = Workers("archives", threads=1, of_user=ARCHIVES_OF_USER, in_all=ARCHIVES)
        self.answers = Answers(store, self.told, self._seen)
        self._checking = threading.BoundedSemaphore(CHECKED_AT_ONCE)
        self._last_capacity: models.Capacity | None = None
        self.board = Board(
            store,
            lambda: conductor.capacity,
            lambda: conductor.notes,
            self._remaining_s,
            lambda: conductor.waited_s,
        )

    def capacity(self) -> models.Capacity:
        """Return what there is to give, or was before Ray went away.

        Raises
        ------
        HTTPException
            503 if Ray has not answered yet.
        """
        self._last_capacity = self.conductor.capacity or self._last_capacity
        if self._last_capacity is None:
            raise HTTPException(
                503, "Ray has not answered yet, so it is not known what it can hold; try again."
            )
        return self._last_capacity

    def accepted(self, submission: models.Submission, user: UserRow) -> Accepted:
        """Return what a submission would queue, when few others are being checked.

        Raises
        ------
        UserError
            If it would be refused once it is started.
        HTTPException
            503 if too many are being checked.
        """
        if not self._checking.acquire(timeout=CHECK_WAIT_S):
            raise HTTPException(
                503, "Too many submissions are being checked; try again.", {"Retry-After": "5"}
            )
        try:
            return accepted(submission, user, self.data_set, self.capacity())
        finally:
            self._checking.release()

    def job(self, user: UserRow, id: str) -> JobRow:
        """Return a job that a user may see.

        Raises
        ------
        HTTPException
            404 if there is none, or it is another's: which of both is not told.
        """
        return self._seen_by(user, id, self.store.job(id))

    def job_answer(self, user: UserRow, id: str) -> bytes:
        """Return what is told of a job that a user may see, as JSON.

        Raises
        ------
        HTTPException
            404 as `job`.
        """
        answer = self.answers.answer(id, lambda: [self.job(user, id)], one=True)
        self._seen_by(user, id, answer.rows[0])  # it may have been kept for another user
        return answer.body

    def _seen_by(self, user: UserRow, id: str, job: JobRow | None) -> JobRow:
        if job is None or not may_see(user, job):
            raise HTTPException(404, f"You have no job {id!r}; GET /api/v1/jobs lists yours.")
        return job

    def folders(self, job: JobRow) -> list[Path]:
        """Return the folders of a job's records."""
        return record_folders(self.settings.run_folder(job.id))

    def told(self, job: JobRow) -> models.Job:
        """Return what is told of a job."""
        now = self.board.snapshot() if job.state == "queued" else None
        return models.Job(
            id=job.id,
            kind=job.kind,
            user=job.user_name,
            state=job.state,
            wanted=job.wanted,
            reason=job.reason,
            space=job.space,
            digest=job.digest,
            priority=job.priority,
            exclusive=job.exclusive,
            gpus=job.gpus,
            cpus=job.cpus,
            attempt=job.attempt,
            position=now.position(job) if now else None,
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            expected_start_s=now.starts_s.get(job.id) if now else None,
            progress=self._progress(job),
            budget=budget(job),
            epochs=job.spec.get("epochs"),
            links={
                name: url.replace("{job}", quote(job.id))
                for name, url in self.settings.links.items()
            },
        )

    def taken(self, name: str) -> bool:
        """Return whether something else has a name already, such as a run started by hand."""
        # A job's folder without a job is another database's: its outcome must not be believed.
        places = (self.settings.run_folder(name), self.settings.job_folder(name))
        return any(place.exists() for place in places)

    def data_set(self, fingerprint: str, name: str) -> Path | None:
        """Return the folder of a registered data set."""
        known = self.store.data_set(fingerprint, name) is not None
        return self.settings.data_folder(fingerprint, name) if known else None

    def _seen(self, job: JobRow) -> object:
        """Return what changes whenever `told` does, of a job that is open."""
        now = self.board.snapshot() if job.state == "queued" else None
        place = (now.position(job), now.starts_s.get(job.id)) if now else None
        return stamp(self.folders(job)), place

    def _progress(self, job: JobRow) -> models.Progress | None:
        progress = self.progresses.of(self.settings.run_folder(job.id), job.kind)
        if progress is not None and job.state == "finished":
            # a study may confirm less than the most that it might, a small space run out of trials
            return progress.model_copy(update={"share_done": 1.0})
        return progress

    def _remaining_s(self, job: JobRow) -> float | None:
        progress = self._progress(job)
        return progress.remaining_seconds if progress else None


def budget(job: JobRow) -> dict[str, float | None]:
    """Return what a run may spend, with what was added; a study's runs each have their own."""
    if job.kind == "study":
        return {}
    more = job.more.amounts
    return {
        name: None if limit is None else limit + more.get(f"more_{name}", 0)
        for name, limit in job.spec["budget"].items()
    }


def check_raise(job: JobRow, more: models.Raise) -> None:
    """Refuse an amount that a job's budget cannot take.

    Raises
    ------
    UserError
        If it has no such limit, the sum is too much, or the job is a study, whose budget is frozen.
    """
    from tuner.budget import raised

    if not more.amounts:
        return
    if job.kind == "study":
        raise UserError(
            f"Job {job.id} is a study, which froze its budget: trials that are added after looking"
            " would bias the answer. Submit another study."
        )
    raised(BudgetConfig.model_validate(budget(job)), **more.amounts)


async def service(request: Request) -> Service:
    """Return the application's service; async, so that no thread is woken for it."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


def caller(
    request: Request,
    service: Annotated[Service, Depends(service)],
    _bearer: Annotated[object, Security(HTTPBearer(auto_error=False, description="A token."))],
    _cookie: Annotated[
        object,
        Security(APIKeyCookie(name=f"{COOKIE}_TAG", description="A page's.", auto_error=False)),
    ],
) -> UserRow:
    """Return who calls; the parameters are there for the API's description."""
    return service.auth.caller(request)


def has_record(folder: Path) -> bool:
    """Return whether a folder holds a run or a study with one."""
    return (folder / RECORD).is_file() or any(folder.glob(f"*/{RECORD}"))


ServiceDep = Annotated[Service, Depends(service)]
CallerDep = Annotated[UserRow, Depends(caller)]
