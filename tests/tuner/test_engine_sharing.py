"""Whole runs that share epochs: they find the same for less.

The oracle of every comparison is the same search left alone.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from tests.gates import WAIT_S, Gates, wait_until
from tests.tuner.searches import (
    ENVIRONMENT,
    begun,
    command,
    content,
    epochs_recorded,
    finish,
    optuna_states,
    resume_command,
)
from tuner.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SHARING = ("--seeds", "fixed", "--space", "periodic", "--trials", "12", "--concurrency", "1")


@pytest.fixture(scope="module")
def unshared(shared: Path) -> Path:
    """Return the folder of a search on one seed in which every trial trained all its epochs."""
    runs = shared / "unshared"
    finish(command(shared, runs, "--name", "it", *SHARING, "--no-share"))
    return runs / "it"


def computed(folder: Path) -> tuple[int, int]:
    """Return the epochs that were computed, and those that all trials have."""
    with Record.open(folder) as record:
        trials = record.trials()
    return sum(t.as_run_epochs for t in trials), sum(t.epochs for t in trials)


def test_a_search_that_shares_epochs_is_the_same_search_for_less(
    shared: Path, unshared: Path
) -> None:
    runs = shared / "sharing"
    finish(command(shared, runs, "--name", "it", *SHARING))
    assert content(runs / "it") == content(unshared)
    assert optuna_states(runs / "it") == optuna_states(unshared)
    here, all_epochs = computed(runs / "it")
    assert computed(unshared) == (all_epochs, all_epochs)
    assert here < 0.85 * all_epochs
    assert not (runs / "it" / "trunks").exists()  # it has finished
    with Record.open(runs / "it") as record:
        for trial in record.trials():
            assert (trial.sharing == "shared") == (trial.as_run_epochs < trial.epochs)
            assert (trial.saved_slot_s > 0) == (trial.as_run_epochs < trial.epochs)


def test_kills_of_a_search_that_shares_epochs_leave_no_trace(
    shared: Path, unshared: Path, closable: Gates
) -> None:
    seed = 8
    moments = random.Random(seed)
    runs = shared / "sharing-killed"
    folder = runs / "it"
    arguments = command(shared, runs, "--name", "it", *SHARING)
    for last in (2, 4, 6, 8):
        aim = epochs_recorded(folder) + moments.randint(1, 6)
        closable.close("it", last)
        with begun(arguments, closable) as process:

            def due(aim: int = aim, process: subprocess.Popen[str] = process) -> bool:
                assert process.poll() is None, "the run ended too early"
                at_gate = any(closable.waiting("it", trial) for trial in range(12))
                return at_gate or epochs_recorded(folder) >= aim

            wait_until(due)
        arguments = resume_command(shared, folder)
    finish(arguments)
    assert content(folder) == content(unshared), f"seed {seed}"
    assert optuna_states(folder) == optuna_states(unshared)
    assert computed(folder)[0] < computed(unshared)[0]


def test_two_runs_at_once_share_one_store_and_both_equal_their_own_training(
    shared: Path, unshared: Path, tmp_path: Path
) -> None:
    trunks = ("--trunks", str(tmp_path / "trunks"))
    one, two = (
        subprocess.Popen(
            command(shared, tmp_path, "--name", name, *SHARING, *trunks),
            env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    )  # fmt: skip
    for process in (one, two):
        _, stderr = process.communicate(timeout=2 * WAIT_S)
        assert process.returncode == 0, stderr[-2000:]
    total = 0
    for name in ("one", "two"):
        assert content(tmp_path / name) == content(unshared)
        total += computed(tmp_path / name)[0]
    assert total < computed(unshared)[0]  # the second search was nearly free
