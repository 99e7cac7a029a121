"""When injection happens: Algorithm 1, the first epoch that may be judged, and settings that warn.

Torch-free, so that early stopping, planning and simulation can use it. Epochs and steps count
from 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

from trainables.config import TrainingConfig, TrialConfig


def injects(step: int, T: int) -> bool:
    """Return whether Algorithm 1 injects in a step.

    The flag toggles after each step s with s mod T = T−1, so before step s it has toggled once for
    every k ≥ 1 with kT−1 ≤ s−1, that is floor(s/T) times; it is set if that number is odd. For
    T = 1 the k = 1 would be a toggle after step 0, which does not exist, so there it is s−1.

    Parameters
    ----------
    step : int
        Step of Algorithm 1 (an epoch or an optimiser step), from 1.
    T : int
        Interval, from 1, in the same unit.

    >>> [step for step in range(1, 13) if injects(step, 3)]
    [3, 4, 5, 9, 10, 11]
    """
    toggles = step - 1 if T == 1 else step // T
    return toggles % 2 == 1


def algorithm_1(T: int, steps: int) -> list[bool]:
    """Return for steps 1, 2, …, `steps` whether the paper's listing injects, line by line."""
    injected = []
    interval = T
    step = 0
    flag = False
    while step < steps:
        step += 1
        injected.append(flag)
        if step % interval == interval - 1:
            flag = not flag
    return injected


def clean_epochs(trial: TrialConfig, steps_per_epoch: int) -> int:
    """Return how many whole epochs a periodic trial trains before its first injected step.

    The first injected step of Algorithm 1 is T, or 2 for T = 1. Other trials have none: a dynamic
    one differs from the baseline from its first step on.
    """
    injection = trial.injection
    if injection.method != "periodic":
        return 0
    assert injection.T is not None  # TrialConfig checks it
    length = 1 if injection.interval_unit == "epoch" else steps_per_epoch
    return min(max(injection.T, 2) - 1, trial.epochs * length) // length


def first_judged_epoch(trial: TrialConfig, steps_per_epoch: int) -> int:
    """Return the first epoch whose result early stopping may judge.

    Before its first injection a trial equals the baseline, and inside its first injected phase its
    score collapses, to recover afterwards; neither says what the configuration is worth.

    Without injection: 1. Periodic: the first epoch that begins after the first injected phase. That
    phase ends with step L = 2T−1 of Algorithm 1, or L = 2 for T = 1; hence L + 1 in epochs, or
    ceil(L / steps_per_epoch) + 1 where a step is an optimiser step. Dynamic: the epoch after the
    one in which w is expected to reach zero (`zero_crossing_step`). At most the last epoch, which
    is never judged early: so no trial is stopped whose injection comes late or never.

    Parameters
    ----------
    trial : TrialConfig
    steps_per_epoch : int
        Optimiser steps per epoch.

    Returns
    -------
    int
        Epoch from 1 to `trial.epochs`.
    """
    injection = trial.injection
    if injection.method == "none":
        return 1
    if injection.method == "periodic":
        assert injection.T is not None  # TrialConfig checks it
        length = 1 if injection.interval_unit == "epoch" else steps_per_epoch
        last = 2 if injection.T == 1 else 2 * injection.T - 1
    else:
        length = steps_per_epoch
        crossing = zero_crossing_step(
            trial.training, injection.w_init, steps_per_epoch, trial.epochs
        )
        if crossing is None:
            return trial.epochs
        last = crossing
    return min(math.ceil(last / length) + 1, trial.epochs)


@lru_cache(maxsize=1024)
def zero_crossing_step(
    training: TrainingConfig, w_init: float, steps_per_epoch: int, epochs: int
) -> int | None:
    """Return the optimiser step in which AutoReLU's w is expected to turn negative.

    The gradient of w is zero but for rounding noise, so this runs the optimiser on the scalar w
    with its weight decay alone. Adam divides the decay by its own running size: w falls by lr per
    step at first, then slower, as that size remembers larger w, and the momentum carries it across
    zero: after 355 steps for w_init 0.1 and lr 1e-3, after 8810 for w_init 0.2 and lr 1e-4. With
    `gradient: exact` networks do precisely this. With `autograd` rounding noise spreads the units
    about it: in the runs of docs/method.md the first crosses at 0.3 to 1.0 of this step, and some
    only at twice it or later. The plain w_init/lr is too early in all of them.

    A plateau schedule counts as none. AdamW's and SGD's decay is proportional to w and not
    scaled up: w falls by the factor e in 1/(lr·weight_decay) steps or so, and does not cross.

    Returns
    -------
    int or None
        Step from 1; None if w stays positive for the whole training.
    """
    if training.optimizer != "adam" or training.weight_decay == 0:
        return None
    w, mean, square, mean_left, square_left = w_init, 0.0, 0.0, 1.0, 1.0
    step = 0
    for lr in _learning_rates(training, epochs):
        for _ in range(steps_per_epoch):
            step += 1
            gradient = training.weight_decay * w
            mean += (1 - training.beta1) * (gradient - mean)
            square += (1 - training.beta2) * (gradient * gradient - square)
            mean_left *= training.beta1
            square_left *= training.beta2
            size = math.sqrt(square / (1 - square_left)) + training.eps
            w -= lr * mean / (1 - mean_left) / size
            if w < 0:
                return step
    return None


def warnings_for(trial: TrialConfig, steps_per_epoch: int | None) -> list[str]:
    """Return one line for every setting under which injection does not do what its name says.

    Parameters
    ----------
    trial : TrialConfig
    steps_per_epoch : int or None
        Optimiser steps per epoch; None, while unknown, leaves out what depends on it.
    """
    if trial.injection.method == "periodic":
        return list(_periodic_warnings(trial, steps_per_epoch))
    if trial.injection.method == "dynamic":
        return list(_dynamic_warnings(trial, steps_per_epoch))
    return []


def _periodic_warnings(trial: TrialConfig, steps_per_epoch: int | None) -> Iterator[str]:
    injection = trial.injection
    assert injection.T is not None  # TrialConfig checks it
    if injection.position == "shortcut" and injection.stages == (1,) and trial.network.depth != 50:
        yield (
            f"Nothing is injected: the blocks of stage 1 of ResNet-{trial.network.depth} have no"
            " projection (position 'shortcut', stages [1]); add stage 2, 3 or 4."
        )
    length = 1 if injection.interval_unit == "epoch" else steps_per_epoch
    if length is None:
        return
    total = trial.epochs * length
    if total < max(2, injection.T):
        yield (
            f"Nothing is injected: with T = {injection.T} the first injected"
            f" {injection.interval_unit} is {max(2, injection.T)}, but the training has {total};"
            " lower T or train longer."
        )


def _dynamic_warnings(trial: TrialConfig, steps_per_epoch: int | None) -> Iterator[str]:
    training, w_init = trial.training, trial.injection.w_init
    if training.weight_decay == 0:
        yield (
            "Dynamic injection is driven by weight decay, but weight_decay is 0: w is not expected"
            " to reach zero and nothing is injected; use adam with weight_decay 0.0001."
        )
    elif training.optimizer != "adam":
        yield (
            "Dynamic injection is driven by Adam's L2 weight decay, but optimizer is"
            f" '{training.optimizer}': w is not expected to reach zero and nothing is injected;"
            " use adam."
        )
    elif steps_per_epoch is not None:
        steps = steps_per_epoch * trial.epochs
        if zero_crossing_step(training, w_init, steps_per_epoch, trial.epochs) is None:
            yield (
                f"w is not expected to fall from w_init = {w_init:g} to zero within the"
                f" training's {steps} steps (lr = {training.lr:g}), so little or nothing is"
                " injected; lower w_init, raise lr or train longer."
            )


def _learning_rates(training: TrainingConfig, epochs: int) -> Iterator[float]:
    """Yield the learning rate of each epoch."""
    for epoch in range(epochs):
        factor = 1.0
        if training.schedule == "cosine":
            factor = (1 + math.cos(math.pi * epoch / epochs)) / 2
        elif training.schedule == "step":
            factor = training.schedule_factor ** (epoch // training.schedule_step)
        yield training.lr * factor
