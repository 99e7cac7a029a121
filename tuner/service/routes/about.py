"""Who one is, what the server is, the page's session, and the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from pydantic import Field

from search_spaces.model import Model
from search_spaces.space import known_spaces
from tuner import provenance
from tuner.service.models import AuditRow, Draft, Drafted, Me, Server
from tuner.service.state import CallerDep, ServiceDep
from tuner.service.submission import drafted
from tuner.spec import known_presets

router = APIRouter(tags=["about"])
open_router = APIRouter(tags=["about"])
"""Routes that need no token."""

MOST_AUDITED = 10_000


class LogIn(Model):
    """What opens a session."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


@router.get("/me")
def me(user: CallerDep) -> Me:
    """Tell whose token or session it is."""
    return Me(user=user.name, admin=user.admin)


@router.get("/server")
def server(user: CallerDep, service: ServiceDep) -> Server:
    """Tell what a client checks before it submits."""
    return Server(
        versions=provenance.versions(),
        capacity=service.conductor.capacity,
        spaces=list(known_spaces()),
        presets=list(known_presets()),
        max_upload_bytes=service.settings.max_upload_bytes,
        runs=str(service.settings.runs),
    )


@router.get("/audit")
def audit(
    user: CallerDep,
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=MOST_AUDITED)] = 100,
) -> list[AuditRow]:
    """Tell an admin what users did, the newest first."""
    if not user.admin:
        raise HTTPException(403, f"Only an admin may read the audit log; {user.name} is none.")
    return [
        AuditRow(
            at=row.at, user=row.user_name, action=row.action, job=row.job, detail=row.detail,
            address=row.address,
        )
        for row in service.store.audit(limit)
    ]  # fmt: skip


@router.post("/specs")
def specs(draft: Draft, user: CallerDep) -> Drafted:
    """Specify a run from a preset, a space and flags, as `tuner run` does; nothing is queued."""
    spec = drafted(draft)
    return Drafted(spec=spec.model_dump(mode="json"), digest=spec.digest)


@open_router.post("/session", status_code=204)
def log_in(body: LogIn, request: Request, response: Response, service: ServiceDep) -> None:
    """Exchange a token for a session's cookie."""
    service.auth.log_in(request, response, body.token)


@router.delete("/session", status_code=204)
def log_out(user: CallerDep, request: Request, response: Response, service: ServiceDep) -> None:
    """End the session."""
    service.auth.log_out(request, response)
