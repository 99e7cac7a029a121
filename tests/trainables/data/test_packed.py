import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.model import UserError
from trainables.data.packed import SPLITS, PackedData, fingerprint_of, quotas, write_meta

CLASSES = ("common", "rare", "single")
LABELS = np.array([0] * 12 + [1] * 3 + [2] + [0, 1, 2] + [0, 1, 2], dtype=np.int64)
TABLE = {"train": (0, 16), "validation": (16, 19), "test": (19, 22)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (len(LABELS), 3, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", LABELS)
    write_meta(tmp_path, "small", CLASSES, TABLE, {"source": "test"})
    return tmp_path


def test_what_was_written_is_opened(folder: Path) -> None:
    data = PackedData.open(folder)
    assert (data.name, data.classes, data.channels, data.size) == ("small", CLASSES, 3, 8)
    images, labels = data.split("validation")
    assert images.shape == (3, 3, 8, 8)
    assert labels.tolist() == [0, 1, 2]
    assert not images.flags.writeable


def test_opened_data_travels_without_its_pixels(folder: Path) -> None:
    data = PackedData.open(folder)
    data.split("train")
    sent = pickle.dumps(data)
    assert len(sent) < 1000
    assert (pickle.loads(sent).split("test").images_BCHW == data.split("test").images_BCHW).all()  # noqa: S301


def test_a_limit_takes_the_first_of_each_class_in_proportion_and_keeps_every_class(
    folder: Path,
) -> None:
    data = PackedData.open(folder)
    whole = data.split("train")
    images, labels = data.split("train", 8)
    assert labels.tolist() == [0] * 5 + [1] * 2 + [2]
    assert (images == whole.images_BCHW[[0, 1, 2, 3, 4, 12, 13, 15]]).all()
    assert len(data.split("train", 99).labels_B) == 16


@given(st.lists(st.integers(0, 500), min_size=1, max_size=12), st.data())
def test_quotas_sum_to_the_limit_fit_the_classes_and_starve_none(
    counts: list[int], source: st.DataObject
) -> None:
    total = sum(counts)
    if total == 0:
        return
    limit = source.draw(st.integers(1, total))
    shares = quotas(np.array(counts), limit)
    assert sum(shares) == limit
    assert all(0 <= share <= count for share, count in zip(shares, counts, strict=True))
    present = [share for share, count in zip(shares, counts, strict=True) if count]
    if len(present) <= limit:
        assert min(present) >= 1


def test_the_fingerprint_sees_pixels_labels_names_and_splits_but_not_the_folder(
    folder: Path,
) -> None:
    images, labels = np.load(folder / "images.npy"), LABELS.copy()
    base = fingerprint_of(images, labels, CLASSES, TABLE)
    assert base == PackedData.open(folder).fingerprint
    one_pixel = images.copy()
    one_pixel[-1, -1, -1, -1] ^= 1
    other_label = labels.copy()
    other_label[0] = 1
    others = {
        fingerprint_of(one_pixel, labels, CLASSES, TABLE),
        fingerprint_of(images, other_label, CLASSES, TABLE),
        fingerprint_of(images, labels, ("x", *CLASSES[1:]), TABLE),
        fingerprint_of(images, labels, CLASSES, {**TABLE, "train": (0, 15)}),
        fingerprint_of(images.reshape(-1, 12, 4, 4), labels, CLASSES, TABLE),
    }
    assert len(others | {base}) == 6


def test_copies_of_training_images_are_counted_among_what_is_used(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (len(LABELS), 1, 8, 8), dtype=np.uint8)
    images[17] = images[14]  # of rare, of which a limit of 8 uses but the first
    images[16] = images[20] = images[0]
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", LABELS)
    data = write_meta(tmp_path, "small", CLASSES, TABLE, {"source": "test"})
    assert data.copies_of_train() == {"validation": 2, "test": 1}
    assert data.copies_of_train(8) == {"validation": 1, "test": 1}
    assert data.has_copies()
    for strange in ({}, [], "x", {"train/validation": {"images": 0}}, {"a": 3}):
        data = write_meta(tmp_path, "small", CLASSES, TABLE, {"duplicates": strange})
        assert data.copies_of_train() == {"validation": 2, "test": 1}
        assert data.has_copies()
    pairs = ("train/validation", "train/test", "validation/test")
    none: dict[str, object] = {pair: {"images": 0} for pair in pairs}
    data = write_meta(tmp_path, "small", CLASSES, TABLE, {"duplicates": none})
    assert data.copies_of_train(8) == {"validation": 0, "test": 0}  # as counted, not looked at
    assert not data.has_copies()


def test_the_used_fingerprint_depends_on_the_limit(folder: Path) -> None:
    data = PackedData.open(folder)
    assert data.used_fingerprint(None) == data.fingerprint
    assert len({data.used_fingerprint(limit) for limit in (None, 8, 9)}) == 3


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        PackedData.open(folder)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "meta.json"])
@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_truncated_file_is_told_in_one_line(folder: Path, name: str, keep: float) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match="damaged packed data set"):
        PackedData.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"splits": {"train": [0, 16], "validation": [16, 19], "test": [19, 23]}},
        {"splits": {"train": [0, 16], "validation": [17, 19], "test": [19, 22]}},
        {"splits": {"train": [0, 16], "test": [16, 22]}},
        {"classes": ["common", "rare"]},
        {"provenance": None},
    ],
)
def test_parts_that_disagree_are_refused(folder: Path, change: dict[str, object]) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, **change}))
    with pytest.raises(UserError, match="damaged packed data set"):
        PackedData.open(folder)


def test_another_format_version_is_refused(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        PackedData.open(folder)


def test_split_names_are_in_order() -> None:
    assert tuple(TABLE) == SPLITS
