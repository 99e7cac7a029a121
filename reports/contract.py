"""The answer as data: what `tuner compare --format json` prints, a stable contract.

Limits are two-sided at the confidence asked for. A number that is unbounded, undefined or was not
reached is null, and `reached` is then false; there is no NaN and no infinity. Costs are those of
stand-alone training. `docs/comparison.md` gives each number's formula.
"""

from __future__ import annotations

from search_spaces.model import Model


class Target(Model):
    """The score that counts as a match."""

    value: float | None
    """Validation score; null where none was given and none could be taken from the data."""
    source: str
    """Where it comes from."""


class HitProbability(Model):
    """The share of an arm's random trials that match."""

    estimate: float | None
    """Null without trials or a target. Where trials were stopped before they matched, the end that
    favours dynamic least: all of periodic's would have matched, none of dynamic's. At dynamic's own
    median 1/2 by definition, unless scores are tied there."""
    low: float
    high: float


class ToMatch(Model):
    """Random trials until one matches."""

    estimate: float | None
    """A real number, of the estimated hit probability; null where `reached` is false."""
    ceiling: int | None
    """The whole trials to plan for, at least 1."""
    low: float
    high: float | None
    """Null: unbounded."""
    reached: bool
    """Whether any trial matched, as seen: false also where only stopped trials might have, of which
    `stopped_bounds` tells."""


class TrialsToMatch(Model):
    """Three readings of how many trials a match takes."""

    median: ToMatch
    """A match with probability 1/2."""
    p90: ToMatch
    """A match with probability 0.9."""
    mean: ToMatch
    """Expected trials to the first match, 1/s."""


class Cost(Model):
    """Cost per match: everything charged, over the matches."""

    estimate: float | None
    """Mean cost of a trial over the estimated hit probability; null where `reached` is false."""
    low: float | None
    high: float | None
    """Null: unbounded."""
    reached: bool
    """Whether any trial matched, as in `trials_to_match`."""


class CostPerMatch(Model):
    """Null where the tables do not give the cost of every trial."""

    epochs: Cost | None
    slot_seconds: Cost | None


class ArmAnswer(Model):
    """One side."""

    trials: int
    """Trials that have ended."""
    hits: int
    """Those that matched."""
    crashed: int
    """Those that crashed or diverged; they matched nothing, and their cost counts."""
    stopped: int
    """Those that were stopped early before they matched: their final score is unknown."""
    hit_probability: HitProbability
    trials_to_match: TrialsToMatch
    cost_per_match: CostPerMatch


class Arms(Model):
    """Both sides."""

    periodic: ArmAnswer
    dynamic: ArmAnswer


class Saving(Model):
    """Periodic over dynamic: above 1, dynamic needs less."""

    ratio: float | None
    """Null: unbounded or undefined."""
    low: float
    high: float | None
    """Null: unbounded."""
    method: str


class Savings(Model):
    """Four meanings of "saves"; `trials` is the primary one, the others are exploratory."""

    trials: Saving
    """Expected trials to the first match."""
    equal_success: Saving
    """Trials for the same chance of a match."""
    epochs: Saving | None
    """Epochs per match."""
    slot_seconds: Saving | None
    """Slot-seconds per match, within one type of device."""


class Beats(Model):
    """The chance that one random periodic trial beats one of dynamic's, ties counting half."""

    probability: float | None
    low: float
    high: float


class EquivalenceAnswer(Model):
    """Dynamic against tuned periodic on test."""

    margin: float | None
    difference: float
    """Mean test score of dynamic minus that of periodic."""
    non_inferior_p: float | None
    """Null without a margin."""
    two_sided_p: float | None


class Ends(Model):
    """Both ends of what stopped trials allow; null: unbounded."""

    least: float | None
    most: float | None
    low: float | None
    """Lower limit around the lower end."""
    high: float | None
    """Upper limit around the upper end."""


class ShareEnds(Model):
    """Both arms' hit probabilities."""

    periodic: Ends
    dynamic: Ends


class MatchEnds(Model):
    """One arm's trials to a match."""

    median: Ends
    p90: Ends
    mean: Ends


class ToMatchEnds(Model):
    """Both arms' trials to a match."""

    periodic: MatchEnds
    dynamic: MatchEnds


class StoppedBounds(Model):
    """What can be said where the final score of stopped trials is unknown."""

    hit_probability: ShareEnds
    trials_to_match: ToMatchEnds


class HiddenKnobPoint(Model):
    """What is saved if the default took `trials_spent` trials to find."""

    trials_spent: int
    ratio: float | None
    """R_acc where the default serves one task."""
    break_even_tasks: float | None
    """Tasks it must serve for R_acc to be 1; null: never."""


class HiddenKnob(Model):
    """The price of dynamic's own constant."""

    break_even_tasks: float | None
    """If finding the default took as many trials as tuning periodic; null: never, or unknown."""
    curve: list[HiddenKnobPoint]


class Answer(Model):
    """How much tuning dynamic injection saves compared with periodic."""

    target: Target
    arms: Arms
    savings: Savings
    random_periodic_beats_default: Beats
    equivalence: EquivalenceAnswer | None
    """Null without `confirm` rows of both sides; then nothing may be claimed."""
    stopped_bounds: StoppedBounds | None
    """Null where no trial was stopped early before it matched."""
    hidden_knob: HiddenKnob
    claim: str
    """One sentence."""
    warnings: list[str]
