"""Oracle: torch's own convolution, in fp64, where another order of sums changes 1e-11 at most."""

# B batch, H height, W width (pixels), I input channels, O output channels

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.nn import functional

from tests.trainables.test_train import SETTINGS
from tests.trainables.tiny import tiny_trial
from trainables import small_maps
from trainables.config import InjectionConfig, NetworkConfig
from trainables.data.packed import PackedData
from trainables.networks import build_network
from trainables.small_maps import LEAST_WEIGHTS, Geometry, SmallMapConv2d, products, share_inside


def used(monkeypatch: pytest.MonkeyPatch) -> list[Geometry]:
    """Return the geometries that are computed by products from now on."""
    seen: list[Geometry] = []
    apply = small_maps._Products.apply

    def recorded(x_BIHW: Tensor, weight_OIHW: Tensor, geometry: Geometry) -> Any:
        seen.append(geometry)
        return apply(x_BIHW, weight_OIHW, geometry)

    monkeypatch.setattr(small_maps._Products, "apply", recorded)
    return seen


def layer(size_i: int, size_o: int, stride: int = 1, kernel: int = 3) -> SmallMapConv2d:
    torch.manual_seed(size_i)
    made = SmallMapConv2d(
        size_i, size_o, kernel, stride=stride, padding=kernel // 2, bias=False, dtype=torch.float64
    )
    return made.to(memory_format=torch.channels_last)


@given(
    height=st.integers(1, 7), width=st.integers(1, 7), kernel=st.sampled_from([3, 5, 7]),
    stride=st.integers(1, 3), size_i=st.integers(1, 4), size_o=st.integers(1, 4),
    batch=st.integers(1, 3), layout=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)  # fmt: skip
@settings(deadline=None, max_examples=80)
def test_outputs_and_gradients_are_those_of_the_convolution(
    height: int, width: int, kernel: int, stride: int, size_i: int, size_o: int, batch: int,
    layout: torch.memory_format,
) -> None:  # fmt: skip
    geometry = Geometry(height, width, kernel, stride, kernel // 2)
    torch.manual_seed(height)
    x_BIHW = torch.randn(batch, size_i, height, width, dtype=torch.float64).to(memory_format=layout)
    weight_OIHW = torch.randn(size_o, size_i, kernel, kernel, dtype=torch.float64)
    found = []
    for product in (True, False):
        x, weight = (one.clone().requires_grad_() for one in (x_BIHW, weight_OIHW))
        if product:
            out = small_maps._Products.apply(x, weight, geometry)
        else:
            out = functional.conv2d(x, weight, stride=stride, padding=kernel // 2)
        noise = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).double()
        found.append([out, *torch.autograd.grad(out, (x, weight), noise)])
    for ours, theirs in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_a_frozen_weight_or_image_gets_no_gradient() -> None:
    made = layer(64, 128)
    x_BIHW = torch.randn(2, 64, 2, 2, dtype=torch.float64, requires_grad=True)
    made.weight.requires_grad_(False)
    made(x_BIHW).sum().backward()
    assert x_BIHW.grad is not None
    assert made.weight.grad is None
    made.weight.requires_grad_(True)
    made(x_BIHW.detach()).sum().backward()
    assert made.weight.grad is not None


def test_it_stands_in_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = used(monkeypatch)
    tiny = torch.randn(2, 64, 2, 2, dtype=torch.float64)
    layer(64, 128)(tiny)
    layer(64, 128, stride=2)(torch.randn(2, 64, 3, 3, dtype=torch.float64))
    assert [one[:2] for one in seen] == [(2, 2), (3, 3)]
    layer(64, LEAST_WEIGHTS // 64 - 1)(tiny)  # too few channels
    layer(64, 128)(torch.randn(2, 64, 3, 3, dtype=torch.float64))  # most of the kernel is inside
    layer(64, 128).to(memory_format=torch.contiguous_format)(tiny)  # weights lie otherwise
    layer(64, 128, kernel=1)(tiny)
    with torch.autocast("cpu", torch.bfloat16):
        layer(64, 128).float()(tiny.float())
    assert len(seen) == 2


@pytest.mark.parametrize(("side", "width", "count"), [(48, 16, 4), (32, 32, 7), (48, 8, 0)])
def test_the_deep_stages_of_a_resnet_use_it_and_nothing_else_does(
    side: int, width: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    plain = build_network(NetworkConfig(width=width), InjectionConfig(), 1, 7).double()
    images_BCHW = torch.randn(4, 1, side, side, dtype=torch.float64)
    seen = used(monkeypatch)
    expected_BK = plain(images_BCHW)
    assert seen == []
    ours = build_network(NetworkConfig(width=width), InjectionConfig(), 1, 7).double()
    ours.load_state_dict(plain.state_dict())
    ours.to(memory_format=torch.channels_last)
    logits_BK = ours(images_BCHW)
    assert len(seen) == count  # of the last stage; at 32 px three of the one before
    torch.testing.assert_close(logits_BK, expected_BK, rtol=1e-10, atol=1e-10)
    for logits in (expected_BK, logits_BK):
        functional.cross_entropy(logits, torch.arange(4)).backward()  # type: ignore[no-untyped-call]
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-10)
        assert mine.grad is not None
        assert mine.grad.stride() == mine.stride()  # the optimiser walks both as they lie


def test_trials_of_the_setting_named_after_it_use_it(
    data: PackedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = used(monkeypatch)
    tiny_trial(data, **SETTINGS["small maps"]).run_epoch()
    assert {one.height for one in seen} == {1}


def test_products_cover_every_tap_that_meets_the_map_once() -> None:
    geometry = Geometry(3, 2, kernel=3, stride=2, padding=1)
    pairs = [
        (one.output, one.pixel + i, one.tap + i)
        for one in products(geometry)
        for i in range(one.length)
    ]
    assert len(pairs) == len(set(pairs))
    outputs = geometry.output(3) * geometry.output(2)
    assert len(pairs) == round(share_inside(geometry) * 9 * outputs)
