"""What dynamic injection saves: in trials, epochs and time, by the way of searching.

Numbers are of the study without copies unless a row, or a function's name, says otherwise.
"""

from __future__ import annotations

from benchmarks.faces.committed import CLEAN, CURVES, FIRST, Found, Rows, found
from benchmarks.faces.differences import (
    Hits,
    Ratio,
    cells,
    cost_ratio,
    saving_ratio,
    table,
    trials_ratio,
    without_limits,
)
from reports.search_costs import Combination
from reports.words import limits_text, number

UNITS = ("trials", "epochs", "slot_seconds")
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


def dynamic_hits(of: Found) -> Hits:
    """Return how many trials of dynamic at its default match, of how many."""
    return of.hits(of.spec.dynamic.space.name, of.target)


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
    return cost is not None and without_limits(cost.ert)


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
        "each search", "replayed, central 95 %",
    )  # fmt: skip
    return table(columns, rows)


def pace() -> str:
    """Return how many seconds an epoch took, by stage: the load on the machine changed."""
    of = found(CLEAN)
    rows = []
    for space in CURVES:
        paces = []
        for stage in ("census", "confirm"):
            trials = of.where(space, stage)
            held, epochs = sum(filter(None, trials.slot_seconds)), sum(filter(None, trials.epochs))
            paces.append(f"{held / epochs:.2f}" if epochs else "–")
        rows.append((space, *paces))
    return table(("arm", "slot-seconds an epoch, census", "confirmation"), rows)
