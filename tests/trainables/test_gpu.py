"""On a GPU the fast path learns what a plain eager loop learns: step by step, and in the end."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from tests.trainables.tiny import tiny_config, trained
from trainables.config import DataConfig, TrialConfig, with_knobs
from trainables.data.packed import PackedData
from trainables.data.source import prepare
from trainables.metrics import macro_f1
from trainables.networks import build_network
from trainables.optimizers import WeightOptimizer
from trainables.seeds import derived_seed
from trainables.train import Trial

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
EPS = torch.finfo(torch.float32).eps


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_an_optimisers_step_equals_the_textbook_one_within_rounding(optimizer):
    """The same gradients for both: textbook optimisers of torch against fused, capturable ones."""
    config = tiny_config(optimizer=optimizer, width=8, weight_decay=0.1)
    plain, fast = (
        build_network(config.network, config.injection, 1, 3).to("cuda") for _ in range(2)
    )
    fast.load_state_dict(plain.state_dict())
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    more = {"momentum": config.training.momentum} if optimizer == "sgd" else {}
    rules = [
        kind(plain.parameters(), config.training.lr, weight_decay=0.1, **more),
        WeightOptimizer(fast, config.training),
    ]
    steps, lr = 5, config.training.lr
    for seed in range(steps):
        torch.manual_seed(seed)
        for ours, theirs in zip(fast.parameters(), plain.parameters(), strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        for rule in rules:
            rule.step()
    for (name, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
        # Per step a weight is rounded some three times, and its change of about lr some ten times;
        # the rate itself is rounded to fp32.
        tolerance = steps * EPS * (3 * theirs.abs().max().item() + 20 * lr * 3)
        assert (ours - theirs).abs().max().item() <= tolerance, name


@pytest.mark.slow
def test_final_f1_of_five_seeds_is_that_of_a_plain_loop(tmp_path: Path):
    data = prepare(DataConfig(), tmp_path, lambda *_: None)
    knobs = {"width": 8, "stem": "small", "lr": 0.001, "epochs": 10}
    fast, plain = [], []
    for seed in range(5):
        config = with_knobs(TrialConfig(), {**knobs, "seed": seed}, "test")
        fast.append(trained(Trial(config, data, None, "cuda")).history[-1]["val_f1"])
        plain.append(plain_f1(config, data))
    differences = [a - b for a, b in zip(fast, plain, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    print(
        f"fast {statistics.mean(fast):.4f}, plain {statistics.mean(plain):.4f}, error {error:.4f}"
    )
    assert statistics.mean(plain) > 0.5  # chance is 1/7
    # Student's 99.5 % quantile of four degrees of freedom; the floor is one image in seven hundred.
    assert abs(statistics.mean(differences)) <= max(4.6 * error, 1 / 700)


def plain_f1(config: TrialConfig, data: PackedData) -> float:
    """Return validation macro-F1 after a loop of textbook torch on the GPU."""
    images, labels = (torch.from_numpy(part.copy()).cuda() for part in data.split("train"))
    mean, std = images.float().mean(), images.float().std(correction=0)
    torch.manual_seed(derived_seed(config.seed, 0, "weights"))
    network = build_network(config.network, config.injection, 1, len(data.classes)).cuda()
    training = config.training
    rule = torch.optim.Adam(network.parameters(), training.lr, weight_decay=training.weight_decay)
    for _ in range(config.epochs):
        network.train()
        for chosen in torch.randperm(len(images)).cuda().split(training.batch_size):
            if len(chosen) == training.batch_size:
                logits = network((images[chosen].float() - mean) / std)
                rule.zero_grad()
                torch.nn.functional.cross_entropy(logits, labels[chosen]).backward()
                rule.step()
    network.eval()
    images, labels = (torch.from_numpy(part.copy()).cuda() for part in data.split("validation"))
    with torch.no_grad():
        predicted = network((images.float() - mean) / std).argmax(1)
    cells = torch.bincount(labels * len(data.classes) + predicted, minlength=len(data.classes) ** 2)
    return macro_f1(cells.view(len(data.classes), -1).cpu().numpy())


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_train_and_say_so_in_the_address(data, precision):
    reference = Trial(tiny_config(), data, None, "cuda")
    other = trained(Trial(tiny_config(precision=precision, epochs=12, width=4), data, None, "cuda"))
    assert other.history[-1]["best_val_f1"] > 0.9
    assert other.key(1) != reference.key(1)
