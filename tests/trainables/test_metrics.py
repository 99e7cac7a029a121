"""Macro-F1 and accuracy against their definitions, counted one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.metrics import accuracy, macro_f1

NUM_CLASSES = 4
pairs = st.lists(
    st.tuples(st.integers(0, NUM_CLASSES - 1), st.integers(0, NUM_CLASSES - 1)),
    min_size=1,
    max_size=60,
)


def matrix(cases: list[tuple[int, int]]) -> np.ndarray:
    counts = np.zeros((NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    for true, predicted in cases:
        counts[true, predicted] += 1
    return counts


@given(pairs)
def test_macro_f1_equals_the_mean_of_f1_from_precision_and_recall(cases):
    scores = []
    for label in range(NUM_CLASSES):
        hits = sum(true == predicted == label for true, predicted in cases)
        num_predicted = sum(predicted == label for _, predicted in cases)
        num_true = sum(true == label for true, _ in cases)
        precision = hits / num_predicted if num_predicted else 0
        recall = hits / num_true if num_true else 0
        both = precision + recall
        scores.append(2 * precision * recall / both if both else 0)
    assert macro_f1(matrix(cases)) == pytest.approx(sum(scores) / NUM_CLASSES, abs=1e-12)


@given(pairs)
def test_accuracy_equals_the_share_of_equal_pairs(cases):
    share = sum(true == predicted for true, predicted in cases) / len(cases)
    assert accuracy(matrix(cases)) == pytest.approx(share, abs=1e-12)


def test_a_class_that_is_neither_present_nor_predicted_counts_as_zero():
    """scikit-learn 1.5: f1_score([0, 1], [0, 1], labels=[0, 1, 2, 3], average="macro") is 0.5."""
    assert macro_f1(matrix([(0, 0), (1, 1)])) == 0.5


def test_all_right_is_one_and_all_wrong_is_zero():
    assert macro_f1(matrix([(label, label) for label in range(NUM_CLASSES)])) == 1.0
    assert macro_f1(matrix([(0, 1), (1, 0), (2, 3), (3, 2)])) == 0.0
