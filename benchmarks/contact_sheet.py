"""Draws the contact sheet of the synthetic faces: `python -m benchmarks.contact_sheet OUT.png`."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from trainables.data.synthetic import CLASSES, faces

ZOOM = 2  # pixels of the sheet per pixel of a face
GAP, CAPTION = 4, 14  # pixels of the sheet


def contact_sheet(rows: int, seed: int) -> Image.Image:
    """Return the first `rows` × 7 faces of a seed, a column per class, captioned."""
    images, labels = faces(rows * len(CLASSES), seed)
    side = images.shape[-1] * ZOOM
    step_x, step_y = side + GAP, side + CAPTION
    sheet = Image.new("L", (len(CLASSES) * step_x - GAP, rows * step_y), 255)
    pen = ImageDraw.Draw(sheet)
    for index, (image, label) in enumerate(zip(images[:, 0], labels, strict=True)):
        row, column = divmod(index, len(CLASSES))
        x, y = column * step_x, row * step_y
        sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST), (x, y))
        pen.text((x + side / 2, y + side + 1), CLASSES[label], fill=0, anchor="ma")
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="PNG file to write")
    parser.add_argument("--rows", type=int, default=8, help="faces per class")
    parser.add_argument("--seed", type=int, default=0, help="which set of faces")
    options = parser.parse_args()
    contact_sheet(options.rows, options.seed).save(options.out, optimize=True)
