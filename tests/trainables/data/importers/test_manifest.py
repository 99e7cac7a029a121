from pathlib import Path
from typing import Any

import pytest

from search_spaces.model import UserError
from tests.trainables.data.layouts import (
    class_folders,
    counts,
    packed,
    png,
    table,
    write_folder,
    write_zip,
)


def rows(labels: int, each: int, *splits: str) -> list[list[Any]]:
    """Return rows path, label, split for images i/0000.png and so on."""
    names = list(class_folders(map(str, range(labels)), each))
    return [[f"../i/{n}", n.split("/")[0], splits[k % len(splits)]] for k, n in enumerate(names)]


def manifest(body: list[list[Any]], header: tuple[str, ...] = ("path", "label", "split")) -> bytes:
    return table([header, *body])


def images(labels: int, each: int) -> dict[str, bytes]:
    return {f"i/{n}": c for n, c in class_folders(map(str, range(labels)), each).items()}


def test_number_labels_are_sorted_by_number_and_splits_are_read(tmp_path: Path) -> None:
    body = rows(11, 3, "Train", "valid", "TEST")
    files = {**images(11, 3), "lists/all.csv": manifest(body)}
    data = packed(write_folder(tmp_path / "set", files) / "lists" / "all.csv")
    assert data.provenance["format"] == "manifest"
    assert data.classes == tuple(map(str, range(11)))
    assert counts(data) == {"train": 11, "validation": 11, "test": 11}


def test_without_a_split_column_splits_are_carved(tmp_path: Path) -> None:
    body = [row[:2] for row in rows(2, 20, "")]
    files = {**images(2, 20), "lists/all.csv": manifest(body, ("Path", " label"))}
    data = packed(write_zip(tmp_path / "set.zip", {f"top/{n}": c for n, c in files.items()}))
    assert counts(data) == {"train": 32, "validation": 4, "test": 4}


def test_absolute_paths_work_for_a_manifest_on_disk(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "elsewhere", images(2, 10))
    body = [[str(root / row[0][3:]), row[1]] for row in rows(2, 10, "")]
    (tmp_path / "all.csv").write_bytes(manifest(body, ("path", "label")))
    assert counts(packed(tmp_path / "all.csv")) == {"train": 16, "validation": 2, "test": 2}


def test_a_manifest_in_an_archive_reaches_nothing_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(1))
    body = [
        *rows(2, 10, "train"),
        [str(outside), "0", "train"],
        ["../../outside.png", "1", "train"],
    ]
    files = {**images(2, 10), "lists/all.csv": manifest(body)}
    data = packed(write_zip(tmp_path / "set.zip", files), max_bad=2)
    assert [reason for _, reason in data.provenance["bad"]] == ["missing", "missing"]


def test_missing_images_folders_and_short_rows_are_bad(tmp_path: Path) -> None:
    body = [*rows(2, 10, "train"), ["gone.png", "0", "train"], ["../i", "0", "train"], ["x.png"]]
    files = {**images(2, 10), "lists/all.csv": manifest(body)}
    source = write_folder(tmp_path / "set", files) / "lists" / "all.csv"
    with pytest.raises(UserError, match=r"\(--max-bad\) must be at least 3"):
        packed(source)
    reasons = dict(packed(source, max_bad=3).provenance["bad"])
    assert reasons == {
        "gone.png": "missing",
        "../i": "is not a regular file",
        "line 24": "has 1 columns instead of 3",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            manifest([["a.png", "x", "trian"]]),
            "split must be one of train, .* got 'trian' .*line 2",
        ),
        (manifest([["a.png", "x", ""]]), "split must be one of train, .* got ''"),
        (manifest([["a.png", "", "train"]]), "label must be a class name, but is empty"),
        (manifest([]), "names no image"),
        (manifest([["a.png", "x", "train"]]) + b"\xff,x,train", "not a readable CSV"),
        (manifest([["a.png", "x", "train"], ["b.png", "x", "test"]]), "At least two classes"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_told(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "all.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        packed(tmp_path / "all.csv", max_bad=9)
    assert "\n" not in str(caught.value)


def test_two_manifests_are_ambiguous(tmp_path: Path) -> None:
    files = {**images(2, 4), "one.csv": manifest([]), "two.csv": manifest([])}
    with pytest.raises(UserError, match=r"Exactly one manifest .* found one.csv, two.csv"):
        packed(write_folder(tmp_path / "set", files))
