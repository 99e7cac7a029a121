"""AffectNet (Mollahosseini et al. 2017), as first distributed and as distributed later.

First: ``training.csv`` and ``validation.csv`` name images under ``Manually_Annotated_Images/``,
whole photographs from which the face box is cropped. Later: ``train_set`` and ``val_set`` with
cropped ``images/*.jpg`` and one ``annotations/<number>_exp.npy`` each. Neither has a test split.
"""

from __future__ import annotations

import csv
import io
from typing import NamedTuple

import numpy as np

from search_spaces.model import UserError
from trainables.data.archive import Files, header_of, printable, text_of
from trainables.data.importers.listing import (
    SEVEN,
    UNLABELLED,
    Listing,
    Sample,
    is_image,
    loader,
    storage_order,
)

CODES = (*SEVEN, "contempt", *UNLABELLED)
"""Classes by expression code, 0 to 10."""
COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height",
    "facial_landmarks", "expression", "valence", "arousal",
)  # fmt: skip
TABLES = {"training.csv": "train", "validation.csv": "validation"}
SETS = {"train_set": "train", "val_set": "validation"}
IMAGES = "Manually_Annotated_Images/"
MARKERS = "training.csv with Manually_Annotated_Images/, or train_set/annotations/*_exp.npy"


class _Rows(NamedTuple):
    samples: list[Sample]
    bad: list[tuple[str, str]]


def recognise(files: Files) -> bool:
    """Return whether the files are laid out as either distribution of AffectNet."""
    return bool(_tables(files)) or bool(files.find(r"train_set/annotations/[^/]*_exp\.npy"))


def read(files: Files) -> Listing:
    """List AffectNet."""
    rows = _Rows([], [])
    tables = _tables(files)
    if tables:
        roots = [name[: name.index(IMAGES)] for name in files.names if IMAGES in name]
        if not roots:
            raise UserError(
                f"AffectNet's tables were found, but no {IMAGES} in {files.shown()};"
                " give the folder or archive that holds both."
            )
        for table in tables:
            _read_table(files, table, roots[0] + IMAGES, rows)
    else:
        for folder, split in SETS.items():
            _read_set(files, folder, split, rows)
    if not rows.samples:
        raise UserError(f"No annotated image found (looked for {MARKERS}; found {files.shown()}).")
    return Listing(
        "affectnet",
        CODES,
        rows.samples,
        loader(files),
        storage_order(files),
        fixed=True,
        bad=rows.bad,
    )


def _tables(files: Files) -> list[str]:
    found = files.find(r"(?:training|validation)\.csv")
    for name in found:
        if COLUMNS[0] in header_of(files, name):
            return found
    return []


def _read_table(files: Files, table: str, root: str, rows: _Rows) -> None:
    split = TABLES[table.rpartition("/")[2]]
    where = printable(table)
    with text_of(files, table) as text:
        try:
            reader = csv.reader(text)
            columns = {name: index for index, name in enumerate(COLUMNS)}
            for row in filter(None, reader):
                if COLUMNS[0] in row:  # some copies of validation.csv have no header
                    columns = {name.strip(): index for index, name in enumerate(row)}
                    missing = [name for name in (*COLUMNS[:5], "expression") if name not in columns]
                    if missing:
                        raise UserError(f"{where} lacks the column {missing[0]}.")
                    continue
                line = f"{where}, line {reader.line_num}"
                try:
                    cell = {name: row[index].strip() for name, index in columns.items()}
                except IndexError:
                    rows.bad.append((line, f"has {len(row)} columns instead of {len(columns)}"))
                    continue
                _read_row(cell, line, root, split, rows)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{where} is not a readable CSV file: {printable(error)}.") from error


def _read_row(cell: dict[str, str], line: str, root: str, split: str, rows: _Rows) -> None:
    label = _code(cell["expression"], line)
    name = root + cell[COLUMNS[0]]
    if CODES[label] in UNLABELLED:  # dropped in any case; the box is often NULL
        rows.samples.append(Sample(name, label, split))
        return
    try:
        x, y, width, height = (round(float(cell[column])) for column in COLUMNS[1:5])
    except (ValueError, OverflowError):
        rows.bad.append((name, "has no face box"))
        return
    if width < 1 or height < 1:
        rows.bad.append((name, f"has a face box of {width}×{height} pixels"))
        return
    rows.samples.append(Sample(name, label, split, (x, y, x + width, y + height)))


def _read_set(files: Files, folder: str, split: str, rows: _Rows) -> None:
    images = {_stem(n): n for n in files.find(rf"{folder}/images/[^/]+") if is_image(n)}
    labels = {
        _stem(name).removesuffix("_exp"): name
        for name in files.find(rf"{folder}/annotations/[^/]+_exp\.npy")
    }
    for stem, name in images.items():
        if stem not in labels:
            rows.bad.append((name, "has no annotation"))
    for stem, name in sorted(labels.items(), key=lambda item: files.position(item[1])):
        try:
            value = np.load(io.BytesIO(files.read(name)), allow_pickle=False)
            if value.size != 1:
                raise ValueError(f"has {value.size} values instead of 1")
        except Exception as error:  # a damaged file may raise nearly anything in zipfile or numpy
            rows.bad.append((name, f"is not a readable annotation: {printable(error)}"))
            continue
        label = _code(str(value.reshape(())), printable(name))
        if stem in images:
            rows.samples.append(Sample(images[stem], label, split))
        else:
            rows.bad.append((name, "has no image"))


def _code(text: str, where: str) -> int:
    try:
        code = int(text)
    except ValueError:
        code = -1
    if not 0 <= code < len(CODES):
        raise UserError(f"expression must be 0 to {len(CODES) - 1}, but got {text!r} ({where}).")
    return code


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
