"""What travels as files: data sets in, archives and reports out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from search_spaces.model import Model
from tuner.service.archive import write_archive
from tuner.service.auth import address
from tuner.service.disk import check_room
from tuner.service.limits import REPORT_POLICY
from tuner.service.models import Comparison, DataSet, Fingerprint, Name
from tuner.service.routes.jobs import Id
from tuner.service.state import CallerDep, Service, ServiceDep, has_record
from tuner.service.tables import Act, DataSetRow, UserRow
from tuner.service.uploads import is_sound, received
from tuner.service.workers import Workers

router = APIRouter(tags=["files"])

SEPARATOR = ","
"""Between the jobs of a comparison, whose names together are its name."""
IDLE_S = 60.0
"""Of an upload of which nothing arrives for so long, nothing more is expected."""
CHECK_ROOM_EVERY = 64 * 2**20
"""Bytes of an upload."""


class Link(Model):
    """Where something is."""

    url: str


class Sound(Model):
    """Whether a data set is whole."""

    sound: bool


@router.get("/datasets")
def data_sets(user: CallerDep, service: ServiceDep) -> list[DataSet]:
    """List the data sets that searches may train on."""
    return [_told(row) for row in service.store.data_sets()]


@router.put(
    "/datasets/{fingerprint}/{name}",
    status_code=201,
    responses={200: {"model": DataSet}},
    openapi_extra={"requestBody": {"content": {"application/x-tar": {}}, "required": True}},
)
async def put_data_set(
    fingerprint: Fingerprint,
    name: Name,
    user: CallerDep,
    service: ServiceDep,
    request: Request,
    response: Response,
) -> DataSet:
    """Receive a data set: a tar of a packed folder, images.npy, labels.npy and meta.json.

    One that is there already is not read, unless it has been damaged on the server's disk: then it
    is replaced.
    """
    uploads, folder = service.uploads, service.settings.data_folder(fingerprint, name)
    with uploads.place(user.name), _temporary(service) as tar:
        there = await asyncio.to_thread(service.store.data_set, fingerprint, name)
        if there is not None and await uploads.do(is_sound, folder, fingerprint):
            response.status_code = 200
            return _told(there)
        await _receive(request, tar, uploads)
        row = await uploads.do(received, tar, fingerprint, name, user.name, service.settings)
    by = Act(user.name, "data set", f"{name} {fingerprint[:12]}", address(request))
    new = await asyncio.to_thread(service.store.add_data_set, row, by=by)
    response.status_code = 201 if new else 200
    return _told(row)


@router.post("/datasets/{fingerprint}/{name}/check")
async def check_data_set(
    fingerprint: Fingerprint, name: Name, user: CallerDep, service: ServiceDep
) -> Sound:
    """Read a data set that the server has, and say whether it is as it was sent."""
    if await asyncio.to_thread(service.store.data_set, fingerprint, name) is None:
        raise HTTPException(404, f"The server has no data set {name!r} of this fingerprint.")
    folder = service.settings.data_folder(fingerprint, name)
    with service.uploads.place(user.name):
        return Sound(sound=await service.uploads.do(is_sound, folder, fingerprint))


@router.get("/jobs/{id}/archive", response_class=FileResponse)
async def archive(id: Id, user: CallerDep, service: ServiceDep) -> FileResponse:
    """Return a tar.gz of a job's folder without states of trials: what `tuner fetch` takes."""
    row = await asyncio.to_thread(service.job, user, id)
    folder = service.settings.run_folder(row.id)
    _must_have_record(row.id, folder)
    log = service.settings.log_file(row.id)
    with service.archives.place(user.name), _temporary(service, keep=True) as target:
        await service.archives.do(write_archive, folder, log, target)
    return _sent(target, media_type="application/gzip", filename=f"{row.id}.tar.gz")


@router.get("/jobs/{id}/report", response_class=FileResponse)
async def report(id: Id, user: CallerDep, service: ServiceDep) -> FileResponse:
    """Return a job's report, made anew if its record has changed."""
    return await _report([id], user, service)


@router.post("/compare")
def compare(body: Comparison, user: CallerDep, service: ServiceDep) -> Link:
    """Return where a report on several jobs is."""
    names = list(dict.fromkeys(body.jobs))
    for name in names:
        _must_have_record(name, service.settings.run_folder(service.job(user, name).id))
    return Link(url=f"/api/v1/comparisons/{SEPARATOR.join(names)}")


@router.get("/comparisons/{names}", response_class=FileResponse)
async def comparison(
    names: Annotated[str, InPath(pattern=r"^[A-Za-z0-9._,-]{1,6100}$")],
    user: CallerDep,
    service: ServiceDep,
) -> FileResponse:
    """Return a report on several jobs."""
    return await _report(list(dict.fromkeys(names.split(SEPARATOR))), user, service)


async def _report(ids: list[str], user: UserRow, service: Service) -> FileResponse:
    rows = [await asyncio.to_thread(service.job, user, id) for id in ids]
    for row in rows:
        _must_have_record(row.id, service.settings.run_folder(row.id))
    records = [folder for row in rows for folder in service.folders(row)]
    with _temporary(service, keep=True) as target:
        target.unlink()
        await service.reports.html(user.name, [row.id for row in rows], records, target)
    headers = {"Content-Security-Policy": REPORT_POLICY}
    return _sent(target, media_type="text/html", headers=headers)


async def _receive(request: Request, tar: Path, uploads: Workers) -> None:
    """Write a request's body to a file, if there is and stays room for it and for its contents."""
    announced = request.headers.get("content-length", "")
    check_room(tar.parent, 2 * int(announced) if announced.isdecimal() else 0, "This data set")
    size, next_check = 0, CHECK_ROOM_EVERY
    chunks = request.stream()
    with tar.open("wb") as file:
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                raise HTTPException(408, f"Nothing more came for {IDLE_S:g} s.") from None
            if chunk is None:
                return
            await uploads.do(file.write, chunk)
            size += len(chunk)
            if size >= next_check:
                check_room(tar.parent, size, "This data set")
                next_check = size + CHECK_ROOM_EVERY


def _sent(file: Path, **how: Any) -> FileResponse:
    """Return an answer that sends a file and then removes it."""
    return FileResponse(file, background=BackgroundTask(file.unlink, missing_ok=True), **how)


def _must_have_record(id: str, folder: Path) -> None:
    if not has_record(folder):
        raise HTTPException(409, f"Job {id} has no record yet: it has not begun to train.")


@contextmanager
def _temporary(service: Service, keep: bool = False) -> Iterator[Path]:
    """Yield the path of a temporary file; it is removed after, or if anything fails."""
    service.settings.temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=service.settings.temporary, delete=False) as file:
        path = Path(file.name)
    try:
        yield path
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if not keep:
        path.unlink(missing_ok=True)


def _told(row: DataSetRow) -> DataSet:
    return DataSet(**vars(row))
