"""Reports of jobs, made in a process of their own and kept until a record changes.

A report takes seconds and several hundred megabytes; so one is made at a time, at low priority, and
whatever goes wrong in it leaves the service as it was.
"""

from __future__ import annotations

import asyncio
import errno
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
from tuner.service.workers import Workers

CODE = Path(tuner.__file__).parents[1]
"""Where the code that serves lies: the process is to run the same."""
TIME_LIMIT_S = 900.0
NICENESS = 10
USAGE = 2
"""Exit status of `tuner` when what it was given cannot be reported on; its last line says why."""
KEPT = 100
"""Reports on the disk; what was made longest ago goes first."""
OF_USER, IN_ALL = 3, 12
"""Reports that are asked for at once."""


class Reports:
    """Makes reports and finds those that were made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()
        self.workers = Workers("reports", threads=1, of_user=OF_USER, in_all=IN_ALL)

    async def html(
        self, user: str, names: Sequence[str], records: Sequence[Path], target: Path
    ) -> None:
        """Put a report on some jobs at `target`, made now if their records have changed.

        Parameters
        ----------
        user : str
            Who asks.
        names : sequence of str
            Jobs, as folders of `runs`, in any order.
        records : sequence of Path
            Folders of all their records.
        target : Path
            A new name on the disk of the reports, where it stays though newer ones replace it.

        Raises
        ------
        UserError
            If no report can be made of them.
        OSError
            If the disk is full.
        HTTPException
            429 or 503 if too many are asked for, 500 if making it fails otherwise.
        """
        names, records = sorted(names), sorted(records)
        with self.workers.place(user):
            path = await self._path(names, records)
            if not path.is_file():
                async with self._one_at_a_time:
                    path = await self._path(names, records)  # it may have been made meanwhile
                    if not path.is_file():
                        await self._make(names, path)
                        self._forget(path)
            os.link(path, target)

    async def _path(self, names: Sequence[str], records: Sequence[Path]) -> Path:
        """Return where the report on records as they are now lies, or would."""
        key = hashlib.sha256("\0".join(names).encode()).hexdigest()[:32]
        version = hashlib.sha256(repr(await self.workers.do(stamp, records)).encode())
        return self._settings.reports / f"{key}-{version.hexdigest()[:32]}.html"

    async def _make(self, names: Sequence[str], path: Path) -> None:
        unfinished = self._settings.temporary / path.name
        for file in (path, unfinished):
            file.parent.mkdir(parents=True, exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            "nice", "-n", str(NICENESS),
            sys.executable, "-m", "tuner", "report", "-o", str(unfinished),
            "--runs", str(self._settings.runs), "--", *names,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, cwd=CODE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                _, told = await process.communicate()
            if process.returncode != 0 or not unfinished.is_file():
                raise _failed(process.returncode, told)
            unfinished.replace(path)
        except TimeoutError:
            raise HTTPException(500, "The report took too long and was given up.") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            unfinished.unlink(missing_ok=True)

    def _forget(self, made: Path) -> None:
        """Remove what was made of the same jobs before, and the oldest of too many."""
        key, _, _ = made.name.partition("-")
        reports = [path for path in self._settings.reports.glob("*.html") if path != made]
        reports.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        others = [path for path in reports if not path.name.startswith(f"{key}-")]
        for path in {*reports} - {*others[: KEPT - 1]}:
            path.unlink(missing_ok=True)


def _failed(status: int | None, told: bytes) -> Exception:
    line = (told.decode("utf-8", "replace").strip().splitlines() or ["no reason"])[-1]
    if os.strerror(errno.ENOSPC) in line:
        return OSError(errno.ENOSPC, line)
    if status == USAGE:
        return UserError(line)
    return HTTPException(500, f"The report could not be made: {line}")
