"""What a cluster can hold, and what a killed run leaves."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from search_spaces.model import UserError
from tuner.ray_session import (
    check_before_start,
    check_fits,
    local_cpus,
    local_gpus,
    remove_leftovers,
)
from tuner.spec_sections import ResourcesConfig

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
        ({"address": "localhost:notaport"}, "an address is HOST:PORT"),
        ({"address": "1e3"}, "an address is HOST:PORT"),
        ({"address": ":6379"}, "an address is HOST:PORT"),
    ],
)
def test_what_can_be_seen_beforehand_is_refused_without_ray(
    fields: dict[str, float], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        check_before_start(ResourcesConfig.model_validate(fields))


@pytest.mark.parametrize(
    ("present", "visible", "most"),
    [(0, None, 0), (0, "0,1", 0), (2, None, 2), (2, "1", 1), (2, "", 0), (2, "-1", 0)],
)
def test_gpus_of_this_machine_are_counted_without_ray(
    monkeypatch: pytest.MonkeyPatch, present: int, visible: str | None, most: int
) -> None:
    monkeypatch.setattr("tuner.ray_session.gpus", lambda: [{"name": "a GPU"}] * present)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    # on a machine with GPUs the driver's own folder would tell of them even without nvidia-smi
    if present or not Path("/proc/driver/nvidia/gpus").exists():
        refusal = rf"must be at most {most}\b" if most else "needs a GPU, but Ray sees none here"
        with pytest.raises(UserError, match=refusal):
            check_before_start(ResourcesConfig(gpus_per_trial=1, concurrency=most + 1))
        if most:
            check_before_start(ResourcesConfig(gpus_per_trial=1, concurrency=1))


@pytest.mark.parametrize(
    ("gpus", "fields", "expected"),
    [
        (0.5, {"gpus_per_trial": 0.5}, (0.5, 1)),
        (0.5, {"gpus_per_trial": 0.25}, (0.25, 2)),
        (0.75, {"gpus_per_trial": 0.25}, (0.25, 3)),
        (0.9, {"gpus_per_trial": 0.5}, (0.5, 1)),
        (2 / 3, {"gpus_per_trial": 1 / 3}, (1 / 3, 2)),
        (0.5, {"gpus_per_trial": 0}, (0.0, 28)),
    ],
)
def test_trials_fill_a_fraction_of_a_gpu(
    gpus: float, fields: dict[str, float], expected: tuple[float, int]
) -> None:
    resources = ResourcesConfig.model_validate(fields)
    assert check_fits(resources, {"CPU": 28.0, "GPU": gpus}) == expected


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "--gpus-per-trial must be at most 0.5"),
        ({"gpus_per_trial": 0.5, "concurrency": 2}, "--concurrency must be at most 1"),
        ({"gpus_per_trial": "auto"}, "auto needs whole GPUs"),
    ],
)
def test_what_a_fraction_of_a_gpu_cannot_hold_is_refused(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, float], named: str
) -> None:
    monkeypatch.setenv("TUNER_GPUS", "0.5")
    with pytest.raises(UserError, match=named):
        check_before_start(ResourcesConfig.model_validate(fields))


@pytest.mark.parametrize("text", [repr(1 / 3), "0.3333333333"])
def test_a_third_of_a_gpu_holds_a_trial_of_a_third(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TUNER_GPUS", text)
    check_before_start(ResourcesConfig(gpus_per_trial=1 / 3, concurrency=1))


def test_what_is_given_limits_and_pretends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.ray_session.gpus", lambda: [{"name": "a GPU"}] * 2)
    monkeypatch.setenv("TUNER_CPUS", "300")
    for text, gpus in (("1", 1), ("0", 0), ("8", 8), ("0.25", 0.25)):
        monkeypatch.setenv("TUNER_GPUS", text)
        assert (local_gpus(), local_cpus()) == (gpus, 300)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TUNER_CPUS", "0"), ("TUNER_CPUS", "1.5"), ("TUNER_CPUS", ""), ("TUNER_CPUS", "two"),
        ("TUNER_GPUS", "-1"), ("TUNER_GPUS", "1.5"), ("TUNER_GPUS", "nan"), ("TUNER_GPUS", "inf"),
        ("TUNER_GPUS", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_given_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(UserError, match=name):
        check_before_start(ResourcesConfig())


def test_what_a_cluster_has_only_ray_can_tell() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        check_before_start(ResourcesConfig(address=address, gpus_per_trial=0.5, concurrency=999))
    check_before_start(ResourcesConfig(address="auto", gpus_per_trial=0.5))


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
