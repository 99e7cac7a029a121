"""A trial's folder on a machine that shares no disk with others: scratch, copied to a store.

The trial trains in a scratch folder. What must survive the machine is put into the object store
after every epoch, before the epoch is reported; whoever takes the trial over brings it from there.
As in a folder, new best weights wait under a name of their own for the state that names them.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import psutil

from trainables.object_store import ObjectStore
from trainables.state_files import BEST, NEXT, STATE, digest_of_file

_SCRATCH = re.compile(r"tuner-trial-(\d+)-")


class RemoteFolder:
    """One trial's scratch folder and its copy.

    Parameters
    ----------
    uri : str
        The trial's own prefix of an object store.

    Attributes
    ----------
    folder : Path
        The scratch folder.
    """

    def __init__(self, uri: str) -> None:
        remove_leftovers()
        self._store = ObjectStore(uri)
        self.folder = Path(tempfile.mkdtemp(prefix=f"tuner-trial-{os.getpid()}-"))
        self._kept: str | None = None
        self._waiting: str | None = None

    def bring(self) -> None:
        """Bring what the store holds of the trial, if anything."""
        for name in (STATE, BEST):
            self._store.take(name, self.folder / name)
        if self._store.take(NEXT, self.folder / NEXT):
            self._waiting = digest_of_file(self.folder / NEXT)

    def holds(self, best_digest: str | None) -> None:
        """Note which best weights the state has that was brought; settle those that wait there."""
        if self._waiting is not None and self._waiting == best_digest:
            self._store.move(NEXT, BEST)
        elif self._waiting is not None:
            self._store.remove(NEXT)
        self._kept, self._waiting = best_digest, None

    def keep(self, best_digest: str | None) -> None:
        """Put the trial's state into the store, and its best weights where they are new there."""
        new = best_digest is not None and best_digest != self._kept
        if new:
            self._store.put(NEXT, self.folder / BEST)
        self._store.put(STATE, self.folder / STATE)
        if new:
            self._store.move(NEXT, BEST)
            self._kept = best_digest

    def close(self) -> None:
        """Remove the scratch folder; the copy stays."""
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove scratch folders whose process was killed."""
    for path in Path(tempfile.gettempdir()).glob("tuner-trial-*"):
        match = _SCRATCH.match(path.name)
        if match and not psutil.pid_exists(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)
