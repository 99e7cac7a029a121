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
from tuner.service import job
from tuner.service.job import LOG, NOW, OUTCOME, REQUEST, RESERVE
from tuner.service.models import Assignment, Outcome, Raise
from tuner.spec import RunSpec
from tuner.study.conduct import UnfinishedError


def assignment(folder: Path, **changes: Any) -> Assignment:
    fields = {
        "job": "it", "kind": "run", "spec": quick(budget={"trials": 2}).model_dump(mode="json"),
        "fingerprint": None, "runs": str(folder / "runs"), "cache": str(folder / "cache"),
        "command": ["tuner", "submit"], "gpus": 0.0, "cpus": 1, "attempt": 3,
    }  # fmt: skip
    return Assignment(**{**fields, **changes})


def process(folder: Path, attempt: int = 3, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tuner.service.job", str(folder), str(attempt)]
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
    assert (ended.attempt, ended.state) == (3, "failed")
    assert "TUNER_CPUS" in str(ended.reason)
    lines = (folder / LOG).read_text().splitlines()
    assert lines[0] == "of the attempt before"
    assert lines[1].startswith("Job it, attempt 3, process ")
    assert lines[-1].startswith("Ended: failed, TUNER_CPUS must be")
    assert not (folder / RESERVE).exists()


def test_an_attempt_that_was_overtaken_does_nothing(tmp_path: Path) -> None:
    (tmp_path / REQUEST).write_text(assignment(tmp_path).model_dump_json())
    assert process(tmp_path, attempt=2).wait(timeout=120) == 1
    assert not (tmp_path / OUTCOME).exists()
    assert "Attempt 3 has been asked for since" in (tmp_path / LOG).read_text()


def test_the_file_now_of_this_attempt_stops_it_before_it_has_begun(tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "it"
    runs.mkdir(parents=True)
    make_run(runs, [({"T": 3}, [0.1], "completed")], state="interrupted")
    (tmp_path / REQUEST).write_text(assignment(tmp_path).model_dump_json())
    (tmp_path / NOW).write_text("2")
    from tuner.record_file import lock_file

    with lock_file(runs):  # an earlier process, which it waits for
        made = process(tmp_path)
        deadline = time.monotonic() + 60
        while "attempt 3" not in (
            ((tmp_path / LOG).exists() and (tmp_path / LOG).read_text()) or ""
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1.5)
        assert made.poll() is None
        (tmp_path / NOW).write_text("3")
        assert made.wait(timeout=60) == 1
    assert (outcome(tmp_path).state, outcome(tmp_path).reason) == (
        "interrupted", "interrupted at once",
    )  # fmt: skip


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
