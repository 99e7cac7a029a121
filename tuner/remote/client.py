"""Talk to a server: what is asked and answered, and what is done when the connection breaks.

Every request may be sent twice: what reads changes nothing, a submission carries a key, and of an
action whose answer was lost the job's state tells whether it was heard. So all are tried again
until an answer comes or patience ends; what follows a job is patient without end.
"""

from __future__ import annotations

import math
import re
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote, unquote, urlsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from search_spaces.model import UserError
from tuner.remote.servers import Target
from tuner.service.models import (
    OPEN,
    Checked,
    DataSet,
    Job,
    JobState,
    Log,
    Me,
    Raise,
    Server,
    Submission,
)

AnswerT = TypeVar("AnswerT")
Verb = Literal["stop", "pause", "resume"]
API = "/api/v1"
CONNECT_S, ANSWER_S = 5.0, 30.0
LONG_ANSWER_S = 600.0
"""For what the server computes first: a report, the fingerprint of what was uploaded."""
FIRST_PATIENCE_S, PATIENCE_S = 3.0, 30.0
"""How long an unanswered request is tried again: before this server has ever answered, and after.
Somebody who forgot the tunnel should not wait."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
POLL_S = 1.0
_JOB_PATH = re.compile(rf"{API}/jobs/([^/]+)")
AGAIN = (429, 502, 503, 504)
HEARD: dict[Verb, tuple[JobState, ...]] = {
    "stop": ("stopping", "stopped"),
    "pause": ("pausing", "paused"),
    "resume": ("queued", "starting", "running"),
}
"""States that say that an action was done, if its second try is refused."""


class Refused(UserError):  # noqa: N818 - it tells an answer
    """The server's refusal, in its own words."""

    def __init__(self, message: str, status: int, tries: int) -> None:
        super().__init__(message)
        self.status = status
        self.tries = tries


class Client:
    """A connection to a server, as one user.

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
        self._notice = notice
        self._answered = False
        self._http = httpx.Client(
            headers={
                "Authorization": f"Bearer {target.token}",
                "User-Agent": f"tuner/{metadata.version('tuner')}",
            },
            verify=_trusted(target),
            trust_env=not target.loopback,  # a proxy cannot reach this machine's own ports
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    # ---- what is asked

    def me(self) -> Me:
        """Return whose token it is."""
        return self._parsed(Me, self._send("GET", "/me"))

    def server(self) -> Server:
        """Return what the server is and has."""
        return self._parsed(Server, self._send("GET", "/server"))

    def data_sets(self) -> list[DataSet]:
        """Return the data sets that the server has."""
        return self._parsed(list[DataSet], self._send("GET", "/datasets"))

    def jobs(self, states: Sequence[JobState] = (), limit: int = 1000) -> list[Job]:
        """Return the user's jobs, an admin's everybody's, the newest first."""
        params = {"state": list(states), "limit": limit}
        return self._parsed(list[Job], self._send("GET", "/jobs", params=params))

    def job(self, job: str, patience_s: float | None = None) -> Job:
        """Return one job."""
        return self._parsed(Job, self._send("GET", _path(job), patience_s=patience_s))

    def check(self, submission: Submission) -> Checked:
        """Return what would be queued, or refuse what would be refused."""
        values = submission.model_dump(mode="json")
        return self._parsed(Checked, self._send("POST", "/jobs/check", json=values))

    def submit(self, submission: Submission) -> tuple[Job, bool]:
        """Queue a search; return its job, and whether it is new: the key may have been used."""
        response = self._send("POST", "/jobs", json=submission.model_dump(mode="json"))
        return self._parsed(Job, response), response.status_code == 201

    def act(self, job: str, verb: Verb, *, now: bool = False, more: Raise | None = None) -> Job:
        """Stop, pause or resume a job."""
        params = {"now": "true"} if now else {}
        values = None if more is None else more.model_dump(mode="json", exclude_none=True)
        try:
            response = self._send("POST", f"{_path(job)}/{verb}", params=params, json=values)
        except Refused as error:
            if error.status == 409 and error.tries > 1:
                there = self.job(job)
                if there.state in HEARD[verb]:
                    return there
            raise
        return self._parsed(Job, response)

    def log(self, job: str, offset: int, patience_s: float | None = None) -> Log:
        """Return what a job's process wrote from a byte on."""
        params = {"offset": offset}
        response = self._send("GET", f"{_path(job)}/log", params=params, patience_s=patience_s)
        return self._parsed(Log, response)

    def follow_log(self, job: str, follow: bool = True) -> Iterator[str]:
        """Yield what a job's process wrote, from the beginning, and what it writes until it ends.

        A lost connection leaves no gap and repeats nothing: the next request names the offset.
        """
        offset = 0
        while True:
            part = self.log(job, offset, math.inf if follow else None)
            if part.text:
                yield part.text
            if part.next_offset == offset:
                if part.ended or not follow:
                    return
                time.sleep(POLL_S)
            offset = part.next_offset

    def wait(self, job: str) -> Job:
        """Return a job as soon as nothing more is to be done for it."""
        while True:
            found = self.job(job, math.inf)
            if found.state not in OPEN:
                return found
            time.sleep(2 * POLL_S)

    def report(self, job: str) -> bytes:
        """Return a job's report, one HTML file."""
        return self._send("GET", f"{_path(job)}/report", answer_s=LONG_ANSWER_S).content

    def comparison(self, jobs: Sequence[str]) -> bytes:
        """Return one report of several jobs, one HTML file."""
        made = self._send("POST", "/compare", json={"jobs": [*jobs]}, answer_s=LONG_ANSWER_S)
        url = str(self._parsed(dict[str, Any], made).get("url"))
        if not url.startswith(f"{API}/"):
            raise self._strange("a comparison without an address")
        return self._send("GET", url.removeprefix(API), answer_s=LONG_ANSWER_S).content

    def archive(self, job: str, file: Path) -> None:
        """Write a job's folder, packed, to a file; a connection that is lost begins anew."""
        plain = {"Accept-Encoding": "identity"}  # it is packed already
        path = f"{_path(job)}/archive"
        self._send("GET", path, headers=plain, into=file, answer_s=LONG_ANSWER_S)

    def upload(
        self, fingerprint: str, name: str, content: Callable[[], Iterator[bytes]], length: int
    ) -> DataSet:
        """Hand over a data set, of `length` bytes; `content` begins anew at each call."""
        response = self._send(
            "PUT", f"/datasets/{fingerprint}/{quote(name, safe='')}",
            content=content, headers={"Content-Length": str(length)}, answer_s=LONG_ANSWER_S,
        )  # fmt: skip
        return self._parsed(DataSet, response)

    # ---- how it is asked

    def _send(
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

        Raises
        ------
        UserError
            If nobody answers for so long, or what answers is no server of ours.
        Refused
            If the server refuses.
        """
        tries, told, failed_s = 0, False, math.inf
        timeout = httpx.Timeout(answer_s or ANSWER_S, connect=CONNECT_S)
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
                self._answered = True
                if response.status_code not in AGAIN:
                    if response.is_success:
                        return response
                    raise self._refusal(response, tries)
                failure = self._refusal(response, tries)
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(tries - 1, 10))
            longest_s = (patience_s or PATIENCE_S) if self._answered else FIRST_PATIENCE_S
            failed_s = min(failed_s, time.monotonic())
            if time.monotonic() + pause_s - failed_s > longest_s:
                raise failure
            if tries == 3 and self._answered:  # a restart of the service takes less
                told = True
                self._notice(f"{str(failure).removesuffix('.')}. Trying again; Ctrl-C leaves.")
            time.sleep(pause_s)

    def _received(self, request: httpx.Request, into: Path | None) -> httpx.Response:
        """Send once; a successful answer goes into a file if one is named."""
        response = self._http.send(request, stream=True)
        try:
            if into is None or not response.is_success:
                response.read()
                return response
            with into.open("wb") as file:
                for part in response.iter_raw():
                    file.write(part)
            return response
        except httpx.DecodingError as error:
            raise self._strange("an answer that cannot be unpacked") from error
        except OSError as error:
            raise UserError(f"Cannot write {into}: {error.strerror}.") from error
        finally:
            response.close()

    def _parsed(self, model: type[AnswerT], response: httpx.Response) -> AnswerT:
        """Return an answer's content; fields that a newer server adds are ignored."""
        try:
            return TypeAdapter(model).validate_json(response.content, extra="ignore")
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "all of it"
            raise self._strange(f"{where}: {first['msg']}") from error

    def _strange(self, what: str) -> UserError:
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
        job = _JOB_PATH.search(response.request.url.path)
        if status == 404 and line and job is not None:
            line = f"You have no job {unquote(job[1])!r} on {name}; `tuner jobs --all` lists yours."
        if isinstance(line, str) and line:
            return Refused(line, status, tries)
        if status >= 500:
            return UserError(
                f"Server {name} failed (status {status}); its log says why (journalctl -u tuner)."
            )
        return self._strange(f"status {status}")

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


def _path(job: str) -> str:
    return f"/jobs/{quote(job, safe='')}"


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
