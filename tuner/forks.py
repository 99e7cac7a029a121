"""After which epochs the trials of a search part, and what they therefore keep for one another.

Only fork points are kept: a state is published after an epoch if some other configuration of the
space has the same state then and another one an epoch later. A full-size ResNet-18 with its
optimiser takes 134 MB, so to keep every epoch would cost more disk than it saves time.
"""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

from search_spaces.space import ChoiceKnob, FloatKnob, IntKnob, Knob, Space
from trainables.config import TrialConfig
from trainables.lineage import Fact, common_epochs, history_digest, lineage
from tuner.spec import RunSpec

MOST_VALUES, MOST_CONFIGS = 100, 2000
"""Values of a knob, and configurations of a space, that are looked at; in a larger space some
forks may be missed, which costs time and changes no result."""


class Forks:
    """The fork points of a search.

    Parameters
    ----------
    spec : RunSpec
    train_images : int
        Images of the training split, after any limit.
    """

    def __init__(self, spec: RunSpec, train_images: int) -> None:
        self._train_images = train_images
        space = spec.space.resolved(spec.epochs)
        self._others = {self.facts(spec.trial(knobs, 0)) for knobs in configurations(space)}
        self._for_other_runs = spec.resources.trunks is not None

    def of(self, trial: TrialConfig) -> list[int]:
        """Return the epochs after which some other configuration parts from this one."""
        mine = self.facts(trial)
        others = self._others
        if self._for_other_runs and trial.injection.method == "none":  # periodic ones will fork
            others = others | {self.facts(periodic) for periodic in _periodic(trial)}
        common = {common_epochs(mine, other) for other in others}
        return sorted(epoch for epoch in common if epoch and epoch <= trial.epochs)

    def facts(self, trial: TrialConfig) -> frozenset[Fact]:
        """Return a trial's lineage, with whatever seed."""
        steps = trial.training.steps_per_epoch(self._train_images)
        return lineage(trial.model_copy(update={"seed": 0}), steps)


class SharedEpochs:
    """How many epochs trials compute, one after another, if they share what they have in common.

    Parameters
    ----------
    forks : Forks
    ends : bool
        Whether the states of ended trials are kept, too.
    """

    def __init__(self, forks: Forks, ends: bool) -> None:
        self._forks, self._ends = forks, ends
        self._kept: set[tuple[int, str]] = set()
        self._known: dict[str, tuple[list[str], list[int]]] = {}

    def computed(self, trial: TrialConfig, seed: int, epochs: int) -> int:
        """Return how many of a trial's `epochs` are computed for it, and keep what it leaves."""
        if trial.digest not in self._known:
            facts = self._forks.facts(trial)
            digests = [history_digest(facts, epoch) for epoch in range(trial.epochs + 1)]
            self._known[trial.digest] = digests, self._forks.of(trial)
        digests, forks = self._known[trial.digest]
        there = (e for e in range(epochs, 0, -1) if (seed, digests[e]) in self._kept)
        taken = next(there, 0)
        kept = [epoch for epoch in forks if epoch <= epochs] + [epochs] * self._ends
        self._kept |= {(seed, digests[epoch]) for epoch in kept}
        return epochs - taken


def ends_count(spec: RunSpec) -> bool:
    """Return whether somebody may ask for an ended trial again.

    That is another run which uses the same store, or the same run, if its space has only so many
    configurations.
    """
    knobs = spec.space.resolved(spec.epochs).knobs.values()
    reals = [knob for knob in knobs if isinstance(knob, FloatKnob)]
    return spec.resources.trunks is not None or all(knob.low == knob.high for knob in reals)


def configurations(space: Space) -> list[dict[str, Any]]:
    """Return configurations of a resolved space: all, or the ends of ranges and a sample."""
    values = [_values(knob) for knob in space.knobs.values()]
    if math.prod(map(len, values)) <= MOST_CONFIGS:
        found = list(itertools.product(*values))
    else:
        rng = random.Random(0)
        found = [tuple(map(rng.choice, values)) for _ in range(MOST_CONFIGS)]
    named = [dict(zip(space.knobs, one, strict=True)) for one in found]
    return [{name: one[name] for name in space.active(one)} for one in named]


def _values(knob: Knob) -> list[Any]:
    match knob:
        case ChoiceKnob():
            return list(knob.values)
        case IntKnob():
            low, high = int(knob.low), int(knob.high)
            step = max(1, math.ceil((high - low) / MOST_VALUES))
            return sorted({*range(low, high + 1, step), high})
        case FloatKnob():  # a state depends on a real number from the start, or not at all
            return sorted({knob.low, knob.high})


def _periodic(plain: TrialConfig) -> list[TrialConfig]:
    """Return the periodic trials that a trial without injection may be the trunk of."""
    return [
        plain.model_copy(
            update={
                "injection": plain.injection.model_copy(
                    update={"method": "periodic", "T": T, "interval_unit": "epoch"}
                )
            }
        )
        for T in range(1, max(1, plain.epochs // 2) + 1)
    ]
