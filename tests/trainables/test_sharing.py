"""A forked trial equals the same trial trained alone, bit for bit, whatever was shared and when."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainables.tiny import (
    digest_of,
    tiny_config,
    tiny_trial,
    trained,
    without_times,
    write_tiny_data,
)
from trainables import sharing
from trainables.data.packed import PackedData
from trainables.lineage import common_epochs, lineage
from trainables.sharing import TrunkUser
from trainables.sharing_plan import TrunkPlan
from trainables.state import CheckpointMismatch, read_payload
from trainables.state_files import BEST
from trainables.train import Trial

EPOCHS = 6
POSITIONS = ("bn1", "bn2", "shortcut", "all")
EVERY = list(range(1, EPOCHS + 1))


def plan(store: Path, forks: list[int] = EVERY, ends: bool = True) -> TrunkPlan:
    return {"folder": str(store), "limit_bytes": 10**9, "forks": forks, "ends": ends}


def shared(trial: Trial, folder: Path, the_plan: TrunkPlan, until: int | None = None) -> list[int]:
    """Train as a worker does, up to an epoch; return the epochs that were computed."""
    trunk = TrunkUser(trial, folder, the_plan)
    computed = []
    while not trial.finished and trial.epoch != until:
        if not trunk.catch_up():
            row = trial.run_epoch()
            computed.append(row["epoch"])
            if row["best_epoch"] == row["epoch"]:
                trial.save_best(folder)
            trial.save(folder)
            trunk.publish()
    trunk.release()
    return computed


def moments(trial: Trial) -> list[dict[str, Any]]:
    """Return what the optimiser will do next: its groups, without the weights' indices."""
    groups = trial._rig.state()["optimizer"]["param_groups"]
    return [{k: v for k, v in group.items() if k != "params"} for group in groups]


def assert_same(forked: Trial, alone: Trial) -> None:
    assert digest_of(forked) == digest_of(alone)
    assert moments(forked) == moments(alone)
    assert without_times(forked.history) == without_times(alone.history)
    assert forked._rig.rate.state_dict() == alone._rig.rate.state_dict()


@pytest.fixture(scope="module")
def tiny(data: PackedData) -> PackedData:
    """Return the tiny data set, under a name that hypothesis leaves free."""
    return data


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_interval_and_position_equals_its_own_training(
    tiny: PackedData, tmp_path: Path, seed: int
) -> None:
    computed, alone_epochs = 0, 0
    for T, position in itertools.product(range(1, EPOCHS + 1), POSITIONS):
        knobs = {"method": "periodic", "T": T, "position": position, "seed": seed}
        alone = trained(tiny_trial(tiny, epochs=EPOCHS, **knobs))
        forked = tiny_trial(tiny, epochs=EPOCHS, **knobs)
        computed += len(shared(forked, tmp_path / f"{T}{position}", plan(tmp_path / "store")))
        alone_epochs += EPOCHS
        assert_same(forked, alone)
        assert sum(not row["shared"] for row in forked.history) <= EPOCHS
    # The trunk once; each trial from its first injected epoch on; T = 1 and 2 share epoch 2 too.
    trunk = EPOCHS - 1
    own = len(POSITIONS) * (sum(EPOCHS - T + 1 for T in range(2, EPOCHS + 1)) + EPOCHS - 2)
    assert computed == trunk + own
    assert computed < 0.75 * alone_epochs


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "baseline": ({}, {"method": "periodic", "T": 4}),
    "dropout": ({"dropout_rate": 0.3}, {"dropout_rate": 0.3, "method": "periodic", "T": 3}),
    "steps": ({}, {"method": "periodic", "T": 13, "interval_unit": "step", "position": "all"}),
    "as trained": ({}, {"method": "periodic", "T": 2, "evaluation": "as_trained"}),
    "longer": ({"epochs": 3}, {}),
    "longer after injection": (
        {"method": "periodic", "T": 2, "epochs": 4},
        {"method": "periodic", "T": 2},
    ),
    "step schedule": ({}, {"schedule": "step", "schedule_step": 2, "schedule_factor": 0.3}),
    "plateau": ({}, {"schedule": "plateau", "schedule_step": 2, "schedule_factor": 0.5}),
    "cosine": ({"schedule": "cosine"}, {"schedule": "cosine", "method": "periodic", "T": 5}),
    "sgd": ({"optimizer": "sgd"}, {"optimizer": "sgd", "method": "periodic", "T": 3}),
    "adamw flip": (
        {"optimizer": "adamw", "augment": "flip_shift", "clip_norm": 0.5},
        {"optimizer": "adamw", "augment": "flip_shift", "clip_norm": 0.5, "method": "periodic",
         "T": 3, "position": "bn2"},
    ),
    "dynamic again": ({"method": "dynamic", "w_init": 0.05}, {"method": "dynamic", "w_init": 0.05}),
}  # fmt: skip


@pytest.mark.parametrize(("first", "second"), SETTINGS.values(), ids=SETTINGS.keys())
def test_what_a_trunk_gives_another_trial_changes_no_bit(
    tiny: PackedData, tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    one = tiny_trial(tiny, **{"epochs": EPOCHS, **first})
    shared(one, tmp_path / "one", plan(tmp_path / "store"))
    forked = tiny_trial(tiny, **{"epochs": EPOCHS, **second})
    computed = shared(forked, tmp_path / "two", plan(tmp_path / "store"))
    assert_same(forked, trained(tiny_trial(tiny, **{"epochs": EPOCHS, **second})))
    facts = [lineage(trial.config, trial.steps_per_epoch) for trial in (one, forked)]
    common = common_epochs(*facts)
    expected = min(one.epoch, EPOCHS if common is None else common)
    assert expected > 0  # or the test would not test
    assert computed == list(range(expected + 1, EPOCHS + 1))


configs = st.fixed_dictionaries(
    {
        "T": st.integers(1, EPOCHS),
        "position": st.sampled_from(POSITIONS),
        "seed": st.integers(0, 1),
    }
)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(configs, st.integers(1, EPOCHS)), min_size=2, max_size=5), st.data())
def test_trials_killed_at_any_moment_and_continued_equal_their_own_training(
    tiny: PackedData, tmp_path_factory: pytest.TempPathFactory, trials: Any, data: Any
) -> None:
    """Each trial trains until it is killed; then all go on, in any order, in new processes."""
    folder = tmp_path_factory.mktemp("killed")
    the_plan = plan(folder / "store", data.draw(st.sampled_from([EVERY, [1, 3], [2], []])))
    for number, (config, until) in enumerate(trials):
        trial = tiny_trial(tiny, epochs=EPOCHS, method="periodic", **config)
        shared(trial, folder / str(number), the_plan, until)
    for number in data.draw(st.permutations(range(len(trials)))):
        config = trials[number][0]
        again = tiny_trial(tiny, epochs=EPOCHS, method="periodic", **config)
        again.load(folder / str(number))
        shared(again, folder / str(number), the_plan)
        assert_same(again, _alone(tiny, **config))


_known: dict[str, Trial] = {}


def _alone(tiny: PackedData, **config: Any) -> Trial:
    key = json.dumps(config, sort_keys=True)
    if key not in _known:
        _known[key] = trained(tiny_trial(tiny, epochs=EPOCHS, method="periodic", **config))
    return _known[key]


def test_the_best_weights_of_a_shared_epoch_are_the_trials_best_weights(
    tiny: PackedData, tmp_path: Path
) -> None:
    one = tiny_trial(tiny, epochs=EPOCHS)
    shared(one, tmp_path / "one", plan(tmp_path / "store"))
    again = tiny_trial(tiny, epochs=EPOCHS)
    assert shared(again, tmp_path / "two", plan(tmp_path / "store")) == []
    best = torch.load(tmp_path / "two" / BEST, weights_only=True)
    reference = tiny_trial(tiny, epochs=EPOCHS)
    while reference.epoch < (again.history[-1]["best_epoch"] or 0):
        reference.run_epoch()
    for name, value in reference.network.state_dict().items():
        assert torch.equal(best[name], value)


@pytest.mark.parametrize("what", ["state", "best", "no best"])
def test_a_damaged_entry_is_found_and_computed_again(
    tiny: PackedData, tmp_path: Path, what: str
) -> None:
    store = tmp_path / "store"
    one = tiny_trial(tiny, epochs=EPOCHS)
    shared(one, tmp_path / "one", plan(store))
    chosen = sorted(store.glob("best-*.pt" if "best" in what else f"{one.key(EPOCHS)}.pt"))
    for path in chosen:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.unlink()
        if what != "no best":
            path.write_bytes(content)
    again = tiny_trial(tiny, epochs=EPOCHS)
    computed = shared(again, tmp_path / "two", plan(store))
    assert computed  # not what was damaged
    assert_same(again, trained(tiny_trial(tiny, epochs=EPOCHS)))
    third = tiny_trial(tiny, epochs=EPOCHS)
    assert shared(third, tmp_path / "three", plan(store)) == []  # mended


def test_an_entry_under_the_address_of_another_is_not_used(
    tiny: PackedData, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    one = tiny_trial(tiny, epochs=EPOCHS, seed=1)
    shared(one, tmp_path / "one", plan(store))
    other = tiny_trial(tiny, epochs=EPOCHS, seed=2)
    (store / f"{one.key(4)}.pt").rename(store / f"{other.key(4)}.pt")
    assert shared(other, tmp_path / "two", plan(store)) == EVERY
    with pytest.raises(CheckpointMismatch):
        tiny_trial(tiny, epochs=EPOCHS).fork(read_payload(store / f"{one.key(3)}.pt"))


def test_other_data_share_nothing(tiny: PackedData, tmp_path: Path) -> None:
    shared(tiny_trial(tiny, epochs=EPOCHS), tmp_path / "one", plan(tmp_path / "store"))
    other = tiny_trial(write_tiny_data(tmp_path / "other", seed=1), epochs=EPOCHS)
    assert shared(other, tmp_path / "two", plan(tmp_path / "store")) == EVERY


def test_a_diverged_state_is_never_published(tiny: PackedData, tmp_path: Path) -> None:
    trial = tiny_trial(tiny, epochs=EPOCHS, lr=1e30)
    shared(trial, tmp_path / "one", plan(tmp_path / "store"))
    assert trial.diverged
    assert not list((tmp_path / "store").glob(f"{trial.key(trial.epoch)}*"))


def test_only_forks_and_ends_are_kept(tiny: PackedData, tmp_path: Path) -> None:
    store = tmp_path / "store"
    trial = tiny_trial(tiny, epochs=EPOCHS)
    shared(trial, tmp_path / "one", plan(store, [2, 3], ends=False))
    assert {path.name for path in store.glob("*.pt") if "best" not in path.name} == {
        f"{trial.key(epoch)}.pt" for epoch in (2, 3)
    }


def test_who_needs_what_another_computes_waits_for_it(tiny: PackedData, tmp_path: Path) -> None:
    store, the_plan = tmp_path / "store", plan(tmp_path / "store", [3], ends=False)
    one = tiny_trial(tiny, epochs=EPOCHS)
    user = TrunkUser(one, tmp_path / "one", the_plan)
    assert not user.catch_up()  # announces epoch 3
    other = tiny_trial(tiny, epochs=EPOCHS)
    waiting = TrunkUser(other, tmp_path / "two", the_plan)
    thread = threading.Thread(target=waiting.catch_up)
    thread.start()
    while one.epoch < 3:
        one.run_epoch()
    one.save_best(tmp_path / "one")
    one.save(tmp_path / "one")
    time.sleep(0.2)
    user.publish()
    thread.join(timeout=20)
    assert other.epoch == 3
    assert waiting.waited_s > 0.1
    assert not list(store.glob("*.claim"))


def test_a_claim_that_was_left_behind_costs_no_more_than_what_it_promised(
    tiny: PackedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "FIRST_EPOCH_S", 0.3)
    the_plan = plan(tmp_path / "store", [1], ends=False)
    dead = TrunkUser(tiny_trial(tiny, epochs=EPOCHS), tmp_path / "dead", the_plan)
    assert not dead.catch_up()  # announced, and then killed
    trial = tiny_trial(tiny, epochs=EPOCHS)
    started = time.monotonic()
    user = TrunkUser(trial, tmp_path / "one", the_plan)
    assert not user.catch_up()
    assert 0.25 < time.monotonic() - started < 5
    assert shared(trial, tmp_path / "one", the_plan) == EVERY


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_with_deterministic_kernels_a_fork_changes_no_bit(
    tiny: PackedData, tmp_path: Path
) -> None:
    def on_gpu(**knobs: Any) -> Trial:
        return Trial(tiny_config(epochs=EPOCHS, width=8, **knobs), tiny, None, "cuda")

    periodic = {"method": "periodic", "T": 4, "position": "bn2"}
    shared(on_gpu(), tmp_path / "one", plan(tmp_path / "store"))
    forked = on_gpu(**periodic)
    assert forked.reproducible  # the small stem has no max-pooling
    assert shared(forked, tmp_path / "two", plan(tmp_path / "store")) == [4, 5, 6]
    alone = trained(on_gpu(**periodic))
    for name, value in alone.network.state_dict().items():
        assert torch.equal(forked.network.state_dict()[name], value)
    assert without_times(forked.history) == without_times(alone.history)
    assert not Trial(tiny_config(stem="imagenet"), tiny, None, "cuda").reproducible
