"""Reports of jobs, made in a process of their own and kept until a record changes.

A report takes seconds and several hundred megabytes; so one is made at a time, at low priority, and
whatever goes wrong in it leaves the service as it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fastapi import HTTPException

import tuner
from search_spaces.model import UserError
from tuner.service.settings import Settings
from tuner.service.views import stamp

CODE = Path(tuner.__file__).parents[1]
"""Where the code that serves lies: the process is to run the same."""
TIME_LIMIT_S = 900.0
NICENESS = 10
USAGE = 2
"""Exit status of `tuner` when what it was given cannot be reported on; its last line says why."""


class Reports:
    """Makes reports and finds those that were made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()

    async def html(self, names: Sequence[str], records: Sequence[Path]) -> Path:
        """Return the file of a report on some jobs, made now if their records have changed.

        Parameters
        ----------
        names : sequence of str
            Jobs, as folders of `runs`.
        records : sequence of Path
            Folders of all their records.

        Raises
        ------
        UserError
            If no report can be made of them.
        HTTPException
            500 if making it fails otherwise.
        """
        key = hashlib.sha256("\0".join(names).encode()).hexdigest()[:32]
        version = hashlib.sha256(repr(await asyncio.to_thread(stamp, records)).encode())
        path = self._settings.reports / f"{key}-{version.hexdigest()[:32]}.html"
        if path.is_file():
            return path
        async with self._one_at_a_time:
            if not path.is_file():
                await self._make(names, path)
                for old in self._settings.reports.glob(f"{key}-*.html"):
                    if old != path:
                        old.unlink(missing_ok=True)
        return path

    async def _make(self, names: Sequence[str], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tuner", "report", "-o", str(unfinished),
            "--runs", str(self._settings.runs), "--", *names,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, cwd=CODE,
            preexec_fn=lambda: os.nice(NICENESS),
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                _, told = await process.communicate()
        except TimeoutError:
            raise HTTPException(500, "The report took too long and was given up.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0 or not unfinished.is_file():
            unfinished.unlink(missing_ok=True)
            line = (told.decode("utf-8", "replace").strip().splitlines() or ["no reason"])[-1]
            if process.returncode == USAGE:
                raise UserError(line)
            raise HTTPException(500, f"The report could not be made: {line}")
        unfinished.replace(path)
