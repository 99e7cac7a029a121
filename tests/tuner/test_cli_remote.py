"""The commands of the laptop's side, against the real service."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.trainables.data.layouts import class_folders, write_zip
from tests.tuner.made_runs import quick
from tests.tuner.remote.lab import Fault, Lab, wired
from tests.tuner.service.serving import CURVES
from tests.tuner.test_cli import imported_by
from tuner.cli import cli
from tuner.record import Record
from tuner.remote import client as client_module
from tuner.remote import connection
from tuner.remote.keys import state_folder
from tuner.service.models import Submission
from tuner.spec import RunSpec
from tuner.study.spec import StudySpec

ROOT = Path(__file__).resolve().parents[2]
DATA = class_folders(["cat", "dog", "eel"], 5, ["train", "val", "test"])
OTHER_DATA = class_folders(["cat", "dog"], 8, ["train", "val", "test"])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    found = Lab(tmp_path_factory.mktemp("lab"))
    yield found
    found.close()


@pytest.fixture(autouse=True)
def home(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder to work in, of a user whose only server is the lab."""
    config = tmp_path / "config"
    config.mkdir()
    monkeypatch.setenv("TUNER_SERVERS", str(lab.configure(config)))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TUNER_TOKEN_FILE", raising=False)
    for module, name in (
        (connection, "FIRST_PATIENCE_S"), (connection, "FIRST_PAUSE_S"), (client_module, "POLL_S"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 0.02)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def tuner(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


def done(*arguments: object) -> str:
    """Return what a command line that must succeed prints on stdout."""
    result = tuner(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    """Return the one line that a wrong command line gets on stderr, with exit status 2."""
    result = tuner(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


# ---- submit


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
        _leave_at(patched, "submit")
        result = tuner(*words)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "It may have been queued or not; the same command again queues it once." in result.stderr
    assert "Traceback" not in result.stderr
    (job,) = {row.id for row in lab.store.jobs(limit=1000)} - before
    again = tuner(*words)
    assert again.stdout == f"{job}\n"
    assert f"An earlier try has queued it already, as {job}" in again.stderr


def _leave_at(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Let a request reach the server, and the user press Ctrl-C before its answer comes."""
    sent = getattr(client_module.Client, method)

    def leave(self: object, *arguments: object) -> None:
        sent(self, *arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(client_module.Client, method, leave)


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


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("submit --address auto", "--address is for runs by hand; the server decides it"),
        ("submit --trunks /x", "--trunks is for runs by hand; the server decides it"),
        ("submit --space periodc_T", "Did you mean 'periodic_T'?"),
        ("submit --set T=0", "T must be a whole number of at least 1"),
        ("submit --name ../x", "--name must be 1 to 100 letters"),
        ("submit --study quick --space periodic_T", "--space is the study's file to say"),
        ("submit --study quick --preset quick", "--preset is the study's file to say"),
        ("submit --study quick --trials 3", "--trials is the study's file to say"),
        ("submit --study quik", "Did you mean 'quick'?"),
        ("submit --gpus 3", "gpus must be at most 2"),
        ("submit --gpus -1", "gpus must be"),
        ("submit --gpus 0.5", "gpus must be a whole number"),
        ("submit --gpus-per-trial 0 --gpus 1", "gpus must be 0"),
        ("submit --cpus-per-trial 99", "cpus"),
        ("submit --priority 3", "priority above 0 needs an admin"),
        ("submit --priority 30", "'--priority'"),
        ("submit --server lba", "Unknown server 'lba'. Did you mean 'lab'?"),
        ("submit --server http://127.0.0.1:1", "--token-file or TUNER_TOKEN_FILE"),
        ("submit --server lab.example.org:8642", "An address begins with http:// or https://"),
        ("submit --server ftp://x --token-file x", "url must be an address such as"),
        ("submit --runs x", "No such option"),
        ("submit --data nope.zip", "nor on the server lab: Unknown data set 'nope.zip'"),
        ("submit --data nope/animals.zip", "No file or folder nope/animals.zip"),
        ("jobs none", "You have no job 'none' on lab"),
        ("jobs a b", "unexpected extra argument"),
        ("jobs no:none", "Unknown server 'no'"),
        ("logs none", "You have no job 'none' on lab"),
        ("logs", "Missing argument 'JOB'"),
        ("stop none", "You have no job 'none' on lab"),
        ("pause none", "You have no job 'none' on lab"),
        ("pause hall:none", "Unknown server 'hall'"),
        ("pause lab:none --server hall", "name two servers; keep one"),
        ("fetch none", "You have no job 'none' on lab"),
        ("fetch ../x", "--name must be"),
        ("resume none", "On the server lab it would be: tuner resume :none"),
        ("resume :none", "You have no job 'none' on lab"),
        ("resume :none --retries 3", "--retries is for runs here; the server decides it"),
        ("resume :none --data x", "--data is for runs here"),
        ("resume :none --more-trials 0", "--more-trials must be a whole number"),
        ("report none", "On the server lab it would be: tuner report :none"),
        ("report :none", "You have no job 'none' on lab"),
        ("report :none :other", "You have no job 'none' on lab; `tuner jobs --all` lists yours."),
        ("report :none here", "A server's report takes no here: bring its jobs here with"),
        ("report :none --target 0.5", "A server's report takes no --target"),
        ("report :none --format pdf", "A server's report takes no --format pdf"),
        ("data push nope.zip", "No file or folder"),
        ("data push synthetic", "Synthetic faces are known to every server"),
        ("data list --server nope", "Unknown server 'nope'"),
        ("data add nope.zip --runs here", "No file or folder"),
    ],
)
def test_a_wrong_command_line_gets_one_line(lab: Lab, line: str, part: str) -> None:
    before = lab.store.jobs(limit=1000)
    assert part in refused(*line.split())
    assert lab.store.jobs(limit=1000) == before


def test_a_wrong_token_and_an_absent_server_are_told(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong.token"
    wrong.write_text("tuner_wrong_token_0123456789")
    wrong.chmod(0o600)
    url = f"http://127.0.0.1:{lab.port}"
    for words in (["jobs"], ["submit"], ["data", "list"]):
        line = refused(*words, "--server", url, "--token-file", wrong)
        assert "does not know your token" in line
    assert "is the SSH tunnel up?" in refused(
        "jobs", "--server", "http://127.0.0.1:1", "--token-file", wrong
    )
    wrong.chmod(0o644)
    assert "chmod 600" in refused("jobs", "--server", url, "--token-file", wrong)


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


# ---- jobs


def test_jobs_are_listed_as_table_json_and_csv_and_old_ones_on_demand(lab: Lab) -> None:
    lab.add_job("listed", curves=CURVES)
    lab.add_job("old", state="finished", curves=None)
    assert lab.store.set_state("old", ("finished",), "failed", ended_at=time.time() - 90_000)
    table = done("jobs")
    assert table.splitlines()[0].split() == [
        "id", "state", "position", "user", "trials", "best", "left", "space",
    ]  # fmt: skip
    (line,) = [one for one in table.splitlines() if one.startswith("listed ")]
    assert line.split()[:5] == ["listed", "running", "alice", "3/16", "0.5"]
    assert "old " not in table
    assert "old " in done("jobs", "--all")
    rows = json.loads(done("jobs", "--all", "--format", "json"))
    assert {row["id"] for row in rows} >= {"listed", "old"}
    (row,) = [one for one in rows if one["id"] == "listed"]
    assert row == json.loads(done("jobs", "listed", "--format", "json"))
    assert row["progress"]["trials"]["completed"] == 1
    plain = list(csv.DictReader(io.StringIO(done("jobs", "--format", "csv"))))
    (flat,) = [one for one in plain if one["id"] == "listed"]
    assert (flat["state"], flat["trials"], flat["space"]) == ("running", "3", "periodic_T")
    shown = done("jobs", "lab:listed")
    assert shown.startswith("Job listed running\n")
    assert "1 completed, 1 pruned, 1 crashed" in shown
    assert "0.5000 validation macro-F1 (trial 0)" in shown


def test_a_user_without_jobs_is_told_how_to_begin(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_user("carol")
    monkeypatch.setenv("TUNER_SERVERS", str(lab.configure(tmp_path, "carol")))
    result = tuner("jobs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Hand one in with `tuner submit`" in result.stderr
    assert done("jobs", "--format", "json") == "[]\n"


def test_an_admin_sees_everybodys_jobs(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_job("bobs", "bob", curves=None)
    assert "bobs" not in done("jobs")
    monkeypatch.setenv("TUNER_SERVERS", str(lab.configure(tmp_path, "root")))
    assert "bobs" in done("jobs")


def test_logs_are_printed_and_followed_to_the_end(lab: Lab) -> None:
    lab.add_job("wrote", state="finished", curves=None)
    log = lab.settings.log_file("wrote")
    log.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"Zeile {n}: ü\n" for n in range(20_000))
    log.write_text(text, encoding="utf-8")
    for words in (["wrote"], ["-f", ":wrote"], ["--follow", "lab:wrote"]):
        assert done("logs", *words) == text


def test_jobs_are_stopped_paused_and_resumed(lab: Lab) -> None:
    lab.add_job("acted")
    result = tuner("stop", "acted")
    assert (result.exit_code, result.stdout) == (0, "acted stopping\n")
    assert "Next: tuner resume :acted" in result.stderr
    assert done("stop", "acted", "--now") == "acted stopping\n"
    row = lab.store.job("acted")
    assert row is not None
    assert row.wanted == "stop_now"
    assert lab.store.set_state("acted", ("stopping",), "stopped")
    assert "--more-gpu-hours raises a limit" in refused("resume", ":acted", "--more-gpu-hours", 1.5)
    assert done("resume", ":acted", "--more-trials", 5) == "acted queued\n"
    row = lab.store.job("acted")
    assert row is not None
    assert row.more.more_trials == 5
    assert done("pause", "lab:acted") == "acted paused\n"
    assert done("resume", "acted", "--server", "lab") == "acted queued\n"
    lab.add_job("ended", state="failed")
    assert "ended" in refused("pause", "ended")


def test_a_raise_without_an_answer_is_added_once_by_the_same_command(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_job("more", state="finished", curves=None)
    words = ("resume", ":more", "--more-trials", 5)
    with monkeypatch.context() as patched:
        _leave_at(patched, "resume")
        result = tuner(*words)
    assert (result.exit_code, result.stdout) == (130, "")
    assert "It may have been added or not; the same command again adds it once." in result.stderr
    assert lab.store.set_state("more", ("queued",), "failed")  # long before it is asked again
    again = tuner(*words)
    assert again.stdout == "more failed\n"
    assert "An earlier try has added it already" in again.stderr
    assert _trials_added(lab, "more") == 5
    assert done(*words) == "more queued\n"  # said once more, it is meant
    assert _trials_added(lab, "more") == 10
    assert list((state_folder() / "keys").iterdir()) == []


def test_a_raise_that_comes_too_late_is_told_to_have_added_nothing(lab: Lab) -> None:
    lab.add_job("goes", state="running", curves=None)
    line = refused("resume", ":goes", "--more-trials", 5)
    assert "Job goes is running" in line
    assert line.endswith("Nothing has been added to its budget.")
    assert _trials_added(lab, "goes") is None
    assert done("resume", ":goes") == "goes running\n"


def _trials_added(lab: Lab, job: str) -> int | None:
    row = lab.store.job(job)
    assert row is not None
    return row.more.more_trials


# ---- fetch and report


def test_a_fetched_run_is_a_run(lab: Lab, home: Path) -> None:
    lab.add_job("taken", state="finished")
    result = tuner("fetch", "taken")
    assert (result.exit_code, result.stdout) == (0, f"{home / 'runs' / 'taken'}\n")
    assert "tuner report taken -o report.html" in result.stderr
    assert sorted(one.name for one in (home / "runs").iterdir()) == ["taken"]
    assert "taken" in done("list")
    assert "T=2" in done("show", "taken")
    assert "taken" in done("status", "taken", "--format", "json")
    assert (home / "runs" / "taken" / "report.html").read_text().startswith("<!doctype html>")
    done("report", "taken", "-o", "own.html")
    assert "periodic_T" in (home / "own.html").read_text()
    rows = list(csv.DictReader(io.StringIO(done("export", "taken", "-o", "-"))))
    assert len(rows) == len(CURVES)


def test_fetching_again_replaces_what_was_fetched_and_nothing_else(lab: Lab, home: Path) -> None:
    lab.add_job("again", state="running")
    result = tuner("fetch", "again")
    assert "again is running; fetch it again for what comes." in result.stderr
    (home / "runs" / "again" / "notes.txt").write_text("mine")
    done("fetch", ":again")
    assert (home / "runs" / "again" / "notes.txt").read_text() == "mine"
    shutil.copytree(home / "runs" / "again", home / "runs" / "mine")
    (home / "runs" / "mine" / "fetched.json").unlink()
    assert "exists and was not fetched from there" in refused("fetch", "again", "-o", "runs/mine")
    lab.add_job("mine", state="finished")
    assert "exists and was not fetched from there" in refused("fetch", "mine")
    (home / "elsewhere").mkdir()
    assert refused("fetch", "again", "-o", "elsewhere").endswith(
        f"choose another folder with -o, such as {home / 'elsewhere' / 'again'}."
    )
    assert done("fetch", "again", "-o", "a/b") == f"{home / 'a' / 'b'}\n"
    assert (home / "a" / "b" / "record.db").is_file()


def test_what_was_fetched_is_not_gone_on_with_here_unless_it_is_copied(
    lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_report(monkeypatch)
    lab.add_job("there", state="stopped")
    done("fetch", "there")
    folder = home / "runs" / "there"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert f"{folder} is a copy of lab:there, which goes on there: tuner resume lab:there." in (
        refused("resume", "there")
    )
    assert "is a copy of lab:there" in refused("run", "--runs", folder, "--trials", 1)
    assert "is a copy of lab:there" in refused(
        "study", "quick", "--runs", "runs", "--name", "there"
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    shutil.copytree(folder, home / "runs" / "own")
    (home / "runs" / "own" / "fetched.json").unlink()
    with Record.open(home / "runs" / "own", write=True):
        pass


def test_what_was_fetched_stays_if_fetching_again_fails(
    lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.add_job("kept", state="finished")
    done("fetch", "kept")
    before = {path: path.read_bytes() for path in (home / "runs" / "kept").glob("*.db")}

    def hostile(self: object, job: str, file: Path) -> None:
        file.write_bytes(b"no archive")

    monkeypatch.setattr(client_module.Client, "archive", hostile)
    assert "damaged" in refused("fetch", "kept") or "unpack" in refused("fetch", "kept")
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(one.name for one in (home / "runs").iterdir()) == ["kept"]


def test_a_run_of_which_no_report_can_be_made_is_fetched_without(
    lab: Lab, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without_report(monkeypatch)
    lab.add_job("early")
    result = tuner("fetch", "early")
    assert result.exit_code == 0
    assert "Without a report: There is nothing to report yet." in result.stderr
    assert "early" in done("list")


def _without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, job: str) -> bytes:
        raise connection.Refused("There is nothing to report yet.", 422, 1)

    monkeypatch.setattr(client_module.Client, "report", refuse)


def test_a_job_that_has_not_begun_cannot_be_fetched(lab: Lab, home: Path) -> None:
    lab.add_job("waits", state="queued", curves=None)
    assert "has no record yet" in refused("fetch", "waits")
    assert not (home / "runs").exists() or not list((home / "runs").iterdir())


def test_reports_of_one_job_and_of_several_come_from_the_server(lab: Lab, home: Path) -> None:
    lab.add_job("told1", state="finished")
    lab.add_job(
        "told2", state="finished", spec=quick("baseline"), curves=[({}, [0.4], "completed")]
    )
    result = tuner("report", ":told1", "-o", "one.html")
    assert result.exit_code == 0
    assert "Wrote one.html" in result.stderr
    assert (home / "one.html").read_text().startswith("<!doctype html>")
    done("report", ":told1", "lab:told2")
    assert "baseline" in (home / "report.html").read_text()


def test_what_lies_here_goes_before_what_is_called_the_same_there(lab: Lab, home: Path) -> None:
    (home / "lab:odd.csv").write_text("no table")
    assert "odd.csv" in refused("report", "lab:odd.csv")


# ---- data


def test_a_data_set_is_pushed_once_listed_and_found_by_its_content_or_name(
    lab: Lab, home: Path
) -> None:
    write_zip(home / "pets.zip", OTHER_DATA)
    line = refused("submit", "--data", "pets.zip")
    assert "Server lab does not have pets.zip (fingerprint" in line
    assert line.endswith(f"tuner data push {home / 'pets.zip'}")
    first = tuner("data", "push", "pets.zip")
    assert first.exit_code == 0
    assert "lab has pets.zip now." in first.stderr
    assert "Sending pets.zip to lab" in first.stderr
    again = tuner("data", "push", "pets.zip")
    assert "lab has pets.zip already." in again.stderr
    assert "Sending" not in again.stderr
    assert first.stdout == again.stdout
    fingerprint = first.stdout.strip()
    rows = json.loads(done("data", "list", "--format", "json"))
    (row,) = [one for one in rows if one["name"] == "pets.zip"]
    assert (row["fingerprint"], row["added_by"]) == (fingerprint, "alice")
    assert "pets.zip" in done("data", "list")
    assert fingerprint in done("data", "list", "--format", "csv")
    here = json.loads(done("submit", "--data", "pets.zip", "--format", "json"))
    (home / "pets.zip").unlink()
    result = tuner("submit", "--data", "pets.zip", "--format", "json")
    there = json.loads(result.stdout)
    assert there["digest"] == here["digest"]
    assert "Data: pets.zip as lab has it, 48 images" in result.stderr
    assert "Unknown data set 'pet.zip'. Did you mean 'pets.zip'?" in refused(
        "submit", "--data", "pet.zip"
    )


def test_a_data_set_that_is_damaged_there_is_pushed_again(lab: Lab, home: Path) -> None:
    write_zip(home / "worn.zip", class_folders(["ant", "bee"], 6, ["train", "val", "test"]))
    fingerprint = done("data", "push", "worn.zip").strip()
    images = lab.settings.data_folder(fingerprint, "worn.zip") / "images.npy"
    whole = images.read_bytes()
    images.chmod(0o600)
    images.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = tuner("data", "push", "worn.zip")
    assert (again.exit_code, again.stdout.strip()) == (0, fingerprint)
    assert "lab has worn.zip damaged; it is sent again." in again.stderr
    assert images.read_bytes() == whole
    assert "already" in tuner("data", "push", "worn.zip").stderr


def test_a_name_with_two_contents_must_be_here_to_be_meant(lab: Lab, home: Path) -> None:
    for content in (DATA, OTHER_DATA):
        write_zip(home / "twice.zip", content)
        done("data", "push", "twice.zip")
    (home / "twice.zip").unlink()
    assert "has 2 data sets twice.zip" in refused("submit", "--data", "twice.zip")


def test_a_name_that_no_server_takes_is_told_before_anything_is_packed(home: Path) -> None:
    write_zip(home / "my pets.zip", DATA)
    assert "rename the file" in refused("data", "push", "my pets.zip")
    assert "mend --name" in refused("data", "push", "my pets.zip", "--name", "a/b")
    assert "now" in tuner("data", "push", "my pets.zip", "--name", "mine.zip").stderr


def test_a_set_that_is_too_large_is_told_before_it_is_sent(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").mkdir()
    small = Lab(tmp_path / "small", max_upload_bytes=1000)
    try:
        monkeypatch.setenv("TUNER_SERVERS", str(small.configure(tmp_path)))
        write_zip(home / "pets.zip", DATA)
        assert "ask its admin for `tuner data add`" in refused("data", "push", "pets.zip")
    finally:
        small.close()


def test_the_operator_adds_a_data_set_on_the_server_itself(lab: Lab, home: Path) -> None:
    write_zip(home / "added.zip", DATA)
    runs = lab.settings.runs
    fingerprint = done("data", "add", "added.zip", "--runs", runs).strip()
    assert done("data", "add", "added.zip", "--runs", runs).strip() == fingerprint
    row = lab.store.data_set(fingerprint, "added.zip")
    assert row is not None
    assert row.added_by == "operator"
    (home / "added.zip").unlink()
    done("submit", "--data", "added.zip", "--dry-run")


def test_what_is_called_like_a_command_can_still_be_packed(home: Path) -> None:
    shutil.copy(write_zip(home / "x.zip", DATA), home / "list")
    assert "45 images" in done("data", "x.zip")
    assert "No data set" not in tuner("data", "./list", "--data-format", "folder").stderr
    assert done("data", "list").startswith("name ")


# ---- how fast


def test_the_client_imports_nothing_heavy() -> None:
    heavy = {"torch", "ray", "optuna", "fastapi", "uvicorn", "sqlalchemy", "numpy"}
    code = "import tuner.cli.remote, tuner.remote.client, tuner.remote.fetch"
    assert imported_by(code) & heavy == set()  # `tuner jobs` answers in 0.3 s
