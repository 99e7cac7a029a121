"""Seeds for everything random in a trial, each a function of (trial's seed, epoch, purpose).

No draw depends on what was drawn before it, so an epoch can be repeated, resumed or forked alone.
"""

from __future__ import annotations

import hashlib
from typing import Literal

Purpose = Literal["weights", "order", "augment", "dropout"]


def derived_seed(seed: int, epoch: int, purpose: Purpose) -> int:
    """Return the seed of one generator.

    The first 8 bytes of a SHA-256, because neighbouring seeds and epochs must not give related
    streams, and because Python's own `hash` of text differs between processes.

    Parameters
    ----------
    seed : int
        The trial's seed.
    epoch : int
        Epoch, from 1; 0 for what happens before training.
    purpose : str
        What is drawn.

    Returns
    -------
    int
        From 0 to 2**63 − 1.

    >>> derived_seed(0, 1, "order")
    7869624158837258281
    """
    digest = hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
