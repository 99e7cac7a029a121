"""Tuning curves and bands: closed forms, opda itself, and each of its traps."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path

import numpy as np
import opda.nonparametric
import pytest
from opda.nonparametric import EmpiricalDistribution
from scipy import stats

from reports import tuning_curve as module
from reports.arm import NEVER, arm_of
from reports.tuning_curve import band, below, hit_interval, tuning_curve, why_no_band
from tests.reports.made_tables import PERIODIC, made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the weights of these tests apart from the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module._weights.cache_clear()
    return tmp_path / "tuner" / "bands"


def test_of_uniform_scores_the_curve_is_the_root_of_q():
    """τ_q(k) = q^(1/k) for U(0, 1); a fine grid of scores has it to one step."""
    scores = (np.arange(500) + 0.5) / 500
    curve = tuning_curve(scores, [1, 2, 5])
    for k, score in zip(curve.trials, curve.score, strict=True):
        assert score == pytest.approx(0.5 ** (1 / k), abs=1 / 500)
    assert all(a <= b <= c for a, b, c in zip(curve.low, curve.score, curve.high, strict=True))


def test_of_quadratic_scores_the_curve_is_the_square():
    """Y = U² has F(y) = √y, so τ_q(k) = q^(2/k); a step of U is at most 2 steps of Y."""
    scores = ((np.arange(500) + 0.5) / 500) ** 2
    curve = tuning_curve(scores, [1, 3])
    for k, score in zip(curve.trials, curve.score, strict=True):
        assert score == pytest.approx(0.5 ** (2 / k), abs=2 / 500)


def test_the_band_is_opdas_own():
    scores = [0.31, 0.35, 0.36, 0.4, 0.52, 0.7]
    found = band(scores, 0.9)
    theirs = EmpiricalDistribution.confidence_bands(
        scores, 0.9, a=NEVER, b=1.0, generator=np.random.default_rng(0), n_jobs=1
    )
    for y in (0.3, 0.35, 0.5, 0.9):
        expected = [one.cdf(y) for one in theirs]
        assert [one.cdf(y) for one in found[:3]] == pytest.approx(expected, abs=1e-12)


def test_nan_is_refused_since_opda_ranks_it_as_the_best():
    assert np.sort([0.5, math.nan])[-1] != 0.5
    with pytest.raises(ValueError, match="NaN"):
        band([0.5, math.nan], 0.95)
    with pytest.raises(ValueError, match="at least one"):
        band([], 0.95)


def test_a_score_equal_to_the_target_is_a_match_though_opdas_cdf_includes_it():
    scores = [0.2, 0.5, 0.5, 0.7]
    found = band(scores, 0.95)
    assert found.point.cdf(0.5) == 0.75
    assert found.point.cdf(np.nextafter(0.5, 0)) == 0.25
    assert below(found, 0.5) == below(found, 0.3)
    assert hit_interval(scores, 0.5, 0.95).high > hit_interval(scores, 0.6, 0.95).high


def test_one_trial_has_the_exact_band_though_opda_refuses_it():
    with pytest.raises(ValueError, match="highest density"):
        EmpiricalDistribution.confidence_bands([0.5], 0.95, n_jobs=1)
    # F(Y) of the one score is uniform.
    assert hit_interval([0.5], 0.5, 0.9) == pytest.approx((0.05, 1))
    assert hit_interval([0.5], 0.6, 0.9) == pytest.approx((0, 0.95))


def test_the_weights_are_computed_once_per_number_of_trials_and_kept_on_disk(cache, monkeypatch):
    first = tuning_curve([0.1, 0.2, 0.3], [1, 2])
    assert [path.name for path in cache.iterdir()] == ["ld_highest_density-3-0.95.npy"]
    module._weights.cache_clear()

    def fail(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(opda.nonparametric.EmpiricalDistribution, "confidence_bands", fail)
    assert tuning_curve([0.1, 0.2, 0.3], [1, 2]) == first
    with pytest.raises(AssertionError):
        tuning_curve([0.1, 0.2, 0.3, 0.4], [1, 2])


def test_a_damaged_or_forbidden_cache_is_no_mistake(cache, monkeypatch):
    expected = tuning_curve([0.1, 0.2, 0.3], [1])
    for file in cache.iterdir():
        file.write_bytes(b"nonsense")
    module._weights.cache_clear()
    assert tuning_curve([0.1, 0.2, 0.3], [1]) == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    module._weights.cache_clear()
    assert tuning_curve([0.1, 0.2, 0.3], [1]) == expected


def _in_worker(queue) -> None:
    module._weights.cache_clear()
    queue.put(tuning_curve([0.1, 0.2], [1]).score)


def test_it_works_in_a_daemonic_worker_where_opdas_default_pool_fails(monkeypatch):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_in_worker, args=(queue,), daemon=True)
    worker.start()
    assert queue.get(timeout=60) == (pytest.approx(0.1),)
    worker.join()


def test_many_trials_get_a_band_at_once():
    """Highest-density weights for 2,000 trials would take many minutes and gigabytes."""
    found = band(np.linspace(0.1, 0.9, 2000), 0.95)
    assert found.method == "ks"
    low, high = below(found, 0.5)
    # Kolmogorov's limit 1.358/√n at 95 %, on both sides.
    assert (high - low) / 2 == pytest.approx(stats.kstwobign.ppf(0.95) / math.sqrt(2000), rel=0.02)


def test_another_band_can_be_asked_for_and_is_named():
    for method in ("ld_equal_tailed", "dkw"):
        curve = tuning_curve([0.1, 0.2, 0.3], [1], method=method)
        assert curve.method == method
    assert tuning_curve([0.1], [1], method="dkw").method == "exact"


def test_a_failed_trial_is_below_every_score_and_shows_as_0():
    curve = tuning_curve([NEVER, NEVER, 0.4], [1, 5])
    assert curve.score == (0.0, 0.4)
    assert math.isfinite(sum(curve.low + curve.high))


def test_the_band_of_a_small_sample_covers_simultaneously():
    """Seeded simulation of uniform scores: the band must hold at every score at once."""
    generator = np.random.default_rng(5)
    repeats, n, covered = 400, 8, 0
    for _ in range(repeats):
        scores = np.sort(generator.random(n))
        found = band(scores, 0.9)
        # F(y) = y; the steps of the limits lie at the scores.
        low = np.array([found.lower.cdf(y) for y in scores])
        high = np.array([found.upper.cdf(np.nextafter(y, 0)) for y in scores])
        covered += bool(np.all(low <= scores) and np.all(scores <= high))
    assert covered / repeats == pytest.approx(0.9, abs=6 * math.sqrt(0.9 * 0.1 / repeats))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({}, None),
        ({"stage": "search"}, "depend on one another"),
        ({"stage": "search", "definition": "[{},{}]"}, None),
        ({"seed": 7}, "share a seed"),
        ({"state": ["pruned", "completed", "completed"]}, "stopped early"),
    ],
)
def test_a_band_is_only_for_independent_draws(columns, reason):
    found = why_no_band(arm_of(made(PERIODIC, [0.1, 0.2, 0.3], **columns), PERIODIC))
    assert found is None if reason is None else reason in found


def test_no_trials_have_no_band():
    assert why_no_band(arm_of(made(PERIODIC, []), PERIODIC)) == "there are no trials"
