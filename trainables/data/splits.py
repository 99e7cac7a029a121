"""Which image goes to train, validation and test, and in which order a split holds them.

Order and carving depend on the images' content alone, never on file names: the zip, the folder and
the CSV of the same pixels give the same packed set. Carving keeps identical images of a class on
one side.
"""

# N images, K classes

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.model import UserError
from trainables.data.packed import SPLITS

TRAIN, VALIDATION, TEST = range(3)
UNASSIGNED = -1
"""Split code of images whose source has no splits."""
EXAMPLES = 10
"""How many pairs of duplicates are named."""


def assign(
    splits_N: npt.NDArray[np.int64],
    labels_N: npt.NDArray[np.int64],
    digests_N: list[bytes],
    share: float,
    seed: int,
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Complete the three splits: search must never see test, and needs a validation split.

    Without a test split, the source's own validation split becomes test. Without splits, test is
    carved. What is then missing of validation is carved from train: `share` of each class.

    Parameters
    ----------
    splits_N : int64
        The source's split codes, or `UNASSIGNED` throughout.
    labels_N : int64
    digests_N : list of bytes
        Of the decoded pixels.
    share : float in (0, 1)
    seed : int

    Returns
    -------
    splits_N : int64
        `TRAIN`, `VALIDATION` or `TEST`.
    notes : list of str
        One sentence for each thing that was done.

    Raises
    ------
    UserError
        If there is no training image, or too few to carve from.
    """
    splits_N, notes = splits_N.copy(), []
    percent = f"{100 * share:g} % of each class, seed {seed}"
    if (splits_N == UNASSIGNED).all():
        splits_N[:] = TRAIN
        splits_N[_carved(splits_N, labels_N, digests_N, share, f"test {seed}")] = TEST
        notes.append(f"test is carved from the whole set: {percent}")
    present = set(splits_N.tolist())
    if TRAIN not in present:
        raise UserError("No usable training image was found (splits: train, validation, test).")
    if TEST not in present and VALIDATION in present:
        splits_N[splits_N == VALIDATION] = TEST
        notes.append("test is the source's own validation split; search never sees it")
    if TEST not in splits_N:
        splits_N[_carved(splits_N, labels_N, digests_N, share, f"test {seed}")] = TEST
        notes.append(f"test is carved from train: {percent}")
    if VALIDATION not in splits_N:
        splits_N[_carved(splits_N, labels_N, digests_N, share, f"validation {seed}")] = VALIDATION
        notes.append(f"validation is carved from train: {percent}")
    counts = np.bincount(splits_N, minlength=3)
    if counts.min() == 0:
        raise UserError(
            "Every split needs an image, but train, validation and test have"
            f" {', '.join(map(str, counts))}; give more images of a class."
        )
    return splits_N, notes


def canonical_order(
    splits_N: npt.NDArray[np.int64], labels_N: npt.NDArray[np.int64], digests_N: list[bytes]
) -> npt.NDArray[np.int64]:
    """Return positions sorted by split, then content (which also mixes the classes)."""
    keys = sorted(range(len(digests_N)), key=lambda i: (splits_N[i], digests_N[i], labels_N[i]))
    return np.array(keys, dtype=np.int64)


def copies(
    splits_N: npt.NDArray[np.int64], digests_N: list[bytes]
) -> dict[tuple[int, int], list[int]]:
    """Return images of one split whose decoded pixels are also in an earlier one.

    Returns
    -------
    dict
        (split, earlier split) → positions; what is in train and in validation counts for train.
    """
    found: dict[tuple[int, int], list[int]] = {}
    earliest: dict[bytes, int] = {}
    for split, digest in zip(splits_N.tolist(), digests_N, strict=True):
        earliest[digest] = min(split, earliest.get(digest, split))
    for i, (split, digest) in enumerate(zip(splits_N.tolist(), digests_N, strict=True)):
        if earliest[digest] < split:
            found.setdefault((split, earliest[digest]), []).append(i)
    return found


def duplicates(
    splits_N: npt.NDArray[np.int64],
    labels_N: npt.NDArray[np.int64],
    digests_N: list[bytes],
    names_N: list[str],
) -> dict[str, Any]:
    """Count images whose decoded pixels occur more than once.

    Returns
    -------
    dict
        For each pair of splits, such as ``"train/test"``: ``images`` of the second that are also in
        the first, ``relabelled`` those of them that never have the same label there, and
        ``examples``, pairs of names. Under ``"within"``, for each split, how many images repeat an
        earlier one of that split.
    """
    members: dict[bytes, list[int]] = {}
    for i, digest in enumerate(digests_N):
        members.setdefault(digest, []).append(i)
    shared = [group for group in members.values() if len(group) > 1]
    within: Counter[int] = Counter()
    for group in shared:
        for split, count in Counter(int(splits_N[i]) for i in group).items():
            within[split] += count - 1
    result: dict[str, Any] = {"within": {SPLITS[s]: within[s] for s in range(3)}}
    for first, second in ((TRAIN, VALIDATION), (TRAIN, TEST), (VALIDATION, TEST)):
        images = relabelled = 0
        examples: list[tuple[str, str]] = []
        for group in shared:
            there = [i for i in group if splits_N[i] == first]
            here = [i for i in group if splits_N[i] == second]
            if not there:
                continue
            images += len(here)
            labels = {int(labels_N[i]) for i in there}
            relabelled += sum(int(labels_N[i]) not in labels for i in here)
            examples += [(min(names_N[j] for j in there), names_N[i]) for i in here]
        result[f"{SPLITS[first]}/{SPLITS[second]}"] = {
            "images": images,
            "relabelled": relabelled,
            "examples": sorted(examples)[:EXAMPLES],
        }
    return result


def _carved(
    splits_N: npt.NDArray[np.int64],
    labels_N: npt.NDArray[np.int64],
    digests_N: list[bytes],
    share: float,
    purpose: str,
) -> list[int]:
    """Return the positions of a share of each class of train, at least one, never all."""
    chosen = []
    for label in np.unique(labels_N):
        groups: dict[bytes, list[int]] = {}
        mine = np.flatnonzero((splits_N == TRAIN) & (labels_N == label)).tolist()
        for i in mine:
            groups.setdefault(digests_N[i], []).append(i)
        wanted = min(max(1, round(share * len(mine))), len(mine) - 1)
        taken = 0
        # Hashing content with the seed is a permutation that does not depend on what else there is.
        for digest in sorted(groups, key=lambda d: hashlib.sha256(purpose.encode() + d).digest()):
            if taken + len(groups[digest]) <= wanted:
                chosen += groups[digest]
                taken += len(groups[digest])
    return chosen
