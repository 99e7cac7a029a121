"""Where a run's trials keep their state: its own folder, a shared folder, or an object store.

The record, Optuna's study and the texts of failures always stay in the run's folder. In a storage
that many runs share, a run's part is named after the run, its machine and the moment it was made,
so that no two meet there and every resume finds it again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection
from pathlib import Path

from trainables.object_store import ObjectStore, StoreUnreachable, is_object_store, under
from trainables.state_files import BEST, copy_whole, remove_state, remove_weights, sync_folder
from tuner.record import Record
from tuner.trial_files import trial_folder

PATIENCE_S = 5.0
"""How long the driver waits for a store in which it only tidies up."""
LAST_PATIENCE_S = 60.0
"""How long it waits at the end of a run for the best weights."""


class RunStorage:
    """One run's part of a storage.

    Parameters
    ----------
    storage : str or None
        A folder or the address of an object store; None: the run's own folder.
    run_folder : Path
        Absolute.
    record : Record
        Its own, for the name of its part.
    """

    def __init__(self, storage: str | None, run_folder: Path, record: Record) -> None:
        self._run_folder = run_folder
        self.base = run_folder
        """Folder of what a shared disk holds of the run."""
        self.uri: str | None = None
        """The run's prefix of an object store, if it uses one."""
        if storage is None:
            return
        if is_object_store(storage):
            self.uri = under(storage, _part(record))
        else:
            self.base = Path(storage) / _part(record)

    def folder(self, number: int) -> Path:
        """Return the folder of a trial's state on the driver's machine."""
        return trial_folder(self.base, number)

    def trial_uri(self, number: int) -> str | None:
        """Return a trial's own prefix of the object store, or None if it has a folder."""
        return None if self.uri is None else under(self.uri, f"trials/{number:05d}")

    def remove_state(self, number: int) -> None:
        """Delete a trial's state; its weights stay."""
        remove_state(self.folder(number))
        self._remove(number, weights=False)

    def remove_weights(self, number: int) -> None:
        """Delete a trial's best weights; what was brought of them stays until better ones are."""
        if self.uri is None:
            remove_weights(self.folder(number))
        self._remove(number, weights=True)

    def tidy(self, states: Collection[int], weights: Collection[int]) -> None:
        """Delete the states and the weights of these trials, where a driver could not before."""
        if self.uri is None:
            for number in states:
                self.remove_state(number)
            for number in weights:
                self.remove_weights(number)
            return
        with contextlib.suppress(StoreUnreachable):
            store = ObjectStore(self.uri, PATIENCE_S)
            for name in store.names():
                folder, _, file = name.removeprefix("trials/").partition("/")
                unwanted = weights if file == BEST else states
                if folder.isdecimal() and int(folder) in unwanted:
                    store.remove(name)

    def fetch_best(self, number: int) -> str | None:
        """Copy a trial's best weights into the run's own folder, where they are looked for.

        Those of an earlier best trial stay until the new ones lie there, whole.

        Returns
        -------
        str or None
            Why that could not be done; None if they are there.
        """
        target = trial_folder(self._run_folder, number) / BEST
        uri, source = self.trial_uri(number), self.folder(number) / BEST
        try:
            if uri is not None:
                ObjectStore(uri, LAST_PATIENCE_S).take(BEST, target)
            elif source != target and source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                copy_whole(source, target)
                sync_folder(target.parent)
        except StoreUnreachable as error:
            return str(error)
        except OSError as error:
            return f"{error.filename or target}: {error.strerror or error}"
        if not target.exists():
            return f"there are none in {uri or source.parent}"
        if uri is not None or source != target:
            for folder in target.parent.parent.iterdir():
                if folder != target.parent:
                    remove_weights(folder)
        return None

    def _remove(self, number: int, weights: bool) -> None:
        uri = self.trial_uri(number)
        if uri is None:
            return
        with contextlib.suppress(StoreUnreachable):  # the next resume tidies up
            store = ObjectStore(uri, PATIENCE_S)
            for name in store.names():
                if (name == BEST) == weights:
                    store.remove(name)


def bring_best(storage: RunStorage, record: Record, number: int) -> None:
    """Bring the best trial's weights to the run; where that fails, say so in its record."""
    trouble = storage.fetch_best(number)
    if trouble is not None:
        name = record.run().name
        record.add_event(
            "warning",
            f"The best weights, trial {number}'s, could not be brought into the run's folder:"
            f" {trouble.rstrip('.')}. To try again: tuner resume {name}",
            trial=number,
        )


def bring_missing_best(run_folder: Path, storage: str | None, record: Record, number: int) -> None:
    """Do so for a run that has ended, if its weights are elsewhere and were not brought."""
    if storage is not None and not (trial_folder(run_folder, number) / BEST).exists():
        bring_best(RunStorage(storage, run_folder, record), record, number)


def _part(record: Record) -> str:
    run = record.run()
    made = f"{run.host.get('hostname')} {run.created_at!r}"
    return f"{run.name}-{hashlib.sha256(made.encode()).hexdigest()[:12]}"
