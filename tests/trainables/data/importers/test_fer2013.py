from pathlib import Path

import numpy as np
import pytest

from search_spaces.model import UserError
from tests.trainables.data.layouts import (
    counts,
    packed,
    pixels,
    pixels_by_class,
    png,
    table,
    write_folder,
    write_tar,
    write_zip,
)
from trainables.data.importers.listing import SEVEN

CODES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
FILES = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}


def numbered() -> list[tuple[int, str, int]]:
    """Return emotion, usage and image number: two training, one of each test image a class."""
    usages = ("Training", "Training", "PublicTest", "PrivateTest")
    return [(e, usage, 10 * e + i) for e in range(7) for i, usage in enumerate(usages)]


def text(number: int) -> str:
    return " ".join(map(str, pixels(number, 48).ravel()))


def fer_csv() -> list[tuple[str, str, str]]:
    rows = [(str(emotion), text(number), usage) for emotion, usage, number in numbered()]
    return [("emotion", "pixels", "Usage"), *rows]


def fer_tree() -> dict[str, bytes]:
    return {
        f"fer2013/{FILES[usage]}/{CODES[emotion]}/{usage}_{1000 - number}.png": png(number, 48)
        for emotion, usage, number in numbered()
    }


def test_the_csv_keeps_every_pixel_its_class_and_its_split(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", {"fer2013.csv": table(fer_csv())}))
    assert data.classes == SEVEN
    assert data.provenance["format"] == "fer2013"
    assert counts(data) == {"train": 14, "validation": 7, "test": 7}
    for i, split in ((2, "validation"), (3, "test")):
        found = pixels_by_class(data, split)
        for emotion, name in enumerate(CODES):
            ours = {"angry": "anger"}.get(name, name)
            assert found[ours] == {pixels(10 * emotion + i, 48).tobytes()}


def test_csv_tree_folder_zip_and_tar_of_the_same_pixels_have_one_fingerprint(
    tmp_path: Path,
) -> None:
    write_folder(tmp_path / "csv", {"fer2013.csv": table(fer_csv())})
    sources = [
        tmp_path / "csv" / "fer2013.csv",
        write_tar(tmp_path / "fer2013.tar.gz", {"fer2013/fer2013.csv": table(fer_csv())}),
        write_folder(tmp_path / "tree", fer_tree()),
        write_zip(tmp_path / "fer2013.zip", fer_tree()),
    ]
    packs = [packed(source) for source in sources]
    assert {data.provenance["format"] for data in packs} == {"fer2013"}
    assert len({data.fingerprint for data in packs}) == 1


def test_columns_may_stand_in_any_order_with_spaces(tmp_path: Path) -> None:
    rows = [(emotion, usage, values) for emotion, values, usage in fer_csv()]
    rows[0] = ("emotion", " Usage", " pixels")
    (tmp_path / "icml_face_data.csv").write_bytes(table(rows))
    (tmp_path / "fer2013.csv").write_bytes(table(fer_csv()))
    one, other = (packed(tmp_path / name) for name in ("icml_face_data.csv", "fer2013.csv"))
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ("", "empty"),
        ("1 2 3", "has 3 pixels instead of 2304"),
        (text(1) + " x", "has a pixel that is not a number"),
        (text(1)[: text(1).rindex(" ")] + " 256", "has a pixel outside 0 to 255"),
        (text(1)[: text(1).rindex(" ")] + " -1", "has a pixel outside 0 to 255"),
    ],
)
def test_a_damaged_row_is_bad(tmp_path: Path, values: str, reason: str) -> None:
    (tmp_path / "fer2013.csv").write_bytes(table([*fer_csv(), ("3", values, "Training")]))
    with pytest.raises(UserError, match=f"at least 1 .*line 30: {reason}"):
        packed(tmp_path / "fer2013.csv")
    data = packed(tmp_path / "fer2013.csv", max_bad=1)
    assert data.provenance["bad"] == [["line 30", reason]]
    assert counts(data)["train"] == 14


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("7", text(1), "Training"), "emotion must be 0 to 6, but got '7' .*line 30"),
        (("", text(1), "Training"), "emotion must be 0 to 6, but got ''"),
        (("1", text(1), "Trainig"), "Usage must be one of Training, .* got 'Trainig'"),
    ],
)
def test_a_value_outside_the_format_is_an_error(
    tmp_path: Path, row: tuple[str, str, str], message: str
) -> None:
    (tmp_path / "fer2013.csv").write_bytes(table([*fer_csv(), row]))
    with pytest.raises(UserError, match=message):
        packed(tmp_path / "fer2013.csv", max_bad=9)


def test_an_unknown_class_folder_is_an_error(tmp_path: Path) -> None:
    files = {**fer_tree(), "fer2013/train/bored/Training_1.png": png(1, 48)}
    with pytest.raises(UserError, match="got a folder 'bored'"):
        packed(write_folder(tmp_path / "set", files))


def test_other_files_of_the_tree_are_dropped_and_counted(tmp_path: Path) -> None:
    files = {**fer_tree(), "fer2013/readme.txt": b"", "fer2013/train/happy/other.png": png(1)}
    data = packed(write_folder(tmp_path / "set", files))
    assert list(data.provenance["dropped"].values()) == [2]


def test_the_training_part_alone_is_carved(tmp_path: Path) -> None:
    files = {
        f"train/{name}/Training_{i}.png": png(100 * k + i, 48)
        for k, name in enumerate(CODES)
        for i in range(10)
    }
    data = packed(write_folder(tmp_path / "set", files))
    assert counts(data) == {"train": 56, "validation": 7, "test": 7}
    assert np.bincount(data.split("test").labels_B).tolist() == [1] * 7
