"""The display of a run: a view of its record, the same for `run`, `resume` and `status --watch`.

On a terminal a table that is drawn anew every second; elsewhere one line for each thing that
happens, and at most one a minute when nothing does. Everything goes to stderr.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

from search_spaces.model import UserError
from tuner.cli.formatting import duration, knob_text, plural, score_text
from tuner.record import Record
from tuner.record_read import RecordReader
from tuner.record_rows import TrialRow
from tuner.record_schema import END_STATES, OPEN_STATES, SCORED_STATES
from tuner.summary import Remaining, is_driven, standing

if TYPE_CHECKING:
    from rich.console import Group

INTERVAL_S = 1.0
HEARTBEAT_S = 60.0
MOST_ROWS = 12
"""Running and best trials shown at once, so that the table fits 24 lines."""
NARROW = 60
"""In fewer columns the last epoch's score is left out, so that the knobs are seen."""
TOLD = ("warning", "retry", "budget", "tie")
"""Kinds of events that become lines; trials that start and end are seen by their state."""
QUIET = ("tie",)
"""Of these only the first is told: collapsed networks tie by the dozen."""


class TrialLine(NamedTuple):
    """One trial in the table."""

    number: int
    knobs: str
    epoch: int
    epochs: int
    current: float | None
    """Validation macro-F1 of the last epoch."""
    best: float | None
    state: str


class View(NamedTuple):
    """What is shown of a run at one moment."""

    name: str
    state: str
    counts: dict[str, int]
    budget: str
    epochs: int
    elapsed_s: float
    utilisation: float | None
    """Share of the slots' time that trials held, 0 to 1."""
    remaining: Remaining | None
    best: TrialLine | None
    running: tuple[TrialLine, ...]
    waiting: tuple[TrialLine, ...]
    """Those that have begun, and go on when a driver does."""
    top: tuple[TrialLine, ...]


def view(record: RecordReader) -> View:
    """Return what to show of a run."""
    with record.transaction():
        now, top = standing(record), record.leading(MOST_ROWS)
        run, totals, best = now.run, now.totals, now.best
        running = [trial for trial in now.begun if trial.state == "running" and now.driven]
        slots = [event.data for event in record.events() if event.kind == "slots" and event.data]
        current = {
            trial.number: record.epochs(trial.number)[-1]["val_f1"]
            for trial in running
            if trial.epochs
        }
    epochs = int(run.spec["epochs"])
    if not now.as_recorded and best is not None and best.state == "running":
        best = replace(best, state="waiting")
    busy = None
    if slots and totals.active_s:
        size = slots[-1]["concurrency"] * slots[-1].get("fraction", 1.0)
        busy = min(1.0, totals.slot_s / (size * totals.active_s))
    return View(
        name=run.name,
        state=now.state,
        counts=now.trials,
        budget=", ".join(
            f"{value:g} {name.replace('_', '-')}" for name, value in run.budget.items() if value
        ),
        epochs=totals.epochs,
        elapsed_s=totals.active_s,
        utilisation=busy,
        remaining=now.remaining,
        best=None if best is None else _line(best, epochs, current.get(best.number)),
        running=tuple(_line(trial, epochs, current.get(trial.number)) for trial in running),
        waiting=tuple(
            _line(replace(trial, state="waiting"), epochs, None)
            for trial in now.begun
            if trial not in running and trial.epochs
        ),
        top=tuple(_line(trial, epochs, None) for trial in top),
    )


def status_line(shown: View) -> str:
    """Return a view as one line, for the heartbeat."""
    counts = ", ".join(f"{count} {state}" for state, count in shown.counts.items()) or "no trials"
    best = "" if shown.best is None else f"; best {score_text(shown.best.best)}"
    left = "" if shown.remaining is None else f"; about {duration(shown.remaining.seconds)} left"
    return f"{counts}; {plural(shown.epochs, 'epoch')}{best}{left}"


class Changes:
    """What trials have done since one last looked; asks only for those that may have changed.

    Parameters
    ----------
    record : RecordReader
        What it holds now is taken as known.
    """

    def __init__(self, record: RecordReader) -> None:
        self._open = {trial.number: trial for trial in record.trials(OPEN_STATES)}
        self._last = record.totals().num_trials - 1
        best = record.best()
        self._top = 0.0 if best is None else best.score or 0.0

    def lines(self, record: RecordReader) -> list[str]:
        """Return a line for every trial that has started, ended, or become the best."""
        lines = []
        for trial in record.news(self._last, self._open):
            known = self._open.pop(trial.number, None)
            knobs = knob_text(trial.knobs)
            if trial.started_at and (known is None or known.started_at is None):
                lines.append(f"trial {trial.number} started: {knobs or f'seed {trial.seed}'}")
            if trial.state in SCORED_STATES and (trial.score or 0.0) > self._top:
                self._top = trial.score or 0.0
                lines.append(
                    f"new best: {score_text(self._top)} at epoch {trial.best_epoch} of trial"
                    f" {trial.number}{' (' + knobs + ')' if knobs else ''}"
                )
            if trial.state in END_STATES:
                why = trial.error or trial.reason
                diverged = trial.state == "diverged"
                score = "no score" if diverged else f"best {score_text(trial.score)}"
                lines.append(
                    f"trial {trial.number} {trial.state} after {plural(trial.epochs, 'epoch')},"
                    f" {score}{f': {why}' if why else ''}"
                )
            else:
                self._open[trial.number] = trial
            self._last = max(self._last, trial.number)
        return lines


def render(shown: View, width: int = 80) -> Group:
    """Return a view as something rich can print in `width` columns."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    counts = "  ".join(f"{count} {state}" for state, count in shown.counts.items())
    epochs = plural(shown.epochs, "epoch")
    used = "" if shown.utilisation is None else f"   slots busy {shown.utilisation:.0%}"
    head = [
        f"{shown.name}  {shown.state}   {counts or 'no trials yet'}",
        f"{epochs} in {duration(shown.elapsed_s)}{used}   budget {shown.budget}",
    ]
    if shown.best is not None:
        trial = shown.best
        head.append(f"best {score_text(trial.best)}  trial {trial.number}  {trial.knobs}")
    if shown.remaining is not None:
        left, how = shown.remaining
        head.append(f"about {duration(left)} left ({how})")
    table = Table(box=None, padding=(0, 2, 0, 0), width=width)
    narrow = width < NARROW
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("knobs", ratio=1, no_wrap=True, overflow="ellipsis")
    for title in ("epoch", "best") if narrow else ("epoch", "val F1", "best"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for line in (*shown.running, *shown.waiting, *shown.top)[:MOST_ROWS]:
        style = "bold" if shown.best is not None and line.number == shown.best.number else ""
        scores = [score_text(line.best)] if narrow else map(score_text, (line.current, line.best))
        table.add_row(
            str(line.number), line.knobs, f"{line.epoch}/{line.epochs}", *scores, line.state,
            style=style,
        )  # fmt: skip
    return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in head), table)


def is_animated(stream: IO[str]) -> bool:
    """Return whether to draw a table that changes: on a terminal that can, and not under CI."""
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return stream.isatty() and not dumb and not os.environ.get("CI")


class Display:
    """Shows a run while it goes on, from a thread that only reads the record.

    Parameters
    ----------
    stream : text file, default stderr
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._animated = is_animated(self._stream)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._began_s = self._told_s = time.monotonic()
        self._changes: Changes | None = None
        self._event = 0
        self._hushed: set[str] = set()
        self._live: Any = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()  # its put is reentrant

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def notice(self, text: str) -> None:
        """Show one line; also from a signal handler, which may have interrupted a print."""
        self._lines.put(text)
        if self._thread is None:
            self._print_lines()

    def follow(self, folder: Path) -> None:
        """Begin to show the run in `folder`; what happened before is taken as known."""
        with Record.open(folder) as record:
            self._changes = Changes(record)
            self._event = max((event.id for event in record.events()), default=0)
        self._thread = threading.Thread(target=self._run, args=(folder,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the run is no longer going on."""
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(0.2)

    def stop(self) -> None:
        """Show what happened last, and end."""
        self._stop.set()
        self.wait()
        self._thread = None
        self._print_lines()

    def _print_lines(self) -> None:
        while not self._lines.empty():
            self._told_s = time.monotonic()
            text = self._lines.get()
            if self._live is None:
                print(text, file=self._stream, flush=True)
            else:
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _run(self, folder: Path) -> None:
        try:
            with Record.open(folder) as record:
                if self._animated:
                    self._animate(record)
                else:
                    self._tell(record)
        except UserError as error:  # the run itself goes on without its display
            self.notice(f"The display ended: {error}")
        self._print_lines()

    def _animate(self, record: Record) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            self._live = live
            going = True
            while going:
                going = not self._stop.wait(INTERVAL_S) and is_driven(record)
                self._tell_new(record, started_and_ended=False)
                live.update(render(view(record), console.width), refresh=True)
            self._live = None

    def _tell(self, record: Record) -> None:
        going = True
        while going:
            going = not self._stop.wait(INTERVAL_S) and is_driven(record)
            self._tell_new(record, started_and_ended=True)
            if time.monotonic() - self._told_s >= HEARTBEAT_S:
                self._tell_line(status_line(view(record)))
                self._print_lines()

    def _tell_new(self, record: Record, started_and_ended: bool) -> None:
        """Tell what has happened since the last time."""
        for event in record.events(self._event):
            self._event = event.id
            if event.kind not in TOLD or event.kind in self._hushed:
                continue
            if event.kind in QUIET:
                self._hushed.add(event.kind)
            of = "" if event.trial is None else f" (trial {event.trial})"
            self._tell_line(f"{event.kind}: {event.message}{of}")
        for line in self._changes.lines(record) if self._changes and started_and_ended else ():
            self._tell_line(line)
        self._print_lines()

    def _tell_line(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began_s), 60)
        self.notice(f"[{minutes:02d}:{seconds:02d}] {text}")


def _line(trial: TrialRow, epochs: int, current: float | None) -> TrialLine:
    return TrialLine(
        trial.number, knob_text(trial.knobs) or f"seed {trial.seed}", trial.epochs, epochs,
        current, trial.score, trial.state,
    )  # fmt: skip
