"""Counter-based randomness: any stretch of a seed's words, and parameters made from them.

Philox is a function of (key, counter), so word n of a stream is found without drawing the words
before it. Its raw words are the same in every version of NumPy; what is made from them here is
exact arithmetic, where NumPy's own distributions may change.
"""

# B batch, N words

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.model import UserError

Floats = npt.NDArray[np.floating[Any]]  # float32 throughout, which NumPy's types lose track of
Words = npt.NDArray[np.uint64]

_BLOCK = 4  # words that Philox makes from one value of its counter


def stretch(seed: int, stream: int, first: int, count: int) -> Words:
    """Return words `first` to `first + count - 1` of a stream.

    Parameters
    ----------
    seed, stream : int
        Each 0 to 2**64 - 1; different pairs give independent streams.
    first, count : int
        At least 0.

    Returns
    -------
    uint64, shape (count,)

    Raises
    ------
    UserError
        If the seed is out of its range.

    >>> bool(stretch(0, 0, first=5, count=1)[0] == stretch(0, 0, first=0, count=6)[5])
    True
    """
    if not 0 <= seed < 2**64:
        raise UserError(f"seed must be from 0 to 2**64 - 1, but got {seed}.")
    skip = first % _BLOCK
    generator = np.random.Philox(key=seed + (stream << 64), counter=first // _BLOCK)
    words: Words = generator.random_raw(skip + count)[skip:]
    return words


class Draws:
    """Random parameters of a batch, one 64-bit word each, taken in a fixed order.

    Parameters
    ----------
    words_BN : uint64, shape (B, N)
        Independent words; one column per parameter.
    """

    def __init__(self, words_BN: Words) -> None:
        scale, low = np.float32(2.0**-16), np.uint64(0xFFFF)
        self._uniform = (words_BN >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        # four 16-bit uniforms in one word, summed: mean 2, sd 1/√3
        total = (words_BN & low) + ((words_BN >> np.uint64(16)) & low)
        total += ((words_BN >> np.uint64(32)) & low) + (words_BN >> np.uint64(48))
        self._bell = (total.astype(np.float32) * scale - 2) * math.sqrt(3)
        self._next = 0

    def between(self, low: float, high: float) -> Floats:
        """Return uniform values in [low, high), shape (B, 1, 1)."""
        self._next += 1
        return self._uniform[:, self._next - 1, None, None] * (high - low) + low

    def bell(self, mean: float, sd: float) -> Floats:
        """Return bell-shaped values, within 3.5 sd of the mean, shape (B, 1, 1)."""
        self._next += 1
        return self._bell[:, self._next - 1, None, None] * sd + mean

    def chance(self, share: float) -> Floats:
        """Return 1 for a share of the images, else 0, shape (B, 1, 1)."""
        return (self.between(0, 1) < share).astype(np.float32)
