"""Which runs a study consists of, and that their seeds keep them apart."""

from __future__ import annotations

from collections import Counter

import pytest

from search_spaces.model import UserError
from tests.tuner.study.test_spec import SMALL, written
from tuner.seeding import trial_seed
from tuner.study.spec import load_study
from tuner.study.stages import before_confirming, confirmations


@pytest.fixture
def study(tmp_path):
    return load_study(written(tmp_path, SMALL + "others: [dynamic_constant, baseline]\n"))


def test_the_stages_follow_the_protocol(study):
    runs = before_confirming(study, "s")
    assert [run.name for run in runs] == [
        "pilot-dynamic_default",
        "census-periodic_T",
        "census-dynamic_default",
        "census-dynamic_constant",
        "census-baseline",
        *(
            f"search-{space}-{number}"
            for number in (1, 2, 3)
            for space in ("periodic_T", "dynamic_default")
        ),
    ]
    for run in runs:
        assert run.spec.study.stage == run.stage == run.name.split("-")[0]
        assert run.spec.study.digest == study.digest
        drawn = run.stage != "search"
        assert (run.spec.sampler.name == "random") == drawn
        assert (run.spec.scheduler.name == "none") == drawn


def test_a_given_target_needs_no_pilot(tmp_path):
    study = load_study(written(tmp_path, SMALL + "target: 0.4\n"))
    assert not [run for run in before_confirming(study, "s") if run.stage == "pilot"]


def test_no_seed_of_one_stage_is_a_seed_of_another(study):
    runs = [*before_confirming(study, "s"), *confirmations(study, "s", {"": {"T": 2}})]
    seeds = Counter(
        trial_seed(run.spec, number) for run in runs for number in range(run.spec.budget.trials)
    )
    assert set(seeds.values()) == {1}


def test_another_seed_of_the_study_changes_every_trial(tmp_path):
    first, second = (load_study(written(tmp_path, f"{SMALL}seed: {n}\n")) for n in (0, 1))
    for one, other in zip(
        before_confirming(first, "s"), before_confirming(second, "s"), strict=True
    ):
        assert trial_seed(one.spec, 0) != trial_seed(other.spec, 0)


def test_a_blocked_census_trains_all_arms_with_knobs_on_the_same_few_seeds(tmp_path):
    text = SMALL + "census: {seeds: 3}\nothers: [{space: dynamic_constant, trials: 6}, baseline]\n"
    runs = {
        run.name: run.spec for run in before_confirming(load_study(written(tmp_path, text)), "s")
    }
    used = {
        name: {trial_seed(spec, number) for number in range(spec.budget.trials)}
        for name, spec in runs.items()
    }
    assert len(used["census-periodic_T"]) == 3
    assert used["census-periodic_T"] == used["census-dynamic_constant"]
    assert len(used["census-baseline"]) == runs["census-baseline"].budget.trials


def test_what_is_confirmed_varies_in_nothing_but_the_seed(study):
    runs = confirmations(study, "s", {"": {"T": 2}, "-of-3": {"T": 1}})
    assert [run.name for run in runs] == [
        "confirm-dynamic_default", "confirm-periodic_T", "confirm-periodic_T-of-3",
    ]  # fmt: skip
    for run, T in zip(runs[1:], (2, 1), strict=True):
        assert run.spec.space.name == "periodic_T"
        assert not run.spec.space.knobs
        assert run.spec.trial({}, 0).injection.T == T
        assert run.spec.budget.trials == 18


def test_a_space_that_cannot_be_trained_so_is_refused_before_anything_starts(tmp_path):
    text = SMALL.replace("space: dynamic_default", "space: dynamic_default, set: {position: bn3}")
    with pytest.raises(UserError, match=r"bn3.*dynamic_default"):
        before_confirming(load_study(written(tmp_path, text)), "s")
