"""Where the numbers come from: each run's command, versions, machine, data, cost and readings.

Moments are given in UTC, so that a report does not depend on where it is made.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from reports.figures.chart import Column, Table
from reports.figures.runs import Run
from search_spaces.space import ChoiceKnob, Knob
from trainables.config import DROPOUT_KNOBS, METHOD_KNOBS, InjectionConfig, TrainingConfig
from trainables.data.packed import SPLITS
from tuner.cli.formatting import duration
from tuner.record_schema import TRIAL_STATES
from tuner.spec import in_effect

PRECISION = TrainingConfig().precision
"""What trials compute in where the specification names nothing else."""


class Facts(NamedTuple):
    """What is known of one run, as (name, text)."""

    run: str
    anchor: str
    state: str
    command: str
    items: tuple[tuple[str, str], ...]
    knobs: Table
    versions: str


def facts(run: Run, index: int) -> Facts:
    """Return a run's facts."""
    row, spec = run.row, run.row.spec
    ends = [t.row.ended_at for t in run.trials if t.row.ended_at is not None]
    images = row.data.get("images", {})
    as_run = sum(trial.row.as_run_epochs for trial in run.trials)
    alone = sum(trial.row.stand_alone_epochs for trial in run.trials)
    items = (
        ("State", row.state + (f": {row.reason}" if row.reason else "")),
        ("Trials", counted(run)),
        ("Began", moment(row.created_at)),
        ("Last trial ended", moment(max(ends)) if ends else "–"),
        ("Driver's time", duration(row.active_s)),
        ("Held", run.told_hours(lambda row: row.slot_s)),
        ("Epochs", f"{as_run} computed here, {alone} stand-alone"),
        *_sharing(run),
        ("Digest of the specification", row.digest),
        ("Git revision", row.git_revision or "unknown"),
        ("Machine", _machine(row.host)),
        ("Data", f"{row.data.get('source', 'unknown')}, {_images(images)}{_copies(row.data)}"),
        ("Fingerprint of the data", str(row.data.get("fingerprint", "unknown"))),
        ("Network", _network(in_effect(spec, "network"), row.data)),
        ("Training", _training(spec)),
        ("Precision", str(in_effect(spec, "training").get("precision", PRECISION))),
        ("Sampler", _named(spec["sampler"])),
        ("Early stopping", _named(spec["scheduler"])),
        ("Seeds", f"{spec['seeds']} (run seed {spec['seed']})"),
        ("Reading of the method", reading(run)),
    )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(row.versions.items()))
    return Facts(
        run.name, f"run-{index}", row.state, shlex.join(row.command), items, _knobs(run), versions
    )


def _sharing(run: Run) -> list[tuple[str, str]]:
    """Return what sharing saved, and whether it may have changed a bit; nothing if none did."""
    rows = [trial.row for trial in run.trials]
    kinds = {row.sharing for row in rows if row.sharing is not None}
    if not kinds:
        return []
    exact = "bit for bit" if kinds == {"shared"} else "not bit-reproducible on this device"
    saved = sum(row.stand_alone_epochs - row.as_run_epochs for row in rows)
    hours = run.told_hours(lambda row: row.saved_slot_s)
    return [
        (
            "Shared epochs",
            f"{saved} taken over from other trials, which saved {hours}; {exact}",
        )
    ]


def reading(run: Run) -> str:
    """Return which reading of the ambiguous paper a run's trials used; varied fields are left out.

    Every trial of a run shares what its space does not vary, so the first one tells.
    """
    if not run.trials:
        return "no trial was planned"
    injection = InjectionConfig.model_validate(run.trials[0].row.trial_config["injection"])
    fields: tuple[str, ...] = METHOD_KNOBS.get(injection.method, ())
    if injection.dropout_rate > 0:
        fields += DROPOUT_KNOBS
    values = {name: getattr(injection, name) for name in fields if name not in run.space.knobs}
    if "evaluation" in values:
        values["evaluation"] = injection.evaluated
    told = ", ".join(f"{name} {_text(value)}" for name, value in values.items())
    return f"{injection.arm}: {told}" if told else injection.arm


def overview(runs: Sequence[Run]) -> Table:
    """Return one row per run."""
    columns = (
        Column("run", "run"),
        Column("stage", "stage"),
        Column("arm", "arm"),
        Column("trials", "trials"),
        Column("epochs", "epochs computed"),
        Column("held", "held"),
        Column("sampler", "sampler"),
        Column("stopping", "early stopping"),
        Column("began", "began"),
        Column("digest", "digest"),
    )
    rows = []
    for run in runs:
        arms = dict.fromkeys(trial.row.arm for trial in run.trials)
        rows.append(
            (
                run.name,
                run.stage,
                ", ".join(arms) or "–",
                counted(run),
                sum(trial.row.as_run_epochs for trial in run.trials),
                run.told_hours(lambda row: row.slot_s),
                run.row.spec["sampler"]["name"],
                run.row.spec["scheduler"]["name"],
                moment(run.row.created_at),
                run.row.digest[:12],
            )
        )
    return Table(columns, tuple(rows))


def differences(runs: Sequence[Run]) -> list[str]:
    """Return one sentence for each condition that runs do not share, so that arms are unequal."""
    found = []
    for what, of in (
        ("data", lambda run: run.row.data.get("fingerprint")),
        ("network", lambda run: in_effect(run.row.spec, "network")),
        ("training", lambda run: in_effect(run.row.spec, "training")),
        ("number of epochs", lambda run: run.row.spec["epochs"]),
        ("Git revision", lambda run: run.row.git_revision),
        ("machine", lambda run: _machine(run.row.host)),
        ("versions", lambda run: run.row.versions),
    ):
        values = {json.dumps(of(run), sort_keys=True) for run in runs}
        if len(values) > 1:
            found.append(f"The runs do not share one {what}: {len(values)} are in this report.")
    return found


def moment(at: float) -> str:
    """Return Unix seconds as UTC.

    >>> moment(0)
    '1970-01-01 00:00 UTC'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def range_text(knob: Knob) -> str:
    """Return what a knob may be."""
    if isinstance(knob, ChoiceKnob):
        return ", ".join(map(str, knob.values))
    return f"{knob.low:g} to {knob.high:g}{', log scale' if knob.log else ''}"


def _knobs(run: Run) -> Table:
    columns = (Column("knob", "knob"), Column("range", "range"), Column("source", "source"))
    varied = tuple(
        (name, range_text(knob), " ".join(knob.source.split()))
        for name, knob in run.space.knobs.items()
    )
    fixed = tuple((name, f"fixed at {_text(v)}", "") for name, v in run.space.fixed.items())
    return Table(columns, (*varied, *fixed))


def counted(run: Run) -> str:
    """Return how many trials are in which state."""
    counts = {state: sum(t.row.state == state for t in run.trials) for state in TRIAL_STATES}
    return ", ".join(f"{n} {state}" for state, n in counts.items() if n) or "none"


def _machine(host: dict[str, Any]) -> str:
    gpus = [gpu.get("name", "GPU") for gpu in host.get("gpus") or []]
    told = [f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)] or ["no GPU"]
    parts = [host.get("hostname"), ", ".join(told), host.get("cpu"), host.get("system")]
    if host.get("cpu_cores"):
        parts.insert(3, f"{host['cpu_cores']} cores")
    return "; ".join(str(part) for part in parts if part)


def _images(images: dict[str, int]) -> str:
    return ", ".join(f"{images[split]} {split}" for split in SPLITS if split in images) + " images"


def _copies(data: dict[str, Any]) -> str:
    """Return which images are training images, too, where it is known."""
    of = data.get("copies_of_train", {})
    found = [f"{of[split]} of {split}" for split in SPLITS if split in of]
    return f"; {' and '.join(found)} are training images, too" if found else ""


def _network(network: dict[str, Any], data: dict[str, Any]) -> str:
    size = f", images of {data['size']} px" if "size" in data else ""
    return f"ResNet-{network['depth']}, width {network['width']}, {network['stem']} stem{size}"


def _training(spec: dict[str, Any]) -> str:
    training = {name: _text(value) for name, value in in_effect(spec, "training").items()}
    return (
        f"{spec['epochs']} epochs, {training['optimizer']}, learning rate {training['lr']}"
        f" ({training['schedule']} schedule), weight decay {training['weight_decay']}, batch"
        f" {training['batch_size']}, augmentation {training['augment']}"
    )


def _named(config: dict[str, Any]) -> str:
    rest = ", ".join(
        f"{key} {_text(value)}" for key, value in config.items()
        if key != "name" and value is not None
    )  # fmt: skip
    return f"{config['name']} ({rest})" if rest and config["name"] != "none" else config["name"]


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return "/".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
