"""Any CSV manifest: columns path, label and, optionally, split; other columns are ignored.

Paths are relative to the CSV. A manifest on disk may name files anywhere; one in an archive only
files of that archive. A label is a class name (or a number, which is then the name).
"""

from __future__ import annotations

import csv

from search_spaces.model import UserError
from trainables.data.archive import Files, beside, header_of, printable, text_of
from trainables.data.importers.listing import SPLIT_NAMES, Listing, Sample, loader, storage_order

MARKERS = "a CSV file with the columns path,label[,split]"


def recognise(files: Files) -> bool:
    """Return whether there is a CSV with these columns."""
    return bool(_manifests(files))


def read(files: Files) -> Listing:
    """List what a manifest names.

    Raises
    ------
    UserError
        If there is no manifest or more than one, it is empty or unreadable, a label is empty, or a
        split is unknown.
    """
    found = _manifests(files)
    if len(found) != 1:
        names = ", ".join(printable(name) for name in found[:3]) or files.shown()
        raise UserError(f"Exactly one manifest is needed ({MARKERS}), but found {names}.")
    manifest, where = found[0], printable(found[0])
    labels: dict[str, int] = {}
    samples, bad = [], []
    with text_of(files, manifest) as text:
        try:
            reader = csv.reader(text)
            header = _lower(next(reader))
            column = {name: header.index(name) for name in ("path", "label")}
            split_at = header.index("split") if "split" in header else None
            for row in filter(None, reader):
                line = f"line {reader.line_num}"
                if len(row) != len(header):
                    bad.append((line, f"has {len(row)} columns instead of {len(header)}"))
                    continue
                label = row[column["label"]].strip()
                if not label:
                    raise UserError(f"label must be a class name, but is empty ({where}, {line}).")
                split = None if split_at is None else _split(row[split_at], f"{where}, {line}")
                name = beside(manifest, row[column["path"]])
                samples.append(Sample(name, labels.setdefault(label, len(labels)), split))
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{where} is not a readable CSV file: {printable(error)}.") from error
    if not samples:
        raise UserError(f"{where} names no image.")
    return Listing("manifest", tuple(labels), samples, loader(files), storage_order(files), bad=bad)


def _manifests(files: Files) -> list[str]:
    found = files.find(r"[^/]+\.(?:csv|CSV)")
    return [name for name in found if {"path", "label"} <= set(_lower(header_of(files, name)))]


def _lower(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _split(spelling: str, line: str) -> str:
    split = SPLIT_NAMES.get(spelling.strip().lower())
    if split is None:
        raise UserError(
            f"split must be one of {', '.join(SPLIT_NAMES)}, but got {spelling!r} ({line})."
        )
    return split
