import io
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torchvision

from search_spaces.model import UserError
from tests.trainables.data.layouts import (
    class_folders,
    counts,
    packed,
    pixels_by_class,
    write_folder,
    write_tar,
    write_zip,
)
from trainables.data.importers.cifar10 import BATCHES, CLASSES

ROOT = "cifar-10-batches-py"


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes text and bytes as Python 2 did, which wrote the distributed batches."""

    def save_string(self, value: str | bytes) -> None:
        content = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, str: save_string, bytes: save_string}  # type: ignore[attr-defined]


def batch(number: int, **replaced: Any) -> dict[str, Any]:
    """Return a batch of 20 images, two of each class."""
    images = np.random.default_rng(number).integers(0, 256, (20, 3072), dtype=np.uint8)
    return {"data": images, "labels": [i % 10 for i in range(20)], "batch_label": "", **replaced}


def python_2(value: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, 2).dump(value)
    return stream.getvalue()


def batches(dumps: Callable[[object], bytes] = python_2) -> dict[str, bytes]:
    return {f"{ROOT}/{name}": dumps(batch(number)) for number, name in enumerate(BATCHES)}


@pytest.mark.parametrize("dumps", [python_2, pickle.dumps, partial(pickle.dumps, protocol=2)])
def test_batches_agree_with_torchvision(
    tmp_path: Path, dumps: Callable[[object], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_folder(tmp_path / "set", batches(dumps))
    data = packed(source)
    assert data.provenance["format"] == "cifar10"
    assert data.classes == CLASSES
    assert counts(data) == {"train": 90, "validation": 10, "test": 20}
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_load_meta", lambda self: None)
    reference = torchvision.datasets.CIFAR10(str(source), train=False)
    expected: dict[str, set[bytes]] = {}
    for image, label in reference:
        content = np.asarray(image).transpose(2, 0, 1).tobytes()
        expected.setdefault(CLASSES[label], set()).add(content)
    assert pixels_by_class(data, "test") == expected


def test_a_tar_of_batches_agrees_with_the_folder(tmp_path: Path) -> None:
    packs = [
        packed(write_tar(tmp_path / "cifar-10-python.tar.gz", batches())),
        packed(write_folder(tmp_path / "set", batches())),
    ]
    assert packs[0].fingerprint == packs[1].fingerprint


def test_an_image_folder_of_the_ten_classes_is_cifar10(tmp_path: Path) -> None:
    files = class_folders(CLASSES, 3, ["train", "test"])
    source = write_zip(tmp_path / "c.zip", {f"cifar10/{n}": c for n, c in files.items()})
    data = packed(source)
    assert data.provenance["format"] == "cifar10"
    assert data.classes == CLASSES
    assert counts(data) == {"train": 20, "validation": 10, "test": 30}


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch exploited",))


def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = batches()
    files[f"{ROOT}/data_batch_3"] = pickle.dumps({b"data": Exploit(), b"labels": []})
    with pytest.raises(UserError, match=r"data_batch_3 asks for posix.system, .*refused"):
        packed(write_folder(tmp_path / "set", files))
    assert not (tmp_path / "exploited").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a CIFAR-10 batch"),
        (pickle.dumps([1]), "is not a CIFAR-10 batch"),
        (pickle.dumps(batch(0, labels=[0])), "must hold 1×3072 bytes"),
        (pickle.dumps(batch(0, data=np.zeros((20, 3072)))), "got float64"),
        (pickle.dumps(batch(0, labels=[10] * 20)), "label must be 0 to 9, but got 10"),
    ],
)
def test_a_damaged_batch_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    files = {**batches(), f"{ROOT}/data_batch_2": content}
    with pytest.raises(UserError, match=message):
        packed(write_folder(tmp_path / "set", files))


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    files = batches()
    del files[f"{ROOT}/data_batch_4"]
    with pytest.raises(UserError, match="data_batch_4 is missing"):
        packed(write_folder(tmp_path / "set", files))
