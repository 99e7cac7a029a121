"""How the answer depends on the search space: R for boxes shrunk around the published values.

Padding a range with useless values doubles "the savings", so a ratio is quotable only with its
space, and with this curve beside it. At shrink f a numeric knob keeps the values between
c − f (c − low) and c + f (high − c), on its own scale; choices stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports.arm import Arm, arm_of
from reports.proportions import Interval, trials_to_match
from reports.savings import share_interval, trials_ratio
from reports.sensitivity import holds
from search_spaces.model import UserError
from search_spaces.space import ChoiceKnob, FloatKnob, IntKnob, Space

SHRINKS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1)


class Ablated(NamedTuple):
    """The answer in one box."""

    shrink: float
    """f: 1 is the whole space."""
    box: dict[str, tuple[float, float]]
    """The values that each numeric knob keeps."""
    trials: int
    """Periodic trials inside."""
    hits: int
    hit_probability: float | None
    limits: Interval
    median_trials: float | None
    """K_½; None where none matched."""
    ratio: float | None
    """R; None where unbounded or undefined."""
    ratio_limits: Interval


def space_ablation(
    periodic: Arm,
    dynamic: Arm,
    space: Space,
    centre: Mapping[str, Any],
    target: float,
    *,
    own_median: bool = False,
    shrinks: Sequence[float] = SHRINKS,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Ablated]:
    """Return the answer in shrinking boxes.

    Parameters
    ----------
    periodic, dynamic : Arm
    space : Space
        Periodic's, with numeric bounds (`Space.resolved`).
    centre : mapping
        The published value of each numeric knob.
    own_median : bool, default False
        Whether the target is dynamic's own median.

    Raises
    ------
    UserError
        If a numeric knob has no published value within its range.
    """
    for name, knob in space.knobs.items():
        if not isinstance(knob, ChoiceKnob) and not holds(knob, centre.get(name)):
            raise UserError(
                f"The published value of {name} must lie within {knob.low} to {knob.high}, but is"
                f" {centre.get(name)} (space {space.name})."
            )
    found = []
    for shrink in shrinks:
        box = {
            name: kept(knob, float(centre[name]), shrink)
            for name, knob in space.knobs.items()
            if not isinstance(knob, ChoiceKnob)
        }
        inside = [
            i
            for i, knobs in enumerate(periodic.trials.knobs)
            if all(low <= knobs[name] <= high for name, (low, high) in box.items() if name in knobs)
        ]
        arm = arm_of(periodic.trials.take(inside), periodic.space)
        hits = arm.hits(target)
        savings = trials_ratio(dynamic, arm, target, own_median, confidence, seed)
        share = float(hits.mean()) if arm.n else None
        found.append(
            Ablated(
                shrink=shrink,
                box=box,
                trials=arm.n,
                hits=int(hits.sum()),
                hit_probability=share,
                limits=share_interval(arm, hits, confidence),
                median_trials=trials_to_match(share, 0.5) if share else None,
                ratio=savings.ratio,
                ratio_limits=Interval(savings.low, savings.high),
            )
        )
    return found


def kept(knob: IntKnob | FloatKnob, centre: float, shrink: float) -> tuple[float, float]:
    """Return the range that a knob keeps; limits are widened by rounding only.

    >>> knob = FloatKnob(kind="float", low=1, high=100, log=True, source="x")
    >>> kept(knob, 10, 0.5)
    (3.16228, 31.6228)
    """
    there, back = (math.log, math.exp) if knob.log else (float, float)
    low, middle, high = (there(float(value)) for value in (knob.low, centre, knob.high))
    ends = (back(middle - shrink * (middle - low)), back(middle + shrink * (high - middle)))
    return float(f"{ends[0] * (1 - 1e-9):.6g}"), float(f"{ends[1] * (1 + 1e-9):.6g}")
