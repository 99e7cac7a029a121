"""A store of states that trials have in common, addressed by what they depend on; torch-free.

One flat folder on one file system, which trials, runs and machines may share:

- ``KEY.pt`` is a trial's state (`trainables.state`) after the epoch that KEY stands for,
- ``best-SHA256.pt`` are the weights of the best epoch until then, addressed by their content,
- ``KEY.claim`` says that somebody is computing KEY at the moment.

A file appears whole or not at all: it is a hard link to one that its trial had written to the disk,
or, where links are not possible, a copy that is renamed once it is on the disk. A reader checks the
digest all the same, and discards what is damaged. There are no locks: whoever publishes a key that
is there changes nothing, and a claim is only advice, which ends by itself. What was used longest
ago goes first when the store is full.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from trainables.state_files import BEST, STATE, copy_whole, digest_of_file, sync_folder

ABANDONED_S = 3600.0
"""Age at which a copy or a claim that nobody finished is removed."""


class TrunkStore:
    """A folder of shared states.

    Parameters
    ----------
    folder : Path
        Created with the first state.
    limit_bytes : int
        What all files together may take. A trial that publishes may exceed it by its own state for
        as long as that takes.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self._limit_bytes = folder, limit_bytes

    def path(self, key: str) -> Path:
        """Return where a key's state lies, or would."""
        return self.folder / f"{key}.pt"

    def has(self, key: str) -> bool:
        """Whether a state was published; whether it is sound is known once it is read."""
        return self.path(key).exists()

    def publish(self, key: str, trial_folder: Path, best_digest: str | None) -> None:
        """Publish the state that lies in a trial's folder, and the best weights that go with it.

        Does nothing where the store or its disk cannot take it: sharing saves time, and no trial
        may fail for it.

        Parameters
        ----------
        key : str
        trial_folder : Path
            Holds the state, on the disk.
        best_digest : str or None
            SHA-256 of its `best.pt`; None if it has none.
        """
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            if best_digest is not None:  # first: a state without its weights is of no use
                _place(trial_folder / BEST, self._best(best_digest))
                os.utime(self._best(best_digest))  # it must not go before what needs it
            _place(trial_folder / STATE, self.path(key))
            sync_folder(self.folder)
            self.release(key)
            self.collect()

    def take_best(self, digest: str, target: Path) -> bool:
        """Put published best weights at `target`; return False if there are no sound ones."""
        source = self._best(digest)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _place(source, target)
            if digest_of_file(target) == digest:
                os.utime(source)
                return True
        except FileNotFoundError:
            return False
        target.unlink(missing_ok=True)
        source.unlink(missing_ok=True)
        return False

    def used(self, key: str) -> None:
        """Note that a state was used, so that it stays longer than others."""
        with contextlib.suppress(OSError):
            os.utime(self.path(key))

    def discard(self, key: str) -> None:
        """Remove a state that turned out to be unusable; somebody will compute it again."""
        self.path(key).unlink(missing_ok=True)

    # ---- claims

    def claim(self, key: str, patience_s: float) -> bool:
        """Announce that this process computes a key; return False if somebody else does already.

        A claim older than `patience_s` has been abandoned, or takes longer than to compute the
        state oneself, and is taken over.
        """
        path = self._claim(key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime <= patience_s:
                    return False
                path.unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        except OSError:  # a full disk, say: nothing is announced, and nothing is lost
            return True
        return True

    def claimed(self, key: str) -> bool:
        """Whether somebody has announced to compute a key and has not yet finished."""
        return self._claim(key).exists()

    def release(self, key: str) -> None:
        """Take a claim back."""
        with contextlib.suppress(OSError):
            self._claim(key).unlink(missing_ok=True)

    # ---- size

    def collect(self) -> None:
        """Remove what a kill left behind, and then what was used longest ago until all fits."""
        now, kept = time.time(), []
        for path, stat in self._files():
            if path.suffix != ".pt":
                if now - stat.st_mtime > ABANDONED_S:
                    path.unlink(missing_ok=True)
            else:
                kept.append((stat.st_mtime, path, stat.st_size))
        total = sum(size for _, _, size in kept)
        for _, path, size in sorted(kept):
            if total <= self._limit_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()

    def _best(self, digest: str) -> Path:
        return self.folder / f"best-{digest}.pt"

    def _claim(self, key: str) -> Path:
        return self.folder / f"{key}.claim"


def _place(source: Path, target: Path) -> None:
    """Make `target` a whole, durable copy of `source`, unless it exists."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # another file system, or one without hard links
        if target.exists():
            return
        copy_whole(source, target)
