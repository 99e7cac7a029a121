"""One trial of periodic injection as a user would write it: the trial of both plain searches.

torchvision's ResNet-18 of width 8, a DataLoader and eager Adam (`tuner.bench.plain_loop`); the sign
is flipped by a forward hook on the batch normalisations of the residual blocks, and macro-F1 on
validation comes from scikit-learn after every epoch. Images, sizes, optimiser and injection are
those of the quick preset; a test compares. It does less than a trial of ours: no score on the test
split, no state on the disk.
"""

# B batch, C channels, H height, W width (pixels), K classes

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from sklearn.metrics import f1_score  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trainables.batches import channel_statistics
from trainables.data.packed import PackedData
from trainables.schedule import injects
from tuner.bench.plain_loop import ImageArray, PlainLoop, SlimResNet

WIDTH, BATCH_SIZE, LR, WEIGHT_DECAY = 8, 64, 1e-3, 1e-4
"""The quick preset's."""
EVALUATION_BATCH_SIZE = 256
POSITIONS = {
    "bn1": ("bn1",),
    "bn2": ("bn2",),
    "shortcut": ("downsample.1",),
    "all": ("bn1", "bn2", "downsample.1"),
}
"""Which modules of a residual block a position means."""


class Flip:
    """Flips the sign of what the batch normalisations of a position give out, while `on`.

    Parameters
    ----------
    network : nn.Module
        With torchvision's names; its stem is never injected.
    position : str
        A key of `POSITIONS`.
    """

    def __init__(self, network: nn.Module, position: str) -> None:
        self.on = False
        for name, module in network.named_modules():
            if name.startswith("layer") and name.split(".", 2)[-1] in POSITIONS[position]:
                module.register_forward_hook(self._flipped)

    def _flipped(self, module: nn.Module, inputs: Any, output_BCHW: Tensor) -> Tensor | None:
        return -output_BCHW if self.on else None


def train(T: int, position: str, epochs: int, data: PackedData, seed: int = 0) -> Iterator[float]:
    """Train a trial with one thread, and yield its macro-F1 on validation after every epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train_split, validation_split = data.split("train"), data.split("validation")
    statistics = channel_statistics(train_split.images_BCHW)
    images = ImageArray(*train_split, statistics)
    validation = DataLoader(
        ImageArray(*validation_split, statistics), batch_size=EVALUATION_BATCH_SIZE
    )
    network = SlimResNet(WIDTH, data.channels, len(data.classes))
    flip = Flip(network, position)
    loop = PlainLoop(network, images, BATCH_SIZE, "cpu", 0, LR, WEIGHT_DECAY)
    for epoch in range(1, epochs + 1):
        network.train()
        flip.on = injects(epoch, T)
        loop.run(len(images) // BATCH_SIZE)
        flip.on = False
        yield evaluate(network, validation)


@torch.no_grad()
def evaluate(network: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> float:
    """Return the macro-F1 of a network, which is left in evaluation mode."""
    network.eval()
    labels: list[int] = []
    predictions: list[int] = []
    for images_BCHW, labels_B in loader:
        predictions += network(images_BCHW).argmax(dim=1).tolist()
        labels += labels_B.tolist()
    return float(f1_score(labels, predictions, average="macro", zero_division=0))
