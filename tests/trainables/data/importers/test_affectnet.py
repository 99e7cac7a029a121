import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from search_spaces.model import UserError
from tests.trainables.data.layouts import (
    counts,
    packed,
    pixels,
    pixels_by_class,
    png,
    table,
    write_folder,
    write_zip,
)
from trainables.data.importers.affectnet import CODES, COLUMNS
from trainables.data.importers.listing import SEVEN

SIDE = 30


def row(number: int, expression: int, box: tuple[Any, ...] = (5, 3, 16, 16)) -> list[Any]:
    path = f"{number % 3}/{number:04x}.png"
    return [path, *box, "1.0;2.0;3.0", expression, -0.1, 0.2]


def photograph(number: int) -> bytes:
    return png(number, SIDE, 3)


def first_form(
    training: list[list[Any]], validation: list[list[Any]], header: bool = True
) -> dict[str, bytes]:
    """Return the files of the first distribution; every row's image exists."""
    files = {
        "Manually_Annotated_file_lists/training.csv": table([COLUMNS, *training]),
        "Manually_Annotated_file_lists/validation.csv": table(
            [COLUMNS, *validation] if header else validation
        ),
    }
    for line in (*training, *validation):
        number = int(line[0].split("/")[1].split(".")[0], 16)
        files[f"Manually_Annotated/Manually_Annotated_Images/{line[0]}"] = photograph(number)
    return files


def annotated() -> tuple[list[list[Any]], list[list[Any]]]:
    """Return rows: ten training and two validation images of each of the eleven codes."""
    training = [row(100 * code + i, code) for code in range(11) for i in range(10)]
    validation = [row(100 * code + 50 + i, code) for code in range(11) for i in range(2)]
    return training, validation


def later_form() -> dict[str, bytes]:
    """Return the files of the later distribution: ten and two cropped faces of eight classes."""
    files = {}
    for folder, each in (("train_set", 10), ("val_set", 2)):
        for code in range(8):
            for i in range(each):
                name = 100 * code + i + (50 if folder == "val_set" else 0)
                files[f"{folder}/images/{name}.jpg"] = png(name, 16, 3)
                for kind, value in (("exp", str(code)), ("val", "0.25"), ("aro", "-0.5")):
                    files[f"{folder}/annotations/{name}_{kind}.npy"] = npy(np.array(value))
    return files


def npy(array: Any, pickled: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=pickled)
    return stream.getvalue()


def face(number: int) -> bytes:
    """Return the pixels of the photograph's box (5, 3, 16, 16), C×H×W."""
    return pixels(number, SIDE, 3)[3:19, 5:21].transpose(2, 0, 1).tobytes()


@pytest.mark.parametrize("header", [True, False])
def test_the_first_form_is_cropped_to_the_face_and_its_validation_is_test(
    tmp_path: Path, header: bool
) -> None:
    data = packed(write_folder(tmp_path / "set", first_form(*annotated(), header)))
    assert data.classes == SEVEN
    assert (data.channels, data.size) == (3, 16)
    assert counts(data) == {"train": 63, "validation": 7, "test": 14}
    found = pixels_by_class(data, "test")
    for code, name in enumerate(SEVEN):
        assert found[name] == {face(100 * code + 50), face(100 * code + 51)}
    carved = set.union(*pixels_by_class(data, "validation").values())
    assert carved < {face(100 * code + i) for code in range(7) for i in range(10)}
    assert data.provenance["dropped"] == {
        "contempt": 12, "none": 12, "uncertain": 12, "no face": 12
    }  # fmt: skip
    assert len(data.provenance["notes"]) == 2


def test_all_classes_keep_contempt_but_not_what_has_no_expression(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", first_form(*annotated())), classes="all")
    assert data.classes == CODES[:8]
    assert set(data.provenance["dropped"]) == {"none", "uncertain", "no face"}


def test_both_forms_work_in_a_zip_and_agree(tmp_path: Path) -> None:
    training, validation = annotated()
    kept = {n: c for n, c in first_form(training, validation).items() if n.endswith(".csv")}
    for line in (*training, *validation):
        number = int(line[0].split("/")[1].split(".")[0], 16)
        kept[f"Manually_Annotated_Images/{line[0]}"] = photograph(number)
    cropped = later_form()
    for name in [name for name in cropped if name.endswith(".jpg")]:
        stream = io.BytesIO()
        whole = Image.open(io.BytesIO(photograph(int(Path(name).stem))))
        whole.crop((5, 3, 21, 19)).save(stream, "PNG")
        cropped[name] = stream.getvalue()
    first = packed(write_zip(tmp_path / "first.zip", kept))
    later = packed(write_zip(tmp_path / "later.zip", {f"x/{n}": c for n, c in cropped.items()}))
    assert first.fingerprint == later.fingerprint
    assert {first.provenance["format"], later.provenance["format"]} == {"affectnet"}


def test_the_later_form_has_its_splits_and_classes(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", later_form()))
    assert data.classes == SEVEN
    assert counts(data) == {"train": 63, "validation": 7, "test": 14}
    assert data.provenance["dropped"] == {"contempt": 12}
    happy = {pixels(150 + i, 16, 3).transpose(2, 0, 1).tobytes() for i in range(2)}
    assert pixels_by_class(data, "test")["happy"] == happy


def test_a_box_is_clipped_to_the_image_and_one_outside_is_bad(tmp_path: Path) -> None:
    training, validation = annotated()
    training += [row(9001, 1, (20, 20, 16, 16)), row(9002, 1, (40, 40, 16, 16))]
    training += [row(9003, 1, (0, 0, 0, 16)), row(9004, 1, ("NULL",) * 4)]
    source = write_folder(tmp_path / "set", first_form(training, validation))
    data = packed(source, max_bad=3)
    assert data.provenance["resized"] == 1  # 10×10 pixels of the first are inside
    reasons = sorted(reason for _, reason in data.provenance["bad"])
    assert reasons[0] == "has a face box of 0×16 pixels"
    assert reasons[1].startswith("has its face box (40, 40, 56, 56) outside")
    assert reasons[2] == "has no face box"


def test_a_missing_image_is_bad(tmp_path: Path) -> None:
    files = first_form(*annotated())
    del files["Manually_Annotated/Manually_Annotated_Images/0/0000.png"]
    data = packed(write_folder(tmp_path / "set", files), max_bad=1)
    name = "Manually_Annotated/Manually_Annotated_Images/0/0000.png"
    assert data.provenance["bad"] == [[name, "missing"]]


@pytest.mark.parametrize("code", ["11", "-1", "happy", ""])
def test_an_expression_outside_0_to_10_is_an_error(tmp_path: Path, code: str) -> None:
    training, validation = annotated()
    training[3][6] = code
    source = write_folder(tmp_path / "set", first_form(training, validation))
    with pytest.raises(UserError, match=f"must be 0 to 10, but got '{code}' .*csv, line 5"):
        packed(source)


def test_annotations_without_image_images_without_annotation_and_damage_are_bad(
    tmp_path: Path,
) -> None:
    files = later_form()
    del files["train_set/images/0.jpg"]
    del files["train_set/annotations/1_exp.npy"]
    files["train_set/annotations/2_exp.npy"] = b""
    files["train_set/annotations/3_exp.npy"] = npy(np.array([0, 0]))
    data = packed(write_folder(tmp_path / "set", files), max_bad=4)
    reasons = dict(data.provenance["bad"])
    assert reasons["train_set/annotations/0_exp.npy"] == "has no image"
    assert reasons["train_set/images/1.jpg"] == "has no annotation"
    assert "not a readable annotation" in reasons["train_set/annotations/2_exp.npy"]
    assert "2 values" in reasons["train_set/annotations/3_exp.npy"]


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploited"),))


def test_a_pickle_in_an_annotation_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = later_form()
    files["train_set/annotations/0_exp.npy"] = npy(np.array([Exploit()]), pickled=True)
    data = packed(write_folder(tmp_path / "set", files), max_bad=1)
    assert "not a readable annotation" in data.provenance["bad"][0][1]
    assert not (tmp_path / "exploited").exists()


def test_tables_without_images_say_what_is_missing(tmp_path: Path) -> None:
    files = first_form(*annotated())
    (tmp_path / "training.csv").write_bytes(files["Manually_Annotated_file_lists/training.csv"])
    with pytest.raises(UserError, match=r"no Manually_Annotated_Images/ in 1 file: training.csv"):
        packed(tmp_path / "training.csv")
