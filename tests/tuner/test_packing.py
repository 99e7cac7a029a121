"""How many trials share a GPU: the choice by hand-made figures, the measurement on CPU cores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from trainables.config import DataConfig, TrialConfig
from tuner import packing
from tuner.bench.pace import Rate, SideBySide, workers
from tuner.bench.worker import Job
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
        " 4.0 of 10.0 GiB in use; 8 cannot run at once"
    )
    assert "cannot run" not in choose(tried(100, used=9.5)).reason  # the only choice


class Scripted:
    """Stands in for training processes: a pace by the number of those that run, below 0 a failure.

    Attributes
    ----------
    started : list of int
        Processes started at once, in turn.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, paces: dict[int, float]) -> None:
        self.paces = paces
        self.started: list[int] = []
        monkeypatch.setattr(packing, "workers", self.workers)
        monkeypatch.setattr(packing, "timed_together", self.timed_together)

    @contextlib.contextmanager
    def workers(self, jobs: list[Job]) -> Iterator[list[Job]]:
        self.started.append(len(jobs))
        yield jobs

    def timed_together(self, ready: list[Job], seconds: float, repeats: int) -> SideBySide:
        count = len(ready)
        if self.paces[count] < 0:
            raise UserError("A training process of the measurement failed: out of memory")
        return SideBySide(Rate(self.paces[count], 0, 0), count * GIB, 10 * GIB)


def test_measuring_stops_where_more_trials_gain_nothing_or_do_not_fit(monkeypatch):
    script = Scripted(monkeypatch, {1: 100, 2: 180, 4: 185, 8: 300})
    arguments = (TrialConfig(), DataConfig(), Path("cache"))
    assert [one.trials for one in measure(*arguments, most=8)] == [1, 2, 4]
    assert script.started == [1, 1, 2]  # each number adds to those that run
    assert [one.trials for one in measure(*arguments, most=3)] == [1, 2]
    script.paces[2] = -1
    assert choose(measure(*arguments, most=8)).trials == 1
    script.paces[1] = -1
    with pytest.raises(UserError, match="out of memory"):
        measure(*arguments, most=8)


def server(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(packing, "local_gpus", lambda: gpus)
    monkeypatch.setattr(packing, "local_cpus", lambda: 32)


@pytest.mark.parametrize(
    ("concurrency", "share", "slots"), [(None, 0.25, None), (4, 0.5, 4), (2, 1.0, 2), (99, 0.25, 8)]
)
def test_what_is_found_takes_the_place_of_auto(monkeypatch, tmp_path, concurrency, share, slots):
    """On two GPUs; `concurrency` limits how many share one, and is lowered to what they hold."""
    Scripted(monkeypatch, {1: 100, 2: 190, 4: 340, 8: 350})
    server(monkeypatch, 2)
    told: list[str] = []
    spec = with_packing(auto(concurrency=concurrency), tmp_path, told.append)
    assert (spec.resources.gpus_per_trial, spec.resources.concurrency) == (share, slots)
    assert spec.digest == auto().digest
    assert told[-1].startswith(f"--gpus-per-trial {share:g}: ")
    assert check_fits(spec.resources, {"CPU": 32, "GPU": 2}) == (share, slots or 8)


def test_it_is_measured_with_the_largest_trial(monkeypatch, tmp_path):
    seen = []
    server(monkeypatch, 1)
    monkeypatch.setattr(packing, "measure", lambda trial, *_: seen.append(trial) or tried(100.0))
    file = tmp_path / "space.yaml"
    knob = "{kind: int, low: 16, high: 256, source: s}"
    file.write_text(f"summary: s\nfixed: {{method: none}}\nknobs:\n  batch_size: {knob}\n")
    flags = {"space": str(file), "resources": {"gpus_per_trial": "auto"}}
    with_packing(build_spec("quick", None, flags, {}, {}), tmp_path, lambda _: None)
    assert seen[0].training.batch_size == 256


@pytest.mark.slow
def test_a_real_measurement_counts_the_steps_that_were_trained(tmp_path):
    """On CPU cores, where there is no GPU; two processes need not be faster than one there."""
    trial, data = auto().examples()[0], auto().data
    found = measure(trial, data, tmp_path, most=2, device="cpu", seconds=0.1)
    assert [one.trials for one in found] == [1, 2]
    # 23 steps an epoch, not the 50 that are timed at once where there are so many
    job = Job(
        "ours", trial.model_dump(mode="json"), data.model_dump(mode="json"), str(tmp_path), 50
    )
    with workers([job]) as (worker,):
        worker.ask("steps")
        told = worker.answer()
    assert (told["steps"], told["images"]) == (23, 23 * 64)
    assert 0.2 < found[0].images_per_s / (told["images"] / told["seconds"]) < 5


def test_without_a_gpu_trials_train_on_cores(tmp_path, monkeypatch):
    server(monkeypatch, 0)
    told: list[str] = []
    assert with_packing(auto(), tmp_path, told.append).resources.gpus_per_trial == 0.0
    assert told == ["--gpus-per-trial 0: this machine shows no GPU."]


def test_auto_cannot_look_at_the_gpus_of_another_cluster():
    with pytest.raises(UserError, match=r"--gpus-per-trial auto .* --address"):
        check_before_start(ResourcesConfig(gpus_per_trial="auto", address="127.0.0.1:1"))


def test_before_auto_is_found_only_the_cores_bound_how_many_run_at_once():
    assert check_fits(auto(concurrency=4).resources, {"CPU": 32, "GPU": 1}) == (1.0, 4)
    with pytest.raises(UserError, match="--cpus-per-trial"):
        check_fits(auto(cpus_per_trial=64).resources, {"CPU": 32, "GPU": 1})
