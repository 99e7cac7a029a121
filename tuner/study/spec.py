"""A study's specification: everything that is decided before the first trial, frozen and digested.

`docs/study.md` says what each stage is for. The digest covers all of it but where it runs: the
resources, and the folder in which the data lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Literal, Self

from pydantic import Field, StrictInt, field_validator, model_validator

from search_spaces.model import (
    FieldPath,
    Model,
    Section,
    UserError,
    did_you_mean,
    shown,
    validated,
)
from search_spaces.space import ChoiceKnob, IntKnob, Space, load_space
from search_spaces.yaml_file import check_kind, read_yaml
from trainables.config import (
    DataConfig,
    InjectionConfig,
    NetworkConfig,
    TrainingConfig,
    canonical_json,
)
from tuner.spec import FLAGS, RunSpec, holds, load_preset, merged
from tuner.spec_sections import ResourcesConfig, SamplerConfig, SchedulerConfig

PRESETS = Path(__file__).parent / "presets"
FILE = "study.json"
"""A study's folder holds its frozen specification under this name."""

RULES = {
    "score": "best validation macro-F1 of any epoch of a trial",
    "checkpoint": "the first epoch with that score; test macro-F1 is that epoch's",
    "match": "score >= target, ties included",
    "failed": "a crashed or diverged trial has not matched; its cost is charged in full",
    "interrupted": "a trial whose machine was lost goes on from its last epoch, and counts once",
    "primary": "R = s_dynamic/s_periodic, the ratio of expected trials to the first match",
    "headline": "q = 1/2: trials for an even chance of a match",
    "others": "every other ratio is exploratory",
}
"""What every study fixes beforehand and no file can change; part of its digest."""


AS_RUNS_JUDGE: dict[str, Any] = {"policy": {"scheduler": {"before_injection": "auto"}}}
"""What a file's searches do unless it says otherwise, as all presets of runs."""


class StudyArm(Model):
    """One arm of the census."""

    space: Space
    """What varies; a file may give the name of a space, or the path of one."""
    trials: int = Field(20, ge=2, le=100_000, strict=True)
    """Trials of the census."""


class PilotPlan(Section):
    """Stage 0: what the target is taken from; then discarded."""

    trials: int = Field(10, ge=10, le=1000)
    """Trainings of the dynamic side, each with a fresh seed."""


class CensusPlan(Model):
    """Stage 1: independent random configurations, trained in full."""

    seeds: Literal["fresh"] | StrictInt = "fresh"
    """`fresh`: one seed per trial. A number n: a blocked census, in which every configuration is
    trained on the same n seeds; arms without knobs keep fresh seeds."""

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 2 <= value <= 1000:
            raise UserError("must be fresh or a whole number from 2 to 1000")
        return value


class PolicyPlan(Section):
    """Stage 2: what a real search costs, replayed over the census, and really run."""

    sampler: SamplerConfig = SamplerConfig()
    """How searches propose, real and replayed."""
    scheduler: SchedulerConfig = SchedulerConfig()
    """How they stop trials early; a file that does not say so gets `before_injection: auto`."""
    searches: int = Field(3, ge=3, le=1000)
    """Real searches of either side."""
    trials: int = Field(20, ge=1, le=100_000)
    """Budget of a search, real or replayed."""
    replays: int = Field(300, ge=20, le=100_000)
    """Simulated searches of either side."""
    nearest: bool = True
    """Let the nearest recorded configuration answer a proposal that the census did not record;
    without it, only a census of every configuration can be replayed."""


class ConfirmPlan(Section):
    """Stage 3: the chosen configurations on fresh seeds, compared on test."""

    seeds: int = Field(18, ge=18, le=1000)
    """Fresh seeds of each configuration."""
    budget: int | None = Field(None, ge=1)
    """Periodic is confirmed as tuned by all of its census, and as tuned by its first so many
    trials; empty takes the census's own median trials to a match."""


class StudySpec(Model):
    """One study."""

    title: str
    """What the report is headed with."""
    demonstration: bool = False
    """Whether it only shows how a study works: its report then says so first."""
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    injection: InjectionConfig = InjectionConfig()
    """Readings of the method that the spaces leave open."""
    training: TrainingConfig = TrainingConfig()
    epochs: int = Field(60, ge=1, le=100_000, strict=True)
    """Epochs of a trial that is not stopped."""
    periodic: StudyArm
    """The side whose knobs must be tuned."""
    dynamic: StudyArm
    """The side that needs no tuning: at its default, so nothing but the seed varies."""
    others: list[StudyArm] = []
    """Further arms of the census, such as baseline, dropout, or dynamic with a random Constant."""
    target: float | None = Field(None, gt=0, lt=1, strict=True)
    """Validation score that counts as a match; empty takes the pilot's median."""
    margin: float = Field(gt=0, lt=1, strict=True)
    """How much worse on test, in macro-F1, is not worse."""
    confidence: float = Field(0.95, ge=0.5, lt=1, strict=True)
    """Of every interval, two-sided."""
    centre: dict[str, str | int | float | bool] | None = None
    """Values of the periodic knobs around which the space is shrunk to see what its size does;
    empty takes the best seen."""
    pilot: PilotPlan = PilotPlan()
    census: CensusPlan = CensusPlan()
    policy: PolicyPlan = PolicyPlan()
    confirm: ConfirmPlan = ConfirmPlan()
    seed: int = Field(0, ge=0, le=2**31 - 1, strict=True)
    """All other seeds follow from it."""
    resources: ResourcesConfig = ResourcesConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data.source == "synthetic" and not self.demonstration:
            raise UserError(
                "data must name real images (--data), unless demonstration is true: nothing follows"
                " from synthetic faces"
            )
        knobs = self.dynamic.space.knobs
        if knobs:
            raise UserError(
                f"dynamic must be a space in which only the seed varies, but"
                f" {self.dynamic.space.name} has {', '.join(knobs)}; put it under others"
            )
        if not self.periodic.space.knobs:
            raise UserError(
                f"periodic must have a knob to tune, but {self.periodic.space.name} has none"
            )
        names = [arm.space.name for arm in self.arms]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise UserError(
                f"every arm needs a space of another name, but {twice[0]} is there twice"
            )
        for arm in self.arms:
            blocked = self.seeds_of(arm)
            if isinstance(blocked, int) and arm.trials % blocked:
                raise UserError(
                    f"trials of {arm.space.name} must be a multiple of the census's {blocked}"
                    f" seeds, but got {arm.trials}"
                )
        if self.confirm.budget is not None and self.confirm.budget > self.periodic.trials:
            raise UserError(
                f"budget of confirm must be at most the {self.periodic.trials} periodic trials,"
                f" but got {self.confirm.budget}"
            )
        if self.centre is not None and set(self.centre) != set(self.periodic.space.knobs):
            raise UserError(
                f"centre must name {', '.join(self.periodic.space.knobs)}, the knobs of"
                f" {self.periodic.space.name}, but got {', '.join(self.centre) or 'none'}"
            )
        return self

    @property
    def arms(self) -> list[StudyArm]:
        """All arms of the census: periodic, dynamic, the others."""
        return [self.periodic, self.dynamic, *self.others]

    def seeds_of(self, arm: StudyArm) -> Literal["fresh"] | int:
        """Return the seeds of an arm's census."""
        return self.census.seeds if arm.space.knobs else "fresh"

    @property
    def digest(self) -> str:
        """SHA-256 of all that was decided beforehand, as 64 hexadecimal digits."""
        values = self.model_dump(mode="json", exclude={"resources"})
        values["data"]["source"] = PurePath(values["data"]["source"]).name
        return hashlib.sha256(canonical_json([values, RULES]).encode()).hexdigest()

    def frozen(self) -> str:
        """Return the text of the study's file, from which `thawed` makes the same study."""
        values = {"digest": self.digest, "rules": RULES, "study": self.model_dump(mode="json")}
        return json.dumps(values, indent=2) + "\n"


def known_studies() -> tuple[str, ...]:
    """Return the names of the studies that come with the product."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def load_study(name_or_file: str, flags: Mapping[str, Any] | None = None) -> StudySpec:
    """Return a study by name, or from a user's own YAML file.

    A file holds the fields of `StudySpec`. `preset` takes the values of a run's preset first; an
    arm may also `set` knobs to a value or narrow their `range`, as `tuner run` does, and give the
    space that results another `name`.

    Parameters
    ----------
    name_or_file : str
    flags : mapping, optional
        Fields that override the file's, nested as in it.

    Raises
    ------
    UserError
        If there is none of this name, or the file does not hold a valid study.
    """
    path, where = Path(name_or_file), name_or_file
    if name_or_file in known_studies():
        path, where = PRESETS / f"{name_or_file}.yaml", f"study {name_or_file}"
    elif not path.suffix and not path.exists():
        hint = " Or name a YAML file, or the folder of a study that was begun."
        raise UserError(did_you_mean("study", name_or_file, known_studies()) + hint)
    own, flags = read_yaml(path), dict(flags or {})
    check_kind(own, path, "study")
    _check_fields(own, where)
    values = merged(AS_RUNS_JUDGE, own, flags)
    base = _base(values.pop("preset", None), where)
    values = merged(base, values)
    epochs = values.get("epochs", StudySpec.model_fields["epochs"].default)
    for role in ("periodic", "dynamic"):
        if role in values:
            values[role] = _arm(values[role], epochs, f"{where}, {role}")
    if isinstance(values.get("others"), list):
        values["others"] = [_arm(one, epochs, f"{where}, others") for one in values["others"]]
    elif values.get("others") is not None:
        raise UserError(f"others must be a list of arms, such as [baseline] ({where}).")

    def place(field: FieldPath) -> tuple[str, str]:
        dotted = ".".join(field)
        if dotted in FLAGS and holds(flags, field):
            return field[-1], FLAGS[dotted]
        return dotted, where

    study = validated(StudySpec, values, place)
    with _naming(where):
        check_centre(study)
    return study


def check_centre(study: StudySpec) -> None:
    """Refuse a centre that is no configuration of the periodic space; what is frozen may have one.

    Raises
    ------
    UserError
        With what the knob takes.
    """
    space = study.periodic.space
    for name, value in (study.centre or {}).items():
        knob = space.resolved(study.epochs).knobs[name]
        if isinstance(knob, ChoiceKnob):
            fits, takes = value in knob.values, f"one of {', '.join(map(str, knob.values))}"
        else:
            kind = int if isinstance(knob, IntKnob) else int | float
            fits = isinstance(value, kind) and not isinstance(value, bool)
            fits = fits and float(knob.low) <= float(value) <= float(knob.high)
            whole = "a whole number " if kind is int else ""
            takes = f"{whole}from {knob.low} to {knob.high}"
        if not fits:
            raise UserError(
                f"{name} of centre must be {takes}, its range in {space.name}, but got"
                f" {shown(value)}"
            )


def _check_fields(values: Mapping[str, Any], where: str) -> None:
    """Refuse a file's fields that no study has.

    Raises
    ------
    UserError
        With where what was meant stands.
    """
    known = {*StudySpec.model_fields, "preset"}
    for name in values:
        if name in known:
            continue
        if name in ("sampler", "scheduler"):
            raise UserError(f"{name} is the searches' alone: put it under policy ({where}).")
        if name == "budget":
            raise UserError(
                "A study has no budget: trials stand at each arm, and those of a search in"
                f" policy.trials ({where})."
            )
        raise UserError(did_you_mean("field", name, known).removesuffix(".") + f" ({where}).")


def _base(preset: object, where: str) -> dict[str, Any]:
    """Return the values of a run's preset that a study takes over."""
    if preset is None:
        return {}
    with _naming(where):
        base = load_preset(str(preset))
    for of_one_search in ("budget", "scheduler"):  # a study's own policy says how it searches
        base.pop(of_one_search, None)
    return base


def thawed(folder: Path) -> StudySpec:
    """Return the study that a folder holds, frozen.

    Raises
    ------
    UserError
        If there is none, it is not as it was frozen, or it was frozen under other rules.
    """
    path = folder / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read {path}: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict) or set(values) != {"digest", "rules", "study"}:
        raise UserError(f"{path} is no study: it must hold digest, rules and study.")
    if values["rules"] != RULES:
        raise UserError(f"{path} was frozen under other rules than this version's.")
    if not isinstance(values["study"], dict):
        raise UserError(f"{path} is no study: study must be names and values.")
    spec = validated(StudySpec, values["study"], str(path))
    if spec.digest != values["digest"]:
        raise UserError(
            f"{path} was changed after it was frozen: its digest is {spec.digest[:12]}, and not"
            f" {str(values['digest'])[:12]}."
        )
    return spec


def _arm(value: Any, epochs: Any, where: str) -> Any:
    """Return an arm with its space loaded and narrowed; what is no arm is left to be refused."""
    if isinstance(value, str):
        value = {"space": value}
    if not isinstance(value, dict) or not isinstance(value.get("space"), str | dict):
        return value
    rest = {key: one for key, one in value.items() if key not in ("name", "set", "range")}
    chosen, sets, ranges = value["space"], value.get("set", {}), value.get("range", {})
    if isinstance(chosen, dict):
        space = validated(Space, chosen, where)
    else:
        with _naming(where):
            space = load_space(chosen)
    for name, parts in (("set", sets), ("range", ranges)):
        if not isinstance(parts, dict):
            raise UserError(f"{name} must be names and values, but got {parts!r} ({where}).")
    with _naming(where):
        for name, fixed in sets.items():
            space = space.with_fixed(name, fixed)
    for name, bounds in ranges.items():
        if not isinstance(bounds, list) or len(bounds) != 2:
            raise UserError(f"range of {name} must be [low, high], but got {bounds!r} ({where}).")
        if isinstance(epochs, int) and epochs > 0:  # otherwise refused as a whole
            with _naming(where):
                space = space.with_range(name, str(bounds[0]), str(bounds[1]), epochs)
    named = {"name": value["name"]} if "name" in value else {}
    return {**rest, "space": {**space.model_dump(), **named}}


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Let a mistake in a part of a study's file say which file that is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{str(error).removesuffix('.')} ({where}).") from error


def run_spec(study: StudySpec, space: Space, fields: Mapping[str, Any], where: str) -> RunSpec:
    """Return the specification of one of a study's runs.

    Raises
    ------
    UserError
        If the space cannot be trained so, such as an interval longer than the training.
    """
    shared = {
        name: getattr(study, name).model_dump()
        for name in ("data", "network", "injection", "training", "resources")
    }
    values = {**shared, "epochs": study.epochs, "space": space.model_dump(), **fields}
    return validated(RunSpec, values, f"{where}, space {space.name}")
