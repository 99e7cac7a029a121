"""What a real search costs: each side's replayed searches, their ratio, and the real ones beside.

Ratios are exploratory. Their limits are the outer combination of both sides' limits, which cover
at least 90 % where each side's cover 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reports.figures.chart import Column, Figure, Table
from reports.figures.policy import Found, Spread, draw_policy
from reports.figures.runs import Run
from reports.real_searches import RealSearch, inside, real_search
from reports.sentence import limits_text, number
from reports.study import Study
from tuner.cli.formatting import plural

if TYPE_CHECKING:
    from reports.search_costs import Combination, Cost, Estimate
    from reports.simulate import Simulation

UNITS = {"trials": "trials", "epochs": "epochs", "slot_seconds": "slot-seconds"}
FEWEST = 3
"""Real searches of a side that the protocol demands."""


class PolicyCosts(NamedTuple):
    """What a search costs."""

    told: tuple[str, ...]
    """What it says, as sentences."""
    warnings: tuple[str, ...]
    sides: Table
    ratios: Table
    searches: Table
    figure: Figure | None


def policy_costs(study: Study, runs: Sequence[Run], target: float | None) -> PolicyCosts:
    """Return what searches of the study's two sides cost.

    Parameters
    ----------
    study : Study
    runs : sequence of Run
        All of its runs.
    target : float or None
        Of the comparison, which the replays must share.
    """
    plan = study.spec.policy
    told = [
        f"A search here is {plan.sampler.name} with early stopping by {plan.scheduler.name} and"
        f" {plural(plan.trials, 'trial')}. It was replayed {plan.replays} times over the census of"
        " each side; the cost runs up to the epoch that reaches the target."
    ]
    warnings = []
    sides, spreads, rows, searches = [], [], [], []
    for space, arm in zip(study.sides, ("periodic", "dynamic"), strict=True):
        replayed = study.replays.get(space)
        goal = target if replayed is None else replayed.target
        real = [
            real_search(run.folder, goal)
            for run in runs
            if goal is not None and run.stage == "search" and run.space.name == space
        ]
        if replayed is None:
            warnings.append(f"Searches of {space} were not replayed.")
        else:
            (one,) = replayed.combinations
            sides += _side(space, one)
            spreads.append(_spread(space, arm, one))
            warnings += [f"{space}: {warning}" for warning in replayed.warnings]
            if target is not None and abs(replayed.target - target) > 1e-12:
                warnings.append(
                    f"Searches of {space} were replayed to {replayed.target:.4g}, which is not the"
                    f" target of this comparison, {target:.4g}."
                )
        for search in real:
            within = None if replayed is None else inside(search, _quantiles(replayed))
            rows.append(_row(search, replayed, within))
            if search.reached or search.finished:
                searches.append(Found(space, search.run, search.epochs, search.reached, within))
        warnings += _against(space, real, [row[-1] for row in rows[len(rows) - len(real) :]])
    both = [study.replays[space] for space in study.sides if space in study.replays]
    goal = both[0].target if both else target
    return PolicyCosts(
        tuple(told),
        tuple(warnings),
        Table(_SIDE_COLUMNS, tuple(sides)),
        Table(_RATIO_COLUMNS, tuple(_ratios(*both) if len(both) == 2 else ())),
        Table(_SEARCH_COLUMNS, tuple(rows)),
        draw_policy(spreads, searches, goal) if spreads and goal is not None else None,
    )


_SIDE_COLUMNS = (
    Column("space", "space"),
    Column("unit", "cost in"),
    Column("searches", "searches"),
    Column("success", "reached", 3),
    Column("success_limits", "95 % limits"),
    Column("median", "median", 1),
    Column("median_limits", "95 % limits"),
    Column("ert", "ERT", 1),
    Column("ert_limits", "95 % limits"),
    Column("central", "central 95 % of searches"),
)
_RATIO_COLUMNS = (
    Column("unit", "cost in"),
    Column("what", "ratio of"),
    Column("ratio", "periodic / dynamic", 2),
    Column("limits", "limits (at least 90 %)"),
)
_SEARCH_COLUMNS = (
    Column("run", "search"),
    Column("space", "space"),
    Column("outcome", "outcome"),
    Column("trials", "trials"),
    Column("epochs", "epochs"),
    Column("slot_seconds", "slot-seconds", 1),
    Column("central", "replayed, central 95 % (epochs)"),
    Column("inside", "inside"),
)


def _side(space: str, one: Combination) -> list[tuple[Any, ...]]:
    found = []
    for unit, title in UNITS.items():
        cost: Cost | None = getattr(one, unit)
        if cost is None:
            continue
        found.append(
            (
                space,
                title,
                one.searches,
                one.success.estimate,
                _limits(one.success.low, one.success.high),
                cost.median.estimate,
                _estimate_limits(cost.median),
                cost.ert.estimate,
                _estimate_limits(cost.ert),
                _central(cost.quantiles),
            )
        )
    return found


def _ratios(periodic: Simulation, dynamic: Simulation) -> list[tuple[Any, ...]]:
    """Return the ratios of medians and of expected costs; not of seconds of different devices."""
    found = []
    mixed = len({*periodic.devices, *dynamic.devices}) > 1
    for unit, title in UNITS.items():
        costs = [getattr(one.combinations[0], unit) for one in (periodic, dynamic)]
        if any(cost is None for cost in costs) or (unit == "slot_seconds" and mixed):
            continue
        for what, name in (("medians", "median"), ("expected costs (ERT)", "ert")):
            above, below = (getattr(cost, name) for cost in costs)
            ratio = above.estimate / below.estimate if above.reached and below.estimate else None
            low = above.low / below.high if above.low is not None and below.high else None
            high = above.high / below.low if above.high is not None and below.low else None
            none = all(one is None for cost in (above, below) for one in (cost.low, cost.high))
            told = "–" if none else limits_text(low or 0.0, high)
            found.append((title, what, ratio, told))
    return found


def _spread(space: str, arm: str, one: Combination) -> Spread:
    of = one.epochs.quantiles
    return Spread(
        space, arm, of["0.025"], of["0.25"], one.epochs.median.estimate, of["0.75"], of["0.975"]
    )


def _row(search: RealSearch, replayed: Simulation | None, within: bool | None) -> tuple[Any, ...]:
    outcome = "reached the target" if search.reached else (
        "censored at its budget" if search.finished else "under way"
    )  # fmt: skip
    return (
        search.run,
        search.space,
        outcome,
        search.trials,
        search.epochs,
        search.slot_seconds,
        "not replayed" if replayed is None else _central(_quantiles(replayed)),
        within,
    )


def _against(space: str, real: Sequence[RealSearch], within: Sequence[bool | None]) -> list[str]:
    """Say where the real searches are too few, or do not confirm the replays."""
    found = []
    done = sum(search.finished or search.reached for search in real)
    if done < FEWEST:
        found.append(
            f"{plural(done, 'real search').replace('searchs', 'searches')} of {space} ended; at"
            f" least {FEWEST} are wanted to confirm that replays tell the truth."
        )
    outside = [search.run for search, one in zip(real, within, strict=True) if one is False]
    if outside:
        found.append(
            f"{', '.join(outside)}: outside the central 95 % of the replayed costs, so that the"
            f" replays of {space} are not confirmed. One search in twenty lies outside by chance."
        )
    return found


def _quantiles(replayed: Simulation) -> dict[str, float | None]:
    return replayed.combinations[0].epochs.quantiles


def _central(quantiles: dict[str, float | None]) -> str:
    low, high = quantiles["0.025"], quantiles["0.975"]
    if low is None:
        return "not reached"
    return f"{number(low)} to {'beyond the budget' if high is None else number(high)}"


def _estimate_limits(one: Estimate) -> str:
    return _limits(one.low, one.high)


def _limits(low: float | None, high: float | None) -> str:
    return "–" if low is None and high is None else limits_text(low, high)
