"""`tuner study` from the command line: plans, refusals, and a small real study that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from reports.table import read_trials
from tests.reports.made_records import make_record
from tests.tuner.study.made_study import MadeEngine, made_engine
from tests.tuner.study.test_spec import SMALL, written
from tuner.cli import cli
from tuner.record_file import FILE as RECORD
from tuner.seeding import trial_seed
from tuner.study.choice import tuned
from tuner.study.conduct import freeze
from tuner.study.spec import thawed
from tuner.study.stages import before_confirming, confirmations

__all__ = ["made_engine"]


def study(*arguments: object):
    result = CliRunner().invoke(cli, ["study", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_dry_run_tells_the_plan_in_80_columns_and_writes_nothing(tmp_path):
    status, out, err = study("quick", "--dry-run", "--runs", tmp_path / "runs")
    assert (status, err) == (0, "")
    assert out.startswith("Study quick: Demonstration on synthetic faces. Nothing has been written")
    assert max(map(len, (line for line in out.splitlines() if "folder" not in line))) <= 80
    assert "gross savings only" in out
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_as_json_holds_the_same(tmp_path):
    status, out, _ = study("quick", "--dry-run", "--format", "json", "--runs", tmp_path)
    plan = json.loads(out)
    assert status == 0
    assert plan["trials"] == sum(row["trials"] for row in plan["rows"])
    assert {row["stage"] for row in plan["rows"]} == {"pilot", "census", "search", "confirm"}


def test_the_command_line_says_what_was_done_and_what_to_do_next(tmp_path, made_engine: MadeEngine):
    path, runs = written(tmp_path), tmp_path / "runs"
    status, out, _ = study(path, "--runs", runs)
    assert status == 0
    assert out.startswith("Study small finished:")
    assert thawed(runs / "small").digest in out
    assert f"tuner report {runs / 'small'} -o report.html" in out
    status, out, _ = study(runs / "small", "--format", "json")
    held = json.loads(out)
    assert set(held["runs"].values()) == {"finished"}
    assert held["trials"] == {"completed": len(read_trials(runs.glob("small/*/")))}


def test_what_ray_prints_goes_to_stderr_and_stdout_holds_one_object(
    tmp_path, made_engine, monkeypatch
):
    def conduct(spec, folder, **_):
        freeze(spec, folder)
        print("(raylet) A worker died or was killed.")

    monkeypatch.setattr("tuner.study.conduct.conduct", conduct)
    status, out, err = study(written(tmp_path), "--runs", tmp_path, "--format", "json")
    assert status == 0
    assert json.loads(out)["study"] == "small"
    assert "(raylet)" in err


def test_a_study_is_gone_on_with_by_name_by_folder_and_by_the_same_command(tmp_path, made_engine):
    path, runs = written(tmp_path), tmp_path / "runs"
    assert study(path, "--runs", runs)[0] == 0
    count = len(made_engine.started)
    for again in (path, "small", runs / "small"):
        assert study(again, "--runs", runs)[0] == 0
    assert len(made_engine.started) == count


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "5"], "--epochs is frozen in"),
        (["--limit", "50"], "--limit is frozen in"),
        (["--name", "other"], "--name is frozen in"),
        (["--data", "other.zip"], "--data must name synthetic"),
        (["--concurrency", "0"], "--concurrency|concurrency must be"),
    ],
)
def test_what_is_frozen_cannot_be_said_anew(tmp_path, made_engine, arguments, said):
    runs = tmp_path / "runs"
    study(written(tmp_path), "--runs", runs)
    status, out, err = study(runs / "small", *arguments)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert said.split("|")[0] in line or said.split("|")[-1] in line


def test_data_that_have_moved_may_be_named_anew(tmp_path, made_engine):
    text = SMALL.replace("demonstration: true", "data: {source: here/fer2013.zip}")
    runs = tmp_path / "runs"
    assert study(written(tmp_path, text), "--runs", runs)[0] == 0
    assert study(runs / "small", "--data", "/there/fer2013.zip", "--concurrency", 1)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quik"], "Did you mean 'quick'"),
        (["standard"], "data must name real images (--data)"),
        (["quick", "--name", "a/b"], "--name must be"),
        (["quick", "--epochs", "0"], "epochs must be"),
        (["none.yaml"], "Cannot read none.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, arguments, said):
    status, out, err = study(*arguments, "--runs", tmp_path / "runs")
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert said in line
    assert not (tmp_path / "runs").exists()


def test_another_study_under_a_name_that_is_taken_is_refused(tmp_path, made_engine):
    runs = tmp_path / "runs"
    study(written(tmp_path), "--runs", runs)
    changed = written(tmp_path, SMALL.replace("margin: 0.05", "margin: 0.06"))
    status, _, err = study(changed, "--runs", runs)
    assert status == 2
    assert "holds another study" in err


@pytest.mark.parametrize("flag", ["--more-trials", "--more-epochs", "--more-gpu-hours"])
def test_the_budget_of_a_studys_run_is_not_raised(tmp_path, flag):
    ref = {"name": "s", "digest": "0" * 64, "stage": "census"}
    make_record(tmp_path / "census-periodic_T", trials=2, study=ref)
    before = (tmp_path / "census-periodic_T" / RECORD).read_bytes()
    arguments = ["resume", str(tmp_path / "census-periodic_T"), flag, "1"]
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is part of study s, which froze its budget" in result.stderr
    assert (tmp_path / "census-periodic_T" / RECORD).read_bytes() == before


TINY = """
title: Tiny
demonstration: true
preset: quick
data: {synthetic_train: 64, synthetic_eval: 35}
training: {batch_size: 32}
network: {width: 4}
epochs: 2
margin: 0.1
periodic: {space: periodic_T, trials: 4}
dynamic: {space: dynamic_default, trials: 2}
policy: {trials: 2, replays: 20, scheduler: {name: none}}
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_study_that_is_killed_twice_trains_what_its_file_plans_once(tmp_path):
    """Oracle: the seeds and numbers of trials that the frozen file plans, and the runs' records."""
    path, runs = written(tmp_path, TINY, "tiny.yaml"), tmp_path / "runs"
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tuner", "study", path, "--runs", str(runs),
               "--cache", str(tmp_path / "cache")]  # fmt: skip
    for awaited in ("census-periodic_T", "confirm-dynamic_default"):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL,
                                   start_new_session=True)  # fmt: skip
        while not (runs / "tiny" / awaited / RECORD).exists():
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = runs / "tiny"
    spec = thawed(folder)
    chosen = {one.suffix: one.knobs for one in tuned(spec, folder)}
    planned = [*before_confirming(spec, "tiny"), *confirmations(spec, "tiny", chosen)]
    assert {path.parent.name for path in folder.glob(f"*/{RECORD}")} == {
        run.name for run in planned
    }
    for run in planned:
        trials = read_trials([folder / run.name])
        assert trials.seed == [trial_seed(run.spec, n) for n in range(run.spec.budget.trials)]
        assert set(trials.state) == {"completed"}
        assert set(trials.stage) == {run.stage}
    assert (folder / "replay-periodic_T.json").exists()
    assert (folder / "replay-dynamic_default.json").exists()
