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
from trainables.lineage import Fact, common_epochs, lineage
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
        self._others = {self._facts(spec.trial(knobs, 0)) for knobs in configurations(space)}
        if spec.resources.trunks is not None:  # other runs will come, and periodic ones fork
            self._others |= {
                self._facts(periodic)
                for plain in (spec.trial(knobs, 0) for knobs in configurations(space))
                if plain.injection.method == "none"
                for periodic in _periodic(plain)
            }

    def of(self, trial: TrialConfig) -> list[int]:
        """Return the epochs after which some other configuration parts from this one."""
        mine = self._facts(trial.model_copy(update={"seed": 0}))
        common = {common_epochs(mine, other) for other in self._others}
        return sorted(epoch for epoch in common if epoch and epoch <= trial.epochs)

    def _facts(self, trial: TrialConfig) -> frozenset[Fact]:
        return lineage(trial, max(1, self._train_images // trial.training.batch_size))


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
