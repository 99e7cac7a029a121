from itertools import product

import numpy as np
import pytest

from search_spaces.model import UserError
from trainables.data.splits import (
    TEST,
    TRAIN,
    UNASSIGNED,
    VALIDATION,
    assign,
    canonical_order,
    copies,
    duplicates,
)


def digests(numbers: list[int]) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in numbers]


def shuffled_set(seed: int) -> tuple[np.ndarray, list[bytes]]:
    """Return labels and digests of 100 + 40 + 6 images in an order drawn by `seed`."""
    labels = np.repeat([0, 1, 2], [100, 40, 6])
    order = np.random.default_rng(seed).permutation(len(labels))
    return labels[order], [digests([int(i)])[0] for i in order]


def test_three_splits_of_the_source_stay_as_they_are() -> None:
    splits = np.array([TRAIN, TRAIN, VALIDATION, TEST])
    result, notes = assign(splits, np.zeros(4, int), digests([1, 2, 3, 4]), 0.1, 0)
    assert result.tolist() == splits.tolist()
    assert notes == []


def test_the_official_validation_set_becomes_test_and_validation_comes_from_train() -> None:
    labels, contents = shuffled_set(0)
    splits = np.where(np.arange(146) % 4 == 0, VALIDATION, TRAIN)
    result, notes = assign(splits, labels, contents, 0.2, 0)
    assert ((result == TEST) == (splits == VALIDATION)).all()
    assert (splits[result == VALIDATION] == TRAIN).all()
    assert len(notes) == 2


def test_carving_takes_the_share_of_each_class() -> None:
    labels, contents = shuffled_set(0)
    result, _ = assign(np.full(146, UNASSIGNED), labels, contents, 0.1, 0)
    of = {
        (k, s): int(((labels == k) & (result == s)).sum()) for k, s in product(range(3), range(3))
    }
    assert [of[k, TEST] for k in range(3)] == [10, 4, 1]
    assert [of[k, VALIDATION] for k in range(3)] == [9, 4, 1]
    assert [of[k, TRAIN] for k in range(3)] == [81, 32, 4]


def test_carving_depends_on_content_and_seed_not_on_order() -> None:
    chosen = []
    for order, seed in ((1, 0), (2, 0), (1, 5)):
        labels, contents = shuffled_set(order)
        result, _ = assign(np.full(146, UNASSIGNED), labels, contents, 0.1, seed)
        chosen.append({contents[i] for i in np.flatnonzero(result == VALIDATION)})
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_carving_keeps_identical_images_together() -> None:
    contents = digests([i // 3 for i in range(90)])  # every image three times
    result, _ = assign(np.full(90, UNASSIGNED), np.zeros(90, int), contents, 0.2, 0)
    assert all(len(set(result[i : i + 3].tolist())) == 1 for i in range(0, 90, 3))
    assert duplicates(result, np.zeros(90, int), contents, [""] * 90)["train/test"]["images"] == 0


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([TEST, TEST], "No usable training image"),
        ([TRAIN, TEST], "Every split needs an image"),
        ([TRAIN], "Every split needs an image"),
    ],
)
def test_too_few_images_are_told(splits: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        assign(np.array(splits), np.arange(len(splits)), digests(splits), 0.5, 0)


def test_order_is_by_split_then_content() -> None:
    splits = np.array([TEST, TRAIN, TRAIN, VALIDATION])
    assert canonical_order(splits, np.zeros(4, int), digests([1, 9, 2, 5])).tolist() == [2, 1, 3, 0]


def test_duplicates_agree_with_comparing_every_pair() -> None:
    source = np.random.default_rng(3)
    splits, labels = source.integers(0, 3, 120), source.integers(0, 2, 120)
    contents = digests(source.integers(0, 60, 120).tolist())
    found = duplicates(splits, labels, contents, [f"{i:03d}" for i in range(120)])
    for name, (first, second) in {
        "train/validation": (TRAIN, VALIDATION),
        "train/test": (TRAIN, TEST),
        "validation/test": (VALIDATION, TEST),
    }.items():
        images = relabelled = 0
        for i in np.flatnonzero(splits == second):
            twins = [j for j in np.flatnonzero(splits == first) if contents[j] == contents[i]]
            images += bool(twins)
            relabelled += bool(twins) and all(labels[j] != labels[i] for j in twins)
        assert (found[name]["images"], found[name]["relabelled"]) == (images, relabelled)
        assert images > 0
        for left, right in found[name]["examples"]:
            assert contents[int(left)] == contents[int(right)]
            assert (splits[int(left)], splits[int(right)]) == (first, second)
    for split, name in enumerate(("train", "validation", "test")):
        mine = [contents[i] for i in np.flatnonzero(splits == split)]
        assert found["within"][name] == len(mine) - len(set(mine))


def test_copies_agree_with_looking_for_every_image_in_earlier_splits() -> None:
    source = np.random.default_rng(4)
    splits = source.integers(0, 3, 150)
    contents = digests(source.integers(0, 90, 150).tolist())
    found = copies(splits, contents)
    assert set(found) == {(VALIDATION, TRAIN), (TEST, TRAIN), (TEST, VALIDATION)}
    of = {i: pair for pair, positions in found.items() for i in positions}
    for i in range(150):
        earlier = [s for s, c in zip(splits, contents, strict=True) if c == contents[i]]
        first = int(min(earlier))
        assert of.get(i) == ((int(splits[i]), first) if first < splits[i] else None)
