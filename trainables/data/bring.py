"""A packed data set on every machine: at the driver's path, or brought from an object store.

In the store it lies under `data/FINGERPRINT`, `meta.json` put last: what has one is whole.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np

from search_spaces.model import UserError
from trainables.data.cache import default_cache
from trainables.data.packed import PackedData, fingerprint_of
from trainables.object_store import ObjectStore, under
from trainables.state_files import sync_folder

FILES = ("images.npy", "labels.npy", "meta.json")


def upload(data: PackedData, storage: str) -> None:
    """Put a packed data set into the store, unless it is there."""
    store = ObjectStore(_place(storage, data.fingerprint))
    if FILES[-1] not in store.names():
        for name in FILES:
            store.put(name, data.folder / name)


def here(folder: Path, fingerprint: str, storage: str | None) -> PackedData | None:
    """Open a data set on this machine; None if it is neither here nor in the store.

    Parameters
    ----------
    folder : Path
        Where the driver has it.
    fingerprint : str
        What it must have, before any limit.
    storage : str or None
        The run's object store, if it uses one.

    Raises
    ------
    UserError
        If what the store holds is another data set, or there is no room for it.
    """
    own = default_cache() / f"brought-{fingerprint[:24]}"
    for place in (folder, own):
        found = _opened(place, fingerprint)
        if found is not None:
            return found
    if storage is None:
        return None
    return _bring(own, fingerprint, ObjectStore(_place(storage, fingerprint)))


def _opened(folder: Path, fingerprint: str) -> PackedData | None:
    try:
        data = PackedData.open(folder)
    except UserError:
        return None
    return data if data.fingerprint == fingerprint else None


def _bring(target: Path, fingerprint: str, store: ObjectStore) -> PackedData | None:
    partial, damaged = (
        target.with_name(f"{target.name}.{os.getpid()}.{word}") for word in ("partial", "damaged")
    )
    try:
        if not store.take(FILES[-1], partial / FILES[-1]):
            return None
        for name in FILES[:-1]:
            store.take(name, partial / name)
        data = PackedData.open(partial)
        images_NCHW = np.load(partial / FILES[0], mmap_mode="r")
        labels_N = np.load(partial / FILES[1])
        found = fingerprint_of(images_NCHW, labels_N, data.classes, data.splits)
        if found != fingerprint:
            raise UserError(
                f"The storage holds other data under {fingerprint[:12]} (fingerprint {found[:12]});"
                " remove them there, then start again."
            )
        if _opened(target, fingerprint) is None:  # nor was another process of this machine faster
            with contextlib.suppress(FileNotFoundError):
                target.rename(damaged)
            partial.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        if _opened(target, fingerprint) is None:
            raise UserError(f"Cannot bring the data to {target}: {error.strerror}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(damaged, ignore_errors=True)
    return PackedData.open(target)


def _place(storage: str, fingerprint: str) -> str:
    return under(storage, f"data/{fingerprint}")
