"""Whatever goes wrong is told in one line with the status that says whose turn it is."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import ClientDisconnect

from tests.tuner.service.serving import Serving, submission
from tests.tuner.service.test_api import refused
from tuner.record import RecordFull
from tuner.service.board import Board
from tuner.service.disk import NoRoom
from tuner.service.store import Conflict, Store, StoreFull


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


@pytest.mark.parametrize(
    ("error", "status", "logged"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 503, 0),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 503, 0),
        (OSError(errno.EIO, "Input/output error"), 500, 1),
        (StoreFull("no room"), 503, 0),
        (RecordFull("no room"), 503, 0),
        (NoRoom("no room"), 507, 0),
        (Conflict("not now"), 409, 0),
        (PoolTimeout("QueuePool limit of size 16 reached"), 503, 1),
        (ClientDisconnect(), 400, 0),
        (RuntimeError("ours"), 500, 1),
    ],
)
def test_an_error_has_its_status_and_only_what_the_operator_must_see_is_logged(
    serving: Serving,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
    logged: int,
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(Board, "seen_by", fails)
    line = refused(serving.client().get("/api/v1/queue"), status)
    assert "QueuePool" not in line and "ours" not in line
    assert len([one for one in caplog.records if one.name == "tuner.service"]) == logged


def test_while_the_database_is_full_everything_is_told_and_nothing_changes(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.add_job("going")
    serving.add_job("ended", state="failed")
    client = serving.client()

    @contextlib.contextmanager
    def full(self: Store, bump: bool = True) -> Iterator[Any]:
        raise StoreFull("The service's database cannot be written.")
        yield

    monkeypatch.setattr(Store, "_transaction", full)
    token = {"token": serving.tokens["alice"]}
    for path, body in (
        ("/jobs", submission()), ("/jobs/going/stop", None), ("/jobs/going/pause", None),
        ("/jobs/ended/resume", {}), ("/session", token),
    ):  # fmt: skip
        assert "cannot be written" in refused(client.post(f"/api/v1{path}", json=body), 503)
    for path in ("/jobs", "/jobs/going", "/queue", "/me", "/jobs/going/trials", "/datasets"):
        assert client.get(f"/api/v1{path}").status_code == 200
    assert client.get("/api/v1/jobs/going/archive").status_code == 200
