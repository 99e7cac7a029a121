"""A split's images on their way to a device, batch by batch into fixed memory.

Images stay uint8 until they are on the device, a quarter of the bytes to copy. On a GPU a split is
resident where it fits; else its batches are gathered while the GPU computes, in pinned memory, and
copied beside the computation. On a CPU they are gathered from the memory map, which all trials of a
machine share through the page cache. Batches always lie at the same addresses, as a captured CUDA
graph requires.
"""

# N images of a split, B batch, C channels, H height, W width (pixels)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.batches import CHUNK, training_statistics
from trainables.data.packed import PackedData, Split

RESIDENT_SHARE = 0.5
"""A split stays on the GPU if it takes at most this share of the memory that is free there."""


class Batch(NamedTuple):
    """Memory for one batch."""

    images_BCHW: Tensor
    """uint8."""
    labels_B: Tensor
    """int64."""

    def first(self, count: int) -> Batch:
        """Return the part that holds the first `count` images."""
        return Batch(self.images_BCHW[:count], self.labels_B[:count])


class DeviceSplit:
    """One split, ready to be put into batches on a device.

    Parameters
    ----------
    split : Split
        uint8 images and int64 labels, memory-mapped.
    device : torch.device
    """

    def __init__(self, split: Split, device: torch.device) -> None:
        self._device = device
        self._host_NCHW, self._host_labels_N = split.images_BCHW, np.array(split.labels_B)
        self._resident: Batch | None = None
        if device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(device)
            if self._host_NCHW.nbytes <= RESIDENT_SHARE * free_bytes:
                self._resident = Batch(
                    _uploaded(self._host_NCHW, device),
                    torch.from_numpy(self._host_labels_N).to(device),
                )

    def __len__(self) -> int:
        return len(self._host_labels_N)

    @property
    def resident(self) -> bool:
        """Whether all of it lies on the GPU."""
        return self._resident is not None

    @property
    def index_device(self) -> torch.device:
        """Where `fill` wants its positions."""
        return self._device if self.resident else torch.device("cpu")

    def memory(self, size: int) -> Batch:
        """Return memory on the device for batches of up to `size` images of this kind."""
        return Batch(
            torch.zeros((size, *self._host_NCHW.shape[1:]), dtype=torch.uint8, device=self._device),
            torch.zeros(size, dtype=torch.int64, device=self._device),
        )

    def fill(self, memory: Batch, order: Sequence[Tensor]) -> Iterator[int]:
        """Put one batch after another into `memory`, without waiting for the device.

        Parameters
        ----------
        memory : Batch
        order : sequence of Tensor
            Each batch's positions in the split, on `index_device`; no more than `memory` holds.

        Yields
        ------
        int
            Images of the batch that lies there now, until the next is asked for.
        """
        if self._resident is not None:
            for positions_B in order:
                part = memory.first(len(positions_B))
                for source, target in zip(self._resident, part, strict=True):
                    torch.index_select(source, 0, positions_B, out=target)
                yield len(positions_B)
        elif self._device.type == "cuda":
            yield from self._streamed(memory, order)
        else:
            for positions_B in order:
                self._gather(positions_B, memory.first(len(positions_B)))
                yield len(positions_B)

    def _gather(self, positions_B: Tensor, target: Batch) -> None:
        """Copy images and labels on the host."""
        index_B, images_BCHW = positions_B.numpy(), target.images_BCHW.numpy()
        np.take(self._host_NCHW, index_B, axis=0, out=images_BCHW, mode="clip")
        np.take(self._host_labels_N, index_B, axis=0, out=target.labels_B.numpy(), mode="clip")

    def _streamed(self, memory: Batch, order: Sequence[Tensor]) -> Iterator[int]:
        """Gather and copy the next batch while the GPU computes with this one."""
        lanes = [_Lane(memory) for _ in range(2)]
        main, beside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        beside.wait_stream(main)  # the lanes' memory may be in use there, by what had it before
        for lane in lanes:
            for tensor in lane.device:
                tensor.record_stream(beside)
        for index in range(len(order) + 1):
            if index > 0:
                lane, count = lanes[(index - 1) % 2], len(order[index - 1])
                main.wait_event(lane.arrived)
                for source, target in zip(lane.device, memory, strict=True):
                    target[:count].copy_(source[:count])
                lane.taken.record(main)
                yield count
            if index < len(order):
                lane, positions_B = lanes[index % 2], order[index]
                lane.arrived.synchronize()  # the host's half is free again
                part = lane.host.first(len(positions_B))
                self._gather(positions_B, part)
                with torch.cuda.stream(beside):
                    beside.wait_event(lane.taken)
                    for source, target in zip(part, lane.device, strict=True):
                        target[: len(source)].copy_(source, non_blocking=True)
                    lane.arrived.record(beside)


class DeviceData:
    """A data set on a device: its three splits, and what a network must know of its images.

    Parameters
    ----------
    data : PackedData
    limit : int or None
        Images used per split; None is all.
    device : torch.device
    """

    def __init__(self, data: PackedData, limit: int | None, device: torch.device) -> None:
        self.device = device
        self.channels, self.num_classes, self.side = data.channels, len(data.classes), data.size
        self.statistics = training_statistics(data, limit)
        self.train, self.validation, self.test = (
            DeviceSplit(data.split(name, limit), device) for name in ("train", "validation", "test")
        )


class _Lane:
    """One of two ways to the GPU: pinned memory, memory there, and when each is free."""

    def __init__(self, memory: Batch) -> None:
        self.host = Batch(*(torch.empty_like(t, device="cpu", pin_memory=True) for t in memory))
        self.device = Batch(*map(torch.empty_like, memory))
        self.arrived, self.taken = (torch.cuda.Event() for _ in range(2))  # type: ignore[no-untyped-call]


def _uploaded(images_NCHW: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    """Copy to the device in chunks, so that the host never holds a second copy of a split."""
    resident_NCHW = torch.empty(images_NCHW.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images_NCHW), CHUNK):
        chunk = torch.from_numpy(np.array(images_NCHW[start : start + CHUNK]))
        resident_NCHW[start : start + CHUNK].copy_(chunk)
    return resident_NCHW
