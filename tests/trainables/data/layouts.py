"""Small data sets written in the layouts that real ones are distributed in."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.config import DataConfig
from trainables.data.packed import PackedData
from trainables.data.source import prepare

SHARED_DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"


def pixels(number: int, side: int = 12, channels: int = 1) -> npt.NDArray[np.uint8]:
    """Return image `number`, H×W or H×W×3; different numbers give different images."""
    shape = (side, side) if channels == 1 else (side, side, channels)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def png(number: int, side: int = 12, channels: int = 1) -> bytes:
    """Return image `number` as a PNG file, which keeps every pixel."""
    stream = io.BytesIO()
    Image.fromarray(pixels(number, side, channels)).save(stream, "PNG")
    return stream.getvalue()


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    kind = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, kind) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def table(rows: Iterable[Iterable[Any]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue().encode()


def class_folders(
    classes: Iterable[str], each: int, splits: Iterable[str] = (), suffix: str = ".png"
) -> dict[str, bytes]:
    """Return files [split/]class/number.png, all with different pixels."""
    prefixes = [f"{split}/" for split in splits] or [""]
    places = [f"{prefix}{name}" for prefix in prefixes for name in classes]
    return {
        f"{place}/{i:04d}{suffix}": png(each * number + i)
        for number, place in enumerate(places)
        for i in range(each)
    }


def packed(source: Path, **options: Any) -> PackedData:
    """Pack a source into a cache beside it."""
    cache = source.parent / "cache"
    return prepare(DataConfig(source=str(source), **options), cache)


def counts(data: PackedData) -> dict[str, int]:
    return {split: stop - start for split, (start, stop) in data.splits.items()}


def pixels_by_class(data: PackedData, split: str) -> dict[str, set[bytes]]:
    """Return the images of a split as sets of bytes, to compare without regard to order."""
    images_BCHW, labels_B = data.split(split)
    result: dict[str, set[bytes]] = {name: set() for name in data.classes}
    for image, label in zip(images_BCHW, labels_B, strict=True):
        result[data.classes[label]].add(image.tobytes())
    return {name: images for name, images in result.items() if images}
