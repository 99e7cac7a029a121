"""The top of the report: the sentence that answers the question, or says what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reports.answer import compare
from reports.contract import Answer
from reports.figures.runs import Run, all_trials, best_of
from reports.format import Section, sections
from reports.sections.trials import failures
from reports.table import Trials
from search_spaces.model import UserError, did_you_mean
from tuner.cli.formatting import knob_text

SIDES = ("periodic", "dynamic")


class Asked(NamedTuple):
    """What the reader wants compared; None is for the report to choose."""

    periodic: str | None = None
    dynamic: str | None = None
    target: float | None = None
    target_from: Trials | None = None
    margin: float | None = None
    confidence: float = 0.95
    seed: int = 0


class Verdict(NamedTuple):
    """What stands first."""

    sentence: str
    answer: Answer | None
    periodic: str
    """Space; empty without an answer."""
    dynamic: str
    target: str
    """The target and where it comes from; empty without an answer."""
    tables: tuple[Section, ...]
    warnings: tuple[str, ...]


def verdict(runs: Sequence[Run], trials: Trials, asked: Asked) -> Verdict:
    """Compare, if both sides are there.

    Raises
    ------
    UserError
        If a space that was asked for is not there.
    """
    chosen = {side: _space(trials, side, getattr(asked, side)) for side in SIDES}
    missing = [text for _, text in chosen.values() if text]
    if missing:
        return Verdict(f"{_best(runs)} {' '.join(missing)}", None, "", "", "", (), ())
    periodic, dynamic = chosen["periodic"][0], chosen["dynamic"][0]
    answer = compare(
        trials,
        periodic=periodic,
        dynamic=dynamic,
        target=asked.target,
        target_from=asked.target_from,
        margin=asked.margin,
        confidence=asked.confidence,
        seed=asked.seed,
    )
    value = answer.target.value
    goal = "no score" if value is None else f"validation macro-F1 ≥ {value:.4g}"
    sentence = answer.claim
    if (not answer.arms.periodic.trials and not answer.arms.dynamic.trials) or _all_failed(runs):
        sentence = f"{_best(runs)} {sentence}"
    return Verdict(
        sentence,
        answer,
        periodic,
        dynamic,
        f"Target: {goal} ({answer.target.source}).",
        tuple(sections(answer, asked.confidence)),
        tuple(answer.warnings),
    )


def _space(trials: Trials, side: str, asked: str | None) -> tuple[str, str]:
    """Return the side's space, or an empty name and what is missing."""
    if asked is not None:
        if asked not in trials.spaces:
            raise UserError(did_you_mean("space", asked, trials.spaces))
        return asked, ""
    arms = zip(trials.space, trials.arm, strict=True)
    found = list(dict.fromkeys(space for space, arm in arms if arm.startswith(side)))
    if len(found) == 1:
        return found[0], ""
    if found:
        names = ", ".join(found)
        return "", f"No comparison: choose one {side} space with --{side} ({names})."
    return "", f"No comparison: there is no run of a {side} space in this report."


def _best(runs: Sequence[Run]) -> str:
    """Return what was found, where arms are not compared."""
    trials = list(all_trials(runs))
    if not trials:
        return "No trial was planned yet."
    if _all_failed(runs):
        last = failures(runs)[-1].last_line
        return f"All {len(trials)} trials failed; the last one with: {last.rstrip('.')}."
    best = best_of(trials)
    if best is None:
        return f"None of {len(trials)} trials has finished an epoch."
    row = best.row
    test = "unknown" if row.test_score is None else f"{row.test_score:.4f}"
    at = knob_text(row.knobs)
    where = f"{best.label}{f', {at}' if at else ''}"
    return (
        f"The best of {len(trials)} trials reached a validation macro-F1 of {row.score:.4f} (test"
        f" {test}; {where})."
    )


def _all_failed(runs: Sequence[Run]) -> bool:
    trials = list(all_trials(runs))
    return bool(trials) and len(failures(runs)) == len(trials)
