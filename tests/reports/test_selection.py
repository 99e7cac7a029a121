"""The test score of what validation selects: all subsets, closed forms, optimism."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.selection import selected_test, subset_weights
from tests.reports.made_tables import PERIODIC, made


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=7))
def test_it_is_the_mean_over_all_subsets_with_ties_shared(pairs):
    scores = [v / 10 for v, _ in pairs]
    tests = [t / 10 for _, t in pairs]
    found = selected_test(made(PERIODIC, scores, test_score=tests))
    for k in range(1, len(pairs) + 1):
        total = 0.0
        subsets = list(itertools.combinations(range(len(pairs)), k))
        for subset in subsets:
            best = max(scores[i] for i in subset)
            total += np.mean([tests[i] for i in subset if scores[i] == best])
        # Ties are shared among all equals, which averages over subsets to the same.
        if len(set(scores)) == len(scores):
            assert found.test[k - 1] == pytest.approx(total / len(subsets))
    assert found.validation[-1] == pytest.approx(max(scores))


def test_equals_in_validation_share_their_test_scores():
    found = selected_test(made(PERIODIC, [0.5] * 4, test_score=[0.1, 0.2, 0.3, 0.4]))
    assert found.test == pytest.approx((0.25,) * 4)


def test_weights_sum_to_one_also_for_thousands_of_trials():
    for k in (1, 1000, 2000):
        assert subset_weights(2000, k).sum() == pytest.approx(1)
    assert subset_weights(2000, 1) == pytest.approx(np.full(2000, 1 / 2000))


def test_selecting_by_noise_gains_nothing_on_test_and_all_of_it_is_optimism():
    """All trials are equally good; validation and test add independent noise.

    Then T(k) is the mean test score in expectation, for every k, while validation rises to the
    maximum. Its standard error is at most that of a single test score.
    """
    generator = np.random.default_rng(2)
    n, sigma = 400, 0.02
    validation, test = 0.4 + sigma * generator.standard_normal((2, n))
    found = selected_test(made(PERIODIC, validation.tolist(), test_score=test.tolist()))
    assert found.test[19] == pytest.approx(0.4, abs=6 * sigma / math.sqrt(n / 20))
    # The mean of the maximum of 20 normal draws is 1.8675 sigma.
    assert found.optimism[19] == pytest.approx(1.8675 * sigma, abs=6 * sigma / math.sqrt(n / 20))
    assert found.optimism[0] == pytest.approx(0, abs=6 * sigma * math.sqrt(2 / n))
    assert list(found.validation) == sorted(found.validation)


def test_only_completed_trials_with_both_scores_count_and_the_rest_is_told():
    table = made(
        PERIODIC,
        [0.9, 0.5, 0.4, None],
        test_score=[0.8, 0.5, None, None],
        state=["pruned", "completed", "completed", "crashed"],
    )
    found = selected_test(table)
    assert (found.pool, found.left_out, found.test) == (1, 3, (0.5,))
    assert found.low == found.high == (0.5,)
    assert selected_test(made(PERIODIC, [0.4])) is None


def test_the_limits_enclose_the_curve_and_only_wanted_numbers_are_computed():
    scores = list(np.linspace(0.2, 0.6, 30))
    found = selected_test(made(PERIODIC, scores, test_score=scores), ks=[1, 5, 30, 99])
    assert found.trials == (1, 5, 30)
    assert all(a <= b <= c for a, b, c in zip(found.low, found.test, found.high, strict=True))
