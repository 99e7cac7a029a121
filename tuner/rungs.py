"""Early stopping as pure objects: the live scheduler, a resumed run and simulations share them.

What is compared is a trial's running best validation macro-F1 at the same epoch, never the raw
value: an injected epoch collapses and recovers, and must not cost a trial its life. A trial that
has not seen its first complete injection cycle is not judged, and does not enter the rung either,
because until then all periodic trials of one seed are one and the same training.

Two properties of any asynchronous rule should be known when its results are read:

- *Order bias.* A trial is compared with those that arrived before it; nobody is called back. The
  first to arrive at a rung always survives, an improving sequence survives as a whole, and of n
  trials in random order about n/reduction + ln(n)/3 do (for reduction 3). That is why a share of
  trials can be audited.
- *Survivors judge newcomers.* A trial whose first judged epoch lies beyond the first rung meets,
  at its first rung, only trials that have passed the rungs before.

With several Hyperband brackets each trial is drawn into one: bracket s has the rungs from the s-th
on, counted from 0, and its trials compete with each other only. The draw is a hash of the trial's
number, so that nothing about brackets needs to be recorded.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple, Protocol

from search_spaces.model import UserError

MIN_OTHERS = 3
"""The median of fewer values than this stops nobody."""


class Decision(NamedTuple):
    """One judgement."""

    stop: bool
    """Whether the trial is to stop now."""
    rung: int
    """The epoch at which it was judged."""
    value: float
    """Its running best there."""
    cutoff: float | None
    """The worst value that still survives (halving; an equal one that came earlier goes first), or
    the others' median; None where there were too few others."""
    rank: int
    """Its place among the entries so far, 1 is best; equals rank in the order of arrival."""
    entries: int
    """Trials in the rung so far, with this one."""
    tied: int
    """Earlier entries with exactly this value."""
    would_stop: bool
    """What the rule says; differs from `stop` only for a trial that is exempt."""


class Judged(Protocol):
    """A recorded judgement, such as a row of the record's rung table."""

    @property
    def trial(self) -> int:
        """The trial's number."""

    @property
    def decision(self) -> Decision:
        """What was decided."""


class Rung:
    """Who of one bracket has arrived at one epoch, and with what value."""

    def __init__(self) -> None:
        self.decisions: dict[int, Decision] = {}
        self.values: list[float] = []
        """Ascending."""


class Stopping(ABC):
    """What the rules have in common: each trial enters each rung once, at exactly its epoch."""

    def __init__(self) -> None:
        self._entered: dict[tuple[int, int], Rung] = {}  # by bracket and epoch

    def judge(
        self,
        trial: int,
        epoch: int,
        best: float,
        judged_from: int = 1,
        exempt: bool = False,
        clean_until: int = 0,
    ) -> Decision | None:
        """Judge a trial that has finished an epoch.

        Parameters
        ----------
        trial : int
        epoch : int
            Epochs it has finished.
        best : float
            Its best validation macro-F1 up to this epoch.
        judged_from : int, default 1
            First epoch at which it may be judged.
        exempt : bool, default False
            Enter it and say what would have happened, but never stop it (audit).
        clean_until : int, default 0
            Last epoch before `judged_from` at which it may be judged as well.

        Returns
        -------
        Decision or None
            None where this epoch is no rung for this trial; the first decision if it is judged
            again. A trial that reports late never enters the rungs that it has passed by.

        Raises
        ------
        ValueError
            If `best` is not finite: NaN would compare as neither better nor worse.
        """
        if not math.isfinite(best):
            raise ValueError(f"Trial {trial} at epoch {epoch}: best must be finite, got {best}.")
        bracket = self.bracket(trial)
        if clean_until < epoch < judged_from or not self.is_rung(epoch, bracket):
            return None
        rung = self._entered.setdefault((bracket, epoch), Rung())
        if trial in rung.decisions:
            return rung.decisions[trial]
        better_or_equal = len(rung.values) - bisect_left(rung.values, best)
        better = len(rung.values) - bisect_right(rung.values, best)
        rank = better_or_equal + 1
        cutoff, would_stop = self._verdict(rung.values, best, rank)
        decision = Decision(
            stop=would_stop and not exempt,
            rung=epoch,
            value=best,
            cutoff=cutoff,
            rank=rank,
            entries=len(rung.values) + 1,
            tied=better_or_equal - better,
            would_stop=would_stop,
        )
        self._enter(trial, decision)
        return decision

    def restore(self, judged: Iterable[Judged]) -> None:
        """Take over recorded judgements, so that a resumed run has exactly the same rungs."""
        for row in judged:
            self._enter(row.trial, row.decision)

    def _enter(self, trial: int, decision: Decision) -> None:
        rung = self._entered.setdefault((self.bracket(trial), decision.rung), Rung())
        rung.decisions[trial] = decision
        insort(rung.values, decision.value)

    def bracket(self, trial: int) -> int:
        """Return the bracket in which a trial competes; 0 where there is only one."""
        return 0

    @abstractmethod
    def is_rung(self, epoch: int, bracket: int = 0) -> bool:
        """Whether trials of a bracket are judged at this epoch at all."""

    @abstractmethod
    def _verdict(self, others: list[float], value: float, rank: int) -> tuple[float | None, bool]:
        """Return the cutoff and whether the rule stops a newcomer; `others` are ascending."""


class Halving(Stopping):
    """Asynchronous successive halving, the variant that stops at once (Li et al. 2020, ASHA).

    A newcomer survives if its rank among the entries so far is at most ceil(entries / reduction).
    Because equals rank in the order of arrival they do not protect each other: of any number of
    collapsed networks with one and the same score, only the first survives.

    Parameters
    ----------
    max_epochs : int
        Epochs of a trial that is not stopped; the last epoch is no rung.
    reduction : int, default 3
        One of so many survives, and rungs lie this factor apart.
    first_rung : int, optional
        Epoch of the first rung; see `default_first_rung`.
    brackets : int, default 1
        Bracket s starts at the s-th rung, counted from 0; the one after the last rung stops nobody.
    key : str, optional
        Which trial is in which bracket follows from this and the trial's number.

    Raises
    ------
    UserError
        If the first rung does not lie before the last epoch, or there are too few rungs for so
        many brackets.

    Examples
    --------
    >>> halving = Halving(max_epochs=60)
    >>> halving.rungs
    (7, 21)
    >>> halving.judge(trial=0, epoch=7, best=0.31).stop
    False
    >>> halving.judge(trial=1, epoch=7, best=0.31).stop
    True
    """

    def __init__(
        self,
        max_epochs: int,
        reduction: int = 3,
        first_rung: int | None = None,
        brackets: int = 1,
        key: str = "",
    ) -> None:
        super().__init__()
        self.reduction = reduction
        self.key = key
        rungs = []
        # In integers: int(log(243) / log(3)) is 4, and loses a rung.
        epoch = _first_rung(max_epochs, reduction, first_rung)
        while epoch < max_epochs:
            rungs.append(epoch)
            epoch *= reduction
        self.rungs = tuple(rungs)
        """Epochs at which trials are judged, ascending."""
        if brackets > len(rungs) + 1:
            raise UserError(
                f"brackets must be at most {len(rungs) + 1}, one more than there are rungs"
                f" ({', '.join(map(str, rungs)) or 'none'}), but got {brackets};"
                " an earlier first_rung or a smaller reduction gives more rungs."
            )
        self.weights = bracket_weights(len(rungs), reduction)[:brackets]
        """Trials of each bracket, in proportion."""

    def bracket(self, trial: int) -> int:
        """Return the bracket that a trial was drawn into."""
        if len(self.weights) == 1:
            return 0
        digest = hashlib.sha256(f"bracket:{self.key}:{trial}".encode()).digest()
        place = (int.from_bytes(digest[:6], "big") * sum(self.weights)) >> 48
        return bisect_right(list(accumulate(self.weights)), place)

    def is_rung(self, epoch: int, bracket: int = 0) -> bool:
        """Whether the epoch is exactly one of the bracket's rungs."""
        return epoch in self.rungs[bracket:]

    def _verdict(self, others: list[float], value: float, rank: int) -> tuple[float | None, bool]:
        survivors = -(-(len(others) + 1) // self.reduction)
        if rank <= survivors:
            # The newcomer pushes the others below it down by one place.
            return (value if rank == survivors else others[1 - survivors]), False
        return others[-survivors], True


class MedianStopping(Stopping):
    """Stop below the median of the other trials' running bests at the same epoch (Vizier's rule).

    Every epoch from the first rung on is judged, but the last. Fewer than three others stop
    nobody. A value equal to the median survives, so where half of the trials have collapsed to one
    value this rule stops none of them; `Decision.tied` tells, and `Halving` does better.

    Parameters
    ----------
    max_epochs : int
    first_rung : int, optional
        First epoch that is judged; see `default_first_rung` (with a reduction of 3).
    """

    def __init__(self, max_epochs: int, first_rung: int | None = None) -> None:
        super().__init__()
        self.max_epochs = max_epochs
        self.first_rung = _first_rung(max_epochs, 3, first_rung)

    def is_rung(self, epoch: int, bracket: int = 0) -> bool:
        """Whether the epoch is past the grace, and not the last."""
        return self.first_rung <= epoch < self.max_epochs

    def _verdict(self, others: list[float], value: float, rank: int) -> tuple[float | None, bool]:
        if len(others) < MIN_OTHERS:
            return None, False
        low, high = others[(len(others) - 1) // 2], others[len(others) // 2]
        median = (low + high) / 2
        return median, value < median


def default_first_rung(max_epochs: int, reduction: int) -> int:
    """Return the first rung where none is given: max_epochs / reduction², rounded up.

    This gives two rungs, at about 1/9 and 1/3 of the training for a reduction of 3, and if a third
    passes each, a run costs 26 % of training everything. A further rung at 1/27 would make it 11 %,
    but judge networks that have hardly begun, by values that hardly predict the last ones.

    >>> [default_first_rung(epochs, 3) for epochs in (3, 12, 60, 243)]
    [1, 2, 7, 27]
    """
    return -(-max_epochs // reduction**2)


def _first_rung(max_epochs: int, reduction: int, first_rung: int | None) -> int:
    if first_rung is None:
        return default_first_rung(max_epochs, reduction)
    if first_rung >= max_epochs:
        raise UserError(
            f"first_rung must be less than epochs ({max_epochs}), but got {first_rung};"
            " use --scheduler none to stop no trial early."
        )
    return first_rung


def bracket_weights(num_rungs: int, reduction: int) -> tuple[int, ...]:
    """Return how many trials of each bracket there are for so many of the others.

    Of S + 1 brackets, one that halves s times has ceil((S + 1) / (s + 1) · r^s) trials, so that
    each costs about as many epochs. Source: Li et al. 2018, JMLR 18(185), algorithm 1.

    >>> bracket_weights(num_rungs=4, reduction=3)  # table 1 of the paper
    (81, 34, 15, 8, 5)
    """
    return tuple(
        -(-(num_rungs + 1) * reduction**halvings // (halvings + 1))
        for halvings in range(num_rungs, -1, -1)
    )


def bracket_key(space: str, seed: int) -> str:
    """Return what decides, with a trial's number, the brackets of a run or simulated search.

    >>> bracket_key("periodic_T", 7)
    '7:periodic_T'
    """
    return f"{seed}:{space}"


def build_stopping(
    name: str,
    max_epochs: int,
    reduction: int = 3,
    first_rung: int | None = None,
    brackets: int = 1,
    key: str = "",
) -> Halving | MedianStopping | None:
    """Return the rule that a scheduler's name stands for: asha, median, or none.

    Raises
    ------
    UserError
        If the first rung does not lie before the last epoch, or there cannot be so many brackets.
    """
    if name == "asha":
        return Halving(max_epochs, reduction, first_rung, brackets, key)
    if brackets > 1:
        raise UserError(f"brackets must be 1 with scheduler {name}, but got {brackets}; use asha.")
    if name == "median":
        return MedianStopping(max_epochs, first_rung)
    return None
