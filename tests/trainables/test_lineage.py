"""What trials have in common, against Algorithm 1 as the paper prints it and torch's schedules."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.tiny import tiny_config
from trainables.config import TrialConfig
from trainables.lineage import common_epochs, history_digest, lineage
from trainables.optimizers import WeightOptimizer, build_schedule
from trainables.schedule import algorithm_1

STEPS = 4


def common(one: dict[str, object], other: dict[str, object]) -> int:
    """Return the epochs that two small trials have in common, at most all that both train."""
    trials = [tiny_config(**{"epochs": 12, **knobs}) for knobs in (one, other)]
    found = common_epochs(*(lineage(trial, STEPS) for trial in trials))
    both = min(trial.epochs for trial in trials)
    return both if found is None else min(found, both)


def periodic(T: int, **knobs: object) -> dict[str, object]:
    return {"method": "periodic", "T": T, **knobs}


def prefix(one: list[bool], other: list[bool]) -> int:
    """Return how many first entries agree."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


@pytest.mark.parametrize("T", range(1, 13))
def test_a_periodic_trial_is_the_baseline_until_the_listing_injects(T: int) -> None:
    flags = algorithm_1(T, 12)
    until = flags.index(True) if True in flags else 12
    assert common({}, periodic(T)) == until


@pytest.mark.parametrize("one", range(1, 13))
@pytest.mark.parametrize("other", range(1, 13))
def test_two_intervals_share_what_the_listing_treats_alike(one: int, other: int) -> None:
    expected = prefix(algorithm_1(one, 12), algorithm_1(other, 12))
    assert common(periodic(one), periodic(other)) == expected


@pytest.mark.parametrize("T", [1, 2, 3, 7, 20, 47, 100])
def test_an_interval_in_steps_parts_in_the_epoch_that_holds_its_first_injected_step(T: int) -> None:
    flags = algorithm_1(T, 12 * STEPS)
    first = flags.index(True) if True in flags else 12 * STEPS
    assert common({}, periodic(T, interval_unit="step")) == first // STEPS


@given(st.integers(1, 12), st.sampled_from(["bn1", "bn2", "shortcut", "all"]))
def test_positions_part_with_the_first_injection(T: int, position: str) -> None:
    expected = 12 if position == "bn1" else common({}, periodic(T))
    assert common(periodic(T), periodic(T, position=position)) == expected


def test_what_has_no_effect_parts_nobody() -> None:
    assert common({"T": 3, "Constant": 2.0, "dropout_site": "between"}, {}) == 12
    assert common({"momentum": 0.5}, {}) == 12
    assert common({"optimizer": "sgd", "beta1": 0.5}, {"optimizer": "sgd"}) == 12
    assert common(periodic(5, evaluation="clean"), periodic(5)) == 12  # the method's default


@pytest.mark.parametrize(
    "knobs",
    [
        {"seed": 1},
        {"lr": 0.02},
        {"width": 2},
        {"weight_decay": 0.0},
        {"dropout_rate": 0.1},
        {"method": "dynamic"},
        {"clip_norm": 1.0},
        {"augment": "flip"},
        {"max_loss": 9.0},
    ],
)
def test_what_acts_from_the_first_step_shares_nothing(knobs: dict[str, object]) -> None:
    assert common(knobs, {}) == 0


def test_dynamic_trials_share_only_if_equal() -> None:
    dynamic = {"method": "dynamic", "Constant": 1.0, "w_init": 0.1}
    assert common(dynamic, dynamic) == 12
    for name, value in {"Constant": 1.5, "w_init": 0.2, "position": "bn2", "w_per": "unit"}.items():
        assert common(dynamic, {**dynamic, name: value}) == 0


def test_dropout_trials_are_the_trunk_of_periodic_ones_with_dropout() -> None:
    assert common({"dropout_rate": 0.2}, periodic(5, dropout_rate=0.2)) == 4


def rates(knobs: dict[str, object], scores: list[float]) -> list[float]:
    """Return the learning rate of each epoch by torch, given each epoch's validation score."""
    config = tiny_config(**{"epochs": 12, **knobs})
    optimizer = WeightOptimizer(torch.nn.Linear(1, 1), config.training).rule
    schedule = build_schedule(optimizer, config.training, config.epochs)
    found = []
    for score in scores:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule.step(*([score] if config.training.schedule == "plateau" else []))
    return found


@pytest.mark.parametrize("kind", ["cosine", "step", "plateau"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
def test_a_schedule_parts_no_later_than_torch_first_changes_the_rate(
    kind: str, epochs: int
) -> None:
    knobs = {"schedule": kind, "schedule_step": epochs}
    worst = rates(knobs, [0.5] * 12)  # no improvement after the first epoch
    expected = prefix([rate == worst[0] for rate in worst], [True] * 12)
    assert common(knobs, {}) == expected


@given(st.lists(st.floats(0, 1), min_size=12, max_size=12), st.integers(1, 11))
def test_a_plateau_never_parts_earlier_whatever_the_scores(scores: list[float], patience: int):
    knobs = {"schedule": "plateau", "schedule_step": patience}
    shared = common(knobs, {})
    found = rates(knobs, scores)
    assert found[:shared] == [found[0]] * shared


def test_a_longer_training_is_the_same_but_for_a_schedule_that_knows_its_length() -> None:
    for schedule in ("none", "step", "plateau"):
        assert common({"epochs": 6, "schedule": schedule}, {"schedule": schedule}) == 6
    assert common({"epochs": 6, "schedule": "cosine"}, {"schedule": "cosine"}) == 1
    assert common(periodic(3, epochs=6), periodic(3)) == 6


def test_digests_are_equal_exactly_as_far_as_the_trials_are_common() -> None:
    one, other = (lineage(tiny_config(epochs=12, **periodic(T)), STEPS) for T in (3, 6))
    for epoch in range(1, 13):
        same = history_digest(one, epoch) == history_digest(other, epoch)
        assert same == (epoch <= 2)
    assert history_digest(one, 1) != history_digest(one, 2)


def test_every_field_of_a_trial_is_part_of_its_lineage_somewhere() -> None:
    """A field that is added later and forgotten here would share what differs."""
    seen: set[str] = set()
    for knobs in (
        {"optimizer": "sgd", "schedule": "step", "dropout_rate": 0.5},
        {"method": "dynamic", "schedule": "cosine", "precision": "bf16"},
        periodic(3, interval_unit="step"),
    ):
        seen |= {fact.name for fact in lineage(tiny_config(**knobs), STEPS)}
    fields = {"epochs", "seed"}
    for section in ("network", "injection", "training"):
        fields |= set(TrialConfig.model_fields[section].annotation.model_fields)
    assert fields - seen == {"interval_unit"}  # told by whether T or what it injected is named
