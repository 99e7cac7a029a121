"""Whole runs under Ray, killed and resumed: what the record promises, on real processes.

The oracle of every comparison is the same search left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest

from tuner.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ENVIRONMENT = {
    **os.environ,
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}
TINY = """
data: {synthetic_train: 192, synthetic_eval: 70}
network: {width: 8}
training: {lr: 0.001, batch_size: 32}
epochs: 6
"""
"""A trial of a few seconds: six steps an epoch."""
TRIALS = "8"
"""Trials of the searches that are compared with one left alone: some 45 epochs."""
TIMES = {"train_s", "eval_s", "images_per_s"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny configuration; packed data are cached in it."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def command(shared: Path, runs: Path, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "tuner", "run", "--config", str(shared / "tiny.yaml"),
        "--runs", str(runs), "--cache", str(shared / "cache"), *arguments,
    ]  # fmt: skip


def resume_command(shared: Path, folder: Path, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "tuner", "resume", str(folder),
        "--cache", str(shared / "cache"), *arguments,
    ]  # fmt: skip


def finish(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def content(folder: Path) -> dict[str, Any]:
    """Return all of a record but times, machine and worker."""
    with Record.open(folder) as record:
        trials = [
            (
                t.number,
                t.config,
                t.seed,
                t.knobs,
                t.state,
                t.reason,
                t.epochs,
                t.score,
                t.test_score,
            )
            for t in record.trials()
        ]
        epochs = [
            {key: value for key, value in row.items() if key not in TIMES | {"shared"}}
            for trial in trials
            for row in record.epochs(trial[0])
        ]
        rungs = [(r.trial, r.rung_epoch, r.value, r.rank, r.stop) for r in record.rungs()]
        asked = [(e.trial, e.message) for e in record.events() if e.kind == "ask"]
    return {"trials": trials, "epochs": epochs, "rungs": rungs, "asked": asked}


def optuna_states(folder: Path) -> list[str]:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'optuna.db'}")
    return [trial.state.name for trial in study.trials]


def epochs_recorded(folder: Path) -> int:
    if not (folder / "record.db").exists():
        return 0
    with Record.open(folder) as record:
        return record.totals().epochs


@pytest.fixture(scope="module")
def undisturbed(shared: Path) -> Path:
    """Return the folder of a search with one trial at a time, left alone."""
    runs = shared / "undisturbed"
    finish(command(shared, runs, "--name", "it", "--trials", TRIALS, "--concurrency", "1"))
    return runs / "it"


def test_ten_kills_at_random_moments_leave_no_trace(shared: Path, undisturbed: Path) -> None:
    seed = 20_261
    moments = random.Random(seed)
    runs = shared / "killed"
    folder = runs / "it"
    start = command(shared, runs, "--name", "it", "--trials", TRIALS, "--concurrency", "1")
    epoch_s = _seconds_an_epoch(undisturbed)  # so that a fast machine is killed as often
    kills = 0
    while kills < 10:
        arguments = resume_command(shared, folder) if (folder / "record.db").exists() else start
        process = subprocess.Popen(
            arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        before = epochs_recorded(folder)
        deadline = time.monotonic() + 120
        # wait for the search to move, then strike at any moment of the epoch after
        while epochs_recorded(folder) == before and process.poll() is None:
            assert time.monotonic() < deadline, f"no epoch within 120 s (seed {seed}, kill {kills})"
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 1.2 * epoch_s))
        assert process.poll() is None, f"the search ended after {kills} kills (seed {seed})"
        process.send_signal(signal.SIGKILL)
        kills += 1
        process.wait()
    finish(resume_command(shared, folder))
    assert content(folder) == content(undisturbed)
    assert optuna_states(folder) == optuna_states(undisturbed)


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


def test_kills_of_a_search_that_shares_epochs_leave_no_trace(shared: Path, unshared: Path) -> None:
    seed = 8
    moments = random.Random(seed)
    runs = shared / "sharing-killed"
    folder = runs / "it"
    arguments = command(shared, runs, "--name", "it", *SHARING)
    for _ in range(4):
        process = subprocess.Popen(
            arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_epochs(folder, epochs_recorded(folder) + moments.randint(1, 6), process)
        process.kill()
        process.wait()
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
        _, stderr = process.communicate(timeout=400)
        assert process.returncode == 0, stderr[-2000:]
    total = 0
    for name in ("one", "two"):
        assert content(tmp_path / name) == content(unshared)
        total += computed(tmp_path / name)[0]
    assert total < computed(unshared)[0]  # the second search was nearly free


def test_a_trial_under_ray_equals_the_same_trial_in_plain_python(
    shared: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with Record.open(undisturbed) as record:
        trial = record.trial(4)  # by then its worker has been reused four times
        rows = record.epochs(4)
    options = (
        f"--method periodic --T {trial.knobs['T']} --seed {trial.seed} --width 8 --epochs 6"
        " --set lr=0.001 --set batch_size=32 --set w_init=0.05"
        " --set-data synthetic_train=192 --set-data synthetic_eval=70 --format json"
    )
    cache = ["--cache", str(shared / "cache")]
    done = finish([sys.executable, "-m", "trainables", *options.split(), *cache])
    alone = json.loads(done.stdout)["history"][: len(rows)]
    for here, there in zip(rows, alone, strict=True):
        assert {k: v for k, v in here.items() if k not in TIMES | {"shared"}} == {
            k: v for k, v in there.items() if k not in TIMES | {"shared"}
        }


def test_kills_of_a_worker_and_of_the_driver_lose_and_double_nothing(shared: Path) -> None:
    runs = shared / "two"
    folder = runs / "it"
    process = subprocess.Popen(
        command(shared, runs, "--name", "it", "--trials", "24", "--concurrency", "2"),
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _wait_for_epochs(folder, 10, process)
    _a_worker(process).kill()
    _wait_for_epochs(folder, 30, process)
    process.kill()
    process.wait()
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


def test_after_a_workers_death_stdout_still_holds_one_object(shared: Path) -> None:
    folder = shared / "json" / "it"
    arguments = command(shared, folder.parent, "--name", "it", "--trials", "3", "--format", "json")
    process = subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for_epochs(folder, 2, process)
    _a_worker(process).kill()
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr[-2000:]
    assert json.loads(stdout)["trials"].keys() <= {"completed", "pruned"}
    assert "retry:" in stderr
    assert "\x1b" not in stderr


def test_ctrl_c_finishes_the_epoch_and_the_run_goes_on_later(
    shared: Path, undisturbed: Path
) -> None:
    runs = shared / "interrupted"
    folder = runs / "it"
    process = subprocess.Popen(
        command(shared, runs, "--name", "it", "--trials", TRIALS, "--concurrency", "1"),
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _wait_for_epochs(folder, 5, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr[-2000:]
    with Record.open(folder) as record:
        assert record.run().state == "interrupted"
        assert "running" not in {trial.state for trial in record.trials()}
    finish(resume_command(shared, folder))
    assert content(folder) == content(undisturbed)


def test_ctrl_c_before_any_worker_is_up_trains_no_epoch(shared: Path) -> None:
    folder = shared / "early" / "it"
    process = subprocess.Popen(
        command(shared, folder.parent, "--name", "it", "--trials", "2"),
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not _asked(folder):  # a worker starts for seconds after that
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr[-2000:]
    with Record.open(folder) as record:
        assert {(trial.state, trial.epochs) for trial in record.trials()} == {("waiting", 0)}
    finish(resume_command(shared, folder))


def test_more_trials_go_on_where_the_budget_ended(shared: Path, undisturbed: Path) -> None:
    runs = shared / "more"
    finish(command(shared, runs, "--name", "it", "--trials", "4", "--concurrency", "1"))
    finish(resume_command(shared, runs / "it", "--more-trials", "4"))
    assert content(runs / "it") == content(undisturbed)


def test_what_cannot_run_is_refused_in_one_line_and_nothing_is_written(
    shared: Path, undisturbed: Path, tmp_path: Path
) -> None:
    cases = [
        (["--cpus-per-trial", "9999"], "--cpus-per-trial must be at most"),
        (["--concurrency", "9999"], "--concurrency must be at most"),
        (["--data", str(tmp_path / "none.zip")], "none.zip"),
        (["--name", "../out"], "--name must be"),
    ]
    for arguments, message in cases:
        runs = tmp_path / "runs"
        done = subprocess.run(
            command(shared, runs, *arguments), env=ENVIRONMENT, capture_output=True, text=True
        )
        assert done.returncode == 2, (arguments, done.stderr)
        assert message in done.stderr.strip().splitlines()[-1]
        assert not runs.exists() or not list(runs.iterdir())
    taken = subprocess.run(
        command(shared, undisturbed.parent, "--name", "it"),
        env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert taken.returncode == 2
    assert "tuner resume it" in taken.stderr


def test_trials_that_turn_nan_are_diverged_and_the_run_says_so(shared: Path) -> None:
    folder = shared / "nan" / "it"
    done = subprocess.run(
        command(shared, folder.parent, "--name", "it", "--trials", "2", "--set", "lr=1e30"),
        env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr[-2000:]
    with Record.open(folder) as record:
        assert [trial.state for trial in record.trials()] == ["diverged"] * 2
        assert "not finite" in (record.trial(0).reason or "")
    assert optuna_states(folder) == ["FAIL"] * 2


def test_the_second_ctrl_c_stops_amid_an_epoch_and_charges_what_it_held(shared: Path) -> None:
    folder = shared / "twice" / "it"
    arguments = command(
        shared, folder.parent, "--name", "it", "--trials", "2", "--scheduler", "none"
    )
    (shared / "slow.yaml").write_text(TINY.replace("192", "8000"))  # some seconds an epoch
    arguments[arguments.index("--config") + 1] = str(shared / "slow.yaml")
    process = subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for_epochs(folder, 1, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("press Ctrl-C again" in line for line in process.stderr)  # else the two are one
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    with Record.open(folder) as record:
        assert record.run().reason == "interrupted at once"
        ended = record.events()[-1].at
        for trial in record.trials():
            assert trial.state == "waiting"
            assert trial.started_at is not None
            assert trial.slot_s > ended - trial.started_at - 0.5


def test_sigterm_stops_at_once_and_the_run_goes_on_later(shared: Path, undisturbed: Path) -> None:
    folder = shared / "terminated" / "it"
    process = subprocess.Popen(
        command(shared, folder.parent, "--name", "it", "--trials", TRIALS, "--concurrency", "1"),
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _wait_for_epochs(folder, 5, process)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr[-2000:]
    assert "***" not in stderr  # Ray's own handler prints a stack and aborts
    with Record.open(folder) as record:
        assert record.run().state == "interrupted"
        assert "running" not in {trial.state for trial in record.trials()}
    finish(resume_command(shared, folder))
    assert content(folder) == content(undisturbed)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/shm").is_dir(), reason="mounts a disk")
@pytest.mark.parametrize("size", ["300k", "1500k"])  # full at the start, and amid training
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_room(
    shared: Path, tmp_path: Path, size: str
) -> None:
    folder = tmp_path / "it"
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        done = subprocess.run(
            command(shared, tmp_path, "--name", "it", "--trials", "4"),
            env=ENVIRONMENT, capture_output=True, text=True,
        )  # fmt: skip
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == 2, last
        assert "tuner resume it" in last
        assert " full" in last or "disk" in last
        assert "Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path)], check=True)
        finish(resume_command(shared, folder))
        with Record.open(folder) as record:
            trials = record.totals().trials
        assert trials["completed"] + trials["pruned"] == 4
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_tensorboard_serves_the_curves_and_ends_with_its_process(undisturbed: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "tensorboard", str(undisturbed), "--port", "0"],
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if " at http://" in line)
        address = line.split(" at ")[1].split()[0]
        deadline, runs = time.monotonic() + 60, []
        while len(runs) < int(TRIALS) and time.monotonic() < deadline:
            with urllib.request.urlopen(f"{address}data/runs", timeout=30) as answer:
                runs = json.load(answer)
            time.sleep(0.5)
        assert runs == [f"{number:05d}" for number in range(int(TRIALS))]
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.cluster
def test_half_gpu_trials_share_the_gpus_of_a_cluster_that_was_joined(
    shared: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = tempfile.mkdtemp(prefix="ray-test-")  # short: sockets lie below it
    head = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("ray")), "start", "--head", "--block",
            f"--port={port}", "--num-cpus=2", "--num-gpus=1", "--include-dashboard=false",
            f"--temp-dir={temporary}", "--node-ip-address=127.0.0.1",
        ],
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for_port(port)
        joined = ["--address", f"127.0.0.1:{port}", "--gpus-per-trial", "0.5"]
        too_many = subprocess.run(
            command(shared, tmp_path / "runs", *joined, "--concurrency", "3"),
            env=ENVIRONMENT, capture_output=True, text=True,
        )  # fmt: skip
        assert too_many.returncode == 2
        assert "--concurrency must be at most 2" in too_many.stderr
        finish(command(shared, tmp_path / "runs", *joined, "--name", "it", "--trials", "2"))
    finally:
        head.terminate()
        head.wait(timeout=60)
        shutil.rmtree(temporary, ignore_errors=True)
    with Record.open(tmp_path / "runs" / "it") as record:
        first, second = record.trials()
        slots = next(event.data for event in record.events() if event.kind == "slots")
        assert {first.state, second.state} <= {"completed", "pruned"}
    assert (second.started_at or 0) < (first.ended_at or 0)
    assert slots is not None
    assert (slots["concurrency"], slots["fraction"]) == (2, 0.5)
    held = (first.ended_at or 0) - (first.started_at or 0)
    assert first.slot_s >= held * 0.5  # half a GPU: half a slot-second a second, and the start


def _asked(folder: Path) -> bool:
    """Return whether a run has a trial."""
    if not (folder / "record.db").exists():
        return False
    with Record.open(folder) as record:
        return bool(record.trials())


def _seconds_an_epoch(folder: Path) -> float:
    """Return how long an epoch takes in an ended run, with all that surrounds it."""
    with Record.open(folder) as record:
        return statistics.median(
            ((trial.ended_at or 0) - (trial.started_at or 0)) / trial.epochs
            for trial in record.trials()
        )


def _a_worker(process: subprocess.Popen[Any]) -> psutil.Process:
    """Return a process that trains; Ray renames them between calls, so look more than once."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "RayTrial" in " ".join(child.cmdline()):
                    return child
    pytest.fail("no worker within 30 s")


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    pytest.fail("Ray's head did not start within 90 s")


def _wait_for_epochs(folder: Path, count: int, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 300
    while epochs_recorded(folder) < count:
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)
