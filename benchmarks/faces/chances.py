"""What becomes of the first ratio if no arm has more epochs than periodic leaves clean.

Written after looking.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.faces.committed import CLEAN, CURVES, curves_of, found, injected_epochs
from benchmarks.faces.differences import Ratio, table

TIE = 1e-6
"""Scores of curves.csv are rounded: one that is less by so much still reaches a target."""
SAME, DRAWN, LAST = "those that periodic leaves clean", "as many, at random", "as many, the last"
"""Epochs that count for an arm which is not to have more chances than periodic."""


class Chance(NamedTuple):
    """An arm that has no more epochs than periodic leaves clean."""

    share: float
    """Expected share of trials that match, over all numbers of clean epochs of periodic's."""
    ratio: Ratio
    """Of that share to periodic's."""


@functools.cache
def clean_chances() -> dict[str, dict[str, Chance]]:
    """Return what becomes of arms that have no more epochs than periodic leaves clean.

    Each trial of another arm is scored at some epochs for each periodic trial in turn: at the very
    epochs which that one leaves clean, or at as many, drawn at random, or at as many, the last.
    Limits are percentiles of 10,000 resamples of both arms' trials. Written after looking.

    Returns
    -------
    dict
        By arm, and by which epochs count.
    """
    of = found(CLEAN)
    scores, injected = curves_of("periodic"), injected_epochs("periodic")
    clean = ~injected
    matched = (scores >= of.target - TIE).any(1)
    chances = {}
    for name in ("dynamic_default", "baseline"):
        reached = curves_of(name) >= of.target - TIE
        # hit[i, j]: the chance that trial i would match, had it only as many epochs as trial j
        ways = {
            SAME: (reached[:, None] & clean[None]).any(2),
            DRAWN: chance_of_drawn(reached.sum(1).tolist(), clean.sum(1).tolist(), clean.shape[1]),
            LAST: np.array(
                [[own[len(own) - count :].any() for count in clean.sum(1)] for own in reached]
            ),
        }
        chances[name] = {way: _chance(hit, matched) for way, hit in ways.items()}
    return chances


def chance_of_drawn(good: Sequence[int], drawn: Sequence[int], epochs: int) -> Any:
    """Return the chances that one of so many epochs drawn is one of the good ones: good × drawn."""
    none = [[math.comb(epochs - own, count) for count in drawn] for own in good]
    return 1 - np.array(none) / np.array([math.comb(epochs, count) for count in drawn])


def _chance(hit: Any, matched: Any) -> Chance:
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(10_000):
        own = generator.integers(0, len(hit), len(hit))
        others = generator.integers(0, len(matched), len(matched))
        ratios.append(hit[np.ix_(own, others)].mean() / matched[others].mean())
    low, high = (float(end) for end in np.quantile(ratios, (0.025, 0.975)))
    return Chance(float(hit.mean()), Ratio(float(hit.mean() / matched.mean()), low, high))


def chances() -> str:
    """Return what becomes of the ratio if no arm has more epochs than periodic leaves clean.

    Written after looking.
    """
    of = found(CLEAN)
    scores, injected = curves_of("periodic"), injected_epochs("periodic")
    reached = {name: curves_of(name) >= of.target - TIE for name in CURVES}
    shares = {name: float(one.any(1).mean()) for name, one in reached.items()}
    rows = [(name, "all 20", f"{share:.3f}", "", "") for name, share in shares.items()]
    rows += [
        (name, way, f"{one.share:.3f}", *one.ratio.cells)
        for name, ways in clean_chances().items()
        for way, one in ways.items()
    ]
    columns = ("arm", "epochs that count", "share that match", "periodic / it", "interval")
    first = [int(np.argmax(row)) if row.any() else len(row) for row in injected]
    before = sum(int(np.argmax(row)) < one for row, one in zip(scores, first, strict=True))
    told = (
        f"Periodic trains {injected.sum():,} of {injected.size:,} epochs with flipped signs;"
        f" {int(reached['periodic'][injected].sum())} of these reach the target. The best"
        f" epoch of {before} of {len(scores)} trials precedes their first injection. Of its clean"
        f" epochs {_percent(reached['periodic'][~injected])} reach it; of all epochs of dynamic"
        f" at its default {_percent(reached['dynamic_default'])}, of the baseline"
        f" {_percent(reached['baseline'])}.\n"
    )
    return f"{told}\n{table(columns, rows)}"


def _percent(of: Any) -> str:
    return f"{100 * of.mean():.1f} %"
