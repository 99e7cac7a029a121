"""What is told of a job: how far it has come, by its records beside the process that writes them.

Many ask at once, and a record changes about once a second: so what is read is kept until the
record's files change.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from search_spaces.model import UserError
from tuner.record import Record, writer
from tuner.record_file import FILE, record_folders
from tuner.record_rows import RunRow, Totals, TrialRow
from tuner.record_schema import OPEN_STATES
from tuner.service.models import Log, Progress
from tuner.summary import remaining, without_process

Kind = Literal["run", "study"]
Stamp = tuple[Any, ...]
"""Equal as long as nothing was written."""

MOST_KEPT = 1000
"""Jobs whose progress is kept in memory."""
MOST_LOG_BYTES = 1 << 20


def stamp(folders: Sequence[Path]) -> Stamp:
    """Return what changes whenever one of these records does, without opening any."""
    found: list[Any] = []
    for folder in folders:
        for name in (FILE, f"{FILE}-wal"):
            try:
                status = (folder / name).stat()
            except FileNotFoundError:
                found.append(None)
                continue
            # a reader, too, makes an empty log where there was none
            found.append((status.st_mtime_ns, status.st_size) if status.st_size else None)
        found.append(writer(folder) is not None)
    return tuple(found)


class Progresses:
    """Reads how far jobs have come, and remembers it while nothing changes."""

    def __init__(self) -> None:
        self._known: OrderedDict[Path, tuple[Stamp, Progress | None]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, folder: Path, kind: Kind) -> Progress | None:
        """Return a job's progress, or None where it has no record yet, or none that can be read."""
        folders = record_folders(folder)
        now = stamp(folders)
        with self._lock:
            before, known = self._known.get(folder, (None, None))
            if before == now:
                self._known.move_to_end(folder)
                return known
        progress = _progress(folders, kind)
        with self._lock:
            self._known[folder] = now, progress
            self._known.move_to_end(folder)
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return progress


def _progress(folders: Sequence[Path], kind: Kind) -> Progress | None:
    trials: dict[str, int] = {}
    parts: list[tuple[RunRow, Totals, TrialRow | None]] = []
    left = None
    for folder in folders:
        try:
            with Record.open(folder) as record, record.transaction():
                run, totals, best = record.run(), record.totals(), record.best()
                begun = record.trials(OPEN_STATES)
        except UserError:
            continue
        alive = writer(folder) is not None
        parts.append((run, totals, best))
        for state, count in (totals.trials if alive else without_process(totals.trials)).items():
            if count:
                trials[state] = trials.get(state, 0) + count
        if alive and run.state == "running":
            left = remaining(begun, totals, run.budget, int(run.spec["epochs"]))
    if not parts:
        return None
    scored = [best for _, _, best in parts if best is not None and best.score is not None]
    leader = max(scored, key=lambda one: one.score or 0.0, default=None)
    going = [run.name for run, _, _ in parts if run.state != "finished"]
    first_run, first_totals, _ = parts[0]
    return Progress(
        trials=trials,
        epochs=sum(totals.epochs for _, totals, _ in parts),
        slot_seconds=sum(totals.slot_s for _, totals, _ in parts),
        wall_seconds=sum(totals.active_s for _, totals, _ in parts),
        best=leader.score if leader else None,
        best_trial=leader.number if leader else None,
        remaining_seconds=left.seconds if left and kind == "run" else None,
        share_done=_share_done(first_run.budget, first_totals) if kind == "run" else None,
        stage=going[-1] if going and kind == "study" else None,
    )


def _share_done(budget: dict[str, Any], totals: Totals) -> float | None:
    """Return how much of the limit that is nearest to its end has been spent."""
    spent = {
        "trials": totals.num_ended,
        "epochs": totals.epochs,
        "gpu_hours": totals.slot_s / 3600,
        "wall_hours": totals.active_s / 3600,
    }
    shares = [spent[name] / limit for name, limit in budget.items() if limit]
    return min(1.0, max(shares)) if shares else None


def log_part(path: Path, offset: int, limit: int, over: bool, until: int | None = None) -> Log:
    """Return part of what a job's process wrote.

    Parameters
    ----------
    path : Path
        The log, which need not exist yet.
    offset : int
        Byte to start from; negative counts from the end, and then starts with a whole line.
    limit : int
        Most bytes to return, up to `MOST_LOG_BYTES`.
    over : bool
        Whether the process has ended.
    until : int, optional
        Byte before which to end.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            size = size if until is None else min(size, until)
            start = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(start)
            data = file.read(min(limit, MOST_LOG_BYTES, size - start))
    except FileNotFoundError:
        return Log(text="", next_offset=0, size=0, ended=over)
    if offset < 0 and start > 0:
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    if start + len(data) < size or not over:
        data = data[: _whole(data)]
    end = start + len(data)
    return Log(
        text=data.decode("utf-8", "replace"), next_offset=end, size=size, ended=over and end >= size
    )


def _whole(data: bytes) -> int:
    """Return how many bytes end with a whole character; the rest of it may come later.

    >>> _whole("aé".encode()), _whole("aé".encode()[:2]), _whole(b"abc")
    (3, 1, 3)
    """
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            needs = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < needs else len(data)
    return len(data)
