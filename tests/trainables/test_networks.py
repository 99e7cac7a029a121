"""Oracle: torchvision's ResNets with the same weights, and hooks where injection is expected."""

# B batch, C channels, H height, W width (pixels)

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet

from trainables.config import InjectionConfig, NetworkConfig
from trainables.networks import InjectedResNet, SlimProjection, build_network, conv

torch.set_num_threads(1)  # several threads on busy cores are many times slower

SLIM = 8
"""Width of most networks here, for speed."""


def build(
    depth: int = 18, width: int = SLIM, classes: int = 7, seed: int = 0, **injection: Any
) -> InjectedResNet:
    torch.manual_seed(seed)
    network = NetworkConfig.model_validate({"depth": depth, "width": width})
    return build_network(network, InjectionConfig.model_validate(injection), 3, classes)


class Torchvision(resnet.ResNet):  # type: ignore[misc]
    """torchvision's network, made of its own blocks and its own forward, at any width."""

    def __init__(self, depth: int, width: int = SLIM, classes: int = 7) -> None:
        block = resnet.Bottleneck if depth == 50 else resnet.BasicBlock
        blocks = [2, 2, 2, 2] if depth == 18 else [3, 4, 6, 3]
        super().__init__(block, blocks, num_classes=classes)
        self.inplanes = width
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._make_layer(block, width, blocks[0])
        for stage in (2, 3, 4):
            channels = width * 2 ** (stage - 1)
            layer = self._make_layer(block, channels, blocks[stage - 1], stride=2)
            setattr(self, f"layer{stage}", layer)
        self.fc = nn.Linear(self.inplanes, classes)


def twin_of(network: nn.Module, depth: int) -> Torchvision:
    """Return torchvision's slim network with the same weights."""
    twin = Torchvision(depth)
    twin.load_state_dict({k: v for k, v in network.state_dict().items() if not k.endswith(".w")})
    return twin


def outputs_and_gradients(network: nn.Module, seed: int = 5) -> list[Tensor]:
    """Return logits, gradients of the image and of all weights but w, and the buffers after."""
    network.zero_grad()
    torch.manual_seed(seed)
    images_BCHW = torch.randn(3, 3, 32, 32, requires_grad=True)
    logits_BK = network(images_BCHW)
    torch.manual_seed(seed + 1)
    torch.autograd.backward(logits_BK, torch.randn_like(logits_BK))
    weights = [p for name, p in network.named_parameters() if not name.endswith(".w")]
    gradients = [images_BCHW.grad, *(p.grad for p in weights)]
    assert all(g is not None for g in gradients)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith(".w")}
    return [logits_BK, *(g for g in gradients if g is not None), *state.values()]


def equal(first: Iterable[Tensor], second: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("depth", "method"), [(18, "none"), (34, "none"), (50, "none"), (18, "periodic")]
)
def test_outputs_gradients_and_statistics_equal_torchvision_bit_for_bit(
    depth: int, method: str
) -> None:
    network = build(depth, width=64, method=method, T=2, position="all")
    network.injection.begin_step(step=1, epoch=1)  # clean: the flag is False
    twin = getattr(resnet, f"resnet{depth}")(num_classes=7)
    twin.load_state_dict(network.state_dict())
    assert equal(outputs_and_gradients(network), outputs_and_gradients(twin))
    network.injection.begin_evaluation()
    network.eval(), twin.eval()
    assert equal(outputs_and_gradients(network), outputs_and_gradients(twin))


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_state_dicts_are_interchangeable_and_equal_seeds_give_torchvisions_weights(
    depth: int,
) -> None:
    ours = build(depth, width=64, classes=1000)
    torch.manual_seed(0)
    theirs = getattr(resnet, f"resnet{depth}")()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert equal(ours.state_dict().values(), theirs.state_dict().values())
    other = build(depth, width=64, classes=1000, seed=1)
    theirs.load_state_dict(other.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert equal(ours.state_dict().values(), other.state_dict().values())


@pytest.mark.parametrize(
    "injection",
    [
        {"method": "periodic", "T": 3, "position": "all"},
        {"method": "dynamic", "position": "all"},
        {"dropout_rate": 0.5},
        {"method": "dynamic", "dropout_rate": 0.5, "dropout_site": "between"},
    ],
)
def test_injection_draws_nothing_when_a_network_is_built(injection: dict[str, Any]) -> None:
    baseline = build()
    state = torch.get_rng_state()
    network = build(**injection)
    assert torch.equal(torch.get_rng_state(), state)
    weights = network.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in baseline.state_dict().items())


def test_a_periodic_network_trains_as_the_baseline_until_its_first_injected_step() -> None:
    networks = [build(), build(method="periodic", T=4, position="all")]
    optimizers = [torch.optim.Adam(n.parameters(), lr=1e-2, weight_decay=1e-4) for n in networks]
    equal_after = []
    for step in range(1, 5):
        for network, optimizer in zip(networks, optimizers, strict=True):
            network.injection.begin_step(step, epoch=step)
            torch.manual_seed(step)
            loss = functional.cross_entropy(network(torch.randn(4, 3, 32, 32)), torch.arange(4))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        states = [network.state_dict().values() for network in networks]
        equal_after.append(equal(*states))
    assert equal_after == [True, True, True, False]


SITES = {
    18: {"bn1": ["bn1"], "bn2": ["bn2"], "shortcut": ["downsample.1"]},
    50: {"bn1": ["bn1"], "bn2": ["bn2"], "bn3": ["bn3"], "shortcut": ["downsample.1"]},
}
for _sites in SITES.values():
    _sites["all"] = [site for sites in _sites.values() for site in sites]


@pytest.mark.parametrize(
    ("depth", "position"), [(depth, position) for depth in SITES for position in SITES[depth]]
)
@pytest.mark.parametrize("stages", [(1, 2, 3, 4), (2, 4)])
def test_a_flip_follows_exactly_the_chosen_normalisations(
    depth: int, position: str, stages: tuple[int, ...]
) -> None:
    network = build(depth, method="periodic", T=2, position=position, stages=stages)
    twin = twin_of(network, depth)
    hooked = 0
    for name, module in twin.named_modules():
        stage, _, site = name.partition(".")
        chosen = stage.startswith("layer") and int(stage[-1]) in stages
        if chosen and site.partition(".")[2] in SITES[depth][position]:
            module.register_forward_hook(lambda _m, _i, out: -out)
            hooked += 1
    assert hooked
    network.injection.begin_step(step=1, epoch=2)
    assert equal(outputs_and_gradients(network), outputs_and_gradients(twin))


class CalledInTurn(nn.Module):
    """Stands in for a block's one ReLU, which torchvision calls two or three times a forward."""

    def __init__(self, activations: list[nn.Module]) -> None:
        super().__init__()
        self.activations, self.calls = activations, 0  # a plain list: no names of its own

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.activations[(self.calls - 1) % len(self.activations)](x_BCHW)
        return out


def plain_autorelu(w: Tensor, Constant: float) -> nn.Module:
    class Plain(nn.Module):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            z = x_BCHW * w[:, None, None]
            return torch.where((z > 0) & (z < Constant), z, 0.0) / w[:, None, None].abs()

    return Plain()


@pytest.mark.parametrize(
    ("depth", "position", "replaced"),
    [
        (18, "bn1", [0]),
        (18, "bn2", [1]),
        (18, "all", [0, 1]),
        (50, "bn1", [0]),
        (50, "bn2", [1]),
        (50, "bn3", [2]),
        (50, "all", [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("stages", [(1, 2, 3, 4), (3,)])
def test_autorelu_replaces_exactly_the_chosen_relus(
    depth: int, position: str, replaced: list[int], stages: tuple[int, ...]
) -> None:
    network = build(depth, method="dynamic", position=position, stages=stages, w_init=0.3)
    w_by_name = {k: v for k, v in network.state_dict().items() if k.endswith(".w")}
    twin = twin_of(network, depth)
    num_relus = 3 if depth == 50 else 2
    expected_names = []
    for stage in stages:
        for index, block in enumerate(getattr(twin, f"layer{stage}")):
            relus: list[nn.Module] = [nn.ReLU() for _ in range(num_relus)]
            for call in replaced:
                name = f"layer{stage}.{index}.act{call + 1}.w"
                expected_names.append(name)
                w_by_name[name] *= -1 if index else 1  # both signs
                relus[call] = plain_autorelu(w_by_name[name], 1.0)
            block.relu = CalledInTurn(relus)
    assert sorted(w_by_name) == sorted(expected_names)
    network.injection.begin_step(step=1, epoch=1)
    assert equal(outputs_and_gradients(network), outputs_and_gradients(twin))


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("kind", ["element", "channel"])
@pytest.mark.parametrize("site", ["conv", "between"])
def test_dropout_stands_at_exactly_the_chosen_convolutions(
    depth: int, kind: str, site: str
) -> None:
    network = build(depth, dropout_rate=0.3, dropout_kind=kind, dropout_site=site)
    twin = twin_of(network, depth)
    drop = functional.dropout if kind == "element" else functional.dropout2d
    last = "conv3" if depth == 50 else "conv2"
    for name, module in twin.named_modules():
        if not name.startswith("layer") or not isinstance(module, nn.Conv2d):
            continue
        if site == "conv":
            module.register_forward_hook(lambda _m, _i, out: drop(out, 0.3))
        elif name.endswith(last):
            module.register_forward_pre_hook(lambda _m, inputs: drop(inputs[0], 0.3))
    assert equal(outputs_and_gradients(network), outputs_and_gradients(twin))
    network.eval()
    assert equal(
        outputs_and_gradients(network),
        outputs_and_gradients(twin_of(network, depth).eval()),
    )


@pytest.mark.parametrize(("stem", "side_after"), [("imagenet", 12), ("small", 48)])
@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("channels", [1, 3])
def test_width_stem_and_channels(stem: str, side_after: int, depth: int, channels: int) -> None:
    config = NetworkConfig.model_validate({"depth": depth, "stem": stem, "width": 4})
    network = build_network(config, InjectionConfig(), channels, 5)
    expansion = 4 if depth == 50 else 1
    shapes = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        stage[-1].register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape)))
    assert network(torch.randn(2, channels, 48, 48)).shape == (2, 5)
    sides = [-(-side_after // 2**i) for i in range(4)]  # each later stage halves, rounding up
    assert shapes == [(2, 4 * 2**i * expansion, side, side) for i, side in enumerate(sides)]


@pytest.mark.parametrize(("channels", "side"), [(8, 12), (8, 24), (8, 48), (4, 12)])
def test_a_slim_projection_equals_the_strided_convolution(channels: int, side: int) -> None:
    """The reference runs without oneDNN, whose kernel overruns its memory."""
    torch.manual_seed(side)
    slim = conv(channels, 2 * channels, 1, stride=2).to(memory_format=torch.channels_last)
    assert isinstance(slim, SlimProjection)
    x_BCHW = torch.randn(64, channels, side, side)
    found = []
    for format in (torch.channels_last, torch.contiguous_format):
        ours = format == torch.channels_last
        given_BCHW = x_BCHW.clone(memory_format=format).requires_grad_(True)
        weight = slim.weight if ours else slim.weight.detach().contiguous().requires_grad_(True)
        with torch.backends.mkldnn.flags(enabled=ours):
            out_BCHW = slim(given_BCHW) if ours else functional.conv2d(given_BCHW, weight, stride=2)
            noise_BCHW = torch.randn(out_BCHW.shape, generator=torch.Generator().manual_seed(1))
            gradients = torch.autograd.grad(out_BCHW, (given_BCHW, weight), noise_BCHW)
        found.append((out_BCHW, *gradients))
    for one, reference in zip(*found, strict=True):
        torch.testing.assert_close(one, reference, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("width", [1, 4, 8, 12, 16])
def test_a_slim_network_with_the_small_stem_survives_training_at_48_px(width: int) -> None:
    """In a process of its own, because what fails here ends the process."""
    code = f"""
import torch
from trainables.config import InjectionConfig, NetworkConfig
from trainables.networks import build_network
from trainables.process import prepare_process
prepare_process("cpu")
network = build_network(NetworkConfig(width={width}, stem="small"), InjectionConfig(), 1, 7)
network.to(memory_format=torch.channels_last)
images = torch.randn(32, 1, 48, 48).to(memory_format=torch.channels_last)
for _ in range(3):
    network(images).sum().backward()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
