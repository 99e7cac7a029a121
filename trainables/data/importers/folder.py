"""Any image folder: ``<class>/*``, or ``<split>/<class>/*``, inside up to three outer folders.

Splits are called train, val, valid, validation or test. Files that are not images are dropped and
counted.
"""

from __future__ import annotations

from collections.abc import Iterable

from search_spaces.model import UserError
from trainables.data.archive import MAX_DEPTH, Files, printable
from trainables.data.importers.listing import (
    SPLIT_NAMES,
    Listing,
    Sample,
    is_image,
    loader,
    storage_order,
)

MARKERS = "<class>/*.jpg or train|val|test/<class>/*.jpg (also .png, .bmp, .webp, .tif, .pgm, …)"


def recognise(files: Files) -> bool:
    """Return whether there is any image."""
    return any(map(is_image, files.names))


def read(files: Files) -> Listing:
    """List an image folder.

    Raises
    ------
    UserError
        If there is no image, an image lies outside class folders, or a folder beside the splits
        is not a split.
    """
    images = [name for name in files.names if is_image(name)]
    if not images:
        raise UserError(f"No image found (looked for {MARKERS}; found {files.shown()}).")
    folders = {name: name.split("/")[:-1] for name in images}
    depth = _common(folders.values())
    with_splits = any(len(p) > depth and p[depth].lower() in SPLIT_NAMES for p in folders.values())
    labels: dict[str, int] = {}
    samples = []
    for name, parts in folders.items():
        split = None
        if with_splits:
            split = _split(parts, depth, name)
        inside = parts[depth + with_splits :]
        if not inside:
            raise UserError(
                f"Images must lie in class folders ({MARKERS}), but got {printable(name)}."
            )
        samples.append(Sample(name, labels.setdefault(inside[0], len(labels)), split))
    others = len(files.names) - len(images)
    return Listing(
        "folder",
        tuple(labels),
        samples,
        loader(files),
        storage_order(files),
        dropped={"not an image": others} if others else {},
    )


def _split(parts: list[str], depth: int, name: str) -> str:
    spelling = parts[depth] if len(parts) > depth else ""
    if spelling.lower() not in SPLIT_NAMES:
        raise UserError(
            f"A folder beside split folders must be a split ({', '.join(SPLIT_NAMES)}),"
            f" but got {printable(spelling)!r} ({printable(name)})."
        )
    return SPLIT_NAMES[spelling.lower()]


def _common(folders: Iterable[list[str]]) -> int:
    """Return how many outer folders all images share, above splits or classes."""
    rows = list(folders)
    depth = 0
    while (
        depth < MAX_DEPTH
        and all(len(parts) > depth + 1 for parts in rows)
        and len({parts[depth] for parts in rows}) == 1
        and rows[0][depth].lower() not in SPLIT_NAMES
    ):
        depth += 1
    return depth
