"""Is a place the same for two machines, and can both write there? One leaves a mark, one answers.

Both keep to a prefix or a folder of their own, which is removed again: nothing of a run is written.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from search_spaces.model import UserError
from trainables.object_store import ObjectStore, StoreUnreachable, is_object_store, under

QUESTION = "question"


@contextlib.contextmanager
def marked(where: str) -> Iterator[str]:
    """Yield where a mark lies for other machines to answer; it is removed afterwards.

    Parameters
    ----------
    where : str
        A folder, made or yet to make, or the address of an object store.

    Raises
    ------
    UserError
        If this machine cannot write there.
    """
    if is_object_store(where):
        probe = f"probe-{secrets.token_hex(8)}"
        ObjectStore(where, patience_s=0).put_bytes(f"{probe}/{QUESTION}", b"?")
        try:
            yield under(where, probe)
        finally:
            with contextlib.suppress(StoreUnreachable):
                store = ObjectStore(under(where, probe), patience_s=0)
                for name in store.names():
                    store.remove(name)
        return
    folder = Path(where)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    place = str(there / f".tuner-probe-{secrets.token_hex(8)}")
    try:
        Path(place).mkdir()
        (Path(place) / QUESTION).write_bytes(b"?")
    except OSError as error:
        raise UserError(f"Cannot write in {there}: {error.strerror}.") from error
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def answer(place: str, word: str) -> str | None:
    """Answer a mark from another machine; return why that is not possible, or None."""
    try:
        if is_object_store(place):
            store = ObjectStore(place, patience_s=0)
            if store.read_bytes(QUESTION) is None:
                return "it does not see there what this machine put there"
            store.put_bytes(word, b"!")
            return None
        if not (Path(place) / QUESTION).exists():
            return f"{Path(place).parent} is not there, or is another folder than here"
        (Path(place) / word).write_bytes(b"!")
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"it cannot write in {Path(place).parent}: {error.strerror}"
    return None


def answered(place: str, word: str) -> bool:
    """Return whether an answer has arrived here."""
    if is_object_store(place):
        return ObjectStore(place, patience_s=0).read_bytes(word) is not None
    return (Path(place) / word).exists()
