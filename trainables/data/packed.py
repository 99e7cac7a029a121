"""A packed data set: one uint8 array file, labels, and what they are, memory-mapped by trials.

A folder with ``images.npy`` (uint8, N×C×H×W), ``labels.npy`` (int64, N) and ``meta.json`` (classes,
splits, fingerprint, provenance). Images are ordered by split, so that a split is a contiguous slice
which all trials of a machine share through the page cache.
"""

# N images of the set, B images of a split, C channels, H height, W width (pixels), K classes

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from search_spaces.model import UserError

FORMAT = 1
"""Version of this form; a folder of another version is refused, and packed anew by the cache."""
SPLITS = ("train", "validation", "test")
CHUNK_BYTES = 1 << 26
"""How much of an array is held at once where all of it is walked."""


class Split(NamedTuple):
    """One split's images and labels."""

    images_BCHW: npt.NDArray[np.uint8]
    labels_B: npt.NDArray[np.int64]


@dataclass(frozen=True)
class PackedData:
    """An opened packed data set. It holds no array, so it is cheap to send to another process."""

    folder: Path
    name: str
    """Short name, from the source's file name."""
    classes: tuple[str, ...]
    """Class names by label."""
    channels: int
    """1 or 3."""
    size: int
    """Side of an image, in pixels."""
    splits: dict[str, tuple[int, int]]
    """Split to the positions of its first image and of the one after its last."""
    fingerprint: str
    """SHA-256 over images, labels, classes and splits, as 64 hexadecimal digits."""
    provenance: dict[str, Any]
    """Where the set comes from: source, options, versions, counts, dropped, bad, duplicates."""

    @classmethod
    def open(cls, folder: Path) -> PackedData:
        """Open a packed data set, checking that its files agree with each other.

        Raises
        ------
        UserError
            If a file is missing or damaged, or the files disagree.
        """
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise UserError(
                    f"{folder} is packed in format {meta['format']}, but this version reads"
                    f" {FORMAT}; pack it again."
                )
            splits = {name: (int(a), int(b)) for name, (a, b) in meta["splits"].items()}
            images_NCHW, labels_N = _arrays(folder)
            data = cls(
                folder=folder,
                name=str(meta["name"]),
                classes=tuple(map(str, meta["classes"])),
                channels=images_NCHW.shape[1],
                size=images_NCHW.shape[2],
                splits=splits,
                fingerprint=str(meta["fingerprint"]),
                provenance=dict(meta["provenance"]),
            )
        except FileNotFoundError as error:
            name = Path(error.filename).name
            raise UserError(f"{folder} is not a packed data set: it has no {name}.") from error
        except OSError as error:
            raise UserError(f"Cannot read {folder}: {error.strerror or error}.") from error
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError) as error:
            raise UserError(f"{folder} is a damaged packed data set; delete it.") from error
        ends = [0, *(end for _, end in splits.values())]
        starts = [*(start for start, _ in splits.values()), len(images_NCHW)]
        if (
            tuple(splits) != SPLITS
            or starts != ends
            or len(labels_N) != len(images_NCHW)
            or labels_N.min(initial=0) < 0
            or labels_N.max(initial=0) >= len(data.classes)
        ):
            raise UserError(f"{folder} is a damaged packed data set (parts disagree); delete it.")
        return data

    def split(self, name: str, limit: int | None = None) -> Split:
        """Return a split, or its first images of each class.

        Parameters
        ----------
        name : {"train", "validation", "test"}
        limit : int, optional
            Number of images, shared among classes in the split's proportions; every class keeps at
            least one image if there is room. Order is kept.

        Returns
        -------
        Split
            Read-only, memory-mapped without a limit, copied with one.
        """
        start, stop = self.splits[name]
        images_NCHW, labels_N = _arrays(self.folder)
        images_BCHW, labels_B = images_NCHW[start:stop], labels_N[start:stop]
        if limit is None or limit >= len(labels_B):
            return Split(images_BCHW, labels_B)
        quota_K = quotas(np.bincount(labels_B, minlength=len(self.classes)), limit)
        firsts = [np.flatnonzero(labels_B == k)[:quota] for k, quota in enumerate(quota_K)]
        chosen = np.sort(np.concatenate(firsts))
        return Split(images_BCHW[chosen], labels_B[chosen])

    def copies_of_train(self, limit: int | None = None) -> dict[str, int]:
        """Count images that are also among the training images, pixel for pixel.

        Parameters
        ----------
        limit : int, optional
            As of `split`: only images that it hands out count.

        Returns
        -------
        dict
            By split: validation and test.
        """
        counted = self._counted()
        if counted is not None:
            of_all = {name: counted["train", name] for name in SPLITS[1:]}
            largest = max(stop - start for start, stop in self.splits.values())
            if limit is None or limit >= largest or not any(of_all.values()):
                return of_all

        def contents(name: str) -> list[bytes]:
            images_BCHW = self.split(name, limit).images_BCHW
            return [hashlib.sha256(image_CHW.tobytes()).digest() for image_CHW in images_BCHW]

        train = set(contents("train"))
        return {name: sum(one in train for one in contents(name)) for name in SPLITS[1:]}

    def has_copies(self) -> bool:
        """Return whether an image of validation or test is also in an earlier split."""
        counted = self._counted()
        return any((self.copies_of_train() if counted is None else counted).values())

    def _counted(self) -> dict[tuple[str, str], int] | None:
        """Return the images of a split that are also in an earlier one, as packing counted them.

        None if it did not, or what is said of it is not of that form: it may come from elsewhere.
        """
        pairs = itertools.combinations(SPLITS, 2)
        try:
            found = self.provenance["duplicates"]
            return {
                (first, second): int(found[f"{first}/{second}"]["images"])
                for first, second in pairs
            }
        except (KeyError, TypeError, ValueError):
            return None

    def used_fingerprint(self, limit: int | None) -> str:
        """Return the fingerprint of the set as `split` hands it out with this limit."""
        if limit is None:
            return self.fingerprint
        return hashlib.sha256(f"{self.fingerprint}:{limit}".encode()).hexdigest()


def quotas(counts_K: npt.NDArray[np.int64], limit: int) -> list[int]:
    """Share `limit` among classes in proportion to their counts, by largest remainder.

    >>> quotas(np.array([80, 19, 1]), 10)
    [7, 2, 1]
    """
    total = int(counts_K.sum())
    exact = [limit * int(count) / total for count in counts_K]
    quota = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda k: (quota[k] - exact[k], k))
    for k in by_remainder[: limit - sum(quota)]:
        quota[k] += 1
    present = [k for k, count in enumerate(counts_K) if count > 0]
    for k in present if len(present) <= limit else []:
        if quota[k] == 0:
            quota[max(present, key=lambda other: (quota[other], -other))] -= 1
            quota[k] = 1
    return quota


def fingerprint_of(
    images_NCHW: npt.NDArray[np.uint8],
    labels_N: npt.NDArray[np.int64],
    classes: tuple[str, ...],
    splits: dict[str, tuple[int, int]],
) -> str:
    """Return SHA-256 over pixels, labels, class names and split table; no path, no time."""
    digest = hashlib.sha256()
    step = max(1, CHUNK_BYTES // max(1, images_NCHW[:1].nbytes))
    for start in range(0, len(images_NCHW), step):
        digest.update(np.ascontiguousarray(images_NCHW[start : start + step]).data)
    digest.update(np.ascontiguousarray(labels_N, dtype="<i8").data)
    table = {"shape": images_NCHW.shape, "classes": classes, "splits": splits}
    digest.update(json.dumps(table, sort_keys=True).encode())
    return digest.hexdigest()


def write_meta(
    folder: Path,
    name: str,
    classes: tuple[str, ...],
    splits: dict[str, tuple[int, int]],
    provenance: dict[str, Any],
) -> PackedData:
    """Complete a folder that holds both arrays: compute the fingerprint, write ``meta.json``."""
    images_NCHW, labels_N = _arrays(folder)
    meta = {
        "format": FORMAT,
        "name": name,
        "classes": classes,
        "splits": splits,
        "fingerprint": fingerprint_of(images_NCHW, labels_N, classes, splits),
        "provenance": provenance,
    }
    with (folder / "meta.json").open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(meta, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return PackedData.open(folder)


def _arrays(folder: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError("images.npy")
    if labels.dtype != np.int64 or labels.ndim != 1:
        raise ValueError("labels.npy")
    return images, labels
