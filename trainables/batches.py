"""What happens to images on their way into a network: order, augmentation and normalisation."""

# N images of a split, B batch, C channels, H height, W width (pixels)

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.data.packed import PackedData
from trainables.seeds import Purpose, derived_seed

CHUNK = 4096
"""Images handled at once where a whole split is walked, to bound memory."""


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of the pixels (0 to 255), by channel."""

    mean_C: tuple[float, ...]
    std_C: tuple[float, ...]


def channel_statistics(images_NCHW: npt.NDArray[np.uint8]) -> ChannelStatistics:
    """Return exact statistics over all pixels: integer sums, so no order of summation matters.

    A channel that never varies gets standard deviation 1.
    """
    num_pixels = images_NCHW.size // images_NCHW.shape[1]
    sums_C = np.zeros(images_NCHW.shape[1], dtype=np.uint64)
    squares_C = np.zeros_like(sums_C)
    for start in range(0, len(images_NCHW), CHUNK):
        chunk = images_NCHW[start : start + CHUNK]
        sums_C += chunk.sum(axis=(0, 2, 3), dtype=np.uint64)
        # 255² just fits in 16 bits, which is the cheapest exact square
        squares_C += np.square(chunk, dtype=np.uint16).sum(axis=(0, 2, 3), dtype=np.uint64)
    means, stds = [], []
    for total, squares in zip(sums_C.tolist(), squares_C.tolist(), strict=True):
        variance = (num_pixels * squares - total * total) / num_pixels**2
        means.append(total / num_pixels)
        stds.append(variance**0.5 or 1.0)
    return ChannelStatistics(tuple(means), tuple(stds))


_known_statistics: dict[str, ChannelStatistics] = {}


def training_statistics(data: PackedData, limit: int | None) -> ChannelStatistics:
    """Return the statistics of the training split, computed once per process and data set."""
    fingerprint = data.used_fingerprint(limit)  # equal fingerprints are equal pixels
    if fingerprint not in _known_statistics:
        images_NCHW = data.split("train", limit).images_BCHW
        _known_statistics[fingerprint] = channel_statistics(images_NCHW)
    return _known_statistics[fingerprint]


def generator(seed: int, epoch: int, purpose: Purpose) -> torch.Generator:
    """Return a CPU generator; drawing on the CPU gives a GPU the same epoch."""
    return torch.Generator().manual_seed(derived_seed(seed, epoch, purpose))


def training_order(
    count: int, batch_size: int, seed: int, epoch: int, device: torch.device
) -> list[Tensor]:
    """Return the epoch's batches, as positions in the training split that lie on `device`.

    The last partial batch is dropped; a split smaller than one batch is one batch.
    """
    order_N = torch.randperm(count, generator=generator(seed, epoch, "order"))
    size = min(batch_size, count)
    return list(torch.split(order_N[: count - count % size].to(device), size))


class Augmentation(NamedTuple):
    """How each image of an epoch (or batch) is mirrored and moved."""

    flip_N: Tensor
    """bool: mirror left to right."""
    down_N: Tensor
    """int64: pixels moved down."""
    right_N: Tensor
    """int64: pixels moved right."""

    def batch(self, start: int, count: int) -> Augmentation:
        """Return the part for `count` images from the epoch's image number `start` on."""
        return Augmentation(*(values_N[start : start + count] for values_N in self))


def draw_augmentation(
    kind: str, count: int, side: int, seed: int, epoch: int, device: torch.device
) -> Augmentation | None:
    """Draw an epoch's augmentation for `count` images of `side` pixels, in order of use.

    `flip`: mirrored with probability ½. `flip_shift`: also moved by up to `side // 12` pixels in
    both directions, every whole number alike. `none`: None.
    """
    if kind == "none":
        return None
    source = generator(seed, epoch, "augment")
    flip_N = torch.rand(count, generator=source) < 0.5
    reach = side // 12 if kind == "flip_shift" else 0
    down_N = torch.randint(-reach, reach + 1, (count,), generator=source)
    right_N = torch.randint(-reach, reach + 1, (count,), generator=source)
    return Augmentation(flip_N.to(device), down_N.to(device), right_N.to(device))


def augmented(images_BCHW: Tensor, how: Augmentation) -> Tensor:
    """Return the images mirrored, then moved; what a move uncovers repeats the image's edge."""
    flip_B, down_B, right_B = how
    batch, channels, height, width = images_BCHW.shape
    device = images_BCHW.device
    rows_BH = torch.arange(height, device=device) - down_B[:, None]
    rows_BH = rows_BH.clamp(0, height - 1)
    columns_BW = torch.arange(width, device=device) - right_B[:, None]
    columns_BW = columns_BW.clamp(0, width - 1)
    columns_BW = torch.where(flip_B[:, None], width - 1 - columns_BW, columns_BW)
    return images_BCHW[
        torch.arange(batch, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[:, None, None],
        rows_BH[:, None, :, None],
        columns_BW[:, None, None, :],
    ]


class Normaliser:
    """Turns pixels into zero-mean, unit-variance fp32 in the network's memory format."""

    def __init__(
        self, statistics: ChannelStatistics, device: torch.device, layout: torch.memory_format
    ) -> None:
        self._mean_C11 = torch.tensor(statistics.mean_C, device=device)[:, None, None]
        self._std_C11 = torch.tensor(statistics.std_C, device=device)[:, None, None]
        self._layout = layout

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Return (images − mean) / std as fp32 (B, C, H, W)."""
        pixels_BCHW = images_BCHW.to(torch.float32, memory_format=self._layout)
        return pixels_BCHW.sub_(self._mean_C11).div_(self._std_C11)
