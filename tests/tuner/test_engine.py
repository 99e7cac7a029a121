"""Whole runs under Ray: what the record promises, on real processes.

The oracle of every comparison is the same search left alone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from tests.gates import WAIT_S, Gates, wait_until
from tests.tuner.searches import (
    ENVIRONMENT,
    TIMES,
    TRIALS,
    begun,
    command,
    content,
    finish,
    optuna_states,
    resume_command,
    wait_at_gate,
)
from tuner.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_trial_under_ray_equals_the_same_trial_in_plain_python(
    shared: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with Record.open(undisturbed) as record:
        assert record.run().data["copies_of_train"] == {"validation": 0, "test": 0}
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
        # The record's own line or, if a trial's state found no room first, the run's summary.
        told = done.stdout or done.stderr.strip().splitlines()[-1]
        assert done.returncode == (1 if done.stdout else 2), told
        assert "tuner resume" in told
        assert " full" in told or "disk" in told
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
        due = [f"{number:05d}" for number in range(int(TRIALS))]

        def runs() -> list[str]:
            with urllib.request.urlopen(f"{address}data/runs", timeout=WAIT_S) as answer:
                found: list[str] = json.load(answer)
            return found

        wait_until(lambda: runs() == due, lambda: str(runs()))
    finally:
        process.terminate()
        process.wait(timeout=WAIT_S)


@pytest.mark.cluster
def test_half_gpu_trials_share_the_gpus_of_a_cluster_that_was_joined(
    shared: Path, tmp_path: Path, closable: Gates
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
        env={**ENVIRONMENT, **closable.environment},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
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
        closable.close("it", 0)
        arguments = command(shared, tmp_path / "runs", *joined, "--name", "it", "--trials", "2")
        with begun(arguments, closable, stderr=subprocess.PIPE) as process:
            wait_at_gate(closable, process, 0, 1)
            closable.open("it")
            _, stderr = process.communicate(timeout=WAIT_S)
            assert process.returncode == 0, stderr[-2000:]
    finally:
        head.terminate()
        head.wait(timeout=WAIT_S)
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


def _wait_for_port(port: int) -> None:
    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(answers, lambda: "Ray's head did not start")
