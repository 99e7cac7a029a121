"""Test scores of the arms against one another, and how they differ from those of validation.

Differences of means are Welch's; within a table their limits hold together by Bonferroni's
method, and their p are adjusted by Holm's. Numbers are of the study without copies unless a row,
or a function's name, says otherwise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.faces.committed import (
    CLEAN,
    COPIES,
    FIRST,
    Found,
    found,
    having,
    of_stages,
    read_rows,
)
from benchmarks.faces.differences import CONFIDENCE, Difference, contrast, spread, table
from reports.equivalence import configurations, confirmed_trials, tests_of
from reports.table import Trials
from reports.words import number

HEAVY = 0.2
"""Dropout rates from here on are told apart in the first study: chosen after looking."""
LIGHT = "dropout, rate 0.05 to 0.2"
OBJECTS_FAMILY = 6
"""Differences in the table of objects and faces."""
ARMS = {
    "baseline": "baseline: no injection",
    "periodic": "periodic, T and position at random",
    "dynamic_default": "dynamic at its default",
    "dynamic": "dynamic, Constant, w_init and position at random",
    "light_dropout": "light dropout, rates of 0.05 to 0.2 at random",
    "periodic_light_dropout": "periodic and light dropout, all at random",
}
"""The study's arms at the paper's training settings."""
TUNED, DEFAULT = "periodic, tuned", "dynamic, default"
EVERYWHERE = "periodic everywhere, T random, minus the baseline"
DYNAMIC_ALL = "dynamic everywhere, minus dynamic at bn1; other knobs random ²"
WITH_DROPOUT = "periodic with light dropout, minus light dropout alone"
Column = Sequence[float | None]


def levels() -> str:
    """Return each arm's mean scores, by the trials of its census."""
    of = found(CLEAN)
    rows = []
    for space, told in ARMS.items():
        trials = of.where(space)
        validation = [score for score in trials.score if score is not None]
        matched, n = of.hits(space, of.target)
        rows.append((told, *spread(validation), spread(tests_of(trials))[1], f"{matched} of {n}"))
    return table(
        ("arm", "n", "validation macro-F1 (sd)", "test macro-F1 (sd)", "trials that match"), rows
    )


def baseline() -> str:
    """Return every arm's test scores against the baseline's, and what would have been found."""
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    none, arms = found(CLEAN).tests("baseline"), compared_arms()
    level = (1 - CONFIDENCE) / len(arms)
    found_p = [stats.ttest_ind(of, none, equal_var=False).pvalue for of in arms.values()]
    adjusted = multipletests(found_p, method="holm")[1]
    rows = [("baseline", *spread(none), "", "", "", "")]
    gains = gains_over_baseline(arms)
    for (arm, of), p in zip(arms.items(), adjusted, strict=True):
        error = sum(statistics.variance(one) / len(one) for one in (of, none)) ** 0.5
        least = error * float(stats.norm.isf(level / 2) + stats.norm.isf(0.2))
        rows.append((arm, *spread(of), *gains[arm].cells, f"{p:.2g}", f"{least:.4f}"))
    columns = (
        "arm", "n", "test macro-F1 (sd)", "difference", "interval (Bonferroni)", "p (Holm)",
        "found with chance 0.8 from",
    )  # fmt: skip
    return table(columns, rows)


def compared_arms() -> dict[str, list[float]]:
    """Return the test scores of each arm that is compared with the baseline."""
    of = found(CLEAN)
    arms: dict[str, list[float]] = {}
    for group in _tuned_periodic(of):
        knobs = " ".join(f"{name}={value}" for name, value in sorted(group.knobs[0].items()))
        arms[f"{TUNED}: {knobs}"] = tests_of(group)
    arms[DEFAULT] = of.default
    for space in ("periodic", "dynamic", "light_dropout", "periodic_light_dropout"):
        arms[f"{space}, random knobs"] = of.tests(space)
    return arms


def _tuned_periodic(of: Found) -> list[Trials]:
    """Return periodic's tuned configurations, trained anew."""
    return configurations(confirmed_trials(of.trials, of.spec.periodic.space.name))


def gains_over_baseline(arms: dict[str, list[float]]) -> dict[str, Difference]:
    """Return each arm's difference from the baseline; limits hold together."""
    none = found(CLEAN).tests("baseline")
    return {name: contrast([of, none], (1, -1), len(arms)) for name, of in arms.items()}


def other_pairs() -> dict[str, tuple[list[float], list[float]]]:
    """Return pairs of test scores whose difference the other tables do not hold."""
    of = found(CLEAN)

    def at(space: str, position: str) -> list[float]:
        return tests_of(having(of.where(space), lambda knobs: knobs["position"] == position))

    return {
        EVERYWHERE: (at("periodic", "all"), of.tests("baseline")),
        DYNAMIC_ALL: (
            at("dynamic", "all"), at("dynamic", "bn1"),
        ),
        WITH_DROPOUT: (
            of.tests("periodic_light_dropout"), of.tests("light_dropout"),
        ),
    }  # fmt: skip


def other_differences() -> dict[str, tuple[tuple[int, int], Difference]]:
    """Return counts and difference of each of the other pairs; limits hold together."""
    pairs = other_pairs()
    return {
        name: ((len(one), len(other)), contrast([one, other], (1, -1), len(pairs)))
        for name, (one, other) in pairs.items()
    }


def contrasts() -> str:
    """Return differences of test scores that the other tables do not hold."""
    rows = [
        (name, f"{own} and {others}", *of.cells)
        for name, ((own, others), of) in other_differences().items()
    ]
    return table(("difference on test", "n", "difference", "interval (Bonferroni)"), rows)


class Quality(NamedTuple):
    """Dynamic's default against tuned periodic on test, trained anew."""

    n: tuple[int, int]
    difference: Difference
    """From the less favourable of periodic's tuned configurations."""
    margin: float
    non_inferior_p: float
    two_sided_p: float


def quality_of(study: str) -> Quality:
    """Return what a study's report says of dynamic's quality, with limits of its own."""
    of = found(study)
    told = of.answer.equivalence
    assert told is not None and told.margin is not None
    assert told.non_inferior_p is not None and told.two_sided_p is not None
    own = of.tests(of.spec.dynamic.space.name, "confirm")
    best = max(map(tests_of, _tuned_periodic(of)), key=statistics.fmean)
    difference = contrast([own, best], (1, -1))
    assert math.isclose(difference.value, told.difference)
    return Quality(
        (len(own), len(best)), difference, told.margin, told.non_inferior_p, told.two_sided_p
    )


def quality() -> str:
    """Return dynamic's default against tuned periodic on test, by the margin fixed beforehand."""
    rows = []
    for study, told in ((CLEAN, "without copies"), (FIRST, "with copies")):
        of = quality_of(study)
        rows.append(
            (
                told, f"{of.n[0]} and {of.n[1]}", *of.difference.cells, number(of.margin),
                f"{of.non_inferior_p:.2g}", f"{of.two_sided_p:.2g}",
            )
        )  # fmt: skip
    columns = (
        "study", "n", "dynamic at its default minus tuned periodic", "interval", "margin",
        "p against “worse by the margin”", "p against “differs by it”",
    )  # fmt: skip
    return table(columns, rows)


class Dropout(NamedTuple):
    """Test scores with dropout, and without, of objects and of faces."""

    objects: tuple[list[float], list[float]]
    faces: tuple[list[float], list[float]]

    @property
    def gains(self) -> tuple[Difference, Difference, Difference]:
        """Return the gain on objects, that on faces, and their difference."""
        return (
            contrast(self.objects, (1, -1), OBJECTS_FAMILY),
            contrast(self.faces, (1, -1), OBJECTS_FAMILY),
            contrast((*self.objects, *self.faces), (1, -1, -1, 1), OBJECTS_FAMILY),
        )


def dropouts() -> dict[str, Dropout]:
    """Return what dropout does on objects and on faces, by its rate."""
    first, of = found(FIRST), found(CLEAN)
    objects = tests_of(first.sides["objects_baseline"])
    faces_first = [*first.tests("baseline"), *tests_of(first.sides["baseline_more"])]
    return {
        LIGHT: Dropout(
            (tests_of(of.sides["objects_light_dropout"]), objects),
            (of.tests("light_dropout"), of.tests("baseline")),
        ),
        f"dropout, rate from {HEAVY} ¹": Dropout(
            (_heavy(first.sides["objects_dropout"]), objects),
            (_heavy(first.where("dropout")), faces_first),
        ),
    }


def objects() -> str:
    """Return what dropout does on objects and on faces, and the difference between both."""
    light, heavy = dropouts().values()
    rows = [
        ("objects: baseline ¹", *spread(light.objects[1]), "", ""),
        ("faces: baseline", *spread(light.faces[1]), "", ""),
        ("faces, first study: baseline ¹", *spread(heavy.faces[1]), "", ""),
    ]
    for name, one in dropouts().items():
        on_objects, on_faces, both = one.gains
        rows.append((f"objects: {name}", *spread(one.objects[0]), *on_objects.cells))
        rows.append((f"faces: {name}", *spread(one.faces[0]), *on_faces.cells))
        rows.append((f"gain on objects minus gain on faces: {name}", "", "", *both.cells))
    columns = ("arm", "n", "test macro-F1 (sd)", "minus baseline", "interval (Bonferroni)")
    return table(columns, rows)


def _heavy(trials: Trials) -> list[float]:
    """Return the test scores of heavy dropout."""
    return tests_of(having(trials, lambda knobs: knobs["dropout_rate"] >= HEAVY))


class Position(NamedTuple):
    """Scores of periodic injection at a position."""

    validation: list[float]
    test: list[float]
    on_validation: Difference
    """From all other positions."""
    on_test: Difference


def by_position() -> dict[str, Position]:
    """Return the periodic census's scores by position, each against all others."""
    trials = found(CLEAN).where("periodic")
    names = ("bn1", "bn2", "shortcut", "all")

    def scores(column: Column, name: str, here: bool) -> list[float]:
        return [
            float(score or 0.0)
            for score, knobs in zip(column, trials.knobs, strict=True)
            if (knobs["position"] == name) is here
        ]

    told = {}
    for name in names:
        of = [
            [scores(column, name, here) for here in (True, False)]
            for column in (trials.score, trials.test_score)
        ]
        differences = (contrast(one, (1, -1), 2 * len(names)) for one in of)
        told[name] = Position(of[0][0], of[1][0], *differences)
    return told


def positions() -> str:
    """Return the periodic census's scores by position, each against all others."""
    rows = [
        (
            name, *spread(one.validation), *one.on_validation.cells,
            spread(one.test)[1], *one.on_test.cells,
        )
        for name, one in by_position().items()
    ]  # fmt: skip
    columns = (
        "position", "n", "validation macro-F1 (sd)", "minus the others", "interval (Bonferroni)",
        "test macro-F1 (sd)", "minus the others", "interval (Bonferroni)",
    )  # fmt: skip
    return table(columns, rows)


def gaps() -> str:
    """Return how much better each arm is on validation than on test, and how it fits training."""
    spaces = {
        FIRST: ("baseline", "periodic", "dynamic_default", "dynamic", "dropout"),
        CLEAN: ("baseline", "periodic", "dynamic_default", "dynamic", "light_dropout"),
    }
    rows = []
    for study, names in spaces.items():
        for name in names:
            fitted = [float(row["train_accuracy"]) for row in of_stages(found(study).fit, name)]
            gap = spread(_gaps_of(found(study).where(name)))
            copies_ = "kept" if study == FIRST else "dropped"
            rows.append((copies_, name, *gap, f"{statistics.fmean(fitted):.2f}"))
    columns = (
        "copies", "arm", "n", "validation minus test (sd)", "training accuracy in the best epoch",
    )  # fmt: skip
    return table(columns, rows)


def _gaps_of(trials: Trials) -> list[float]:
    return [
        score - test
        for score, test in zip(trials.score, trials.test_score, strict=True)
        if score is not None and test is not None
    ]


def copied() -> str:
    """Return how many images of each class have a copy among the training images."""
    of = {(row["split"], row["class"]): row for row in read_rows(COPIES)}
    classes = list(dict.fromkeys(name for _, name in of))
    rows = [
        (
            split,
            *(f"{of[split, name]['copies']} of {of[split, name]['images']}" for name in classes),
        )
        for split in ("validation", "test")
    ]
    return table(("split", *classes), rows)
