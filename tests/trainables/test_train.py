"""Training equals a loop written out by hand, and an epoch is a pure function, bit for bit."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainables.tiny import digest_of, tiny_config, tiny_trial, trained, without_times
from trainables import rig
from trainables.evaluate import Evaluation, Evaluator
from trainables.networks import build_network
from trainables.rows import EpochRow
from trainables.seeds import derived_seed
from trainables.train import Trial

ROOT = Path(__file__).parents[2]
ARMS = {
    "baseline": {},
    "dropout": {"dropout_rate": 0.2},
    "periodic": {"method": "periodic", "T": 2},
    "periodic as trained": {"method": "periodic", "T": 3, "interval_unit": "step",
                            "evaluation": "as_trained", "position": "all"},
    "dynamic": {"method": "dynamic", "w_init": 0.05},
    "dynamic+dropout": {"method": "dynamic", "w_mean": "network", "dropout_rate": 0.2,
                        "dropout_kind": "channel"},
}  # fmt: skip
SETTINGS = {
    **ARMS,
    "adamw cosine": {"optimizer": "adamw", "schedule": "cosine"},
    "sgd step": {"optimizer": "sgd", "schedule": "step", "schedule_step": 2},
    "plateau": {"schedule": "plateau", "schedule_step": 1, "schedule_factor": 0.5},
    "flip_shift clipped": {"augment": "flip_shift", "clip_norm": 0.5},
    "small maps": {"width": 16, "stem": "imagenet", "method": "dynamic", "w_init": 0.05},
}
settings = pytest.mark.parametrize("knobs", SETTINGS.values(), ids=SETTINGS.keys())


def evaluation(f1: float) -> Evaluation:
    """Return what a scripted evaluation finds."""
    return Evaluation(1.0, f1, 0.5)


def test_training_equals_a_plain_loop_bit_for_bit(data):
    """The oracle: statistics by numpy, and twenty lines of textbook torch."""
    config = tiny_config(epochs=2, weight_decay=0.1)
    images, labels = data.split("train")
    mean, std = images.mean(dtype=np.float64), images.std(dtype=np.float64)
    inputs = (torch.from_numpy(np.array(images)).float() - np.float32(mean)) / np.float32(std)
    targets = torch.from_numpy(np.array(labels))
    torch.manual_seed(derived_seed(config.seed, 0, "weights"))
    network = build_network(config.network, config.injection, 1, 3)
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=0.1, fused=True)
    for epoch in (1, 2):
        generator = torch.Generator().manual_seed(derived_seed(config.seed, epoch, "order"))
        order = torch.randperm(34, generator=generator)
        losses, num_right = [], 0
        for step in range(4):
            batch = order[8 * step : 8 * step + 8]
            logits = network(inputs[batch])
            loss = torch.nn.functional.cross_entropy(logits, targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            num_right += (logits.argmax(1) == targets[batch]).sum().item()
    trial = trained(Trial(config, data, None))
    for name, value in network.state_dict().items():
        assert torch.equal(trial.network.state_dict()[name], value)
    assert trial.history[-1]["train_loss"] == np.mean(losses)
    assert trial.history[-1]["train_accuracy"] == num_right / 32


def test_training_learns(data):
    trial = trained(tiny_trial(data, width=4, epochs=12))
    assert trial.history[-1]["best_val_f1"] > 0.9  # chance is 1/3


@settings
def test_two_trainings_agree_in_every_bit(data, knobs):
    first, second = trained(tiny_trial(data, **knobs)), trained(tiny_trial(data, **knobs))
    assert without_times(first.history) == without_times(second.history)
    assert digest_of(first) == digest_of(second)
    other = trained(tiny_trial(data, **knobs, seed=1))
    assert digest_of(other) != digest_of(first)


@settings
def test_continuing_after_every_epoch_changes_no_bit(data, tmp_path, knobs):
    whole = trained(tiny_trial(data, **knobs))
    for epoch in range(4):
        part = tiny_trial(data, **knobs)
        assert part.load(tmp_path) == (epoch > 0)
        assert part.epoch == epoch
        torch.manual_seed(epoch)
        part.run_epoch()
        part.save(tmp_path)
    last = tiny_trial(data, **knobs)
    last.load(tmp_path)
    assert last.finished
    assert without_times(last.history) == without_times(whole.history)
    assert digest_of(last) == digest_of(whole)


def test_a_trial_in_a_used_process_equals_one_in_a_fresh_process(data):
    trained(tiny_trial(data, method="dynamic", dropout_rate=0.5, lr=0.1))
    knobs = {"method": "periodic", "T": 2, "dropout_rate": 0.2, "augment": "flip"}
    used = trained(tiny_trial(data, **knobs))
    program = f"""
import json
from pathlib import Path
from tests.trainables.tiny import digest_of, tiny_trial, without_times
from trainables.data.packed import PackedData
trial = tiny_trial(PackedData.open(Path({str(data.folder)!r})), **{knobs!r})
while not trial.finished:
    trial.run_epoch()
print(json.dumps([digest_of(trial), without_times(trial.history)]))
"""
    fresh = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(fresh.stdout) == [digest_of(used), without_times(used.history)]


@pytest.mark.parametrize("T", [1, 2, 3])
def test_until_its_first_injection_a_periodic_trial_is_the_baseline(data, T):
    """So that trials may share a trunk and fork from it (in epoch T; for T = 1 in epoch 2)."""
    baseline, periodic = tiny_trial(data), tiny_trial(data, method="periodic", T=T)
    first_injected = max(T, 2)
    for epoch in range(1, first_injected + 1):
        expected, found = baseline.run_epoch(), periodic.run_epoch()
        alike = without_times([expected]) == without_times([found])
        assert alike == (epoch < first_injected)
        assert (digest_of(baseline) == digest_of(periodic)) == (epoch < first_injected)


@settings
def test_a_row_has_the_documented_fields_and_survives_json(data, knobs):
    row = tiny_trial(data, **knobs).run_epoch()
    assert set(row) == set(EpochRow.__annotations__)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert (row["epoch"], row["diverged"], row["reason"]) == (1, False, None)
    assert row["images_per_s"] * row["train_s"] == pytest.approx(32)


def test_a_dynamic_trials_row_names_its_units(data):
    row = tiny_trial(data, method="dynamic").run_epoch()
    assert [unit["unit"] for unit in row["units"]][:2] == ["layer1.0.bn1", "layer1.1.bn1"]


def test_the_score_is_the_best_epochs_and_a_tie_keeps_the_earliest(data, monkeypatch):
    """Validation F1 is replaced by a script; each evaluation of the test split is counted."""
    script = [0.2, 0.5, 0.4, 0.5, 0.6, 0.1]
    trial = tiny_trial(data, epochs=6)
    num_tests = 0

    def tested() -> Evaluation:
        nonlocal num_tests
        num_tests += 1
        return evaluation(0.01 * (trial.epoch + 1))

    monkeypatch.setattr(trial._rig, "validate", lambda: evaluation(script[trial.epoch]))
    monkeypatch.setattr(trial._rig, "test", tested)
    rows = trained(trial).history
    assert [row["best_val_f1"] for row in rows] == [0.2, 0.5, 0.5, 0.5, 0.6, 0.6]
    assert [row["best_epoch"] for row in rows] == [1, 2, 2, 2, 5, 5]
    assert [row["test_f1"] for row in rows] == [0.01, 0.02, None, None, 0.05, None]
    assert [row["best_test_f1"] for row in rows] == [0.01, 0.02, 0.02, 0.02, 0.05, 0.05]
    assert num_tests == 3


def test_norms_equal_numpys_over_all_weights_but_no_buffer(data):
    trial = tiny_trial(data)

    def weights() -> np.ndarray:
        return np.concatenate(
            [w.detach().numpy().astype(np.float64).ravel() for w in trial.network.parameters()]
        )

    before = weights()
    row = trial.run_epoch()
    assert row["weight_norm"] == pytest.approx(np.linalg.norm(weights()), rel=1e-9)
    assert row["update_norm"] == pytest.approx(np.linalg.norm(weights() - before), rel=1e-5)


def test_clipping_bounds_an_sgd_step_by_lr_times_the_norm(data):
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "batch_size": 34}
    clipped = tiny_trial(data, clip_norm=1e-3, **plain).run_epoch()
    assert clipped["update_norm"] == pytest.approx(0.01 * 1e-3, rel=1e-2)
    assert tiny_trial(data, **plain).run_epoch()["update_norm"] > 0.01 * 1e-2


def test_a_loss_that_is_not_finite_ends_the_trial_early_in_the_epoch(data, monkeypatch):
    monkeypatch.setattr(rig, "CHECK_EVERY", 2)
    trial = tiny_trial(data, lr=1e30, optimizer="sgd")
    row = trial.run_epoch()
    assert (row["diverged"], row["reason"]) == (True, "training loss was not finite in epoch 1")
    assert (row["val_f1"], row["best_val_f1"], row["best_epoch"]) == (0.0, 0.0, None)
    assert row["train_loss"] is row["val_loss"] is row["test_f1"] is None
    assert round(row["images_per_s"] * row["train_s"]) == 16  # of 32
    assert trial.diverged
    assert trial.finished
    json.dumps(row, allow_nan=False)


def test_a_mean_loss_above_the_maximum_is_divergence_and_keeps_the_best_so_far(data):
    trial = tiny_trial(data, max_loss=5.0)
    first = trial.run_epoch()
    with torch.no_grad():
        trial.network.fc.weight.mul_(1e6)
    row = trial.run_epoch()
    assert row["diverged"]
    assert row["reason"].startswith("training loss ")
    assert row["reason"].endswith(" exceeded max_loss 5")
    assert (row["best_val_f1"], row["best_epoch"]) == (first["val_f1"], 1)


def test_without_a_maximum_a_high_loss_is_no_divergence(data):
    trial = tiny_trial(data)
    with torch.no_grad():
        trial.network.fc.weight.mul_(1e6)
    row = trial.run_epoch()
    assert row["train_loss"] > 1000
    assert not row["diverged"]


def test_weights_that_stop_being_finite_in_the_last_step_are_divergence(data, monkeypatch):
    trial = tiny_trial(data)
    step = trial._rig._optimizer.step
    calls = iter(range(1, 5))

    def spoiled() -> None:
        step()
        if next(calls) == 4:
            next(trial.network.parameters()).data[0] = math.inf

    monkeypatch.setattr(trial._rig._optimizer, "step", spoiled)
    row = trial.run_epoch()
    assert row["reason"] == "weights were not finite after epoch 1"
    assert row["weight_norm"] is row["update_norm"] is None


def test_a_validation_loss_that_is_not_finite_is_divergence(data, monkeypatch):
    trial = tiny_trial(data)
    monkeypatch.setattr(trial._rig, "validate", lambda: evaluation(0.5)._replace(loss=math.nan))
    row = trial.run_epoch()
    assert row["reason"] == "validation loss was not finite in epoch 1"
    assert row["val_f1"] == 0.0


def test_a_diverged_trial_stays_finished_after_a_reload(data, tmp_path):
    trial = tiny_trial(data, lr=1e30, optimizer="sgd")
    trial.run_epoch()
    trial.save(tmp_path)
    again = tiny_trial(data, lr=1e30, optimizer="sgd")
    assert again.load(tmp_path)
    assert again.diverged
    assert again.finished


def test_evaluation_changes_neither_weights_nor_buffers(data):
    trial = tiny_trial(data, method="dynamic", evaluation="clean", dropout_rate=0.5)
    trial.run_epoch()
    before = digest_of(trial)
    for _ in range(2):
        trial._rig.validate()
    assert digest_of(trial) == before


def test_evaluation_does_not_depend_on_how_the_split_is_cut(data):
    trial = tiny_trial(data)
    trial.run_epoch()
    whole = trial._rig.validate()
    split, normalise = trial._rig._data.validation, trial._rig._normalise
    cut = Evaluator(trial.network, split.memory(7), normalise, 3)(split)
    assert (cut.f1, cut.accuracy) == (whole.f1, whole.accuracy)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-5)


def test_steps_per_epoch_counts_whole_batches_and_at_least_one(data):
    assert tiny_trial(data).steps_per_epoch == 4
    assert tiny_trial(data, batch_size=64).steps_per_epoch == 1
