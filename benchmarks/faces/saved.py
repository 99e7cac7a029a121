"""What dynamic injection saves, and on what that hangs: trials, epochs, time, and who matches.

Numbers are of the study without copies unless a row, or a function's name, says otherwise.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.faces.committed import CLEAN, FIRST, Found, Rows, curves_of, found, injected_epochs
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
HALVES = (1, 4), (5, 10)
"""Of T, chosen after looking."""
CURVES = ("periodic", "dynamic_default", "baseline")
"""Arms whose every epoch is committed."""
SAME, DRAWN, LAST = "those that periodic leaves clean", "as many, at random", "as many, the last"
"""Epochs that count for an arm which is not to have more chances than periodic."""
UNSHARED = "periodic, TPE with ASHA"
SHARED, OF_DEFAULT = "the same, on one seed each, trunks shared", "dynamic at its default"
SEARCHES = {
    UNSHARED: "search-periodic",
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


def cost_per_match(searches: Rows, unit: str) -> float | None:
    """Return what all searches cost for each that reached the target.

    Units: `trials`, `epochs` as if alone, `computed` epochs.
    """
    reached = sum(row["reached"] == "1" for row in searches)
    return sum(int(row[unit]) for row in searches) / reached if reached else None


def searches() -> str:
    """Return what the real searches cost until they reached the target."""
    rows = []
    replays = found(CLEAN).replays
    for told, of in real_costs().items():
        reached = sum(row["reached"] == "1" for row in of)
        costs = (cost_per_match(of, unit) for unit in ("trials", "epochs", "computed"))
        expected = ["–" if cost is None else number(cost) for cost in costs]
        each = ", ".join(row["computed"] + ("" if row["reached"] == "1" else "+") for row in of)
        replay = replays.get(SEARCHES[told].removeprefix("search-"))
        middle = [replay.epochs.quantiles[name] for name in ("0.025", "0.975")] if replay else None
        central = "" if middle is None else limits_text(*middle)
        rows.append((told, f"{reached} of {len(of)}", *expected, each, central))
    columns = (
        "search", "reached the target", "trials per match", "epochs, stand-alone", "computed",
        "each search",
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


def on_test() -> AtTarget:
    """Return who would match, had test scores counted: at least the median of the pilot's."""
    of = found(CLEAN)
    dynamic = of.spec.dynamic.space.name
    target = statistics.median(of.tests(dynamic, "pilot"))
    hits = {space: of.hits(space, target, test=True) for space in (dynamic, "periodic")}
    return AtTarget(target, hits, trials_ratio(hits[dynamic], hits["periodic"]))


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
    inside = [i for i, knobs in enumerate(periodic.trials.knobs) if low <= knobs["T"] <= high]
    own = int(arm_of(periodic.trials.take(inside), "periodic").hits(of.target).sum())
    hits = own, len(inside)
    return hits, trials_ratio(of.hits(of.spec.dynamic.space.name, of.target), hits)


def box_ratio(box: Ablated) -> Ratio:
    """Return the ratio in a smaller box."""
    return Ratio(box.ratio, *box.ratio_limits)


class Chance(NamedTuple):
    """An arm that has no more epochs than periodic leaves clean."""

    share: float
    """Expected share of trials that match, over all numbers of clean epochs of periodic's."""
    ratio: Ratio
    """Of that share to periodic's."""


@functools.cache
def clean_chances() -> dict[str, dict[str, Chance]]:
    """Return what becomes of arms that have no more epochs than periodic leaves clean.

    Each trial of another arm is scored at some epochs for each periodic trial in turn: at the very
    epochs which that one leaves clean, or at as many, drawn at random, or at as many, the last.
    Limits are percentiles of 10,000 resamples of both arms' trials. Written after looking.

    Returns
    -------
    dict
        By arm, and by which epochs count.
    """
    of = found(CLEAN)
    scores, injected = curves_of("periodic"), injected_epochs("periodic")
    clean = ~injected
    matched = (scores >= of.target - TIE).any(1)
    chances = {}
    for name in ("dynamic_default", "baseline"):
        reached = curves_of(name) >= of.target - TIE
        # hit[i, j]: the chance that trial i would match, had it only as many epochs as trial j
        ways = {
            SAME: (reached[:, None] & clean[None]).any(2).astype(float),
            DRAWN: chance_of_drawn(reached.sum(1).tolist(), clean.sum(1).tolist(), clean.shape[1]),
            LAST: np.array(
                [[bool(own[len(own) - count :].any()) for count in clean.sum(1)] for own in reached]
            ).astype(float),
        }
        chances[name] = {way: _chance(hit, matched) for way, hit in ways.items()}
    return chances


def chance_of_drawn(good: Sequence[int], drawn: Sequence[int], epochs: int) -> Any:
    """Return the chances that one of so many epochs drawn is one of the good ones: good × drawn."""
    none = [[math.comb(epochs - own, count) for count in drawn] for own in good]
    return 1 - np.array(none) / np.array([math.comb(epochs, count) for count in drawn])


def _chance(hit: Any, matched: Any) -> Chance:
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(10_000):
        own = generator.integers(0, len(hit), len(hit))
        others = generator.integers(0, len(matched), len(matched))
        ratios.append(hit[np.ix_(own, others)].mean() / matched[others].mean())
    low, high = (float(end) for end in np.quantile(ratios, (0.025, 0.975)))
    return Chance(float(hit.mean()), Ratio(float(hit.mean() / matched.mean()), low, high))


def chances() -> str:
    """Return what becomes of the ratio if no arm has more epochs than periodic leaves clean.

    Written after looking.
    """
    of = found(CLEAN)
    scores, injected = curves_of("periodic"), injected_epochs("periodic")
    reached = {name: curves_of(name) >= of.target - TIE for name in CURVES}
    shares = {name: float(one.any(1).mean()) for name, one in reached.items()}
    rows = [(name, "all 20", f"{share:.3f}", "", "") for name, share in shares.items()]
    rows += [
        (name, way, f"{one.share:.3f}", *one.ratio.cells)
        for name, ways in clean_chances().items()
        for way, one in ways.items()
    ]
    columns = ("arm", "epochs that count", "share that match", "periodic / it", "interval")
    first = [int(np.argmax(row)) if row.any() else len(row) for row in injected]
    before = sum(int(np.argmax(row)) < one for row, one in zip(scores, first, strict=True))
    told = (
        f"Periodic trains {injected.sum():,} of {injected.size:,} epochs with flipped signs;"
        f" {int(reached['periodic'][injected].sum())} of these reach the target. The best"
        f" epoch of {before} of {len(scores)} trials precedes their first injection. Of its clean"
        f" epochs {_percent(reached['periodic'][~injected])} reach it; of all epochs of dynamic"
        f" at its default {_percent(reached['dynamic_default'])}, of the baseline"
        f" {_percent(reached['baseline'])}.\n"
    )
    return f"{told}\n{table(columns, rows)}"


def _percent(of: Any) -> str:
    return f"{100 * of.mean():.1f} %"


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
