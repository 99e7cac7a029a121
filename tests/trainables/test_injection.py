"""Oracles: the paper's listing, a float64 scalar AutoReLU, and fp64 gradients of the same batch."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from trainables.autorelu import FLOOR, AutoReLU, cliff_relu, floored
from trainables.config import InjectionConfig, NetworkConfig
from trainables.networks import InjectedResNet, build_network
from trainables.schedule import algorithm_1

torch.set_num_threads(1)  # several threads on busy cores are many times slower

U = 2.0**-24
"""Unit roundoff of fp32: one operation is off by at most this relative to its result."""
DivideBy = Literal["abs_w", "w"]


def build(seed: int = 0, **injection: Any) -> InjectedResNet:
    torch.manual_seed(seed)
    config = InjectionConfig.model_validate(injection)
    return build_network(NetworkConfig(width=8), config, channels=1, classes=7)


def units(network: InjectedResNet) -> list[AutoReLU]:
    return [module for module in network.modules() if isinstance(module, AutoReLU)]


def set_w(network: InjectedResNet, *values: float) -> None:
    """Give the units these w in turn, the same for all channels."""
    with torch.no_grad():
        for unit, value in zip(units(network), itertools.cycle(values), strict=False):
            unit.w.fill_(value)


def loss_of(network: InjectedResNet, seed: int = 3) -> Tensor:
    torch.manual_seed(seed)
    dtype = next(network.parameters()).dtype
    images_BCHW = torch.randn(16, 1, 32, 32).to(dtype)
    return functional.cross_entropy(network(images_BCHW), torch.arange(16) % 7)


# ---- CliffReLU and AutoReLU


def reference(x: float, w: float, Constant: float, divide_by: DivideBy) -> float:
    """AutoReLU of one number in float64, with the one rounding that decides which side x·w is on.

    The product of two fp32 numbers is exact in float64.
    """
    if abs(w) < FLOOR:
        w = -FLOOR if w < 0 else FLOOR
    z = float(np.float32(x * w))
    y = z if 0 < z < Constant else 0.0
    return y / (abs(w) if divide_by == "abs_w" else w)


def autorelu(
    w: float, Constant: float, divide_by: DivideBy = "abs_w", gradient: Any = "autograd"
) -> AutoReLU:
    unit = AutoReLU(1, Constant, 0.5, divide_by, gradient)
    with torch.no_grad():
        unit.w.fill_(w)
    return unit


CONSTANTS = st.floats(2.0**-7, 8, width=32)
POWERS = st.builds(
    lambda sign, power: sign * 2.0**power, st.sampled_from([-1, 1]), st.integers(-9, -1)
)
WEIGHTS = st.one_of(
    st.floats(-1, 1, width=32),
    POWERS,
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 9e-13, -9e-13, 2e-12, -2e-12]),
)
FEATURES = st.floats(-64, 64, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)


@given(x=FEATURES, w=WEIGHTS, Constant=CONSTANTS, divide_by=st.sampled_from(["abs_w", "w"]))
@settings(max_examples=400)
def test_autorelu_equals_the_float64_scalar_reference(
    x: float, w: float, Constant: float, divide_by: DivideBy
) -> None:
    w = float(np.float32(w))
    y = autorelu(w, Constant, divide_by)(torch.full((1, 1, 1, 1), x)).item()
    expected = reference(x, w, Constant, divide_by)
    # One division is left to round, once, and FLOOR itself has been rounded twice to fp32.
    assert abs(y - expected) <= 4 * U * abs(expected)
    assert math.isfinite(y)


@given(w=POWERS, Constant=CONSTANTS, divide_by=st.sampled_from(["abs_w", "w"]))
def test_the_cliff_is_exactly_at_constant_and_the_edge_at_zero(
    w: float, Constant: float, divide_by: DivideBy
) -> None:
    at = Constant / w  # w is a power of two, so x·w is exact
    below = float(np.nextafter(np.float32(at), np.float32(0)))
    tiny = math.copysign(1e-30, w)
    unit = autorelu(w, Constant, divide_by)
    y = unit(torch.tensor([at, below, tiny, 0.0, -0.0, -tiny, -at]).view(1, 1, 1, -1)).flatten()
    sign = math.copysign(1, w) if divide_by == "abs_w" else 1.0
    expected = [0.0, below * sign, tiny * sign, 0.0, 0.0, 0.0, 0.0]
    assert torch.equal(y, torch.tensor(expected))


def test_cliff_relu_on_values_around_its_edges() -> None:
    x = torch.tensor([-math.inf, -1.0, -0.0, 0.0, 0.25, 0.5, 0.75, math.inf])
    assert cliff_relu(x, 0.5).tolist() == [0, 0, 0, 0, 0.25, 0, 0, 0]
    assert cliff_relu(torch.tensor(math.nan), 0.5).isnan()  # a diverged network must show


def test_the_floor_keeps_the_sign_and_counts_both_zeros_as_positive() -> None:
    w = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e-13, -1e-13, 2e-12, -2e-12, 0.3, -0.3])
    floor = torch.tensor([1, 1, 1, -1, 1, -1]) * FLOOR
    assert torch.equal(floored(w), torch.cat([floor, w[6:]]))


@given(x=FEATURES, w=WEIGHTS, Constant=CONSTANTS, gradient=st.sampled_from(["autograd", "exact"]))
@settings(max_examples=200)
def test_the_gradient_of_x_is_the_sign_of_w_in_the_active_region_and_zero_outside(
    x: float, w: float, Constant: float, gradient: str
) -> None:
    w = float(np.float32(w))
    features = torch.full((1, 1, 1, 1), x, requires_grad=True)
    unit = autorelu(w, Constant, gradient=gradient)
    torch.autograd.backward(unit(features).sum())
    active = reference(x, w, Constant, "abs_w") != 0
    assert features.grad is not None
    assert unit.w.grad is not None
    expected = (-1.0 if w < 0 else 1.0) if active else 0.0
    assert abs(features.grad.item() - expected) <= 3 * U  # a division and a product
    assert math.isfinite(unit.w.grad.item())


@pytest.mark.parametrize("divide_by", ["abs_w", "w"])
def test_exact_gradient_has_the_same_output_and_gives_w_exactly_zero(divide_by: DivideBy) -> None:
    torch.manual_seed(0)
    x_BCHW = torch.randn(8, 64, 8, 8)
    outputs = {}
    for gradient in ("autograd", "exact"):
        unit = AutoReLU(64, 0.3, 0.17, divide_by, gradient)
        outputs[gradient] = unit(x_BCHW)
        torch.autograd.backward(outputs[gradient], torch.randn_like(x_BCHW))
        assert unit.w.grad is not None  # without a gradient, Adam would not decay w either
        assert (unit.w.grad == 0).all() == (gradient == "exact")
    assert torch.equal(outputs["autograd"], outputs["exact"])


# ---- the controller, periodic


@pytest.mark.parametrize("T", [1, 2, 3, 7])
@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_the_sign_follows_algorithm_1_in_epochs_or_steps(T: int, unit: str) -> None:
    injection = build(method="periodic", T=T, interval_unit=unit).injection
    signs = []
    for count in range(1, 21):
        step, epoch = (99, count) if unit == "epoch" else (count, 99)
        injection.begin_step(step, epoch)
        signs.append(injection.sign.item() == -1)
        assert abs(injection.sign.item()) == 1
    assert signs == algorithm_1(T, 20)


def test_the_sign_stays_one_tensor_and_is_no_part_of_the_state() -> None:
    network = build(method="periodic", T=1)
    before = network.injection.sign.data_ptr()
    network.injection.begin_step(2, 2)
    network.injection.begin_evaluation()
    assert network.injection.sign.data_ptr() == before
    assert network.injection.sign.shape == ()
    assert not any("injection" in name for name in network.state_dict())


@pytest.mark.parametrize(
    ("evaluation", "sign"), [(None, 1.0), ("clean", 1.0), ("as_trained", -1.0)]
)
def test_evaluation_of_a_periodic_network(evaluation: str | None, sign: float) -> None:
    injection = build(method="periodic", T=1, evaluation=evaluation).injection
    injection.begin_step(step=2, epoch=2)
    injection.begin_evaluation()
    assert injection.sign.item() == sign
    injection.begin_step(step=4, epoch=4)
    assert injection.sign.item() == -1


def test_injected_share_of_a_periodic_epoch_and_a_fresh_start_after_the_report() -> None:
    injection = build(method="periodic", T=3, interval_unit="step").injection
    reports = []
    for epoch in (1, 2):
        for step in range(4 * epoch - 3, 4 * epoch + 1):  # injected: 3, 4, 5, not 6, 7, 8
            injection.begin_step(step, epoch)
        injection.begin_evaluation()
        reports.append(injection.epoch_report())
    assert reports == [
        {"injected_share": 2 / 4, "units": []},
        {"injected_share": 1 / 4, "units": []},
    ]


# ---- the controller, dynamic


@pytest.mark.parametrize("w_per", ["channel", "unit"])
@pytest.mark.parametrize("w_mean", ["unit", "network"])
def test_every_w_becomes_the_mean_of_its_unit_or_of_the_network(w_per: str, w_mean: str) -> None:
    network = build(method="dynamic", position="all", w_per=w_per, w_mean=w_mean)
    parameters = [unit.w for unit in units(network)]
    assert [w.numel() for w in parameters] == (
        [1] * 16 if w_per == "unit" else [8] * 4 + [16] * 4 + [32] * 4 + [64] * 4
    )
    torch.manual_seed(1)
    with torch.no_grad():
        for w in parameters:
            w.uniform_(-1, 1)
    before = [w.detach().double().numpy() for w in parameters]
    together = np.concatenate(before)
    network.injection.begin_forward()
    assert all(a is b.w for a, b in zip(parameters, units(network), strict=True))
    for values, w in zip(before, parameters, strict=True):
        source = together if w_mean == "network" else values
        assert w.requires_grad
        assert (w == w[0]).all()
        # Summing n values rounds n−1 times, each sum below Σ|w|; the division rounds once more.
        tolerance = U * (np.abs(source).sum() + np.abs(source.mean()))
        assert abs(w[0].item() - source.mean()) <= tolerance


@pytest.mark.parametrize(
    ("evaluation", "acts_like"), [(None, -0.2), ("as_trained", -0.2), ("clean", 0.2)]
)
def test_evaluation_of_a_dynamic_network(evaluation: str | None, acts_like: float) -> None:
    network = build(method="dynamic", position="all", evaluation=evaluation)
    twin = build(method="dynamic", position="all")
    set_w(network, -0.2)
    set_w(twin, acts_like)
    network.injection.begin_evaluation()
    assert torch.equal(loss_of(network.eval()), loss_of(twin.eval()))
    assert all((unit.w == torch.tensor(-0.2)).all() for unit in units(network))
    set_w(twin, -0.2)
    network.injection.begin_step(1, 1)
    assert torch.equal(loss_of(network), loss_of(twin))


def test_evaluation_uses_each_channels_own_w() -> None:
    network = build(method="dynamic")
    first = units(network)[0]
    with torch.no_grad():
        first.w[0] = -0.5
    network.injection.begin_evaluation()
    assert first.w[0] == -0.5
    network.injection.begin_forward()
    assert first.w[0].item() == pytest.approx((7 * 0.2 - 0.5) / 8, rel=8 * U)


def test_the_report_of_a_dynamic_epoch() -> None:
    network = build(method="dynamic", stages=(1, 3))
    signs = [(0.2, -0.1, 1e-13, -0.3), (-0.2, -0.1, 0.4, -1e-14), (0.2, -0.1, 0.3, -0.3)]
    for step, values in enumerate(signs, start=1):
        set_w(network, *values)
        network.injection.begin_step(step, 1)
        network.injection.begin_forward()
        set_w(network, 0.5, -0.5, 0.25, 0.125)  # what the optimiser left
    report = network.injection.epoch_report()
    assert report["units"] == [
        {"unit": "layer1.0.bn1", "w": 0.5, "sign": 1, "injecting": 1 / 3, "floor_hits": 0},
        {"unit": "layer1.1.bn1", "w": -0.5, "sign": -1, "injecting": 1.0, "floor_hits": 0},
        {"unit": "layer3.0.bn1", "w": 0.25, "sign": 1, "injecting": 0.0, "floor_hits": 1},
        {"unit": "layer3.1.bn1", "w": 0.125, "sign": 1, "injecting": 1.0, "floor_hits": 1},
    ]
    assert report["injected_share"] == pytest.approx(7 / 12, rel=1e-15)
    again = network.injection.epoch_report()
    assert again["injected_share"] == 0
    assert [unit["floor_hits"] for unit in again["units"]] == [0, 0, 0, 0]


def test_a_weight_that_is_not_finite_is_reported_as_none() -> None:
    network = build(method="dynamic", stages=(1,))
    set_w(network, math.nan, 0.5)
    assert [unit["w"] for unit in network.injection.epoch_report()["units"]] == [None, 0.5]


@pytest.mark.parametrize("method", ["periodic", "dynamic"])
def test_a_step_never_waits_for_the_device(method: str) -> None:
    injection = build(method=method, T=2, w_mean="network").to("meta").injection
    # Meta tensors have no values: reading one raises.
    injection.begin_step(2, 2)
    injection.begin_forward()
    injection.begin_evaluation()
    with pytest.raises((NotImplementedError, RuntimeError)):
        injection.sign.item()


# ---- what drives w


def gradients_of_w(network: InjectedResNet) -> Tensor:
    network.zero_grad()
    torch.autograd.backward(loss_of(network))
    gradients = [unit.w.grad for unit in units(network)]
    return torch.cat([gradient for gradient in gradients if gradient is not None])


def test_the_gradient_of_w_is_rounding_noise_far_below_weight_decay() -> None:
    network = build(method="dynamic", w_init=0.2)
    network.injection.begin_step(1, 1)
    double = copy.deepcopy(network).double()
    noise, exact = gradients_of_w(network), gradients_of_w(double)
    other = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    decay = 1e-4 * 0.2
    print(
        f"mean |dL/dw|: {noise.abs().mean():.1e} in fp32, {exact.abs().mean():.1e} in fp64;"
        f" L2 term {decay:.1e}; mean |dL/dweight| {other.abs().mean():.1e}"
    )
    assert noise.numel() == exact.numel() == 2 * (8 + 16 + 32 + 64)
    assert 0 < noise.abs().max() < decay / 10
    # A true gradient would be the same in both; rounding shrinks with the precision, by 2^29.
    assert exact.abs().max() < 1e-6 * noise.abs().max()


def trained_w(
    network: InjectedResNet, optimizer: type[torch.optim.Optimizer], steps: int
) -> Tensor:
    """Return every w after training, by units and channels in turn."""
    rule = optimizer(network.parameters(), lr=1e-3, weight_decay=1e-4)  # type: ignore[call-arg]
    for step in range(1, steps + 1):
        network.injection.begin_step(step, 1)
        rule.zero_grad()
        torch.autograd.backward(loss_of(network, seed=step))
        rule.step()
    return torch.cat([unit.w.detach() for unit in units(network)])


def test_adam_lowers_w_by_about_one_learning_rate_a_step_and_adamw_does_not() -> None:
    steps, lr, w_init = 10, 1e-3, 0.2
    fallen = w_init - trained_w(build(method="dynamic", w_init=w_init), torch.optim.Adam, steps)
    adamw = trained_w(build(method="dynamic", w_init=w_init), torch.optim.AdamW, steps)
    print(f"after {steps} steps: Adam {w_init - fallen.mean():.4f}, AdamW {adamw.mean():.4f}")
    # Adam's step is lr·m/√v, and while w falls from 1 to 0.95 of w_init, m/√v lies in 0.95…1.05.
    assert ((fallen > 0.95 * steps * lr) & (fallen < 1.05 * steps * lr)).all()
    # Each of AdamW's steps has either sign; all 10 the same way for a mean of 8 to 64 w: 1e-3 each.
    assert abs(adamw.mean() - w_init) < 0.5 * steps * lr


def test_exact_gradient_leaves_w_to_weight_decay_alone() -> None:
    w = trained_w(build(method="dynamic", gradient="exact"), torch.optim.Adam, 3)
    alone = torch.full((1,), 0.2, requires_grad=True)
    rule = torch.optim.Adam([alone], lr=1e-3, weight_decay=1e-4)
    for _ in range(3):
        alone.grad = torch.zeros(1)
        rule.step()
    assert torch.equal(w, alone.detach().expand_as(w))
