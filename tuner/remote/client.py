"""What a server is asked, and what it answers.

What is sent again when the connection breaks, and for how long, is `tuner.remote.connection`'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx

from tuner.remote.connection import API, Connection, Refused
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

Verb = Literal["stop", "pause"]
LONG_ANSWER_S = 600.0
"""For what the server computes first: a report, the fingerprint of what was uploaded."""
POLL_S = 1.0
HEARD: dict[Verb, tuple[JobState, ...]] = {
    "stop": ("stopping", "stopped"),
    "pause": ("pausing", "paused"),
}
"""States that say that an action was done, if its second try is refused."""


class Client:
    """A server, as one user.

    Parameters
    ----------
    target : Target
    notice : callable, optional
        Takes a line that says that the connection was lost, or is back.
    transport : httpx.BaseTransport, optional
        For tests.

    Raises
    ------
    UserError
        Each method, where nobody answers or what answers is no server of this version; `Refused`,
        where the server refuses.
    """

    def __init__(
        self,
        target: Target,
        notice: Callable[[str], None] = lambda text: None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.target = target
        self.connection = Connection(target, notice, transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()

    def me(self) -> Me:
        """Return whose token it is."""
        return self.connection.ask(Me, "GET", "/me")

    def server(self) -> Server:
        """Return what the server is and has."""
        return self.connection.ask(Server, "GET", "/server")

    def data_sets(self) -> list[DataSet]:
        """Return the data sets that the server has."""
        return self.connection.ask(list[DataSet], "GET", "/datasets")

    def jobs(self, states: Sequence[JobState] = (), limit: int = 1000) -> list[Job]:
        """Return the user's jobs, an admin's everybody's, the newest first."""
        params = {"state": list(states), "limit": limit}
        return self.connection.ask(list[Job], "GET", "/jobs", params=params)

    def job(self, job: str, patience_s: float | None = None) -> Job:
        """Return one job."""
        return self.connection.ask(Job, "GET", _path(job), patience_s=patience_s)

    def check(self, submission: Submission) -> Checked:
        """Return what would be queued, or refuse what would be refused."""
        values = submission.model_dump(mode="json")
        return self.connection.ask(Checked, "POST", "/jobs/check", json=values)

    def submit(self, submission: Submission) -> tuple[Job, bool]:
        """Queue a search; return its job, and whether it is new: the key may have been used."""
        response = self.connection.send("POST", "/jobs", json=submission.model_dump(mode="json"))
        return self.connection.parsed(Job, response), response.status_code == 201

    def end(self, job: str, verb: Verb, *, now: bool = False) -> Job:
        """Stop or pause a job; `now` costs the epochs that are under way."""
        params = {"now": "true"} if now else {}
        try:
            return self.connection.ask(Job, "POST", f"{_path(job)}/{verb}", params=params)
        except Refused as error:
            if error.status == 409 and error.tries > 1:
                there = self.job(job)
                if there.state in HEARD[verb]:
                    return there
            raise

    def resume(self, job: str, more: Raise) -> tuple[Job, bool]:
        """Queue a job again, with a larger budget if `more` says so.

        Returns
        -------
        Job
        bool
            Whether that is new: what comes with a key is added once.
        """
        values = more.model_dump(mode="json", exclude_none=True)
        response = self.connection.send("POST", f"{_path(job)}/resume", json=values)
        return self.connection.parsed(Job, response), response.status_code == 202

    def log(self, job: str, offset: int, patience_s: float | None = None) -> Log:
        """Return what a job's process wrote from a byte on."""
        params, path = {"offset": offset}, f"{_path(job)}/log"
        return self.connection.ask(Log, "GET", path, params=params, patience_s=patience_s)

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
        return self._computed("GET", f"{_path(job)}/report").content

    def comparison(self, jobs: Sequence[str]) -> bytes:
        """Return one report of several jobs, one HTML file."""
        made = self._computed("POST", "/compare", json={"jobs": [*jobs]})
        url = str(self.connection.parsed(dict[str, Any], made).get("url"))
        if not url.startswith(f"{API}/"):
            raise self.connection.strange("a comparison without an address")
        return self._computed("GET", url.removeprefix(API)).content

    def archive(self, job: str, file: Path) -> None:
        """Write a job's folder, packed, to a file; a connection that is lost begins anew."""
        plain = {"Accept-Encoding": "identity"}  # it is packed already
        self._computed("GET", f"{_path(job)}/archive", headers=plain, into=file)

    def is_sound(self, fingerprint: str, name: str) -> bool:
        """Return whether a data set that the server knows is still what its fingerprint says."""
        answer = self._computed("POST", f"/datasets/{fingerprint}/{quote(name, safe='')}/check")
        return self.connection.parsed(dict[str, bool], answer).get("sound", False)

    def upload(
        self, fingerprint: str, name: str, content: Callable[[], Iterator[bytes]], length: int
    ) -> DataSet:
        """Hand over a data set, of `length` bytes; `content` begins anew at each call."""
        path = f"/datasets/{fingerprint}/{quote(name, safe='')}"
        headers = {"Content-Length": str(length)}
        return self.connection.parsed(
            DataSet, self._computed("PUT", path, content=content, headers=headers)
        )

    def _computed(self, method: str, path: str, **how: Any) -> httpx.Response:
        return self.connection.send(method, path, answer_s=LONG_ANSWER_S, **how)


def _path(job: str) -> str:
    return f"/jobs/{quote(job, safe='')}"
