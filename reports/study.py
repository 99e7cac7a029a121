"""What a study froze, as the report and the comparison are held to it, and what its runs are worth.

A study's folder holds its frozen file, its runs and, after the census, what searches were replayed
to cost. Any of it but the file may be absent while the study is under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reports.sections.verdict import Asked
from reports.table import Trials
from search_spaces.model import UserError, did_you_mean
from tuner.cli.formatting import plural
from tuner.record_rows import RunRow
from tuner.record_schema import END_STATES
from tuner.study.spec import FILE, StudySpec, thawed
from tuner.study.stages import StudyRun, before_confirming

if TYPE_CHECKING:
    from reports.simulate import Simulation

DEMONSTRATION = "Demonstration: "
EXPLORATORY = "Exploratory, not the study's frozen comparison: "


class Study(NamedTuple):
    """A study as its folder tells it."""

    folder: Path
    spec: StudySpec
    replays: dict[str, Simulation]
    """Space → what searches of it were replayed to cost, of the sides that were."""

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def sides(self) -> tuple[str, str]:
        """The spaces of the frozen comparison, periodic first."""
        return self.spec.periodic.space.name, self.spec.dynamic.space.name


class Part(NamedTuple):
    """A run that a study is to have."""

    run: str
    stage: str
    trials: int


def read_study(folder: Path) -> Study:
    """Return the study of a folder.

    Raises
    ------
    UserError
        If its file was changed after it was frozen, or a file of replays is none.
    """
    folder = folder.resolve()
    spec = thawed(folder)
    spaces = (spec.periodic.space.name, spec.dynamic.space.name)
    paths = {space: folder / f"replay-{space}.json" for space in spaces}
    replays = {space: _replayed(path, space) for space, path in paths.items() if path.exists()}
    return Study(folder, spec, replays)


def _replayed(path: Path, space: str) -> Simulation:
    from reports.search_costs import QUANTILES
    from reports.simulate import Simulation

    try:
        found = Simulation.model_validate_json(path.read_bytes())
        (one,) = found.combinations
        if found.pool.space != space:
            raise ValueError(f"it is of {found.pool.space}")
        if not {f"{q:g}" for q in QUANTILES} <= set(one.epochs.quantiles):
            raise ValueError("it lacks quantiles that this version writes")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(
            f"Cannot read {path}: {reason}. Delete it, and `tuner study {path.parent}` makes it"
            " anew."
        ) from error
    return found


def settled(
    study: Study,
    trials: Trials,
    *,
    periodic: str | None = None,
    dynamic: str | None = None,
    target: float | None = None,
    target_from: Trials | None = None,
    margin: float | None = None,
    confidence: float | None = None,
) -> Asked:
    """Return the study's comparison, or another of its arms under the same conditions.

    Parameters
    ----------
    study : Study
    trials : Trials
        Of its runs; the pilot's give the target where none was fixed.
    periodic, dynamic, target, target_from, margin, confidence : optional
        What the reader asked for.

    Raises
    ------
    UserError
        If the reader asked for something else than was frozen.
    """
    spec, where = study.spec, study.folder / FILE
    frozen = {"target": spec.target, "margin": spec.margin, "confidence": spec.confidence}
    given = {"target": target, "margin": margin, "confidence": confidence}
    source = "the pilot's median" if spec.target is None else f"{spec.target:g}"
    if target_from is not None:
        raise UserError(
            f"--target-from contradicts the study, whose target is {source} ({where}); leave it"
            " out."
        )
    for name, value in given.items():
        if value is not None and value != frozen[name]:
            told = source if name == "target" else f"{frozen[name]:g}"
            raise UserError(
                f"--{name} {value:g} contradicts the study, whose {name} is {told} ({where});"
                " leave it out."
            )
    names = tuple(arm.space.name for arm in spec.arms)
    for space in (periodic, dynamic):
        if space is not None and space not in names:
            raise UserError(f"{did_you_mean('space', space, names)} ({where})")
    pilot = trials.where(stage="pilot", states=END_STATES) if spec.target is None else None
    return Asked(
        periodic or study.sides[0],
        dynamic or study.sides[1],
        spec.target,
        pilot if pilot is not None and len(pilot) else None,
        "fixed with the study",
        spec.margin,
        spec.confidence,
        awaited=names,
        centre=spec.centre if periodic in (None, study.sides[0]) else None,
    )


def parts(study: Study) -> list[Part]:
    """Return the runs that a study is to have; confirmed may be one more, as tuned by fewer trials.

    Raises
    ------
    UserError
        If a space of it cannot be trained as it wants.
    """
    spec = study.spec
    known: list[StudyRun] = before_confirming(spec, study.name)
    found = [Part(run.name, run.stage, run.spec.budget.trials or 0) for run in known]
    confirmed = [
        Part(f"confirm-{space}", "confirm", spec.confirm.seeds) for space in reversed(study.sides)
    ]
    return [*found, *confirmed]


def opening(study: Study, asked: Asked) -> str:
    """Return the first words of the sentence, which keep it from saying more than it may."""
    explored = (asked.periodic, asked.dynamic) != study.sides
    return DEMONSTRATION * study.spec.demonstration + EXPLORATORY * explored


def alarms(study: Study, rows: Sequence[RunRow], asked: Asked) -> list[str]:
    """Return what must be known before anything else, one sentence each.

    Parameters
    ----------
    study : Study
    rows : sequence of RunRow
        Of the runs in its folder.
    asked : Asked
        As it was settled.
    """
    found = []
    if (asked.periodic, asked.dynamic) != study.sides:
        found.append(
            f"This is not the study's frozen comparison, which is {study.sides[0]} against"
            f" {study.sides[1]}: it is exploratory."
        )
    found += mismatches(study, rows)
    states = {row.name: row.state for row in rows}
    missing = [part.run for part in parts(study) if part.run not in states]
    unfinished = [f"{name} ({state})" for name, state in states.items() if state != "finished"]
    if missing or unfinished:
        told = [
            *([f"not begun: {', '.join(missing)}"] if missing else []),
            *([f"not finished: {', '.join(unfinished)}"] if unfinished else []),
        ]
        found.append(f"The study is not complete; {'; '.join(told)}.")
    if study.spec.target is None:
        pilot = 0 if asked.target_from is None else len(asked.target_from)
        if pilot < study.spec.pilot.trials:
            found.append(
                f"The pilot has {pilot} of {plural(study.spec.pilot.trials, 'trial')}: the target"
                " is not the frozen one yet."
            )
    lacking = [space for space in study.sides if space not in study.replays]
    begun = any(row.name.startswith("confirm-") for row in rows)
    if lacking and begun:
        found.append(f"No searches were replayed for {' and '.join(lacking)}.")
    return found


def mismatches(study: Study, rows: Sequence[RunRow]) -> list[str]:
    """Return one sentence for each thing that all runs of a study must share, and do not."""
    found = []
    for row in rows:
        of = row.spec.get("study")
        if of is None:
            found.append(f"Run {row.name} was not made for this study: it carries no digest.")
        elif of["digest"] != study.spec.digest:
            found.append(
                f"Run {row.name} was made for another study: it carries the digest"
                f" {of['digest'][:12]}, and this study has {study.spec.digest[:12]}."
            )
    for what, values in shared(rows).items():
        if len(values) > 1:
            told = ", ".join(value[:12] for value in values)
            found.append(f"The runs of the study do not share one {what}: {told}.")
    return found


def shared(rows: Sequence[RunRow]) -> dict[str, list[str]]:
    """Return the values of what all runs of a study must share."""
    values = {
        "fingerprint of the data": [str(row.data.get("fingerprint", "unknown")) for row in rows],
        "Git revision": [row.git_revision or "unknown" for row in rows],
    }
    return {what: list(dict.fromkeys(of)) for what, of in values.items()}
