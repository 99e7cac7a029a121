"""What the service asks of Ray: start a job's process, how it is, stop it, and what there is.

Spoken over Ray's HTTP API rather than with its `JobSubmissionClient`: that has no time limits,
takes its address from RAY_ADDRESS whatever it is told, and imports all of Ray. Whatever keeps Ray
from answering is one exception, `RayAway`; it says nothing about the jobs.

Whoever has Ray's token runs any program as Ray's user. On Linux it is therefore sent within this
machine to a socket of this process's user or root alone; at another machine's address, and on other
systems, to whoever listens there.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import httpx

from tuner.service.listener import Impostor, check_listener

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 10.0
"""A head answers in some 10 ms, but takes seconds while it starts."""
STOP_WAIT_S = 120
"""After so long, Ray kills a process that was asked to stop: an epoch may take a minute."""

Phase = Literal["pending", "running", "ended"]
PHASES: dict[str, Phase] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "ended",
    "SUCCEEDED": "ended",
    "FAILED": "ended",
}


UNPLACED = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
"""Ray's word for a process that it has not placed within RAY_JOB_START_TIMEOUT_SECONDS."""


class RayAway(Exception):  # noqa: N818 - it tells a state of the cluster
    """Ray does not answer, or not as Ray does. Jobs may run on all the same."""


class RayRefuses(RayAway):
    """Ray answers that it does not start a process."""


class Machine(NamedTuple):
    """What the machine of Ray's head has to give."""

    cpus: float
    gpus: float


class Process(NamedTuple):
    """How a job's process is, as Ray sees it."""

    phase: Phase
    message: str
    """Ray's own words, one line."""
    began: bool
    """Whether it ever ran; false for one that Ray could not place."""
    unplaced: bool = False
    """Whether Ray gave it up as others held for too long what it needs."""


class Order(NamedTuple):
    """A process to start."""

    submission: str
    """How Ray is to know it; the same name starts nothing twice."""
    folder: Path
    """The job's folder, in which its request lies."""
    gpus: float
    cpus: int
    metadata: dict[str, str]


class Ray(Protocol):
    """What the supervisor needs of Ray; tests have one without Ray."""

    def machine(self) -> Machine:
        """Return what the machine of the head has."""

    def gpu_names(self) -> list[str]:
        """Return the names of the GPUs that the machine really has, as far as they are known."""

    def submit(self, order: Order) -> None:
        """Start a process, unless it was started before."""

    def process(self, submission: str) -> Process | None:
        """Return how a process is; None if Ray knows none: it was never started, or Ray anew."""

    def stop(self, submission: str) -> None:
        """Ask a process to stop, as Ctrl-C does."""


class RayJobs:
    """The real Ray.

    Parameters
    ----------
    url : str
        Of the head's dashboard, ``http://127.0.0.1:8265``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        # A proxy of the environment is none for the head, which is on this machine or network.
        self._client = httpx.Client(base_url=self.url, timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def machine(self) -> Machine:
        """Return what the machine of the head has, where all jobs run.

        Raises
        ------
        RayAway
        """
        answer = self._ask("GET", "/api/v0/nodes?detail=1&limit=10000")
        try:
            found = [
                Machine(
                    float(node["resources_total"].get("CPU", 0)),
                    float(node["resources_total"].get("GPU", 0)),
                )
                for node in answer.json()["data"]["result"]["result"]
                if node["state"] == "ALIVE" and node["is_head_node"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._strange(answer) from error
        if not found:
            raise RayAway(f"Ray at {self.url} is starting; it has no machine yet.")
        return found[0]

    def gpu_names(self) -> list[str]:
        """Return the names of the GPUs that Ray finds; none where it was told of more than it has.

        Raises
        ------
        RayAway
        """
        answer = self._ask("GET", "/nodes?view=summary")
        try:
            nodes = answer.json()["data"]["summary"]
            head = [one for one in nodes if one["raylet"]["isHeadNode"]]
            return [str(gpu["name"]) for gpu in (head[0].get("gpus") or [])] if head else []
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._strange(answer) from error

    def submit(self, order: Order) -> None:
        """Start a process, unless Ray knows one of this name already.

        Raises
        ------
        RayAway
            Also if the answer was lost; `process` tells whether Ray knows it all the same.
        RayRefuses
        """
        command = [sys.executable, "-m", "tuner.service.job", str(order.folder), order.submission]
        variables = {
            "RAY_JOB_STOP_SIGNAL": "SIGINT",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
            "TUNER_GPUS": repr(order.gpus),
            "TUNER_CPUS": str(order.cpus),
        }
        body = {
            "entrypoint": f"exec {shlex.join(command)}",
            "submission_id": order.submission,
            "entrypoint_num_gpus": order.gpus,
            "entrypoint_num_cpus": order.cpus,
            "entrypoint_resources": {"node:__internal_head__": 0.001},  # of which there is one
            "runtime_env": {"env_vars": variables},
            "metadata": order.metadata,
        }
        answer = self._ask("POST", "/api/jobs/", body, allowed=(400, 500))
        if answer.status_code != 200 and "already exists" not in answer.text:
            raise RayRefuses(str(self._strange(answer)))

    def process(self, submission: str) -> Process | None:
        """Return how a process is; None if Ray knows none of this name.

        Raises
        ------
        RayAway
        """
        answer = self._ask("GET", f"/api/jobs/{submission}", allowed=(404,))
        if answer.status_code == 404:
            # so says also a head that has no node yet, and knows nothing before it has
            self.machine()
            return None
        try:
            told = answer.json()
            phase = PHASES[told["status"]]
            message, *_ = " ".join(str(told["message"] or "").split()).split(
                ", last available logs"
            )
            unplaced = told.get("error_type") == UNPLACED
            return Process(phase, message, told["driver_node_id"] is not None, unplaced)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._strange(answer) from error

    def stop(self, submission: str) -> None:
        """Ask a process to stop; one that has ended is left alone.

        Raises
        ------
        RayAway
        """
        self._ask("POST", f"/api/jobs/{submission}/stop", allowed=(404,))

    def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        allowed: Sequence[int] = (),
    ) -> httpx.Response:
        try:
            answer = self._client.request(
                method,
                path,
                json=body,
                headers=authorization(),
                extensions={"trace": _check_opened},
            )
        except (httpx.HTTPError, httpx.InvalidURL, Impostor, OSError) as error:
            raise RayAway(f"Ray at {self.url} does not answer ({_why(error)}).") from error
        if answer.status_code in (401, 403):
            raise RayAway(
                f"Ray at {self.url} refuses the service's token; give both the same, in"
                " RAY_AUTH_TOKEN_PATH."
            )
        if answer.status_code != 200 and answer.status_code not in allowed:
            raise self._strange(answer)
        return answer

    def _strange(self, answer: httpx.Response) -> RayAway:
        lines = answer.text.strip().splitlines() or [""]
        return RayAway(f"Ray at {self.url} answers {answer.status_code}: {lines[-1][:200]}")


def _check_opened(event: str, told: dict[str, Any]) -> None:
    """Look at whom a connection has reached, before anything is sent."""
    if event == "connection.connect_tcp.complete":
        stream = told["return_value"]
        try:
            check_listener(stream.get_extra_info("socket"))
        except BaseException:
            stream.close()
            raise


def authorization() -> dict[str, str]:
    """Return the header that shows Ray's token, found where Ray itself looks for it."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN")
    if token is None:
        default = Path("~/.ray/auth_token").expanduser()
        try:
            token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", default)).read_text().strip()
        except OSError:
            return {}
    return {"Authorization": f"Bearer {token}"}


def _why(error: Exception) -> str:
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
