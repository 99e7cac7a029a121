"""Which runs a study consists of: a function of its file and, for the last stage, of the census.

Every seed follows from the study's. Run seeds differ between stages, and trial seeds between
spaces too, so that no trial of one stage is a trial of another; only a blocked census trains all
arms on the same few seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from search_spaces.space import Space
from tuner.spec import RunSpec
from tuner.spec_sections import StudyRef
from tuner.study.spec import StudySpec, run_spec

Stage = Literal["pilot", "census", "search", "confirm"]


class StudyRun(NamedTuple):
    """One run of a study."""

    name: str
    """Also of its folder, within the study's."""
    stage: Stage
    spec: RunSpec


def before_confirming(study: StudySpec, name: str) -> list[StudyRun]:
    """Return the runs that the file alone decides: pilot, census, searches, in this order.

    Parameters
    ----------
    study : StudySpec
    name : str
        The study's, to be recorded by each run.

    Raises
    ------
    UserError
        If a space cannot be trained as the study wants.
    """
    return [*_pilot(study, name), *_census(study, name), *_searches(study, name)]


def confirmations(
    study: StudySpec, name: str, chosen: Mapping[str, Mapping[str, Any]]
) -> list[StudyRun]:
    """Return the runs that confirm: dynamic's default, and what tuning chose for periodic.

    Parameters
    ----------
    study : StudySpec
    name : str
    chosen : mapping
        By what follows the space's name in the run's: the knobs of a periodic configuration.
    """
    periodic = study.periodic.space
    fixed = [
        (
            f"confirm-{periodic.name}{suffix}",
            Space(
                name=periodic.name,
                summary=periodic.summary,
                fixed={**periodic.fixed, **knobs},
            ),
        )
        for suffix, knobs in chosen.items()
    ]
    both = [(f"confirm-{study.dynamic.space.name}", study.dynamic.space), *fixed]
    return [
        _run(study, name, called, "confirm", space, study.confirm.seeds, "confirm")
        for called, space in both
    ]


def confirming(study: StudySpec, name: str) -> list[StudyRun]:
    """Return the runs that confirm at most, with stand-ins for what tuning will have chosen."""
    knobs = _any_values(study.periodic.space.resolved(study.epochs))
    return confirmations(study, name, {"": knobs, "-of-K": knobs})


def run_seed(study: StudySpec, purpose: str) -> int:
    """Return a run's seed, below 2^31."""
    digest = hashlib.sha256(f"study:{study.seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _pilot(study: StudySpec, name: str) -> Iterator[StudyRun]:
    if study.target is None:
        space = study.dynamic.space
        yield _run(study, name, f"pilot-{space.name}", "pilot", space, study.pilot.trials, "pilot")


def _census(study: StudySpec, name: str) -> Iterator[StudyRun]:
    for arm in study.arms:
        yield _run(
            study, name, f"census-{arm.space.name}", "census", arm.space, arm.trials, "census",
            seeds=study.seeds_of(arm),
        )  # fmt: skip


def _searches(study: StudySpec, name: str) -> Iterator[StudyRun]:
    policy = study.policy
    for number in range(1, policy.searches + 1):
        for arm in (study.periodic, study.dynamic):
            yield _run(
                study, name, f"search-{arm.space.name}-{number}", "search", arm.space,
                policy.trials, f"search:{number}",
                sampler=policy.sampler.model_dump(),
                scheduler=policy.scheduler.model_dump(),
            )  # fmt: skip


def _run(
    study: StudySpec,
    name: str,
    called: str,
    stage: Stage,
    space: Space,
    trials: int,
    purpose: str,
    **fields: Any,
) -> StudyRun:
    """Return a run of independent draws in full, unless `fields` say otherwise."""
    values = {
        "sampler": {"name": "random"},
        "scheduler": {"name": "none"},
        "budget": {"trials": trials},
        "seed": run_seed(study, purpose),
        "study": StudyRef(name=name, digest=study.digest, stage=stage).model_dump(),
        **fields,
    }
    return StudyRun(called, stage, run_spec(study, space, values, called))


def _any_values(space: Space) -> dict[str, Any]:
    values = {
        name: knob.values[0] if knob.kind == "choice" else knob.low
        for name, knob in space.knobs.items()
    }
    return {name: values[name] for name in space.active(values)}
