"""`tuner fetch` and reports of jobs against the real service."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from tests.tuner.made_runs import quick
from tests.tuner.remote.lab import Lab
from tests.tuner.remote.laptop import done, refused, tuner
from tests.tuner.service.serving import CURVES
from tuner.record import Record
from tuner.remote import client as client_module
from tuner.remote import connection

pytestmark = pytest.mark.usefixtures("home")


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


def test_a_copy_of_a_run_that_goes_on_tells_how_it_stood(lab: Lab, home: Path) -> None:
    lab.add_job("going", state="running")
    with Record.open(lab.settings.run_folder("going"), write=True) as record:
        record.set_run("running")
    done("fetch", "going")
    told = json.loads(done("status", "going", "--format", "json"))
    assert (told["state"], told["trials"]["running"]) == ("running", 1)
    assert told["reason"] == "so it stood when this copy was fetched"
    assert "going  running" in done("status", "going")
    (home / "runs" / "going" / "fetched.json").unlink()
    told = json.loads(done("status", "going", "--format", "json"))
    assert (told["state"], told["trials"]["waiting"]) == ("interrupted", 1)


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
