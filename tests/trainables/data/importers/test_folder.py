from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.trainables.data.layouts import class_folders, counts, packed, png, write_folder


@pytest.mark.parametrize("outer", ["", "a/", "a/b/c/"])
@pytest.mark.parametrize("valid", ["val", "valid", "Validation"])
def test_split_folders_are_found_inside_outer_folders(
    tmp_path: Path, outer: str, valid: str
) -> None:
    files = class_folders(["x", "y"], 2, ["train", valid, "test"])
    data = packed(write_folder(tmp_path / "set", {outer + n: c for n, c in files.items()}))
    assert data.provenance["format"] == "folder"
    assert data.classes == ("x", "y")
    assert counts(data) == {"train": 4, "validation": 4, "test": 4}
    assert data.provenance["notes"] == []


def test_without_split_folders_test_and_validation_are_carved(tmp_path: Path) -> None:
    files = {f"outer/{n}": c for n, c in class_folders(["x", "y"], 20).items()}
    data = packed(write_folder(tmp_path / "set", files))
    assert counts(data) == {"train": 32, "validation": 4, "test": 4}


@pytest.mark.parametrize("splits", [["train", "val"], ["train", "test"]])
def test_with_two_splits_the_other_is_test_and_validation_is_carved(
    tmp_path: Path, splits: list[str]
) -> None:
    data = packed(write_folder(tmp_path / "set", class_folders(["x", "y"], 10, splits)))
    assert counts(data) == {"train": 18, "validation": 2, "test": 20}


def test_images_below_a_class_folder_belong_to_it(tmp_path: Path) -> None:
    files = {**class_folders(["x", "y"], 4, ["train", "test"]), "train/x/more/1.png": png(99)}
    data = packed(write_folder(tmp_path / "set", files))
    assert data.provenance["counts"]["train"]["x"] == 4  # of five, one is carved


def test_names_with_odd_characters_are_kept(tmp_path: Path) -> None:
    files = class_folders(["naïve 日本", "x'; --\n"], 6)
    data = packed(write_folder(tmp_path / "set", files))
    assert data.classes == ("naïve 日本", "x'; --\n")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.png", "b.png"], "must lie in class folders"),
        (["train/1.png", "test/2.png"], "must lie in class folders"),
        (["x/1.png", "x/2.png"], "At least two classes .* but got 1 .classes found: x"),
        (["train/x/1.png", "train/y/2.png", "extra/x/3.png"], "must be a split .* got 'extra'"),
        (["test/x/1.png", "test/y/2.png"], "No usable training image"),
        (["x/1.png", "y/2.png"], "Every split needs an image"),
        (["x/readme.md"], "none of the layouts"),
    ],
)
def test_a_layout_that_cannot_be_used_is_told(
    tmp_path: Path, files: list[str], message: str
) -> None:
    source = write_folder(tmp_path / "set", {name: png(i) for i, name in enumerate(files)})
    with pytest.raises(UserError, match=message) as caught:
        packed(source)
    assert "\n" not in str(caught.value)
