"""Every error as one line of JSON, `{"error": …}`, whatever went wrong and wherever."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from search_spaces.model import UserError, shown
from tuner.record import RecordFull
from tuner.service.disk import FULL, NoRoom, is_full
from tuner.service.store import Conflict, StoreFull

LOG = logging.getLogger("tuner.service")

WORDS = {
    404: "There is nothing here; GET /api/v1/openapi.json tells what there is.",
    405: "This address does not take that method.",
}
"""What is said instead of Starlette's two words."""
STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Conflict, 409),
    (NoRoom, 507),
    (StoreFull, 503),
    (RecordFull, 503),
    (UserError, 422),
)
"""The first that fits counts."""


def error_answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as one line that any text can be part of."""
    line = " ".join(text.split())
    body = json.dumps({"error": line}, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, status, dict(headers or {}), "application/json")


def told(error: Exception) -> Response:
    """Return what is answered where `error` was raised."""
    if isinstance(error, StarletteHTTPException):
        plain = error.detail in ("Not Found", "Method Not Allowed")
        text = WORDS[error.status_code] if plain else str(error.detail)
        return error_answer(error.status_code, text, error.headers)
    if isinstance(error, RequestValidationError):
        return error_answer(*_invalid(error))
    for kind, status in STATUS:
        if isinstance(error, kind):
            return error_answer(status, str(error))
    if is_full(error):
        return error_answer(503, FULL)
    if isinstance(error, ClientDisconnect):  # which nobody hears
        return error_answer(400, "The body ended early.")
    if isinstance(error, PoolTimeout):
        LOG.warning("The database's connections were all in use for too long.")
        text = "The server has too much to do now; try again later."
        return error_answer(503, text, {"Retry-After": "5"})
    if isinstance(error, OperationalError | sqlite3.OperationalError):
        LOG.error("The database failed", exc_info=error)
        return error_answer(503, "The server's database cannot be used now; try again later.")
    LOG.error("Unexpected error", exc_info=error)
    return error_answer(500, "Unexpected error; the server's log has the details.")


def handle_errors(app: FastAPI) -> None:
    """Let an application tell all its errors so."""

    async def handler(_: Request, error: Exception) -> Response:
        return told(error)

    for kind in (
        StarletteHTTPException, HTTPException, RequestValidationError, UserError,
        OperationalError, sqlite3.OperationalError, PoolTimeout, ClientDisconnect, OSError,
    ):  # fmt: skip
        app.add_exception_handler(kind, handler)


def _invalid(error: RequestValidationError) -> tuple[int, str]:
    """Return status and sentence for what pydantic or the JSON parser refused."""
    found: list[dict[str, Any]] = list(error.errors())
    if any(one["type"] == "json_invalid" for one in found):
        return 400, f"The body is no JSON: {found[0].get('ctx', {}).get('error', 'malformed')}."
    lines = []
    for one in found[:4]:
        place = ".".join(str(part) for part in one["loc"] if part != "body") or "body"
        value = one.get("input")
        got = "" if one["type"] == "missing" else f", but got {shown(value)}"
        lines.append(f"{place}: {one['msg']}{got}")
    more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
    return 422, "; ".join(lines) + more + "."
