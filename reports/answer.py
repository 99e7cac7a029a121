"""The whole comparison: from trials to the answer, with everything that must be said beside it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from reports import hidden_knob
from reports.arm import Arm, arm_of
from reports.contract import (
    Answer,
    ArmAnswer,
    Arms,
    Beats,
    Cost,
    CostPerMatch,
    Ends,
    EquivalenceAnswer,
    HiddenKnob,
    HiddenKnobPoint,
    HitProbability,
    MatchEnds,
    Saving,
    Savings,
    ShareEnds,
    StoppedBounds,
    Target,
    ToMatch,
    ToMatchEnds,
    TrialsToMatch,
)
from reports.cost import CostPerMatch as CostLimits
from reports.cost import arms_cost_ratio, cost_per_match
from reports.equivalence import Confirmation, confirmation
from reports.proportions import Interval, trials_to_match, whole_trials
from reports.savings import (
    Ratio,
    TrialSavings,
    same_arm,
    share_interval,
    told_shares,
    trial_savings,
)
from reports.sentence import claim
from reports.superiority import beats
from reports.table import Trials
from reports.target import Chosen, chosen_target
from reports.tuning_curve import hit_interval, why_no_band
from reports.warn import all_warnings
from search_spaces.model import UserError, did_you_mean

QUANTITIES = {"median": 0.5, "p90": 0.1, "mean": None}
"""Trials to a match: the probability q of not having matched, or None for their expectation."""
COSTS = ("epochs", "slot_seconds")


class _Share(NamedTuple):
    """An arm's hit probability: both ends of its estimate, which differ if trials were stopped."""

    least: float | None
    most: float | None
    limits: Interval
    told: float | None
    """The end that favours dynamic least; at an arm's own median a half."""
    reached: bool
    own_median: bool = False
    """Whether the target is this arm's own median, so that `told` is no share of matches."""


def compare(
    trials: Trials,
    *,
    periodic: str,
    dynamic: str,
    target: float | None = None,
    target_from: Trials | None = None,
    target_source: str = "given",
    margin: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Answer:
    """Return how much tuning dynamic saves compared with periodic.

    Parameters
    ----------
    trials : Trials
        Of both spaces, and of any others, which are ignored but for pilot and confirm rows.
    periodic, dynamic : str
        Names of the spaces to compare.
    target : float, optional
        Validation score that counts as a match, fixed in advance.
    target_from : Trials, optional
        A pilot of dynamic, whose median is the target.
    target_source : str, default "given"
        Where `target` comes from, for people.
    margin : float, optional
        How much worse on test, δ > 0, is not worse.
    confidence : float, default 0.95
    seed : int, default 0
        Of the bootstrap.

    Raises
    ------
    UserError
        If a space is unknown, or the pilot's trials are among those compared.
    """
    for space in (periodic, dynamic):
        if space not in trials.spaces:
            raise UserError(did_you_mean("space", space, trials.spaces))
    arms = {"periodic": arm_of(trials, periodic), "dynamic": arm_of(trials, dynamic)}
    chosen = chosen_target(trials, arms["dynamic"], target, target_from, target_source)
    y = chosen.value
    shares = _shares(arms, chosen, confidence)
    confirmed = confirmation(trials, dynamic, periodic, margin)
    told = {role: _arm(arm, role, shares[role], y, confidence, seed) for role, arm in arms.items()}
    both = Arms(periodic=told["periodic"], dynamic=told["dynamic"])
    in_trials = trial_savings(
        arms["dynamic"], arms["periodic"], y, chosen.own_median, confidence, seed
    )
    savings = _savings(arms, in_trials, chosen, confidence, seed)
    won = beats(arms["periodic"], arms["dynamic"], confidence, seed)
    bounds = _bounds(shares) if any(one.stopped for one in told.values()) else None
    return Answer(
        target=Target(value=y, source=chosen.source),
        arms=both,
        savings=savings,
        random_periodic_beats_default=Beats(**won._asdict()),
        equivalence=_equivalence(confirmed),
        stopped_bounds=bounds,
        hidden_knob=_hidden_knob(arms, shares),
        claim=claim(both, savings, chosen, confirmed, periodic, dynamic, confidence, bounds),
        warnings=all_warnings(
            trials, arms, both, in_trials, chosen, confirmed, margin, confidence, seed
        ),
    )


def _shares(arms: dict[str, Arm], chosen: Chosen, confidence: float) -> dict[str, _Share]:
    """Return both hit probabilities and their limits."""
    dynamic, periodic, y = arms["dynamic"], arms["periodic"], chosen.value
    found = {}
    for role, arm in arms.items():
        if arm.n == 0 or y is None:
            reached = bool(arm.hits(y).any())
            found[role] = _Share(None, None, Interval(0.0, 1.0), None, reached)
            continue
        hits, maybe = arm.hits(y), arm.maybe(y)
        least, most = float(hits.mean()), float(maybe.mean())
        told = most if role == "periodic" else least
        own = chosen.own_median and (role == "dynamic" or same_arm(dynamic, periodic))
        if own:
            told = told_shares(dynamic, arm, y, True)[role == "periodic"]
        if own and why_no_band(arm) is None:
            limits = hit_interval(arm.scores, y, confidence)
        else:
            limits = Interval(
                share_interval(arm, hits, confidence).low,
                share_interval(arm, maybe, confidence).high,
            )
        limits = Interval(min(limits.low, told), max(limits.high, told))
        found[role] = _Share(least, most, limits, told, bool(hits.any()), own)
    return found


def _arm(
    arm: Arm, role: str, share: _Share, y: float | None, confidence: float, seed: int
) -> ArmAnswer:
    hits = arm.hits(y)
    return ArmAnswer(
        trials=arm.n,
        hits=int(hits.sum()),
        crashed=int(arm.failed.sum()),
        stopped=int((arm.cut & ~hits).sum()),
        hit_probability=HitProbability(
            estimate=share.told, low=share.limits.low, high=share.limits.high
        ),
        trials_to_match=TrialsToMatch(
            **{name: _to_match(share, q) for name, q in QUANTITIES.items()}
        ),
        cost_per_match=CostPerMatch(
            **{name: _cost(arm, role, share, y, name, confidence, seed) for name in COSTS}
        ),
    )


def _to_match(share: _Share, q: float | None) -> ToMatch:
    found = trials_to_match(share.told, q) if share.reached and share.told else math.inf
    estimate = bounded(found)
    return ToMatch(
        estimate=estimate,
        ceiling=None if estimate is None else whole_trials(estimate),
        low=trials_to_match(share.limits.high, q),
        high=bounded(trials_to_match(share.limits.low, q)),
        reached=share.reached,
    )


def _cost(
    arm: Arm, role: str, share: _Share, y: float | None, name: str, confidence: float, seed: int
) -> Cost | None:
    cost = arm.cost(name)
    if cost is None or (name == "slot_seconds" and len(arm.devices) > 1):
        return None
    hits, maybe = arm.hits(y), arm.maybe(y)
    if y is None or share.own_median:
        # Nothing is known of matches, or the target was chosen among these scores, which no
        # resampling knows.
        limits, mean = share.limits, float(cost.mean())
        high = mean / limits.low if limits.low > 0 else math.inf
        estimate = mean / share.told if share.told else math.inf
        found = CostLimits(estimate, mean / limits.high, high)
    else:
        least = most = cost_per_match(arm, hits, cost, confidence, seed)
        if (hits ^ maybe).any():
            most = cost_per_match(arm, maybe, cost, confidence, seed)
        told = most if role == "periodic" else least
        found = CostLimits(told.estimate, most.low, least.high)
    return Cost(
        estimate=bounded(found.estimate) if share.reached else None,
        low=bounded(found.low),
        high=bounded(found.high),
        reached=share.reached,
    )


def _savings(
    arms: dict[str, Arm], found: TrialSavings, chosen: Chosen, confidence: float, seed: int
) -> Savings:
    dynamic, periodic = arms["dynamic"], arms["periodic"]
    costs = {
        name: arms_cost_ratio(dynamic, periodic, chosen.value, name, confidence, seed, found.own)
        for name in COSTS
    }
    return Savings(
        trials=_saving(found.trials),
        equal_success=_saving(found.equal_success),
        **{name: None if cost is None else _saving(Ratio(*cost)) for name, cost in costs.items()},
    )


def _saving(found: Ratio) -> Saving:
    return Saving(
        ratio=None if found.ratio is None else bounded(found.ratio),
        low=found.low,
        high=bounded(found.high),
        method=found.method,
    )


def _equivalence(confirmed: Confirmation) -> EquivalenceAnswer | None:
    return None if confirmed.result is None else EquivalenceAnswer(**confirmed.result._asdict())


def _bounds(shares: dict[str, _Share]) -> StoppedBounds:
    def share_ends(share: _Share) -> Ends:
        return Ends(
            least=share.least, most=share.most, low=share.limits.low, high=share.limits.high
        )

    def match_ends(share: _Share) -> MatchEnds:
        ends = (share.most, share.least, share.limits.high, share.limits.low)
        found = {
            name: [None if s is None else bounded(trials_to_match(s, q)) for s in ends]
            for name, q in QUANTITIES.items()
        }
        names = ("least", "most", "low", "high")
        return MatchEnds(
            **{
                name: Ends(**dict(zip(names, values, strict=True)))
                for name, values in found.items()
            }
        )

    return StoppedBounds(
        hit_probability=ShareEnds(**{role: share_ends(one) for role, one in shares.items()}),
        trials_to_match=ToMatchEnds(**{role: match_ends(one) for role, one in shares.items()}),
    )


def _hidden_knob(arms: dict[str, Arm], shares: dict[str, _Share]) -> HiddenKnob:
    """Charge dynamic's default, at the mean cost of a trial in slot-seconds, else in epochs."""
    means = dict.fromkeys(arms, 1.0)
    for column in COSTS:
        costs = {role: arm.cost(column) for role, arm in arms.items()}
        mixed = len(arms["periodic"].devices | arms["dynamic"].devices) > 1
        known = {role: float(np.mean(cost)) for role, cost in costs.items() if cost is not None}
        if len(known) == len(arms) and not (column == "slot_seconds" and mixed):
            means = known
    k = {
        role: trials_to_match(one.told, 0.5) if one.reached and one.told else math.inf
        for role, one in shares.items()
    }
    point, points = hidden_knob.curve(
        k["periodic"], k["dynamic"], means["periodic"], means["dynamic"]
    )
    return HiddenKnob(
        break_even_tasks=point.break_even_tasks,
        curve=[HiddenKnobPoint(**one._asdict()) for one in points],
    )


def bounded(number: float) -> float | None:
    """Return a number, or None where it is infinite or undefined."""
    return float(number) if math.isfinite(number) else None
