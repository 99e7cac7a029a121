"""What one trial is: the network, the injection, the training, each field with unit and meaning.

Torch-free, so that a search can be planned, checked and recorded where torch is not installed.
Every reading of the paper that is ambiguous is a field here with the default that the project
chose; the recorded configuration therefore says which reading ran. A *knob* of a search space is
any field of this file, and field names are unique across the sections so that one name suffices.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from search_spaces.model import FieldPath, Model, Section, UserError, did_you_mean, shown, validated

Arm = Literal["baseline", "dropout", "periodic", "periodic+dropout", "dynamic", "dynamic+dropout"]
Precision = Literal["fp32", "tf32", "bf16"]
BASIC_POSITIONS = ("bn1", "bn2", "shortcut", "all")
MOST_STEPS = 1_000_000_000
"""More optimiser steps than any training has."""
BOTTLENECK_POSITIONS = ("bn1", "bn2", "bn3", "shortcut", "all")


class NetworkConfig(Section):
    """The residual network. Channels and classes come from the data set."""

    depth: Literal[18, 34, 50] = 18
    """Layers: 18 and 34 use BasicBlock, 50 uses Bottleneck."""
    width: int = Field(64, ge=1, le=1024)
    """Channels of the first stage; 64 is the standard network, 8 to 16 suit a CPU."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """`imagenet`: 7×7 stride 2 and max-pooling, as the paper; `small`: 3×3, no pooling."""

    @property
    def positions(self) -> tuple[str, ...]:
        """Injection positions that this network has."""
        return BOTTLENECK_POSITIONS if self.depth == 50 else BASIC_POSITIONS


class InjectionConfig(Section):
    """When, where and how feature signs flip (paper section 3), and dropout (section 4.4)."""

    method: Literal["none", "periodic", "dynamic"] = "none"
    """`periodic`: Algorithm 1; `dynamic`: AutoReLU (section 3.2)."""
    T: int | None = Field(None, ge=1)
    """Interval of Algorithm 1, in units of `interval_unit`; required by the periodic method."""
    interval_unit: Literal["epoch", "step"] = "epoch"
    """What a step of Algorithm 1 is: "every T epochs" of the text, or an optimiser step."""
    position: Literal["bn1", "bn2", "bn3", "shortcut", "all"] = "bn1"
    """Which batch normalisation of a residual block is followed by the sign, or which ReLU is
    replaced by AutoReLU (`bn1` the first, the last `bn` the one after the addition)."""
    stages: tuple[Literal[1, 2, 3, 4], ...] = Field((1, 2, 3, 4), strict=False)
    """The stages whose blocks are injected; the paper: all of them."""
    evaluation: Literal["clean", "as_trained"] | None = None
    """How validation and test see the injection. Periodic: `clean` (default) never injects,
    `as_trained` keeps the epoch's last flag. Dynamic: `as_trained` (default) uses the same w,
    `clean` uses |w|. Empty means the method's default."""
    Constant: float = Field(1.0, gt=0)
    """CliffReLU's upper edge: y = x where 0 < x < Constant, else 0 (equation 1)."""
    w_init: float = Field(0.2, gt=0, lt=1)
    """Initial value of every AutoReLU weight w; the paper: positive, and less than 1."""
    w_per: Literal["channel", "unit"] = "channel"
    """One w per channel, or one per AutoReLU unit."""
    w_mean: Literal["unit", "network"] = "unit"
    """Over what w is averaged before each training forward (section 3.2.1, step 2)."""
    divide_by: Literal["abs_w", "w"] = "abs_w"
    """"divided by absolute value of w" (text, Figure 2d) or / w (as equation 2 prints it)."""
    gradient: Literal["autograd", "exact"] = "autograd"
    """`autograd`, the reference: rounding noise drives w. `exact`: w gets its true gradient, 0."""
    dropout_rate: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping a feature; 0 is none."""
    dropout_site: Literal["conv", "between"] = "conv"
    """`conv`: after every convolution of a block, before its normalisation (the paper: "adding a
    dropout module to the convolution layer"); `between`: only before a block's last convolution."""
    dropout_kind: Literal["element", "channel"] = "element"
    """Drop single values, or whole channels."""

    @property
    def arm(self) -> Arm:
        """The arm this configuration belongs to."""
        if self.method == "none":
            return "dropout" if self.dropout_rate > 0 else "baseline"
        if self.method == "periodic":
            return "periodic+dropout" if self.dropout_rate > 0 else "periodic"
        return "dynamic+dropout" if self.dropout_rate > 0 else "dynamic"

    @property
    def evaluated(self) -> Literal["clean", "as_trained"]:
        """`evaluation` with the method's default filled in."""
        if self.evaluation is not None:
            return self.evaluation
        return "as_trained" if self.method == "dynamic" else "clean"


class TrainingConfig(Section):
    """How weights are learned (paper section 4.2)."""

    later = ("precision",)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """`adam` adds weight decay to the gradient (L2), as the paper; `adamw` decouples it."""
    lr: float = Field(1e-4, gt=0)
    """Learning rate."""
    weight_decay: float = Field(1e-4, ge=0)
    """Weight decay; with Adam it is what drives AutoReLU's w to zero."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Adam's first-moment decay."""
    beta2: float = Field(0.999, ge=0, lt=1)
    """Adam's second-moment decay."""
    eps: float = Field(1e-8, gt=0)
    """Adam's denominator term."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of `sgd`."""
    schedule: Literal["none", "cosine", "step", "plateau"] = "none"
    """Learning-rate schedule, advanced once per epoch; `plateau` watches validation macro-F1."""
    schedule_step: int = Field(10, ge=1, le=100_000)
    """`step`: epochs between reductions; `plateau`: epochs without improvement before one."""
    schedule_factor: float = Field(0.1, gt=0, lt=1)
    """`step` and `plateau`: factor of each reduction."""
    batch_size: int = Field(64, ge=2, le=65_536)
    """Images per optimiser step; a last partial batch is dropped in training."""
    clip_norm: float = Field(0.0, ge=0)
    """Largest gradient norm; 0 is no clipping."""
    augment: Literal["none", "flip", "flip_shift"] = "none"
    """`flip`: mirror with probability ½; `flip_shift`: also shift by up to 1/12 of the side.
    The paper names none."""
    precision: Precision = "fp32"
    """`fp32`, the reference; `tf32`: products and convolutions of a GPU round their factors to 10
    bits; `bf16`: the network computes in bfloat16 (autocast), weights and optimiser in fp32. Both
    change AutoReLU's rounding, which drives w."""
    max_loss: float | None = Field(None, gt=0)
    """An epoch's mean training loss above this counts as diverged. Empty: only a loss or weight
    that is not finite does, because injection raises the loss on purpose."""

    def steps_per_epoch(self, images: int) -> int:
        """Return the optimiser steps of an epoch over so many training images."""
        return max(1, images // self.batch_size)


class DataConfig(Section):
    """Which images, and how they are packed. Two equal configurations give equal pixels."""

    source: str = Field("synthetic", min_length=1)
    """`synthetic` (procedural faces), or a path: folder, zip, tar, csv, or a packed folder."""
    format: Literal[
        "auto", "packed", "fer2013", "affectnet", "rafdb", "cifar10", "cars", "folder", "manifest"
    ] = "auto"
    """The layout; `auto` recognises it by its files."""
    size: int | None = Field(None, ge=8, le=1024)
    """Side in pixels to which images are resized; empty keeps the size of the first image."""
    color: Literal["auto", "gray", "rgb"] = "auto"
    """Channels: 1 or 3; `auto` keeps what the images have."""
    classes: Literal["seven", "all"] = "seven"
    """`seven`: the paper's basic emotions, for sets of facial expressions; others keep all."""
    val_share: float = Field(0.1, gt=0, lt=1)
    """Share of train carved into validation, by class, where a set lacks a third split."""
    copies: Literal["keep", "drop"] = Field("keep", exclude_if=lambda copies: copies == "keep")
    """`drop` leaves out images of validation and test whose pixels are also in an earlier split."""
    max_bad: int = Field(0, ge=0, le=1_000_000_000)
    """How many corrupt, empty or missing images are tolerated (and left out) before refusing."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Seeds carving and synthetic faces."""
    synthetic_train: int = Field(1500, ge=14, le=1_000_000)
    """Synthetic images in the training split."""
    synthetic_eval: int = Field(700, ge=14, le=1_000_000)
    """Synthetic images in the validation split, and as many in the test split."""
    synthetic_wrong: float = Field(0.1, ge=0, lt=1)
    """Share of synthetic training labels that are wrong."""
    limit: int | None = Field(None, ge=14, le=1_000_000_000)
    """Images used per split, by class in the set's proportions; empty is all."""


class TrialConfig(Model):
    """One configuration and one seed: everything that decides a trial's numbers but the data."""

    network: NetworkConfig = NetworkConfig()
    injection: InjectionConfig = InjectionConfig()
    training: TrainingConfig = TrainingConfig()
    epochs: int = Field(60, ge=1, le=100_000)
    """Passes over the training split."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seeds weights, data order, augmentation and dropout."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        injection, depth = self.injection, self.network.depth
        if injection.method != "none" and injection.position not in self.network.positions:
            raise UserError(
                f"position must be one of {', '.join(self.network.positions)} for ResNet-{depth},"
                f" but got {injection.position!r}"
            )
        if injection.method == "dynamic" and injection.position == "shortcut":
            raise UserError(
                "position must name a ReLU for the dynamic method (bn1, bn2, all),"
                " but got 'shortcut', which has none"
            )
        if not injection.stages or len(set(injection.stages)) != len(injection.stages):
            raise UserError(
                f"stages must be different numbers from 1 to 4, but got {list(injection.stages)}"
            )
        if injection.method == "periodic":
            if injection.T is None:
                raise UserError("T is required by the periodic method, but is missing")
            if injection.interval_unit == "epoch" and injection.T > self.epochs:
                raise UserError(
                    f"T must be at most the number of epochs ({self.epochs}), but got {injection.T}"
                )
            if injection.T > MOST_STEPS:
                raise UserError(
                    f"T must be at most {MOST_STEPS} steps, but got {shown(injection.T)}"
                )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON of every field, as 64 hexadecimal digits."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()


SECTIONS: dict[str, type[Model]] = {
    "network": NetworkConfig,
    "injection": InjectionConfig,
    "training": TrainingConfig,
}


METHOD_KNOBS = {
    "periodic": ("T", "position", "stages", "interval_unit", "evaluation"),
    "dynamic": ("position", "stages", "evaluation", "Constant", "w_init", "w_per", "w_mean",
                "divide_by", "gradient"),
}  # fmt: skip
"""What each method of injection reads; without injection none of it is read."""
DROPOUT_KNOBS = ("dropout_rate", "dropout_site", "dropout_kind")
"""What dropout reads."""


def knob_section(name: str) -> str | None:
    """Return the section that a knob's field lies in, or None for `epochs` and `seed`.

    Raises
    ------
    UserError
        If no field has this name.
    """
    for section, model in SECTIONS.items():
        if name in model.model_fields:
            return section
    if name in ("epochs", "seed"):
        return None
    known = [field for model in SECTIONS.values() for field in model.model_fields]
    raise UserError(did_you_mean("knob", name, known))


def with_knobs(base: TrialConfig, knobs: dict[str, Any], where: str) -> TrialConfig:
    """Return `base` with fields replaced by name, validated as a whole.

    >>> with_knobs(TrialConfig(), {"method": "periodic", "T": 3}, "example").injection.T
    3
    """
    values = base.model_dump(mode="python")
    for name, value in knobs.items():
        section = knob_section(name)
        (values if section is None else values[section])[name] = value

    def place(path: FieldPath) -> tuple[str, str]:
        name = ".".join(path[-1:])
        return name, f"{where}, knob {name}" if name in knobs else where

    return validated(TrialConfig, values, place)


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, no spaces and no NaN: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
