"""A target that is an arm's own median: the interval must cover R at the true median."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from reports import own_median
from reports.arm import arm_of
from reports.own_median import at_own_median, median_score, median_share
from reports.proportions import exact_interval
from tests.reports.made_tables import DYNAMIC, PERIODIC, made


def arms(dynamic, periodic, **columns):
    first = arm_of(made(DYNAMIC, list(dynamic), **columns), DYNAMIC)
    return first, arm_of(made(PERIODIC, list(periodic)), PERIODIC)


def test_the_median_counts_failures_as_the_worst():
    assert median_score(arms([0.1, 0.3, 0.4, 0.2], [])[0]) == pytest.approx(0.25)
    assert median_score(arms([None, 0.3, 0.4], [])[0]) == 0.3
    assert median_score(arms([None, None, 0.3, 0.4], [])[0]) == 0.3
    assert median_score(arms([None, None, 0.4], [])[0]) is None
    assert median_score(arms([], [])[0]) is None


def simulate(repeats: int):
    """Yield (true ratio, dynamic arm, periodic arm): uniform scores, dynamic's above periodic's."""
    generator = np.random.default_rng(20)
    for _ in range(repeats):
        dynamic = generator.uniform(0.3, 0.7, 11)  # true median 0.5
        periodic = generator.uniform(0.0, 0.6, 60)  # P(≥ 0.5) = 1/6
        yield 0.5 / (1 / 6), *arms(dynamic, periodic)


def test_it_covers_the_ratio_at_the_true_median_where_a_target_taken_as_known_does_not(monkeypatch):
    """Seeded simulation; a share of 250 varies by six sigma of the nominal coverage's binomial."""
    monkeypatch.setattr(own_median, "DRAWS", 4000)
    repeats, melded, known = 250, 0, 0
    for truth, dynamic, periodic in simulate(repeats):
        target = median_score(dynamic)
        low, high = at_own_median(dynamic, periodic, target, 0.95, 0).ratio
        melded += low <= truth <= high
        low, high = exact_interval(int(periodic.hits(target).sum()), periodic.n, 0.95)
        known += low <= 0.5 / truth <= high
    six_sigma = 6 * math.sqrt(0.95 * 0.05 / repeats)
    assert melded / repeats >= 0.95 - six_sigma
    assert known / repeats < 0.87


def test_the_limits_agree_with_the_exact_sum_over_the_medians_rank():
    """Oracle: P(1/R ≤ x) = Σ_j Binom(j; n, ½) · Beta cdf, without ties and stopped trials."""
    generator = np.random.default_rng(3)
    dynamic, periodic = arms(generator.random(9), generator.random(30))
    found = at_own_median(dynamic, periodic, median_score(dynamic), 0.95, 0)
    ys = np.sort(dynamic.scores)
    lows, highs = [-2.0, *ys], [*ys, 2.0]
    share = np.array([0.5 / limit for limit in (found.ratio.low, found.ratio.high)])
    above = below = 0.0
    for j in range(10):
        weight = stats.binom.pmf(j, 9, 0.5)
        might = int((periodic.scores >= lows[j]).sum())
        did = int((periodic.scores >= highs[j]).sum())
        above += weight * (1.0 if might == 30 else stats.beta.sf(share[0], might + 1, 30 - might))
        below += weight * (1.0 if did == 0 else stats.beta.cdf(share[1], did, 31 - did))
    six_sigma = 6 * math.sqrt(0.025 * 0.975 / own_median.DRAWS)
    assert above == pytest.approx(0.025, abs=six_sigma)
    assert below == pytest.approx(0.025, abs=six_sigma)


def test_the_same_arm_on_both_sides_has_1_in_its_limits():
    for scores in ([0.3], [0.2, 0.4], [0.1, 0.5, 0.5, 0.5], list(np.linspace(0.1, 0.9, 15))):
        one, two = arms(scores, scores)
        found = at_own_median(one, two, median_score(one), 0.95, 0)
        assert found.ratio.low <= 1 <= found.ratio.high
        assert found.equal_success.low <= 1 <= found.equal_success.high


def test_tied_scores_give_the_share_at_the_tie_not_a_half():
    """All of dynamic's 20 scores are 0.5: its share at or above its median is near 1."""
    one, two = arms([0.5] * 20, [0.4] * 20 + [0.5] * 20)
    found = at_own_median(one, two, 0.5, 0.95, 0)
    assert median_share(one, 0.5) == 1
    # R is near 1/0.5: with s_D taken for a half the upper limit would be 0.5/0.34.
    assert found.ratio.low < 2 < found.ratio.high


def test_an_odd_number_of_scores_does_not_flatter():
    """Three of five are at or above the middle one, but at its own median an arm has a half."""
    assert median_share(arms([0.1, 0.2, 0.3, 0.4, 0.5], [])[0], 0.3) == 0.5


def test_stopped_trials_of_either_arm_widen_the_limits():
    scores = list(np.linspace(0.1, 0.9, 12))
    plain = at_own_median(*arms(scores, scores), 0.5, 0.95, 0).ratio
    one, two = arms(scores, scores, state=["pruned"] * 4 + ["completed"] * 8)
    assert at_own_median(one, two, 0.5, 0.95, 0).ratio.high > plain.high
    assert at_own_median(two, one, 0.5, 0.95, 0).ratio.low < plain.low
