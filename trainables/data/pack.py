"""Decodes a listing into the packed form, in a way that survives being killed.

Pass 1 decodes images in the order in which the source is stored, and appends pixels and a digest of
each to ``raw.bin`` and ``digests.bin``; ``progress.json`` says how many are safe on disk. Pass 2
gathers them into the canonical order of `splits.py`. A pack that was killed continues in pass 1, or
repeats pass 2, and ends with the same bytes. It needs room for the pixels twice.
"""

# N images, C channels, H height, W width (pixels)

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL import __version__ as pillow_version

from search_spaces.model import UserError
from trainables.config import DataConfig
from trainables.data.archive import printable
from trainables.data.importers.listing import Listing, Sample
from trainables.data.packed import CHUNK_BYTES, SPLITS, write_meta
from trainables.data.splits import UNASSIGNED, assign, canonical_order, copies, duplicates

Progress = Callable[[int, int, str], None]
CHECKPOINT = 500
"""Images between two notes of progress on disk: what a kill can cost, some tenth of a second."""
SIDES = (8, 1024)
"""Smallest and largest side of a packed image, in pixels."""
DIGEST_BYTES = 32
NAMED = 3
"""How many bad images an error line names."""


@dataclass
class _State:
    """What pass 1 has done so far; `progress.json`."""

    side: int
    channels: int
    done: int = 0
    resized: int = 0
    """Images of another size than the packed ones."""
    recolored: int = 0
    """Images with another number of channels."""
    bad: list[tuple[int, str]] = field(default_factory=list)
    """Position of each unusable sample, and why."""

    @property
    def image_bytes(self) -> int:
        return self.channels * self.side * self.side


def pack(
    listing: Listing,
    config: DataConfig,
    name: str,
    partial: Path,
    progress: Progress,
) -> None:
    """Pack a listing into the folder `partial`, continuing what is there.

    Raises
    ------
    UserError
        If more than `config.max_bad` images are unusable (after all of them were tried, so that
        the list is whole), or nothing is left to train on. What was decoded is kept.
    OSError
        If the disk is full or fails.
    """
    if (partial / "meta.json").exists() and not (partial / "raw.bin").exists():
        _tidy(partial)  # killed in the last step
        return
    samples = sorted(listing.samples, key=lambda sample: (listing.position(sample), sample))
    if not samples:
        raise UserError(f"No image to pack in {printable(config.source)}.")
    state = _decode(listing, samples, config, partial, progress)
    bad = [(printable(n), why) for n, why in listing.bad]
    bad += [(printable(samples[i].name), why) for i, why in state.bad]
    bad.sort()
    if bad:
        (partial / "bad.txt").write_text("".join(f"{n}: {why}\n" for n, why in bad), "utf-8")
    check_bad(bad, len(samples) + len(listing.bad), config.max_bad, partial / "bad.txt")
    _gather(listing, samples, bad, state, config, name, partial, progress)


def check_bad(bad: Sequence[Sequence[str]], total: int, max_bad: int, whole_list: Path) -> None:
    """Refuse more unusable images (name, reason) than the user tolerates."""
    if len(bad) <= max_bad:
        return
    some = "; ".join(f"{name}: {why}" for name, why in bad[:NAMED])
    rest = f"; all of them in {whole_list}" if len(bad) > NAMED else ""
    raise UserError(
        f"max_bad (--max-bad) must be at least {len(bad)} to leave out what is unusable of {total}"
        f" images, but got {max_bad} ({some}{rest})."
    )


def _decode(
    listing: Listing, samples: list[Sample], config: DataConfig, partial: Path, progress: Progress
) -> _State:
    text = f"packing {printable(Path(config.source).name)}"
    with warnings.catch_warnings():
        # Pillow only warns of an image between one and two times its limit of pixels.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        state = _resumed(partial) or _begun(listing, samples, config)
        progress(state.done, len(samples), text)
        with (
            _appending(partial / "raw.bin", state.done * state.image_bytes) as raw,
            _appending(partial / "digests.bin", state.done * DIGEST_BYTES) as digests,
        ):
            while state.done < len(samples):
                stop = min(state.done + CHECKPOINT, len(samples))
                for i in range(state.done, stop):
                    pixels = _one(listing, samples[i], i, state)
                    raw.write(pixels)
                    digests.write(hashlib.sha256(pixels).digest())
                for stream in (raw, digests):
                    stream.flush()
                    os.fsync(stream.fileno())
                state.done = stop
                _replace_text(partial / "progress.json", json.dumps(asdict(state)))
                progress(state.done, len(samples), text)
    return state


def _appending(path: Path, size: int) -> IO[bytes]:
    """Open a file of which the first `size` bytes are known to be good, to write behind them."""
    path.touch()
    os.truncate(path, size)
    return path.open("ab")


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _resumed(partial: Path) -> _State | None:
    try:
        state = _State(**json.loads((partial / "progress.json").read_text(encoding="utf-8")))
        raw, digests = ((partial / f).stat().st_size for f in ("raw.bin", "digests.bin"))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if raw < state.done * state.image_bytes or digests < state.done * DIGEST_BYTES:
        return None  # lost in a power cut
    return state


def _begun(listing: Listing, samples: list[Sample], config: DataConfig) -> _State:
    """Decide side and channels; what is not configured, by the first readable image by name."""
    first = None
    if config.size is None or config.color == "auto":
        order = {split: number for number, split in enumerate(SPLITS)}
        why = ""
        for sample in sorted(samples, key=lambda s: (order.get(s.split or "", 0), s.name)):
            try:
                first = _opened(listing, sample)
                break
            except Exception as error:  # named again by _one, if another image is usable
                why = why or f"{printable(sample.name)}: {_reason(error)}"
        else:
            raise UserError(
                f"None of {len(samples)} images of {printable(config.source)} is usable ({why}; …)."
            )
    side = config.size or min(first.size if first else (0,))
    if not SIDES[0] <= side <= SIDES[1]:
        raise UserError(
            f"size must be {SIDES[0]} to {SIDES[1]}, but the first image has side {side}; set size."
        )
    gray = config.color == "gray" or (config.color == "auto" and first and _is_gray(first))
    return _State(side, 1 if gray else 3)


def _opened(listing: Listing, sample: Sample) -> Image.Image:
    """Decode one sample and cut out its box."""
    image = listing.load(sample)
    if sample.box:
        left, upper, right, lower = sample.box
        box = (max(left, 0), max(upper, 0), min(right, image.width), min(lower, image.height))
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"has its face box {sample.box} outside its {image.size} pixels")
        image = image.crop(box)
    image.load()
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("has 32-bit pixels")
    return image


def _is_gray(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA", "La")


def _one(listing: Listing, sample: Sample, index: int, state: _State) -> bytes:
    """Return one image's pixels, C×H×W; zeros for one that is noted as bad."""
    try:
        image = _opened(listing, sample)
        if _is_gray(image) != (state.channels == 1):
            state.recolored += 1
        mode = "L" if state.channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (state.side, state.side):
            state.resized += 1
            image = image.resize((state.side, state.side), Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        state.bad.append((index, _reason(error)))
        return bytes(state.image_bytes)
    pixels = image.tobytes()
    if state.channels == 3:
        pixels = np.frombuffer(pixels, np.uint8).reshape(-1, 3).T.tobytes()
    return pixels


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        return "has more pixels than Pillow's limit"
    return printable(error) or type(error).__name__


def _gather(
    listing: Listing,
    samples: list[Sample],
    bad: list[tuple[str, str]],
    state: _State,
    config: DataConfig,
    name: str,
    partial: Path,
    progress: Progress,
) -> None:
    unusable = {i for i, _ in state.bad}
    kept = [i for i in range(len(samples)) if i not in unusable]
    if not kept:
        raise UserError(f"None of {len(samples)} images of {printable(config.source)} is usable.")
    all_digests = (partial / "digests.bin").read_bytes()
    digests_N = [all_digests[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] for i in kept]
    labels_N = np.array([samples[i].label for i in kept], dtype=np.int64)
    codes = {split: code for code, split in enumerate(SPLITS)}
    splits_N = np.array([codes.get(samples[i].split or "", UNASSIGNED) for i in kept], np.int64)
    splits_N, notes = assign(splits_N, labels_N, digests_N, config.val_share, config.seed)
    dropped = dict(sorted(listing.dropped.items()))
    if config.copies == "drop":
        found = copies(splits_N, digests_N)
        for (split, earlier), positions in sorted(found.items()):
            dropped[f"image of {SPLITS[split]} that is also in {SPLITS[earlier]}"] = len(positions)
        gone = {i for positions in found.values() for i in positions}
        rest = [i for i in range(len(kept)) if i not in gone]
        kept, digests_N = [kept[i] for i in rest], [digests_N[i] for i in rest]
        splits_N, labels_N = splits_N[rest], labels_N[rest]
        empty = [split for split, code in codes.items() if code not in splits_N]
        if empty:
            raise UserError(
                f"copies must be keep for {printable(config.source)}: every image of"
                f" {empty[0]} is also in an earlier split."
            )
    order = canonical_order(splits_N, labels_N, digests_N)
    shape = (len(kept), state.channels, state.side, state.side)
    _write_images(partial, shape, np.array(kept)[order], len(samples), progress)
    np.save(partial / "labels.npy", labels_N[order])
    ends = np.cumsum(np.bincount(splits_N, minlength=len(SPLITS))).tolist()
    splits = dict(zip(SPLITS, zip([0, *ends[:-1]], ends, strict=True), strict=True))
    names_N = [printable(samples[i].name) for i in kept]
    provenance: dict[str, Any] = {
        "source": printable(config.source),
        "format": listing.format,
        "options": config.model_dump(mode="json", exclude={"source", "limit", "max_bad"}),
        "created_by": {"numpy": np.__version__, "pillow": pillow_version},
        "counts": {
            split: {
                class_name: int(((splits_N == code) & (labels_N == label)).sum())
                for label, class_name in enumerate(listing.classes)
            }
            for split, code in codes.items()
        },
        "dropped": dropped,
        "bad": bad,
        "resized": state.resized,
        "recolored": state.recolored,
        "duplicates": duplicates(splits_N, labels_N, digests_N, names_N),
        "notes": [*listing.notes, *notes],
    }
    write_meta(partial, name, listing.classes, splits, provenance)
    _tidy(partial)


def _tidy(partial: Path) -> None:
    for leftover in (
        "raw.bin",
        "progress.json",
        "digests.bin",
        "bad.txt",
    ):  # raw.bin first: see pack
        (partial / leftover).unlink(missing_ok=True)


def _write_images(
    partial: Path,
    shape: tuple[int, int, int, int],
    positions_N: npt.NDArray[np.int64],
    num_raw: int,
    progress: Progress,
) -> None:
    """Write ``images.npy`` from ``raw.bin``, image by image in the given order."""
    raw_NCHW = np.memmap(partial / "raw.bin", np.uint8, "r", shape=(num_raw, *shape[1:]))
    step = max(1, CHUNK_BYTES // int(np.prod(shape[1:])))
    with (partial / "images.npy").open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, len(positions_N), step):
            stream.write(raw_NCHW[positions_N[start : start + step]].tobytes())
            progress(min(start + step, shape[0]), shape[0], "ordering images")
        stream.flush()
        os.fsync(stream.fileno())
