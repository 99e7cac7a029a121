"""Whole runs that are killed or interrupted, and resumed: they find the same, and lose nothing.

The oracle of every comparison is the same search left alone. What is done to a search amid its
epochs is done while it waits at a gate (`tests/gates.py`), so that it has not ended by then.
"""

from __future__ import annotations

import json
import random
import signal
import statistics
import time
from pathlib import Path

import pytest

from tests.gates import WAIT_S, Gates, wait_until
from tests.tuner.searches import (
    PIPES,
    TRIALS,
    begun,
    command,
    content,
    epochs_recorded,
    finish,
    interrupt,
    optuna_states,
    resume_command,
    wait_at_gate,
)
from tuner.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FURTHEST = 2
"""Epochs after which a search that is to be killed waits, however late its kill comes."""


def test_ten_kills_at_random_moments_leave_no_trace(
    shared: Path, undisturbed: Path, closable: Gates
) -> None:
    seed = 20_261
    moments = random.Random(seed)
    runs = shared / "killed"
    folder = runs / "it"
    arguments = command(shared, runs, "--name", "it", "--trials", TRIALS, "--concurrency", "1")
    epoch_s = _seconds_an_epoch(undisturbed)  # so that a fast machine is killed as often
    with Record.open(undisturbed) as record:
        all_epochs = [
            (one.number, epoch) for one in record.trials() for epoch in range(1, one.epochs + 1)
        ]
    assert len(all_epochs) > 10 * FURTHEST
    for _ in range(10):
        before = epochs_recorded(folder)
        closable.close("it", *all_epochs[before + FURTHEST])
        with begun(arguments, closable) as process:
            # wait for the search to move, then strike at any moment of the epoch after
            wait_until(lambda: epochs_recorded(folder) > before or process.poll() is not None)  # noqa: B023
            time.sleep(moments.uniform(0, 1.2 * epoch_s))
            assert process.poll() is None, f"the search has ended (seed {seed})"
        arguments = resume_command(shared, folder)
    finish(resume_command(shared, folder))
    assert content(folder) == content(undisturbed)
    assert optuna_states(folder) == optuna_states(undisturbed)


def test_kills_of_a_worker_and_of_the_driver_lose_and_double_nothing(
    shared: Path, closable: Gates
) -> None:
    folder = shared / "two" / "it"
    closable.close("it", 0, 2)
    arguments = ("--name", "it", "--trials", "24", "--concurrency", "2")
    with begun(command(shared, folder.parent, *arguments), closable) as process:
        (worker,) = wait_at_gate(closable, process, 0)  # the other may be stopped before
        worker.kill()
        closable.close("it", 8)
        wait_at_gate(closable, process, 8, 9)  # so that trial 0 has ended in another worker
    with Record.open(folder) as record:
        ended = {t.number: t.score for t in record.trials() if t.state in ("completed", "pruned")}
        rungs = {(r.trial, r.rung_epoch): r.value for r in record.rungs()}
        assert "retry" in [event.kind for event in record.events()]
    finish(resume_command(shared, folder))
    with Record.open(folder) as record:
        trials = record.trials()
        after = {(r.trial, r.rung_epoch): r.value for r in record.rungs()}
        for trial in trials:
            epochs = [row["epoch"] for row in record.epochs(trial.number)]
            assert epochs == list(range(1, trial.epochs + 1))
    assert [trial.number for trial in trials] == list(range(24))
    assert {trial.state for trial in trials} <= {"completed", "pruned"}
    assert ended.items() <= {t.number: t.score for t in trials}.items()
    assert rungs.items() <= after.items()
    assert set(optuna_states(folder)) <= {"COMPLETE", "PRUNED"}
    assert len(optuna_states(folder)) == 24
    # Both slots were used from the start (Tune keeps one trial pending unless told otherwise) ...
    first, second = trials[:2]
    assert (second.started_at or 0) < (first.ended_at or 0)
    # ... and holding a slot costs more than training in it: a process starts and imports torch.
    assert first.slot_s > first.train_s + first.eval_s + 1.0


def test_after_a_workers_death_stdout_still_holds_one_object(shared: Path, closable: Gates) -> None:
    folder = shared / "json" / "it"
    arguments = command(shared, folder.parent, "--name", "it", "--trials", "3", "--format", "json")
    closable.close("it", 0, 2)
    with begun(arguments, closable, **PIPES) as process:
        (worker,) = wait_at_gate(closable, process, 0)
        worker.kill()
        closable.open("it")
        stdout, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, stderr[-2000:]
    assert json.loads(stdout)["trials"].keys() <= {"completed", "pruned"}
    assert "retry:" in stderr
    assert "\x1b" not in stderr


def test_ctrl_c_finishes_the_epoch_and_the_run_goes_on_later(
    shared: Path, undisturbed: Path, closable: Gates
) -> None:
    folder = shared / "interrupted" / "it"
    arguments = ("--name", "it", "--trials", TRIALS, "--concurrency", "1")
    closable.close("it", 0, 5)
    with begun(command(shared, folder.parent, *arguments), closable, **PIPES) as process:
        wait_at_gate(closable, process, 0)
        interrupt(process)
        closable.open("it")
        _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, stderr[-2000:]
    with Record.open(folder) as record:
        assert record.run().state == "interrupted"
        assert "running" not in {trial.state for trial in record.trials()}
        assert record.totals().epochs == 5
    finish(resume_command(shared, folder))
    assert content(folder) == content(undisturbed)


def test_ctrl_c_before_any_worker_is_up_trains_no_epoch(shared: Path, closable: Gates) -> None:
    folder = shared / "early" / "it"
    closable.close("it", 0, 0)
    arguments = command(shared, folder.parent, "--name", "it", "--trials", "2")
    with begun(arguments, closable, **PIPES) as process:
        wait_until(lambda: _told(folder, "ask") or process.poll() is not None)
        interrupt(process)
        # All that were asked for are taken back, though their workers are still about to start.
        wait_until(lambda: _told(folder, "ask") == _told(folder, "interrupt"))
        closable.open("it")
        _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, stderr[-2000:]
    with Record.open(folder) as record:
        assert {(trial.state, trial.epochs) for trial in record.trials()} == {("waiting", 0)}
    finish(resume_command(shared, folder))


def test_the_second_ctrl_c_stops_amid_an_epoch_and_charges_what_it_held(
    shared: Path, closable: Gates
) -> None:
    folder = shared / "twice" / "it"
    arguments = ("--name", "it", "--trials", "2", "--concurrency", "2", "--scheduler", "none")
    closable.close("it", 0, 2)
    with begun(command(shared, folder.parent, *arguments), closable, **PIPES) as process:
        wait_at_gate(closable, process, 0, 1)
        interrupt(process)  # else the two are one
        sent_at = time.time()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    with Record.open(folder) as record:
        assert record.run().reason == "interrupted at once"
        for trial in record.trials():
            assert (trial.state, trial.epochs) == ("waiting", 1)
            assert trial.started_at is not None
            # A slot is held from before its trial's start; two clocks differ by some ms a minute.
            assert trial.slot_s > sent_at - trial.started_at - 0.1


def test_sigterm_stops_at_once_and_the_run_goes_on_later(
    shared: Path, undisturbed: Path, closable: Gates
) -> None:
    folder = shared / "terminated" / "it"
    arguments = ("--name", "it", "--trials", TRIALS, "--concurrency", "1")
    closable.close("it", 0, 5)
    with begun(command(shared, folder.parent, *arguments), closable, **PIPES) as process:
        wait_at_gate(closable, process, 0)
        process.terminate()
        _, stderr = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, stderr[-2000:]
    assert "***" not in stderr  # Ray's own handler prints a stack and aborts
    with Record.open(folder) as record:
        assert record.run().state == "interrupted"
        assert "running" not in {trial.state for trial in record.trials()}
        assert record.totals().epochs == 4
    finish(resume_command(shared, folder))
    assert content(folder) == content(undisturbed)


def _told(folder: Path, kind: str) -> set[int | None]:
    """Return the trials of which a run's record tells such an event."""
    if not (folder / "record.db").exists():
        return set()
    with Record.open(folder) as record:
        return {event.trial for event in record.events() if event.kind == kind}


def _seconds_an_epoch(folder: Path) -> float:
    """Return how long an epoch takes in an ended run, with all that surrounds it."""
    with Record.open(folder) as record:
        return statistics.median(
            ((trial.ended_at or 0) - (trial.started_at or 0)) / trial.epochs
            for trial in record.trials()
        )
