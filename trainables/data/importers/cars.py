"""Stanford Cars (Krause et al. 2013), its annotations read by torchvision's own data set.

Layout: ``devkit/cars_meta.mat``, ``devkit/cars_train_annos.mat``, ``cars_train/``, ``cars_test/``
and ``cars_test_annos_withlabels.mat``. Needs SciPy, for the MATLAB files.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from search_spaces.model import UserError
from trainables.data.archive import Files, printable
from trainables.data.importers.listing import Listing, Sample, loader, storage_order

TABLES = (
    "devkit/cars_meta.mat",
    "devkit/cars_train_annos.mat",
    "cars_test_annos_withlabels.mat",
)
MARKERS = ", ".join(TABLES) + ", cars_train/, cars_test/"


def recognise(files: Files) -> bool:
    """Return whether the files are laid out as Stanford Cars'."""
    return bool(files.find(r"devkit/cars_meta\.mat"))


def read(files: Files) -> Listing:
    """List Stanford Cars.

    Torchvision reads only folders, so the three annotation files are copied to a temporary one,
    beside empty image folders; the images stay where they are.
    """
    meta = files.find(r"devkit/cars_meta\.mat")
    if not meta:
        raise UserError(f"No Stanford Cars found (looked for {MARKERS}; found {files.shown()}).")
    root = meta[0].removesuffix(TABLES[0])
    samples = []
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary) / "stanford_cars"
        for folder in ("devkit", "cars_train", "cars_test"):
            (base / folder).mkdir(parents=True)
        for table in TABLES:
            if root + table not in files.known:
                raise UserError(f"Stanford Cars' {table} is missing (found {files.shown()}).")
            (base / table).write_bytes(files.read(root + table))
        for split in ("train", "test"):
            pairs, classes = _annotations(Path(temporary), split)
            for path, label in pairs:
                name = f"{root}cars_{split}/{Path(path).name}"
                if not 0 <= label < len(classes):
                    raise UserError(
                        f"class must be 1 to {len(classes)}, but got {label + 1}"
                        f" ({printable(name)})."
                    )
                samples.append(Sample(name, label, split))
    return Listing("cars", classes, samples, loader(files), storage_order(files), fixed=True)


def _annotations(root: Path, split: str) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    from torchvision.datasets import StanfordCars  # heavy: only where cars are read

    try:
        cars = StanfordCars(root, split)
    except RuntimeError as error:
        raise UserError("Stanford Cars needs SciPy: pip install scipy.") from error
    except Exception as error:  # SciPy raises nearly anything for a damaged MATLAB file
        raise UserError(f"Stanford Cars' annotations are damaged: {printable(error)}.") from error
    pairs = [(str(path), int(label)) for path, label in cars._samples]
    return pairs, tuple(str(name) for name in cars.classes)
