"""The application: routes, limits, errors and the page, put together."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from search_spaces.model import Model
from tuner.service.errors import handle_errors
from tuner.service.events import Hub
from tuner.service.limits import BodyLimit, SafeAnswers
from tuner.service.routes import about, files, jobs, streams
from tuner.service.settings import Settings
from tuner.service.state import CallerDep, Conductor, Service
from tuner.service.store import Store
from tuner.service.uploads import INCOMING

PREFIX = "/api/v1"
STATIC = Path(__file__).parent / "static"
DESCRIPTION = (
    "Searches for a server with few GPUs: submitted, queued fairly, watched and fetched. Names of"
    " jobs are global: a name that is taken is refused, whoever's it is."
)


class Error(Model):
    """What every refusal answers."""

    error: str
    """One line: what is wrong, where, and what would work."""


class Health(Model):
    """That the service answers."""

    status: str = "ok"


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 403, 404, 408, 409, 413, 422, 429, 503, 507)
}


def create_app(settings: Settings, store: Store, conductor: Conductor) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    settings : Settings
    store : Store
        Opened; whoever opened it closes it.
    conductor : Conductor
        The supervisor, which the caller starts and stops.
    """
    service = Service(settings, store, conductor)
    for left in (settings.temporary, *settings.data_sets.glob(f"{INCOMING}*")):
        shutil.rmtree(left, ignore_errors=True)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        hub.close()

    app = FastAPI(
        title="tuner",
        version=metadata.version("tuner"),
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    hub = Hub(service)
    app.state.service, app.state.hub = service, hub
    handle_errors(app)
    app.add_middleware(
        BodyLimit, upload_prefix=f"{PREFIX}/datasets/", upload_bytes=settings.max_upload_bytes
    )
    app.add_middleware(SafeAnswers)
    for router in (about.router, jobs.router, files.router, streams.router, about.open_router):
        app.include_router(router, prefix=PREFIX, responses=ERRORS)
    app.include_router(_own(app), responses=ERRORS)
    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), "static")
    return app


def _own(app: FastAPI) -> APIRouter:
    """Return the routes of the application itself."""
    router = APIRouter()

    @router.get("/health", tags=["about"])
    def health() -> Health:
        """Say that the service answers; needs no token."""
        return Health()

    @router.get(f"{PREFIX}/openapi.json", include_in_schema=False)
    def openapi(_: CallerDep) -> JSONResponse:
        """Describe the API."""
        return JSONResponse(app.openapi())

    @router.get("/", include_in_schema=False)
    def index() -> FileResponse:
        """Return the page, which asks for a token itself."""
        return FileResponse(STATIC / "index.html")

    return router
