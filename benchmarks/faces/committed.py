"""What is committed of the studies of real faces."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reports.answer import compare
from reports.contract import Answer
from reports.equivalence import tests_of
from reports.search_costs import Combination
from reports.simulate import Simulation
from reports.table import Trials, read_trials
from search_spaces.space import Space
from tuner.record_schema import END_STATES, FAILED_STATES
from tuner.study.spec import StudySpec, load_study

PAGE = Path(__file__).parents[2] / "docs" / "results.md"
FOLDER = PAGE.with_suffix("")
EVIDENCE = FOLDER / "evidence.md"
"""The tables behind PAGE."""
FIRST, CLEAN = "faces", "faces_clean"
"""The study with FER2013 as it is distributed, and the one without copies of training images."""
STUDIES = (FIRST, CLEAN)
CURVES = ("periodic", "dynamic_default", "baseline")
"""Arms whose every epoch is committed."""
COPIES = FOLDER / "copies.csv"
Rows = list[dict[str, str]]


class Files(NamedTuple):
    """Where a study's tables lie."""

    folder: Path
    trials: Path
    sides: Path
    searches: Path
    injection: Path
    fit: Path
    curves: Path
    report: Path


def files_of(study: str) -> Files:
    """Return where a study's tables lie."""
    folder = FOLDER / study
    return Files(
        folder=folder,
        trials=folder / "trials.csv",
        sides=folder / "sides",
        searches=folder / "searches.csv",
        injection=folder / "injection.csv",
        fit=folder / "fit.csv",
        curves=folder / "curves.csv",
        report=folder / "report.html",
    )


class Found(NamedTuple):
    """All that is committed of one study."""

    spec: StudySpec
    trials: Trials
    sides: dict[str, Trials]
    """Runs beside the study, by name."""
    answer: Answer
    replays: dict[str, Combination]
    """Replayed searches, by space."""
    searches: Rows
    injection: Rows
    fit: Rows
    curves: Rows
    """Of every epoch; empty for the first study."""

    def where(self, space: str, stage: str = "census") -> Trials:
        """Return an arm's completed trials."""
        return self.trials.where(space=space, stage=stage, states=("completed",))

    def tests(self, space: str, stage: str = "census") -> list[float]:
        """Return the test scores of an arm's completed trials."""
        return tests_of(self.where(space, stage))

    def hits(self, space: str, target: float, *stages: str, test: bool = False) -> tuple[int, int]:
        """Return how many of an arm's trials reach a target, and how many there are.

        By the study's rules a trial that failed has not matched, whatever it had reached.
        """
        hits = trials = 0
        for stage in stages or ("census",):
            of = self.trials.where(space=space, stage=stage, states=END_STATES)
            for state, score in zip(of.state, of.test_score if test else of.score, strict=True):
                trials += 1
                hits += state not in FAILED_STATES and score is not None and score >= target
        return hits, trials

    @property
    def target(self) -> float:
        """Validation score that counts as a match."""
        value = self.answer.target.value
        assert value is not None
        return value

    @property
    def default(self) -> list[float]:
        """Test scores of dynamic injection at its default, of the census and confirmed."""
        name = self.spec.dynamic.space.name
        return [*self.tests(name), *self.tests(name, "confirm")]

    def space(self, name: str) -> Space:
        """Return a space with numbers for bounds."""
        (arm,) = (one for one in self.spec.arms if one.space.name == name)
        return arm.space.resolved(self.spec.epochs)


@functools.cache
def found(study: str) -> Found:
    """Read what is committed of a study."""
    files = files_of(study)
    spec, trials = load_study(str(FOLDER / f"{study}.yaml")), read_trials([files.trials])
    answer = compare(
        trials,
        periodic=spec.periodic.space.name,
        dynamic=spec.dynamic.space.name,
        margin=spec.margin,
        confidence=spec.confidence,
    )
    replays = {
        file.stem.removeprefix("replay-"): Simulation.model_validate_json(file.read_text())
        for file in files.folder.glob("replay-*.json")
    }
    return Found(
        spec=spec,
        trials=trials,
        sides={file.stem: read_trials([file]) for file in sorted(files.sides.glob("*.csv"))},
        answer=answer,
        replays={space: one.combinations[0] for space, one in replays.items()},
        searches=read_rows(files.searches),
        injection=read_rows(files.injection),
        fit=read_rows(files.fit),
        curves=read_rows(files.curves) if files.curves.exists() else [],
    )


def read_rows(file: Path) -> Rows:
    """Return a CSV file's rows."""
    with file.open(newline="", encoding="utf-8") as read:
        return list(csv.DictReader(read))


def having(trials: Trials, test: Callable[[dict[str, Any]], bool]) -> Trials:
    """Return the trials whose knobs pass a test."""
    return trials.take(i for i, knobs in enumerate(trials.knobs) if test(knobs))


def of_stages(rows: Rows, space: str) -> Rows:
    """Return the rows of an arm's census and confirmation."""
    return [row for row in rows if row["run"] in (f"census-{space}", f"confirm-{space}")]


def curves_of(space: str) -> Any:
    """Return the validation scores of a census: trials × epochs."""
    return _by_epoch(space, "val_f1")


def injected_epochs(space: str) -> Any:
    """Return whether the epochs of a census were trained with injection: trials × epochs."""
    return _by_epoch(space, "injected") > 0


def _by_epoch(space: str, column: str) -> Any:
    of = found(CLEAN)
    values = [float(row[column]) for row in of.curves if row["run"] == f"census-{space}"]
    return np.array(values).reshape(-1, of.spec.epochs)
