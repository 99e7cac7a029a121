"""A run's specification: everything that decides what a search does, frozen and digested.

Built from a preset, then a YAML file, then flags, each overriding the one before. The digest names
the run; where it is written and how many workers serve it are not part of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    StrictInt,
    field_validator,
    model_validator,
)

from search_spaces.model import (
    FieldPath,
    Model,
    UserError,
    did_you_mean,
    is_number,
    shown,
    validated,
)
from search_spaces.space import ChoiceKnob, FloatKnob, IntKnob, Space, load_space
from search_spaces.yaml_file import check_kind, read_yaml
from trainables.config import (
    METHOD_KNOBS,
    SECTIONS,
    DataConfig,
    InjectionConfig,
    NetworkConfig,
    TrainingConfig,
    TrialConfig,
    canonical_json,
    knob_section,
    with_knobs,
)
from trainables.schedule import clean_epochs
from tuner.rungs import Halving, MedianStopping, bracket_key
from tuner.spec_sections import (
    BudgetConfig,
    ResourcesConfig,
    SamplerConfig,
    SchedulerConfig,
    StudyRef,
)

PRESETS = Path(__file__).parent / "presets"
VARIES = "varies"
"""What `in_effect` tells of a field that the space varies."""
FLAGS = {
    "data.source": "--data",
    "data.format": "--data-format",
    "data.size": "--image-size",
    "data.limit": "--limit",
    "data.copies": "--copies",
    "data.max_bad": "--max-bad",
    "network.width": "--width",
    "epochs": "--epochs",
    "sampler.name": "--sampler",
    "scheduler.name": "--scheduler",
    "scheduler.brackets": "--brackets",
    "scheduler.before_injection": "--before-injection",
    "scheduler.audit": "--audit",
    "seeds": "--seeds",
    "seed": "--seed",
    "budget.trials": "--trials",
    "budget.epochs": "--budget-epochs",
    "budget.gpu_hours": "--gpu-hours",
    "budget.wall_hours": "--wall-hours",
    "resources.concurrency": "--concurrency",
    "resources.gpus_per_trial": "--gpus-per-trial",
    "resources.cpus_per_trial": "--cpus-per-trial",
    "resources.address": "--address",
    "resources.storage": "--storage",
    "resources.retries": "--retries",
    "resources.share": "--share",
    "resources.trunks": "--trunks",
    "resources.trunks_gb": "--trunks-gb",
}
"""Fields that a flag of `tuner run` sets, by their path."""


class RunSpec(Model):
    """One search."""

    space: Space
    """What varies and what is fixed; a file may give the name of a space, or the path of one."""
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    injection: InjectionConfig = InjectionConfig()
    """Readings of the method that the space leaves open; the space's own values override them."""
    training: TrainingConfig = TrainingConfig()
    epochs: int = Field(60, ge=1, le=100_000, strict=True)
    """Epochs of a trial that is not stopped."""
    sampler: SamplerConfig = SamplerConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    seeds: Literal["fresh", "fixed"] | StrictInt = "fresh"
    """`fresh`: another seed for every trial; `fixed`: the run's seed for all; a number n: every
    configuration is trained on the same n seeds."""
    seed: int = Field(0, ge=0, le=2**31 - 1, strict=True)
    """Seeds proposals, trial seeds and the audit."""
    budget: BudgetConfig = BudgetConfig(trials=20)
    resources: ResourcesConfig = ResourcesConfig()
    study: StudyRef | None = None
    """Set by `tuner study`."""

    @field_validator("seeds")
    @classmethod
    def _some_seeds(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 1000:
            raise UserError("must be fresh, fixed or a whole number from 1 to 1000")
        return value

    @model_validator(mode="after")
    def _trainable(self) -> Self:
        space = self.space.resolved(self.epochs)
        for name in (*space.fixed, *space.knobs):
            section = knob_section(name)
            if section is None:
                raise UserError(f"{name} is no knob; the run sets it (space {space.name})")
            ranges = not isinstance(space.knobs.get(name), ChoiceKnob | None)
            if ranges and not is_number(SECTIONS[section].model_fields[name].annotation):
                raise UserError(f"{name} takes no range; list its values (space {space.name})")
        budget = self.budget
        if not (budget.trials or budget.epochs or budget.gpu_hours or budget.wall_hours):
            raise UserError("budget needs at least one of trials, epochs, gpu_hours, wall_hours")
        if isinstance(self.seeds, int) and budget.trials and self.seeds > budget.trials:
            raise UserError(
                f"seeds must be at most the number of trials ({budget.trials}), since each is one,"
                f" but got {self.seeds}"
            )
        self.scheduler.build(self.epochs, "")
        if self.scheduler.before_injection is True and self.seeds != "fresh":
            raise UserError(
                "before_injection needs seeds fresh: until their first injection trials of one seed"
                f" are the same training, but got seeds {self.seeds}"
            )
        self.examples()
        return self

    def trial(self, knobs: dict[str, Any], seed: int) -> TrialConfig:
        """Return the trial that this run trains for proposed `knobs` and a seed."""
        base = TrialConfig.model_construct(
            network=self.network,
            injection=self.injection,
            training=self.training,
            epochs=self.epochs,
            seed=seed,
        )
        return with_knobs(base, {**self.space.fixed, **knobs}, f"space {self.space.name}")

    def examples(self) -> list[TrialConfig]:
        """Return trials at every end of every range, of seed 0."""
        return [self.trial(corner, 0) for corner in _corners(self.space.resolved(self.epochs))]

    def clean_until(self, trial: TrialConfig, steps_per_epoch: int) -> int:
        """Return the last epoch before its first injection at which a trial may be judged, or 0."""
        judged = self.scheduler.judges_clean(fresh=self.seeds == "fresh")
        return clean_epochs(trial, steps_per_epoch) if judged else 0

    def stopping(self) -> Halving | MedianStopping | None:
        """Return this run's early stopping, as at its start."""
        return self.scheduler.build(self.epochs, bracket_key(self.space.name, self.seed))

    @property
    def seeds_each(self) -> int:
        """How many trials, each with a seed of its own, a configuration is trained in."""
        return self.seeds if isinstance(self.seeds, int) else 1

    @property
    def shares(self) -> bool:
        """Whether trials share the epochs that they have in common."""
        share, given = self.resources.share, self.resources.trunks is not None
        common = self.seeds != "fresh" and not self.resources.in_object_store
        return (given or common) if share is None else share

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the result, as 64 hexadecimal digits.

        Of the data it holds the source's name, not where it lies: that is another on a server.
        """
        values = self.model_dump(mode="json", exclude={"resources", "study"})
        values["data"]["source"] = Path(self.data.source).name
        return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def known_presets() -> tuple[str, ...]:
    """Return the names of the presets that come with the product."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def load_preset(name: str) -> dict[str, Any]:
    """Return a preset's values, but for `needs_data`.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    values = _preset(name)
    values.pop("needs_data", None)
    return values


def _preset(name: str) -> dict[str, Any]:
    if name not in known_presets():
        raise UserError(did_you_mean("preset", name, known_presets()))
    return read_yaml(PRESETS / f"{name}.yaml")


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Return the layers merged section by section; later ones win.

    >>> merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": 4})
    {'a': {'x': 1, 'y': 3}, 'b': 4}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = result.get(key)
            both = isinstance(old, dict) and isinstance(value, dict)
            result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def build_spec(
    preset: str,
    file: Path | None,
    flags: dict[str, Any],
    sets: dict[str, Any],
    ranges: dict[str, tuple[str, str]],
) -> RunSpec:
    """Return the frozen specification of a run.

    Parameters
    ----------
    preset : str
        Name of the preset that everything else overrides.
    file : Path or None
        A YAML file with any of `RunSpec`'s fields, `space` being a name or a path.
    flags : dict
        Like the file, from the command line; `space` is a name or a path.
    sets : dict
        Knobs or other fields of a trial, by name, held at a value: of the network or the training
        in those sections, of the injection in the space, and so what the space itself names.
    ranges : dict
        Knobs by name, narrowed to (low, high).

    Raises
    ------
    UserError
        If anything is unknown or out of its range, with the one line that says so.
    """
    given = merged(_own_values(file) if file else {}, flags)
    base = _preset(preset)
    example = base.pop("needs_data", None)
    if example is not None and not holds(given, ("data", "source")):
        raise UserError(
            f"Preset {preset} needs images: name them with --data, such as --data {example}."
        )
    if given.get("budget"):
        del base["budget"]  # a preset's number of trials is no limit that the user set
    values = merged(base, given)
    chosen = values.get("space", "periodic_T")
    space = (
        validated(Space, chosen, str(file)) if isinstance(chosen, dict) else load_space(str(chosen))
    )

    def place(path: FieldPath) -> tuple[str, str]:
        dotted = ".".join(path)
        name = ".".join(path[:1] if path[1:] == ("name",) else path[-1:])
        if name in sets and path[:1] in (("network",), ("training",)):
            return name, f"--set {name}"
        if dotted in FLAGS and holds(flags, path):
            return name, FLAGS[dotted]
        return name, f"{file}, {dotted}" if file and dotted else str(file or "")

    for name, value in sets.items():
        section = _set_section(name)
        flag = FLAGS.get(f"{section}.{name}")
        if flag is not None and holds(flags, (section, name)):
            raise UserError(f"{name} is given both {flag} and --set; keep one.")
        if name == "method" and space.fixed.get(name, value) != value:
            raise UserError(
                f"--set method={shown(value)} would put another arm under the name of space"
                f" {space.name}, whose method is {space.fixed[name]}; choose another --space."
            )
        if section == "injection" or name in space.knobs or name in space.fixed:
            space = space.with_fixed(name, value)
        if section != "injection" and isinstance(values.get(section, {}), dict):
            values = merged(values, {section: {name: value}})  # else refused below
    _check_effect(space, values.get("injection"), sets)
    epochs = values["epochs"]
    if isinstance(epochs, int) and epochs > 0:  # otherwise refused below
        for name, (low, high) in ranges.items():
            if name in sets:
                raise UserError(f"{name} is given both --set and --range; keep one.")
            space = space.with_range(name, low, high, epochs)
    return validated(RunSpec, {**values, "space": space}, place)


def _set_section(name: str) -> str:
    """Return the section that --set NAME changes, or say what else does where it is none of them.

    Raises
    ------
    UserError
        If no trial has a field of this name, or another option sets it.
    """
    for path, flag in FLAGS.items():
        of, _, field = path.rpartition(".")
        if name == field != "name" and of not in SECTIONS:
            raise UserError(f"Use {flag} to set {name}, not --set.")
    if name in DataConfig.model_fields:
        raise UserError(f"Set {name} under data in a --config file, not with --set.")
    section = knob_section(name)
    assert section is not None  # epochs and seed have flags
    return section


def in_effect(spec: Mapping[str, Any], section: Literal["network", "training"]) -> dict[str, Any]:
    """Return a section of a recorded specification as the run's trials have it.

    What the space fixes overrides the section; what it varies is told as `VARIES`.
    """
    space = spec["space"]
    own = {name: value for name, value in space["fixed"].items() if knob_section(name) == section}
    varied = {name: VARIES for name in space["knobs"] if knob_section(name) == section}
    return {**spec[section], **own, **varied}


def _own_values(file: Path) -> dict[str, Any]:
    """Return a configuration file's values; a relative path of data starts from its folder."""
    values = read_yaml(file)
    check_kind(values, file, "configuration")
    if "study" in values:
        raise UserError(f"study is set by `tuner study`, not in a configuration ({file}).")
    data = values.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    if isinstance(source, str) and source not in ("", "synthetic"):
        home = os.path.expanduser(source)  # noqa: PTH111 - Path's raises for an unknown user
        here = str(file.absolute().parent / home)
        values = merged(values, {"data": {"source": here}})
    return values


def _check_effect(space: Space, injection: Any, sets: Mapping[str, Any]) -> None:
    """Refuse to set what the method of injection does not read: it would look as if it counted."""
    own = injection.get("method", "none") if isinstance(injection, dict) else "none"
    method = space.fixed.get("method", own)
    if "method" in space.knobs or not isinstance(method, str):
        return
    for name in sets:
        readers = [one for one, knobs in METHOD_KNOBS.items() if name in knobs]
        if readers and method not in readers:
            raise UserError(
                f"--set {name} has no effect in space {space.name}: {' and '.join(readers)}"
                f" injection reads it, but the method here is {method}. Leave it out, or choose"
                " another --space."
            )


def holds(values: Any, path: FieldPath) -> bool:
    """Return whether nested values have a field."""
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _corners(space: Space) -> list[dict[str, Any]]:
    """Return knob values at every end of every range: if these are trainable, all are."""
    ends: dict[str, list[Any]] = {}
    for name, knob in space.knobs.items():
        match knob:
            case IntKnob() | FloatKnob():
                ends[name] = [knob.low, knob.high]
            case ChoiceKnob():
                ends[name] = list(knob.values)
    middle = {name: values[0] for name, values in ends.items()}
    corners = [{**middle, name: value} for name, values in ends.items() for value in values]
    return [{name: corner[name] for name in space.active(corner)} for corner in corners or [middle]]
