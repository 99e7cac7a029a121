"""What a cluster can hold, and what a killed run leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tuner.ray_session import check_before_start, check_fits, remove_leftovers
from tuner.spec import ResourcesConfig

SERVER = {"CPU": 28.0, "GPU": 2.0}
LAPTOP = {"CPU": 8.0}


@pytest.mark.parametrize(
    ("cluster", "fields", "expected"),
    [
        (SERVER, {}, (1.0, 2)),
        (SERVER, {"gpus_per_trial": 0.5}, (0.5, 4)),
        (SERVER, {"gpus_per_trial": 0.25, "cpus_per_trial": 7}, (0.25, 4)),
        (SERVER, {"gpus_per_trial": 0}, (0.0, 28)),
        (SERVER, {"gpus_per_trial": 1 / 3, "concurrency": 5}, (1 / 3, 5)),
        (LAPTOP, {}, (0.0, 8)),
        (LAPTOP, {"cpus_per_trial": 3}, (0.0, 2)),
    ],
)
def test_trials_fill_the_cluster(
    cluster: dict[str, float], fields: dict[str, float], expected: tuple[float, int]
) -> None:
    assert check_fits(ResourcesConfig.model_validate(fields), cluster) == expected


@pytest.mark.parametrize(
    ("cluster", "fields", "named"),
    [
        (LAPTOP, {"gpus_per_trial": 1}, "--gpus-per-trial"),
        (LAPTOP, {"cpus_per_trial": 9}, "--cpus-per-trial"),
        (LAPTOP, {"concurrency": 9}, "--concurrency"),
        (SERVER, {"gpus_per_trial": 0.5, "concurrency": 5}, "--concurrency"),
    ],
)
def test_what_never_fits_is_refused_by_name(
    cluster: dict[str, float], fields: dict[str, float], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        check_fits(ResourcesConfig.model_validate(fields), cluster)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cpus_per_trial": 9999}, "--cpus-per-trial"),
        ({"concurrency": 9999}, "--concurrency"),
        ({"address": "127.0.0.1:1"}, "127.0.0.1:1"),
    ],
)
def test_what_can_be_seen_beforehand_is_refused_without_ray(
    fields: dict[str, float], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        check_before_start(ResourcesConfig.model_validate(fields))


def test_what_only_ray_can_tell_is_left_to_it() -> None:
    check_before_start(ResourcesConfig(gpus_per_trial=0.5))


def test_folders_of_dead_runs_are_removed_and_those_of_living_ones_stay() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = Path(tempfile.mkdtemp(prefix=f"tuner-ray-{process.pid}-"))
    living = Path(tempfile.mkdtemp(prefix=f"tuner-ray-{os.getpid()}-"))
    try:
        remove_leftovers()
        assert not dead.exists()
        assert living.exists()
    finally:
        living.rmdir()
