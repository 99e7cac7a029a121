"""What is checked of a submission before it is queued: all that could be refused later.

A submission is data alone. It names no path: its space stands in it, its images are synthetic or a
registered data set, and what it calls its space or itself can be a folder's name.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from search_spaces.model import UserError, did_you_mean, validated
from search_spaces.space import ChoiceKnob, Space, known_spaces
from search_spaces.yaml_file import MAX_BYTES, MAX_DEPTH, MAX_VALUES
from trainables.config import DataConfig, canonical_json
from trainables.data.packed import PackedData
from trainables.data.source import SYNTHETIC, check_as_packed
from tuner.folders import check_name
from tuner.ray_session import check_fits
from tuner.samplers import check_sampler
from tuner.service.models import Capacity, Draft, Submission
from tuner.service.tables import NewJob, UserRow
from tuner.spec import RunSpec, build_spec, known_presets
from tuner.spec_sections import ResourcesConfig
from tuner.study.spec import StudySpec, check_centre
from tuner.study.stages import before_confirming

_SPACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""What a run's folder, SPACE-DIGEST8-N or census-SPACE, is named after."""

MOST_CHOICES = 100
"""Values of a knob: each is a trial to be tried before a search is queued."""
MOST_AT_ONCE = 100_000
MOST_REPLAYED = 10_000_000
"""Trials of a study's simulated searches: some ten hours of a core."""
MOST_SYNTHETIC_BYTES = 20_000_000_000
"""Pixels of synthetic faces, which the job makes and keeps on the server's disk."""
MOST_ARMS = 50
"""Further arms of a study's census."""

DataSets = Callable[[str, str], Path | None]
"""Finds a registered data set's folder by fingerprint and name."""


class Accepted(NamedTuple):
    """A submission that may be queued."""

    new: NewJob
    name: str
    chosen: bool
    """Whether the user chose the name."""
    notes: list[str]


def content_of(submission: Submission) -> str:
    """Return SHA-256 of all that decides what is queued: not its key, nor how it was called for.

    Raises
    ------
    UserError
        If it holds what no submission does.
    """
    check_plain(submission.spec, "spec")
    check_plain(submission.command, "command")
    length = len(canonical_json(submission.spec))
    if length > MAX_BYTES:
        raise UserError(f"spec must be at most {MAX_BYTES:,} bytes of JSON, but got {length:,}.")
    values = submission.model_dump(mode="json", exclude={"key", "command"})
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def accepted(
    submission: Submission, user: UserRow, data_sets: DataSets, capacity: Capacity
) -> Accepted:
    """Return what a submission would queue.

    Raises
    ------
    UserError
        If anything about it would be refused once it is started.
    """
    content = content_of(submission)
    if submission.kind == "study" and not submission.exclusive:
        raise UserError(
            "exclusive must be true for a study, whose trials are timed: beside another's trials"
            " they would take longer."
        )
    if submission.priority > 0 and not user.admin:
        raise UserError(f"priority above 0 needs an admin, but {user.name} is none; use 0 or less.")
    spec, runs = _run(submission) if submission.kind == "run" else _study(submission)
    resources, space = spec.resources, spec.space.name if isinstance(spec, RunSpec) else None
    if spec.digest != submission.digest:
        raise UserError(
            f"digest must be that of the specification, {spec.digest[:12]}…, but got"
            f" {submission.digest[:12]}…: client and server read it differently. Install the"
            " server's version of tuner, which GET /api/v1/server tells."
        )
    _check_data(spec.data, submission.fingerprint, data_sets)
    gpus, cpus, at_once = needs(submission, resources, capacity)
    values = spec.model_dump(mode="json")
    if 0 < gpus < 1:
        values["resources"]["concurrency"] = at_once
    if not gpus and _uses_tf32(runs):
        raise UserError("precision tf32 needs a GPU, but trials train on CPU cores; use fp32.")
    base = f"{space}-{spec.digest[:8]}" if space else f"study-{spec.digest[:8]}"
    return Accepted(
        NewJob(
            kind=submission.kind,
            user_name=user.name,
            key=submission.key,
            content=content,
            spec=values,
            digest=spec.digest,
            fingerprint=submission.fingerprint,
            space=space,
            gpus=gpus,
            cpus=cpus,
            priority=submission.priority,
            exclusive=submission.exclusive,
            command=submission.command,
        ),
        check_name(submission.name or base),
        submission.name is not None,
        [],
    )


def drafted(draft: Draft) -> RunSpec:
    """Return the specification that `tuner run` would make of a preset, a space and flags.

    Raises
    ------
    UserError
        If it names anything that does not come with the product, or cannot be trained.
    """
    for what, values in (("flags", draft.flags), ("sets", draft.sets)):
        check_plain(values, what)
    preset = draft.preset or "quick"
    for kind, name, known in (
        ("preset", preset, known_presets()), ("space", draft.space, known_spaces())
    ):  # fmt: skip
        if name not in known:
            raise UserError(did_you_mean(kind, name, known))
    unknown = sorted(set(draft.flags) & {"space", "study"})
    if unknown:
        raise UserError(f"flags must not hold {unknown[0]}.")
    ranges = {name: (_text(low), _text(high)) for name, (low, high) in draft.ranges.items()}
    spec = build_spec(preset, None, {**draft.flags, "space": draft.space}, draft.sets, ranges)
    _check_resources(spec.resources)
    return spec


def check_plain(value: Any, what: str) -> None:
    """Refuse what no specification needs: great depth or length, text or numbers that are none.

    Raises
    ------
    UserError
        If it holds too many values, too deep ones, a lone surrogate, a zero character, an infinity
        or no number.
    """
    for count, (text, depth) in enumerate(_walked(value), start=1):
        if count > MAX_VALUES or depth > MAX_DEPTH:
            raise UserError(
                f"{what} must hold at most {MAX_VALUES:,} values, nested at most {MAX_DEPTH} deep."
            )
        if isinstance(text, str) and not is_text(text):
            raise UserError(f"{what} must be Unicode text without zero characters.")
        if isinstance(text, float) and not math.isfinite(text):
            raise UserError(f"{what} must hold finite numbers, but got {text}.")


def is_text(text: str) -> bool:
    """Return whether a text can be stored and shown.

    >>> is_text("é"), is_text("\\ud800"), is_text("a\\0")
    (True, False, False)
    """
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _walked(value: Any) -> Iterator[tuple[Any, int]]:
    """Yield every value and name inside with its depth, without recursion."""
    rest = [(value, 0)]
    while rest:
        one, depth = rest.pop()
        yield one, depth
        if isinstance(one, dict):
            for name, inner in one.items():
                yield name, depth
                rest.append((inner, depth + 1))
        elif isinstance(one, list):
            rest += [(inner, depth + 1) for inner in one]


def _run(submission: Submission) -> tuple[RunSpec, list[RunSpec]]:
    spec = validated(RunSpec, submission.spec, "spec")
    if spec.study is not None:
        raise UserError("study is set by `tuner study`, not in a submission (spec).")
    _check_space(spec.space)
    _check_resources(spec.resources)
    check_sampler(spec.space.resolved(spec.epochs), spec.sampler)
    return spec, [spec]


def _study(submission: Submission) -> tuple[StudySpec, list[RunSpec]]:
    spec = validated(StudySpec, submission.spec, "spec")
    check_centre(spec)
    if len(spec.others) > MOST_ARMS:
        raise UserError(f"others must be at most {MOST_ARMS} arms, but got {len(spec.others)}.")
    for arm in spec.arms:
        _check_space(arm.space)
    _check_resources(spec.resources)
    policy = spec.policy
    if policy.replays * policy.trials > MOST_REPLAYED:
        raise UserError(
            f"replays × trials of policy must be at most {MOST_REPLAYED:,}, but got"
            f" {policy.replays:,} × {policy.trials:,}."
        )
    # searches differ in their seeds alone, so that one of either side is checked for all
    once = spec.model_copy(update={"policy": spec.policy.model_copy(update={"searches": 1})})
    runs = [run.spec for run in before_confirming(once, submission.name or "study")]
    for run in runs:
        check_sampler(run.space.resolved(run.epochs), run.sampler)
    return spec, runs


def _check_space(space: Space) -> None:
    for knob, values in space.knobs.items():
        if isinstance(values, ChoiceKnob) and len(values.values) > MOST_CHOICES:
            raise UserError(
                f"values of {knob[:100]} must be at most {MOST_CHOICES}, but got"
                f" {len(values.values)} (space {space.name[:100]!r})."
            )
    name = space.name
    if not _SPACE_NAME.fullmatch(name):
        raise UserError(
            "name of a space must be 1 to 80 letters, digits, dots, dashes or underscores and start"
            f" with a letter or digit, since runs are named after it, but got {name[:100]!r}."
        )


def _check_resources(resources: ResourcesConfig) -> None:
    """Refuse what only the server decides, which Ray and which folders, and absurd numbers."""
    for name in ("concurrency", "cpus_per_trial"):
        if (getattr(resources, name) or 0) > MOST_AT_ONCE:
            raise UserError(f"resources.{name} must be at most {MOST_AT_ONCE:,}.")
    for name in ("address", "trunks", "storage"):
        if getattr(resources, name, None) is not None:
            raise UserError(f"resources.{name} is the server's own; leave it out.")


def _check_data(data: DataConfig, fingerprint: str | None, data_sets: DataSets) -> None:
    source = data.source
    if source == SYNTHETIC:
        images = data.synthetic_train + 2 * data.synthetic_eval
        channels, side = 1 if data.color == "gray" else 3, data.size or 0
        if images * channels * side**2 > MOST_SYNTHETIC_BYTES:
            raise UserError(
                f"data must come to at most {MOST_SYNTHETIC_BYTES / 1e9:g} GB of synthetic pixels,"
                f" but got {images:,} images of {side} × {side}."
            )
        if fingerprint is not None:
            raise UserError(f"fingerprint must be null for {SYNTHETIC} faces.")
        return
    if fingerprint is None:
        raise UserError(
            f"data.source must be {SYNTHETIC} or the name of a registered data set, with its"
            f" fingerprint, but got {source[:100]!r} without one. See GET /api/v1/datasets."
        )
    folder = data_sets(fingerprint, source)
    if folder is None:
        raise UserError(
            f"The server has no data set {source[:100]!r} with fingerprint {fingerprint[:12]}…;"
            " send it with `tuner data push`."
        )
    try:
        packed = PackedData.open(folder)
    except UserError as error:  # its words are for whoever has the folder
        raise UserError(
            f"The server's copy of {source[:100]!r} is damaged; send it again with `tuner data"
            " push`."
        ) from error
    check_as_packed(packed, data, source)


def needs(
    submission: Submission, resources: ResourcesConfig, capacity: Capacity
) -> tuple[float, int, int]:
    """Return what a job holds: GPUs, CPU cores; and how many trials it trains at once.

    Raises
    ------
    UserError
        If that is more than there is, or no share that can be given.
    """
    asked = resources.gpus_per_trial
    per_trial = asked if isinstance(asked, float) else 1.0 if capacity.gpus else 0.0
    gpus = submission.gpus
    if gpus is None:
        gpus = resources.concurrency * per_trial if resources.concurrency else capacity.gpus
        gpus = gpus if per_trial else 0.0
        if submission.exclusive or gpus > 1:
            gpus = float(math.ceil(gpus - 1e-9))
    _check_gpus(gpus, per_trial, asked, submission.exclusive, capacity)
    if gpus:
        at_once = max(1, math.floor(gpus / per_trial + 1e-9))
    else:
        at_once = max(1, int((submission.cpus or capacity.cpus) // resources.cpus_per_trial))
    at_once = min(at_once, resources.concurrency or at_once)
    cpus = submission.cpus
    if cpus is None:
        most = max(1, int(capacity.cpus) // resources.cpus_per_trial)
        at_once = at_once if resources.concurrency else min(at_once, most)
        cpus = at_once * resources.cpus_per_trial
    if cpus > capacity.cpus:
        raise UserError(
            f"cpus must be at most {capacity.cpus:g}, the cores of the server, but got {cpus}."
        )
    check_fits(resources, {"CPU": float(cpus), "GPU": float(math.ceil(gpus - 1e-9))})
    return gpus, cpus, at_once


def _check_gpus(
    gpus: float, per_trial: float, asked: object, exclusive: bool, capacity: Capacity
) -> None:
    if gpus > capacity.gpus + 1e-9:
        raise UserError(
            f"gpus must be at most {capacity.gpus:g}, the GPUs of the server, but got {gpus:g}."
        )
    if gpus != int(gpus) and (exclusive or gpus > 1):
        raise UserError(
            f"gpus must be a whole number, or for a shared search a part of one, but got {gpus:g}."
        )
    if asked == "auto" and gpus != int(gpus):
        raise UserError(
            f"gpus_per_trial auto measures on whole GPUs, but got {gpus:g}; give a fraction."
        )
    if bool(gpus) != bool(per_trial) or gpus + 1e-9 < per_trial:
        raise UserError(
            f"gpus must be at least {per_trial:g}, what one trial holds, but got {gpus:g}."
            if per_trial
            else f"gpus must be 0, as trials hold none, but got {gpus:g}."
        )


def _uses_tf32(runs: list[RunSpec]) -> bool:
    return any(trial.training.precision == "tf32" for run in runs for trial in run.examples())


def _text(number: float) -> str:
    """Return a number as `--range` takes it: whole where it is whole.

    >>> _text(3.0), _text(0.25)
    ('3', '0.25')
    """
    return str(int(number)) if number.is_integer() else repr(number)
