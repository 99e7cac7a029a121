"""The client against the real service, over a wire that is cut and blocked at chosen bytes."""

from __future__ import annotations

import random
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from search_spaces.model import UserError
from tests.tuner.remote.lab import Fault, Lab, Wire, wired
from tests.tuner.service.serving import submission
from trainables.config import DataConfig
from trainables.data.source import prepare
from tuner.remote import client as module
from tuner.remote.client import Client, Refused
from tuner.remote.packed import tar_length, tar_parts
from tuner.remote.servers import Target
from tuner.service.models import Raise, Submission

SERVER = {
    "versions": {"tuner": "9.9"},
    "capacity": None,
    "spaces": [],
    "presets": [],
    "max_upload_bytes": 1,
    "runs": "/srv",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait for long."""
    for name, seconds in (
        ("FIRST_PAUSE_S", 0.01), ("POLL_S", 0.02), ("FIRST_PATIENCE_S", 0.1),
        ("PATIENCE_S", 5.0),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("lab"))
    yield found
    found.close()


@pytest.fixture
def wire(lab: Lab) -> Iterator[Wire]:
    with wired(lab) as found:
        yield found


def made(**changes: object) -> Submission:
    return Submission.model_validate(submission(**changes))


def told(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    (line,) = str(error.value).splitlines()
    return line


def answering(answer: Callable[[httpx.Request], httpx.Response], url: str = "http://127.0.0.1:9"):
    target = Target("lab", url, "tuner_token", None)
    return Client(target, transport=httpx.MockTransport(answer))


def test_what_the_service_answers_is_understood(lab: Lab) -> None:
    lab.add_job("going", "alice")
    with Client(lab.target()) as client:
        assert (client.me().user, client.me().admin) == ("alice", False)
        assert "periodic_T" in client.server().spaces
        assert client.job("going").state == "running"
        assert "going" in {job.id for job in client.jobs()}
        assert client.jobs(["failed"]) == []
        checked = client.check(made())
        job, new = client.submit(made())
        assert (job.digest, new) == (checked.digest, True)
        assert client.act(job.id, "stop").state == "stopped"
        assert client.act(job.id, "resume", more=Raise(more_trials=3)).budget["trials"] == 19


@pytest.mark.parametrize("stall", [False, True], ids=["cut", "blocked"])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_submission_is_queued_once_wherever_the_connection_breaks(
    lab: Lab, wire: Wire, monkeypatch: pytest.MonkeyPatch, way: str, stall: bool
) -> None:
    if stall:
        monkeypatch.setattr(module, "ANSWER_S", 0.3)
    before = {row.id for row in lab.store.jobs(limit=1000)}
    broken = 0
    # Requests are some 3,000 bytes long and answers 900; what is longer breaks nothing.
    for at in [1, 60, 250, 900, 2000, 2600, 4000] if stall else [*range(1, 1000, 60), 2500, 4000]:
        wire.faults.append(Fault(**{way: at}, stall=stall))
        wire.connections, asked = 0, made()
        with Client(lab.target(port=wire.port)) as client:
            client._answered = True
            job, _ = client.submit(asked)
        broken += wire.connections > 1
        now = {row.id for row in lab.store.jobs(limit=1000)}
        assert now - before == {job.id}, at
        row = lab.store.job_with_key("alice", asked.key)
        assert row is not None
        assert row.id == job.id
        before = now
    assert broken >= 4


def test_a_key_used_twice_gives_the_same_job_and_with_other_content_is_refused(lab: Lab) -> None:
    asked = made()
    with Client(lab.target()) as client:
        first, new = client.submit(asked)
        again, new_again = client.submit(asked)
        assert (first.id, new, new_again) == (again.id, True, False)
        with pytest.raises(Refused) as error:
            client.submit(asked.model_copy(update={"priority": -3}))
        assert error.value.status == 409


def test_an_action_whose_answer_was_lost_is_not_told_as_refused(lab: Lab, wire: Wire) -> None:
    for at in (1, 40, 200):
        lab.add_job(f"acted{at}", "alice", state="queued")
        for verb, state in (("stop", "stopped"), ("resume", "queued"), ("pause", "paused")):
            wire.faults.append(Fault(down=at))
            with Client(lab.target(port=wire.port)) as client:
                client._answered = True
                assert client.act(f"acted{at}", verb).state == state
            assert not wire.faults
    lab.add_job("acted", "alice", state="finished")
    with Client(lab.target()) as client, pytest.raises(Refused):
        client.act("acted", "pause")
    wire.faults.append(Fault(down=1))
    with Client(lab.target(port=wire.port)) as client:
        client._answered = True
        found = client.act("acted", "resume", more=Raise(more_trials=4))
        assert (found.state, found.budget["trials"]) == ("queued", 20)  # raised once


def test_a_log_is_followed_without_gap_or_repeat_over_a_wire_that_breaks(
    lab: Lab, wire: Wire
) -> None:
    lab.add_job("talks", "alice")
    log = lab.settings.log_file("talks")
    log.parent.mkdir(parents=True, exist_ok=True)
    rng = random.Random(3)
    whole = "".join(f"[{n}] trial {n}: Größe {rng.random()} ✓\n" for n in range(8000))

    def write() -> None:
        rest = whole.encode()
        with log.open("ab", buffering=0) as file:
            while rest:
                size = rng.randint(1, 40_000)  # also in the middle of a character
                file.write(rest[:size])
                rest = rest[size:]
                time.sleep(0.02)
        time.sleep(0.1)
        lab.store.set_state("talks", ("running",), "finished", ended_at=time.time())

    wire.faults += [Fault(down=rng.randint(1, 200_000)) for _ in range(20)]
    writer = threading.Thread(target=write)
    writer.start()
    notices: list[str] = []
    with Client(lab.target(port=wire.port), notices.append) as client:
        client._answered = True
        found = "".join(client.follow_log("talks"))
    writer.join()
    assert found == whole
    assert wire.connections >= 5


def test_who_follows_waits_out_a_server_that_is_away_and_is_told(lab: Lab, wire: Wire) -> None:
    lab.add_job("long", "alice")
    notices: list[str] = []
    with Client(lab.target(port=wire.port), notices.append) as client:
        assert client.job("long").state == "running"
        wire.cut()

        def later() -> None:
            time.sleep(0.7)
            lab.store.set_state("long", ("running",), "failed", reason="why", ended_at=1.0)
            wire.mend()

        threading.Thread(target=later).start()
        assert client.wait("long").state == "failed"
    assert "Nobody answers" in notices[0]
    assert "Trying again; Ctrl-C leaves." in notices[0]
    assert notices[1:] == [f"Connected to http://127.0.0.1:{wire.port} again."]


def test_who_does_not_follow_is_told_soon_that_nobody_answers(lab: Lab, wire: Wire) -> None:
    wire.cut()
    with Client(lab.target(port=wire.port)) as client:
        began_s = time.monotonic()
        line = told(client.me)
        assert time.monotonic() - began_s < 2.0
    url = f"http://127.0.0.1:{wire.port}"
    assert line.startswith(f"Nobody answers at {url} (")
    assert f"is the SSH tunnel up? ssh -N -L {wire.port}:127.0.0.1:8642 user@server" in line


def test_a_data_set_arrives_whole_over_a_wire_that_breaks(
    lab: Lab, wire: Wire, tmp_path: Path
) -> None:
    config = DataConfig(source="synthetic", synthetic_train=140, synthetic_eval=14, seed=5)
    data = prepare(config, tmp_path)
    length = tar_length(data.folder)
    wire.faults += [Fault(up=100_000), Fault(up=length - 10), Fault(down=1)]
    told_bytes: list[int] = []
    with Client(lab.target(port=wire.port)) as client:
        client._answered = True
        found = client.upload(
            data.fingerprint, "faces.zip", lambda: tar_parts(data.folder, told_bytes.append), length
        )
        assert found == client.data_sets()[0]
    assert (found.fingerprint, found.name, found.added_by) == (
        data.fingerprint, "faces.zip", "alice",
    )  # fmt: skip
    assert found.images == {"train": 140, "validation": 14, "test": 14}
    assert told_bytes.count(length) >= 2
    with Client(lab.target()) as client, pytest.raises(Refused, match="fingerprint"):
        client.upload("0" * 64, "other", lambda: tar_parts(data.folder, told_bytes.append), length)


def test_a_large_body_is_refused_in_the_servers_words(lab: Lab) -> None:
    def zeros() -> Iterator[bytes]:
        for _ in range(20):
            yield b"\0" * 2**20

    with Client(lab.target()) as client:
        line = told(lambda: client.upload("a" * 64, "big", zeros, 20 * 2**20))
    assert "must be at most" in line or "too" in line


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


def test_a_job_of_another_or_of_none_is_told_in_the_clients_words(lab: Lab) -> None:
    lab.add_job(name := f"bobs-{uuid.uuid4().hex[:8]}", "bob", curves=None)
    with Client(lab.target()) as client:
        for job in (name, "none"):
            expected = f"You have no job {job!r} on lab; `tuner jobs --all` lists yours."
            assert told(lambda job=job: client.job(job)) == expected
            assert told(lambda job=job: client.act(job, "stop")) == expected
        assert "\n" not in told(lambda: client.job("../../etc/passwd"))
        assert "\n" not in told(lambda: client.job("a?x=y#z"))
