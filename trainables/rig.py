"""What trains a trial: network, optimiser and data, with a training step that a GPU can replay.

Everything lies in memory that stays where it is, from step to step and from trial to trial: images,
weights, gradients, moments, the sign of injection, the learning rate. So one captured CUDA graph is
the step of every epoch, clean or injected, and of every trial of the same shape (`rig_pool`).
"""

# B batch, C channels, H height, W width (pixels), K classes

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.batches import (
    Normaliser,
    augmented,
    draw_augmentation,
    training_order,
)
from trainables.config import TrialConfig
from trainables.evaluate import BATCH_SIZE, Evaluation, Evaluator
from trainables.feed import DeviceData
from trainables.networks import InjectedResNet, build_network
from trainables.optimizers import LearningRate, WeightOptimizer
from trainables.process import autocast
from trainables.replay import Replay
from trainables.seeds import derived_seed

_log = logging.getLogger(__name__)
CHECK_EVERY = 50
"""Steps between checks on a CPU that the loss is finite; a GPU would be waited for each time."""


class Trained(NamedTuple):
    """What an epoch's training steps saw."""

    loss: float
    accuracy: float
    num_images: int


class Rig:
    """Everything that trains and scores one trial at a time.

    Parameters
    ----------
    config : TrialConfig
        It is started for this one.
    data : DeviceData
    graphs : bool
        Whether to capture CUDA graphs, on a GPU.
    shape : str
        What it is kept under between trials.

    Attributes
    ----------
    steps_per_epoch : int
    captured : bool
    """

    def __init__(
        self, config: TrialConfig, data: DeviceData, graphs: bool, shape: str = ""
    ) -> None:
        self.config, self.shape, self._data = config, shape, data
        self.device, training = data.device, config.training
        self.steps_per_epoch = training.steps_per_epoch(len(data.train))
        # Measured with one thread of an AMD EPYC (Zen 5), 48 px, batch 64, all arms: channels last
        # trains networks of width 8 and 16 1.2x faster, width 64 as fast. The tensor cores of a GPU
        # want channels last, its fp32 units do not.
        plain = self.device.type == "cuda" and training.precision == "fp32"
        layout = torch.contiguous_format if plain else torch.channels_last
        self._normalise = Normaliser(data.statistics, self.device, layout)
        self.network: InjectedResNet = self._drawn().to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self._optimizer = WeightOptimizer(self.network, training)
        size = min(training.batch_size, len(data.train))
        self._memory = data.train.memory(size)
        self._how = draw_augmentation(training.augment, size, data.side, 0, 0, self.device)
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._step = Replay(self.train_once)
        self._evaluate = Evaluator(
            self.network,
            data.validation.memory(BATCH_SIZE),
            self._normalise,
            data.num_classes,
            training.precision,
        )
        self.rate = LearningRate(self._optimizer.rule, training, config.epochs)
        if graphs and self.device.type == "cuda":
            try:
                self._capture()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # slower, but the same numbers
                self._step.forget()
                self._evaluate.whole_batch.forget()
                _log.warning("Training runs without CUDA graphs: %s", error)
            self.start(config)

    @property
    def captured(self) -> bool:
        """Whether training steps and evaluation are replayed from CUDA graphs."""
        return self._step.captured and self._evaluate.whole_batch.captured

    def start(self, config: TrialConfig) -> None:
        """Become as new, for a trial of the same shape: the state before its first epoch."""
        self.config = config
        fresh = self._drawn()
        with torch.no_grad():
            for own, new in zip(self._tensors(self.network), self._tensors(fresh), strict=True):
                own.copy_(new)
        self.network.injection.start(config.injection)
        self._optimizer.restore({})
        self.rate = LearningRate(self._optimizer.rule, config.training, config.epochs)

    def train(self, epoch: int, most_steps: int | None = None) -> Trained:
        """Train one epoch, on a CPU until the loss is seen not to be finite.

        Parameters
        ----------
        epoch : int
            From 1.
        most_steps : int, optional
            Train no more steps than this, to measure their pace.
        """
        config, seed = self.config.training, self.config.seed
        split = self._data.train
        order = training_order(len(split), config.batch_size, seed, epoch, split.index_device)
        order = order[:most_steps]
        num_drawn = sum(map(len, order))
        how = draw_augmentation(
            config.augment, num_drawn, self._data.side, seed, epoch, self.device
        )
        torch.manual_seed(derived_seed(seed, epoch, "dropout"))
        self.network.train()
        self._loss_sum.zero_()
        self._correct.zero_()
        num_images = steps = 0
        for count in split.fill(self._memory, order):
            if how is not None and self._how is not None:
                for own, drawn in zip(self._how, how.batch(num_images, count), strict=True):
                    own.copy_(drawn)
            steps += 1
            num_images += count
            self.network.injection.begin_step((epoch - 1) * self.steps_per_epoch + steps, epoch)
            self._step()
            check = self.device.type == "cpu" and steps % CHECK_EVERY == 0
            if check and not math.isfinite(self._loss_sum.item()):
                break
        return Trained(self._loss_sum.item() / steps, self._correct.item() / num_images, num_images)

    def validate(self) -> Evaluation:
        """Score the network on the validation split."""
        return self._evaluate(self._data.validation)

    def test(self) -> Evaluation:
        """Score the network on the test split."""
        return self._evaluate(self._data.test)

    def state(self) -> dict[str, Any]:
        """Return the state of network, optimiser and schedule; tensors are the rig's own."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state(self.rate.value),
            "schedule": self.rate.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a state, and the place in the schedule that belongs to it."""
        self.restore_weights(state)
        self.rate.restore(state["optimizer"]["param_groups"][0]["lr"], state["schedule"])

    def restore_weights(self, state: dict[str, Any]) -> None:
        """Take over a state's weights, buffers and moments, but not its learning rate."""
        self.network.injection.epoch_report()  # what an epoch that was broken off has counted
        self.network.load_state_dict(state["network"])
        self._optimizer.restore(state["optimizer"]["state"])

    def _drawn(self) -> InjectedResNet:
        """Return a new network on the CPU, where its weights are drawn for any device."""
        config, data = self.config, self._data
        torch.manual_seed(derived_seed(config.seed, 0, "weights"))
        return build_network(config.network, config.injection, data.channels, data.num_classes)

    def train_once(self) -> None:
        """Make one optimiser step, eagerly, with the batch in memory."""
        images_BCHW, labels_B = self._memory
        if self._how is not None:
            images_BCHW = augmented(images_BCHW, self._how)
        with autocast(self.device, self.config.training.precision):
            logits_BK = self.network(self._normalise(images_BCHW))
            loss = cross_entropy(logits_BK, labels_B)
        self._optimizer.forget_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        clip_norm = self.config.training.clip_norm
        if clip_norm > 0:
            nn.utils.clip_grad_norm_(self.network.parameters(), clip_norm)
        self._optimizer.step()
        # Sums stay on the device, which therefore never waits for the host.
        self._loss_sum += loss.detach()
        self._correct += (logits_BK.detach().argmax(dim=1) == labels_B).sum()

    def close(self) -> None:
        """Let go of all memory at once, which functions that refer to each other would keep."""
        self._step.close()
        self._evaluate.whole_batch.close()

    def _capture(self) -> None:
        """Capture the training step and the evaluation of a whole batch."""
        self.network.train()
        pool = self._step.capture(self.device)
        self._evaluate.begin()
        self._evaluate.whole_batch.capture(self.device, pool)

    @staticmethod
    def _tensors(network: InjectedResNet) -> list[Tensor]:
        return [*network.parameters(), *network.buffers()]
