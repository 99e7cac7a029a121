"""A rig that is used again behaves as a new one, bit for bit, in memory that stays where it is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.test_train import SETTINGS, settings
from tests.trainables.tiny import digest_of, tiny_config, tiny_trial, trained, without_times
from trainables import rig_pool
from trainables.data.packed import PackedData
from trainables.train import Trial

VALUES: dict[str, dict[str, Any]] = {
    "periodic": {"T": 1, "interval_unit": "step"},
    "dynamic": {"Constant": 0.3, "w_init": 0.4},
}
"""By method, values that a trial before may have had in the same rig."""
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    yield
    rig_pool.drop_idle()
    rig_pool._data.clear()


def other_values(knobs: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration of the same shape that differs in everything that may differ."""
    return {
        **knobs,
        "seed": 5,
        "lr": 0.03,
        "epochs": 2,
        "schedule": "cosine",
        **VALUES.get(knobs.get("method", ""), {}),
    }


def tensors_of(trial: Trial) -> dict[str, Tensor]:
    """Return all memory that a captured step would read or write, gradients apart."""
    rig = trial._rig
    found = {**dict(rig.network.named_parameters()), **dict(rig.network.named_buffers())}
    for index, moments in rig._optimizer.rule.state_dict()["state"].items():
        found |= {f"{index} {k}": v for k, v in moments.items() if isinstance(v, Tensor)}
    parts = [*rig._memory, *(rig._how or ()), rig._loss_sum, rig._correct]
    return {**found, **{f"part {index}": part for index, part in enumerate(parts)}}


@settings
def test_a_trial_in_a_used_rig_equals_one_in_a_new_rig(data, knobs):
    alone = trained(tiny_trial(data, **knobs))
    before = tiny_trial(data, **other_values(knobs))
    trained(before)
    used = before.network
    before.close()
    after = tiny_trial(data, **knobs)
    assert after.network is used
    trained(after)
    assert without_times(after.history) == without_times(alone.history)
    assert digest_of(after) == digest_of(alone)


def test_a_rig_in_which_a_trial_diverged_is_as_good_as_new(data):
    alone = trained(tiny_trial(data, method="dynamic"))
    before = trained(tiny_trial(data, method="dynamic", lr=1e30))
    assert before.diverged
    assert not all(weight.isfinite().all() for weight in before.network.parameters())
    before.close()
    assert digest_of(trained(tiny_trial(data, method="dynamic"))) == digest_of(alone)


OTHERS = [{"position": "bn2"}, {"weight_decay": 0.5}, {"augment": "flip"}, {"width": 2}]


@pytest.mark.parametrize("other", OTHERS, ids=lambda knobs: next(iter(knobs)))
def test_a_rig_is_used_again_only_by_a_trial_of_its_shape(data, monkeypatch, other):
    monkeypatch.setitem(rig_pool.KEPT, "cpu", 2)
    knobs = {"method": "periodic", "T": 2}
    first = tiny_trial(data, **knobs)
    network = first.network
    first.close()
    assert tiny_trial(data, **{**knobs, **other}).network is not network
    assert tiny_trial(data, **{**knobs, "T": 3, "seed": 9}).network is network
    assert tiny_trial(data, **knobs).network is not network  # it is taken now


def test_a_worker_keeps_no_more_rigs_than_it_may(data):
    trials = [tiny_trial(data, width=width) for width in (1, 2, 3)]
    for trial in trials:
        trial.close()
    assert len(rig_pool._idle) == rig_pool.KEPT["cpu"] == 1


def test_a_rig_that_is_not_kept_is_freed_at_once(data):
    """Its GPU memory could not wait for a garbage collection, which may never come."""
    trials = [tiny_trial(data, width=width) for width in (1, 2, 3)]
    networks = [weakref.ref(trial.network) for trial in trials]
    gc.collect()
    gc.disable()
    try:
        for trial in trials:
            trained(trial)
            trial.close()
        assert [network() is None for network in networks] == [True, True, False]
    finally:
        gc.enable()


@pytest.mark.parametrize("knobs", SETTINGS.values(), ids=SETTINGS.keys())
def test_training_loading_forking_and_starting_again_leave_all_memory_where_it_is(
    data, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    """A captured graph knows addresses; a tensor that is replaced would be left out silently."""
    source = tiny_trial(data, **knobs)
    source.run_epoch()
    source.save(tmp_path)
    trial = tiny_trial(data, **other_values(knobs))
    trial.run_epoch()
    before = {name: tensor.data_ptr() for name, tensor in tensors_of(trial).items()}
    trial.close()
    again = tiny_trial(data, **knobs)
    again.run_epoch()
    again.load(tmp_path)
    again.run_epoch()
    assert {name: tensor.data_ptr() for name, tensor in tensors_of(again).items()} == before


# ---- on a GPU


def on_gpu(data: PackedData, graphs: bool = True, **knobs: Any) -> Trial:
    return Trial(tiny_config(**knobs), data, None, "cuda", graphs)


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_replayed_trial_equals_an_eager_one_in_other_precisions(data, precision):
    knobs = {"method": "dynamic", "width": 8, "precision": precision}
    eager = trained(on_gpu(data, graphs=False, **knobs))
    assert without_times(trained(on_gpu(data, **knobs)).history) == without_times(eager.history)


@pytest.mark.gpu
@gpu
@settings
def test_a_replayed_trial_equals_an_eager_one_on_a_gpu(data, knobs):
    """The same kernels on the same numbers; so AutoReLU's w takes the same way, too."""
    eager = trained(on_gpu(data, graphs=False, **knobs))
    replayed = trained(on_gpu(data, **knobs))
    assert replayed._rig.captured
    assert without_times(replayed.history) == without_times(eager.history)
    for name, value in eager.network.state_dict().items():
        assert torch.equal(replayed.network.state_dict()[name], value), name


@pytest.mark.gpu
@gpu
@settings
def test_a_trial_in_a_used_rig_equals_one_in_a_new_rig_on_a_gpu(data, tmp_path: Path, knobs):
    alone = on_gpu(data, **knobs)
    alone.run_epoch()
    alone.save(tmp_path)
    trained(alone)
    before = trained(on_gpu(data, **other_values(knobs)))
    graph = before._rig
    before.close()
    after = on_gpu(data, **knobs)
    assert after._rig is graph
    assert after.load(tmp_path)
    trained(after)
    assert without_times(after.history) == without_times(alone.history)


@pytest.mark.gpu
@gpu
def test_a_gpus_memory_does_not_grow_over_fifty_trials(data):
    """Six shapes, of which four are kept."""
    reserved = []
    for number in range(50):
        knobs = {"method": "periodic", "T": 1 + number % 3, "weight_decay": 0.1 * (number % 6)}
        trial = on_gpu(data, epochs=3, seed=number, **knobs)
        trained(trial)
        trial.close()
        reserved.append(torch.cuda.memory_reserved())
    assert max(reserved[12:]) <= 1.02 * max(reserved[:12])


@pytest.mark.gpu
@gpu
def test_streamed_and_resident_data_train_alike_on_a_gpu(data, monkeypatch):
    resident = trained(on_gpu(data, augment="flip_shift"))
    rig_pool._data.clear()
    monkeypatch.setattr("trainables.feed.RESIDENT_SHARE", 0.0)
    streamed = trained(on_gpu(data, augment="flip_shift"))
    assert not streamed._rig._data.train.resident
    assert without_times(streamed.history) == without_times(resident.history)
