"""What is told of a job: how far it has come, by its records beside the process that writes them.

Many ask at once, and a record changes about once a second: so what is read is kept until the
record's files change.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from search_spaces.model import UserError
from tuner.budget import share_done
from tuner.devices import all_kinds
from tuner.record import Record, writer
from tuner.record_file import FILE, record_folders
from tuner.service.models import Log, Progress
from tuner.study.ahead import Ahead, Planned, ahead, planned
from tuner.study.spec import FILE as STUDY
from tuner.study.spec import thawed
from tuner.summary import Standing, standing

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
        progress = _progress(folder, folders, kind)
        with self._lock:
            self._known[folder] = now, progress
            self._known.move_to_end(folder)
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        return progress


def _progress(folder: Path, folders: Sequence[Path], kind: Kind) -> Progress | None:
    standings: dict[str, Standing] = {}
    for run in folders:
        try:
            with Record.open(run) as record:
                standings[run.name] = standing(record)
        except UserError:
            continue
    if not standings:
        return None
    trials: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for one in standings.values():
        trials.update(one.trials)
        held.update(one.held)
    parts = list(standings.values())
    scored = [one.best for one in parts if one.best is not None and one.best.score is not None]
    leader = max(scored, key=lambda one: one.score or 0.0, default=None)
    mixed = len(all_kinds(held)) > 1
    common = {
        "trials": dict(trials),
        "epochs": sum(one.totals.epochs for one in parts),
        "slot_seconds": None if mixed else sum(one.totals.slot_s for one in parts),
        "slot_seconds_by_device": dict(held) if mixed else {},
        "wall_seconds": sum(one.totals.active_s for one in parts),
        "best": leader.score if leader else None,
        "best_trial": leader.number if leader else None,
    }
    if kind == "run":
        left = parts[0].remaining
        return Progress(
            **common,
            remaining_seconds=left.seconds if left else None,
            share_done=share_done(parts[0].run.budget, parts[0].totals),
        )
    going = [name for name, one in standings.items() if one.run.state != "finished"]
    where = _ahead(folder, standings)
    return Progress(
        **common,
        remaining_seconds=where.remaining_s if where else None,
        share_done=where.share_done if where else None,
        stage=going[-1] if going else None,
    )


def _ahead(folder: Path, standings: Mapping[str, Standing]) -> Ahead | None:
    """Return how far a study has come, if its file can be read."""
    try:
        epochs, runs = _plan(folder, (folder / STUDY).stat().st_mtime_ns)
    except (OSError, UserError):
        return None
    return ahead(runs, standings, epochs)


@functools.lru_cache(maxsize=100)
def _plan(folder: Path, _changed: int) -> tuple[int, tuple[Planned, ...]]:
    """Return the epochs of a study's trials and its runs; working them out takes a while."""
    study = thawed(folder)
    return study.epochs, planned(study, folder.name)


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
