"""Middleware around all requests: how long a body may be, what headers every answer carries.

Plain ASGI rather than Starlette's `BaseHTTPMiddleware`, which would put a task and a queue between
every event stream and its listener.
"""

from __future__ import annotations

import socket

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.service.errors import error_answer, told

MAX_JSON_BYTES = 1_000_000
STALLED_S = 60.0
"""A client that takes nothing of what it is sent for so long is cut off."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing but the page's own files, and no script or style that stands in a document."""
REPORT_POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; frame-ancestors 'self'; base-uri 'none'"
)
"""A report brings its own policy for its own scripts; here it is kept from the page's session."""


def cut_off_stalled(listening: socket.socket) -> None:
    """Let the kernel end connections that are accepted here once their client has stalled.

    An answer waits while the client does not read, and so would its listener, file or memory for
    ever; TCP's own probes are answered by the client's kernel as long as the process is there.
    """
    milliseconds = int(STALLED_S * 1000)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


class BodyLimit:
    """Refuses bodies that are too long: at once where the length is announced, else on the way.

    Parameters
    ----------
    app : ASGI application
    upload_prefix : str
        Paths under it may take `upload_bytes`, all others `MAX_JSON_BYTES`.
    upload_bytes : int
    """

    def __init__(self, app: ASGIApp, upload_prefix: str, upload_bytes: int) -> None:
        self._app, self._prefix, self._upload_bytes = app, upload_prefix, upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._upload_bytes if scope["path"].startswith(self._prefix) else MAX_JSON_BYTES
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > most:
            await error_answer(413, _too_long(most))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, _too_long(most))
            return message

        await self._app(scope, counted, send)


class SafeAnswers:
    """Adds what keeps a browser from doing more with an answer than it is for; tells our mistakes.

    It stands outside of all else, so that this holds for every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the headers it lacks."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False
        # every archive is made anew, so that no part of one goes with another's
        headers = [one for one in scope["headers"] if one[0] not in (b"range", b"if-range")]
        scope = {**scope, "headers": headers}

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", PAGE_POLICY)
                headers.setdefault("X-Content-Type-Options", "nosniff")
                headers.setdefault("X-Frame-Options", "SAMEORIGIN")
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                static = scope["path"] == "/" or scope["path"].startswith("/static")
                headers.setdefault("Cache-Control", "no-cache" if static else "no-store")
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        except Exception as error:
            if begun:
                raise
            await told(error)(scope, receive, with_headers)


def _too_long(most: int) -> str:
    return f"The body must be at most {most:,} bytes."
