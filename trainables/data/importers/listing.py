"""What every importer returns: the samples of a source, their classes and splits, nothing decoded.

An importer lists; `pack.py` decodes. What cannot be used is not an exception here but an entry of
`bad` (this image) or of `dropped` (a whole kind), so that it can be counted and shown.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from PIL import Image

from search_spaces.model import UserError
from trainables.data.archive import Files, printable

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
"""Names of folders and CSV values, in lower case, to the split they mean."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")

SEVEN = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger")
"""The paper's basic emotions, in AffectNet's order."""
UNLABELLED = ("none", "uncertain", "no face")
"""AffectNet's codes for images that show no expression with a name; never a class."""
_ALIASES = {
    "neutral": "neutral neutrality",
    "happy": "happiness joy joyful smile",
    "sad": "sadness",
    "surprise": "surprised surprising",
    "fear": "fearful afraid scared",
    "disgust": "disgusted",
    "anger": "angry",
    "contempt": "contemptuous",
    "none": "",
    "uncertain": "",
    "no face": "no-face noface no_face",
}
EXPRESSIONS = {
    alias: name for name, others in _ALIASES.items() for alias in (name, *others.split())
}
"""Every name that data sets give an expression, in lower case, to ours."""


class Sample(NamedTuple):
    """One image to be decoded."""

    name: str
    """File name inside the source, or ``row 7``; shown to users."""
    label: int
    """Index into the listing's classes."""
    split: str | None
    """train, validation or test; None where the source has no splits."""
    box: tuple[int, int, int, int] | None = None
    """Left, upper, right, lower edge of the part to keep, in pixels; None is all."""


@dataclass(frozen=True)
class Listing:
    """A source's content, before decoding."""

    format: str
    """The importer's name."""
    classes: tuple[str, ...]
    """Class names by label."""
    samples: list[Sample]
    load: Callable[[Sample], Image.Image]
    """Opens one sample; anything it raises makes that sample bad."""
    position: Callable[[Sample], tuple[int, str]]
    """Sort key by which a pass over the samples reads the storage forwards."""
    fixed: bool = False
    """Whether the classes are the data set's own, to be kept where no image has them."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason to number of images left out on purpose."""
    bad: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of what is known to be unusable without decoding."""
    notes: list[str] = field(default_factory=list)
    """Sentences that a user of the packed set should know."""


def loader(files: Files) -> Callable[[Sample], Image.Image]:
    """Return the function that opens a sample whose name is a file of `files`."""

    def load(sample: Sample) -> Image.Image:
        content = files.read(sample.name)
        if not content:
            raise ValueError("empty")
        return Image.open(io.BytesIO(content))

    return load


def storage_order(files: Files) -> Callable[[Sample], tuple[int, str]]:
    """Return the position of a sample whose name is a file of `files`."""
    return lambda sample: files.position(sample.name)


def is_image(name: str) -> bool:
    """Return whether a file's name ends as an image's does."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def choose_classes(listing: Listing, wanted: str) -> Listing:
    """Return the listing with the classes that `DataConfig.classes` asks for.

    If every class is the name of an expression, in anybody's spelling, the classes take this
    project's names and order, and ``seven`` drops the others, counted. Any other set keeps its
    classes: sorted by number if all are numbers, else by name.

    Raises
    ------
    UserError
        If fewer than two classes are left.
    """
    ours = [EXPRESSIONS.get(name.strip().lower()) for name in listing.classes]
    used = {sample.label for sample in listing.samples}
    if all(name is not None for name in ours):
        present = {ours[label] for label in (range(len(ours)) if listing.fixed else used)}
        kept = tuple(
            n for n in (*SEVEN, "contempt") if n in present and (n in SEVEN or wanted == "all")
        )
        names: list[str] = [name or "" for name in ours]
    else:
        names = list(listing.classes)
        kept = tuple(names) if listing.fixed else _sorted({names[label] for label in used})
    number = {name: label for label, name in enumerate(kept)}
    dropped = dict(listing.dropped)
    samples = []
    for sample in listing.samples:
        name = names[sample.label]
        if name in number:
            samples.append(sample._replace(label=number[name]))
        else:
            dropped[name] = dropped.get(name, 0) + 1
    if len({sample.label for sample in samples}) < 2:
        found = ", ".join(printable(name) for name in listing.classes[:8]) or "none"
        kind = "expressions" if all(ours) and listing.classes else "classes"
        raise UserError(
            f"At least two {kind} with images are needed, but got"
            f" {len({s.label for s in samples})} (classes found: {found})."
        )
    return replace(listing, classes=kept, samples=samples, dropped=dropped)


def _sorted(names: set[str]) -> tuple[str, ...]:
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))
