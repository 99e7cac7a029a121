from pathlib import Path

import pytest

from search_spaces.model import UserError
from tests.trainables.data.layouts import (
    counts,
    packed,
    pixels,
    pixels_by_class,
    png,
    write_folder,
    write_zip,
)
from trainables.data.importers.listing import SEVEN

CODES = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")


def raf(extra: str = "") -> dict[str, bytes]:
    """Return RAF-DB's files: ten training and two test faces of each class."""
    files, lines = {}, []
    for split, each in (("train", 10), ("test", 2)):
        for label in range(1, 8):
            for i in range(each):
                number = 100 * label + i + (50 if split == "test" else 0)
                lines.append(f"{split}_{number:05d}.jpg {label}")
                name = f"basic/Image/aligned/{split}_{number:05d}_aligned.jpg"
                files[name] = png(number, 16, 3)
    files["basic/EmoLabel/list_patition_label.txt"] = ("\n".join(lines) + "\n" + extra).encode()
    return files


def test_labels_splits_and_file_names_are_rafdbs(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", raf()))
    assert data.provenance["format"] == "rafdb"
    assert data.classes == SEVEN
    assert counts(data) == {"train": 63, "validation": 7, "test": 14}
    found = pixels_by_class(data, "test")
    for label, name in enumerate(CODES, start=1):
        numbers = (100 * label + 50, 100 * label + 51)
        assert found[name] == {pixels(n, 16, 3).transpose(2, 0, 1).tobytes() for n in numbers}


def test_a_zip_with_an_outer_folder_agrees(tmp_path: Path) -> None:
    inside = {f"RAF-DB/{name}": content for name, content in raf().items()}
    flat = {f"{'' if n.endswith('txt') else 'aligned/'}{Path(n).name}": c for n, c in raf().items()}
    packs = [
        packed(write_zip(tmp_path / "a.zip", inside)),
        packed(write_folder(tmp_path / "b", flat)),
    ]
    assert packs[0].fingerprint == packs[1].fingerprint


def test_a_listed_image_that_is_missing_is_bad(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", raf("train_99999.jpg 1\n")), max_bad=1)
    name = "basic/Image/aligned/train_99999_aligned.jpg"
    assert data.provenance["bad"] == [[name, "missing"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_1.jpg 8", "label must be 1 to 7, but got '8' .*line 85"),
        ("train_1.jpg 0", "label must be 1 to 7"),
        ("train_1.jpg", "a file name and a label"),
        ("other_1.jpg 1", "must start with train_ or test_, but got 'other_1.jpg'"),
    ],
)
def test_a_line_outside_the_format_is_an_error(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        packed(write_folder(tmp_path / "set", raf(line)), max_bad=9)


def test_a_list_without_aligned_faces_says_so(tmp_path: Path) -> None:
    files = {n: c for n, c in raf().items() if n.endswith(".txt")}
    files["basic/Image/aligned.zip"] = b""
    with pytest.raises(UserError, match="no aligned/ folder in 2 files"):
        packed(write_folder(tmp_path / "set", files))
