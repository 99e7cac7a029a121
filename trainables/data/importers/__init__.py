"""The layouts that can be imported, in the order in which `auto` tries them."""

from __future__ import annotations

from types import ModuleType

from search_spaces.model import UserError
from trainables.data.archive import Files, damage_told, printable
from trainables.data.importers import affectnet, cars, cifar10, fer2013, folder, manifest, rafdb
from trainables.data.importers.listing import Listing

IMPORTERS: dict[str, ModuleType] = {
    "fer2013": fer2013,
    "affectnet": affectnet,
    "rafdb": rafdb,
    "cifar10": cifar10,
    "cars": cars,
    "manifest": manifest,
    "folder": folder,
}
"""Format name to importer: `recognise(files)`, `read(files)`, and what it looks for, `MARKERS`."""


def read_files(files: Files, format: str) -> Listing:
    """List a source in the named format, or in the first that recognises it.

    Raises
    ------
    UserError
        If the files are not laid out so.
    """
    importer = IMPORTERS[recognised(files, format)]
    with damage_told(files.path):
        listing: Listing = importer.read(files)
        return listing


def recognised(files: Files, format: str) -> str:
    """Return the named format, or the first that recognises a source, without listing it.

    Raises
    ------
    UserError
        If the files are not laid out so; the line says what was looked for and what was found.
    """
    names = list(IMPORTERS) if format == "auto" else [format]
    with damage_told(files.path):
        for name in names:
            if IMPORTERS[name].recognise(files):
                return name
    looked = (
        f"none of the layouts {', '.join(names)} was"
        if format == "auto"
        else f"{format} ({IMPORTERS[format].MARKERS}) was not"
    )
    simplest = " The simplest is train/CLASS/image.png." if format == "auto" else ""
    raise UserError(
        f"{printable(files.path)} cannot be understood: {looked} recognised; found {files.shown()}."
        f"{simplest}"
    )
