"""How many independent trials an arm's matches are worth, where several trials share a seed.

Trials of one seed rise and fall together, so n of them say less than n independent ones, by the
design effect. The exact and the score interval are then taken of effective counts: they stay valid
at few matches, where resampling seeds leaves a seed with a match out too often.

Source: Korn and Graubard 1998, Survey Methodology 24, pages 193 to 201; truncated to the number of
trials as Franco, Little, Louis and Slud 2019, Journal of Survey Statistics and Methodology 7,
recommend.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from reports.arm import Arm, Bools


class Counts(NamedTuple):
    """Matches and trials as they would be of independent trials; not whole if seeds are shared."""

    hits: float
    trials: float


def effective_counts(arm: Arm, hits: Bools, confidence: float) -> Counts:
    """Return an arm's effective matches and trials: the counts themselves without shared seeds.

    With n trials, G seeds, m_j trials and h_j matches of seed j, and p = Σ h_j / n, the design
    effect is deff = G/(G − 1) · Σ (h_j − p m_j)² / (n p (1 − p)), at least 1. Then the effective
    trials are n / deff · (t_{n−1} / t_f)², with Student's two-sided quantiles at `confidence`: the
    variance was itself estimated, with f degrees of freedom. Korn and Graubard take f = G − 1. But
    a seed in which nothing matched (or everything did) tells the variance nothing, so here f is at
    most the number of seeds with a match, and of those with a miss. Of 5 seeds of 20 trials with
    correlation 0.5 and s = 0.1 the upper limit misses s in 8 % of cases with G − 1, never with f.

    They are never fewer than n² / Σ m_j², which is their number where all trials of a seed end
    alike. Without any match or any miss they are G: P(no match) is at most (1 − s)^G. With one seed
    they are 1, of which nothing can be concluded about others.

    Parameters
    ----------
    arm : Arm
    hits : array of bool
        Which trials matched.
    confidence : float, 0 to 1
        Of the interval that the counts are for.
    """
    n, found = arm.n, int(np.count_nonzero(hits))
    if not arm.clustered:
        return Counts(found, n)
    share, seeds = found / n, arm.seeds
    if seeds == 1 or found in (0, n):
        return Counts(share * seeds, seeds)
    sizes = np.bincount(arm.clusters, minlength=seeds)
    matched = np.bincount(arm.clusters, weights=hits, minlength=seeds)
    between = seeds / (seeds - 1) * float(np.sum((matched - share * sizes) ** 2))
    deff = max(1.0, between / (n * share * (1 - share)))
    ended = (int(np.count_nonzero(matched)), int(np.count_nonzero(matched < sizes)))
    trials = n / deff * _adjustment(n - 1, min(*ended, seeds - 1), confidence)
    trials = min(float(n), max(trials, n**2 / float(np.sum(sizes**2))))
    return Counts(share * trials, trials)


def seeds_with_match(arm: Arm, hits: Bools) -> int:
    """Return how many seeds have a match: the matches that are independent of one another."""
    return len(np.unique(arm.clusters[hits]))


@lru_cache(maxsize=1024)
def _adjustment(known: int, estimated: int, confidence: float) -> float:
    """Return (t_known / t_estimated)², at most 1; 1 in the limit of no confidence."""
    quantiles = stats.t.isf((1 - confidence) / 2, [known, estimated])
    return float(quantiles[0] / quantiles[1]) ** 2 if quantiles[1] > 0 else 1.0
