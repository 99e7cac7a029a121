"""A folder that was fetched from a server: a copy of a run or a study that goes on there, not here.

Whoever would write a run here asks first; the next fetch would otherwise meet work that is not the
server's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search_spaces.model import UserError

MARK = "fetched.json"
"""Lies in the folder and says where it came from, and what came."""


def mark_of(folder: Path) -> dict[str, Any] | None:
    """Return what a folder's mark says, empty where it cannot be read; None if there is none."""
    try:
        mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def is_fetched(folder: Path) -> bool:
    """Return whether a run or a study was fetched, or is a run of such a study."""
    return any(mark_of(place) is not None for place in (folder, folder.parent))


def refuse_fetched(folder: Path) -> None:
    """Refuse to write into a run or a study that was fetched, or into a run of such a study.

    Raises
    ------
    UserError
        If it was; the line names the command that goes on with it.
    """
    for place in (folder, folder.parent):
        mark = mark_of(place)
        if mark is None:
            continue
        job, server = mark.get("job", "JOB"), str(mark.get("called", "SERVER"))
        there = f":{job} --server {server}" if "://" in server else f"{server}:{job}"
        raise UserError(
            f"{place} is a copy of {there}, which goes on there: tuner resume {there}. To go on"
            f" here by itself, copy the folder and delete {MARK} in the copy."
        )
