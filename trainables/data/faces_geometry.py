"""Draws grey faces from random parameters: soft-edged shapes composed on a 48×48 grid.

Every feature (hair, eyes, brows, nose, mouth …) takes its identity parameters from the image's own
random words, next to the line that uses them, and its expression from `Expression`.

Coordinates: the image spans x, y in [-1, 1], y downwards. The face frame (u, v) undoes the pose:
the head's centre is (0, 0), its chin lies at v = 1, its crown at v = -1. `aside` is the distance
from the middle line, so that both eyes, brows and cheeks are drawn at once.

Only +, -, *, /, sqrt, comparisons and integer operations are used, one NumPy operation each: IEEE
arithmetic defines their results, whatever the processor (it does not those of exp or sin). Equal
words therefore give equal pixels on every machine, and in batches of any size.
"""

# B batch, H height, W width (pixels), N words of randomness per image; parameters are (B, 1, 1)

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trainables.data.draws import Draws, Floats, Words

SIZE = 48
PARAMETER_WORDS = 96
NOISE_WORDS = SIZE * SIZE // 2  # four bytes per pixel
WORDS_PER_IMAGE = PARAMETER_WORDS + NOISE_WORDS
ONE_PIXEL = 0.045  # in the face frame, at the usual scale: width of every soft edge

_AXIS = ((np.arange(SIZE) - (SIZE - 1) / 2) / (SIZE / 2)).astype(np.float32)
X_HW = np.broadcast_to(_AXIS[None, None, :], (1, SIZE, SIZE))
Y_HW = np.broadcast_to(_AXIS[None, :, None], (1, SIZE, SIZE))


class Expression(NamedTuple):
    """What a face does, each (B, 1, 1); zero is at rest, lengths in face units."""

    brow_raise: Floats
    """Both brows up (+) or down (-)."""
    brow_tilt: Floats
    """Slope: inner ends up (+) as in grief, or down (-) as in anger."""
    brow_arch: Floats
    """Bow of the brows, middle up."""
    frown: Floats
    """Brows drawn together, with a vertical furrow, 0 to 1."""
    upper_lid: Floats
    """Upper lids raised (+) or drooping (-)."""
    lower_lid: Floats
    """Lower lids pushed up."""
    mouth_curve: Floats
    """Corners up (+) or down (-)."""
    mouth_open: Floats
    """Height of the opening."""
    mouth_width: Floats
    """Half-width added."""
    lips: Floats
    """Lips fuller (+) or pressed (-)."""
    teeth: Floats
    """How much of the teeth shows in an open mouth, 0 to 1."""
    sneer: Floats
    """Nose wrinkled and upper lip raised, 0 to 1."""
    cheeks: Floats
    """Folds from nose to mouth corners, and raised cheeks, 0 to 1."""
    asymmetry: Floats
    """One mouth corner higher than the other."""


class Frame(NamedTuple):
    """The posed face frame on the pixel grid, each (B, H, W)."""

    u: Floats
    """Across the head."""
    v: Floats
    """Down the head."""
    across: Floats
    """Across the features: zero on the middle line of the turned face."""
    aside: Floats
    """|across|."""
    side: Floats
    """-1 left, +1 right of the middle line."""
    nose: Floats
    """Across the nose, which stands out and so moves most when the head turns."""

    def rows(self, rows: slice) -> Frame:
        """Return the frame on some of the image's rows."""
        return Frame(*(values[:, rows] for values in self))


def _inside(distance: Floats, softness: float = ONE_PIXEL) -> Floats:
    """Return coverage 1 inside, 0 outside, from a signed distance negative inside."""
    alpha = distance * (-1 / softness)
    alpha += 0.5
    np.maximum(alpha, 0, out=alpha)
    np.minimum(alpha, 1, out=alpha)
    return alpha


def _ellipse(across: Floats, down: Floats, a: Floats | float, b: Floats | float) -> Floats:
    """Return r of an ellipse with half-axes a and b: 1 on its edge."""
    radius = across * (1 / a)
    radius *= radius
    other = down * (1 / b)
    other *= other
    radius += other
    np.sqrt(radius, out=radius)
    return radius


def _blend(canvas: Floats, alpha: Floats, colour: Floats | float) -> None:
    """Paint `colour` over the canvas with coverage `alpha`, in place."""
    change = colour - canvas
    change *= alpha
    canvas += change


def _shade(canvas: Floats, alpha: Floats, strength: Floats | float) -> None:
    """Darken (or, with a negative strength, lighten) by a share, in place."""
    kept = alpha * strength
    np.subtract(1, kept, out=kept)
    canvas *= kept


def render(words_BN: Words, expression: Expression, draw: Draws) -> npt.NDArray[np.uint8]:
    """Draw one face per row of words.

    Parameters
    ----------
    words_BN : uint64, shape (B, WORDS_PER_IMAGE)
        Independent random words; the last NOISE_WORDS of a row are its sensor noise.
    expression : Expression
    draw : Draws
        Over the same rows; what the caller took from it is not drawn again.

    Returns
    -------
    uint8, shape (B, 48, 48)
        Grey levels, 0 black to 255 white.
    """
    skin, hair = draw.between(0.58, 0.85), draw.between(0.04, 0.4)
    hair = np.minimum(hair, skin * 0.85)
    frame = _pose(draw)
    canvas = _background(draw)
    _head_and_hair(canvas, frame, skin, hair, draw)
    # features are painted on the rows that they can reach: a quarter fewer pixels
    high, middle, low = slice(0, 40), slice(10, 48), slice(18, 48)
    _eyes(canvas[:, high], frame.rows(high), skin, hair, expression, draw)
    _nose(canvas[:, middle], frame.rows(middle), expression, draw)
    _mouth(canvas[:, low], frame.rows(low), skin, expression, draw)
    _occlude(canvas, draw)
    canvas = _light_and_blur(canvas, draw)
    return _sensor(canvas, words_BN[:, PARAMETER_WORDS:], draw)


def _pose(draw: Draws) -> Frame:
    half = draw.bell(0, 0.05)  # tangent of half the in-plane angle; sd 6 degrees
    cos = (1 - half * half) / (1 + half * half)
    sin = 2 * half / (1 + half * half)
    x = X_HW - draw.bell(0, 0.035)
    y = Y_HW - draw.bell(-0.08, 0.035)
    scale, turn = draw.bell(1.15, 0.06), draw.bell(0, 0.35)
    squeeze = 1 - 0.12 * np.minimum(turn * turn, 1)
    u = (x * cos + y * sin) * (1 / (scale * squeeze))
    v = (y * cos - x * sin) * (1 / scale)
    across = u - 0.15 * turn
    side = np.where(across < 0, np.float32(-1), np.float32(1))
    return Frame(u, v, across, np.abs(across), side, u - 0.21 * turn)


def _background(draw: Draws) -> Floats:
    canvas: Floats = draw.between(0.1, 0.9) + draw.bell(0, 0.15) * X_HW + draw.bell(0, 0.15) * Y_HW
    blob = _ellipse(
        X_HW - draw.between(-1, 1),
        Y_HW - draw.between(-1, 1),
        draw.between(0.3, 0.9),
        draw.between(0.3, 0.9),
    )
    _blend(canvas, _inside(blob - 1, 0.3), draw.between(0.05, 0.95))
    return canvas


def _head_and_hair(canvas: Floats, frame: Frame, skin: Floats, hair: Floats, draw: Draws) -> None:
    u, v = frame.u, frame.v
    width, jaw = draw.bell(0.75, 0.035), draw.between(0.05, 0.3)
    volume, length = draw.between(1.02, 1.22), draw.between(-0.3, 1.2)
    wide = np.abs(u)
    mane = _inside((_ellipse(u, v + 0.08, width * volume, volume) - 1) * 0.8)
    mane *= _inside(v - length, 0.2)
    _blend(canvas, mane, hair)
    neck = _inside(wide - draw.between(0.32, 0.5)) * _inside(0.6 - v)
    _blend(canvas, neck, skin * 0.68)
    ears = _inside((_ellipse(wide - width, v - 0.02, 0.1, 0.19) - 1) * 0.1)
    _blend(canvas, ears, skin * 0.85)

    taper = width * (1 - jaw * np.maximum(v, 0))
    radius = np.sqrt(np.square(u / taper) + np.square(v))
    head = _inside((radius - 1) * 0.8)
    # round: the cheeks and the rim turn away from the viewer
    _blend(canvas, head, skin * (1.06 - 0.22 * np.square(radius)))
    beard = draw.chance(0.15) * draw.between(0.2, 0.6)
    jowls = _inside(0.55 - wide, 0.2) * _inside(-0.05 - v, 0.3)
    chin = _inside(0.42 + 0.25 * np.square(u) - v, 0.25)
    _blend(canvas, head * np.maximum(chin, jowls) * beard, hair)
    # the hairline: arched, or parted to one side
    arch, parting = draw.between(-0.1, 0.7) * np.square(u), draw.bell(0, 0.1) * u
    line = draw.between(-0.82, -0.52) + arch + parting
    bald = draw.chance(0.08)
    _blend(canvas, _inside(v - line, 0.08) * np.maximum(head, mane) * (1 - bald), hair)


def _eyes(
    canvas: Floats, frame: Frame, skin: Floats, hair: Floats, e: Expression, draw: Draws
) -> None:
    apart, level = draw.bell(0.34, 0.018), draw.bell(-0.1, 0.025)
    half, open_ = draw.bell(0.165, 0.012), draw.bell(0.075, 0.01)
    v = frame.v - level
    p = frame.aside - apart  # inwards negative, outwards positive
    _shade(canvas, _inside(_ellipse(p, v + 0.05, 0.3, 0.22) - 1, 0.9), draw.between(0.05, 0.25))

    bow = 1 - np.square(p * (1 / half))
    tilt = draw.bell(0, 0.08) * p
    upper = v - tilt + np.maximum(open_ + e.upper_lid, 0.012) * bow
    lower = v - tilt - np.maximum(open_ * 0.8 - e.lower_lid, 0.008) * bow
    white = _inside(np.maximum(-upper, lower))
    _blend(canvas, white, draw.between(0.75, 0.95) * (0.4 + 0.6 * skin))
    gaze = draw.bell(0, 0.03)
    iris = _inside(_ellipse(frame.side * p - gaze, v, 1.0, 1.0) - draw.bell(0.08, 0.006))
    _blend(canvas, white * iris, draw.between(0.02, 0.3))
    lash = _inside(np.abs(upper) - draw.between(0.012, 0.035)) * _inside(np.abs(p) - half)
    _shade(canvas, lash, draw.between(0.5, 0.85))

    # the brow, thick inside and thin outside
    q = p + 0.02 + 0.05 * e.frown
    height = draw.bell(0.235, 0.02) + e.brow_raise + e.brow_arch * (0.6 - np.square(q * 5))
    ridge = v + height - (e.brow_tilt + draw.bell(0.08, 0.04)) * q
    thick = draw.between(0.025, 0.055) * (1 - 1.5 * q)
    brow = _inside(np.abs(ridge) - thick) * _inside(np.abs(q) - draw.bell(0.22, 0.015))
    _blend(canvas, brow * draw.between(0.6, 0.95), np.minimum(hair, skin * 0.55))
    furrow = _inside(np.abs(frame.aside - 0.055) - 0.012) * _inside(np.abs(v + 0.2) - 0.1)
    _shade(canvas, furrow, 0.55 * e.frown)

    glasses = draw.chance(0.12) * draw.between(0.4, 0.9)
    rim = np.abs(_ellipse(p, v - 0.02, 0.26, 0.2) - 1) * 0.22
    bridge = _inside(np.abs(v + 0.05) - 0.015) * _inside(frame.aside - 0.1)
    _blend(canvas, np.maximum(_inside(rim - 0.018), bridge) * glasses, draw.between(0.02, 0.4))


def _nose(canvas: Floats, frame: Frame, e: Expression, draw: Draws) -> None:
    v = frame.v
    base, wing = draw.bell(0.27, 0.025), draw.bell(0.115, 0.015)
    base = base - 0.04 * e.sneer
    off = np.abs(frame.nose)
    shadow = draw.between(0.15, 0.4)
    flank = _inside(np.abs(off - 0.075 - 0.12 * np.maximum(v, 0)) - 0.025, 0.09)
    _shade(canvas, flank * _inside(np.abs(v - 0.05) - 0.2, 0.15), shadow * 0.5)
    nostril = _inside(_ellipse(off - wing * 0.75, v - base, 0.06, 0.035) * 0.04 - 0.04)
    _shade(canvas, nostril, draw.between(0.4, 0.7))
    tip = _inside(np.abs(v - base - 0.02) - 0.015, 0.06) * _inside(off - wing)
    _shade(canvas, tip, shadow)
    # wrinkles off the bridge, three stripes
    stripe = np.abs(v + 0.03)
    stripe = _inside(np.minimum(stripe, np.abs(stripe - 0.09)) - 0.015) * _inside(off - 0.13)
    _shade(canvas, stripe, 0.45 * e.sneer)

    age = draw.between(0, 0.25)
    fold = np.abs(frame.aside - 0.2 - 0.55 * (v - 0.22)) - 0.014
    fold = _inside(fold) * _inside(np.abs(v - 0.36) - 0.15, 0.1)
    _shade(canvas, fold, np.minimum(age + 0.4 * e.cheeks + 0.3 * e.sneer, 0.7))
    apple = _inside(_ellipse(frame.aside - 0.43, v - 0.22, 0.2, 0.15) - 1, 1.0)
    _shade(canvas, apple, -0.2 * np.maximum(e.cheeks, 0))


def _mouth(canvas: Floats, frame: Frame, skin: Floats, e: Expression, draw: Draws) -> None:
    level, half = draw.bell(0.53, 0.02), draw.bell(0.28, 0.02)
    half = np.maximum(half + e.mouth_width, 0.12)
    q = frame.across * (1 / half)
    bow = np.maximum(1 - np.square(q), 0)
    round_ = np.sqrt(bow)
    line = frame.v - level + (e.mouth_curve + draw.bell(0, 0.008)) * (0.55 - bow) + e.asymmetry * q
    line += 0.04 * e.sneer * bow
    gap = np.maximum(e.mouth_open, 0)
    upper = line + (0.35 * gap + 0.012) * round_
    lower = line - (0.65 * gap + 0.012) * round_
    lips = np.maximum(draw.bell(0.055, 0.01) + e.lips, 0.01)
    ends = _inside(np.abs(frame.across) - half)
    red = _inside(np.maximum(-upper - 0.8 * lips * bow, lower - 1.2 * lips * bow)) * ends
    _shade(canvas, red, draw.between(0.15, 0.45))
    inside = _inside(np.maximum(-upper, lower)) * ends
    _blend(canvas, inside * 0.9, draw.between(0.02, 0.2))
    teeth = _inside(np.maximum(upper - 0.45 * gap, -upper)) * inside * e.teeth
    _blend(canvas, teeth, 0.55 + 0.4 * skin)
    under = _inside(np.abs(lower - lips * 1.2 - 0.05) - 0.02, 0.08) * _inside(frame.aside - 0.18)
    _shade(canvas, under, draw.between(0.05, 0.25))


def _occlude(canvas: Floats, draw: Draws) -> None:
    half = draw.between(-1, 1)  # tangent of half the bar's angle
    cos = (1 - half * half) / (1 + half * half)
    sin = 2 * half / (1 + half * half)
    x, y = X_HW - draw.between(-0.8, 0.8), Y_HW - draw.between(-0.8, 0.8)
    across, along = x * cos + y * sin, y * cos - x * sin
    bar = np.abs(across) - draw.between(0.05, 0.16)
    blob = (_ellipse(across, along, draw.between(0.15, 0.3), draw.between(0.2, 0.45)) - 1) * 0.2
    shape = np.where(draw.chance(0.5) > 0, bar, blob)
    _blend(canvas, _inside(shape) * draw.chance(0.15), draw.between(0.05, 0.95))


def _light_and_blur(canvas: Floats, draw: Draws) -> Floats:
    canvas *= draw.bell(0, 0.15) * X_HW + draw.bell(0, 0.1) * Y_HW + draw.between(0.75, 1.15)
    canvas += draw.between(-0.05, 0.1)
    # three-tap binomial blur in both directions, mixed in by a share of its own
    share = draw.between(0, 1)
    side, middle = 0.25 * share, 1 - 0.5 * share
    for axis in (1, 2):
        near, far = [slice(None)] * 3, [slice(None)] * 3
        near[axis], far[axis] = slice(0, -1), slice(1, None)
        blurred = canvas * middle
        blurred[tuple(far)] += canvas[tuple(near)] * side
        blurred[tuple(near)] += canvas[tuple(far)] * side
        edge = [slice(None)] * 3
        for end in (slice(0, 1), slice(-1, None)):
            edge[axis] = end
            blurred[tuple(edge)] += canvas[tuple(edge)] * side
        canvas = blurred
    return canvas


def _sensor(canvas: Floats, words_BN: Words, draw: Draws) -> npt.NDArray[np.uint8]:
    """Add bell-shaped noise (the sum of four bytes: mean 510, sd 147.8) and quantise."""
    planes = np.ascontiguousarray(words_BN, dtype="<u8").view(np.uint8)
    planes = planes.reshape(len(words_BN), 4, SIZE, SIZE)
    total = planes[:, 0].astype(np.int16)
    for plane in range(1, 4):
        total += planes[:, plane]
    level = draw.between(0.005, 0.03) * 255 * np.float32(1 / 147.8)
    grey = canvas * 255 + (total - np.int16(510)) * level + 0.5
    pixels: npt.NDArray[np.uint8] = np.minimum(np.maximum(grey, 0), 255).astype(np.uint8)
    return pixels
