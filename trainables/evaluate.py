"""Score a network on a whole split."""

# N images, B batch, C channels, H height, W width (pixels), K classes

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.batches import DeviceSplit
from trainables.metrics import accuracy, confusion, macro_f1
from trainables.networks import InjectedResNet

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


@torch.no_grad()
def evaluate(
    network: InjectedResNet,
    split: DeviceSplit,
    normalise: Callable[[Tensor], Tensor],
    num_classes: int,
) -> Evaluation:
    """Return the network's scores; it is left in evaluation mode, its weights unchanged.

    Parameters
    ----------
    network : InjectedResNet
    split : DeviceSplit
    normalise : function of uint8 images (B, C, H, W)
        To the fp32 images that the network was trained on.
    num_classes : int
        Classes of the data set, whether or not the split has images of each.
    """
    network.eval()
    network.injection.begin_evaluation()
    loss_sum: Tensor | float = 0.0
    predicted = []
    order_N = torch.arange(len(split), device=split.index_device)
    for positions_B in torch.split(order_N, BATCH_SIZE):
        images_BCHW, labels_B = split.take(positions_B)
        logits_BK = network(normalise(images_BCHW))
        loss_sum = loss_sum + cross_entropy(logits_BK, labels_B, reduction="sum").double()
        predicted.append(logits_BK.argmax(dim=1))
    predicted_N = torch.cat(predicted).cpu().numpy()  # the only wait for the device
    confusion_KK = confusion(split.labels.numpy(), predicted_N, num_classes)
    return Evaluation(float(loss_sum) / len(split), macro_f1(confusion_KK), accuracy(confusion_KK))
