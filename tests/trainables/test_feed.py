"""Batches on their way to a device, against the images that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables import feed
from trainables.batches import training_order
from trainables.feed import DeviceSplit

CPU = torch.device("cpu")


def test_a_split_puts_the_images_asked_for_into_the_same_memory(data):
    split = data.split("validation")
    on_cpu = DeviceSplit(split, CPU)
    memory = on_cpu.memory(4)
    addresses = [part.data_ptr() for part in memory]
    order = [torch.tensor([5, 0, 23, 7]), torch.tensor([1, 2])]
    for positions, count in zip(order, on_cpu.fill(memory, order), strict=True):
        assert count == len(positions)
        images, labels = memory.first(count)
        np.testing.assert_array_equal(images.numpy(), split.images_BCHW[positions.numpy()])
        np.testing.assert_array_equal(labels.numpy(), split.labels_B[positions.numpy()])
    assert [part.data_ptr() for part in memory] == addresses


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("share", [0.5, 0.0], ids=["resident", "streamed"])
def test_a_gpu_gets_the_same_batches_resident_or_streamed(data, monkeypatch, share):
    monkeypatch.setattr(feed, "RESIDENT_SHARE", share)
    split = DeviceSplit(data.split("train"), torch.device("cuda"))
    plain = DeviceSplit(data.split("train"), CPU)
    assert split.resident == (share > 0)
    order = training_order(len(split), 8, 0, 1, split.index_device) * 25
    memory, expected = split.memory(8), plain.memory(8)
    found = []
    for _ in split.fill(memory, order):
        torch.cuda._sleep(10_000_000)  # the next batches must not overtake a slow step
        found.append([part.clone() for part in memory])
    on_cpu = plain.fill(expected, [positions.cpu() for positions in order])
    for parts, _ in zip(found, on_cpu, strict=True):
        for part, wanted in zip(parts, expected, strict=True):
            assert torch.equal(part.cpu(), wanted)
