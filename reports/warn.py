"""Everything that must be said beside the answer: what is small, missing, mixed or assumed."""

from __future__ import annotations

from collections import Counter

from reports.arm import Arm, arm_of
from reports.contract import Arms
from reports.cost import arms_cost_ratio
from reports.equivalence import Confirmation
from reports.proportions import never_matched
from reports.savings import TrialSavings
from reports.sentence import DEFENSIBLE
from reports.table import Trials
from reports.target import Chosen
from reports.words import limits_text, number, percent
from tuner.cli.formatting import plural
from tuner.record_schema import OPEN_STATES

GROSS = {"periodic": 40, "dynamic": 10}
"""The smallest that shows gross savings."""
FEW_SEEDS = 10
"""Below this many seeds intervals are valid, but so wide that few questions are answered."""
PILOT = 10
"""Trials that a pilot should have."""


def all_warnings(
    trials: Trials,
    arms: dict[str, Arm],
    told: Arms,
    savings: TrialSavings,
    chosen: Chosen,
    confirmed: Confirmation,
    margin: float | None,
    confidence: float,
    seed: int,
) -> list[str]:
    """Return one sentence for each thing a reader must know, the gravest first."""
    found = [*_size(arms)]
    for role, arm in arms.items():
        answer = told.periodic if role == "periodic" else told.dynamic
        found += _matches(arm, answer.hits, answer.crashed, answer.stopped, chosen, confidence)
        found += _rows(trials, arm)
    found += _copies(arms) + _target(chosen) + _baseline(trials, chosen)
    found += _fairness(arms)
    found += _costs(arms, savings, chosen, confidence, seed)
    if confirmed.result is None:
        found.append(f"{confirmed.notes[-1]}: quality on test is unknown, nothing may be claimed.")
        found += confirmed.notes[:-1]
    else:
        found += confirmed.notes
        if margin is None:
            found.append("No margin was given: non-inferiority on test cannot be tested.")
    return list(dict.fromkeys(found))


def _size(arms: dict[str, Arm]) -> list[str]:
    counts = f"{arms['periodic'].n} periodic and {plural(arms['dynamic'].n, 'dynamic trial')}"
    if all(arm.n >= DEFENSIBLE[role == "dynamic"] for role, arm in arms.items()):
        return []
    if all(arm.n >= GROSS[role] for role, arm in arms.items()):
        return [f"{counts} show gross savings only; 100 and 20 are the least to defend a number."]
    return [f"{counts} are too few even for gross savings (40 and 10); 100 and 20 are the least."]


def _matches(
    arm: Arm, hits: int, crashed: int, stopped: int, chosen: Chosen, confidence: float
) -> list[str]:
    found = []
    if crashed:
        found.append(
            f"{crashed} of {arm.n} trials of {arm.space} crashed or diverged: they matched nothing,"
            " and their cost counts."
        )
    if stopped:
        found.append(
            f"{stopped} of {arm.n} trials of {arm.space} were stopped before they matched, and"
            f" might have: its hit probability is between {number(hits / arm.n)} and"
            f" {number((hits + stopped) / arm.n)}, limits enclose both, and estimates are the end"
            " that favours dynamic least. Cost is that of the search as it was stopped."
        )
    elif arm.n and chosen.value is not None and hits == 0:
        median, mean = (never_matched(arm.n, q, confidence) for q in (0.5, None))
        found.append(
            f"{arm.space} did not reach the target in {plural(arm.n, 'trial')}: at least"
            f" {median:.3g} trials for an even chance, {mean:.3g} on average"
            f" (one-sided {percent(confidence)})."
        )
    return found


def _rows(trials: Trials, arm: Arm) -> list[str]:
    """Say what is special about the rows of an arm."""
    found = []
    waiting = len(trials.where(space=arm.space, states=OPEN_STATES))
    if waiting:
        verb = "has" if waiting == 1 else "have"
        found.append(f"{plural(waiting, 'trial')} of {arm.space} {verb} not ended: left out.")
    if arm.chosen:
        found.append(
            f"The trials of {arm.space} are a search's, not independent random draws (a census):"
            " its intervals are approximate."
        )
    if arm.clustered:
        few = f"; fewer than {FEW_SEEDS} seeds tell little" if arm.seeds < FEW_SEEDS else ""
        found.append(
            f"The {arm.n} trials of {arm.space} share {plural(arm.seeds, 'seed')}: intervals count"
            f" only as many trials as independent as these are worth{few}."
        )
    if len({one for one in arm.trials.definition if one}) > 1:
        found.append(
            f"The runs of {arm.space} do not search the same space: its ranges, or what is fixed,"
            " differ between them, and the answer depends on that."
        )
    kinds = Counter(arm.trials.arm)
    if len(kinds) > 1:
        names = ", ".join(f"{name} ({count})" for name, count in sorted(kinds.items()))
        found.append(f"{arm.space} holds trials of several arms, all counted: {names}.")
    return found


def _copies(arms: dict[str, Arm]) -> list[str]:
    """Say how many validation images were trained on."""
    most = max((one or 0 for arm in arms.values() for one in arm.trials.copies), default=0)
    if not most:
        return []
    verb = "is a training image" if most == 1 else "are training images"
    return [
        f"{plural(most, 'validation image')} {verb}, too, pixel for pixel: a trial that learns"
        " by heart scores better there than it is, and regularisation prevents that; --copies drop"
        " leaves them out."
    ]


def _target(chosen: Chosen) -> list[str]:
    if chosen.own_median and chosen.value is not None:
        return [
            "The target is the median of dynamic's own trials: intervals allow for that (melded),"
            " but a target fixed in advance, or a pilot's, is better."
        ]
    if chosen.pilot is not None and chosen.pilot < PILOT:
        return [f"The pilot has {plural(chosen.pilot, 'trial')}; at least {PILOT} are wanted."]
    return []


def _baseline(trials: Trials, chosen: Chosen) -> list[str]:
    """Say where the target is reached without any injection."""
    found = []
    for space in trials.where(arm="baseline").spaces:
        arm = arm_of(trials, space)
        hits = int(arm.hits(chosen.value).sum())
        if hits:
            found.append(
                f"{hits} of {plural(arm.n, 'trial')} of {space}, which inject nothing, reach the"
                " target, too: reaching it does not take injection."
            )
    return found


def _fairness(arms: dict[str, Arm]) -> list[str]:
    """Say where the arms were not trained alike."""
    known = {one for arm in arms.values() for one in arm.trials.conditions if one}
    if len(known) > 1:
        return [
            "The trials were not all trained alike: network, training or epochs differ between"
            " their runs, and may be what is compared."
        ]
    return []


def _costs(
    arms: dict[str, Arm], savings: TrialSavings, chosen: Chosen, confidence: float, seed: int
) -> list[str]:
    found = []
    dynamic, periodic = arms["dynamic"], arms["periodic"]
    for column in ("epochs", "slot_seconds"):
        lacking = [arm.space for arm in (periodic, dynamic) if arm.n and arm.cost(column) is None]
        if lacking:
            names = " and ".join(dict.fromkeys(lacking))
            found.append(f"{column} are not known for every trial of {names}: left out.")
    types = sorted(periodic.devices | dynamic.devices)
    if len(types) > 1:
        found.append(f"slot_seconds are of different devices, and left out: {', '.join(types)}.")
    for column in ("epochs", "slot_seconds"):
        shared = f"as_run_{column}"
        if all(getattr(arm.trials, shared) == getattr(arm.trials, column) for arm in arms.values()):
            continue
        cost = arms_cost_ratio(
            dynamic, periodic, chosen.value, shared, confidence, seed, savings.own
        )
        if cost is not None:
            found.append(
                f"As it was run, with shared trunks, the ratio in {column} per match is"
                f" {number(cost.ratio)} ({limits_text(cost.low, cost.high)}); the answer counts"
                " stand-alone cost."
            )
    return found
