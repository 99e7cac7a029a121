"""Measures what drives AutoReLU's w: the gradient it gets, against its weight decay.

Trains a slim ResNet-18 with dynamic injection on synthetic faces. At some steps the gradient of w
is computed twice on the same batch and weights, in fp32 as in training and in fp64: a gradient that
shrinks with the precision is rounding noise. Afterwards it prints when each unit first turned
negative, beside the step that `zero_crossing_step` expects from weight decay alone.

    OMP_NUM_THREADS=1 python -m benchmarks.what_drives_w --w-mean network
"""

from __future__ import annotations

import copy
import time

import click
import torch
from torch import Tensor
from torch.nn import functional

from trainables.autorelu import AutoReLU
from trainables.config import InjectionConfig, NetworkConfig, TrainingConfig
from trainables.data.synthetic import faces
from trainables.networks import InjectedResNet, build_network
from trainables.schedule import zero_crossing_step

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
WEIGHT_DECAY = 1e-4
LOGGED = (1, 10, 50, 100, 200, 400, 800, 1600, 3200)


def units(network: InjectedResNet) -> list[AutoReLU]:
    """Return the AutoReLU modules from input to output."""
    return [module for module in network.modules() if isinstance(module, AutoReLU)]


def mean_gradient(network: InjectedResNet, images_BCHW: Tensor, labels_B: Tensor) -> float:
    """Return the mean of |∂L/∂w| over all w, leaving the network as it was."""
    twin = copy.deepcopy(network).to(images_BCHW.dtype)
    torch.autograd.backward(functional.cross_entropy(twin(images_BCHW), labels_B))
    gradients = [unit.w.grad for unit in units(twin)]
    return torch.cat([g for g in gradients if g is not None]).abs().mean().item()


@click.command()
@click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adam")
@click.option("--gradient", type=click.Choice(["autograd", "exact"]), default="autograd")
@click.option("--w-mean", type=click.Choice(["unit", "network"]), default="unit")
@click.option("--w-init", default=0.1, show_default=True)
@click.option("--lr", default=1e-3, show_default=True)
@click.option("--steps", default=800, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    optimizer: str, gradient: str, w_mean: str, w_init: float, lr: float, steps: int, seed: int
) -> None:
    """Train, and print the forces on w and the step of every unit's first change of sign."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    pixels, labels = faces(3000, seed)
    images_NCHW = torch.from_numpy(pixels).float()
    images_NCHW = (images_NCHW - images_NCHW.mean()) / images_NCHW.std()
    labels_N = torch.from_numpy(labels)
    injection = InjectionConfig.model_validate(
        {"method": "dynamic", "gradient": gradient, "w_mean": w_mean, "w_init": w_init}
    )
    network = build_network(NetworkConfig(width=8), injection, channels=1, classes=7)
    steering = OPTIMIZERS[optimizer](network.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)
    first: list[int | None] = [None] * len(units(network))
    started = time.perf_counter()
    click.echo(f"torch {torch.__version__}, cpu, {steps} steps of 64 images")
    click.echo("step    loss  mean |w|  |dL/dw| fp32      fp64  L2 term  negative units")
    for step in range(1, steps + 1):
        chosen_B = torch.randint(len(images_NCHW), (64,))
        images_BCHW, labels_B = images_NCHW[chosen_B], labels_N[chosen_B]
        network.injection.begin_step(step, epoch=1)
        loss = functional.cross_entropy(network(images_BCHW), labels_B)  # sets every w to its mean
        means = [unit.w.detach().mean().item() for unit in units(network)]
        first = [
            step if seen is None and w < 0 else seen for seen, w in zip(first, means, strict=True)
        ]
        if step in LOGGED:
            single = mean_gradient(network, images_BCHW, labels_B)
            double = mean_gradient(network, images_BCHW.double(), labels_B)
            size = sum(map(abs, means)) / len(means)
            click.echo(
                f"{step:4}  {loss.item():6.3f}  {size:8.1e}  {single:12.1e}  {double:8.1e}"
                f"  {WEIGHT_DECAY * size:7.1e}  {sum(w < 0 for w in means)} of {len(means)}"
            )
        steering.zero_grad()
        torch.autograd.backward(loss)
        steering.step()
    training = TrainingConfig.model_validate(
        {"optimizer": optimizer, "lr": lr, "weight_decay": WEIGHT_DECAY}
    )
    expected = zero_crossing_step(training, w_init, steps_per_epoch=100, epochs=1000)
    injecting = network.injection.epoch_report()["injected_share"]
    click.echo(f"first negative in step {first}; expected {expected}; w_init/lr {w_init / lr:.0f}")
    click.echo(f"injecting {injecting:.1%} of units × steps; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
