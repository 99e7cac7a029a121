"""The plain trial does the work of ours: same network, same flips, same settings, same steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.plain_trial import (
    BATCH_SIZE,
    LR,
    POSITIONS,
    WEIGHT_DECAY,
    WIDTH,
    Flip,
    train,
)
from trainables.config import DataConfig, InjectionConfig, NetworkConfig
from trainables.data.source import prepare
from trainables.networks import build_network
from tuner.bench.plain_loop import SlimResNet
from tuner.spec import build_spec


@pytest.mark.parametrize("injected", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_flips_give_the_logits_and_gradients_of_our_network(position: str, injected: bool) -> None:
    torch.manual_seed(0)
    injection = InjectionConfig(method="periodic", T=2, position=position)  # type: ignore[arg-type]
    ours = build_network(NetworkConfig(width=WIDTH), injection, channels=1, classes=7)
    plain = SlimResNet(8, 1, 7)
    plain.load_state_dict(ours.state_dict())
    flip = Flip(plain, position)
    images_BCHW, labels_B = torch.randn(16, 1, 48, 48), torch.randint(7, (16,))

    ours.injection.begin_step(step=1, epoch=2 if injected else 1)
    flip.on = injected
    logits_BK, plain_BK = ours(images_BCHW), plain(images_BCHW)

    assert torch.equal(plain_BK, logits_BK)
    for network_BK in (logits_BK, plain_BK):
        cross_entropy(network_BK, labels_B).backward()  # type: ignore[no-untyped-call]
    for (name, weight), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(theirs.grad, weight.grad), name  # type: ignore[arg-type]
    flip.on = not injected
    assert not torch.equal(plain(images_BCHW), logits_BK)


def test_initial_weights_have_the_spread_of_ours() -> None:
    torch.manual_seed(0)
    for module in SlimResNet(8, 1, 7).modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            expected = (2 / fan_out) ** 0.5  # He et al. 2015, and torchvision's
            six_sigma = 6 * expected / (2 * module.weight.numel()) ** 0.5
            assert abs(float(module.weight.detach().std()) - expected) < six_sigma


def test_settings_are_those_of_the_quick_preset() -> None:
    spec = build_spec("quick", None, {"space": "periodic"}, {}, {})
    training = spec.training
    sizes = (training.batch_size, training.lr, training.weight_decay)
    assert sizes == (BATCH_SIZE, LR, WEIGHT_DECAY)
    assert (training.optimizer, training.schedule, training.augment) == ("adam", "none", "none")
    assert spec.network == NetworkConfig(width=WIDTH)
    assert spec.data == DataConfig()
    assert spec.injection.evaluated == "clean"


def test_a_trial_learns_until_it_is_injected(tmp_path: Path) -> None:
    data = prepare(DataConfig(synthetic_train=700, synthetic_eval=140, synthetic_wrong=0), tmp_path)
    scores = list(train(3, "all", 3, data))
    assert len(scores) == 3
    assert scores == list(train(3, "all", 3, data))  # a seed decides everything
    assert scores[:2] == list(train(4, "bn1", 2, data))  # nothing is injected before epoch T
    assert scores[2] != list(train(4, "bn1", 3, data))[2]
