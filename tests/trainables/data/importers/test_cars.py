import io
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
    write_folder,
    write_zip,
)

scipy_io = pytest.importorskip("scipy.io")
NAMES = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "BMW M5 Sedan 2010")


def mat(name: str, value: object) -> bytes:
    stream = io.BytesIO()
    scipy_io.savemat(stream, {name: value})
    return stream.getvalue()


def cars(wrong_class: int | None = None) -> dict[str, bytes]:
    """Return the files of Stanford Cars: ten training and two test images of three classes."""
    kinds = [(n, "O" if n == "fname" else "u1") for n in ("bbox_x1", "class", "fname")]
    files = {
        "devkit/cars_meta.mat": mat("class_names", np.array(NAMES, dtype=object)[None]),
    }
    for split, each, path in (
        ("train", 10, "devkit/cars_train_annos.mat"),
        ("test", 2, "cars_test_annos_withlabels.mat"),
    ):
        rows = []
        for i in range(3 * each):
            number = i + (50 if split == "test" else 0)
            rows.append((1, i % 3 + 1, f"{number:05d}.jpg"))
            files[f"cars_{split}/{number:05d}.jpg"] = png(number, 16, 3)
        if wrong_class is not None:
            rows[0] = (1, wrong_class, rows[0][2])
        files[path] = mat("annotations", np.array([rows], dtype=kinds))
    return {f"stanford_cars/{name}": content for name, content in files.items()}


def test_annotations_classes_and_images_are_read_by_the_layout(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", cars()))
    assert data.provenance["format"] == "cars"
    assert data.classes == NAMES
    assert counts(data) == {"train": 27, "validation": 3, "test": 6}
    found = pixels_by_class(data, "test")
    for k, name in enumerate(NAMES):
        numbers = (50 + k, 53 + k)
        assert found[name] == {pixels(n, 16, 3).transpose(2, 0, 1).tobytes() for n in numbers}


def test_an_archive_agrees_with_the_folder(tmp_path: Path) -> None:
    packs = [
        packed(write_zip(tmp_path / "c.zip", cars())),
        packed(write_folder(tmp_path / "s", cars())),
    ]
    assert packs[0].fingerprint == packs[1].fingerprint


def test_a_missing_image_is_bad(tmp_path: Path) -> None:
    files = cars()
    del files["stanford_cars/cars_train/00004.jpg"]
    data = packed(write_folder(tmp_path / "set", files), max_bad=1)
    assert data.provenance["bad"] == [["stanford_cars/cars_train/00004.jpg", "missing"]]


def test_a_class_outside_the_names_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class must be 1 to 3, but got 4"):
        packed(write_folder(tmp_path / "set", cars(4)))


def test_test_labels_that_are_missing_are_named(tmp_path: Path) -> None:
    files = cars()
    del files["stanford_cars/cars_test_annos_withlabels.mat"]
    with pytest.raises(UserError, match=r"cars_test_annos_withlabels\.mat is missing"):
        packed(write_folder(tmp_path / "set", files))


def test_a_damaged_annotation_file_is_told(tmp_path: Path) -> None:
    files = {**cars(), "stanford_cars/devkit/cars_train_annos.mat": b"not MATLAB"}
    with pytest.raises(UserError, match="annotations are damaged"):
        packed(write_folder(tmp_path / "set", files))


def test_without_scipy_the_package_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> None:
        raise RuntimeError("Scipy is not found.")

    monkeypatch.setattr("torchvision.datasets.StanfordCars", absent)
    with pytest.raises(UserError, match=r"needs SciPy: pip install scipy\.$"):
        packed(write_folder(tmp_path / "set", cars()))
