"""The top of the report: the sentence that answers the question, or says what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reports.answer import compare
from reports.arm import arm_of
from reports.contract import Answer, Saving
from reports.equivalence import is_significant
from reports.figures.runs import Run
from reports.format import Section, ratio_text, sections
from reports.sections.trials import failures
from reports.sentence import DEFENSIBLE
from reports.table import Trials, census_spaces, of_census
from reports.words import limits_text, number, percent
from search_spaces.model import UserError, did_you_mean
from tuner.cli.formatting import knob_text, plural
from tuner.record_schema import FAILED_STATES

SIDES = ("periodic", "dynamic")
USUAL = {"periodic": "periodic_T", "dynamic": "dynamic_default"}
"""The space of each side that one begins with."""


class Asked(NamedTuple):
    """What the reader wants compared; None is for the report to choose."""

    periodic: str | None = None
    dynamic: str | None = None
    target: float | None = None
    target_from: Trials | None = None
    target_source: str = "given"
    margin: float | None = None
    confidence: float = 0.95
    seed: int = 0
    awaited: tuple[str, ...] = ()
    """Spaces that may have no trial as yet: those of a study."""
    centre: Mapping[str, Any] | None = None
    """Values of the periodic knobs around which the space is shrunk, fixed beforehand."""


class Verdict(NamedTuple):
    """What stands first."""

    sentence: str
    answer: Answer | None
    periodic: str
    """Space; empty without an answer."""
    dynamic: str
    beneath: tuple[tuple[str, str], ...]
    """What must stand right under the sentence, as (name, text); empty without an answer."""
    tables: tuple[Section, ...]
    warnings: tuple[str, ...]
    alarms: tuple[str, ...] = ()
    """What must be known before anything else."""

    def opened(self, opening: str, alarms: Sequence[str]) -> Verdict:
        """Return the verdict with its first words, and what must be known first."""
        answer = None if self.answer is None else opened(self.answer, opening, alarms)
        return self._replace(sentence=opening + self.sentence, answer=answer, alarms=tuple(alarms))


def opened(answer: Answer, opening: str, alarms: Sequence[str]) -> Answer:
    """Return an answer whose claim has these first words, and whose warnings begin with these."""
    told = {"claim": opening + answer.claim, "warnings": [*alarms, *answer.warnings]}
    return answer.model_copy(update=told)


def verdict(runs: Sequence[Run], trials: Trials, asked: Asked) -> Verdict:
    """Compare, if both sides are there.

    Parameters
    ----------
    runs : sequence of Run
        Those among the trials that were recorded, for their names and errors.
    trials : Trials
    asked : Asked

    Raises
    ------
    UserError
        If a space that was asked for is not there.
    """
    chosen, missing = side_spaces(trials, asked)
    if missing:
        return Verdict(f"{_best(runs, trials)} {' '.join(missing)}", None, "", "", (), (), ())
    periodic, dynamic = chosen["periodic"], chosen["dynamic"]
    answer = compare(
        trials,
        periodic=periodic,
        dynamic=dynamic,
        target=asked.target,
        target_from=asked.target_from,
        target_source=asked.target_source,
        margin=asked.margin,
        confidence=asked.confidence,
        seed=asked.seed,
    )
    sentence = answer.claim
    counted = _counted(trials)
    if (not answer.arms.periodic.trials and not answer.arms.dynamic.trials) or _failed(counted):
        sentence = f"{_best(runs, trials)} {sentence}"
    return Verdict(
        sentence,
        answer,
        periodic,
        dynamic,
        tuple(beneath(answer, trials, periodic, dynamic, asked.confidence)),
        tuple(sections(answer, asked.confidence)),
        tuple(answer.warnings),
    )


def beneath(
    answer: Answer, trials: Trials, periodic: str, dynamic: str, confidence: float
) -> list[tuple[str, str]]:
    """Return what keeps the sentence honest: n, target, interval, cost, quality, baseline."""
    sides = ((periodic, answer.arms.periodic), (dynamic, answer.arms.dynamic))
    told = "; ".join(
        f"{space} {plural(arm.trials, 'trial')}, {arm.hits} matched" for space, arm in sides
    )
    enough = all(arm.trials >= least for (_, arm), least in zip(sides, DEFENSIBLE, strict=True))
    size = "" if enough else f" (the least to defend a number: {DEFENSIBLE[0]} and {DEFENSIBLE[1]})"
    found = [("Compared", f"{told}{size}")]
    for space in dict.fromkeys((periodic, dynamic)):
        arm = arm_of(trials, space)
        if arm.clustered:
            found.append(
                (
                    "Clusters",
                    f"the {arm.n} trials of {space} share {plural(arm.seeds, 'seed')}: rows of one"
                    " seed are a cluster, and intervals count only what they are worth",
                )
            )
    value = answer.target.value
    goal = "no score" if value is None else f"validation macro-F1 ≥ {value:.4g}"
    found.append(("Target", f"{goal} ({answer.target.source})"))
    level = f"{percent(confidence)} interval"
    savings = answer.savings
    found.append(("Trials, periodic / dynamic", _ratio(answer, savings.trials, level)))
    costs = {"epochs": savings.epochs, "slot-seconds": savings.slot_seconds}
    known = [
        f"{name} {_ratio(answer, cost, level)}" for name, cost in costs.items() if cost is not None
    ]
    found.append(("Cost, periodic / dynamic", "; ".join(known) or "not known"))
    found.append(("Quality on test", _quality(answer, confidence)))
    for space in trials.where(arm="baseline").spaces:
        arm = arm_of(trials, space)
        if arm.n and value is not None:
            hits = int(arm.hits(value).sum())
            found.append(
                ("Without injection", f"{hits} of {plural(arm.n, 'trial')} of {space} match")
            )
    return found


def _ratio(answer: Answer, saving: Saving, level: str) -> str:
    ratio = "not known" if saving.ratio is None else ratio_text(answer, saving)
    return f"{ratio} ({level} {limits_text(saving.low, saving.high)})"


def _quality(answer: Answer, confidence: float) -> str:
    """Return whether dynamic is as good as tuned periodic on test."""
    same = answer.equivalence
    if same is None:
        return "unknown: not both sides have confirmed trainings"
    difference = f"dynamic − tuned periodic is {same.difference:+.4f}"
    if same.margin is None or same.non_inferior_p is None:
        return f"not judged: {difference}, and no margin was given"
    shown = is_significant(same.non_inferior_p, confidence)
    worse = f"worse by {number(same.margin)} or more"
    return (
        f"{f'not {worse}' if shown else f'may be {worse}'}: {difference}"
        f" (p = {number(same.non_inferior_p)})"
    )


def side_spaces(trials: Trials, asked: Asked) -> tuple[dict[str, str], list[str]]:
    """Return the space of each side, and what is missing: first the sides that have no run.

    Raises
    ------
    UserError
        If a space that was asked for is not there.
    """
    found = {side: side_space(trials, side, asked) for side in SIDES}
    there = {arm.partition("+")[0] for arm in trials.arm}
    missing = [(side in there, text) for side, (_, text) in found.items() if text]
    missing.sort(key=lambda one: one[0])
    return {side: space for side, (space, _) in found.items()}, [text for _, text in missing]


def side_space(trials: Trials, side: str, asked: Asked) -> tuple[str, str]:
    """Return the space of a side, or an empty name and what is missing.

    Parameters
    ----------
    trials : Trials
    side : one of `SIDES`
    asked : Asked
        Names the space, or leaves it to the trials, where only one can be meant.

    Raises
    ------
    UserError
        If the space that was asked for is not there.
    """
    space: str | None = getattr(asked, side)
    if space is not None:
        if space not in trials.spaces and space in asked.awaited:
            return "", f"No comparison yet: {space} has no trials; go on with the study first."
        if space not in trials.spaces:
            raise UserError(did_you_mean("space", space, trials.spaces))
        return space, ""
    arms = zip(trials.space, trials.arm, strict=True)
    found = list(dict.fromkeys(space for space, arm in arms if arm.startswith(side)))
    if len(found) == 1:
        return found[0], ""
    if found:
        names = ", ".join(found)
        return "", f"No comparison: choose one {side} space with --{side} ({names})."
    make = f"make one with: tuner run --space {USUAL[side]}"
    return "", f"No comparison: there is no run of a {side} space ({make})."


def _best(runs: Sequence[Run], trials: Trials) -> str:
    """Return what was found, where arms are not compared."""
    counted = _counted(trials)
    n = len(counted)
    if not n:
        return f"No trial {'of the census ' if len(trials) else ''}was planned yet."
    if _failed(counted):
        last = failures([run for run in runs if run.stage in ("census", "search")])
        error = f"; the last one with: {last[-1].last_line.rstrip('.')}" if last else ""
        return f"All {n} trials failed{error}."
    scored = [
        (score, -i) for i, score in enumerate(counted.score)
        if score is not None and counted.state[i] not in FAILED_STATES
    ]  # fmt: skip
    if not scored:
        return f"None of {n} trials has finished an epoch."
    score, negative = max(scored)
    i = -negative
    test = counted.test_score[i]
    names = {str(run.folder): run.name for run in runs}
    source, at = counted.source[i], knob_text(counted.knobs[i])
    where = f"{names[source]} #" if source in names else f"{source}, row "
    return (
        f"The best of {n} trials reached a validation macro-F1 of {score:.4f} (test"
        f" {'unknown' if test is None else f'{test:.4f}'}; {where}{counted.row[i]}"
        f"{f', {at}' if at else ''})."
    )


def _counted(trials: Trials) -> Trials:
    """Return the trials of each space's census, or of its searches where there is none."""
    having = census_spaces(trials)
    stages = enumerate(zip(trials.stage, trials.space, strict=True))
    return trials.take(i for i, (stage, space) in stages if of_census(stage, space, having))


def _failed(trials: Trials) -> bool:
    return bool(len(trials)) and all(state in FAILED_STATES for state in trials.state)
