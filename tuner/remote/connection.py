"""A connection to a server that may break: requests are sent again until there is an answer.

Every request may be sent twice: what reads changes nothing, a submission and a raise carry a key,
and of an action whose answer was lost the job's state tells whether it was heard. So all are tried
again until an answer comes or patience ends; what follows a job is patient without end.

A server that is gone without a word, as when a laptop wakes up, is noticed as well: what is asked
must begin to be answered in time, and go on.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from search_spaces.model import UserError
from tuner.remote.servers import Target

AnswerT = TypeVar("AnswerT")
API = "/api/v1"
CONNECT_S, ANSWER_S = 5.0, 30.0
FIRST_PATIENCE_S, PATIENCE_S = 3.0, 30.0
"""How long an unanswered request is tried again: before this server has ever answered, and after.
Somebody who forgot the tunnel should not wait."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
TOLD_AFTER_S = 0.5
"""How long an unanswered request is tried in silence; a restart of the service takes less."""
AGAIN = (429, 502, 503, 504)


class Refused(UserError):  # noqa: N818 - it tells an answer
    """The server's refusal, in its own words."""

    def __init__(self, message: str, status: int, tries: int) -> None:
        super().__init__(message)
        self.status = status
        self.tries = tries


class Connection:
    """How one user reaches a server.

    Parameters
    ----------
    target : Target
    notice : callable, optional
        Takes a line that says that the connection was lost, or is back.
    transport : httpx.BaseTransport, optional
        For tests.
    """

    def __init__(
        self,
        target: Target,
        notice: Callable[[str], None] = lambda text: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.target = target
        self.answered = False
        """Whether this server has ever answered."""
        self._notice = notice
        self._http = httpx.Client(
            headers={
                "Authorization": f"Bearer {target.token}",
                "User-Agent": f"tuner/{metadata.version('tuner')}",
            },
            verify=_trusted(target),
            trust_env=not target.loopback,  # a proxy cannot reach this machine's own ports
            transport=transport,
        )

    def close(self) -> None:
        """Let go of it."""
        self._http.close()

    def ask(self, model: type[AnswerT], method: str, path: str, **how: Any) -> AnswerT:
        """Return what a request is answered, as `send` and `parsed` do."""
        return self.parsed(model, self.send(method, path, **how))

    def send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, Any] | None = None,
        json: Any = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        headers: dict[str, str] | None = None,
        into: Path | None = None,
        answer_s: float | None = None,
        patience_s: float | None = None,
    ) -> httpx.Response:
        """Return the answer to a request, tried again where that helps.

        Parameters
        ----------
        method, path : str
            The path after `API`.
        params, json, headers : optional
            As httpx takes them.
        content : callable, optional
            Begins the request's body anew at each try.
        into : Path, optional
            File for the answer's body as it is sent; otherwise it is read into memory.
        answer_s : float, optional
            How long it may take until the answer begins; default `ANSWER_S`.
        patience_s : float, optional
            How long it is tried again once this server has answered; default `PATIENCE_S`.

        Raises
        ------
        UserError
            If nobody answers for so long, or what answers is no server of ours.
        Refused
            If the server refuses.
        """
        tries, told, began_s, failed_s = 0, False, time.monotonic(), math.inf
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, read=answer_s or ANSWER_S)
        while True:
            tries += 1
            try:
                request = self._http.build_request(
                    method, self.target.url + API + path, params=params, json=json,
                    content=None if content is None else content(), headers=headers,
                    timeout=timeout,
                )  # fmt: skip
                response = self._received(request, into)
            except httpx.TransportError as error:
                failure = self._unanswered(error)
                if _is_tls(error):
                    raise failure from error
            else:
                if told:
                    self._notice(f"Connected to {self.target.url} again.")
                    told = False
                self.answered = True
                if response.status_code not in AGAIN:
                    if response.is_success:
                        return response
                    raise self._refusal(response, tries)
                failure = self._refusal(response, tries)
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries - 1, 10))
            longest_s = (patience_s or PATIENCE_S) if self.answered else FIRST_PATIENCE_S
            failed_s = min(failed_s, time.monotonic())
            if time.monotonic() + pause_s - failed_s > longest_s:
                raise failure
            if not told and self.answered and time.monotonic() - began_s > TOLD_AFTER_S:
                told = True
                self._notice(f"{str(failure).removesuffix('.')}. Trying again; Ctrl-C leaves.")
            time.sleep(pause_s)

    def at_once(self, path: str, within_s: float) -> bytes | None:
        """Return what a path holds, or None if the server refuses or takes longer than that."""
        until, content = time.monotonic() + within_s, b""
        try:
            with self._http.stream("GET", self.target.url + API + path, timeout=within_s) as answer:
                for part in answer.iter_bytes():
                    content += part
                    if time.monotonic() > until:
                        return None
                return content if answer.is_success else None
        except (httpx.TransportError, httpx.DecodingError):
            return None

    def _received(self, request: httpx.Request, into: Path | None) -> httpx.Response:
        """Send once; a successful answer goes into a file if one is named."""
        response = self._http.send(request, stream=True)
        request.extensions["timeout"]["read"] = ANSWER_S  # what has begun to come goes on coming
        try:
            if into is None or not response.is_success:
                response.read()
                return response
            with into.open("wb") as file:
                for part in response.iter_raw():
                    file.write(part)
            return response
        except httpx.DecodingError as error:
            raise self.strange("an answer that cannot be unpacked") from error
        except OSError as error:
            raise UserError(f"Cannot write {into}: {error.strerror}.") from error
        finally:
            response.close()

    def parsed(self, model: type[AnswerT], response: httpx.Response) -> AnswerT:
        """Return an answer's content; fields that a newer server adds are ignored.

        Raises
        ------
        UserError
            If it is anything else.
        """
        try:
            return TypeAdapter(model).validate_json(response.content, extra="ignore")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "all of it"
            raise self.strange(f"{where}: {first['msg']}") from error

    def strange(self, what: str) -> UserError:
        """Return the one line for an answer that no server of this version gives."""
        here = metadata.version("tuner")
        return UserError(
            f"{self.target.url} does not answer as this tuner ({here}) expects ({what}): is that a"
            " tuner server, and of the same version?"
        )

    def _refusal(self, response: httpx.Response, tries: int) -> UserError:
        """Return the one line for an answer that is none."""
        status, name = response.status_code, self.target.name
        if response.is_redirect:
            return UserError(
                f"{self.target.url} sends elsewhere, to {response.headers.get('location')}: name"
                " that address as url."
            )
        try:
            line = TypeAdapter(dict[str, Any]).validate_json(response.content).get("error")
        except ValidationError:
            line = None
        if status == 401:
            return Refused(
                f"Server {name} does not know your token: it was revoked, or is another server's."
                " Who runs the server makes a new one with `tuner user add`.",
                status, tries,
            )  # fmt: skip
        if isinstance(line, str) and line:
            line = line.replace(f"; GET {API}/jobs ", f" on {name}; `tuner jobs --all` ")
            return Refused(line, status, tries)
        if status >= 500:
            return UserError(
                f"Server {name} failed (status {status}); its log says why"
                " (journalctl -u tuner-serve)."
            )
        return self.strange(f"status {status}")

    def _unanswered(self, error: httpx.TransportError) -> UserError:
        """Return the one line for a request without an answer."""
        url, why = self.target.url, " ".join(str(error).split()) or type(error).__name__
        if _is_tls(error):
            if "certificate" in why.lower():
                return UserError(
                    f"{url} shows a certificate that is not trusted ({why}): name its authority as"
                    " ca_file among your servers."
                )
            return UserError(f"{url} does not speak TLS ({why}): is it an http address?")
        if isinstance(error, httpx.TimeoutException):
            why = "no answer in time"
        if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return UserError(f"The connection to {url} broke off ({why}).")
        if self.target.loopback:
            port = urlsplit(url).port or (443 if url.startswith("https") else 80)
            return UserError(
                f"Nobody answers at {url} ({why}): is the SSH tunnel up?"
                f" ssh -N -L {port}:127.0.0.1:8642 user@server"
            )
        return UserError(f"Nobody answers at {url} ({why}): is the address right, and it running?")


def _trusted(target: Target) -> ssl.SSLContext | bool:
    """Return whose certificates are trusted; without TLS nothing is read, which takes a while."""
    if not target.url.startswith("https"):
        return False
    try:
        return ssl.create_default_context(cafile=target.ca_file)
    except OSError as error:  # also what is no certificate
        raise UserError(
            f"Cannot read ca_file {target.ca_file}: {error.strerror or error}."
        ) from error


def _is_tls(error: httpx.TransportError) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
