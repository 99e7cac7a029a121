"""Counter-based words, and the parameters made from them."""

import numpy as np
import pytest

from search_spaces.model import UserError
from trainables.data.draws import Draws, stretch

COUNT = 40_000


def draws() -> Draws:
    return Draws(stretch(seed=3, stream=0, first=0, count=COUNT)[:, None])


@pytest.mark.parametrize("first", [0, 1, 3, 4, 1001])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_stretch_equals_that_part_of_the_stream_drawn_from_its_start(first, count):
    whole = np.random.Philox(key=9 + (2 << 64)).random_raw(first + count)
    assert np.array_equal(stretch(9, 2, first, count), whole[first:])


def test_seeds_and_streams_give_different_words():
    words = [stretch(seed, stream, 0, 8) for seed in (0, 1, 2**64 - 1) for stream in (0, 1)]
    assert len(np.unique(np.concatenate(words))) == 6 * 8


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(UserError, match=f"seed must be from 0 to 2\\*\\*64 - 1, but got {seed}"):
        stretch(seed, 0, 0, 1)


def test_between_is_uniform():
    values = draws().between(-1, 3)
    assert values.dtype == np.float32
    assert values.shape == (COUNT, 1, 1)
    assert values.min() >= -1
    assert values.max() < 3
    # six standard errors: sd 4/√12 for the mean; 1/√(4n) is what a quartile's share can vary
    assert abs(values.mean() - 1) < 6 * 4 / 12**0.5 / COUNT**0.5
    shares = np.histogram(values, bins=4, range=(-1, 3))[0] / COUNT
    assert np.abs(shares - 0.25).max() < 6 * (0.25 * 0.75 / COUNT) ** 0.5


def test_bell_has_the_mean_and_sd_asked_for_and_bounded_tails():
    values = draws().bell(2.0, 0.5).astype(np.float64)
    # a sum of four uniforms has kurtosis 2.7, so its variance has relative error √(1.7/n)
    assert abs(values.mean() - 2) < 6 * 0.5 / COUNT**0.5
    assert abs(values.var() / 0.25 - 1) < 6 * (1.7 / COUNT) ** 0.5
    assert np.abs(values - 2).max() <= 0.5 * 2 * 3**0.5


@pytest.mark.parametrize("share", [0.0, 0.12, 1.0])
def test_chance_chooses_the_share_asked_for(share):
    values = draws().chance(share)
    assert set(np.unique(values)) <= {0, 1}
    assert abs(values.mean() - share) <= 6 * (share * (1 - share) / COUNT) ** 0.5


def test_each_parameter_has_a_word_of_its_own():
    draw = Draws(stretch(0, 0, 0, 4 * COUNT).reshape(COUNT, 4))
    columns = [draw.between(0, 1), draw.between(0, 1), draw.bell(0, 1), draw.bell(0, 1)]
    correlations = np.corrcoef([column.ravel() for column in columns]) - np.eye(4)
    assert np.abs(correlations).max() < 6 / COUNT**0.5
