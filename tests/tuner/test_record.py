"""The record: what goes in comes out, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from trainables.config import TrialConfig
from tuner import record_file, record_read, record_rows
from tuner.record import Record, RecordFull, writer
from tuner.record_schema import SCHEMA_VERSION, TABLES, columns_of, document
from tuner.rungs import Halving, MedianStopping

ROOT = Path(__file__).parents[2]
TRIAL = TrialConfig(injection={"method": "periodic", "T": 3}).model_dump(mode="json")
RUN: dict[str, Any] = {
    "name": "census",
    "spec": {
        "space": {"fixed": {}, "name": "periodic_T", "knobs": {"T": {}}},
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "budget": {"trials": 20},
    },
    "digest": "ab" * 32,
    "versions": {"torch": "2.15.0"},
    "host": {"hostname": "h", "cpu": "c", "gpus": [], "os": "Linux"},
    "command": ["tuner", "run", "--space", "periodic_T"],
    "git_revision": None,
    "data": {"fingerprint": "cd" * 32, "classes": ["happy", "sad"], "counts": {"train": 10}},
}


def new_record(folder: Path, trials: int = 1) -> Record:
    record = Record.create(folder, **RUN)
    with record.transaction():
        for number in range(trials):
            record.add_config(number, {"T": number + 1}, {}, {})
            record.add_trial(number, number, 100 + number, {"T": number + 1}, TRIAL, False, 6)
    return record


def epoch_row(epoch: int, val_f1: float = 0.5, **changes: Any) -> dict[str, Any]:
    row = {
        "epoch": epoch,
        "train_loss": 1.9459101090932196,
        "train_accuracy": 0.1 + 0.2,
        "val_loss": 1.7,
        "val_f1": val_f1,
        "val_accuracy": 0.5,
        "test_f1": val_f1 - 0.01,
        "best_val_f1": val_f1,
        "best_epoch": epoch,
        "best_test_f1": val_f1 - 0.01,
        "lr": 1e-4,
        "update_norm": 5e-324,
        "weight_norm": 1.7976931348623157e308,
        "injected_share": 1 / 3,
        "units": [{"unit": "layer1.0.bn1", "w": -0.1, "sign": -1, "injecting": 0.5}],
        "diverged": False,
        "reason": None,
        "shared": False,
        "train_s": 1.25,
        "eval_s": 0.5,
        "images_per_s": 812.5,
    }
    return row | changes


@pytest.fixture
def record(tmp_path: Path):
    with new_record(tmp_path / "census") as record:
        yield record


# ---- what goes in comes out


def test_the_run_comes_back_as_it_was_created(record: Record):
    run = record.run()
    assert {name: getattr(run, name) for name in RUN} == RUN
    assert (run.state, run.budget, run.active_s) == ("running", {"trials": 20}, 0.0)
    record.set_run("interrupted", "Ctrl-C")
    record.set_budget({"trials": 40})
    record.add_active(1.5)
    record.add_active(0.25)
    run = record.run()
    assert (run.state, run.reason, run.active_s) == ("interrupted", "Ctrl-C", 1.75)
    assert run.budget == {"trials": 40} and run.spec == RUN["spec"]


def test_an_epoch_row_comes_back_bit_for_bit(record: Record):
    rows = [epoch_row(1), epoch_row(2, 0.0, diverged=True, reason="loss is nan", test_f1=None,
                                    train_loss=None, val_loss=None, units=[])]  # fmt: skip
    for row in rows:
        assert record.add_epoch(0, row)
    assert record.epochs(0) == rows
    assert [type(value) for value in record.epochs(0)[0].values()] == [
        type(value) for value in rows[0].values()
    ]
    names = ("units", "val_f1", "train_loss", "epoch")
    assert record.epoch_columns(0, names) == [[row[name] for row in rows] for name in names]
    assert record.epoch_columns(1, names) == [[], [], [], []]


def test_the_score_is_the_first_best_and_its_test_score(record: Record):
    tests = [0.11, 0.22, None, None, 0.55]
    for epoch, (value, test) in enumerate(zip([0.3, 0.5, 0.4, 0.5, 0.6], tests, strict=True), 1):
        record.add_epoch(0, epoch_row(epoch, value, test_f1=test))
        if epoch == 4:
            trial = record.trial(0)
            assert (trial.score, trial.best_epoch, trial.test_score) == (0.5, 2, 0.22)
    trial = record.trial(0)
    assert (trial.score, trial.best_epoch, trial.test_score) == (0.6, 5, 0.55)
    assert (trial.epochs, trial.stand_alone_epochs, trial.as_run_epochs) == (5, 5, 5)
    assert (trial.train_s, trial.eval_s) == (6.25, 2.5)


def test_an_epoch_that_is_reported_twice_counts_once(record: Record):
    record.add_epoch(0, epoch_row(1, 0.4))
    before = record.trial(0)
    assert record.add_epoch(0, epoch_row(1, 0.9)) is False
    assert record.trial(0) == before
    record.end_trial(0, "completed", None)
    assert record.add_epoch(0, epoch_row(1, 0.9)) is False  # a late repetition is no error


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (epoch_row(2), "epoch 2 came after 0"),
        (epoch_row(1, train_loss=float("nan")), "train_loss must be finite, but got nan"),
        (epoch_row(1, lr=float("inf")), "lr must be finite"),
        (epoch_row(1, units=[{"w": float("nan")}]), "not JSON compliant"),
        (epoch_row(1, gradient_norm=1.0), "table epoch has no column gradient_norm"),
    ],
)
def test_an_epoch_that_would_not_come_back_as_it_is_is_refused(record: Record, row, message):
    with pytest.raises(ValueError, match=message):
        record.add_epoch(0, row)
    assert record.epochs(0) == [] and record.trial(0).epochs == 0


def test_a_trials_life_is_told_by_its_row(record: Record):
    waiting = record.trial(0)
    assert (waiting.state, waiting.attempts, waiting.arm) == ("waiting", 0, "periodic")
    assert (waiting.trial_config, waiting.knobs, waiting.seed) == (TRIAL, {"T": 1}, 100)
    record.start_trial(0, 50.0, "cuda:0", "worker-1")
    record.interrupt_trial(0, "Ctrl-C", 60.0)
    record.start_trial(0, 70.0, "cuda:1", "worker-2")
    record.add_slot_time(0, 1.5)
    record.add_slot_time(0, 2.0)
    record.end_trial(0, "crashed", "out of memory", error="Traceback …", at=80.0)
    trial = record.trial(0)
    assert (trial.state, trial.reason, trial.error) == ("crashed", "out of memory", "Traceback …")
    assert (trial.started_at, trial.ended_at, trial.attempts) == (50.0, 80.0, 2)
    assert (trial.device, trial.worker, trial.slot_s) == ("cuda:1", "worker-2", 3.5)
    (event,) = record.events()
    assert (event.kind, event.message, event.trial, event.at) == ("interrupt", "Ctrl-C", 0, 60.0)


def test_an_ended_trial_stays_ended(record: Record):
    record.end_trial(0, "pruned", "rung 7")
    for change in (
        lambda: record.start_trial(0, None, "cpu", "w"),
        lambda: record.interrupt_trial(0, "late"),
        lambda: record.end_trial(0, "completed", None),
        lambda: record.add_epoch(0, epoch_row(1)),
    ):
        with pytest.raises(ValueError, match="trial 0: it is pruned"):
            change()
    assert record.trial(0).state == "pruned" and record.events() == []
    record.add_slot_time(0, 1.0)  # its slot may be released a moment later
    assert record.trial(0).slot_s == 1.0


def test_unknown_states_and_numbers_are_refused(record: Record):
    with pytest.raises(ValueError, match="A trial ends as one of completed, pruned"):
        record.end_trial(0, "waiting", None)
    with pytest.raises(sqlite3.IntegrityError):
        record.set_run("paused")
    with pytest.raises(sqlite3.IntegrityError):
        record.add_trial(7, 99, 0, {}, TRIAL, False, 1)  # no configuration 99
    with pytest.raises(sqlite3.IntegrityError):
        record.add_trial(0, 0, 0, {}, TRIAL, False, 1)  # there is a trial 0
    with pytest.raises(UserError, match="Run census has 1 trials, but none is 5"):
        record.trial(5)
    with pytest.raises(ValueError, match="no config 9"):
        record.set_config(9, "completed", 0.5)


def test_a_configuration_keeps_what_the_sampler_needs_to_be_rebuilt(record: Record):
    record.add_config(1, {"T": 2, "position": "bn1"}, {"grid_id": 3}, {"cma": "00ff"})
    record.set_config(0, "completed", 0.625, {"told": [1, 2]})
    record.set_config(1, "failed", None)
    told, failed = record.configs()
    assert (told.state, told.value, told.optuna_attrs) == ("completed", 0.625, {"told": [1, 2]})
    assert (failed.state, failed.value, failed.optuna_attrs) == ("failed", None, {"grid_id": 3})
    assert failed.knobs == {"T": 2, "position": "bn1"} and failed.study_attrs == {"cma": "00ff"}


def test_events_are_listed_after_one_that_is_known(record: Record):
    record.add_event("start", "tuner run", at=1.0, data={"slots": 2})
    (first,) = record.events()
    record.add_event("prune", "rung 7", trial=0)
    assert first.data == {"slots": 2}
    assert [event.message for event in record.events(after_id=first.id)] == ["rung 7"]


def test_totals_count_every_state_and_all_that_was_spent(tmp_path: Path):
    with new_record(tmp_path / "r", trials=3) as record:
        empty = record.totals()
        assert (empty.num_trials, empty.trials["waiting"], empty.epochs) == (3, 3, 0)
        for number in (0, 1):
            record.add_epoch(number, epoch_row(1))
            record.add_slot_time(number, 2.5)
        record.add_epoch(1, epoch_row(2))
        record.end_trial(1, "completed", None)
        record.add_active(9.0)
        totals = record.totals()
    assert (totals.epochs, totals.slot_s, totals.active_s) == (3, 5.0, 9.0)
    assert totals.trials == {
        "waiting": 2, "running": 0, "completed": 1, "pruned": 0, "diverged": 0, "crashed": 0,
        "stopped": 0,
    }  # fmt: skip


def test_the_best_trial_is_the_first_highest_that_neither_crashed_nor_diverged(tmp_path: Path):
    with new_record(tmp_path / "r", trials=6) as record:
        assert record.best() is None
        for number, value in enumerate([0.4, 0.6, 0.6, 0.9, 0.8]):
            record.add_epoch(number, epoch_row(1, value))
        record.end_trial(3, "crashed", "out of memory")
        record.end_trial(4, "diverged", "loss is nan")
        assert record.best().number == 1
        record.end_trial(2, "completed", None)  # that it has ended does not put it first
        assert record.best().number == 1


def test_trials_are_listed_by_state(tmp_path: Path):
    with new_record(tmp_path / "r", trials=3) as record:
        record.start_trial(2, None, "cpu", "w")
        record.end_trial(1, "pruned", "rung 7")
        assert [t.number for t in record.trials()] == [0, 1, 2]
        assert [t.number for t in record.trials(["running", "waiting"])] == [0, 2]
        assert record.trials([]) == []


# ---- early stopping across a restart


@pytest.mark.parametrize("build", [lambda: Halving(20, 3, 2), lambda: MedianStopping(20, 3)])
def test_early_stopping_continues_from_the_record_as_if_never_ended(tmp_path: Path, build):
    draw = random.Random(7)
    reports = [(t, e, draw.choice([0.1, 0.2, 0.3])) for e in range(1, 20) for t in range(12)]
    draw.shuffle(reports)
    undisturbed = build()
    with new_record(tmp_path / "r", trials=12) as record:
        for trial, epoch, best in reports[:120]:
            decision = undisturbed.judge(trial, epoch, best, exempt=trial % 3 == 0)
            if decision is not None:
                _, rung, value, cutoff, rank, entries, tied, _ = decision
                again = (trial, rung, value, cutoff, rank, entries, tied, decision.stop)
                assert record.add_rung(*again, would_stop=decision.would_stop)
                assert not record.add_rung(*again)
    resumed = build()
    with Record.open(tmp_path / "r") as record:
        rows = record.rungs()
        resumed.restore(rows)
        assert any(row.would_stop and not row.stop for row in rows)
        assert record.trial(rows[-1].trial).rung == rows[-1].rung_epoch
    for trial, epoch, best in reports:
        assert resumed.judge(trial, epoch, best) == undisturbed.judge(trial, epoch, best)


# ---- transactions


def test_a_failing_transaction_leaves_nothing(record: Record):
    with pytest.raises(RuntimeError, match="boom"), record.transaction():
        record.add_epoch(0, epoch_row(1))
        record.set_run("finished")
        raise RuntimeError("boom")
    assert record.epochs(0) == [] and record.run().state == "running"
    assert record.trial(0).score is None


def test_a_nested_transaction_joins_the_outer_one(record: Record):
    with pytest.raises(KeyboardInterrupt), record.transaction():
        with record.transaction():
            record.set_run("finished")
        raise KeyboardInterrupt
    assert record.run().state == "running"
    with record.transaction(), record.transaction():
        record.set_run("finished")
    assert record.run().state == "finished"


def test_a_swallowed_failure_inside_a_transaction_still_keeps_nothing(record: Record):
    with pytest.raises(RuntimeError, match="nothing of it is kept"), record.transaction():
        record.set_run("finished")
        with contextlib.suppress(ValueError):
            record.add_epoch(0, epoch_row(5))
    assert record.run().state == "running"
    record.add_event("start", "goes on")  # the record stays usable
    assert len(record.events()) == 1


def test_a_reader_sees_only_what_is_committed_and_one_moment_within_a_transaction(record: Record):
    with Record.open(record.folder) as reader:
        with record.transaction():
            record.add_epoch(0, epoch_row(1))
            assert reader.epochs(0) == []
        assert len(reader.epochs(0)) == 1
        with reader.transaction():
            assert reader.trial(0).epochs == 1
            record.add_epoch(0, epoch_row(2))
            assert len(reader.epochs(0)) == 1
        assert len(reader.epochs(0)) == 2


def test_a_reader_cannot_write(record: Record):
    with Record.open(record.folder) as reader, pytest.raises(sqlite3.OperationalError):
        reader.set_run("finished")
    assert record.run().state == "running"


# ---- one writer


def test_a_folder_holds_one_run(record: Record):
    record.close()
    with pytest.raises(UserError, match=r"already holds a run; .*tuner resume census"):
        Record.create(record.folder, **RUN)


def test_a_second_writer_is_told_who_writes(record: Record):
    code = (
        "import sys; from pathlib import Path; from tuner.record import Record, writer\n"
        "folder = Path(sys.argv[1]); print(writer(folder))\n"
        "try: Record.open(folder, write=True)\n"
        "except ValueError as error: print(error)"
    )
    output = subprocess.run(
        [sys.executable, "-c", code, str(record.folder)], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    who = f"process {os.getpid()} on host {os.uname().nodename}"
    assert output == [who, f"Run census is being written by {who}."]
    record.close()
    assert writer(record.folder) is None
    with Record.open(record.folder, write=True) as again:
        again.set_run("running")


def test_asking_who_writes_does_not_keep_a_driver_out(record: Record):
    record.close()
    code = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_SH); print('held', flush=True)\n"
        "time.sleep(0.1)"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", code, str(record.folder / "record.lock")], stdout=subprocess.PIPE
    )
    assert asker.stdout.readline() == b"held\n"
    Record.open(record.folder, write=True).close()
    assert asker.wait() == 0
    asker.stdout.close()


def test_another_program_that_locks_the_file_is_told_in_one_line(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(record_file, "BUSY_MS", 50)
    with new_record(tmp_path / "r") as record:
        other = sqlite3.connect(tmp_path / "r" / "record.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="locked by another program"):
            record.set_run("finished")
        other.close()
        record.set_run("finished")


# ---- what may lie in a folder


def test_a_folder_without_a_record_is_named_and_left_as_it_is(tmp_path: Path):
    for write in (False, True):
        with pytest.raises(UserError, match=r"holds no record\.db"):
            Record.open(tmp_path, write=write)
        with pytest.raises(UserError, match="there is no such folder"):
            Record.open(tmp_path / "nowhere", write=write)
    assert list(tmp_path.iterdir()) == []
    assert writer(tmp_path) is None


def spoiled(folder: Path, sql: str) -> None:
    connection = sqlite3.connect(folder / "record.db")
    connection.executescript(sql)
    connection.close()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(50_000))


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_database(path: Path) -> None:
    path.unlink()
    spoiled(path.parent, "CREATE TABLE run (id)")


def table_lost(path: Path) -> None:
    spoiled(path.parent, "DROP TABLE epoch")


def column_lost(path: Path) -> None:
    spoiled(path.parent, "ALTER TABLE trial DROP COLUMN slot_s")


def no_run(path: Path) -> None:
    spoiled(path.parent, "DELETE FROM run")


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "spoil", [empty, garbage, cut_in_half, other_database, table_lost, column_lost, no_run]
)
def test_a_damaged_record_is_refused_in_one_line(record: Record, spoil, write: bool):
    record.close()
    spoil(record.folder / "record.db")
    with pytest.raises(UserError, match=r"record\.db is damaged or no record \(.+\); restore it"):
        Record.open(record.folder, write=write)
    assert writer(record.folder) is None  # the lock was let go


def test_a_page_lost_amid_the_file_is_found_before_writing_goes_on(tmp_path: Path):
    with new_record(tmp_path / "r") as record:
        for epoch in range(1, 60):
            record.add_epoch(0, epoch_row(epoch))
    path = tmp_path / "r" / "record.db"
    content = bytearray(path.read_bytes())
    content[-8192:] = b"\xff" * 8192
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        Record.open(tmp_path / "r", write=True)
    with pytest.raises(UserError, match="damaged"), Record.open(tmp_path / "r") as reader:
        reader.epochs(0)


def test_a_record_of_a_newer_version_is_refused_in_one_line(record: Record):
    record.close()
    spoiled(record.folder, "PRAGMA user_version = 7")
    expected = r"written by a newer version \(schema 7, this one reads up to 1\): upgrade tuner"
    for write in (False, True):
        with pytest.raises(UserError, match=expected):
            Record.open(record.folder, write=write)


def test_a_creation_that_died_halfway_is_no_run_and_can_be_repeated(tmp_path: Path):
    folder = tmp_path / "census"
    folder.mkdir()
    (folder / "record.db.new").write_bytes(b"half")
    (folder / "record.db.new-wal").write_bytes(b"half")
    with pytest.raises(UserError, match=r"holds no record\.db"):
        Record.open(folder)
    with Record.create(folder, **RUN) as record:
        assert record.run().name == "census"
    assert sorted(path.name for path in folder.iterdir()) == ["record.db", "record.lock"]


def test_a_folder_may_have_any_name(tmp_path: Path):
    folder = tmp_path / "ünit 100% a#b?c=d"
    new_record(folder).close()
    with Record.open(folder) as record:
        assert record.trial(0).seed == 100


def read_without_permission(folder: Path) -> str:
    """Return what a process that may not write in the folder reads from it.

    Forked, because another user may not reach the interpreter; the caller must have no record
    open, since SQLite does not survive a fork.
    """
    folder.chmod(0o555)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            with Record.open(folder) as record:
                text = str(len(record.epochs(0)))
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    folder.chmod(0o755)
    with os.fdopen(reading) as file:
        return file.read()


@pytest.fixture
def open_folder():
    """A folder that every user may reach; pytest's own is private."""
    folder = Path(tempfile.mkdtemp(prefix="record-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_reader_without_write_permission_reads_a_closed_record(open_folder: Path):
    with new_record(open_folder / "r") as record:
        record.add_epoch(0, epoch_row(1))
    assert read_without_permission(open_folder / "r") == "1"


DRIVE = """
import sys
from pathlib import Path
from tests.tuner.test_record import epoch_row, new_record
with new_record(Path(sys.argv[1])) as record:
    for epoch in (1, 2):
        record.add_epoch(0, epoch_row(epoch))
        print(epoch, flush=True)
        sys.stdin.readline()
    sys.stdin.readline()
"""


@pytest.fixture
def driver(open_folder: Path):
    """A driver in a process of its own; a line to it makes it go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVE, str(open_folder / "r")],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    yield process
    process.communicate("\n\n", timeout=60)


def test_a_reader_without_write_permission_reads_while_the_driver_writes(driver, open_folder: Path):
    assert driver.stdout.readline() == "1\n"
    assert read_without_permission(open_folder / "r") == "1"
    driver.stdin.write("\n")
    assert driver.stdout.readline() == "2\n"
    assert read_without_permission(open_folder / "r") == "2"


def test_a_copied_log_that_cannot_be_replayed_is_not_passed_over(driver, open_folder: Path):
    """Reading the file without its log would show an old state as if it were the last."""
    assert driver.stdout.readline() == "1\n"
    (open_folder / "copy").mkdir()
    for name in ("record.db", "record.db-wal"):
        shutil.copy(open_folder / "r" / name, open_folder / "copy" / name)
    assert "copy the folder, and read the copy" in read_without_permission(open_folder / "copy")


def test_a_reader_without_write_permission_reads_what_a_killed_driver_left(driver, open_folder):
    assert driver.stdout.readline() == "1\n"
    driver.kill()
    driver.wait()
    assert (open_folder / "r" / "record.db-wal").stat().st_size > 0
    assert read_without_permission(open_folder / "r") == "1"


# ---- disk full, power lost, and killed


def test_a_commit_waits_for_the_disk_unless_one_did_within_a_second(record: Record, monkeypatch):
    clock = [time.monotonic() + 100]
    monkeypatch.setattr(record_read.time, "monotonic", lambda: clock[0])
    synchronous = []
    for delay in (0.0, 0.5, 0.4, 0.2, 0.9, 3.0):
        clock[0] += delay
        record.add_event("start", "x")
        synchronous.append(record._connection.execute("PRAGMA synchronous").fetchone()[0])
    assert synchronous == [2, 1, 1, 2, 1, 2]  # 2 is FULL, 1 is NORMAL


def test_a_full_disk_is_told_in_one_line_and_nothing_half_is_kept(record: Record):
    (pages,) = record._connection.execute("PRAGMA page_count").fetchone()
    record._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(RecordFull) as caught:
        for epoch in range(1, 100):
            with record.transaction():
                record.add_event("start", f"epoch {epoch}")
                record.add_epoch(0, epoch_row(epoch))
    message = str(caught.value)
    assert isinstance(caught.value, UserError) and "\n" not in message
    assert str(record.folder) in message and "tuner resume census" in message
    kept = record.trial(0).epochs
    assert 0 < kept == len(record.epochs(0)) == len(record.events())
    record._connection.execute("PRAGMA max_page_count = 100000")  # space was freed
    record.add_epoch(0, epoch_row(kept + 1))
    record.close()
    with Record.open(record.folder, write=True) as again:
        assert again.trial(0).epochs == kept + 1


FILL = """
import resource, sys
from pathlib import Path
from tests.tuner.test_record import epoch_row
from tuner.record import Record, RecordFull
record = Record.open(Path(sys.argv[1]), write=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for epoch in range(1, 1000):
        record.add_epoch(0, epoch_row(epoch))
        print(epoch, flush=True)
except RecordFull:
    print("full")
"""


def test_a_failing_write_to_disk_is_told_and_what_was_acknowledged_is_there(tmp_path: Path):
    new_record(tmp_path / "r").close()
    output = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "r")], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert output[-1] == "full"
    with Record.open(tmp_path / "r", write=True) as record:
        assert len(record.epochs(0)) == int(output[-2]) > 10


CREATE = """
import resource, sys
from pathlib import Path
from tests.tuner.test_record import RUN
from tuner.record import Record, UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    Record.create(Path(sys.argv[1]), **RUN)
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("space", [0, 10_000])
def test_where_a_record_cannot_be_made_there_is_none(tmp_path: Path, space: int):
    code = [sys.executable, "-c", CREATE, str(tmp_path / "r"), str(space)]
    output = subprocess.run(code, cwd=ROOT, capture_output=True, text=True).stdout
    assert output.startswith("Cannot ") and output.count("\n") == 1
    with pytest.raises(UserError, match="holds no record"):
        Record.open(tmp_path / "r")
    new_record(tmp_path / "r").close()


WRITE = """
import sys
from pathlib import Path
from tests.tuner.test_record import epoch_row
from tuner.record import Record
record = Record.open(Path(sys.argv[1]), write=True)
first = record.trial(0).epochs + 1
for epoch in range(first, first + 100_000):
    with record.transaction():
        record.add_epoch(0, epoch_row(epoch))
        record.add_event("start", str(epoch), trial=0)
        record.add_slot_time(0, 1.0)
    print(epoch, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path):
    folder, draw = tmp_path / "r", random.Random(20)
    new_record(folder).close()
    acknowledged = 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(folder)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = [process.stdout.readline()]
        time.sleep(draw.uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        complete = [line for line in lines if line.endswith("\n")]
        assert int(complete[-1]) > acknowledged
        acknowledged = int(complete[-1])
        with Record.open(folder, write=True) as record:  # at once: the kernel released the lock
            (verdict,) = record._connection.execute("PRAGMA integrity_check").fetchone()
            assert verdict == "ok"
            trial = record.trial(0)
            assert acknowledged <= trial.epochs <= acknowledged + 1
            assert [row["epoch"] for row in record.epochs(0)] == list(range(1, trial.epochs + 1))
            assert len(record.events()) == trial.epochs == trial.slot_s


# ---- documentation and schema


def test_the_documentation_is_what_the_schema_says():
    assert (ROOT / "docs" / "record.md").read_text(encoding="utf-8") == document()


def test_the_database_has_the_documented_tables_and_columns(record: Record):
    connection = record._connection
    names = {
        row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
    }
    assert names == set(TABLES)
    for table in TABLES:
        found = [row["name"] for row in connection.execute(f"PRAGMA table_info({table})")]
        assert tuple(found) == columns_of(table)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


@pytest.mark.parametrize("table", ["run", "config", "trial", "rung", "event"])
def test_rows_have_a_field_for_every_column(table: str):
    row = getattr(record_rows, f"{table.capitalize()}Row")
    assert tuple(field.name for field in dataclasses.fields(row)) == columns_of(table)


def test_an_epoch_row_of_the_tests_has_every_column():
    assert set(epoch_row(1)) | {"trial"} == set(columns_of("epoch"))


def test_meanings_travel_with_the_file(record: Record):
    (sql,) = record._connection.execute(
        "SELECT sql FROM sqlite_master WHERE name='trial'"
    ).fetchone()
    assert "-- Slot-seconds: seconds × fraction held, over all attempts." in sql


def test_the_record_needs_neither_torch_nor_ray_nor_optuna():
    code = (
        "import sys, tuner.record, tuner.rungs, tuner.budget, tuner.table\n"
        "heavy = ('torch', 'ray', 'optuna', 'numpy', 'pyarrow')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_two_thousand_trials_of_sixty_epochs_are_read_in_a_moment(tmp_path: Path):
    with new_record(tmp_path / "r", trials=2000) as record:
        with record.transaction():
            for number in range(2000):
                for epoch in range(1, 61):
                    record.add_epoch(number, epoch_row(epoch))
        times = []
        for _ in range(5):
            start = time.process_time()
            assert len(record.trials()) == 2000
            times.append(time.process_time() - start)
        assert min(times) < 0.2, json.dumps(times)
