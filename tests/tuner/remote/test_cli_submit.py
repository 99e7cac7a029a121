"""`tuner submit` against the real service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainables.data.layouts import write_zip
from tests.tuner.remote.lab import Fault, Lab, wired
from tests.tuner.remote.laptop import DATA, done, leave_at, refused, tuner
from tuner.remote import client as client_module
from tuner.remote import connection
from tuner.remote.keys import state_folder
from tuner.service.models import Submission
from tuner.spec import RunSpec
from tuner.study.spec import StudySpec

pytestmark = pytest.mark.usefixtures("home")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--space periodic_T --trials 7",
        "--space baseline --seeds fixed --seed 3",
        "--space dynamic_constant --budget-epochs 100 --epochs 6",
        "--space periodic_T --set T=3 --set lr=0.002 --no-share",
        "--space periodic_T --range T=2:5 --sampler random --scheduler median",
        "--config mine.yaml --width 4",
        "--space own.yaml --audit 0.25 --wall-hours 2 --gpu-hours 1",
        "--data animals.zip --limit 14",
        "--data sub/animals.zip --image-size 16 --data-format folder --preset fer2013",
        "--config data.yaml --max-bad 2",
        "--concurrency 1 --cpus-per-trial 1 --gpus-per-trial 0 --retries 5",
    ],
)
def test_the_same_command_line_is_the_same_specification(lab: Lab, home: Path, line: str) -> None:
    (home / "mine.yaml").write_text("space: periodic_T\nepochs: 5\ntraining: {lr: 0.01}\n")
    (home / "own.yaml").write_text(
        "summary: Mine.\nfixed: {method: periodic, position: bn2}\n"
        "knobs: {T: {kind: int, low: 2, high: epochs/3, source: me}}\n"
    )
    (home / "data.yaml").write_text("data: {source: sub/animals.zip, color: rgb, val_share: 0.2}\n")
    (home / "sub").mkdir()
    for path in (home / "animals.zip", home / "sub" / "animals.zip"):
        write_zip(path, DATA)
    words = line.split()
    if "animals" in line or "data.yaml" in line:
        result = tuner("submit", *words)
        if result.exit_code:  # it says how to bring the data there, and that is what is done
            command = result.stderr.splitlines()[-1].partition("tuner data push ")[2]
            done("data", "push", *command.split())
    planned = json.loads(done("run", *words, "--dry-run", "--format", "json"))
    checked = json.loads(done("submit", *words, "--dry-run", "--format", "json"))
    job = json.loads(done("submit", *words, "--format", "json"))
    assert planned["digest"] == checked["digest"] == job["digest"]
    assert job["id"].startswith(checked["name"])
    row = lab.store.job(job["id"])
    assert row is not None
    spec = RunSpec.model_validate(row.spec)
    assert spec.digest == planned["digest"]
    assert spec.data.source in ("synthetic", "animals.zip")
    assert row.command == ["tuner", "submit", *words, "--format", "json"]
    if spec.data.source == "animals.zip":
        source = "sub/animals.zip" if "sub" in line or "data.yaml" in line else "animals.zip"
        packed = json.loads(done("data", source, *_packing(words), "--format", "json"))
        assert "data.yaml" in line or row.fingerprint == packed["fingerprint"]
        assert lab.store.data_set(str(row.fingerprint), "animals.zip") is not None


def _packing(words: list[str]) -> list[str]:
    flags = ("--image-size", "--data-format")
    return [
        word for flag in flags if flag in words for word in (flag, words[words.index(flag) + 1])
    ]


def test_a_study_is_the_same_by_hand_and_there_and_a_name_that_is_taken_gets_a_number(
    lab: Lab,
) -> None:
    by_hand = json.loads(done("study", "quick", "--epochs", "4", "--dry-run", "--format", "json"))
    words = ("submit", "--study", "quick", "--epochs", "4")
    assert json.loads(done(*words, "--dry-run", "--format", "json"))["name"] == "quick"
    assert done(*words) == "quick\n"
    assert json.loads(done(*words, "--dry-run", "--format", "json"))["name"] == "quick-2"
    assert done(*words) == "quick-2\n"
    row = lab.store.job("quick-2")
    assert row is not None
    assert StudySpec.model_validate(row.spec).digest == by_hand["digest"] == row.digest
    assert done(*words, "--name", "night") == "night\n"
    assert "night" in refused(*words, "--name", "night")


def test_stdout_holds_the_job_alone_and_stderr_what_to_do_next(lab: Lab) -> None:
    result = tuner("submit", "--name", "first", "--gpus", 1, "--concurrency", 1)
    assert (result.exit_code, result.stdout) == (0, "first\n")
    assert "Queued at place " in result.stderr
    assert "to hold 1 GPU, 1 core." in result.stderr
    assert "tuner logs -f first\n" in result.stderr
    row = lab.store.job("first")
    assert row is not None
    assert (row.exclusive, row.priority, row.gpus) == (True, 0, 1.0)
    done("submit", "--name", "half", "--gpus", 0.5, "--shared", "--priority", -2,
         "--gpus-per-trial", 0.5)  # fmt: skip
    row = lab.store.job("half")
    assert row is not None
    assert (row.exclusive, row.priority, row.gpus) == (False, -2, 0.5)


def test_a_dry_run_queues_nothing(lab: Lab) -> None:
    before = lab.store.jobs(limit=1000)
    text = done("submit", "--seed", 77, "--dry-run")
    assert "would be queued at place" in text
    assert "Nothing has been." in text
    assert lab.store.jobs(limit=1000) == before
    assert not (state_folder() / "keys").exists()


def test_a_key_makes_two_submissions_one(lab: Lab) -> None:
    words = ("submit", "--seed", 78, "--key", "one-of-a-kind")
    first = tuner(*words)
    again = tuner(*words)
    assert first.stdout == again.stdout
    assert "An earlier try has queued it already" in again.stderr
    assert "key" in refused("submit", "--seed", 79, "--key", "one-of-a-kind")
    assert "key must be" in refused("submit", "--key", "a b")


def test_a_submission_whose_process_is_killed_before_the_answer_is_queued_once(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["submit", "--seed", "80"]
    with wired(lab) as wire:
        wire.faults.append(Fault(mute=b"POST /api/v1/jobs "))
        other = tmp_path / "wired"
        other.mkdir()
        environment = {
            **os.environ,
            "TUNER_SERVERS": str(lab.configure(other, port=wire.port)),
        }
        before = {row.id for row in lab.store.jobs(limit=1000)}
        killed = subprocess.Popen(
            [sys.executable, "-m", "tuner", *line], env={**environment, "PYTHONPATH": str(ROOT)}
        )
        deadline_s = time.monotonic() + 60
        while not (new := {row.id for row in lab.store.jobs(limit=1000)} - before):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        killed.kill()
        killed.wait()
        monkeypatch.setenv("TUNER_SERVERS", environment["TUNER_SERVERS"])
        result = tuner(*line)
    (job,) = new
    assert result.stdout == f"{job}\n"
    assert "An earlier try has queued it already" in result.stderr
    assert {row.id for row in lab.store.jobs(limit=1000)} - before == new
    assert list((state_folder() / "keys").iterdir()) == []
    assert tuner(*line).stdout != result.stdout  # said once more, it is meant


def test_without_an_answer_it_is_told_that_the_same_again_is_safe(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 0.3)
    with wired(lab) as wire:
        wire.faults += [Fault(up=1200)] * 50  # all that comes before is shorter
        monkeypatch.setenv("TUNER_SERVERS", str(lab.configure(tmp_path, port=wire.port)))
        before = lab.store.jobs(limit=1000)
        line = refused("submit", "--seed", 81)
        assert "The connection to" in line
        assert line.endswith(
            "It may have been queued or not; the same command again queues it once."
        )
        assert lab.store.jobs(limit=1000) == before
        wire.faults.clear()
        result = tuner("submit", "--seed", 81)
        assert "An earlier try" not in result.stderr
    assert len(lab.store.jobs(limit=1000)) == len(before) + 1


@pytest.mark.parametrize("key", [(), ("--key", "a-key-of-my-own")], ids=["kept", "given"])
def test_who_leaves_before_the_answer_is_told_and_says_the_same_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, key: tuple[str, ...]
) -> None:
    words = ("submit", "--seed", 83 + len(key), *key)
    before = {row.id for row in lab.store.jobs(limit=1000)}
    with monkeypatch.context() as patched:
        leave_at(patched, "submit")
        result = tuner(*words)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "It may have been queued or not; the same command again queues it once." in result.stderr
    assert "Traceback" not in result.stderr
    (job,) = {row.id for row in lab.store.jobs(limit=1000)} - before
    again = tuner(*words)
    assert again.stdout == f"{job}\n"
    assert f"An earlier try has queued it already, as {job}" in again.stderr


def test_a_refusal_that_does_not_tell_what_became_of_an_earlier_try_keeps_the_key(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = client_module.Client.submit

    def lost(self: client_module.Client, submission: Submission) -> None:
        sent(self, submission)
        raise connection.Refused("Too many requests.", 429, 9)

    before = {row.id for row in lab.store.jobs(limit=1000)}
    with monkeypatch.context() as patched:
        patched.setattr(client_module.Client, "submit", lost)
        assert refused("submit", "--seed", 90).endswith("the same command again queues it once.")
    (job,) = {row.id for row in lab.store.jobs(limit=1000)} - before
    assert done("submit", "--seed", 90) == f"{job}\n"


def test_other_versions_there_are_told_before_it_is_queued(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuner.cli import submit

    there = submit.versions()
    monkeypatch.setattr(submit, "versions", lambda: {**there, "torch": "1.0"})
    result = tuner("submit", "--seed", 82, "--dry-run")
    assert f"torch 1.0 here and {there['torch']} there" in result.stderr
    assert result.exit_code == 0
    monkeypatch.setattr(submit, "versions", lambda: there)
    assert "Note" not in tuner("submit", "--seed", 82, "--dry-run").stderr


@pytest.mark.parametrize(
    ("state", "ending", "status"),
    [
        ("finished", "completed", 0),
        ("finished", "crashed", 3),
        ("failed", "completed", 1),
        ("stopped", "waiting", 130),
    ],
)
def test_who_waits_gets_the_exit_status_of_a_run_by_hand(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, state: str, ending: str, status: int
) -> None:
    name = f"waited-{state}-{ending}"
    lab.add_job(name, state=state, curves=[({"T": 2}, [0.5], ending)])  # type: ignore[arg-type]
    log = lab.settings.log_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("trial 0 started\n")
    made = client_module.Client.job
    monkeypatch.setattr(
        client_module.Client, "submit", lambda self, submission: (made(self, name), True)
    )
    result = tuner("submit", "--follow")
    assert result.exit_code == status
    assert result.stdout == f"{name}\n"
    assert "trial 0 started\n" in result.stderr
    assert f"Job {name} {state}" in result.stderr
    result = tuner("submit", "--wait", "--format", "json")
    assert json.loads(result.stdout)["state"] == state
