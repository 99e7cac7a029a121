"""The connection: what is tried again, and what is told in one line if nobody answers."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.tuner.remote.lab import Lab, Wire, told
from tuner.remote import connection as module
from tuner.remote.client import Client
from tuner.remote.servers import Target

SERVER = {
    "versions": {"tuner": "9.9"},
    "capacity": None,
    "spaces": [],
    "presets": [],
    "max_upload_bytes": 1,
    "runs": "/srv",
}


def answering(answer: Callable[[httpx.Request], httpx.Response], url: str = "http://127.0.0.1:9"):
    target = Target("lab", url, "tuner_token", None)
    return Client(target, transport=httpx.MockTransport(answer))


def test_who_does_not_follow_is_told_soon_that_nobody_answers(lab: Lab, wire: Wire) -> None:
    wire.cut()
    with Client(lab.target(port=wire.port)) as client:
        began_s = time.monotonic()
        line = told(client.me)
        assert time.monotonic() - began_s < module.PATIENCE_S
    url = f"http://127.0.0.1:{wire.port}"
    assert line.startswith(f"Nobody answers at {url} (")
    assert f"is the SSH tunnel up? ssh -N -L {wire.port}:127.0.0.1:8642 user@server" in line


def test_a_wrong_token_is_told(lab: Lab) -> None:
    target = lab.target()._replace(token="tuner_wrong_token_0123456789")
    with Client(target) as client:
        line = told(client.me)
    assert line.startswith("Server lab does not know your token")
    assert target.token not in line


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (httpx.Response(200, json={**SERVER, "new_field": 1, "capacity": None}), ""),
        (httpx.Response(200, json={"versions": {}}), "does not answer as this tuner"),
        (httpx.Response(200, text="<html>"), "does not answer as this tuner"),
        (httpx.Response(404, json={"detail": "Not Found"}), "and of the same version?"),
        (httpx.Response(404, text="<html>nginx"), "is that a tuner server"),
        (httpx.Response(404, json={"error": "Nothing here."}), "Nothing here."),
        (httpx.Response(302, headers={"location": "https://x/y"}), "sends elsewhere, to https://x"),
        (httpx.Response(500, text="oops"), "failed (status 500); its log says why"),
        (httpx.Response(500, json={"error": "Unexpected error."}), "Unexpected error."),
        (httpx.Response(422, json={"error": "T must\nbe 1."}), "T must be 1."),
        (httpx.Response(403, json=["x"]), "does not answer as this tuner"),
        (httpx.Response(503, json={"error": "Ray is away."}), "Ray is away."),
        (
            httpx.Response(200, headers={"content-encoding": "gzip"}, content=iter([b"no gzip"])),
            "does not answer as this tuner",
        ),
    ],
)  # fmt: skip
def test_other_versions_and_what_is_no_server_are_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, answer: httpx.Response, part: str
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    with answering(lambda request: answer) as client:
        if not part:
            assert client.server().versions == {"tuner": "9.9"}
        else:
            assert part in told(client.server)


def test_an_overloaded_server_is_asked_again(lab: Lab) -> None:
    answers = [502, 503, 504, 429]

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer tuner_token"
        return httpx.Response(answers.pop(), text="") if answers else httpx.Response(
            200, json=SERVER
        )  # fmt: skip

    with answering(answer) as client:
        assert client.server().runs == "/srv"


@pytest.mark.parametrize(
    ("error", "url", "part"),
    [
        (ssl.SSLCertVerificationError("certificate verify failed: self-signed"), "https://127.0.0.1:1",
         "certificate that is not trusted"),
        (ssl.SSLError("wrong version number"), "https://lab.example.org", "does not speak TLS"),
        (OSError("Connection refused"), "http://lab.example.org", "is the address right"),
        (OSError("Connection refused"), "https://127.0.0.1", "ssh -N -L 443:127.0.0.1:8642"),
    ],
)  # fmt: skip
def test_why_nobody_answers_is_told(error: Exception, url: str, part: str) -> None:
    tries = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        raise httpx.ConnectError(str(error)) from error

    with answering(answer, url) as client:
        assert part in told(client.me)
    assert (len(tries) == 1) == isinstance(error, ssl.SSLError)


def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "none.pem"):
        target = Target("lab", "https://127.0.0.1:1", "tuner_token", tmp_path / name)
        assert f"Cannot read ca_file {tmp_path / name}" in told(lambda at=target: Client(at))
