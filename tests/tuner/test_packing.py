"""How many trials share a GPU: the choice by hand-made figures, the measurement on CPU cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from trainables.config import DataConfig, TrialConfig
from tuner import packing
from tuner.bench.pace import Rate, SideBySide
from tuner.packing import Tried, choose, measure, with_packing
from tuner.ray_session import check_before_start, check_fits
from tuner.spec import RunSpec, build_spec
from tuner.spec_sections import ResourcesConfig

GIB = 2**30


def tried(*paces: float, used: float = 1.0) -> list[Tried]:
    """Return 1, 2, 4 … trials of these paces, each of `used` GiB on a GPU of 10."""
    counts = [2**index for index in range(len(paces))]
    return [
        Tried(n, pace, int(n * used * GIB), 10 * GIB) for n, pace in zip(counts, paces, strict=True)
    ]


def auto(**resources: Any) -> RunSpec:
    flags = {"resources": {"gpus_per_trial": "auto", **resources}}
    return build_spec("quick", None, {"space": "periodic_T", **flags}, {}, {})


@pytest.mark.parametrize(
    ("found", "trials"),
    [
        (tried(100.0), 1),
        (tried(100, 190, 340, 350), 4),  # 350 is not worth twice the memory
        (tried(100, 190, 340, 400), 8),
        (tried(100, 104), 1),
        (tried(100, 90), 1),
        (tried(100, 190, 340, 600, used=1.2), 4),  # 8 take 9.6 of 10
        (tried(100, 190, used=6.0), 1),
    ],
)
def test_the_fewest_trials_are_chosen_that_are_nearly_the_fastest_and_fit(found, trials):
    assert choose(found).trials == trials


def test_the_reason_gives_every_figure_the_choice_rests_on():
    found = [*tried(9000, 15_100, 19_000), Tried(8, 0.0, None, None)]
    assert choose(found).reason == (
        "4 a GPU; images/s by trials at once 1: 9,000, 2: 15,100, 4: 19,000, 8: –;"
        " 4.0 of 10.0 GiB in use; 8 do not fit"
    )


def test_measuring_stops_where_more_trials_gain_nothing_or_do_not_fit(monkeypatch):
    paces: dict[int, float] = {1: 100, 2: 180, 4: 185, 8: 300}
    asked = []

    def reached(job: Any, count: int, seconds: float, repeats: int) -> SideBySide:
        asked.append(count)
        if paces[count] < 0:
            raise UserError("A training process of the measurement ended early: out of memory")
        return SideBySide(Rate(paces[count], 0, 0), count * GIB, 10 * GIB)

    monkeypatch.setattr(packing, "side_by_side", reached)
    arguments = (TrialConfig(), DataConfig(), Path("cache"))
    assert [one.trials for one in measure(*arguments, most=8)] == [1, 2, 4] == asked
    assert [one.trials for one in measure(*arguments, most=3)] == [1, 2]
    paces[2] = -1
    assert choose(measure(*arguments, most=8)).trials == 1
    paces[1] = -1
    with pytest.raises(UserError, match="out of memory"):
        measure(*arguments, most=8)


@pytest.mark.slow
def test_a_real_measurement_trains_side_by_side_and_gives_a_number(tmp_path, monkeypatch):
    """On CPU cores, where there is no GPU; two processes need not be faster than one there."""
    trial, data = auto().examples()[0], auto().data
    found = measure(trial, data, tmp_path, most=2, device="cpu", seconds=0.1)
    assert [one.trials for one in found] == [1, 2]
    assert all(one.images_per_s > 10 for one in found)
    monkeypatch.setattr(packing, "local_gpus", lambda: 2)
    monkeypatch.setattr(packing, "local_cpus", lambda: 32)
    monkeypatch.setattr(packing, "measure", lambda *_: tried(100, 190, 340, 350))
    told: list[str] = []
    spec = with_packing(auto(), tmp_path, told.append)
    assert spec.resources.gpus_per_trial == 0.25
    assert spec.digest == auto().digest
    assert told[-1].startswith("--gpus-per-trial 0.25: 4 a GPU; ")


def test_without_a_gpu_trials_train_on_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "local_gpus", lambda: 0)
    told: list[str] = []
    assert with_packing(auto(), tmp_path, told.append).resources.gpus_per_trial == 0.0
    assert told == ["--gpus-per-trial 0: this machine shows no GPU."]


def test_auto_cannot_look_at_the_gpus_of_another_cluster():
    with pytest.raises(UserError, match=r"--gpus-per-trial auto .* --address"):
        check_before_start(ResourcesConfig(gpus_per_trial="auto", address="127.0.0.1:1"))


def test_before_auto_is_found_a_trial_counts_as_one_gpu():
    assert check_fits(auto().resources, {"CPU": 32, "GPU": 2}) == (1.0, 2)
