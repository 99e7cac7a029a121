"""What Ray's HTTP API is asked, and how its answers, or their absence, are read.

The answers are those of Ray 2.60, cut to what is read; a real head answers in `test_cluster.py`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tuner.service import listener
from tuner.service.ray_jobs import (
    Machine,
    Order,
    Process,
    RayAway,
    RayJobs,
    RayRefuses,
    authorization,
)

HEAD = {"state": "ALIVE", "is_head_node": True, "resources_total": {"CPU": 28.0, "GPU": 2.0}}
WORKER = {"state": "ALIVE", "is_head_node": False, "resources_total": {"CPU": 64.0, "GPU": 8.0}}
ORDER = Order("it-2", Path("/srv/a folder"), 0.5, 3, {"user": "ann"})


def nodes(*found: Any) -> dict[str, Any]:
    return {"result": True, "data": {"result": {"result": list(found)}}}


class Answers:
    """A head that gives these answers and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
        self.asked: list[tuple[str, str, Any, str | None]] = []
        self._answers = answers

        def handle(request: httpx.Request) -> httpx.Response:
            path = request.url.path
            body = json.loads(request.content) if request.content else None
            token = request.headers.get("Authorization")
            self.asked.append((request.method, path, body, token))
            for key, answer in self._answers.items():
                if key in path:
                    status, content = answer if isinstance(answer, tuple) else (200, answer)
                    if isinstance(content, Exception):
                        raise content
                    if isinstance(content, str):
                        return httpx.Response(status, text=content)
                    return httpx.Response(status, json=content)
            return httpx.Response(404, text="Job it-2 does not exist")

        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        self.ray = RayJobs("http://127.0.0.1:8265/")
        self.ray._client = httpx.Client(
            base_url=self.ray.url, transport=httpx.MockTransport(handle)
        )


def test_what_there_is_is_what_the_head_has(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = {**HEAD, "state": "DEAD", "resources_total": {"CPU": 1.0}}
    assert Answers(monkeypatch, nodes=nodes(dead, WORKER, HEAD)).ray.machine() == Machine(28, 2)


def test_a_head_without_a_machine_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RayAway, match="starting"):
        Answers(monkeypatch, nodes=nodes()).ray.machine()


def test_a_job_is_started_on_the_head_with_all_that_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = Answers(monkeypatch, jobs={"submission_id": "it-2"})
    answers.ray.submit(ORDER)
    ((method, path, body, _),) = answers.asked
    assert (method, path) == ("POST", "/api/jobs/")
    assert body == {
        "entrypoint": f"exec {sys.executable} -m tuner.service.job '/srv/a folder' it-2",
        "submission_id": "it-2",
        "entrypoint_num_gpus": 0.5,
        "entrypoint_num_cpus": 3,
        "entrypoint_resources": {"node:__internal_head__": 0.001},
        "runtime_env": {
            "env_vars": {
                "RAY_JOB_STOP_SIGNAL": "SIGINT",
                "RAY_JOB_STOP_WAIT_TIME_S": "120",
                "TUNER_GPUS": "0.5",
                "TUNER_CPUS": "3",
            }
        },
        "metadata": {"user": "ann"},
    }


def test_a_share_of_a_gpu_is_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch, jobs={"submission_id": "it-2"})
    answers.ray.submit(ORDER._replace(gpus=1 / 3))
    ((_, _, body, _),) = answers.asked
    assert float(body["runtime_env"]["env_vars"]["TUNER_GPUS"]) == 1 / 3


def test_a_job_that_ray_has_already_is_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Traceback …\nValueError: Job with submission_id it-2 already exists. Please use …"
    Answers(monkeypatch, jobs=(500, text)).ray.submit(ORDER)
    with pytest.raises(RayRefuses, match="500: ValueError: no agent"):
        Answers(monkeypatch, jobs=(500, "Traceback …\nValueError: no agent")).ray.submit(ORDER)


@pytest.mark.parametrize(
    ("status", "node", "error", "expected"),
    [
        ("PENDING", None, None, Process("pending", "a b", False)),
        ("RUNNING", "648a", None, Process("running", "a b", True)),
        ("FAILED", None, "RUNTIME_ENV_SETUP_FAILURE", Process("ended", "a b", False)),
        ("FAILED", None, "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
         Process("ended", "a b", False, unplaced=True)),
        ("SUCCEEDED", "648a", None, Process("ended", "a b", True)),
        ("STOPPED", "648a", None, Process("ended", "a b", True)),
    ],
)  # fmt: skip
def test_a_process_is_told_by_phase(
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    node: str | None,
    error: str | None,
    expected: Process,
) -> None:
    message = "a\n b, last available logs (truncated to 20,000 chars):\n c"
    told = {"status": status, "message": message, "driver_node_id": node, "error_type": error}
    assert Answers(monkeypatch, jobs=told).ray.process("it-2") == expected


def test_a_process_that_ray_does_not_know_is_none_but_not_while_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Answers(monkeypatch, nodes=nodes(HEAD)).ray.process("it-2") is None
    with pytest.raises(RayAway, match="starting"):
        Answers(monkeypatch, nodes=nodes()).ray.process("it-2")


def test_asking_to_stop_what_has_gone_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch)
    answers.ray.stop("it-2")
    assert answers.asked[0][:2] == ("POST", "/api/jobs/it-2/stop")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (httpx.ConnectError("refused"), "does not answer"),
        (httpx.ReadTimeout("late"), "no answer in time"),
        ((401, "Unauthorized"), "RAY_AUTH_TOKEN_PATH"),
        ((502, "<html>\nBad gateway"), "502: Bad gateway"),
        ((200, "no json"), "answers 200"),
        ((200, {"result": False}), "answers 200"),
        ((200, [1]), "answers 200"),
    ],
)  # fmt: skip
def test_whatever_keeps_ray_from_answering_is_one_exception(
    monkeypatch: pytest.MonkeyPatch, answer: Any, told: str
) -> None:
    answer = answer if isinstance(answer, tuple) else (200, answer)
    ray = Answers(monkeypatch, nodes=answer, jobs=answer).ray
    for ask in (ray.machine, ray.gpu_names, lambda: ray.process("it-2")):
        with pytest.raises(RayAway, match=told):
            ask()


def test_gpus_are_those_that_the_head_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = [
        {"raylet": {"isHeadNode": False}, "gpus": [{"name": "NVIDIA A100"}]},
        {"raylet": {"isHeadNode": True}, "gpus": [{"name": "NVIDIA GeForce RTX 3090"}] * 2},
    ]
    answers = Answers(monkeypatch, nodes={"data": {"summary": summary}})
    assert answers.ray.gpu_names() == ["NVIDIA GeForce RTX 3090"] * 2
    assert Answers(monkeypatch, nodes={"data": {"summary": []}}).ray.gpu_names() == []


def test_the_token_is_found_where_ray_looks_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert authorization() == {}
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("at-home\n")
    assert authorization() == {"Authorization": "Bearer at-home"}
    (tmp_path / "token").write_text("of-the-unit")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert authorization() == {"Authorization": "Bearer of-the-unit"}
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert authorization() == {"Authorization": "Bearer given"}
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert authorization() == {}


class Listening(threading.Thread):
    """Whoever listens at a port of the loopback, and keeps all that is sent there."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.heard = b""
        self.start()

    def run(self) -> None:
        """Answer one request."""
        with contextlib.suppress(OSError):
            connection, _ = self._listening.accept()
            with connection:
                self.heard = connection.recv(65536)
                text = json.dumps(nodes(HEAD))
                connection.sendall(
                    f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()
                )

    def close(self) -> None:
        """Let it end."""
        self._listening.close()
        self.join()


@pytest.mark.skipif(not (listener.NET / "tcp").exists(), reason="the kernel does not say who")
def test_the_token_is_sent_to_no_other_users_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-token")
    stranger = Listening()
    ray = RayJobs(stranger.url)
    with monkeypatch.context() as patch:
        patch.setattr(listener, "trusted_users", lambda: {os.geteuid() + 1})
        with pytest.raises(RayAway, match=f"another user \\(uid {os.geteuid()}\\) listens"):
            ray.machine()
    stranger.join()
    assert stranger.heard == b""
    stranger.close()
    own = Listening()
    ray = RayJobs(own.url)
    assert ray.machine() == Machine(28, 2)
    assert b"Bearer secret-token" in own.heard
    own.close()
    ray.close()


def test_a_connection_that_is_gone_before_it_was_looked_at_is_ray_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(_: socket.socket) -> None:
        raise OSError(errno.ENOTCONN, "not connected")

    monkeypatch.setattr("tuner.service.ray_jobs.check_listener", gone)
    listening = Listening()
    with pytest.raises(RayAway, match="not connected"):
        RayJobs(listening.url).machine()
    listening.join()
    listening.close()
