"""Order, augmentation and normalisation of images, against loops over single images."""

from __future__ import annotations

import numpy as np
import torch

from trainables import batches
from trainables.batches import (
    Augmentation,
    ChannelStatistics,
    Normaliser,
    augmented,
    channel_statistics,
    draw_augmentation,
    training_order,
)

CPU = torch.device("cpu")


def random_images(count: int, channels: int = 3, side: int = 9) -> np.ndarray:
    source = np.random.default_rng(count)
    return source.integers(0, 256, (count, channels, side, side), dtype=np.uint8)


def test_statistics_equal_numpys_in_double_precision():
    images = random_images(50)
    found = channel_statistics(images)
    np.testing.assert_allclose(found.mean_C, images.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std_C, images.std(axis=(0, 2, 3)), rtol=1e-12)


def test_statistics_do_not_depend_on_how_the_split_is_walked(monkeypatch):
    images = random_images(50)
    whole = channel_statistics(images)
    monkeypatch.setattr(batches, "CHUNK", 7)
    assert channel_statistics(images) == whole


def test_statistics_of_white_images_do_not_overflow_and_have_deviation_one():
    white = np.full((5000, 1, 8, 8), 255, dtype=np.uint8)
    assert channel_statistics(white) == ChannelStatistics((255.0,), (1.0,))


def test_normalised_training_pixels_have_mean_zero_and_variance_one():
    images = random_images(50)
    normalise = Normaliser(channel_statistics(images), CPU, torch.contiguous_format)
    pixels = normalise(torch.from_numpy(images))
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(pixels.var((0, 2, 3), correction=0), torch.ones(3))


def test_an_epoch_visits_distinct_images_and_drops_the_last_partial_batch():
    order = training_order(34, 8, 0, 1, CPU)
    assert [len(batch) for batch in order] == [8, 8, 8, 8]
    visited = torch.cat(order).tolist()
    assert len(set(visited)) == 32
    assert set(visited) <= set(range(34))


def test_a_split_smaller_than_a_batch_is_one_batch():
    (only,) = training_order(5, 8, 0, 1, CPU)
    assert sorted(only.tolist()) == [0, 1, 2, 3, 4]


def test_order_differs_between_epochs_and_seeds_but_not_between_calls():
    first = torch.cat(training_order(64, 8, 0, 1, CPU))
    assert torch.equal(first, torch.cat(training_order(64, 8, 0, 1, CPU)))
    assert not torch.equal(first, torch.cat(training_order(64, 8, 0, 2, CPU)))
    assert not torch.equal(first, torch.cat(training_order(64, 8, 1, 1, CPU)))


def test_augmentation_equals_mirroring_and_moving_image_by_image():
    images = random_images(20, side=24)
    how = draw_augmentation("flip_shift", 20, 24, 0, 1, CPU)
    assert how is not None
    found = augmented(torch.from_numpy(images), how).numpy()
    for index, (flip, down, right) in enumerate(zip(*(v.tolist() for v in how), strict=True)):
        image = images[index, :, :, ::-1] if flip else images[index]
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
        expected = padded[:, 2 - down : 26 - down, 2 - right : 26 - right]
        np.testing.assert_array_equal(found[index], expected)


def test_flip_mirrors_half_of_the_images_and_moves_none():
    count = 10_000
    how = draw_augmentation("flip", count, 48, 0, 1, CPU)
    assert how is not None
    assert not how.down_N.any()
    assert not how.right_N.any()
    six_sigma = 6 * (count * 0.25) ** 0.5
    assert abs(how.flip_N.sum().item() - count / 2) < six_sigma


def test_flip_shift_moves_by_every_whole_number_up_to_a_twelfth_of_the_side():
    how = draw_augmentation("flip_shift", 1000, 48, 0, 1, CPU)
    assert how is not None
    for moved in (how.down_N, how.right_N):
        assert sorted(set(moved.tolist())) == list(range(-4, 5))


def test_augmentation_none_draws_nothing():
    assert draw_augmentation("none", 10, 48, 0, 1, CPU) is None


def test_a_batchs_augmentation_is_its_part_of_the_epochs():
    how = draw_augmentation("flip_shift", 20, 48, 0, 1, CPU)
    assert how is not None
    parts = [how.batch(0, 8), how.batch(8, 12)]
    for name in Augmentation._fields:
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(how, name))
