"""The client against the real service, over a wire that is cut and blocked at chosen bytes."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tuner.remote.lab import Fault, Lab, Wire, told
from tests.tuner.service.serving import submission
from trainables.config import DataConfig
from trainables.data.source import prepare
from tuner.remote import connection as module
from tuner.remote.archive import unpack
from tuner.remote.client import Client
from tuner.remote.connection import Refused
from tuner.remote.packed import tar_length, tar_parts
from tuner.service.models import Raise, Submission


def made(**changes: object) -> Submission:
    return Submission.model_validate(submission(**changes))


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
        assert client.end(job.id, "stop").state == "stopped"
        found, new = client.resume(job.id, Raise(more_trials=3))
        assert (found.budget["trials"], new) == (19, True)


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
            client.connection.answered = True
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
        for verb, state in (("stop", "stopped"), (None, "queued"), ("pause", "paused")):
            wire.faults.append(Fault(down=at))
            with Client(lab.target(port=wire.port)) as client:
                client.connection.answered = True
                job = f"acted{at}"
                found = client.end(job, verb) if verb else client.resume(job, Raise())[0]
                assert found.state == state
            assert not wire.faults
    lab.add_job("acted", "alice", state="finished")
    with Client(lab.target()) as client, pytest.raises(Refused):
        client.end("acted", "pause")


def test_a_raise_counts_once_wherever_the_connection_breaks_and_whatever_the_job_is_by_then(
    lab: Lab, wire: Wire
) -> None:
    lab.add_job("raised", "alice", state="finished", curves=None)
    cuts = [{way: at} for way in ("up", "down") for at in (1, 100, 250, 4000)]
    for number, cut in enumerate(cuts, start=1):
        more = Raise(more_trials=4, key=f"raise-{number:03d}")
        wire.faults.append(Fault(**cut))
        with Client(lab.target(port=wire.port)) as client:
            client.connection.answered = True
            found, _ = client.resume("raised", more)
            assert found.budget["trials"] == 16 + 4 * number
            for state in ("queued", "starting", "running", "stopping", "finished", "failed"):
                lab.store.set_state("raised", (found.state,), state)
                found, new = client.resume("raised", more)
                assert (found.state, found.budget["trials"], new) == (
                    state, 16 + 4 * number, False,
                )  # fmt: skip
            with pytest.raises(Refused) as error:
                client.resume("raised", more.model_copy(update={"more_trials": 5}))
            assert error.value.status == 409


def test_who_follows_notices_that_a_server_has_gone_without_a_word(
    lab: Lab, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.3)
    lab.add_job("silent", "alice")
    log = lab.settings.log_file("silent")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("before\n")
    # the first connection falls silent after some polls, the second at once
    wire.faults += [Fault(down=3000, stall=True), Fault(down=0, stall=True)]
    notices: list[str] = []
    with Client(lab.target(port=wire.port), notices.append) as client:
        parts = client.follow_log("silent")
        assert next(parts) == "before\n"

        def later() -> None:
            deadline_s = time.monotonic() + 60
            while len(notices) < 2 and time.monotonic() < deadline_s:
                time.sleep(0.01)
            with log.open("a") as file:
                file.write("after\n")
            lab.store.set_state("silent", ("running",), "finished", ended_at=1.0)

        writer = threading.Thread(target=later)
        writer.start()
        assert "".join(parts) == "after\n"
        writer.join()
        wire.faults.append(Fault(down=0, stall=True))
        wire.cut()
        wire.mend()
        assert client.wait("silent").state == "finished"
    url = f"http://127.0.0.1:{wire.port}"
    gone = f"The connection to {url} broke off (no answer in time). Trying again; Ctrl-C leaves."
    assert notices[:2] == [gone, f"Connected to {url} again."]


def test_an_archive_that_stops_coming_is_asked_for_again(
    lab: Lab, wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    lab.add_job("large", "alice", state="finished")
    wire.faults.append(Fault(down=2000, stall=True))
    with Client(lab.target(port=wire.port)) as client:
        client.connection.answered = True
        client.archive("large", tmp_path / "large.tar.gz")
    assert wire.connections >= 2
    unpack(tmp_path / "large.tar.gz", "large", tmp_path / "large")
    assert (tmp_path / "large" / "record.db").is_file()


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
        client.connection.answered = True
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


def test_a_data_set_arrives_whole_over_a_wire_that_breaks(
    lab: Lab, wire: Wire, tmp_path: Path
) -> None:
    config = DataConfig(source="synthetic", synthetic_train=140, synthetic_eval=14, seed=5)
    data = prepare(config, tmp_path)
    length = tar_length(data.folder)
    wire.faults += [Fault(up=100_000), Fault(up=length - 10), Fault(down=1)]
    told_bytes: list[int] = []
    with Client(lab.target(port=wire.port)) as client:
        client.connection.answered = True
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


def test_a_job_of_another_or_of_none_is_told_in_the_clients_words(lab: Lab) -> None:
    lab.add_job(name := f"bobs-{uuid.uuid4().hex[:8]}", "bob", curves=None)
    with Client(lab.target()) as client:
        for job in (name, "none"):
            expected = f"You have no job {job!r} on lab; `tuner jobs --all` lists yours."
            assert told(lambda job=job: client.job(job)) == expected
            assert told(lambda job=job: client.end(job, "stop")) == expected
        assert "\n" not in told(lambda: client.job("../../etc/passwd"))
        assert "\n" not in told(lambda: client.job("a?x=y#z"))
