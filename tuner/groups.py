"""The trials of one configuration, one per seed, and what Optuna is told of them as one trial."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Group:
    """The trials of one configuration, one per seed: what Optuna sees as one trial."""

    trials: list[int]
    best: dict[int, dict[int, float]] = field(default_factory=dict)
    """Trial number → epoch → running best."""
    states: dict[int, str] = field(default_factory=dict)
    """Trial number → state, of those that have ended."""

    @property
    def ended(self) -> bool:
        """Whether every seed has ended."""
        return len(self.states) == len(self.trials)

    def mean(self, epoch: int) -> float | None:
        """Return the mean running best at an epoch, or None while a seed lacks it."""
        values = [self.best.get(number, {}).get(epoch) for number in self.trials]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    def verdict(self) -> tuple[str, float | None]:
        """Return what Optuna is told: completed with the mean score, pruned, or failed."""
        states = set(self.states.values())
        if states == {"completed"}:
            finals = [max(self.best[number].values()) for number in self.trials]
            return "completed", sum(finals) / len(finals)
        return ("pruned" if states <= {"completed", "pruned"} else "failed"), None
