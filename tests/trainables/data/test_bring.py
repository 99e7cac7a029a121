"""A packed data set on a machine that lacks it: from the store, checked, and only once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search_spaces.model import UserError
from tests.object_server import ObjectServer
from trainables.data.bring import here, upload
from trainables.data.packed import PackedData
from trainables.object_store import ObjectStore

NOWHERE = Path("/nowhere/packed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tuner"


def test_data_at_the_drivers_path_are_used_where_they_are(data: PackedData) -> None:
    found = here(data.folder, data.fingerprint, None)
    assert found is not None and found.folder == data.folder


def test_without_a_store_missing_or_other_data_are_told(data: PackedData) -> None:
    assert here(NOWHERE, data.fingerprint, None) is None
    assert here(data.folder, "f" * 64, None) is None


def test_they_are_brought_from_the_store_whole_and_once(
    server: ObjectServer, data: PackedData, cache: Path
) -> None:
    storage, fingerprint = server.uri("brought"), data.fingerprint
    assert here(NOWHERE, fingerprint, storage) is None
    upload(data, storage)
    found = here(NOWHERE, fingerprint, storage)
    assert found is not None and found.fingerprint == fingerprint
    for name in ("train", "validation", "test"):
        theirs, mine = data.split(name), found.split(name)
        assert np.array_equal(theirs.images_BCHW, mine.images_BCHW)
        assert np.array_equal(theirs.labels_B, mine.labels_B)
    store = ObjectStore(storage)
    for name in store.names():
        store.remove(name)
    assert here(NOWHERE, fingerprint, storage) is not None  # it is here now
    assert [path.name for path in cache.iterdir()] == [found.folder.name]


def test_half_an_upload_counts_as_none_and_is_completed(
    server: ObjectServer, data: PackedData
) -> None:
    storage = server.uri("half")
    store = ObjectStore(storage)
    store.put(f"data/{data.fingerprint}/images.npy", data.folder / "labels.npy")
    assert here(NOWHERE, data.fingerprint, storage) is None
    upload(data, storage)
    assert here(NOWHERE, data.fingerprint, storage) is not None


def test_damaged_pixels_are_refused_and_not_kept(
    server: ObjectServer, data: PackedData, cache: Path, tmp_path: Path
) -> None:
    storage = server.uri("damaged")
    upload(data, storage)
    images = np.load(data.folder / "images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(tmp_path / "images.npy", images)
    name = f"data/{data.fingerprint}/images.npy"
    ObjectStore(storage).put(name, tmp_path / "images.npy")
    with pytest.raises(UserError, match="The storage holds other data"):
        here(NOWHERE, data.fingerprint, storage)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "gone", "no description"])
def test_brought_data_that_are_damaged_on_the_disk_are_brought_anew(
    server: ObjectServer, data: PackedData, cache: Path, damage: str
) -> None:
    storage = server.uri(f"anew-{damage.replace(' ', '-')}")
    upload(data, storage)
    found = here(NOWHERE, data.fingerprint, storage)
    assert found is not None
    if damage == "truncated":
        images = found.folder / "images.npy"
        images.write_bytes(images.read_bytes()[:-100])
    elif damage == "gone":
        (found.folder / "labels.npy").unlink()
    else:
        (found.folder / "meta.json").write_text("{")
    again = here(NOWHERE, data.fingerprint, storage)
    assert again is not None and again.folder == found.folder
    for name in ("images.npy", "labels.npy", "meta.json"):
        assert (again.folder / name).read_bytes() == (data.folder / name).read_bytes()
    assert [path.name for path in cache.iterdir()] == [found.folder.name]
