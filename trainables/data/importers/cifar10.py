"""CIFAR-10 (Krizhevsky 2009): the python batches that torchvision downloads, or an image folder.

The batches are pickles; they are read by an unpickler that can build nothing but NumPy
arrays and byte strings.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from search_spaces.model import UserError
from trainables.data.archive import Files, printable
from trainables.data.importers import folder
from trainables.data.importers.listing import Listing, Sample, is_image

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
)  # fmt: skip
BATCHES = {**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"}
MARKERS = "cifar-10-batches-py/data_batch_1 … 5 and test_batch, or train|test/<class>/*"
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),  # with `bytes`: how Python 3 writes byte strings for Python 2
    ("__builtin__", "bytes"),
    ("builtins", "bytes"),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise UserError(f"asks for {module}.{name}, which no CIFAR-10 batch needs")
        return super().find_class(module, name)


def recognise(files: Files) -> bool:
    """Return whether the files are laid out as CIFAR-10's."""
    if files.find("data_batch_1") and files.find("test_batch"):
        return True
    found = files.find(rf"(?:train|test)/(?:{'|'.join(CLASSES)})/[^/]+")
    return sum(map(is_image, found)) == sum(map(is_image, files.names)) > 0


def read(files: Files) -> Listing:
    """List CIFAR-10."""
    found = {batch: files.find(batch) for batch in BATCHES}
    if not any(found.values()):
        return replace(folder.read(files), format="cifar10")
    absent = [batch for batch, names in found.items() if not names]
    if absent:
        raise UserError(f"CIFAR-10's {absent[0]} is missing (found {files.shown()}).")
    samples: list[Sample] = []
    pixels: list[npt.NDArray[np.uint8]] = []
    for batch, split in BATCHES.items():
        images, labels = _batch(files, found[batch][0])
        pixels.append(images)
        samples += [
            Sample(f"{batch}, image {i:05d}", label, split) for i, label in enumerate(labels)
        ]
    images_NCHW = np.concatenate(pixels).reshape(-1, 3, 32, 32)
    rows = {sample.name: row for row, sample in enumerate(samples)}

    def load(sample: Sample) -> Image.Image:
        return Image.fromarray(
            np.ascontiguousarray(images_NCHW[rows[sample.name]].transpose(1, 2, 0))
        )

    return Listing(
        "cifar10", CLASSES, samples, load, lambda sample: (rows[sample.name], ""), fixed=True
    )


def _batch(files: Files, name: str) -> tuple[npt.NDArray[np.uint8], list[int]]:
    where = printable(name)
    try:
        batch = _Unpickler(io.BytesIO(files.read(name)), encoding="bytes").load()
        batch = {
            key if isinstance(key, str) else key.decode(): value for key, value in batch.items()
        }
        images, labels = np.asarray(batch["data"]), list(batch["labels"])
    except UserError as error:
        raise UserError(f"{where} {error}: refused.") from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{where} is not a CIFAR-10 batch: {printable(error)}.") from error
    if images.dtype != np.uint8 or images.shape != (len(labels), 3 * 32 * 32):
        raise UserError(
            f"{where} must hold {len(labels)}×3072 bytes, but got {images.dtype} {images.shape}."
        )
    wrong = [label for label in labels if label not in range(len(CLASSES))]
    if wrong:
        raise UserError(f"label must be 0 to 9, but got {printable(wrong[0])} ({where}).")
    return images, [int(label) for label in labels]
