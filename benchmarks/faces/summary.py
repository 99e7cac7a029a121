"""The questions of the study without copies, each with n, figure, interval and what is decided."""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from benchmarks.faces.chances import DRAWN, SAME, clean_chances
from benchmarks.faces.committed import CLEAN, found
from benchmarks.faces.differences import Difference, Ratio, table, trials_ratio
from benchmarks.faces.knobs import injected, widths
from benchmarks.faces.matched import HALVES, box_ratio, boxes, on_test, other_targets, within
from benchmarks.faces.saved import (
    OF_DEFAULT,
    SHARED,
    UNSHARED,
    cost_per_match,
    dynamic_hits,
    more_hits,
    periodic_hits,
    plain_savings,
    random_knobs,
    real_costs,
    replayed_savings,
)
from benchmarks.faces.scores import (
    DEFAULT,
    DYNAMIC_ALL,
    EVERYWHERE,
    LIGHT,
    TUNED,
    WITH_DROPOUT,
    by_position,
    compared_arms,
    dropouts,
    gains_over_baseline,
    other_differences,
    quality_of,
)
from reports.words import percent

PART_OF_T = 0.75
"""Of T's range: the largest of the smaller boxes fixed beforehand."""

RATIO = ("n periodic, n dynamic", "periodic / dynamic", "95 % interval", "decided")
"""Columns beside a ratio."""


class Row(NamedTuple):
    """A question and what was found."""

    question: str
    n: str
    found: str
    interval: str
    decided: str


def ratio_rows() -> str:
    """Return the first ratio, and what becomes of it where one thing is changed."""
    of = found(CLEAN)
    dynamic, periodic = dynamic_hits(of), periodic_hits(of)
    knobs, more, base = of.hits("dynamic", of.target), more_hits(of), of.hits("baseline", of.target)
    both = _n(periodic[1], dynamic[1])
    (box,) = (one for one in boxes() if one.shrink == PART_OF_T)
    part = range(math.ceil(box.box["T"][0]), math.floor(box.box["T"][1]) + 1)
    clean, at = clean_chances()["dynamic_default"], other_targets()
    rows = [
        _row("nothing: the study's own comparison", both, plain_savings(of)["trials"]),
        _row(
            f"T from {part[0]} to {part[-1]}, {percent(PART_OF_T)} of its range, fixed beforehand",
            _n(box.trials, dynamic[1]), box_ratio(box),
        ),
        *(
            _row(f"T from {low} to {high} ¹", _n(trials, dynamic[1]), ratio)
            for low, high in HALVES
            for (_, trials), ratio in [within(low, high)]
        ),
        *(
            _row(f"target: the {name} of the pilot ¹", both, at[name].ratio)
            for name in ("lower quartile", "upper quartile")
        ),
        _row("test scores count ¹", both, on_test()),
        _row("dynamic scored at the epochs that periodic leaves clean ¹", both, clean[SAME].ratio),
        _row("dynamic scored at as many epochs, at random ¹", both, clean[DRAWN].ratio),
        _row(
            "dynamic's confirmation counts as well ¹",
            _n(periodic[1], more[1]), trials_ratio(more, periodic),
        ),
        _row("dynamic's knobs are searched, too", _n(periodic[1], knobs[1]), random_knobs(of)),
        _row(
            "no injection in dynamic's place", _n(periodic[1], base[1]),
            trials_ratio(base, periodic),
        ),
    ]  # fmt: skip
    return table(("what is changed", *RATIO), rows)


def saved_rows() -> str:
    """Return how much tuning is saved, by the way of searching and by unit."""
    of = found(CLEAN)
    both = _n(periodic_hits(of)[1], dynamic_hits(of)[1])
    rows = [
        *(
            _row(f"random search, in {unit}", both, ratio)
            for unit, ratio in plain_savings(of).items()
        ),
        *(
            _row(f"TPE with ASHA, replayed, in {unit} ²", both, ratio)
            for unit, ratio in replayed_savings(of).items()
        ),
        *(_real(UNSHARED, "with ASHA", unit) for unit in ("trials", "epochs")),
        *(_real(SHARED, "with ASHA and shared trunks", unit) for unit in ("trials", "computed")),
    ]
    return table(("search", *RATIO), rows)


def _real(kind: str, told: str, unit: str) -> Row:
    """Return what real searches say: too few for an interval."""
    above, below = real_costs()[kind], real_costs()[OF_DEFAULT]
    costs = [cost_per_match(of, unit) for of in (above, below)]
    ratio = "–" if costs[0] is None or not costs[1] else f"{costs[0] / costs[1]:.2f}"
    n = _n(len(above), len(below))
    unit = "epochs" if unit == "computed" else unit
    return Row(f"real searches {told}, in {unit}", n, ratio, "–", _open(n))


def score_rows() -> str:
    """Return what beats what on test, and what the position does."""
    base, arms = len(found(CLEAN).tests("baseline")), compared_arms()
    gains, quality = gains_over_baseline(arms), quality_of(CLEAN)
    tuned = next(name for name in arms if name.startswith(TUNED))
    others, light = other_differences(), dropouts()[LIGHT]
    positions = by_position()
    position, there = max(positions.items(), key=lambda of: abs(of[1].on_validation.value))
    elsewhere = sum(len(one.test) for one in positions.values()) - len(there.test)
    on_objects, _, more = light.gains
    dropout = "light_dropout, random knobs"
    rows = [
        _row("tuned periodic − baseline", _n(len(arms[tuned]), base), gains[tuned]),
        _row("dynamic at its default − baseline", _n(len(arms[DEFAULT]), base), gains[DEFAULT]),
        _row(
            "dynamic at its default − tuned periodic",
            _n(*quality.n), quality.difference,
        ),
        _row("periodic everywhere, T at random − baseline", *_pair(others[EVERYWHERE])),
        _row(
            f"periodic at {position} − elsewhere, T at random ³",
            _n(len(there.test), elsewhere), there.on_test,
        ),
        _row("dynamic everywhere − at bn1, other knobs at random ¹", *_pair(others[DYNAMIC_ALL])),
        _row("light dropout − baseline", _n(len(arms[dropout]), base), gains[dropout]),
        _row("light dropout and periodic − light dropout", *_pair(others[WITH_DROPOUT])),
        _row("on objects: light dropout − baseline ⁴", _n(*map(len, light.objects)), on_objects),
        _row(
            "light dropout's gain on objects − on faces ⁴",
            _n(*map(len, (*light.objects, *light.faces))), more,
        ),
    ]  # fmt: skip
    return table(("test macro-F1", "n of each", "difference", "95 % interval", "decided"), rows)


def _pair(of: tuple[tuple[int, int], Difference]) -> tuple[str, Difference]:
    return _n(*of[0]), of[1]


def basin_rows() -> str:
    """Return how wide each knob's basin is."""
    rows = []
    for space in ("periodic", "dynamic"):
        whole, knobs = widths()[space]
        low, high = whole.limits
        within_ = f"{whole.within} of {whole.trials}", f"{low:.2f} to {high:.2f}"
        shares = ", ".join(f"{one.share:.2f} of {one.knob}'s" for one in knobs if one.share)
        rows.append((space, *within_, shares))
    return table(("arm", "trials within δ", "95 % interval", "share of each knob's range"), rows)


def injection_rows() -> str:
    """Return when dynamic injection injects, by its conditions."""
    rows = []
    for name, one in injected().items():
        share = f"{statistics.fmean(one.share):.3f}"
        injecting = f"{len(one.first)} of {one.trials}"
        differs = ("", "") if one.from_default is None else one.from_default.cells
        rows.append((name, injecting, one.when, share, *differs))
    columns = (
        "arm", "trials that inject", "from epoch (range)", "share of unit × steps",
        "test, minus the default", "95 % interval",
    )  # fmt: skip
    return table(columns, rows)


def _row(question: str, n: str, of: Ratio | Difference | None) -> Row:
    if of is None or of.value is None:
        return Row(question, n, "–", "–", _open(n))
    if isinstance(of, Difference):
        margin = found(CLEAN).spec.margin
        if of.decided:
            told = "better" if of.low > 0 else "worse"
        elif -margin < of.low and of.high < margin:
            told = f"neither; less than {margin:g} either way"
        else:
            told = _open(n)
        return Row(question, n, *of.cells, told)
    told = ("dynamic saves" if of.low > 1 else "dynamic costs more") if of.decided else _open(n)
    high = "∞" if math.isinf(of.high) else f"{of.high:.2f}"
    return Row(question, n, f"{of.value:.2f}", f"{of.low:.2f} to {high}", told)


def _n(*counts: int) -> str:
    """Return the sizes of what is compared."""
    return ", ".join(map(str, counts))


def _open(n: str) -> str:
    return f"not decided by n = {n}"
