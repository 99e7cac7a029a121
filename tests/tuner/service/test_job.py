"""What a job's process makes of its assignment without Ray; `test_cluster.py` runs whole ones."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from tests.tuner.made_runs import make_run, quick
from tests.tuner.service.heads import ENVIRONMENT
from tuner import engine
from tuner.record import Record, RecordFull
from tuner.service import job, job_files
from tuner.service.job_files import LOG, NOW, OUTCOME, REQUEST, RESERVE, Holder
from tuner.service.models import Assignment, Outcome, Raise
from tuner.spec import RunSpec
from tuner.study.conduct import UnfinishedError

ME, BEFORE = "it-3-c0ffee00", "it-2-c0ffee00"
"""Submissions."""


def assignment(folder: Path, **changes: Any) -> Assignment:
    fields = {
        "job": "it", "kind": "run", "spec": quick(budget={"trials": 2}).model_dump(mode="json"),
        "fingerprint": None, "runs": str(folder / "runs"), "cache": str(folder / "cache"),
        "command": ["tuner", "submit"], "gpus": 0.0, "cpus": 1, "attempt": 3, "submission": ME,
    }  # fmt: skip
    return Assignment(**{**fields, **changes})


def process(folder: Path, submission: str = ME, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tuner.service.job", str(folder), submission]
    return subprocess.Popen(
        command, env={**ENVIRONMENT, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def outcome(folder: Path) -> Outcome:
    return Outcome.model_validate_json((folder / OUTCOME).read_bytes())


def test_a_process_says_how_it_ended_and_prints_into_its_log_alone(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / LOG).write_text("of the attempt before\n")
    (folder / REQUEST).write_text(assignment(tmp_path).model_dump_json())
    made = process(folder, TUNER_CPUS="none", RAY_ADDRESS="192.0.2.1:6379")
    assert made.communicate(timeout=120) == (b"", b"")
    assert made.returncode == 1
    ended = outcome(folder)
    assert (ended.submission, ended.state) == (ME, "failed")
    assert "TUNER_CPUS" in str(ended.reason)
    lines = (folder / LOG).read_text().splitlines()
    assert lines[0] == "of the attempt before"
    assert lines[1].startswith("Job it, attempt 3, process ")
    assert lines[-1].startswith("Ended: failed, TUNER_CPUS must be")
    assert not (folder / RESERVE).exists()


def test_an_attempt_that_was_overtaken_does_nothing(tmp_path: Path) -> None:
    (tmp_path / REQUEST).write_text(assignment(tmp_path).model_dump_json())
    for other in (BEFORE, "it-3-beefbeef"):  # of another database
        assert process(tmp_path, other).wait(timeout=120) == 1
        assert not (tmp_path / OUTCOME).exists()
        assert f"asked for since {other} was; nothing to do" in (tmp_path / LOG).read_text()


def test_an_attempt_that_was_taken_back_does_nothing(tmp_path: Path) -> None:
    assert process(tmp_path).wait(timeout=120) == 1
    assert not (tmp_path / OUTCOME).exists()
    assert "has been taken back; nothing to do" in (tmp_path / LOG).read_text()


def wait_for_log(folder: Path, text: str, made: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not (folder / LOG).exists() or text not in (folder / LOG).read_text():
        assert time.monotonic() < deadline
        assert made.poll() is None
        time.sleep(0.1)


def test_the_file_now_of_this_attempt_stops_it_before_it_has_begun(tmp_path: Path) -> None:
    (tmp_path / REQUEST).write_text(assignment(tmp_path).model_dump_json())
    for other in ("3", BEFORE, "it-3-beefbeef"):
        (tmp_path / NOW).write_text(other)
        assert not job_files.is_to_stop_now(tmp_path, ME)
    earlier = job_files.lock(tmp_path, Holder(BEFORE, 4711, ()))
    assert earlier is not None
    made = process(tmp_path)
    wait_for_log(tmp_path, "waits for", made)
    job_files.stop_now(tmp_path, ME)
    assert made.wait(timeout=120) == 1
    os.close(earlier)
    assert (outcome(tmp_path).state, outcome(tmp_path).reason) == (
        "interrupted", "interrupted at once",
    )  # fmt: skip


HOLD = """
import os, sys, time
from pathlib import Path
from tuner.service import job
job.WRITER_WAIT_S = float(sys.argv.pop())
def work(assignment):
    database = os.environ.get("TUNER_DATABASE")
    print(f"working, knowing {database}, as nice as {os.nice(0)}", flush=True)
    while not (Path(assignment.runs) / "go").exists():
        time.sleep(0.05)
    return "finished", None
job.outcome = work
sys.exit(job.main(sys.argv[1:]))
"""


def holding(folder: Path, submission: str, wait_s: float = 120.0) -> subprocess.Popen[bytes]:
    """Return the process of a job that works until there is a file `go`."""
    command = [sys.executable, "-c", HOLD, str(folder), submission, str(wait_s)]
    environment = {"CUDA_VISIBLE_DEVICES": "1", "TUNER_DATABASE": "postgresql://u:word@h/d"}
    return subprocess.Popen(command, env={**ENVIRONMENT, **environment})


def test_of_two_processes_of_a_job_one_works_and_the_other_waits_or_is_tried_again(
    tmp_path: Path,
) -> None:
    made = assignment(tmp_path, runs=str(tmp_path), submission=BEFORE)
    (tmp_path / REQUEST).write_text(made.model_dump_json())
    first = holding(tmp_path, BEFORE)
    wait_for_log(tmp_path, f"working, knowing None, as nice as {min(os.nice(0) + 5, 19)}", first)
    assert job_files.living(tmp_path) == Holder(BEFORE, first.pid, ("1",))
    (tmp_path / REQUEST).write_text(made.model_copy(update={"submission": ME}).model_dump_json())
    hasty = holding(tmp_path, ME, wait_s=0.0)
    assert hasty.wait(timeout=120) == 1
    ended = job_files.outcome_of(tmp_path, ME)
    assert ended is not None
    assert ended.state == "interrupted"  # so that it is tried again
    assert "an earlier process" in str(ended.reason)
    (tmp_path / LOG).write_text("")
    second = holding(tmp_path, ME)
    wait_for_log(tmp_path, "waits for", second)
    assert first.poll() is None
    assert "working" not in (tmp_path / LOG).read_text()
    (tmp_path / "go").touch()
    assert first.wait(timeout=120) == second.wait(timeout=120) == 0
    ended = job_files.outcome_of(tmp_path, ME)
    assert ended is not None
    assert ended.state == "finished"
    assert job_files.living(tmp_path) is None
    assert job_files.latest(tmp_path) == Holder(ME, second.pid, ("1",))


def test_a_search_inherits_no_secret_of_the_service_or_the_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "RAY_AUTH_TOKEN": "the-heads", "RAY_AUTH_TOKEN_PATH": "/etc/tuner/ray-token",
        "TUNER_DATABASE": "postgresql://u:word@h/d", "TUNER_WEBHOOK": "https://h/secret",
        "TUNER_NOTIFY_COMMAND": "mail --password word", "RAY_ADDRESS": "192.0.2.1:6379",
        "PGPASSWORD": "word", "RAY_worker_niceness": "0",
    }  # fmt: skip
    environment = {**given, "RAY_AUTH_MODE": "token", "PATH": "/bin", "TUNER_CPUS": "2"}
    monkeypatch.setattr(os, "environ", dict(environment))
    job._leave_secrets()
    left = dict(os.environ)
    own = left.pop("RAY_AUTH_TOKEN")  # of the search's own Ray, which must have one
    assert len(own) == 64
    assert left == {"RAY_AUTH_MODE": "token", "PATH": "/bin", "TUNER_CPUS": "2"}
    monkeypatch.setattr(os, "environ", {**environment, "RAY_AUTH_MODE": "disabled"})
    job._leave_secrets()
    assert "RAY_AUTH_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("state", "reason", "ends"),
    [
        ("finished", "the budget is spent", ("finished", "the budget is spent")),
        ("interrupted", "interrupted", ("interrupted", "interrupted")),
        ("interrupted", "interrupted at once", ("interrupted", "interrupted at once")),
        ("interrupted", "disk full", ("full", "The disk is full.")),
        ("interrupted", "3 trials in a row crashed: x", ("failed", "3 trials in a row crashed: x")),
        ("failed", "ValueError: x", ("failed", "ValueError: x")),
    ],
)
def test_how_a_run_ends_is_how_its_job_does(state: str, reason: str, ends: tuple[str, str]) -> None:
    assert job._ended(state, reason) == ends


def full_behind_a_line() -> None:
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise UserError("Cannot write it.") from error


def no_memory() -> None:
    raise MemoryError


def interrupted() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)


@pytest.mark.parametrize(
    ("raises", "state", "told"),
    [
        (full_behind_a_line, "full", "Cannot write it."),
        (no_memory, "crashed", "MemoryError"),
        (interrupted, "interrupted", "at once"),
    ],
)
def test_whatever_ends_it_is_told_from_what_its_user_can_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raises: Any, state: str, told: str
) -> None:
    monkeypatch.setattr(job, "_run", lambda _: raises())
    ended, reason = job.outcome(assignment(tmp_path))
    assert ended == state
    assert told in str(reason)


def test_a_record_that_cannot_grow_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow(_: Assignment) -> None:
        raise RecordFull("Cannot write the record.")

    monkeypatch.setattr(job, "_run", grow)
    assert job.outcome(assignment(tmp_path)) == ("full", "Cannot write the record.")


def test_what_is_added_to_a_budget_is_added_once(tmp_path: Path) -> None:
    folder = make_run_in(tmp_path)
    planned = {"trials": 2, "epochs": None, "gpu_hours": 0.1, "wall_hours": None}
    more = Raise(more_trials=3, more_gpu_hours=0.2)
    with Record.open(folder, write=True) as record:
        record.set_budget(planned)
    assert job._still_to_add(folder, planned, Raise()) == {}
    lacking = job._still_to_add(folder, planned, more)
    assert lacking == {"more_trials": 3, "more_gpu_hours": pytest.approx(0.2)}
    with Record.open(folder, write=True) as record:
        record.set_budget({**planned, "trials": 5, "gpu_hours": 0.1 + lacking["more_gpu_hours"]})
    assert job._still_to_add(folder, planned, more) == {}
    again = Raise(more_trials=4, more_gpu_hours=0.2)  # one trial more, in all
    assert job._still_to_add(folder, planned, again) == {"more_trials": 1}
    with pytest.raises(UserError, match="more_epochs"):
        job._still_to_add(folder, planned, Raise(more_epochs=1))


@pytest.mark.parametrize(
    ("state", "reason", "ends"),
    [
        ("interrupted", "3 trials in a row crashed: x", "failed"),
        ("interrupted", "interrupted", "interrupted"),
        ("interrupted", "disk full", "full"),
        ("failed", "ValueError: x", "failed"),
    ],
)
def test_a_study_ends_as_its_run_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, reason: str, ends: str
) -> None:
    def conducted(_: Assignment) -> None:
        raise UnfinishedError("it-1", state, reason)

    monkeypatch.setattr(job, "_study", conducted)
    ended, told = job.outcome(assignment(tmp_path, kind="study"))
    assert ended == ends
    assert str(told).startswith(f"Run it-1 was {state}")


def test_a_budget_that_was_raised_before_the_start_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised = []

    def start(spec: RunSpec, *, runs: Path, name: str, **_: Any) -> None:
        (runs / name).mkdir(parents=True)
        make_run(runs / name, [({"T": 3}, [0.1], "completed")], spec)

    def resume(folder: Path, *, more_trials: int | None = None, **_: Any) -> None:
        raised.append(more_trials)

    monkeypatch.setattr(engine, "start", start)
    monkeypatch.setattr(engine, "resume", resume)
    job._run(assignment(tmp_path))
    assert raised == []
    job._run(assignment(tmp_path, job="other", more=Raise(more_trials=5)))
    assert raised == [5]


def test_a_run_that_was_made_by_hand_under_its_name_is_not_the_jobs(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "it"
    folder.mkdir(parents=True)
    make_run(folder, [({"T": 3}, [0.1], "completed")], quick(seed=7), state="interrupted")
    state, reason = job.outcome(assignment(tmp_path))
    assert state == "failed"
    assert "holds another search" in str(reason)


def make_run_in(tmp_path: Path) -> Path:
    folder = tmp_path / "it"
    folder.mkdir()
    return make_run(folder, [({"T": 3}, [0.1], "completed")])
