"""Of the study without copies: how wide basins are, and when dynamic injection injects."""

from __future__ import annotations

import statistics
from typing import NamedTuple

import numpy as np

from benchmarks.faces.committed import CLEAN, found, injected_epochs, of_stages
from benchmarks.faces.differences import Difference, contrast, spread, table
from reports.arm import arm_of
from reports.equivalence import configurations, confirmed_trials, tests_of
from reports.sensitivity import Basin, KnobBasin, basin, importance, knob_basins
from reports.words import limits_text, number

RANDOM = "census-dynamic"
"""The run of dynamic's random knobs."""


class Width(NamedTuple):
    """How wide a basin is, whole and by knob."""

    whole: Basin
    knobs: list[KnobBasin]


def widths() -> dict[str, Width]:
    """Return the basins of all spaces, by the study's margin below the best trained anew."""
    of = found(CLEAN)
    wide = {}
    for name in ("periodic", "dynamic", "periodic_light_dropout", "light_dropout"):
        anew = "dynamic_default" if name == "dynamic" else name  # what was trained anew of it
        retrained = [one.score for one in configurations(confirmed_trials(of.trials, anew))][:1]
        scores = [score for group in retrained for score in group if score is not None]
        arm = arm_of(of.trials, name)
        whole = basin(arm, of.spec.margin, scores, of.spec.confidence)
        assert whole is not None
        wide[name] = Width(whole, knob_basins(arm, of.space(name), whole.best, of.spec.margin))
    return wide


def basins() -> str:
    """Return how much of each space, and of each knob's range, is within the margin of the best."""
    rows = []
    for name, (whole, knobs) in widths().items():
        for knob in knobs:
            good = [one.label for one in knob.bins if one.trials and 2 * one.within >= one.trials]
            rows.append(
                (
                    name, f"{whole.best:.4f}, {whole.source}",
                    f"{whole.within} of {whole.trials}", limits_text(*whole.limits), knob.knob,
                    "–" if knob.share is None else number(knob.share), ", ".join(good) or "none",
                )
            )  # fmt: skip
    columns = (
        "space", "best", "trials within δ", "interval", "knob", "share of its range", "where",
    )  # fmt: skip
    return table(columns, rows)


def importances() -> str:
    """Return each knob's share of the variation, by two evaluators that disagree."""
    of = found(CLEAN)
    rows = []
    for name in ("periodic", "dynamic", "periodic_light_dropout"):
        for one in importance(of.trials.where(space=name, stage="census"), of.space(name)):
            shares = ", ".join(f"{knob} {share:.2f}" for knob, share in one.shares.items())
            rows.append((name, one.evaluator, str(one.trials), shares))
    return table(("space", "by", "completed trials", "share"), rows)


class Injected(NamedTuple):
    """When and how much an arm of dynamic injection injects, over its trials."""

    trials: int
    first: list[int]
    """First epoch with injection, of the trials that have one."""
    share: list[float]
    """Of units × steps."""
    units: int
    changes: int
    """Of a unit's sign, all units together."""
    unchanged: int
    """Units without one."""
    scores: list[float]
    """On test."""
    from_default: Difference | None
    """Of the test scores; limits hold together."""

    @property
    def when(self) -> str:
        """Return the first epoch with injection: median and range."""
        first = self.first
        return (
            f"{number(statistics.median(first))} ({min(first)} to {max(first)})" if first else "–"
        )


def injected() -> dict[str, Injected]:
    """Return when dynamic injection injects at its default, and then under other conditions."""
    of = found(CLEAN)
    names = [arm.space.name for arm in of.spec.arms if arm.space.name.startswith("dynamic_")]
    told = {}
    for name in names:
        rows = of_stages(of.injection, name)
        default = name == names[0]
        scores = of.default if default else of.tests(name)
        told[name] = Injected(
            trials=len(rows),
            first=[int(row["first"]) for row in rows if row["first"]],
            share=[float(row["share"]) for row in rows],
            units=sum(int(row["units"]) for row in rows),
            changes=sum(int(row["changes"]) for row in rows),
            unchanged=sum(int(row["unchanged"]) for row in rows),
            scores=scores,
            from_default=(
                None if default else contrast([scores, of.default], (1, -1), len(names) - 1)
            ),
        )
    return told


def injection() -> str:
    """Return when and how much dynamic injection injects, and what it scores, by its conditions.

    Below it, periodic's: computed after looking.
    """
    rows = [
        (
            name, str(one.trials), f"{one.trials - len(one.first)}", one.when,
            f"{statistics.fmean(one.share):.3f} ({min(one.share):.3f} to {max(one.share):.3f})",
            f"{one.changes / one.units:.1f}", f"{one.unchanged} of {one.units}",
            spread(one.scores)[1],
            "" if one.from_default is None else one.from_default.cells[1],
        )
        for name, one in injected().items()
    ]  # fmt: skip
    columns = (
        "arm", "n", "never injected", "first epoch with injection: median (range)",
        "share of unit × steps: mean (range)", "changes of sign a unit", "units without one",
        "test macro-F1 (sd)",
        "minus the default: interval (Bonferroni)",
    )  # fmt: skip
    flags = injected_epochs("periodic")
    changes = (flags[:, 1:] != flags[:, :-1]).sum(1)
    told = (
        f"Of periodic's census {flags.mean():.3f} of the epochs are injected, and that changes"
        f" {changes.mean():.1f} times a trial (median {np.median(changes):g}).\n"
    )
    return f"{table(columns, rows)}\n{told}"


def dynamic_positions() -> str:
    """Return who matches, and who never injects, by dynamic's position. After looking."""
    of = found(CLEAN)
    trials, rows = of.where("dynamic"), []
    of_run = [row for row in of.injection if row["run"] == RANDOM]  # in the order of the trials
    injects = [bool(row["first"]) for row, _ in zip(of_run, trials.row, strict=True)]
    names = sorted({str(knobs["position"]) for knobs in trials.knobs})
    for name in names:
        here = [i for i, knobs in enumerate(trials.knobs) if knobs["position"] == name]
        matched = [i for i in here if (trials.score[i] or 0.0) >= of.target]
        never = [i for i in here if not injects[i]]
        rows.append(
            (
                name, str(len(here)), str(len(matched)), str(len(never)),
                str(len(set(matched) & set(never))),
                spread(tests_of(trials.take(here)))[1],
            )
        )  # fmt: skip
    columns = (
        "position", "trials", "match", "never inject", "of these match", "test macro-F1 (sd)"
    )  # fmt: skip
    return table(columns, rows)
