"""When a run stops asking for trials, and how its budget is raised.

A budget bounds what is *asked*: running trials finish, so a run ends at most as many trials beyond
its budget of epochs or hours as run at once. The number of trials is never exceeded.
"""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.model import UserError, validated
from tuner.record_rows import Totals
from tuner.spec_sections import BudgetConfig

UNITS = {
    "trials": "trials",
    "epochs": "epochs",
    "gpu_hours": "slot-hours",
    "wall_hours": "hours of wall time",
}
"""Field of `BudgetConfig` → how a sentence calls it."""


def spent(budget: BudgetConfig, totals: Totals, upcoming: int = 1) -> str | None:
    """Return why no more trials may be asked for, or None while they may.

    Parameters
    ----------
    budget : BudgetConfig
    totals : Totals
        What the run has spent so far, over all its resumes.
    upcoming : int, default 1
        Trials that would be asked for next: one for each seed of a configuration.

    Examples
    --------
    >>> totals = Totals({"completed": 19, "running": 1}, epochs=700, slot_s=9000.0, active_s=9000.0)
    >>> spent(BudgetConfig(trials=20), totals)
    'the budget of 20 trials is spent'
    >>> spent(BudgetConfig(trials=22), totals, upcoming=3)
    'the budget of 22 trials leaves 2, and a configuration takes 3'
    >>> spent(BudgetConfig(trials=100, gpu_hours=2.5), totals)
    'the budget of 2.5 slot-hours is spent'
    """
    if budget.trials is not None:
        left = budget.trials - totals.num_trials
        if 0 < left < upcoming:
            return (
                f"the budget of {budget.trials} trials leaves {left},"
                f" and a configuration takes {upcoming}"
            )
        if left <= 0:
            return _sentence(budget.trials, "trials")
    for name, amount in used(totals).items():
        limit = getattr(budget, name)
        if limit is not None and amount >= limit:
            return _sentence(limit, name)
    return None


def used(totals: Totals) -> dict[str, float]:
    """Return what a run has spent of each limit but that of trials, by its name in the budget."""
    return {
        "epochs": totals.epochs,
        "gpu_hours": totals.slot_s / 3600,
        "wall_hours": totals.active_s / 3600,
    }


def share_done(budget: Mapping[str, float | None], totals: Totals) -> float | None:
    """Return how much of the limit that is nearest to its end has been spent, 0 to 1.

    Of trials only those count that have ended.

    >>> totals = Totals({"completed": 5, "running": 9}, epochs=30, slot_s=0.0, active_s=0.0)
    >>> share_done({"trials": 20, "epochs": 300, "gpu_hours": None}, totals)
    0.25
    """
    amounts = {"trials": totals.num_ended, **used(totals)}
    shares = [amounts[name] / limit for name, limit in budget.items() if limit]
    return min(1.0, max(shares)) if shares else None


def raised(
    budget: BudgetConfig,
    *,
    more_trials: int | None = None,
    more_epochs: int | None = None,
    more_gpu_hours: float | None = None,
    more_wall_hours: float | None = None,
) -> BudgetConfig:
    """Return the budget with more of what limits it.

    Raises
    ------
    UserError
        If an amount is not positive, or the budget has no limit of that unit: to add to nothing
        would turn an unlimited budget into a limited one.
    """
    more = {
        "trials": more_trials,
        "epochs": more_epochs,
        "gpu_hours": more_gpu_hours,
        "wall_hours": more_wall_hours,
    }
    limits = budget.model_dump()
    changed = dict(limits)
    for name, amount in more.items():
        if amount is None:
            continue
        option = f"--more-{name.replace('_', '-')}"
        if not amount > 0:
            raise UserError(f"{option} must be greater than 0, but got {amount}.")
        if limits[name] is None:
            known = ", ".join(f"{limits[key]:g} {UNITS[key]}" for key in UNITS if limits[key])
            raise UserError(f"{option} raises a limit, but this budget has none: only {known}.")
        changed[name] = limits[name] + amount
    return validated(BudgetConfig, changed, "raised budget")


def _sentence(limit: float, name: str) -> str:
    unit = UNITS[name].removesuffix("s") if limit == 1 else UNITS[name]
    return f"the budget of {limit:g} {unit} is spent"
