"""From a data configuration to a packed data set: found in the cache, or packed now.

The cache is keyed by what the source is (path, size, time of change; for a folder, of every file)
and by the options that change pixels, labels or splits. Two processes that want the same set at
once: the second waits for the first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from search_spaces.model import UserError
from trainables.config import DataConfig, canonical_json
from trainables.data import synthetic
from trainables.data.archive import Files, open_files, printable
from trainables.data.importers import manifest, read_files, recognised
from trainables.data.importers.listing import Listing, Sample, choose_classes
from trainables.data.pack import Progress, check_bad, pack
from trainables.data.packed import FORMAT, SPLITS, PackedData

SYNTHETIC = "synthetic"
SYNTHETIC_CODE = ("synthetic.py", "draws.py", "faces_geometry.py")
"""The files that decide what a synthetic face looks like; a change of them is another source."""
SPLIT_STRIDE = 1_000_000
"""Synthetic splits start this many faces apart, so that no length of one reaches the next."""
BLOCK = 64
"""Synthetic faces drawn at once."""
MOST_CLASSES = 20
"""With more classes than this, `describe` shows totals only."""


def prepare(config: DataConfig, cache: Path, progress: Progress | None = None) -> PackedData:
    """Open the data set that a configuration describes, packing it first if it is not yet packed.

    Parameters
    ----------
    config : DataConfig
    cache : Path
        Folder of packed sets; created where it is missing.
    progress : callable, optional
        Called with images done, images in all, and what is being done.

    Raises
    ------
    UserError
        If the source cannot be read or understood, has too many unusable images, or the disk is
        full (what was packed so far is then kept, and continued).
    """
    path = Path(config.source).expanduser()
    if config.source != SYNTHETIC and _is_packed(path, config):
        return _opened(path, config)
    key, listing = _key(config, path)
    folder = _folder(cache, path, key)
    if not folder.exists():
        try:
            with _locked(cache, key, progress):
                _pack_into(folder, cache / f"{key}.partial", config, path, listing, progress)
        except OSError as error:
            raise UserError(_disk_error(error, cache)) from error
    return _tolerated(folder, config)


def packed_before(config: DataConfig, cache: Path) -> PackedData | None:
    """Open the data set that `prepare` would open at once; return None if it would pack it first.

    Writes nothing.

    Raises
    ------
    UserError
        If the source cannot be read, or has no known layout.
    """
    path = Path(config.source).expanduser()
    if config.source != SYNTHETIC and _is_packed(path, config):
        return _opened(path, config)
    key, listing = _key(config, path)
    folder = _folder(cache, path, key)
    if folder.exists():
        return _tolerated(folder, config)
    if config.source != SYNTHETIC and listing is None:
        recognised(open_files(path), config.format)
    return None


def describe(data: PackedData, limit: int | None = None) -> list[str]:
    """Return what a user should see of a packed set: counts, and all that was left out or found.

    Parameters
    ----------
    data : PackedData
    limit : int, optional
        As many images of each split are used, where there are more.
    """
    about = data.provenance
    counts: dict[str, dict[str, int]] = about.get("counts", {})
    sizes = {split: stop - start for split, (start, stop) in data.splits.items()}
    lines = [
        f"{data.name}: {sum(sizes.values()):,} images of {data.size}×{data.size} pixels,"
        f" {'gray' if data.channels == 1 else 'RGB'}, {len(data.classes)} classes",
    ]
    width = max(len("class"), *(len(printable(name)) for name in data.classes))
    if len(data.classes) > MOST_CLASSES:
        width = len("class")
    lines.append(f"{'class':<{width}} " + " ".join(f"{split:>10}" for split in SPLITS))
    for name in data.classes if len(data.classes) <= MOST_CLASSES else ():
        row = " ".join(f"{counts[split][name]:>10,}" for split in SPLITS)
        lines.append(f"{printable(name):<{width}} {row}")
    lines.append(f"{'all':<{width}} " + " ".join(f"{sizes[split]:>10,}" for split in SPLITS))
    for name in data.classes:
        empty = [split for split in SPLITS if counts[split][name] == 0]
        if empty:
            lines.append(f"Note: class {printable(name)} has no image in {', '.join(empty)}.")
    lines += [f"Note: {note}." for note in about["notes"]]
    lines += [f"Dropped: {count:,} × {reason}." for reason, count in about["dropped"].items()]
    for key, what in (("resized", "another size"), ("recolored", "another number of channels")):
        if about[key]:
            lines.append(f"Converted: {about[key]:,} images had {what}.")
    lines += [f"Bad: {name}: {reason}." for name, reason in about["bad"]]
    lines += _duplicate_lines(about["duplicates"])
    if limit is not None:
        used = ", ".join(f"{min(limit, size):,} {split}" for split, size in sizes.items())
        lines.append(f"Used of them: {used} images, by the limit of {limit:,} a split.")
    lines.append(f"Fingerprint {data.fingerprint}")
    return lines


def _duplicate_lines(found: dict[str, Any]) -> list[str]:
    lines = []
    for pair, count in found.items():
        if pair == "within":
            inside = ", ".join(f"{n:,} in {split}" for split, n in count.items() if n)
            lines += [f"Duplicates: {inside} repeat another of the same split."] if inside else []
        elif count["images"]:
            first, second = pair.split("/")
            lines.append(
                f"Duplicates: {count['images']:,} images of {second} are also in {first},"
                f" {count['relabelled']:,} of them under another class."
            )
    if any(pair.startswith("train/") and count["images"] for pair, count in found.items()):
        lines.append(
            "Note: who learns training images by heart scores better on their copies; --copies drop"
            " leaves those out of validation and test."
        )
    return lines


def _folder(cache: Path, path: Path, key: str) -> Path:
    """Return where a source is packed."""
    stem = path.resolve().name.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "data"
    return cache / f"{name}-{key[:12]}"


def _tolerated(folder: Path, config: DataConfig) -> PackedData:
    """Open a set of the cache, unless it lacks more images than the user tolerates."""
    data = PackedData.open(folder)
    total = data.splits["test"][1] + len(data.provenance["bad"])
    check_bad(data.provenance["bad"], total, config.max_bad, folder / "meta.json")
    return data


def _is_packed(path: Path, config: DataConfig) -> bool:
    """Return whether a source is packed already, also if its format says as what it was packed."""
    there = (path / "meta.json").exists() and (path / "images.npy").exists()
    return there or config.format == "packed"


def _opened(path: Path, config: DataConfig) -> PackedData:
    data = PackedData.open(path)
    check_as_packed(data, config, str(path))
    return data


def check_as_packed(data: PackedData, config: DataConfig, name: str) -> None:
    """Refuse a configuration that a set which is packed already cannot fulfil.

    Parameters
    ----------
    data : PackedData
    config : DataConfig
    name : str
        What a user calls the set.

    Raises
    ------
    UserError
        If it is packed otherwise.
    """
    if config.copies == "drop" and data.has_copies():
        raise UserError(
            f"copies must be keep for {name}, which is packed with them; pack its source again with"
            " --copies drop."
        )
    channels = {"auto": data.channels, "gray": 1, "rgb": 3}[config.color]
    if config.size not in (None, data.size):
        raise UserError(
            f"size must be {data.size} or empty for {name}, which is packed so,"
            f" but got {config.size}."
        )
    if channels != data.channels:
        raise UserError(
            f"color must be auto for {name}, which is packed with {data.channels} channels,"
            f" but got {config.color!r}."
        )


def _key(config: DataConfig, path: Path) -> tuple[str, Listing | None]:
    """Return the cache key, and the listing where the key needed it."""
    options = config.model_dump(mode="json", exclude={"source", "limit", "max_bad"})
    listing = None
    if config.source == SYNTHETIC:
        here = Path(synthetic.__file__).parent
        code = (hashlib.sha256((here / name).read_bytes()).hexdigest() for name in SYNTHETIC_CODE)
        source: list[Any] = [SYNTHETIC, *code]
    else:
        options = {name: v for name, v in options.items() if not name.startswith("synthetic_")}
        try:
            source = [str(path.resolve(strict=True)), _stamp(path)]
        except FileNotFoundError:
            raise UserError(
                f"No file or folder {printable(path)}; give {SYNTHETIC}, or the path of a folder,"
                " zip, tar, csv or packed folder."
            ) from None
        except OSError as error:
            raise UserError(f"Cannot read {printable(path)}: {error.strerror}.") from error
        if path.is_dir():
            files = open_files(path)
            source.append([(name, _stamp(path / name)) for name in files.names])
        elif path.suffix.lower() == ".csv":
            files = open_files(path)
            if config.format == "manifest" or (
                config.format == "auto" and manifest.recognise(files)
            ):
                listing = read_files(files, "manifest")
                source.append([(s.name, _stamp(files.path / s.name)) for s in listing.samples])
    text = canonical_json([FORMAT, source, options])
    return hashlib.sha256(text.encode()).hexdigest(), listing


def _stamp(path: Path) -> list[int] | None:
    """Return a file's size and time of change; None for a folder or what is missing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return None if path.is_dir() else [status.st_size, status.st_mtime_ns]


def _pack_into(
    folder: Path,
    partial: Path,
    config: DataConfig,
    path: Path,
    listing: Listing | None,
    progress: Progress | None,
) -> None:
    if folder.exists():  # packed by the process that had the lock before
        return
    if config.source == SYNTHETIC:
        listing = _synthetic(config)
    elif listing is None:
        files: Files = open_files(path)
        listing = read_files(files, config.format)
    listing = choose_classes(listing, config.classes)
    partial.mkdir(exist_ok=True)
    name = folder.name.rpartition("-")[0]
    pack(listing, config, name, partial, progress or (lambda done, total, what: None))
    partial.rename(folder)


@contextlib.contextmanager
def _locked(cache: Path, key: str, progress: Progress | None) -> Iterator[None]:
    """Hold the key's lock file; it lies beside the partial folder, which is renamed, and stays."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{key}.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress:
                progress(0, 1, "waiting for another process that packs the same data")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _disk_error(error: OSError, cache: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"No space left in {cache}; what is packed so far is kept there: free some space, or"
            " name another cache folder, and run again."
        )
    return f"Cannot pack into {cache}: {error.strerror or error}."


def _synthetic(config: DataConfig) -> Listing:
    lengths = (config.synthetic_train, config.synthetic_eval, config.synthetic_eval)
    samples = []
    for number, (split, length) in enumerate(zip(SPLITS, lengths, strict=True)):
        first = number * SPLIT_STRIDE
        labels = np.arange(first, first + length, dtype=np.int64) % len(synthetic.CLASSES)
        if split == "train":
            true_labels = labels
            labels = synthetic.wrong_labels(labels, config.synthetic_wrong, config.seed)
            wrong = int((labels != true_labels).sum())
        samples += [
            Sample(f"face {first + i:07d}", int(label), split) for i, label in enumerate(labels)
        ]

    @functools.lru_cache(maxsize=2)
    def block(number: int) -> Any:
        return synthetic.faces(BLOCK, config.seed, number * BLOCK)[0]

    def load(sample: Sample) -> Image.Image:
        number, row = divmod(int(sample.name[5:]), BLOCK)
        return Image.fromarray(block(number)[row, 0])

    return Listing(
        "synthetic",
        synthetic.CLASSES,
        samples,
        load,
        lambda sample: (0, sample.name),
        fixed=True,
        notes=[f"{wrong:,} of {config.synthetic_train:,} training labels are wrong, on purpose"],
    )
