"""A trial that has been handed out: what its worker is told, and what the driver knows of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.sharing_plan import TrunkPlan


@dataclass(frozen=True)
class Assignment:
    """One trial to start or continue."""

    number: int
    trial: TrialConfig
    acknowledged: int
    """Epochs that the record already holds."""
    folder: Path
    """The trial's own folder, absolute; used where there is no `store`."""
    store: str | None
    """The trial's own prefix of an object store, if it keeps its state there."""
    trunk: TrunkPlan | None
    """Where it shares epochs with others, if it does."""


@dataclass
class Live:
    """A trial that has been handed out."""

    config: int
    knobs: dict[str, Any]
    epochs: int
    audited: bool
    judged_from: int
    seed: int
    clean_until: int
    best: float
    asked_at: float
    """When the driver asked for a slot, by its steady clock as all here: held from here at the
    earliest."""
    started_at: float | None = None
    """When a worker took it; None while it waits for one."""
    charged_until: float | None = None
    error: str | None = None
    """Why its last worker failed, if one has since it was handed out."""
    place: tuple[str, str] | None = None
    """Device and worker that trained its last epoch."""
    sharing: str = "shared"
    """How the record describes what it shares."""
    state: tuple[int, str, str | None] | None = None
    """Epoch, key and best weights of the state in its folder, where it shares."""
