"""What the test score is of the trial that validation selects, after k random trials.

T(k) = Σ_j C(j−1, k−1)/C(n, k) · test_(j), where j ranks trials by validation, the worst first: the
mean over all subsets of k of the n trials. Beside it the same for validation; the difference is the
optimism of the selected, which grows with k.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from reports.proportions import Floats, order_statistic
from reports.table import Trials

RESAMPLES = 1999


class SelectedTest(NamedTuple):
    """The curve; all tuples have one entry per k."""

    trials: tuple[int, ...]
    test: tuple[float, ...]
    low: tuple[float, ...]
    """Pointwise limit from resampling the pool of trials, which is as large as it is."""
    high: tuple[float, ...]
    validation: tuple[float, ...]
    optimism: tuple[float, ...]
    """`validation` − `test`."""
    pool: int
    """Trials that it is made of."""
    left_out: int
    """Trials that did not complete, or lack the test score."""


def selected_test(
    trials: Trials, confidence: float = 0.95, seed: int = 0, ks: Sequence[int] | None = None
) -> SelectedTest | None:
    """Return the curve of these trials (one arm's), or None if none has both scores.

    Parameters
    ----------
    ks : sequence of int, optional
        Numbers of trials; those beyond the pool are left out. Default: 1 to the pool's size.
    """
    pairs = [
        (score, test)
        for score, test, state in zip(trials.score, trials.test_score, trials.state, strict=True)
        if state == "completed" and score is not None and test is not None
    ]
    n = len(pairs)
    if n == 0:
        return None
    pool = np.array(pairs)
    chosen = [k for k in (ks or range(1, n + 1)) if 1 <= k <= n]
    weights = np.array([subset_weights(n, k) for k in chosen])
    test, validation = _curves(pool, weights)
    generator = np.random.default_rng(seed)
    drawn = np.array(
        [_curves(pool[generator.integers(0, n, n)], weights)[0] for _ in range(RESAMPLES)]
    )
    tail = (1 - confidence) / 2
    return SelectedTest(
        trials=tuple(chosen),
        test=tuple(test.tolist()),
        low=tuple(order_statistic(column, tail) for column in drawn.T),
        high=tuple(order_statistic(column, 1 - tail) for column in drawn.T),
        validation=tuple(validation.tolist()),
        optimism=tuple((validation - test).tolist()),
        pool=n,
        left_out=len(trials) - n,
    )


def subset_weights(n: int, k: int) -> Floats:
    """Return the chance that rank j is the best of a random subset of k of n; shape (n,).

    >>> subset_weights(3, 2).round(4).tolist()
    [0.0, 0.3333, 0.6667]
    """
    ranks = np.arange(k, n + 1, dtype=np.float64)
    logs = _log_choose(ranks - 1, k - 1) - _log_choose(np.array([float(n)]), k)
    weights = np.exp(logs)
    return np.concatenate([np.zeros(k - 1), weights / weights.sum()])


def _log_choose(n: Floats, k: int) -> Floats:
    found = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.asarray(found, dtype=np.float64)


def _curves(pool: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return selected test and validation; among equals in validation each is as likely."""
    order = np.argsort(pool[:, 0], kind="stable")
    validation, test = pool[order, 0], pool[order, 1]
    _, group, size = np.unique(validation, return_inverse=True, return_counts=True)
    even = (np.bincount(group, weights=test) / size)[group]
    return weights @ even, weights @ validation
