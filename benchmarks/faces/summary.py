"""The questions of the study without copies, each with n, figure, interval and what is decided."""

from __future__ import annotations

import math
import statistics
from typing import NamedTuple

from benchmarks.faces.committed import CLEAN, found
from benchmarks.faces.differences import Difference, Ratio, contrast, table, trials_ratio
from benchmarks.faces.knobs import injected, share_text, widths
from benchmarks.faces.saved import (
    OF_DEFAULT,
    SHARED,
    box_ratio,
    boxes,
    clean_chances,
    epochs_per_match,
    more_hits,
    periodic_hits,
    plain_savings,
    random_knobs,
    real_costs,
    replayed_savings,
)
from benchmarks.faces.scores import (
    DEFAULT,
    EVERYWHERE,
    LIGHT,
    TUNED,
    by_position,
    compared_arms,
    dropouts,
    gains_over_baseline,
    other_differences,
)
from reports.words import limits_text, percent

PART_OF_T = 0.75
"""Of T's range: the largest of the smaller boxes fixed beforehand."""


class Row(NamedTuple):
    """A question and what was found."""

    question: str
    n: str
    found: str
    interval: str
    decided: str


def saved_rows() -> str:
    """Return how much tuning is saved, by unit and by the way of searching."""
    of = found(CLEAN)
    trials, own = periodic_hits(of)[1], of.hits(of.spec.dynamic.space.name, of.target)[1]
    both, knobs = _n(trials, own), _n(trials, of.hits("dynamic", of.target)[1])
    plain, more = plain_savings(of), more_hits(of)
    (box,) = (one for one in boxes() if one.shrink == PART_OF_T)
    clean = clean_chances()["dynamic_default"].ratio
    rows = [
        _row("random search, in trials: the study's own comparison", both, plain["trials"]),
        _row("in epochs", both, plain["epochs"]),
        _row("in slot-seconds", both, plain["slot-seconds"]),
        _row(
            "in trials, dynamic's confirmation counted as well ¹",
            _n(trials, more[1]), trials_ratio(more, periodic_hits(of)),
        ),
        _row(f"in trials, {percent(PART_OF_T)} of T's range", _n(box.trials, own), box_ratio(box)),
        _row("in trials, all with as many epochs as periodic leaves clean ¹", both, clean),
        _row("in trials, dynamic's knobs searched as well", knobs, random_knobs(of)),
        *(
            _row(f"TPE with ASHA, replayed, in {unit}", both, ratio)
            for unit, ratio in replayed_savings(of).items()
        ),
        _shared(),
    ]  # fmt: skip
    return table(("search", "n", "periodic / dynamic", "95 % interval", "decided"), rows)


def _shared() -> Row:
    """Return what real searches say that share trunks: too few for an interval."""
    above, below = real_costs()[SHARED], real_costs()[OF_DEFAULT]
    costs = [epochs_per_match(of, "computed") for of in (above, below)]
    told = "–" if costs[0] is None or not costs[1] else f"{costs[0] / costs[1]:.2f}"
    n = _n(len(above), len(below))
    return Row("TPE with ASHA, trunks shared, real searches, in epochs", n, told, "–", _open(n))


def score_rows() -> str:
    """Return what beats what on test, and what the position does."""
    base, arms, gains = len(found(CLEAN).tests("baseline")), compared_arms(), gains_over_baseline()
    tuned = next(name for name in arms if name.startswith(TUNED))
    counts, everywhere = other_differences()[EVERYWHERE]
    position, there = max(by_position().items(), key=lambda of: abs(of[1].on_test.value))
    others = sum(len(one.test) for one in by_position().values()) - len(there.test)
    light = dropouts()[LIGHT]
    on_objects, _, more = light.gains
    dropout = "light_dropout, random knobs"
    rows = [
        _row("tuned periodic − baseline", _n(len(arms[tuned]), base), gains[tuned]),
        _row("dynamic at its default − baseline", _n(len(arms[DEFAULT]), base), gains[DEFAULT]),
        _quality(arms[DEFAULT], arms[tuned]),
        _row("periodic everywhere − baseline", _n(*counts), everywhere),
        _row(
            f"periodic at {position} − elsewhere (the largest of four)",
            _n(len(there.test), others), there.on_test,
        ),
        _row("light dropout − baseline", _n(len(arms[dropout]), base), gains[dropout]),
        _row("light dropout − baseline, on objects", _n(*map(len, light.objects)), on_objects),
        _row(
            "its gain on objects − its gain on faces",
            _n(*map(len, (*light.objects, *light.faces))), more,
        ),
    ]  # fmt: skip
    return table(("test macro-F1", "n", "difference", "95 % interval", "decided"), rows)


def _quality(dynamic: list[float], periodic: list[float]) -> Row:
    """Return dynamic against tuned periodic, by the margin fixed beforehand."""
    margin, n = found(CLEAN).spec.margin, _n(len(dynamic), len(periodic))
    of = contrast([dynamic, periodic], (1, -1))
    beyond = "nor better " if of.high < margin else ""
    decided = f"not worse {beyond}by {margin:g}" if of.low > -margin else _open(n)
    return Row("dynamic at its default − tuned periodic", n, *of.cells, decided)


def basin_rows() -> str:
    """Return how wide each knob's basin is."""
    rows = []
    for space, knobs in (("periodic", ("T", "position")), ("dynamic", ("Constant", "w_init"))):
        whole, found_ = widths()[space]
        within = f"{whole.within} of {whole.trials}", limits_text(*whole.limits)
        shares = {one.knob: share_text(one) for one in found_}
        rows += [(space, *within, knob, shares[knob]) for knob in knobs]
    return table(("arm", "trials within δ", "95 % interval", "knob", "share of its range"), rows)


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
        decided = ("better" if of.low > 0 else "worse") if of.decided else _open(n)
        return Row(question, n, *of.cells, decided)
    decided = ("dynamic saves" if of.low > 1 else "dynamic costs more") if of.decided else _open(n)
    high = "∞" if math.isinf(of.high) else f"{of.high:.2f}"
    return Row(question, n, f"{of.value:.2f}", f"{of.low:.2f} to {high}", decided)


def _n(*counts: int) -> str:
    """Return the sizes of what is compared."""
    return ", ".join(map(str, counts))


def _open(n: str) -> str:
    return f"not by n = {n}"
