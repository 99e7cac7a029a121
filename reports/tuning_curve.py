"""Tuning curves and their simultaneous bands: the score that k random trials reach.

τ_q(k) = F⁻¹(q^(1/k)). Bands are opda's (Lourie, Cho and He 2024), valid for all k and all scores
at once, hence also for a target that was chosen after looking. They need independent draws:
no TPE, grid or Sobol, no early stopping, one seed per trial (`why_no_band`).
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reports.arm import NEVER, Arm, Floats
from reports.proportions import Interval
from trainables.data.cache import default_cache

METHODS = (("ld_highest_density", 100), ("ld_equal_tailed", 300))
"""opda's bands, the tightest first, with the most trials each is used for. Their weights take 20 s
for 100 and 9 s for 300 trials, once per machine; beyond it is `ks`, which takes no time."""
WEIGHTS_SEED = 0
"""opda simulates the weights; a seed of ours makes them the same everywhere."""


class Band(NamedTuple):
    """Simultaneous limits of a distribution of scores, as opda's distributions."""

    lower: Any
    """Lower limit of P(Y ≤ y): the optimistic one for the tuner."""
    point: Any
    upper: Any
    method: str
    """`ld_highest_density`, `ld_equal_tailed`, `ks` or, for one trial, `exact`."""


class TuningCurve(NamedTuple):
    """The q-quantile of the best of k trials, with simultaneous limits."""

    trials: tuple[float, ...]
    score: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    method: str


def why_no_band(arm: Arm) -> str | None:
    """Return why an arm's trials are no independent draws, or None if they are."""
    if arm.n == 0:
        return "there are no trials"
    if arm.chosen:
        return "a search's trials depend on one another"
    if arm.clustered:
        return "several trials share a seed"
    if arm.cut.any():
        return "some trials were stopped early"
    return None


def band(scores: Sequence[float] | Floats, confidence: float, method: str | None = None) -> Band:
    """Return the band of the distribution of scores.

    Parameters
    ----------
    scores : array of float, shape (n,)
        Best validation scores, 0 to 1; `NEVER` (−1) for a trial that failed.
    confidence : float, 0 to 1
    method : str, optional
        One of opda's. Default: by the number of trials, see `METHODS`.

    Raises
    ------
    ValueError
        If a score is NaN, which opda would rank as the best, or there is none.
    """
    ys = np.sort(np.asarray(scores, dtype=np.float64))
    if len(ys) == 0 or not np.all(np.isfinite(ys)):
        raise ValueError("A band needs at least one score, and no score may be NaN.")
    from opda.nonparametric import EmpiricalDistribution

    n = len(ys)
    chosen = "exact" if n == 1 else method
    chosen = chosen or next((name for name, most in METHODS if n <= most), "ks")
    low, high = _weights(n, confidence, chosen)
    extended = np.concatenate([[NEVER], ys, [1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # equal weights are told as a curiosity
        return Band(
            EmpiricalDistribution(extended, ws=low, a=NEVER, b=1.0),
            EmpiricalDistribution(ys, a=NEVER, b=1.0),
            EmpiricalDistribution(extended, ws=high, a=NEVER, b=1.0),
            chosen,
        )


def below(found: Band, target: float) -> Interval:
    """Return simultaneous limits of P(Y < target).

    opda's cdf is P(Y ≤ y), so it is asked just below the target: a tie is a match.
    """
    y = np.nextafter(target, -np.inf)
    return Interval(float(found.lower.cdf(y)), float(found.upper.cdf(y)))


def hit_interval(scores: Sequence[float] | Floats, target: float, confidence: float) -> Interval:
    """Return limits of P(Y ≥ target) that hold for a target chosen after looking at the scores."""
    low, high = below(band(scores, confidence), target)
    return Interval(1 - high, 1 - low)


def tuning_curve(
    scores: Sequence[float] | Floats,
    trials: Sequence[float],
    confidence: float = 0.95,
    q: float = 0.5,
    method: str | None = None,
) -> TuningCurve:
    """Return the tuning curve at these numbers of trials; a failed trial's score shows as 0."""
    found = band(scores, confidence, method)
    ks = np.asarray(trials, dtype=np.float64)
    # A lower limit of the distribution function is an upper limit of its quantiles.
    curves = [found.point, found.upper, found.lower]
    point, low, high = (
        tuple(np.maximum(one.quantile_tuning_curve(ks, q=q), 0.0).tolist()) for one in curves
    )
    return TuningCurve(tuple(ks.tolist()), point, low, high, found.method)


@functools.cache
def _weights(n: int, confidence: float, method: str) -> tuple[Floats, Floats]:
    """Return the probabilities that the lower and the upper limit give to [a, scores…, b].

    They depend on n and the confidence alone, so they are kept on disk as well.
    """
    tail = (1 - confidence) / 2
    if method == "exact":  # F(Y) is uniform; opda refuses one score
        return np.array([0, tail, 1 - tail]), np.array([1 - tail, tail, 0])
    file = _cache_folder() / f"{method}-{n}-{confidence:.10g}.npy"
    try:
        kept = np.load(file)
        if kept.shape == (2, n + 2) and np.allclose(kept.sum(axis=1), 1):
            return kept[0], kept[1]
    except (OSError, ValueError, EOFError):
        pass
    from opda.nonparametric import EmpiricalDistribution

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        lower, _, upper = EmpiricalDistribution.confidence_bands(
            np.arange(1, n + 1) / (n + 1), confidence, a=0.0, b=1.0, method=method,
            generator=np.random.default_rng(WEIGHTS_SEED),
            n_jobs=1,  # the default starts a pool, which a daemonic worker must not
        )  # fmt: skip
    found = [
        np.full(n + 2, 1 / (n + 2)) if one.ws is None else np.asarray(one.ws)
        for one in (lower, upper)
    ]
    _keep(file, np.array(found))
    return found[0], found[1]


def _cache_folder() -> Path:
    return default_cache() / "bands"


def _keep(file: Path, weights: Floats) -> None:
    """Write weights for the next process; a cache that cannot be written is no mistake."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as unfinished:
            np.save(unfinished, weights)
        Path(unfinished.name).replace(file)
    except OSError:
        return
