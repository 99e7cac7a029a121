"""One simulated search: the real sampler and the real early stopping over recorded curves.

What a run does on each event is done here in the same order (`tuner/driver.py`): the epoch is
judged, its running best is reported to the study, and the trial ends diverged, completed or
stopped; the study is told `failed`, `completed` with the score, or `pruned`. Time is simulated: an
epoch takes the seconds that it took when it was recorded, and of events at one moment the one of
the earlier trial comes first. A free slot asks for the next proposal at once.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from reports.census import Census, Curve
from tuner.rungs import Stopping, bracket_key
from tuner.samplers import derived_seed
from tuner.search import Search
from tuner.spec_sections import SamplerConfig, SchedulerConfig

TOLD = {"completed": "completed", "pruned": "pruned"}
"""What the study is told for a trial's state; `failed` for any other."""


@dataclass(frozen=True)
class Policy:
    """How to search."""

    sampler: SamplerConfig
    scheduler: SchedulerConfig
    trials: int
    """The budget."""
    concurrency: int = 1
    """Trials at once."""


class Rule(Protocol):
    """When a simulated search stops its trials; told of every epoch of every trial, in order."""

    def stops(self, trial: int, epoch: int, curve: Curve) -> bool:
        """Return whether a trial that follows `curve` is to stop after this epoch."""


class Rungs:
    """The rule of a run."""

    def __init__(self, stopping: Stopping | None, before_injection: bool = False) -> None:
        self.stopping, self.before_injection = stopping, before_injection

    def stops(self, trial: int, epoch: int, curve: Curve) -> bool:
        """Return what a run's driver would do."""
        if self.stopping is None:
            return False
        decision = self.stopping.judge(
            trial,
            epoch,
            curve.best[epoch - 1],
            curve.judged_from,
            clean_until=curve.clean if self.before_injection else 0,
        )
        return decision is not None and decision.stop


class Spent(NamedTuple):
    """What a search has cost up to some moment."""

    trials: int
    """Trials that have been started."""
    epochs: int
    """Epochs that have ended, over all trials."""
    slot_seconds: float
    """Slot-seconds, running epochs in part."""


class Replayed(NamedTuple):
    """One trial of a simulated search."""

    knobs: dict[str, Any]
    """What was proposed."""
    curve: int
    """Index of the recorded trial that answered."""
    distance: float
    """From the proposal to the recorded configuration."""
    epochs: int
    state: str
    """`completed`, `pruned`, `diverged` or `crashed`; `running` if the search ended before it."""


class Replay(NamedTuple):
    """One simulated search."""

    trials: tuple[Replayed, ...]
    """In the order of asking."""
    reached: bool
    """Whether the best so far came to the target."""
    cost: Spent
    """Up to the epoch that reached the target, else of the whole search."""


@dataclass
class _Live:
    number: int
    curve: Curve
    index: int
    step_from: float
    """When its current epoch began, simulated seconds."""
    epochs: int = 0
    hit: tuple[int, Spent] | None = None
    """Event and cost at which it came to the target, which counts unless it fails later."""

    @property
    def step_s(self) -> float:
        return self.curve.seconds[self.epochs]

    @property
    def slot_rate(self) -> float:
        """Slot-seconds charged per second."""
        return self.curve.slot_s / (sum(self.curve.seconds) or 1.0)


def replay(
    census: Census,
    policy: Policy,
    target: float,
    seed: int,
    *,
    to_target: bool = False,
    rule: Rule | None = None,
) -> Replay:
    """Simulate one search.

    Parameters
    ----------
    census : Census
        A proposal that it does not hold is answered by the nearest configuration.
    policy : Policy
    target : float
        Validation macro-F1 to reach.
    seed : int
        The search's seed, as of a run: it decides the proposals. Of several recorded trials of one
        configuration it draws one that this search has used least.
    to_target : bool, default False
        End the search with the trial that reaches the target, instead of with the budget.
    rule : Rule, optional
        A fresh one, which stops trials in place of the policy's scheduler.

    Raises
    ------
    UserError
        If the sampler cannot search the space, or the scheduler cannot judge so few epochs.
    """
    if rule is None:
        key = bracket_key(census.space.name, seed)
        scheduler = policy.scheduler
        fresh = len({curve.seed for curve in census.curves}) == len(census.curves)
        rule = Rungs(scheduler.build(census.epochs, key), scheduler.judges_clean(fresh))
    return _Simulation(census, policy, target, seed, rule).run(to_target)


class _Simulation:
    def __init__(
        self, census: Census, policy: Policy, target: float, seed: int, rule: Rule
    ) -> None:
        self.rule = rule
        self.census, self.policy, self.target = census, policy, target
        self.search = Search.in_memory(census.space, policy.sampler, seed)
        self.rng = np.random.RandomState(derived_seed(census.space, seed, "answers"))
        self.used = [0] * len(census.curves)
        self.trials: list[Replayed] = []
        self.live: dict[int, _Live] = {}
        self.queue: list[tuple[float, int]] = []  # end of an epoch, trial
        self.epochs, self.slot_s, self.events = 0, 0.0, 0
        self.first_hit: tuple[int, Spent] | None = None

    def run(self, to_target: bool) -> Replay:
        while len(self.live) < self.policy.concurrency and self.ask(0.0):
            pass
        while self.queue:
            now, number = heapq.heappop(self.queue)
            state = self.step(self.live[number], now)
            if state is None:
                self.schedule(self.live[number], now)
                continue
            self.end(self.live.pop(number), state)
            if to_target and self.decided():
                break
            self.ask(now)
        hit = self.first_hit
        return Replay(tuple(self.trials), hit is not None, hit[1] if hit else self.spent(0.0))

    def ask(self, now: float) -> bool:
        """Start the next trial; return whether there is one."""
        proposal = self.search.ask() if len(self.trials) < self.policy.trials else None
        if proposal is None:
            return False
        found, distance = self.census.answer(proposal.knobs)
        least = min(self.used[index] for index in found)
        unused = [index for index in found if self.used[index] == least]
        index = unused[self.rng.randint(len(unused))]
        self.used[index] += 1
        live = _Live(proposal.number, self.census.curves[index], index, now)
        self.live[live.number] = live
        self.trials.append(Replayed(proposal.knobs, index, distance, 0, "running"))
        self.schedule(live, now)
        return True

    def schedule(self, live: _Live, now: float) -> None:
        live.step_from = now
        heapq.heappush(self.queue, (now + live.step_s, live.number))

    def step(self, live: _Live, now: float) -> str | None:
        """End an epoch of a trial; return the state in which the trial ends with it, or None."""
        curve = live.curve
        self.events += 1
        self.slot_s += live.step_s * live.slot_rate
        if not curve.best:
            return curve.state  # crashed in its first epoch
        best = curve.best[live.epochs]
        live.epochs += 1
        self.epochs += 1
        live.step_from = now
        if live.hit is None and best >= self.target:
            live.hit = self.events, self.spent(now)
        stop = self.rule.stops(live.number, live.epochs, curve)
        self.search.report(live.number, live.epochs, best)
        last = live.epochs == len(curve.best)
        if last and curve.state != "crashed":
            return curve.state
        if stop:
            return "pruned"
        return curve.state if last else None

    def end(self, live: _Live, state: str) -> None:
        told = TOLD.get(state, "failed")
        self.search.tell(live.number, told, live.curve.best[-1] if told == "completed" else None)
        self.trials[live.number] = self.trials[live.number]._replace(
            epochs=live.epochs, state=state
        )
        if live.hit is not None and told != "failed":
            self.first_hit = min(self.first_hit or live.hit, live.hit)

    def decided(self) -> bool:
        """Whether the target was reached, and no running trial can turn out to have been first."""
        if self.first_hit is None:
            return False
        first = self.first_hit
        return not any(live.hit is not None and live.hit < first for live in self.live.values())

    def spent(self, now: float) -> Spent:
        """Return the cost so far; a running epoch is charged for its part that has passed."""
        running = sum((now - live.step_from) * live.slot_rate for live in self.live.values())
        return Spent(len(self.trials), self.epochs, self.slot_s + running)
