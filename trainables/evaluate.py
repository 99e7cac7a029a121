"""Score a network on a whole split."""

# N images, B batch, C channels, H height, W width (pixels), K classes

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.config import Precision
from trainables.feed import Batch, DeviceSplit
from trainables.metrics import accuracy, macro_f1
from trainables.networks import InjectedResNet
from trainables.process import autocast
from trainables.replay import Replay

BATCH_SIZE = 256
"""Images per forward; larger gains nothing at 48 px and costs memory at 224 px."""


class Evaluation(NamedTuple):
    """What a network does on a split."""

    loss: float
    """Mean cross-entropy; not finite if any image's is not."""
    f1: float
    """Macro-F1 over all classes of the data set."""
    accuracy: float
    """Share of images predicted as their class."""

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.loss)


class Evaluator:
    """Scores one network on splits of one data set.

    Parameters
    ----------
    network : InjectedResNet
    memory : Batch
        For `BATCH_SIZE` images.
    normalise : function of uint8 images (B, C, H, W)
        To the fp32 images that the network was trained on.
    num_classes : int
        Classes of the data set, whether or not a split has images of each.
    precision : Precision
        As in `TrainingConfig`.
    """

    def __init__(
        self,
        network: InjectedResNet,
        memory: Batch,
        normalise: Callable[[Tensor], Tensor],
        num_classes: int,
        precision: Precision = "fp32",
    ) -> None:
        self._network, self._memory, self._normalise = network, memory, normalise
        self._precision, self._num_classes = precision, num_classes
        device = memory.labels_B.device
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self._cells = torch.zeros(num_classes**2, dtype=torch.int64, device=device)
        self._ones_B = torch.ones_like(memory.labels_B)
        self.whole_batch = Replay(lambda: self._score(len(memory.labels_B)))

    def begin(self) -> None:
        """Put the network into evaluation mode."""
        self._network.eval()
        self._network.injection.begin_evaluation()

    def __call__(self, split: DeviceSplit) -> Evaluation:
        """Return the network's scores; it is left in evaluation mode, its weights unchanged."""
        self.begin()
        self._loss_sum.zero_()
        self._cells.zero_()
        size = len(self._memory.labels_B)
        in_order_N = torch.arange(len(split), device=split.index_device)
        for count in split.fill(self._memory, torch.split(in_order_N, size)):
            if count == size:
                self.whole_batch()
            else:
                self._score(count)
        confusion_KK = self._cells.view(self._num_classes, self._num_classes).cpu().numpy()
        return Evaluation(
            float(self._loss_sum) / len(split), macro_f1(confusion_KK), accuracy(confusion_KK)
        )

    @torch.no_grad()
    def _score(self, count: int) -> None:
        """Add the loss and the predictions of the first `count` images in memory."""
        images_BCHW, labels_B = self._memory.first(count)
        with autocast(images_BCHW.device, self._precision):
            logits_BK = self._network(self._normalise(images_BCHW))
            loss = cross_entropy(logits_BK, labels_B, reduction="sum")
        self._loss_sum += loss.double()
        cells_B = labels_B * self._num_classes + logits_BK.argmax(dim=1)
        self._cells.index_add_(0, cells_B, self._ones_B[:count])
