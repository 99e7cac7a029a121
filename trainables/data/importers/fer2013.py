"""FER2013 (Goodfellow et al. 2013): 48×48 grey faces, as ``fer2013.csv`` or as a folder tree.

The CSV has the columns emotion, pixels, Usage. In the tree the folder names the class and the file
name the split: ``fer2013/test/angry/PrivateTest_123.jpg``. Training is train, PublicTest is
validation, PrivateTest is test, as in the original challenge.
"""

from __future__ import annotations

import csv
import re

import numpy as np
from PIL import Image

from search_spaces.model import UserError
from trainables.data.archive import Files, header_of, printable, text_of
from trainables.data.importers.listing import (
    EXPRESSIONS,
    SEVEN,
    Listing,
    Sample,
    is_image,
    loader,
    storage_order,
)

CODES = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Classes by the CSV's emotion code."""
USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
SIDE = 48
_TREE = r"[^/]+/(?:Training|PublicTest|PrivateTest)_[^/]*"
_FILE = re.compile(r"(Training|PublicTest|PrivateTest)_[^/]*", re.DOTALL)
MARKERS = "fer2013.csv (emotion,pixels,Usage) or <split>/<class>/{Training,PublicTest,…}_*.jpg"


def recognise(files: Files) -> bool:
    """Return whether the files are laid out as FER2013's."""
    return _table(files) is not None or any(map(is_image, files.find(_TREE)))


def read(files: Files) -> Listing:
    """List FER2013."""
    table = _table(files)
    return _read_tree(files) if table is None else _read_table(files, table)


def _table(files: Files) -> str | None:
    for name in files.find(r"[^/]+\.csv"):
        if {"emotion", "pixels", "Usage"} <= set(header_of(files, name)):
            return name
    return None


def _read_table(files: Files, table: str) -> Listing:
    samples: list[Sample] = []
    pixels: dict[str, bytes] = {}
    bad: list[tuple[str, str]] = []
    where = printable(table)
    with text_of(files, table) as text:
        try:
            reader = csv.reader(text)
            header = [cell.strip() for cell in next(reader)]
            columns = [header.index(name) for name in ("emotion", "pixels", "Usage")]
            for row in filter(None, reader):
                name = f"line {reader.line_num}"
                if len(row) <= max(columns):
                    bad.append((name, f"has {len(row)} columns"))
                    continue
                emotion, values, usage = (row[column].strip() for column in columns)
                if emotion not in list("0123456"):
                    raise UserError(
                        f"emotion must be 0 to 6, but got {emotion!r} ({where}, {name})."
                    )
                if usage not in USAGE:
                    raise UserError(
                        f"Usage must be one of {', '.join(USAGE)}, but got {usage!r}"
                        f" ({where}, {name})."
                    )
                try:
                    pixels[name] = _pixels(values)
                except ValueError as error:
                    bad.append((name, str(error)))
                    continue
                samples.append(Sample(name, int(emotion), USAGE[usage]))
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{where} is not a readable CSV file: {printable(error)}.") from error
    if not samples:
        raise UserError(f"{where} holds no usable image.")

    def load(sample: Sample) -> Image.Image:
        return Image.frombytes("L", (SIDE, SIDE), pixels[sample.name])

    return Listing(
        "fer2013", CODES, samples, load, lambda sample: (int(sample.name[5:]), ""), True, {}, bad
    )


def _pixels(text: str) -> bytes:
    if not text:
        raise ValueError("empty")
    try:
        values = np.array(text.split(), dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError("has a pixel that is not a number") from None
    if len(values) != SIDE * SIDE:
        raise ValueError(f"has {len(values)} pixels instead of {SIDE * SIDE}")
    if values.min() < 0 or values.max() > 255:
        raise ValueError("has a pixel outside 0 to 255")
    return values.astype(np.uint8).tobytes()


def _read_tree(files: Files) -> Listing:
    samples = []
    dropped = {"not an image named Training_, PublicTest_ or PrivateTest_": 0}
    for name in files.names:
        folder, _, file = name.rpartition("/")
        match = _FILE.fullmatch(file)
        if not match or not is_image(name):
            dropped["not an image named Training_, PublicTest_ or PrivateTest_"] += 1
            continue
        spelling = folder.rpartition("/")[2]
        expression = EXPRESSIONS.get(spelling.lower())
        if expression not in SEVEN:
            raise UserError(
                f"FER2013's classes are {', '.join(SEVEN)}, but got a folder"
                f" {printable(spelling)!r} ({printable(name)})."
            )
        samples.append(Sample(name, SEVEN.index(expression), USAGE[match[1]]))
    return Listing(
        "fer2013",
        SEVEN,
        samples,
        loader(files),
        storage_order(files),
        fixed=True,
        dropped={reason: count for reason, count in dropped.items() if count},
    )
