"""Optimisers and learning-rate schedules do what their formulas say."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from tests.trainables.tiny import tiny_config, tiny_trial, trained
from trainables.evaluate import Evaluation
from trainables.optimizers import LearningRate, WeightOptimizer


def test_learning_rates_follow_the_cosine_to_zero(data):
    rows = trained(tiny_trial(data, schedule="cosine", epochs=5)).history
    expected = [0.01 * (1 + math.cos(math.pi * epoch / 5)) / 2 for epoch in range(5)]
    assert [row["lr"] for row in rows] == pytest.approx(expected)


def test_learning_rates_fall_every_few_epochs(data):
    rows = trained(
        tiny_trial(data, schedule="step", schedule_step=2, schedule_factor=0.1, epochs=5)
    ).history
    assert [row["lr"] for row in rows] == pytest.approx([0.01, 0.01, 1e-3, 1e-3, 1e-4])


def test_learning_rates_fall_after_so_many_epochs_without_improvement(data, monkeypatch):
    script = [0.2, 0.3, 0.3, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1]
    trial = tiny_trial(data, schedule="plateau", schedule_step=2, schedule_factor=0.5, epochs=9)
    scores = (Evaluation(1.0, f1, 0.5) for f1 in script)
    monkeypatch.setattr(trial._rig, "validate", lambda: next(scores))
    rates = [row["lr"] / 0.01 for row in trained(trial).history]
    assert rates == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("optimizer", "step"), [("adam", 0.01), ("adamw", 0.01 * 0.1 * 2.0), ("sgd", 0.01 * 0.1 * 2.0)]
)
def test_weight_decay_without_a_gradient_moves_a_weight_as_the_optimiser_defines(optimizer, step):
    """Adam sees decay as a gradient and normalises it to a step of lr: what drives AutoReLU's w."""
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(2.0)
    layer.weight.grad = torch.zeros(1, 1)
    config = tiny_config(optimizer=optimizer, lr=0.01, weight_decay=0.1).training
    WeightOptimizer(layer, config).step()
    assert 2.0 - layer.weight.item() == pytest.approx(step, rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_equals_its_published_formula(optimizer):
    """Kingma and Ba's Algorithm 1 in double precision; decay as L2, or decoupled (AdamW)."""
    lr, decay, beta1, beta2, eps = 0.01, 0.1, 0.8, 0.9, 1e-3
    source = np.random.default_rng(0)
    layer = torch.nn.Linear(50, 1, bias=False)
    w = layer.weight.detach().numpy().astype(np.float64)[0]
    config = tiny_config(
        optimizer=optimizer, lr=lr, weight_decay=decay, beta1=beta1, beta2=beta2, eps=eps
    )
    adam = WeightOptimizer(layer, config.training)
    m, v = np.zeros(50), np.zeros(50)
    steps = 5
    for t in range(1, steps + 1):
        gradient = source.normal(size=50).astype(np.float32)
        layer.weight.grad = torch.from_numpy(gradient.copy())[None]
        adam.step()
        g = gradient.astype(np.float64) + (decay * w if optimizer == "adam" else 0)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        step = lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
        w = w * (1 - lr * decay if optimizer == "adamw" else 1) - step
    # Per step: a weight (below 1) is rounded a few times, a step (below 3·lr) some ten times.
    tolerance = steps * np.finfo(np.float32).eps * (3 + 10 * 3 * lr)
    np.testing.assert_allclose(layer.weight.detach().numpy()[0], w, rtol=0, atol=tolerance)


def test_optimisers_get_every_configured_number(data):
    adam = tiny_trial(data, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.2)._rig._optimizer.rule
    assert isinstance(adam, torch.optim.Adam)
    group = adam.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"]) == (0.01, (0.8, 0.9), 1e-3)
    assert group["weight_decay"] == 0.2
    sgd = tiny_trial(data, optimizer="sgd", momentum=0.5, weight_decay=0.2)._rig._optimizer.rule
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.param_groups[0]["momentum"], sgd.param_groups[0]["weight_decay"]) == (0.5, 0.2)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_fused_step_on_channels_last_weights_equals_the_unfused_one(optimizer):
    """Fused CPU kernels walk memory, and would misread a gradient that lies in another order.

    Autograd gives a gradient its weight's order; this fails if that ever changes.
    """
    networks = [torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 4, 3)]
    networks[1].load_state_dict(networks[0].state_dict())
    config = tiny_config(optimizer=optimizer, weight_decay=0.1).training
    fused, plain = networks[0].to(memory_format=torch.channels_last), networks[1]
    rules = [WeightOptimizer(network, config) for network in (fused, plain)]
    assert not fused.weight.is_contiguous()
    for group in rules[1].rule.param_groups:
        group["fused"] = False
    for seed in range(3):
        torch.manual_seed(seed)
        images = torch.randn(2, 3, 6, 6)
        for network, rule in zip((fused, plain), rules, strict=True):
            rule.forget_gradients()
            network(images).square().sum().backward()
            rule.step()
    torch.testing.assert_close(fused.weight.contiguous(), plain.weight, rtol=0, atol=1e-5)


def test_moments_saved_in_another_order_of_memory_are_put_into_the_weights_own():
    """Such as a GPU's, continued on a CPU, whose fused kernels walk memory as it lies."""
    config = tiny_config(weight_decay=0.1).training
    image = torch.randn(2, 3, 6, 6)

    def trained_layer(
        steps: int, moments: object = None, weights: object = None
    ) -> torch.nn.Conv2d:
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        rule = WeightOptimizer(layer, config)
        if moments is not None:
            layer.load_state_dict(weights)
            rule.restore(moments)
        for _ in range(steps):
            rule.forget_gradients()
            layer(image).square().sum().backward()
            rule.step()
        layer.moments = rule.state(config.lr)["state"]
        return layer

    half = trained_layer(1)
    elsewhere = {
        index: {name: value.contiguous() for name, value in values.items()}
        for index, values in half.moments.items()
    }
    assert elsewhere[0]["exp_avg"].stride() != half.moments[0]["exp_avg"].stride()
    whole = trained_layer(2)
    continued = trained_layer(1, elsewhere, half.state_dict())
    assert torch.equal(continued.weight, whole.weight)


def test_a_saved_rate_keeps_the_digits_that_a_gpu_does_not():
    layer = torch.nn.Linear(2, 1)
    config = tiny_config(lr=0.01, schedule="cosine").training

    def as_on_a_gpu() -> WeightOptimizer:
        optimizer = WeightOptimizer(layer, config)
        optimizer.rule.param_groups[0]["lr"] = torch.tensor(0.01)
        return optimizer

    optimizer, other = as_on_a_gpu(), as_on_a_gpu()
    rate = LearningRate(optimizer.rule, config, epochs=10)
    rate.advance(0.0)
    assert optimizer.rule.param_groups[0]["lr"].item() == pytest.approx(rate.value, rel=1e-7)
    again = LearningRate(other.rule, config, epochs=10)
    again.restore(optimizer.state(rate.value)["param_groups"][0]["lr"], rate.state_dict())
    rate.advance(0.0), again.advance(0.0)
    assert again.value == rate.value


def test_states_are_those_of_torchs_own_optimiser_of_the_network():
    """So that one saved before weights were seen as they lie, or by torch, fits."""
    layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(layer)
    config = tiny_config().training
    ours = WeightOptimizer(layer, config)
    theirs = torch.optim.Adam(
        twin.parameters(), config.lr, weight_decay=config.weight_decay, fused=True
    )
    for network, rule in ((layer, ours), (twin, theirs)):
        network(torch.ones(1, 3, 5, 5)).square().sum().backward()
        rule.step()
    expected = theirs.state_dict()
    found = ours.state(config.lr)
    assert found["state"].keys() == expected["state"].keys()
    for index, moments in expected["state"].items():
        for name, value in moments.items():
            assert torch.equal(found["state"][index][name], value)
            assert found["state"][index][name].stride() == value.stride()
    assert found["param_groups"] == expected["param_groups"]
    assert torch.equal(layer.weight, twin.weight)
