"""What travels as files out of the service: archives that are runs again, and reports."""

from __future__ import annotations

import asyncio
import errno
import io
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.browser import eventually
from tests.reports.made_studies import make_study
from tests.tuner.service.serving import CURVES, Serving
from tests.tuner.service.test_api import log_of, refused
from tests.tuner.service.test_events import served
from tests.tuner.simulation import row
from tuner.record import Record
from tuner.service import archive, disk, reporting
from tuner.service.archive import copy_record
from tuner.service.reporting import Reports
from tuner.service.routes import files as routes
from tuner.service.state import ARCHIVES_OF_USER


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def names(answer_content: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(answer_content)) as tar:
        return {member.name for member in tar if member.isfile()}


def unpacked(content: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(folder, filter="data")
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


# ---- archives of jobs that change meanwhile


def during(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Let something happen after an archive's files were listed, before they are read."""
    size = archive._size

    def changed(files: Sequence[Path]) -> int:
        found = size(files)
        change()
        return found

    monkeypatch.setattr(archive, "_size", changed)


@pytest.fixture
def running(serving: Serving) -> Path:
    """Return the folder of a job with a file that changes."""
    serving.add_job("mine")
    log_of(serving, "mine", b"0123456789")
    folder = serving.settings.run_folder("mine")
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events").write_bytes(b"0123456789")
    return folder


def test_what_vanishes_or_grows_while_an_archive_is_packed_spoils_nothing(
    serving: Serving, running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        (running / "tensorboard" / "events").unlink()
        log_of(serving, "mine", b"0123456789 and more")

    during(monkeypatch, change)
    found = names(serving.client().get("/api/v1/jobs/mine/archive").content)
    assert found == {"mine/record.db", "mine/log.txt"}


def test_a_file_that_shrinks_or_a_run_that_vanishes_is_a_conflict(
    serving: Serving, running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tarfile.TarFile.addfile

    def shrunk(self: tarfile.TarFile, info: tarfile.TarInfo, file: Any = None) -> None:
        if info.name.endswith("events"):
            (running / "tensorboard" / "events").write_bytes(b"0")
        real(self, info, file)

    client = serving.client()
    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", shrunk)
        assert "changed" in refused(client.get("/api/v1/jobs/mine/archive"), 409)
    during(monkeypatch, lambda: shutil.rmtree(running))
    assert "removed" in refused(client.get("/api/v1/jobs/mine/archive"), 409)
    assert list(serving.settings.temporary.iterdir()) == []


def test_an_archive_is_packed_in_a_thread_of_its_own_few_for_a_user(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.add_job("mine")
    begun, go_on = threading.Semaphore(0), threading.Event()
    packers = set()

    def slow(folder: Path, log: Path, target: Path) -> None:
        packers.add(threading.current_thread().name)
        begun.release()
        assert go_on.wait(60)

    monkeypatch.setattr(routes, "write_archive", slow)
    with served(serving) as url, ThreadPoolExecutor(8) as threads:

        def get(path: str, user: str = "alice") -> int:
            token = {"Authorization": f"Bearer {serving.tokens[user]}"}
            return httpx.get(f"{url}/api/v1{path}", headers=token, timeout=60).status_code

        asked = [threads.submit(get, "/jobs/mine/archive") for _ in range(ARCHIVES_OF_USER)]
        assert begun.acquire(timeout=60)
        workers = serving.app.state.service.archives
        assert eventually(lambda: workers.under_way("alice") == ARCHIVES_OF_USER)
        assert get("/jobs/mine/archive") == 429
        assert get("/jobs/mine") == 200
        go_on.set()
        assert [one.result() for one in asked] == [200] * ARCHIVES_OF_USER
        assert get("/jobs/mine/archive") == 200
    assert packers == {"archives_0"}


@pytest.mark.parametrize("what", ["archive", "report"])
def test_a_full_disk_is_told(serving: Serving, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    serving.add_job("mine", state="finished")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tuner.service.archive.copy_record", full)
    monkeypatch.setattr("tuner.service.reporting.Reports._make", full)
    assert "full" in refused(serving.client().get(f"/api/v1/jobs/mine/{what}"), 503)
    assert list(serving.settings.temporary.iterdir()) == []


def test_an_archive_that_there_is_no_room_for_is_not_begun(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving.add_job("mine")
    free = disk.RESERVE_BYTES
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert "free space" in refused(serving.client().get("/api/v1/jobs/mine/archive"), 507)


# ---- reports: one at a time, few for a user, and not kept for ever


async def made_at_once(self: Reports, names: Sequence[str], path: Path) -> None:
    """Stand in for the process that makes a report."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<html>{','.join(names)}</html>")


def test_the_same_jobs_in_another_order_are_the_same_report(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reports, "_make", made_at_once)
    for name in ("one", "two"):
        serving.add_job(name, state="finished")
    client = serving.client()
    texts = {client.get(f"/api/v1/comparisons/{jobs}").text for jobs in ("one,two", "two,one")}
    assert texts == {"<html>one,two</html>"}
    assert len(list(serving.settings.reports.iterdir())) == 1


def test_the_newest_reports_are_kept_one_of_the_same_jobs(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Reports, "_make", made_at_once)
    monkeypatch.setattr(reporting, "KEPT", 3)
    client = serving.client()
    for number in range(5):
        serving.add_job(f"job{number}", state="finished")
        client.get(f"/api/v1/jobs/job{number}/report")
    with Record.open(serving.settings.run_folder("job4"), write=True) as record:
        record.set_run("finished", "another reason")
    assert client.get("/api/v1/jobs/job4/report").text == "<html>job4</html>"
    kept = {path.read_text() for path in serving.settings.reports.iterdir()}
    assert kept == {f"<html>job{number}</html>" for number in (2, 3, 4)}
    assert len(list(serving.settings.reports.iterdir())) == 3


def test_a_user_waits_for_few_reports_and_what_is_read_last_counts(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that changes while its report waits is reported on as it is then, once."""
    begun, go_on, made = threading.Semaphore(0), threading.Event(), []

    async def slow(self: Reports, names: Sequence[str], path: Path) -> None:
        made.append(list(names))
        begun.release()
        assert await asyncio.to_thread(go_on.wait, 60)
        await made_at_once(self, names, path)

    monkeypatch.setattr(Reports, "_make", slow)
    for name in ("one", "two"):
        serving.add_job(name, state="finished")
    with served(serving) as url, ThreadPoolExecutor(8) as threads:

        def get(name: str) -> int:
            token = {"Authorization": f"Bearer {serving.tokens['alice']}"}
            path = f"{url}/api/v1/jobs/{name}/report"
            return httpx.get(path, headers=token, timeout=60).status_code

        first = threads.submit(get, "one")
        assert begun.acquire(timeout=60)
        waiting = [threads.submit(get, "two") for _ in range(reporting.OF_USER - 1)]
        workers = serving.app.state.service.reports.workers
        assert eventually(lambda: workers.under_way("alice") == reporting.OF_USER)
        assert get("one") == 429
        with Record.open(serving.settings.run_folder("two"), write=True) as record:
            record.set_run("finished", "another reason")
        go_on.set()
        assert {one.result() for one in (first, *waiting)} == {200}
    assert made == [["one"], ["two"]]
