"""Accuracy and macro-F1 from a confusion matrix; numpy only."""

# K classes

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]


def accuracy(confusion_KK: Counts) -> float:
    """Return the share of images predicted as their true class (row: true, column: predicted)."""
    return float(np.trace(confusion_KK) / confusion_KK.sum())


def macro_f1(confusion_KK: Counts) -> float:
    """Return the mean over all classes of F1 = 2·TP / (2·TP + FP + FN).

    Every class of the data set counts equally, and one that is neither present nor predicted
    counts as 0: scikit-learn's `f1_score(labels=all, average="macro", zero_division=0)`.

    >>> macro_f1(np.array([[1, 1], [0, 1]]))
    0.6666666666666666
    """
    true_positives_K = np.diag(confusion_KK)
    denominator_K = confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1)  # 2·TP + FP + FN
    f1_K = 2 * true_positives_K / np.maximum(denominator_K, 1)
    return float(f1_K.mean())
