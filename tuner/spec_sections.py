"""The sections of a run's specification: who proposes, who stops, what may be spent and held."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from search_spaces.model import Section, UserError
from trainables.object_store import check_address, is_object_store
from tuner.rungs import Halving, MedianStopping, build_stopping


class SamplerConfig(Section):
    """Who proposes configurations."""

    name: Literal["tpe", "random", "gp", "cmaes", "grid", "sobol"] = "tpe"
    """How configurations are proposed; all are Optuna's samplers."""
    startup_trials: int = Field(10, ge=1, le=1_000_000)
    """Ended trials before `tpe`, `gp` or `cmaes` begin to learn; until then they draw at random.
    `tpe` counts stopped trials too, the others only completed ones."""


class SchedulerConfig(Section):
    """Which trials are stopped early."""

    later = ("brackets", "before_injection")
    name: Literal["asha", "median", "none"] = "asha"
    """`asha`: asynchronous successive halving; `median`: below the others' median; `none`."""
    reduction: int = Field(3, ge=2, le=16)
    """`asha`: one of so many trials survives a rung, and rungs lie a factor of this apart."""
    first_rung: int | None = Field(None, ge=1)
    """Epoch of the first judgement; empty chooses from epochs and reduction."""
    brackets: int = Field(1, ge=1, le=16)
    """`asha`: Hyperband brackets. Each trial is drawn into one, by seed; bracket s, counted from 0,
    judges from the s-th rung on, one more than there are rungs stops nobody."""
    before_injection: bool | Literal["auto"] = False
    """Judge a periodic trial also at rungs before its first injected epoch, when its score says
    nothing of its interval; needs fresh seeds: until then trials of one seed are the same. `auto`,
    which all presets set: where seeds are fresh."""
    audit: float = Field(0.0, ge=0, le=1)
    """Share of trials, drawn by seed, that are never stopped, to estimate what stopping costs."""

    def judges_clean(self, fresh: bool) -> bool:
        """Return whether trials are judged before their first injection, if seeds are `fresh`."""
        return fresh if self.before_injection == "auto" else self.before_injection

    def build(self, max_epochs: int, key: str) -> Halving | MedianStopping | None:
        """Return the rule for trials of so many epochs; `key` decides who is in which bracket."""
        return build_stopping(
            self.name, max_epochs, self.reduction, self.first_rung, self.brackets, key
        )


class BudgetConfig(Section):
    """What a run may spend before it stops asking for trials; running trials finish."""

    trials: int | None = Field(None, ge=1, le=1_000_000)
    """Trials to train."""
    epochs: int | None = Field(None, ge=1, le=1_000_000_000)
    """Epochs to train, over all trials."""
    gpu_hours: float | None = Field(None, gt=0, le=100_000)
    """Slot-hours: hours × fraction of a GPU held (on a CPU: hours × cores held)."""
    wall_hours: float | None = Field(None, gt=0, le=100_000)
    """Hours since the run started, without the time it was stopped."""


Share = Annotated[float, Field(ge=0, le=1, description="a number from 0 to 1")]


class ResourcesConfig(Section):
    """What one trial holds, and how many run at once. Changes no number of a trial."""

    later = ("storage",)
    gpus_per_trial: Share | Literal["auto"] | None = None
    """Fraction of a GPU; must divide 1. `auto` trains some trials first to find the fastest. Empty:
    1 where the cluster has GPUs, else 0."""
    cpus_per_trial: int = Field(1, ge=1)
    """CPU cores reserved; a CPU trial computes with one thread."""
    concurrency: int | None = Field(None, ge=1)
    """Trials at once; empty fills the machine."""
    address: str | None = None
    """Ray cluster to join; empty starts one for this run."""
    storage: str | None = None
    """Where trials keep their state, so that any machine of a cluster can go on with one: a folder
    that all see, or s3://BUCKET/PREFIX with ?endpoint_override=HOST:PORT&scheme=http where it is
    not Amazon's. Empty: the run's own folder."""
    share: bool | None = None
    """Train only once what trials have in common. By default where they have seeds in common, or
    where `trunks` is given; with an object store only where it is given."""
    trunks: str | None = None
    """Folder of shared epochs that several runs may use; by default each has its own, until it
    finishes."""
    trunks_gb: float = Field(10.0, gt=0, le=1_000_000)
    """What shared epochs may take on the disk, in GB; what was used longest ago goes first."""
    retries: int = Field(2, ge=0, le=100)
    """How often a crashed trial continues from its last epoch before it counts as crashed."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _divides_one(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and value and abs(round(1 / value) - 1 / value) > 1e-9:
            raise UserError("must divide 1, such as 1, 0.5 or 0.25")
        return value

    @field_validator("storage")
    @classmethod
    def _is_storage(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            return check_address(value)
        if value is not None and not Path(value).is_absolute():
            raise UserError("must be an absolute path, the same on all machines, or s3://…")
        return value

    @model_validator(mode="after")
    def _trunks_are_shared(self) -> Self:
        if self.trunks is not None and self.share is False:
            raise UserError("trunks needs sharing, but share is off; leave one of the two out")
        if self.share and self.trunks is None and self.in_object_store:
            raise UserError(
                "share needs a folder that all machines see, which an object store is not; add"
                " trunks, or leave share out"
            )
        return self

    @property
    def in_object_store(self) -> bool:
        """Whether trials keep their state in an object store."""
        return self.storage is not None and is_object_store(self.storage)


class StudyRef(Section):
    """The study that a run is a part of."""

    name: str
    digest: str
    """SHA-256 of the study's specification."""
    stage: Literal["pilot", "census", "search", "confirm"]
    """What the run is for."""
