"""Synthetic faces: an endless, labelled set of seven expressions that needs no download.

Image i of a seed depends on nothing but (seed, i): it owns a fixed stretch of the seed's Philox
counter stream. A slice of a longer draw therefore equals the same slice drawn alone, and any
process can draw any part. Classes take turns, so every stretch is balanced.

The set is made to behave like a small, noisy set of photographs: expressions are often weak, or
mixed with a second one, and identity, pose, light, occlusion and noise vary more than they do.
`docs/faces.md` shows a sheet of them.
"""

# B batch, K classes, A actions (fields of Expression), N words of randomness per image

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from search_spaces.model import UserError
from trainables.data.draws import Draws, stretch
from trainables.data.faces_geometry import (
    PARAMETER_WORDS,
    SIZE,
    WORDS_PER_IMAGE,
    Expression,
    render,
)

CLASSES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")

_FACES_STREAM, _LABELS_STREAM = 0, 1
_BATCH = 16  # images drawn at once: canvases of 147 kB stay in cache, those of 32 are slower

# What each expression does at full strength, after the action units of the Facial Action Coding
# System that define it (for example happiness: AU 6 cheeks, 12 mouth corners).
_ACTIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "happy": {
        "mouth_curve": 0.22, "mouth_width": 0.13, "mouth_open": 0.13, "teeth": 1.0,
        "lower_lid": 0.045, "cheeks": 1.2,
    },
    "sad": {
        "brow_tilt": 0.8, "brow_raise": 0.025, "frown": 0.4, "upper_lid": -0.04,
        "mouth_curve": -0.18, "mouth_width": -0.04, "lips": 0.015,
    },
    "surprise": {
        "brow_raise": 0.17, "brow_arch": 0.08, "upper_lid": 0.065, "lower_lid": -0.025,
        "mouth_open": 0.35, "mouth_width": -0.11, "mouth_curve": -0.04,
    },
    "fear": {
        "brow_raise": 0.1, "brow_tilt": 0.5, "frown": 0.6, "upper_lid": 0.065,
        "mouth_open": 0.16, "mouth_width": 0.09, "mouth_curve": -0.12, "teeth": 0.8,
    },
    "disgust": {
        "brow_raise": -0.08, "brow_tilt": -0.2, "upper_lid": -0.03, "lower_lid": 0.04,
        "sneer": 1.3, "mouth_curve": -0.13, "mouth_open": 0.065, "asymmetry": 0.065, "cheeks": 0.4,
    },
    "anger": {
        "brow_raise": -0.1, "brow_tilt": -0.7, "frown": 1.3, "lower_lid": 0.025,
        "lips": -0.04, "mouth_curve": -0.065, "mouth_width": -0.025,
    },
}  # fmt: skip
_ACTIONS_KA = np.array(
    [[_ACTIONS[name].get(field, 0.0) for field in Expression._fields] for name in CLASSES],
    dtype=np.float32,
)
# How much the same action varies between two faces at rest.
_HABITS: dict[str, float] = {
    "brow_raise": 0.02, "brow_tilt": 0.1, "brow_arch": 0.016, "frown": 0.1, "upper_lid": 0.01,
    "lower_lid": 0.008, "mouth_curve": 0.028, "mouth_open": 0.016, "mouth_width": 0.02,
    "lips": 0.008, "teeth": 0.12, "sneer": 0.1, "cheeks": 0.12, "asymmetry": 0.012,
}  # fmt: skip


def faces(
    count: int, seed: int, start: int = 0
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw faces `start` to `start + count - 1` of the set named by `seed`.

    Parameters
    ----------
    count : int
        Number of images, at least 0.
    seed : int
        0 to 2**64 - 1. Different seeds give independent faces.
    start : int, default 0
        Index of the first image.

    Returns
    -------
    images : uint8, shape (count, 1, 48, 48)
        Grey levels.
    labels : int64, shape (count,)
        True classes, indices into `CLASSES`; image i has class i mod 7.

    Raises
    ------
    UserError
        If a number is out of its range.

    >>> images, labels = faces(3, seed=0, start=7)
    >>> images.shape, labels.tolist()
    ((3, 1, 48, 48), [0, 1, 2])
    """
    for name, value in (("count", count), ("start", start)):
        if value < 0:
            raise UserError(f"{name} must be at least 0, but got {value}.")
    images = np.empty((count, 1, SIZE, SIZE), dtype=np.uint8)
    labels = np.arange(start, start + count, dtype=np.int64) % len(CLASSES)
    for first in range(0, count, _BATCH):
        some = slice(first, min(first + _BATCH, count))
        number = some.stop - some.start
        words = stretch(
            seed, _FACES_STREAM, (start + first) * WORDS_PER_IMAGE, number * WORDS_PER_IMAGE
        )
        words = words.reshape(number, WORDS_PER_IMAGE)
        draw = Draws(words[:, :PARAMETER_WORDS])
        images[some, 0] = render(words, _expression(labels[some], draw), draw)
    return images, labels


def wrong_labels(labels: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.int64]:
    """Return a copy of the labels in which a share is wrong.

    Exactly round(share × count) labels change, each to one of the six other classes with equal
    probability.

    >>> labels = np.zeros(100, dtype=np.int64)
    >>> int((wrong_labels(labels, 0.1, seed=0) != labels).sum())
    10
    """
    if not 0 <= share <= 1:
        raise UserError(f"share must be from 0 to 1, but got {share}.")
    words = stretch(seed, _LABELS_STREAM, 0, 2 * len(labels))
    order, shift = words[: len(labels)], words[len(labels) :]
    chosen = np.argsort(order, kind="stable")[: round(share * len(labels))]
    wrong = labels.copy()
    others = np.uint64(len(CLASSES) - 1)
    wrong[chosen] = (wrong[chosen] + 1 + (shift[chosen] % others).astype(np.int64)) % len(CLASSES)
    return wrong


def _expression(labels_B: npt.NDArray[np.int64], draw: Draws) -> Expression:
    """Mix the label's actions with a little of another class's, and with the face's own habits."""
    strength = draw.between(0.65, 1.5)[:, :, 0]
    other = draw.between(0, len(CLASSES))[:, 0, 0].astype(np.int64)
    leak = (draw.chance(0.25) * draw.between(0, 0.3))[:, :, 0]
    actions_BA = strength * _ACTIONS_KA[labels_B] + leak * _ACTIONS_KA[other]
    side = 1 - 2 * draw.chance(0.5)
    fields = {}
    for column, name in enumerate(Expression._fields):
        action = actions_BA[:, column, None, None] + draw.bell(0, _HABITS[name])
        if name in ("frown", "teeth", "sneer", "cheeks"):
            action = np.minimum(np.maximum(action, 0), 1)
        fields[name] = action
    fields["asymmetry"] = fields["asymmetry"] * side
    return Expression(**fields)
