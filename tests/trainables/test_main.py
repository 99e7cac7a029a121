"""`python -m trainables` trains, continues, reports, and tells mistakes in one line."""

from __future__ import annotations

import errno
import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.trainables.tiny import without_times
from trainables.__main__ import main
from trainables.config import InjectionConfig, NetworkConfig, TrainingConfig, TrialConfig

ROOT = Path(__file__).parents[2]
SMALL = ["--width", "1", "--set", "stem=small", "--set", "batch_size=8", "--device", "cpu"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def result_of(data, *arguments: object) -> dict:
    done = run("--data", data.folder, *SMALL, "--format", "json", *arguments)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_help_answers_without_importing_torch():
    program = (
        "import sys; sys.argv = ['trainables', '--help']; import runpy\n"
        "try: runpy.run_module('trainables', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Usage: python -m trainables [OPTIONS]" in done.stdout


def test_the_result_goes_to_stdout_as_one_line_and_progress_to_stderr(data):
    done = run("--data", data.folder, *SMALL, "--epochs", 2)
    assert done.exit_code == 0
    assert re.fullmatch(
        r"best epoch [12] of 2  validation macro-F1 0\.\d{4}  test macro-F1 0\.\d{4}"
        r"  \d+\.\d s  \d+ images/s\n",
        done.stdout,
    )
    assert [line.split()[:2] for line in done.stderr.splitlines()] == [
        ["epoch", "1/2"],
        ["epoch", "2/2"],
    ]


def test_json_holds_configuration_result_and_every_epoch(data):
    result = result_of(data, "--epochs", 3, "--method", "periodic", "--T", 2, "--seed", 5)
    assert (result["arm"], result["epochs"], result["config"]["seed"]) == ("periodic", 3, 5)
    best = result["history"][result["best_epoch"] - 1]
    assert (result["val_f1"], result["test_f1"]) == (best["val_f1"], best["test_f1"])
    assert [row["injected_share"] for row in result["history"]] == [0, 1, 1]


def test_every_field_of_a_trial_can_be_set(data):
    """Each field's default, spelled as an argument, gives the default configuration."""
    sets = []
    for model in (NetworkConfig(), InjectionConfig(), TrainingConfig()):
        for name, value in {**model.model_dump(mode="json"), "epochs": 1, "seed": 7}.items():
            sets += ["--set", f"{name}={json.dumps(value)}"]
    sets[sets.index("width=64")] = "width=1"
    done = run("--data", data.folder, *sets, "--device", "cpu", "--format", "json")
    config = TrialConfig(network=NetworkConfig(width=1), epochs=1, seed=7)
    assert json.loads(done.stdout)["config"] == config.model_dump(mode="json")


def test_flags_and_sets_reach_their_fields(data):
    result = result_of(
        data,
        *("--epochs", 1, "--method", "dynamic", "--position", "bn2", "--Constant", 0.5),
        *("--set", "lr=1e-3", "--set", "stages=[3, 4]", "--set", "optimizer=sgd"),
    )
    config = result["config"]
    assert config["network"]["width"] == 1
    assert config["injection"]["method"] == "dynamic"
    assert config["injection"]["position"] == "bn2"
    assert config["injection"]["Constant"] == 0.5
    assert config["injection"]["stages"] == [3, 4]
    assert config["training"]["lr"] == 0.001
    assert config["training"]["optimizer"] == "sgd"


def test_limit_uses_fewer_images(data):
    few = result_of(data, "--epochs", 1, "--limit", 14)["history"][0]
    assert round(few["images_per_s"] * few["train_s"]) == 8  # one batch of 14


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--method", "periodic"], "T is required by the periodic method, but is missing"),
        (["--set", "lrr=1"], "Unknown knob 'lrr'. Did you mean 'lr'?"),
        (["--set", "lr"], "--set must be of the form name=value, but got 'lr'."),
        (["--set", "lr=[1"], "Not valid YAML"),
        (["--epochs", "0"], "epochs must be"),
        (["--set", "epochs=2"], "epochs must be given once"),
        (["--set-data", "sise=8"], "Unknown field 'sise'. Did you mean 'size'?"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--device", "tpu"], "device must be one of auto, cpu"),
        (["--out", "/dev/null/x"], "--out must be a folder, but /dev/null/x is none"),
        (["--epochs", "many"], "'many' is not a valid integer"),
        (["--nope"], "No such option"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(arguments, told, data, tmp_path):
    done = run("--data", data.folder, "--cache", tmp_path, "--epochs", 1, *arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert told in line


def test_a_folder_of_another_configuration_is_refused(data, tmp_path):
    result_of(data, "--epochs", 1, "--out", tmp_path)
    done = run("--data", data.folder, *SMALL, "--epochs", 2, "--out", tmp_path)
    assert done.exit_code == 2
    assert "epochs is 1 there, but 2 here" in done.stderr


def test_damaged_state_is_told_and_exits_with_1(data, tmp_path):
    (tmp_path / "state.pt").write_bytes(b"torn")
    done = run("--data", data.folder, *SMALL, "--out", tmp_path)
    assert done.exit_code == 1
    assert "is damaged" in done.stderr.splitlines()[-1]


def test_a_full_disk_is_one_line_and_exits_with_1(data, tmp_path, monkeypatch):
    def save(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "state.pt")

    monkeypatch.setattr("trainables.train.Trial.save", save)
    done = run("--data", data.folder, *SMALL, "--epochs", 1, "--out", tmp_path)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        "The trial cannot go on: No space left on device (state.pt)."
    )


def test_divergence_is_a_result(data):
    result = result_of(data, "--set", "lr=1e30", "--set", "optimizer=sgd", "--epochs", 3)
    assert result["diverged"]
    assert (result["epochs"], result["best_epoch"], result["val_f1"]) == (1, None, 0.0)
    line = run("--data", data.folder, *SMALL, "--set", "lr=1e30", "--set", "optimizer=sgd").stdout
    assert line.startswith("no epoch finished")
    assert line.endswith("diverged: training loss was not finite in epoch 1\n")


def test_a_setting_under_which_dynamic_injection_never_happens_is_noted(data):
    done = run(
        *("--data", data.folder, *SMALL, "--epochs", 1),
        *("--method", "dynamic", "--set", "weight_decay=0"),
    )
    assert done.exit_code == 0
    assert any(line.startswith("Note: ") for line in done.stderr.splitlines())


def test_finished_state_is_reported_again_without_training(data, tmp_path):
    arguments = ("--epochs", 2, "--out", tmp_path / "new")
    first = result_of(data, *arguments)
    assert (tmp_path / "new" / "best.pt").exists()
    assert result_of(data, *arguments) == first


@pytest.mark.slow
def test_killing_at_any_moment_changes_no_number(data, tmp_path):
    """SIGKILL at five random moments of training, evaluating or saving, then run to the end."""
    seed = 20240817
    print(f"seed {seed}")
    moments = random.Random(seed)
    common = ["--epochs", "30", "--method", "dynamic", "--set", "dropout_rate=0.2", "--set",
              "schedule=plateau", "--set", "augment=flip_shift"]  # fmt: skip
    whole = result_of(data, *common)
    epoch_s = whole["seconds"] / 30
    command = [sys.executable, "-m", "trainables", "--data", str(data.folder), *SMALL, *common,
               "--format", "json", "--out", str(tmp_path)]  # fmt: skip
    num_kills = 0
    for _ in range(5):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch "):
                break
        time.sleep(moments.uniform(0, 3 * epoch_s))
        process.send_signal(signal.SIGKILL)
        num_kills += process.wait() == -signal.SIGKILL
        process.communicate()
    assert num_kills == 5
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    continued = json.loads(done.stdout)
    assert "Continuing after epoch" in done.stderr
    assert without_times(continued["history"]) == without_times(whole["history"])
