"""What travels as files out of the service: archives that are runs again, and reports."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

import pytest

from tests.reports.made_studies import make_study
from tests.tuner.service.serving import CURVES, Serving
from tests.tuner.service.test_api import log_of, refused
from tests.tuner.simulation import row
from tuner.record import Record
from tuner.service.archive import copy_record


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def names(answer_content: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(answer_content)) as archive:
        return {member.name for member in archive if member.isfile()}


def unpacked(content: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_an_archive_is_the_run_without_states(serving: Serving, tmp_path: Path) -> None:
    serving.add_job("mine")
    folder = serving.settings.run_folder("mine")
    for path in ("trials/00000/state.pt", "trials/00000/error.txt", "trunks/ab/state.pt",
                 "tensorboard/00000/events.out", "optuna.db", "spec.json"):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    (folder / "tensorboard" / "leak").symlink_to("/etc/passwd")
    (folder / "tensorboard" / "folder").symlink_to("/etc")
    log_of(serving, "mine", b"what it wrote\n")
    answer = serving.client().get("/api/v1/jobs/mine/archive")
    assert answer.status_code == 200
    assert 'filename="mine.tar.gz"' in answer.headers["content-disposition"]
    assert names(answer.content) == {
        "mine/record.db", "mine/spec.json", "mine/trials/00000/error.txt",
        "mine/tensorboard/00000/events.out", "mine/log.txt",
    }  # fmt: skip
    fetched = unpacked(answer.content, tmp_path / "laptop") / "mine"
    with Record.open(fetched) as there, Record.open(folder) as here:
        assert there.trials() == here.trials()
        assert [there.epochs(n) for n in range(4)] == [here.epochs(n) for n in range(4)]
    assert list(serving.settings.temporary.iterdir()) == []


def test_a_record_is_archived_as_it_is_at_one_moment(serving: Serving, tmp_path: Path) -> None:
    """Also while its driver has written what is in SQLite's log alone."""
    serving.add_job("mine")
    folder = serving.settings.run_folder("mine")
    with Record.open(folder, write=True) as record:
        record.add_epoch(3, row(3, 0.8, 0.8, 3))
        with record.transaction():
            record.add_epoch(3, row(4, 0.9, 0.9, 4))  # not yet committed
            copy_record(folder / "record.db", tmp_path / "record.db")
    with Record.open(tmp_path) as copy:
        assert copy.trial(3).epochs == 3


def test_a_studys_archive_holds_all_its_runs(serving: Serving, tmp_path: Path) -> None:
    serving.add_job("s", curves=None, state="finished", kind="study")
    target = serving.settings.run_folder("s")
    make_study(target)
    found = names(serving.client().get("/api/v1/jobs/s/archive").content)
    runs = {path.parent.name for path in target.glob("*/record.db")}
    assert len(runs) > 3
    assert {f"s/{run}/record.db" for run in runs} | {"s/study.json"} <= found


def test_a_report_is_made_once_until_the_record_changes(serving: Serving) -> None:
    serving.add_job("mine", state="finished")
    client = serving.client()
    first = client.get("/api/v1/jobs/mine/report")
    assert first.status_code == 200, first.text
    assert first.headers["content-type"].startswith("text/html")
    policy = first.headers["content-security-policy"]
    assert policy.startswith("sandbox") and "allow-same-origin" not in policy
    assert "<html" in first.text and "mine" in first.text
    (file,) = serving.settings.reports.glob("*.html")
    made = file.stat().st_mtime_ns
    began = time.monotonic()
    assert client.get("/api/v1/jobs/mine/report").content == first.content
    assert time.monotonic() - began < 1
    with Record.open(serving.settings.run_folder("mine"), write=True) as record:
        record.set_run("finished", "another reason")
    assert client.get("/api/v1/jobs/mine/report").status_code == 200
    (again,) = serving.settings.reports.glob("*.html")
    assert again != file or again.stat().st_mtime_ns != made


def test_jobs_are_compared_in_one_report(serving: Serving) -> None:
    for name in ("one", "two"):
        serving.add_job(name, state="finished")
    client = serving.client()
    url = client.post("/api/v1/compare", json={"jobs": ["one", "two", "one"]}).json()["url"]
    assert url == "/api/v1/comparisons/one,two"
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    assert "one" in answer.text and "two" in answer.text


def test_comparisons_are_of_jobs_that_one_may_see(serving: Serving) -> None:
    serving.add_job("mine", state="finished")
    serving.add_job("theirs", "bob", state="finished")
    client = serving.client()
    refused(client.post("/api/v1/compare", json={"jobs": ["mine", "theirs"]}), 404)
    refused(client.get("/api/v1/comparisons/mine,theirs"), 404)
    for name in ("", "..", "mine,..", "mine,", ",", "mine,.service"):
        answer = client.get(f"/api/v1/comparisons/{name}")
        assert answer.status_code in (404, 422)
        refused(answer, answer.status_code)


def test_what_cannot_be_reported_on_says_why(serving: Serving) -> None:
    """The reporting process ends as on the command line, and its line is passed on."""
    serving.add_job("mine", state="finished", curves=CURVES)
    (serving.settings.run_folder("mine") / "record.db").write_bytes(b"broken" * 1000)
    line = refused(serving.client().get("/api/v1/jobs/mine/report"), 422)
    assert "record.db" in line
    assert serving.client().get("/api/v1/jobs/mine").json()["progress"] is None


@pytest.mark.parametrize("part", ["bytes=x", "bytes=999999999-", "bytes=0-3"])
def test_an_archive_is_sent_whole_and_leaves_nothing(serving: Serving, part: str) -> None:
    serving.add_job("mine")
    answer = serving.client().get("/api/v1/jobs/mine/archive", headers={"Range": part})
    assert answer.status_code == 200
    assert "mine/record.db" in names(answer.content)
    assert list(serving.settings.temporary.iterdir()) == []
