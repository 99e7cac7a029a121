"""What dynamic injection saves, and on what that hangs: trials, epochs, time, and who matches.

Numbers are of the study without copies unless a row, or a function's name, says otherwise.
"""

from __future__ import annotations

import functools
import math
import statistics
from typing import Any, NamedTuple

import numpy as np

from benchmarks.faces.committed import CLEAN, FIRST, Found, Rows, found
from benchmarks.faces.differences import (
    CONFIDENCE,
    Hits,
    Ratio,
    cells,
    cost_ratio,
    saving_ratio,
    table,
    trials_ratio,
)
from reports.ablation import Ablated, space_ablation
from reports.arm import arm_of
from reports.equivalence import tests_of
from reports.proportions import exact_interval
from reports.search_costs import Combination
from reports.words import limits_text, number

UNITS = ("trials", "epochs", "slot_seconds")
TIE = 1e-6
"""Scores of curves.csv are rounded: one that is less by so much still reaches a target."""
SHARED, OF_DEFAULT = "the same, on one seed each, trunks shared", "dynamic at its default"
SEARCHES = {
    "periodic, TPE with ASHA": "search-periodic",
    SHARED: "shared_",
    OF_DEFAULT: "search-dynamic_default",
}
"""Kinds of real searches, and how the names of their runs begin."""


def first_sentence(study: str) -> str:
    """Return the first sentence of a study's report."""
    return f"> {found(study).answer.claim}\n"


def savings() -> str:
    """Return how much dynamic saves, by unit and by way of searching; the first study beside it."""
    both = (_savings(found(study)) for study in (CLEAN, FIRST))
    rows = [(*ours, *first[2:]) for ours, first in zip(*both, strict=True)]
    return table(
        ("search", "cost in", "periodic / dynamic", "interval", "with copies", "interval"), rows
    )


def _savings(of: Found) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("random search, nothing stopped", unit, *cells(one))
        for unit, one in plain_savings(of).items()
    ]
    told = "the same, dynamic's confirmation counted with its census"
    rows.append((told, "trials", *trials_ratio(more_hits(of), periodic_hits(of)).cells))
    rows.append(("the same, dynamic's knobs random, too", "trials", *random_knobs(of).cells))
    for unit, one in replayed_savings(of).items():
        value, limits = cells(one)
        if _whole(of, unit):
            limits += ", by dynamic's spread alone"
        rows.append(("TPE with ASHA, replayed", unit, value, limits))
    return rows


def plain_savings(of: Found) -> dict[str, Ratio | None]:
    """Return what random search without early stopping saves, by unit: the study's own answer."""
    saved = of.answer.savings
    return {unit.replace("_", "-"): saving_ratio(getattr(saved, unit)) for unit in UNITS}


def periodic_hits(of: Found) -> Hits:
    """Return how many periodic trials match, of how many."""
    arm = of.answer.arms.periodic
    return arm.hits, arm.trials


def more_hits(of: Found) -> Hits:
    """Return how many of dynamic's trials match, its confirmation's counted as well."""
    return of.hits(of.spec.dynamic.space.name, of.target, "census", "confirm")


def random_knobs(of: Found) -> Ratio:
    """Return what dynamic saves if its knobs are searched as well."""
    return trials_ratio(of.hits("dynamic", of.target), periodic_hits(of))


def replayed_savings(of: Found) -> dict[str, Ratio | None]:
    """Return what TPE with ASHA saves, by unit, from searches replayed over recorded curves."""
    saved: dict[str, Ratio | None] = {}
    for unit in UNITS:
        above, below = (getattr(one, unit) for one in _replays(of))
        known = above is not None and below is not None
        saved[unit.replace("_", "-")] = cost_ratio(above.ert, below.ert) if known else None
    return saved


def _replays(of: Found) -> tuple[Combination, Combination]:
    """Return the sides' replayed searches, periodic's first."""
    return of.replays[of.spec.periodic.space.name], of.replays[of.spec.dynamic.space.name]


def _whole(of: Found, unit: str) -> bool:
    """Return whether every recorded periodic trial matched, so that its cost has no limits."""
    cost = getattr(_replays(of)[0], unit.replace("-", "_"))
    return cost is not None and cost.ert.low is None and cost.ert.high is None


def real_costs() -> dict[str, Rows]:
    """Return the real searches until they reached the target, by kind."""
    of = found(CLEAN).searches
    return {
        told: [row for row in of if row["run"].startswith(begins)]
        for told, begins in SEARCHES.items()
    }


def epochs_per_match(searches: Rows, unit: str) -> float | None:
    """Return epochs of all searches for each that reached the target; unit: epochs or computed."""
    reached = sum(row["reached"] == "1" for row in searches)
    return sum(int(row[unit]) for row in searches) / reached if reached else None


def searches() -> str:
    """Return what the real searches cost until they reached the target."""
    rows = []
    replays = found(CLEAN).replays
    for told, of in real_costs().items():
        reached = sum(row["reached"] == "1" for row in of)
        costs = (epochs_per_match(of, unit) for unit in ("epochs", "computed"))
        expected = ["–" if cost is None else number(cost) for cost in costs]
        each = ", ".join(row["computed"] + ("" if row["reached"] == "1" else "+") for row in of)
        replay = replays.get(SEARCHES[told].removeprefix("search-"))
        middle = [replay.epochs.quantiles[name] for name in ("0.025", "0.975")] if replay else None
        central = "" if middle is None else limits_text(*middle)
        rows.append((told, f"{reached} of {len(of)}", *expected, each, central))
    columns = (
        "search", "reached the target", "epochs per match, stand-alone", "computed", "each search",
        "replayed, central 95 %",
    )  # fmt: skip
    return table(columns, rows)


def matches(study: str = CLEAN) -> str:
    """Return who reaches the target, and who would, had test scores counted.

    The target on test is the median of the pilot's test scores; only the row of periodic on
    validation is the study's own comparison.
    """
    of = found(study)
    dynamic, target = of.spec.dynamic.space.name, of.target
    on_test = statistics.median(of.tests(dynamic, "pilot"))
    arms = (dynamic, "periodic", "baseline", *(("light_dropout",) if study == CLEAN else ()))
    hits = {
        ("validation", target): {name: of.hits(name, target) for name in arms},
        ("test", on_test): {name: of.hits(name, on_test, test=True) for name in arms},
    }
    return _matches(hits, dynamic)


def targets() -> str:
    """Return the ratio at other targets: the quartiles of the pilot. Written after looking."""
    of = found(CLEAN)
    dynamic = of.spec.dynamic.space.name
    pilot = [score or 0.0 for score in of.where(dynamic, "pilot").score]
    quartiles = zip(("lower quartile", "median", "upper quartile"), (0.25, 0.5, 0.75), strict=True)
    rows = []
    for name, share in quartiles:
        target = float(np.quantile(pilot, share))
        hits = {space: of.hits(space, target) for space in (dynamic, "periodic", "baseline")}
        rows.append(
            (
                f"{name}, {target:.4f}", *(f"{own} of {n}" for own, n in hits.values()),
                *trials_ratio(hits[dynamic], hits["periodic"]).cells,
            )
        )  # fmt: skip
    columns = (
        "of the pilot", "dynamic", "periodic", "baseline", "periodic / dynamic", "interval"
    )  # fmt: skip
    return table(columns, rows)


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
    of = found(CLEAN)
    rows = []
    for one in boxes():
        low, high = one.box["T"]
        name = f"{one.shrink:.0%} of T's range around 5, fixed beforehand"
        values = f"{math.ceil(low)} to {math.floor(high)}"
        rows.append((name, values, f"{one.hits} of {one.trials}", *box_ratio(one).cells))
    own = of.hits(of.spec.dynamic.space.name, of.target)
    periodic = arm_of(of.trials.where(stage="census"), "periodic")
    for low, high in ((1, 4), (5, 10), (1, 9), (10, 10)):
        inside = [i for i, knobs in enumerate(periodic.trials.knobs) if low <= knobs["T"] <= high]
        hits = int(arm_of(periodic.trials.take(inside), "periodic").hits(of.target).sum())
        told = f"{hits} of {len(inside)}", *trials_ratio(own, (hits, len(inside))).cells
        rows.append(("after looking", f"{low} to {high}", *told))
    return table(
        ("part of the space", "T", "periodic trials that match", "ratio", "interval"), rows
    )


def box_ratio(box: Ablated) -> Ratio:
    """Return the ratio in a smaller box."""
    return Ratio(box.ratio, *box.ratio_limits)


class Chances(NamedTuple):
    """An arm that has only the epochs which periodic leaves clean."""

    of_all: float
    """Share of trials that match in all their epochs."""
    of_clean: float
    """Expected share that match in as many epochs as a periodic trial's clean ones."""
    ratio: Ratio
    """Of the latter to periodic's share."""


@functools.cache
def clean_chances() -> dict[str, Chances]:
    """Return what becomes of arms that have only the epochs which periodic leaves clean.

    Each trial of another arm is scored at the clean epochs of each periodic trial in turn; limits
    are percentiles of 10,000 resamples of both arms' trials. Written after looking.
    """
    of = found(CLEAN)
    scores, injected = _curves_of(of, "periodic")
    clean = ~injected
    matched = (scores >= of.target - TIE).any(1)
    generator = np.random.default_rng(0)
    chances = {}
    for name in ("dynamic_default", "baseline"):
        reached = _curves_of(of, name)[0] >= of.target - TIE
        # hit[i, j]: trial i would match, had it only the clean epochs of periodic trial j
        hit = (reached[:, None] & clean[None]).any(2)
        ratios = []
        for _ in range(10_000):
            own = generator.integers(0, len(hit), len(hit))
            others = generator.integers(0, len(matched), len(matched))
            ratios.append(hit[np.ix_(own, others)].mean() / matched[others].mean())
        low, high = (float(end) for end in np.quantile(ratios, (0.025, 0.975)))
        ratio = Ratio(float(hit.mean() / matched.mean()), low, high)
        chances[name] = Chances(float(reached.any(1).mean()), float(hit.mean()), ratio)
    return chances


def chances() -> str:
    """Return what becomes of the ratio if all arms have only the epochs that periodic leaves clean.

    Written after looking.
    """
    of = found(CLEAN)
    scores, injected = _curves_of(of, "periodic")
    share = f"{(scores >= of.target - TIE).any(1).mean():.3f}"
    rows = [("periodic", share, share, "", "")]
    rows += [
        (name, f"{one.of_all:.3f}", f"{one.of_clean:.3f}", *one.ratio.cells)
        for name, one in clean_chances().items()
    ]
    columns = (
        "arm", "share that match, of 20 epochs", "of as many as periodic leaves clean",
        "periodic / it", "interval",
    )  # fmt: skip
    first = [int(np.argmax(row)) if row.any() else len(row) for row in injected]
    before = sum(int(np.argmax(row)) < one for row, one in zip(scores, first, strict=True))
    told = (
        f"Periodic trains {injected.sum():,} of {injected.size:,} epochs with flipped signs;"
        f" {int((scores[injected] >= of.target - TIE).sum())} of these reach the target. The best"
        f" epoch of {before} of {len(scores)} trials precedes their first injection.\n"
    )
    return f"{told}\n{table(columns, rows)}"


def _curves_of(of: Found, space: str) -> tuple[Any, Any]:
    """Return a census's validation scores and whether they were injected: trials × epochs."""
    rows = [row for row in of.curves if row["run"] == f"census-{space}"]
    shape = (-1, of.spec.epochs)
    scores = np.array([float(row["val_f1"]) for row in rows]).reshape(shape)
    return scores, np.array([row["injected"] == "1" for row in rows]).reshape(shape)


def pace() -> str:
    """Return how many seconds an epoch took, by stage: the load on the machine changed."""
    of = found(CLEAN)
    rows = []
    for space in ("periodic", "dynamic_default", "baseline"):
        cells = []
        for stage in ("census", "confirm"):
            trials = of.where(space, stage)
            held, epochs = sum(filter(None, trials.slot_seconds)), sum(filter(None, trials.epochs))
            cells.append(f"{held / epochs:.2f}" if epochs else "–")
        rows.append((space, *cells))
    return table(("arm", "slot-seconds an epoch, census", "confirmation"), rows)


def _matches(hits: dict[tuple[str, float], dict[str, tuple[int, int]]], dynamic: str) -> str:
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
