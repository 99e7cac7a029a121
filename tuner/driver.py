"""What a run does on each event, whoever schedules it: ask, record, judge, tell, end.

Knows the record, the sampler and the stopping rule; knows neither Ray nor torch. The record is
written first and is the truth; Optuna's study and the TensorBoard files are projections of it that
`tuner/restore.py` rebuilds. A row may arrive more than once and is counted once.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.schedule import first_judged_epoch, warnings_for
from tuner.budget import spent
from tuner.devices import UNKNOWN, kinds
from tuner.failures import explain_failure
from tuner.groups import Group
from tuner.judging import judged
from tuner.live import Assignment, Live
from tuner.record import Record
from tuner.run_storage import RunStorage
from tuner.rungs import Stopping
from tuner.search import Search
from tuner.seeding import is_audited, trial_seed
from tuner.sharing import RunSharing
from tuner.spec import RunSpec
from tuner.spec_sections import BudgetConfig
from tuner.tensorboard import TensorBoard
from tuner.trial_files import trial_folder, write_error

SCORED = ("completed", "pruned")
"""States of ended trials whose score counts."""
CRASHES_BEFORE_GIVING_UP, LATER = 3, 10
"""So many trials in a row that crash, with no epoch of any trial between them, mean a fault of the
set-up: before the run's first epoch, and after it. Going on would spend the budget on nothing."""


class Driver:
    """The run's state machine; every method is called from one thread.

    Parameters
    ----------
    spec : RunSpec
    record : Record
        Opened for writing.
    search : Search
    stopping : Stopping or None
    folder : Path
        The run's folder, absolute.
    train_images : int
        Images of the training split, after any limit.
    slot_fraction : float
        Fraction of a GPU, or number of CPU cores, that one trial holds.
    budget : BudgetConfig
    clock, steady : callable
        Unix seconds, which are recorded, and monotonic ones, which are charged: a clock that is set
        spends no budget.
    """

    def __init__(
        self,
        spec: RunSpec,
        record: Record,
        search: Search,
        stopping: Stopping | None,
        folder: Path,
        train_images: int,
        slot_fraction: float,
        budget: BudgetConfig,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec, self.record, self.search, self.stopping = spec, record, search, stopping
        self.folder, self.train_images, self.slot_fraction = folder, train_images, slot_fraction
        self.budget, self.clock, self.steady = budget, clock, steady
        self.seeds_each = spec.seeds_each
        self.board = TensorBoard(folder / "tensorboard")
        self.interrupted: str | None = None
        """Why running trials are to stop after their epoch and none is asked for, if so."""
        self.end_reason: str | None = None
        """Why no more trials are asked for, once that is so."""
        self.kinds: tuple[str, ...] = ()
        """Kinds of device that a cluster's trials may meet, where they are known."""
        self.queue: deque[int] = deque()
        self.groups: dict[int, Group] = {}
        self.best: tuple[float, int] | None = None
        """Best score so far, and minus its trial's number; that trial's weights are kept."""
        self.storage = RunStorage(spec.resources.storage, folder, record)
        self._sharing = RunSharing(spec, self.storage.base, train_images) if spec.shares else None
        self._live: dict[int, Live] = {}
        self._warned: set[str] = set()
        self._crashes = 0  # in a row
        self._returned: Counter[int] = Counter()
        self._any_epoch = False
        self._active_since = steady()

    def next_trial(self) -> Assignment | None:
        """Return the next trial to train, or None when this run asks for no more."""
        if self.interrupted is not None or not (self.queue or self._ask()):
            return None
        row = self.record.trial(self._take_from_queue())
        trial = TrialConfig.model_validate(row.trial_config)
        self._live[row.number] = Live(
            row.config,
            row.knobs,
            row.epochs,
            row.audited,
            row.first_judged_epoch,
            row.seed,
            self.spec.clean_until(trial, self._steps(trial)),
            best=row.score or 0.0,
            asked_at=self.steady(),
        )
        return Assignment(
            row.number,
            trial,
            row.epochs,
            self.storage.folder(row.number),
            self.storage.trial_uri(row.number),
            None if self._sharing is None else self._sharing.plan(trial),
        )

    @property
    def may_hand_out_more(self) -> bool:
        """Whether a trial may come back, though there is none to hand out now."""
        return any(live.started_at is None for live in self._live.values())

    def take_back(self, number: int) -> bool:
        """Put a trial back to waiting, unless a worker has taken it; return whether that was so."""
        live = self._live.get(number)
        if live is None or live.started_at is not None:
            return False
        self.record.interrupt_trial(number, self.interrupted or "interrupted", self.clock())
        del self._live[number]
        return True

    def on_started(self, number: int, device: str, worker: str) -> None:
        """Note that a worker has taken the trial."""
        self._live[number].started_at = self.steady()
        self.record.start_trial(number, self.clock(), device, worker)

    def on_placed(self, number: int, device: str, worker: str) -> None:
        """Note which device and worker have trained an epoch of the trial."""
        live = self._live[number]
        if live.place == (device, worker):
            return
        live.place = (device, worker)
        with self.record.transaction():
            before = self.record.trial(number).device
            after = self.record.place_trial(number, device, worker)
            if len(kinds(after)) > max(1, len(kinds(before))):
                self.record.add_event("moved", f"trained partly on {after}", trial=number)

    def on_row(self, number: int, row: dict[str, Any], startup_s: float) -> bool:
        """Take one epoch of a trial; return whether the trial must stop now.

        Parameters
        ----------
        number : int
        row : dict
            The epoch's metrics, as `trainables.train.Trial.run_epoch` returns them.
        startup_s : float
            Seconds that the trial's process lived before it took the trial; 0 in a reused one.
        """
        live, epoch = self._live[number], int(row["epoch"])
        group = self.groups[live.config]
        new = epoch > live.epochs
        if not new and self.interrupted is None:
            return False  # the worker was restarted; the record has this epoch
        if new:
            live.epochs, live.best = epoch, max(live.best, float(row["best_val_f1"]))
            group.best.setdefault(number, {})[epoch] = live.best
            self._any_epoch, self._crashes = True, 0
        with self.record.transaction():
            self._charge(live, number, startup_s)
            self.charge_wall_time()
            if new:
                self.record.add_epoch(number, row)
                if row["shared"]:
                    self._credit(number, row["train_s"] + row["eval_s"])
            ending = self._ending(number, row) if new else ("waiting", self.interrupted)
            if ending is not None:
                self._record_end(number, *ending)
        if new:
            self.board.add_epoch(number, live.knobs, row)
            mean = group.mean(epoch)
            if mean is not None:
                self.search.report(live.config, epoch, mean)
        if ending is not None:
            self._project_end(number, ending[0])
        return ending is not None

    def on_shared(
        self, number: int, epoch: int, key: str, best: str | None, waited_s: float, exact: bool
    ) -> None:
        """Note where a trial that shares epochs stands; call it before `on_row`.

        Parameters
        ----------
        number : int
        epoch : int
            Epoch of the state in its folder.
        key, best : str
            Address of that state, and of its best weights, in the trunk store.
        waited_s : float
            Seconds that it has waited for others since the last call.
        exact : bool
            Whether sharing changes no bit.
        """
        live = self._live[number]
        live.state = epoch, key, best
        live.sharing = "shared" if exact else "shared, not bit-reproducible"
        if waited_s:
            self._credit(number, -waited_s)

    def on_retry(self, number: int, error: str) -> None:
        """Note that a worker failed; the trial continues from its last epoch in another one."""
        live, failure = self._live[number], explain_failure(error)
        write_error(trial_folder(self.folder, number), error)
        with self.record.transaction():
            self._charge(live, number, 0.0)
            self.record.add_event(
                "retry", f"{failure.summary}; continues after epoch {live.epochs}", trial=number
            )
        live.asked_at, live.started_at, live.charged_until = self.steady(), None, None
        live.place = None
        live.error = _without_heading(error)
        if failure.ends_run:
            self.interrupted = failure.kind

    def on_crashed(self, number: int, error: str) -> None:
        """Note that Tune has given a trial up.

        That is for good, but where a reused worker died before it took the trial: Tune reports that
        death twice and takes the second report for the end. The trial is then handed out once more.
        """
        live, failure = self._live[number], explain_failure(error)
        early = live.started_at is None and live.error in (None, _without_heading(error))
        retries = self.spec.resources.retries
        if early and not failure.ends_run and self._returned[number] < retries:
            self._returned[number] += 1
            if live.error is None:
                self.on_retry(number, error)
            del self._live[number]
            self.queue.appendleft(number)
            return
        write_error(trial_folder(self.folder, number), error)
        if failure.ends_run:
            self.interrupted = failure.kind
        state = "waiting" if failure.ends_run else "crashed"
        with self.record.transaction():
            self._charge(live, number, 0.0)
            self._record_end(number, state, failure.kind, failure.summary)
        self._project_end(number, state)
        self._crashes += 1
        if self._crashes >= (LATER if self._any_epoch else CRASHES_BEFORE_GIVING_UP):
            self.interrupted = f"{self._crashes} trials in a row crashed: {failure.summary}"

    def interrupt_all(self, reason: str) -> None:
        """Put all that still runs back to waiting, its slots charged: the run ends without them."""
        with self.record.transaction():
            for number, live in self._live.items():
                if live.started_at is not None:
                    self._charge(live, number, 0.0)
                self.record.interrupt_trial(number, reason, self.clock())
        self._live.clear()

    def charge_wall_time(self) -> None:
        """Add the wall time since the last call to the record."""
        now = self.steady()
        self.record.add_active(now - self._active_since)
        self._active_since = now

    def _ask(self) -> bool:
        if self.end_reason is not None:
            return False
        self.charge_wall_time()
        reason = spent(self.budget, self.record.totals(), upcoming=self.seeds_each)
        proposal = None if reason else self.search.ask()
        if proposal is None:
            self.end_reason = reason or (
                f"the {self.spec.sampler.name} sampler has no further point to propose"
            )
            self.record.add_event("budget", f"No more trials are asked for: {self.end_reason}.")
            return False
        numbers = [proposal.number * self.seeds_each + i for i in range(self.seeds_each)]
        with self.record.transaction():
            self.record.add_config(
                proposal.number,
                proposal.knobs,
                self.search.attrs(proposal.number),
                self.search.study_attrs(),
            )
            for number in numbers:
                self._add_trial(number, proposal.number, proposal.knobs)
        self.groups[proposal.number] = Group(numbers)
        self.queue.extend(numbers)
        return True

    def _add_trial(self, number: int, config: int, knobs: dict[str, Any]) -> None:
        trial = self.spec.trial(knobs, trial_seed(self.spec, number))
        steps = self._steps(trial)
        self.record.add_trial(
            number,
            config,
            trial.seed,
            knobs,
            trial.model_dump(mode="json"),
            audited=is_audited(self.spec, number),
            first_judged_epoch=first_judged_epoch(trial, steps),
        )
        text = ", ".join(f"{name}={value}" for name, value in knobs.items())
        self.record.add_event("ask", f"{text} seed={trial.seed}".strip(), trial=number)
        for warning in warnings_for(trial, steps):
            if warning not in self._warned:
                self._warned.add(warning)
                self.record.add_event("warning", warning, trial=number)

    def _steps(self, trial: TrialConfig) -> int:
        """Return a trial's optimiser steps per epoch."""
        return trial.training.steps_per_epoch(self.train_images)

    def _ending(self, number: int, row: dict[str, Any]) -> tuple[str, str | None] | None:
        """Return the state and reason in which a trial ends on this row, or None."""
        if row["diverged"]:  # nor is it judged: its last good value would stop others
            return "diverged", str(row["reason"])
        stop = judged(self.stopping, self.record, number, self._live[number], int(row["epoch"]))
        if row["epoch"] >= self.spec.epochs:
            return "completed", None
        if stop is not None:
            return "pruned", stop
        if self.interrupted is not None:
            return "waiting", self.interrupted
        return None

    def _record_end(
        self, number: int, state: str, reason: str | None, error: str | None = None
    ) -> None:
        """Write a trial's end, and its configuration's once all its seeds have ended."""
        now, live = self.clock(), self._live[number]
        if state == "waiting":
            self.record.interrupt_trial(number, reason or "interrupted", now)
            return
        self.record.end_trial(number, state, reason, error, now)
        group = self.groups[live.config]
        group.states[number] = state
        if group.ended:
            told, value = group.verdict()
            self.record.set_config(live.config, told, value, None)

    def _project_end(self, number: int, state: str) -> None:
        """Bring Optuna's study, TensorBoard and the kept weights up to a recorded end."""
        live = self._live.pop(number)
        if state == "waiting":
            return
        self.board.end(number, live.knobs)
        if state == "pruned" and self._sharing and live.state and live.state[0] == live.epochs:
            self._sharing.keep(live.state[1], self.storage.folder(number), live.state[2])
        group = self.groups[live.config]
        if group.ended:
            self.search.tell(live.config, *group.verdict())
            del self.groups[live.config]
        self._keep_best_weights(number, live.best, state)

    def _take_from_queue(self) -> int:
        """Return the next waiting trial, one whose trunk nobody is training if there is one."""
        if self._sharing is not None:
            busy = {live.seed for live in self._live.values()}
            for number in self.queue:
                if self.record.trial(number).seed not in busy:
                    self.queue.remove(number)
                    return number
        return self.queue.popleft()

    def _credit(self, number: int, seconds: float) -> None:
        """Add to what sharing saved a trial; what it waited for others is negative."""
        sharing = self._live[number].sharing
        self.record.add_saved_time(number, seconds * self.slot_fraction, sharing)

    def _keep_best_weights(self, number: int, score: float, state: str) -> None:
        """Drop an ended trial's state, and all weights but those of the run's best trial."""
        if state != "crashed":  # a crashed trial's state helps to find out why
            self.storage.remove_state(number)
        loser: int | None = number
        # as the record chooses the best one: of equal scores the lowest number
        if state in SCORED and (self.best is None or (score, -number) > self.best):
            loser = None if self.best is None else -self.best[1]
            self.best = (score, -number)
        if loser is not None:
            self.storage.remove_weights(loser)

    def _charge(self, live: Live, number: int, startup_s: float) -> None:
        """Charge the slot time since the last charge.

        A slot is held from its worker's first moment, but not from before it was asked for: a
        worker that served another trial, or was kept ready, is older than the request.
        """
        now = self.steady()
        since = live.charged_until
        if since is None:
            started = live.started_at if live.started_at is not None else now
            since = live.asked_at if startup_s == 0 else max(live.asked_at, started - startup_s)
        live.charged_until = now
        if len(self.kinds) > 1 and live.place is None and live.started_at is not None:
            self.record.place_trial(number, UNKNOWN, None)
        self.record.add_slot_time(number, max(0.0, now - since) * self.slot_fraction)


def _without_heading(error: str) -> str:
    """Return an error without its first line, in which Tune counts and dates it."""
    return error.partition("\n")[2]
