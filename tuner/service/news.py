"""What has changed in a job's records since a cursor: trials and epochs, of a run or a whole study.

A cursor is opaque to the client and holds, for each run, how far the client has read; so the
server keeps nothing, and whoever reconnects goes on where it was.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from search_spaces.model import UserError
from trainables.config import canonical_json
from tuner.record import Record, writer
from tuner.record_rows import TrialRow as RecordedTrial
from tuner.record_schema import OPEN_STATES
from tuner.service import models

BEGINNING = "0"
MOST_POINTS = 20_000
"""Epochs in one answer: some 2 MB of JSON."""
LONGEST_CURSOR = 100_000

_Count = Annotated[int, Field(ge=-1, lt=2**63)]
_Number = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
_Seen = dict[str, tuple[_Count, dict[_Number, _Count]]]
"""Run → its last trial seen, and of each that was open then a checksum."""
_SEEN: TypeAdapter[_Seen] = TypeAdapter(_Seen)
_READ: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, _Count])
"""Run → position of its last epoch read."""


def trials(folders: Sequence[Path], cursor: str) -> models.Trials:
    """Return the trials of some runs that are new or have changed.

    Raises
    ------
    UserError
        If the cursor is none, or a record cannot be read.
    """
    seen = _decoded(cursor, _SEEN)
    rows = []
    for folder in folders:
        last, open_before = seen.get(folder.name, (-1, {}))
        alive = writer(folder) is not None
        with Record.open(folder) as record:
            found = record.news(last, map(int, open_before))
        open_now: dict[str, int] = {}
        for trial in found:
            row = _row(folder.name, trial, alive)
            check = zlib.crc32(row.model_dump_json().encode())
            if open_before.get(str(trial.number)) != check:
                rows.append(row)
            if trial.state in OPEN_STATES:
                open_now[str(trial.number)] = check
            last = max(last, trial.number)
        seen[folder.name] = last, open_now
    return models.Trials(rows=rows, cursor=_encoded(seen))


def curves(
    folders: Sequence[Path], cursor: str, most: int = MOST_POINTS, until: str | None = None
) -> models.Curves:
    """Return the epochs of some runs that were recorded since, in the order of recording.

    Parameters
    ----------
    folders : sequence of Path
    cursor : str
    most : int, default 20,000
        Epochs in one answer.
    until : str, optional
        A later cursor, after which nothing is returned.

    Raises
    ------
    UserError
        If the cursor is none, or a record cannot be read.
    """
    read = _decoded(cursor, _READ)
    last = None if until is None else _decoded(until, _READ)
    points: list[models.Point] = []
    for folder in folders:
        if len(points) >= most:
            break
        with Record.open(folder) as record:
            found = record.points(read.get(folder.name, 0), most - len(points))
        if last is not None:
            found = [one for one in found if one[0] <= last.get(folder.name, 0)]
        if found:
            read[folder.name] = found[-1][0]
        points += [
            models.Point.model_construct(
                run=folder.name, trial=trial, epoch=epoch, val_f1=val_f1,
                best_val_f1=best, injected_share=share,
            )
            for _, trial, epoch, val_f1, best, share in found
        ]  # fmt: skip
    return models.Curves(points=points, cursor=_encoded(read), more=len(points) >= most)


def ends(folders: Sequence[Path]) -> tuple[str, str]:
    """Return the cursors after all trials and all epochs of some runs."""
    read = {}
    for folder in folders:
        with Record.open(folder) as record:
            read[folder.name] = record.last_point()
    return trials(folders, BEGINNING).cursor, _encoded(read)


def check(of_trials: str, of_curves: str) -> None:
    """Raise `UserError` unless these are cursors."""
    _decoded(of_trials, _SEEN)
    _decoded(of_curves, _READ)


def _row(run: str, trial: RecordedTrial, alive: bool) -> models.TrialRow:
    """Return a trial as the API tells it; what no process trains waits to be continued."""
    error = (trial.error or "").strip().splitlines()
    return models.TrialRow(
        run=run,
        number=trial.number,
        state="waiting" if trial.state == "running" and not alive else trial.state,
        knobs=trial.knobs,
        seed=trial.seed,
        epochs=trial.epochs,
        score=trial.score,
        test_score=trial.test_score,
        best_epoch=trial.best_epoch,
        slot_seconds=trial.slot_s,
        device=trial.device,
        reason=error[-1] if error else trial.reason,
    )


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(canonical_json(value).encode()).decode().rstrip("=")


def _decoded(cursor: str, kind: TypeAdapter[Any]) -> Any:
    if cursor in ("", BEGINNING):
        return {}
    try:
        if len(cursor) > LONGEST_CURSOR:
            raise ValueError("too long")
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return kind.validate_python(json.loads(text))
    except (ValueError, ValidationError, binascii.Error, RecursionError) as error:
        raise UserError(
            f"A cursor must be {BEGINNING}, for all from the beginning, or one that this server"
            " gave in an answer of the same kind."
        ) from error
