"""Who matches, and how the first ratio hangs on T's range, on the target and on the score counted.

Numbers are of the study without copies unless a row, or a function's name, says otherwise.
"""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

import numpy as np

from benchmarks.faces.committed import CLEAN, FIRST, Found, found, having
from benchmarks.faces.differences import CONFIDENCE, Hits, Ratio, table, trials_ratio
from benchmarks.faces.saved import dynamic_hits
from reports.ablation import Ablated, space_ablation
from reports.arm import arm_of
from reports.equivalence import tests_of
from reports.proportions import exact_interval
from reports.words import limits_text

HALVES = (1, 4), (5, 10)
"""Of T, chosen after looking."""


def matches(study: str = CLEAN) -> str:
    """Return who reaches the target, and who would, had test scores counted.

    Only the row of periodic on validation is the study's own comparison.
    """
    of = found(study)
    dynamic, target, on_test = of.spec.dynamic.space.name, of.target, _target_on_test(of)
    arms = (dynamic, "periodic", "baseline", *(("light_dropout",) if study == CLEAN else ()))
    hits = {
        ("validation", target): {name: of.hits(name, target) for name in arms},
        ("test", on_test): {name: of.hits(name, on_test, test=True) for name in arms},
    }
    return _matches(hits, dynamic)


class AtTarget(NamedTuple):
    """Who reaches another target."""

    target: float
    hits: dict[str, Hits]
    """By arm, dynamic at its default first."""
    ratio: Ratio


def other_targets() -> dict[str, AtTarget]:
    """Return the ratio at the quartiles of the pilot. Written after looking."""
    of = found(CLEAN)
    dynamic = of.spec.dynamic.space.name
    pilot = [score or 0.0 for score in of.where(dynamic, "pilot").score]
    at = {}
    for name, share in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):
        target = float(np.quantile(pilot, share))
        hits = {space: of.hits(space, target) for space in (dynamic, "periodic", "baseline")}
        at[name] = AtTarget(target, hits, trials_ratio(hits[dynamic], hits["periodic"]))
    return at


def targets() -> str:
    """Return the ratio at other targets: the quartiles of the pilot. Written after looking."""
    rows = [
        (
            f"{name}, {at.target:.4f}", *(f"{own} of {n}" for own, n in at.hits.values()),
            *at.ratio.cells,
        )
        for name, at in other_targets().items()
    ]  # fmt: skip
    columns = (
        "of the pilot", "dynamic", "periodic", "baseline", "periodic / dynamic", "interval"
    )  # fmt: skip
    return table(columns, rows)


def on_test() -> Ratio:
    """Return the ratio, had test scores counted. Written after looking."""
    of = found(CLEAN)
    target, sides = _target_on_test(of), (of.spec.dynamic.space.name, "periodic")
    return trials_ratio(*(of.hits(space, target, test=True) for space in sides))


def _target_on_test(of: Found) -> float:
    """Return the median of the pilot's test scores."""
    return statistics.median(of.tests(of.spec.dynamic.space.name, "pilot"))


def boxes() -> list[Ablated]:
    """Return the ratio in smaller boxes around the centre that was fixed beforehand."""
    of = found(CLEAN)
    assert of.spec.centre is not None
    dynamic, periodic = (
        arm_of(of.trials.where(stage="census"), name)
        for name in (of.spec.dynamic.space.name, "periodic")
    )
    return space_ablation(periodic, dynamic, of.space("periodic"), of.spec.centre, of.target)


def ablation() -> str:
    """Return the ratio in smaller boxes: around the centre fixed beforehand, and by T, after it."""
    rows = []
    for one in boxes():
        low, high = one.box["T"]
        name = f"{one.shrink:.0%} of T's range around 5, fixed beforehand"
        values = f"{math.ceil(low)} to {math.floor(high)}"
        rows.append((name, values, f"{one.hits} of {one.trials}", *box_ratio(one).cells))
    for low, high in (*HALVES, (1, 9), (10, 10)):
        (hits, trials), ratio = within(low, high)
        rows.append(("after looking", f"{low} to {high}", f"{hits} of {trials}", *ratio.cells))
    columns = ("part of the space", "T", "periodic trials that match", "ratio", "interval")
    return f"{table(columns, rows)}\nSpearman's rank correlation of T and score: {_ranks()}.\n"


def _ranks() -> str:
    """Return how T and the score go together on validation, in both studies."""
    from scipy import stats

    told = []
    for study, name in ((CLEAN, "without copies"), (FIRST, "with them")):
        trials = found(study).where("periodic")
        test = stats.spearmanr([knobs["T"] for knobs in trials.knobs], trials.score)
        told.append(f"{test.statistic:+.2f} {name} (p = {test.pvalue:.2g})")
    return ", ".join(told)


def within(low: int, high: int) -> tuple[Hits, Ratio]:
    """Return how many periodic trials with such T match, and the ratio. Written after looking."""
    of = found(CLEAN)
    periodic = arm_of(of.trials.where(stage="census"), "periodic")
    inside = having(periodic.trials, lambda knobs: low <= knobs["T"] <= high)
    hits = int(arm_of(inside, "periodic").hits(of.target).sum()), len(inside)
    return hits, trials_ratio(dynamic_hits(of), hits)


def box_ratio(box: Ablated) -> Ratio:
    """Return the ratio in a smaller box."""
    return Ratio(box.ratio, *box.ratio_limits)


def _matches(hits: dict[tuple[str, float], dict[str, Hits]], dynamic: str) -> str:
    rows = []
    for (counted, target), arms in hits.items():
        for name, own in arms.items():
            limits = limits_text(*exact_interval(*own, CONFIDENCE))
            told = ("", "") if name == dynamic else trials_ratio(arms[dynamic], own).cells
            other = ("", "") if name == "periodic" else trials_ratio(own, arms["periodic"]).cells
            where = f"{counted}, at least {target:.4f}"
            rows.append((where, name, f"{own[0]} of {own[1]}", limits, *told, *other))
    columns = (
        "score counted", "arm", "trials that match", "share, interval",
        "trials it needs / trials dynamic needs", "interval",
        "trials periodic needs / trials it needs", "interval",
    )  # fmt: skip
    return table(columns, rows)


def clean_after_looking() -> str:
    """Return the first study's arms trained anew without copies: exploratory.

    None of these trials failed.
    """
    sides = found(FIRST).sides
    pilot, arms = sides["clean_pilot"], ("dynamic", "periodic", "baseline")
    of = {name: sides[f"clean_{name}"] for name in arms}
    hits = {}
    for counted, target in (
        ("validation", statistics.median(score or 0.0 for score in pilot.score)),
        ("test", statistics.median(tests_of(pilot))),
    ):
        columns = {
            name: trials.test_score if counted == "test" else trials.score
            for name, trials in of.items()
        }
        hits[counted, target] = {
            name: (sum((one or 0.0) >= target for one in column), len(column))
            for name, column in columns.items()
        }
    return _matches(hits, "dynamic")
