"""RAF-DB, basic emotions (Li et al. 2017): ``list_patition_label.txt`` and ``aligned/``.

A line of the list is ``train_00001.jpg 5``; the aligned face of it is the file
``aligned/train_00001_aligned.jpg``. (The list's name is misspelt by its authors.)
"""

from __future__ import annotations

from search_spaces.model import UserError
from trainables.data.archive import Files, printable, text_of
from trainables.data.importers.listing import SPLIT_NAMES, Listing, Sample, loader, storage_order

CODES = ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")
"""Classes by label, which counts from 1."""
LIST = "list_patition_label.txt"
MARKERS = f"{LIST} with aligned/train_00001_aligned.jpg, …"


def recognise(files: Files) -> bool:
    """Return whether the files are laid out as RAF-DB's."""
    return bool(files.find(LIST))


def read(files: Files) -> Listing:
    """List RAF-DB."""
    lists = files.find(LIST)
    if not lists:
        raise UserError(f"No RAF-DB found (looked for {MARKERS}; found {files.shown()}).")
    where = printable(lists[0])
    folders = [name.rpartition("/")[0] for name in files.find(r"aligned/[^/]+")]
    if not folders:
        raise UserError(f"{where} was found, but no aligned/ folder in {files.shown()}.")
    samples = []
    with text_of(files, lists[0]) as text:
        try:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    samples.append(_sample(line.split(), folders[0], f"{where}, line {number}"))
        except UnicodeDecodeError as error:
            raise UserError(f"{where} is not text (byte {error.start}).") from error
    return Listing("rafdb", CODES, samples, loader(files), storage_order(files), fixed=True)


def _sample(words: list[str], folder: str, line: str) -> Sample:
    if len(words) != 2:
        raise UserError(f"A line must be a file name and a label, but got {words[:3]} ({line}).")
    file, label = words
    if label not in list("1234567"):
        raise UserError(f"label must be 1 to 7, but got {label!r} ({line}).")
    split = SPLIT_NAMES.get(file.partition("_")[0])
    if split is None:
        raise UserError(f"A file name must start with train_ or test_, but got {file!r} ({line}).")
    stem, _, suffix = file.rpartition(".")
    return Sample(f"{folder}/{stem}_aligned.{suffix}", int(label) - 1, split)
