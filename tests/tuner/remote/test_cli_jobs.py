"""`tuner jobs` and its like against the real service, and every wrong command line."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest

from tests.tuner.remote.lab import Lab
from tests.tuner.remote.laptop import done, leave_at, refused, tuner
from tests.tuner.service.serving import CURVES
from tests.tuner.test_cli import imported_by
from tuner.cli.remote import job_lines
from tuner.remote.client import Client
from tuner.remote.keys import state_folder

pytestmark = pytest.mark.usefixtures("home")


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
        leave_at(patched, "resume")
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


def test_the_client_imports_nothing_heavy() -> None:
    heavy = {"torch", "ray", "optuna", "fastapi", "uvicorn", "sqlalchemy", "numpy"}
    code = "import tuner.cli.remote, tuner.remote.client, tuner.remote.fetch"
    assert imported_by(code) & heavy == set()  # `tuner jobs` answers in 0.3 s


def test_slot_time_of_several_kinds_of_device_is_told_by_kind(lab: Lab) -> None:
    lab.add_job("mixed")
    with Client(lab.target()) as client:
        job = client.job("mixed")
    assert job.progress is not None
    held = {"slot_seconds": None, "slot_seconds_by_device": {"H100": 60.0, "A100": 120.0}}
    mixed = job.model_copy(update={"progress": job.progress.model_copy(update=held)})
    (line,) = [one for one in job_lines(mixed) if one.split()[0] == "cost"]
    assert "1 min 0 s of slot time on H100, 2 min 0 s of slot time on A100," in line
