"""Studies that never happened: the frozen file, the runs of each stage, the replayed searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reports.census import read_census
from reports.replay import Policy
from reports.simulate import simulate
from search_spaces.space import Space
from tests.reports.made_records import Ending, make_record
from tuner.study.choice import target_of, tuned
from tuner.study.spec import FILE, StudySpec, load_study
from tuner.study.stages import StudyRun, before_confirming, confirmations

STAGES = ("pilot", "census", "search", "replay", "confirm")
EPOCHS = 8
FIELDS: dict[str, Any] = {
    "epochs": EPOCHS,
    "periodic": {"space": "periodic_T", "trials": 30},
    "dynamic": {"space": "dynamic_default", "trials": 12},
    "others": [{"space": "baseline", "trials": 4}],
    "policy": {"trials": 6, "replays": 40, "nearest": True},
}


def made_study(**fields: Any) -> StudySpec:
    """Return a demonstration on a few trials, with fields replaced."""
    return load_study("quick", {**FIELDS, **fields})


def make_study(
    folder: Path,
    until: str = "confirm",
    *,
    endings: Callable[[StudyRun], Sequence[Ending]] = lambda run: (),
    **fields: Any,
) -> Path:
    """Write a study's folder, complete up to a stage.

    Parameters
    ----------
    folder : Path
    until : str, default "confirm"
        One of `STAGES`, or `frozen` for the file alone.
    endings : callable, optional
        Of each run's first trials; the others complete.
    fields
        Of the study.
    """
    study = made_study(**fields)
    folder.mkdir(parents=True)
    (folder / FILE).write_text(study.frozen(), encoding="utf-8")
    done = STAGES[: STAGES.index(until) + 1] if until in STAGES else ()
    for run in before_confirming(study, folder.name):
        if run.stage in done:
            _write(folder, run, endings(run))
    if "replay" in done:
        _replay(study, folder)
    if "confirm" in done:
        chosen = {one.suffix: one.knobs for one in tuned(study, folder)}
        for run in confirmations(study, folder.name, chosen):
            _write(folder, run, endings(run))
    return folder


def _write(folder: Path, run: StudyRun, endings: Sequence[Ending]) -> None:
    spec = run.spec.model_dump(mode="json")
    space = Space.model_validate(spec.pop("space"))
    make_record(
        folder / run.name, space, spec["budget"]["trials"], spec.pop("epochs"), endings=endings,
        **spec,
    )  # fmt: skip


def _replay(study: StudySpec, folder: Path) -> None:
    plan = study.policy
    policy = Policy(plan.sampler, plan.scheduler, plan.trials, 2)
    for space in (study.periodic.space.name, study.dynamic.space.name):
        found = simulate(
            read_census([folder / f"census-{space}"]), [policy], target_of(study, folder),
            searches=plan.replays, num_halves=20, seed=study.seed, nearest=plan.nearest,
        )  # fmt: skip
        (folder / f"replay-{space}.json").write_text(found.model_dump_json(indent=2))
