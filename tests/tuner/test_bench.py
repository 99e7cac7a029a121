"""What `tuner bench` measures, against figures made by hand and against real processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from search_spaces.model import UserError
from trainables.batches import training_statistics
from trainables.config import DataConfig, TrialConfig, with_knobs
from trainables.data.packed import PackedData
from trainables.data.source import prepare
from trainables.networks import build_network
from tuner.bench import measure
from tuner.bench.overhead import overhead_of, watch
from tuner.bench.pace import in_turns, workers
from tuner.bench.plain_loop import ImageArray, PlainLoop, SlimResNet
from tuner.cli import cli
from tuner.record_rows import TrialRow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def faces(cache: Path) -> PackedData:
    config = DataConfig(synthetic_train=128, synthetic_eval=14)
    return prepare(config, cache, lambda *_: None)


def trial(worker: str, ended_at: float, trained_s: float, number: int = 0) -> TrialRow:
    """Return a trial of which only this is known."""
    values: dict[str, Any] = dict.fromkeys(TrialRow.__dataclass_fields__)
    known = {"worker": worker, "ended_at": ended_at, "train_s": trained_s, "eval_s": 0.5}
    return TrialRow(**{**values, "number": number, **known})


def test_overhead_is_what_slots_do_beside_training_after_the_first_trial_of_each():
    found = overhead_of(
        [
            trial("a", 10.0, 8.0, 0),  # the first of its slot: Ray's start and torch's import in it
            trial("a", 21.0, 9.5, 1),  # 11 s, of which 10 trained or evaluated
            trial("a", 33.0, 9.5, 3),  # 12 s
            trial("b", 12.0, 8.0, 2),
            trial("b", 22.5, 9.5, 4),  # 10.5 s
        ],
        {0: 1.0, 1: 10.3, 2: 3.0, 3: 21.2, 4: 12.1},
    )
    assert found is not None
    assert found.trials == 3
    assert found.training_s == 30.0
    assert found.share == pytest.approx(1 - 30.0 / 33.5)
    assert found.beside_s == pytest.approx(1.0)
    assert found.turnover_s == pytest.approx(0.2)


def test_overhead_is_unknown_where_no_slot_had_two_trials():
    assert overhead_of([trial("a", 10.0, 8.0), trial("b", 10.0, 8.0)], {0: 1.0}) is None


def test_the_plain_loops_network_is_ours_without_injection():
    plain = SlimResNet(8, 1, 7).eval()
    config = with_knobs(TrialConfig(), {"width": 8}, "test")
    ours = build_network(config.network, config.injection, 1, 7).eval()
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(2, 1, 48, 48)
    assert torch.equal(ours(images), plain(images))


def test_the_plain_loop_sees_our_images_and_learns(faces: PackedData):
    split = faces.split("train")
    statistics = training_statistics(faces, None)
    images = ImageArray(split.images_BCHW, split.labels_B, statistics)
    pixels, label = images[5]
    expected = (split.images_BCHW[5].astype("float32") - statistics.mean_C) / statistics.std_C
    torch.testing.assert_close(pixels, torch.from_numpy(expected).float(), rtol=0, atol=1e-5)
    assert label == split.labels_B[5]
    torch.manual_seed(0)
    loop = PlainLoop(SlimResNet(8, 1, 7), images, 64, "cpu", 0, lr=1e-3, weight_decay=1e-4)
    assert loop.run(2) > 0
    first = loop.running_loss
    loop.run(20)
    before = loop.running_loss
    loop.run(2)
    assert loop.running_loss - before < first


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 16])  # 16 has maps that are multiplied otherwise
def test_workers_take_turns_and_tell_their_floor(width: int, cache: Path):
    case = measure.Case("slim", {"width": width}, 48, 2)
    jobs = [measure.job(case, kind, "cpu", cache) for kind in ("plain", "ours")]
    rates, floors = in_turns(jobs, repeats=2)
    assert all(0 < rate.lowest <= rate.median <= rate.highest for rate in rates)
    assert floors[0] == {}
    first, whole = forward_flop(width)
    # Forward, and backward by weights and by inputs, but not by the images.
    assert floors[1]["flop"] == (3 * whole - first) * 64
    assert 0 < floors[1]["arithmetic_s"] < 64 / rates[1].median


def inside(kernel: int, side: int, stride: int) -> int:
    """Return how many pairs of a tap and a pixel a kernel meets in one direction."""
    centres = range(0, side, stride)
    reach = range(-(kernel // 2), kernel // 2 + 1)
    return sum(0 <= centre + tap < side for centre in centres for tap in reach)


def forward_flop(width: int) -> tuple[int, int]:
    """Return the operations of the first layer and of all for one image of 48 px, by hand.

    A product and its sum are two; pixels outside an image are not multiplied.
    """
    layers = [(1, width, 7, 48, 2)]
    side, channels = 12, width
    for stage in range(4):
        out, stride = width * 2**stage, 1 if stage == 0 else 2
        if out != channels:
            layers.append((channels, out, 1, side, stride))
        layers.append((channels, out, 3, side, stride))
        side = -(-side // stride)
        layers += [(out, out, 3, side, 1)] * 3
        channels = out
    each = [2 * i * o * inside(k, side, stride) ** 2 for i, o, k, side, stride in layers]
    return each[0], sum(each) + 2 * channels * 7


@pytest.mark.slow
def test_a_worker_that_fails_says_why_in_one_line(tmp_path: Path):
    case = measure.Case("slim", {"width": 4}, 48, 2)
    job = measure.job(case, "ours", "cuda:99", tmp_path)
    with pytest.raises(UserError, match=r"measurement failed: .*(CUDA|NVIDIA)"), workers([job]):
        pass


@pytest.mark.slow
def test_a_search_is_watched_from_its_first_second(tmp_path: Path, cache: Path):
    arguments = [
        "--space", "baseline", "--trials", "3", "--epochs", "2", "--width", "2", "--limit", "128",
        "--concurrency", "1", "--no-share", "--scheduler", "none", "--cache", str(cache),
    ]  # fmt: skip
    found = watch(arguments, tmp_path, "watched")
    assert found.overhead is not None
    assert found.overhead.trials == 2
    assert 0 < found.overhead.share < 1
    assert 0 < found.overhead.turnover_s < found.overhead.beside_s
    assert all(seconds >= 0 for seconds in found.start_s.values())
    assert 1 < found.to_first_step_s < 120
    assert 0 < found.driver_share < 2
    with pytest.raises(UserError, match=r"that was to be measured failed: .*baseline"):
        watch(["--space", "basline"], tmp_path, "failed")


@pytest.mark.slow
def test_the_command_prints_what_it_measured(cache: Path, monkeypatch: pytest.MonkeyPatch):
    case = measure.Case("slim", {"width": 4}, 48, 2)
    monkeypatch.setattr(measure, "cases", lambda *_: [case])
    arguments = ["bench", "--quick", "--only", "trial", "--device", "cpu", "--cache", str(cache)]
    shown = CliRunner().invoke(cli, arguments, obj=["tuner", *arguments])
    assert shown.exit_code == 0, shown.output
    assert "slim, one trial, in turns" in shown.output
    assert "times as fast" in shown.output
    told = CliRunner().invoke(cli, [*arguments, "--format", "json"], obj=["tuner", *arguments])
    found = json.loads(told.output)
    assert found["one_trial"][0]["images_per_s_ratio"] > 0
    assert {"date", "command", "host", "versions"} <= found.keys()


def test_a_gpu_is_measured_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tuner.ray_session.local_gpus", lambda: 0)
    result = CliRunner().invoke(cli, ["bench", "--device", "cuda"], obj=["tuner"])
    assert result.exit_code == 2
    assert result.output == (
        "--device cuda needs an NVIDIA GPU, but this machine shows none; use cpu.\n"
    )


@pytest.mark.slow
def test_a_worker_that_hangs_is_told_and_ended(cache: Path):
    case = measure.Case("slim", {"width": 4}, 48, 2)
    with workers([measure.job(case, "ours", "cpu", cache)]) as (worker,):
        with pytest.raises(UserError, match="has said nothing for 0 s"):
            worker.answer(within_s=0.1)  # nothing was asked
        os.kill(worker._process.pid, signal.SIGKILL)
        worker.ask("steps")
        with pytest.raises(UserError, match="signal 9; memory may have run out"):
            worker.answer()


def test_a_case_that_fails_does_not_lose_the_others(monkeypatch: pytest.MonkeyPatch):
    def failing(*_: Any) -> None:
        raise UserError("A training process of the measurement failed: out of memory")

    monkeypatch.setattr(measure, "one_trial", failing)
    monkeypatch.setattr(measure, "a_search", lambda *_: {"command": "tuner run"})
    arguments = ["bench", "--device", "cpu", "--only", "trial", "--only", "search"]
    result = CliRunner().invoke(cli, [*arguments, "--format", "json"], obj=["tuner", *arguments])
    found = json.loads(result.output)
    assert [row["error"] for row in found["one_trial"]] == [
        "A training process of the measurement failed: out of memory"
    ] * 2
    assert found["search"] == {"command": "tuner run"}
