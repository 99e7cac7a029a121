"""The training loop that a user would write: torchvision's ResNet-18, DataLoader, eager Adam.

The yardstick of `tuner bench`. It trains on the images, at the batch size and with the optimiser of
our own trial, as the tutorials of torchvision do it: images from an array to PIL, transforms by
torchvision, a DataLoader, Adam with torch's own defaults, and the loss read in every step for the
progress line. It is meant to be good code, not a straw man. It computes in the precision that it is
compared in: torch's own default would let cuDNN's convolutions use TF32.
"""

# B batch, C channels, H height, W width (pixels), K classes

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, ResNet

from trainables.batches import ChannelStatistics


class ImageArray(Dataset[tuple[torch.Tensor, int]]):
    """Images and labels of a split, as torchvision's own data sets hand them out.

    Parameters
    ----------
    images_NCHW : uint8 array
    labels_N : int64 array
    statistics : ChannelStatistics
        Of the training images, for normalisation.
    laps : int, default 1
        How often all images are handed out in an epoch: a measurement is of steps amid training,
        not of how loaders start.
    """

    def __init__(
        self,
        images_NCHW: npt.NDArray[np.uint8],
        labels_N: npt.NDArray[np.int64],
        statistics: ChannelStatistics,
        laps: int = 1,
    ) -> None:
        self._laps = laps
        self._images_NHWC = np.ascontiguousarray(images_NCHW.transpose(0, 2, 3, 1))
        self._labels = labels_N.tolist()
        mean, std = ([value / 255 for value in values] for values in statistics)
        self._transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(mean, std)]
        )

    def __len__(self) -> int:
        return self._laps * len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        index %= len(self._labels)
        pixels_HWC = self._images_NHWC[index]
        image = Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)
        return self._transform(image), self._labels[index]


class SlimResNet(ResNet):  # type: ignore[misc]
    """torchvision's ResNet-18 with another width and number of input channels."""

    def __init__(self, width: int, channels: int, num_classes: int) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
        self.inplanes = width
        self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._make_layer(BasicBlock, width, 2)
        self.layer2 = self._make_layer(BasicBlock, 2 * width, 2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, 4 * width, 2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, 8 * width, 2, stride=2)
        self.fc = nn.Linear(8 * width, num_classes)
        for module in self.modules():  # as torchvision's own; the default learns at another pace
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class PlainLoop:
    """The loop, to be run in pieces.

    Parameters
    ----------
    network : nn.Module
        On `device`.
    data : ImageArray
    batch_size : int
    device : str
    num_workers : int
        Processes of the DataLoader; 0 loads in this one.
    lr, weight_decay : float
    bf16 : bool, default False
        Whether the forward pass and the loss run under autocast.
    """

    def __init__(
        self,
        network: nn.Module,
        data: ImageArray,
        batch_size: int,
        device: str,
        num_workers: int,
        lr: float,
        weight_decay: float,
        bf16: bool = False,
    ) -> None:
        self._bf16 = bf16
        self._network, self._device = network.train(), torch.device(device)
        self._loader = DataLoader(
            data,
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=num_workers,
            pin_memory=self._device.type == "cuda",
            persistent_workers=num_workers > 0,
        )
        self._criterion = nn.CrossEntropyLoss()
        self._optimizer = torch.optim.Adam(network.parameters(), lr=lr, weight_decay=weight_decay)
        self._batches: Any = iter(())
        self.running_loss = 0.0

    def run(self, steps: int) -> float:
        """Train some steps, through as many epochs as that takes, and return the seconds."""
        started = time.perf_counter()
        for _ in range(steps):
            images_BCHW, labels_B = self._next()
            images_BCHW = images_BCHW.to(self._device, non_blocking=True)
            labels_B = labels_B.to(self._device, non_blocking=True)
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
                logits_BK = self._network(images_BCHW)
                loss = self._criterion(logits_BK, labels_B)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self.running_loss += loss.item()
        return time.perf_counter() - started

    def _next(self) -> Any:
        try:
            return next(self._batches)
        except StopIteration:
            self._batches = iter(self._loader)
            return next(self._batches)
