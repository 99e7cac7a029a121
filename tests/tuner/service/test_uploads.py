"""Data sets that are sent: only what its announced fingerprint says is kept, and nothing else."""

from __future__ import annotations

import errno
import io
import json
import shutil
import socket
import tarfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from tests.browser import eventually
from tests.tuner.service.serving import Serving
from tests.tuner.service.test_api import refused
from tests.tuner.service.test_events import served
from trainables.config import DataConfig
from trainables.data.packed import PackedData, fingerprint_of
from trainables.data.source import prepare
from tuner.service import disk, uploads
from tuner.service.app import create_app
from tuner.service.routes import files as routes
from tuner.service.uploads import FILES, adopt


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> PackedData:
    config = DataConfig(synthetic_train=28, synthetic_eval=14, size=16)
    return prepare(config, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return Serving(tmp_path)


def tar_of(folder: Path, names: Iterable[str] = FILES, format_: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format_) as archive:
        for name in names:
            archive.add(folder / name, name)
    return stream.getvalue()


def with_member(folder: Path, member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """Return a tar of a packed folder with one member more, before all others."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
        for name in FILES:
            archive.add(folder / name, name)
    return stream.getvalue()


def put(serving: Serving, body: bytes, fingerprint: str, name: str = "faces.zip"):  # type: ignore[no-untyped-def]
    return serving.client().put(f"/api/v1/datasets/{fingerprint}/{name}", content=body)


def left_behind(serving: Serving) -> list[str]:
    """Return what lies in the service's folders of data and of temporary files."""
    folders = (serving.settings.data_sets, serving.settings.temporary)
    return [str(path) for folder in folders if folder.exists() for path in folder.rglob("*")]


def test_a_data_set_is_kept_under_its_fingerprint_and_the_clients_name(
    serving: Serving, packed: PackedData
) -> None:
    body = tar_of(packed.folder)
    answer = put(serving, body, packed.fingerprint)
    assert answer.status_code == 201
    told = answer.json()
    assert told["images"] == {"train": 28, "validation": 14, "test": 14}
    assert (told["size"], told["channels"], told["added_by"]) == (16, packed.channels, "alice")
    assert serving.client("bob").get("/api/v1/datasets").json() == [told]
    kept = serving.settings.data_folder(packed.fingerprint, "faces.zip")
    assert PackedData.open(kept).fingerprint == packed.fingerprint
    assert sorted(path.name for path in kept.iterdir()) == sorted(FILES)
    assert put(serving, body, packed.fingerprint).status_code == 200
    assert [one.action for one in serving.store.audit()] == ["data set"]
    assert list(serving.settings.temporary.iterdir()) == []


def test_the_same_images_under_another_name_are_another_data_set(
    serving: Serving, packed: PackedData
) -> None:
    for name in ("faces.zip", "again"):
        assert put(serving, tar_of(packed.folder), packed.fingerprint, name).status_code == 201
    assert len(serving.client().get("/api/v1/datasets").json()) == 2


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_common_form_of_tar_is_read(
    serving: Serving, packed: PackedData, format_: int
) -> None:
    body = tar_of(packed.folder, format_=format_)
    assert put(serving, body, packed.fingerprint).status_code == 201


def test_another_fingerprint_than_the_pixels_is_refused(
    serving: Serving, packed: PackedData, tmp_path: Path
) -> None:
    assert "come to" in refused(put(serving, tar_of(packed.folder), "0" * 64), 422)
    changed = tmp_path / "changed"
    shutil.copytree(packed.folder, changed)
    images = np.load(changed / "images.npy")
    images[0, 0, 0, 0] ^= 1
    np.save(changed / "images.npy", images)
    assert "come to" in refused(put(serving, tar_of(changed), packed.fingerprint), 422)
    assert left_behind(serving) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../../evil", tarfile.REGTYPE),
        ("/etc/evil", tarfile.REGTYPE),
        ("sub/images.npy", tarfile.REGTYPE),
        ("images.npy", tarfile.SYMTYPE),
        ("images.npy", tarfile.LNKTYPE),
        ("images.npy", tarfile.FIFOTYPE),
        ("images.npy", tarfile.CHRTYPE),
        ("images.npy", tarfile.DIRTYPE),
        ("images.npy", tarfile.REGTYPE),  # and once more after it
        ("extra.py", tarfile.REGTYPE),
        (".", tarfile.DIRTYPE),
    ],
)
def test_a_tar_holds_three_plain_files_and_nothing_else(
    serving: Serving, packed: PackedData, name: str, kind: bytes
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    content = b"evil" if kind == tarfile.REGTYPE else b""
    refused(put(serving, with_member(packed.folder, member, content), packed.fingerprint), 422)
    assert left_behind(serving) == []
    assert serving.client().get("/api/v1/datasets").json() == []


@pytest.mark.parametrize("missing", FILES)
def test_a_tar_lacks_no_file(serving: Serving, packed: PackedData, missing: str) -> None:
    body = tar_of(packed.folder, [name for name in FILES if name != missing])
    assert missing in refused(put(serving, body, packed.fingerprint), 422)


def test_a_broken_or_compressed_tar_is_refused(serving: Serving, packed: PackedData) -> None:
    whole = tar_of(packed.folder)
    squeezed = io.BytesIO()
    with tarfile.open(fileobj=squeezed, mode="w:gz") as archive:
        archive.add(packed.folder, ".")
    for body in (b"", b"no tar", whole[:2000], whole[: len(whole) // 2], squeezed.getvalue()):
        refused(put(serving, body, packed.fingerprint), 422)
    assert left_behind(serving) == []


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("content", [b"", b"{}", b"\x93NUMPY\x01\x00", b"[" * 100_000, b"null"])
def test_damaged_files_are_refused(
    serving: Serving, packed: PackedData, tmp_path: Path, file: str, content: bytes
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(packed.folder, damaged)
    (damaged / file).write_bytes(content)
    line = refused(put(serving, tar_of(damaged), packed.fingerprint), 422)
    assert str(serving.settings.data_sets) not in line


def test_pickles_are_not_opened(serving: Serving, packed: PackedData, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    shutil.copytree(packed.folder, evil)
    np.save(evil / "images.npy", np.array([print], dtype=object), allow_pickle=True)
    refused(put(serving, tar_of(evil), packed.fingerprint), 422)


def test_what_describing_it_needs_must_be_there(
    serving: Serving, packed: PackedData, tmp_path: Path
) -> None:
    """A job describes its data before it trains; a set of another user must not end it."""
    poor = tmp_path / "poor"
    shutil.copytree(packed.folder, poor)
    meta = json.loads((poor / "meta.json").read_text())
    meta["provenance"] = {}
    (poor / "meta.json").write_text(json.dumps(meta))
    refused(put(serving, tar_of(poor), packed.fingerprint), 422)


@pytest.mark.parametrize(
    "path",
    [
        "x/faces.zip", "{print}/synthetic", "{print}/..", "{print}/%2e%2e", "{print}/a%2fb",
        "{print}/.hidden", "..%2f..%2fevil/x", "{print}/" + "x" * 101, "{PRINT}/faces.zip",
    ],
)  # fmt: skip
def test_names_and_fingerprints_are_no_paths(
    serving: Serving, packed: PackedData, path: str
) -> None:
    path = path.replace("{print}", packed.fingerprint)
    path = path.replace("{PRINT}", packed.fingerprint.upper())
    answer = serving.client().put(f"/api/v1/datasets/{path}", content=tar_of(packed.folder))
    assert answer.status_code in (404, 405, 422)
    refused(answer, answer.status_code)
    assert left_behind(serving) == []


def test_a_set_that_is_too_long_is_refused_announced_or_not(
    tmp_path: Path, packed: PackedData
) -> None:
    serving, body = Serving(tmp_path, max_upload_bytes=20_000), tar_of(packed.folder)
    assert len(body) > 20_000
    path = f"/api/v1/datasets/{packed.fingerprint}/x"
    refused(serving.client().put(path, content=body), 413)
    chunks = (body[at : at + 1000] for at in range(0, len(body), 1000))
    refused(serving.client().put(path, content=chunks), 413)
    assert left_behind(serving) == []


def test_a_full_disk_is_told(
    serving: Serving, packed: PackedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads, "_copy", full)
    line = refused(put(serving, tar_of(packed.folder), packed.fingerprint), 503)
    assert "full" in line
    assert left_behind(serving) == []


def test_a_set_of_this_machine_is_adopted(serving: Serving, packed: PackedData) -> None:
    row = adopt(packed, "faces.zip", "operator", serving.settings)
    assert row.fingerprint == packed.fingerprint
    assert serving.store.add_data_set(row)
    kept = serving.settings.data_folder(packed.fingerprint, "faces.zip")
    assert PackedData.open(kept).fingerprint == packed.fingerprint


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_headers_are_not_read_at_any_length(
    serving: Serving, packed: PackedData, kind: bytes
) -> None:
    member = tarfile.TarInfo("long")
    member.type = kind
    body = with_member(packed.folder, member, b"x" * 1_000_000)
    assert "short names" in refused(put(serving, body, packed.fingerprint), 422)


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "x" * 201])
def test_classes_are_text_that_can_be_told(tmp_path: Path, packed: PackedData, name: str) -> None:
    serving = Serving(tmp_path)
    odd = tmp_path / "odd"
    shutil.copytree(packed.folder, odd)
    images, labels = (np.load(odd / file) for file in FILES[:2])
    classes = (name, *packed.classes[1:])
    text = (odd / "meta.json").read_text()
    meta = json.loads(text.replace(f'"{packed.classes[0]}"', json.dumps(name)))
    print_ = fingerprint_of(images, labels, classes, packed.splits)
    (odd / "meta.json").write_text(json.dumps({**meta, "fingerprint": print_}))
    assert "classes" in refused(put(serving, tar_of(odd), print_), 422)
    assert serving.client().get("/api/v1/datasets").json() == []


@pytest.mark.parametrize("splits", [[0, 1e999], [0, "x"]])
def test_splits_are_whole_numbers(tmp_path: Path, packed: PackedData, splits: list[object]) -> None:
    serving, odd = Serving(tmp_path), tmp_path / "odd"
    shutil.copytree(packed.folder, odd)
    meta = json.loads((odd / "meta.json").read_text())
    meta["splits"]["train"] = splits
    (odd / "meta.json").write_text(json.dumps(meta))
    refused(put(serving, tar_of(odd), packed.fingerprint), 422)


def test_what_a_killed_service_was_checking_is_removed(serving: Serving) -> None:
    left = serving.settings.data_sets / ".incoming-x"
    left.mkdir(parents=True)
    create_app(serving.settings, serving.store, serving.conductor)
    assert not left.exists()


def test_equal_pixels_are_on_the_disk_once(serving: Serving, packed: PackedData) -> None:
    for name in ("one", "two"):
        assert put(serving, tar_of(packed.folder), packed.fingerprint, name).status_code == 201
    files = [
        serving.settings.data_folder(packed.fingerprint, name) / "images.npy"
        for name in ("one", "two")
    ]
    assert files[0].samefile(files[1])


@pytest.mark.parametrize("damage", ["bytes", "no file", "no folder"])
def test_a_set_that_was_damaged_on_the_disk_is_found_and_sent_anew(
    serving: Serving, packed: PackedData, damage: str
) -> None:
    body = tar_of(packed.folder)
    for name in ("faces.zip", "again"):
        put(serving, body, packed.fingerprint, name)
    again, kept = (
        serving.settings.data_folder(packed.fingerprint, name) for name in ("again", "faces.zip")
    )
    if damage == "bytes":  # of both, as they are one file
        content = bytearray((kept / "images.npy").read_bytes())
        content[-1] ^= 1
        (kept / "images.npy").write_bytes(content)
    elif damage == "no file":
        (kept / "labels.npy").unlink()
    else:
        shutil.rmtree(kept)
    path = f"/api/v1/datasets/{packed.fingerprint}"
    check = serving.client().post
    assert check(f"{path}/faces.zip/check").json() == {"sound": False}
    assert check(f"{path}/again/check").json() == {"sound": damage != "bytes"}
    assert put(serving, body, packed.fingerprint).status_code == 200
    assert check(f"{path}/faces.zip/check").json() == {"sound": True}
    assert PackedData.open(kept).fingerprint == packed.fingerprint
    if damage == "bytes":
        assert not (kept / "images.npy").samefile(again / "images.npy")
    assert len(list(serving.settings.data_sets.glob("*"))) == 1
    assert put(serving, b"unread", packed.fingerprint).status_code == 200
    refused(check(f"{path}/other/check"), 404)


# ---- several at once, broken off, and where there is no room


def send_head(url: str, serving: Serving, path: str, user: str, length: int) -> socket.socket:
    """Begin to send a data set over a connection of its own."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = (
        f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {serving.tokens[user]}\r\n"
        f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection


def answer_of(connection: socket.socket) -> str:
    with connection, connection.makefile("rb") as answer:
        return answer.read().decode()


def test_equal_sets_sent_at_once_both_succeed(
    serving: Serving, packed: PackedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, share = threading.Barrier(2, timeout=60), uploads._share

    def together(folder: Path, parent: Path) -> None:
        share(folder, parent)
        both.wait()  # either has seen that the other's is not there

    monkeypatch.setattr(uploads, "_share", together)
    path, body = f"/api/v1/datasets/{packed.fingerprint}/faces.zip", tar_of(packed.folder)
    with served(serving) as url, ThreadPoolExecutor(2) as threads:

        def send(user: str) -> int:
            token = {"Authorization": f"Bearer {serving.tokens[user]}"}
            return httpx.put(url + path, content=body, headers=token, timeout=60).status_code

        assert sorted(threads.map(send, ("alice", "bob"))) == [200, 201]
    assert len(serving.store.data_sets()) == 1
    kept = serving.settings.data_folder(packed.fingerprint, "faces.zip")
    assert sorted(left_behind(serving)) == sorted(
        map(str, [kept.parent, kept, *(kept / file for file in FILES)])
    )


def test_a_user_sends_one_set_at_a_time(serving: Serving, packed: PackedData) -> None:
    path, body = f"/api/v1/datasets/{packed.fingerprint}/faces.zip", tar_of(packed.folder)
    with served(serving) as url:
        first = send_head(url, serving, path, "alice", len(body))
        assert eventually(lambda: len(left_behind(serving)) == 1)
        second = send_head(url, serving, path + "-again", "alice", len(body))
        assert " 429 " in answer_of(second).splitlines()[0]
        other = send_head(url, serving, path, "bob", len(body))
        other.sendall(body)
        assert " 201 " in answer_of(other).splitlines()[0]
        first.sendall(body)
        assert " 200 " in answer_of(first).splitlines()[0]
        third = send_head(url, serving, path + "-again", "alice", len(body))
        third.sendall(body)
        assert " 201 " in answer_of(third).splitlines()[0]


def test_a_client_that_hangs_up_leaves_nothing_and_no_word_of_trouble(
    serving: Serving, packed: PackedData, caplog: pytest.LogCaptureFixture
) -> None:
    path, body = f"/api/v1/datasets/{packed.fingerprint}/faces.zip", tar_of(packed.folder)
    with served(serving) as url:
        connection = send_head(url, serving, path, "alice", len(body))
        connection.sendall(body[:3000])
        assert eventually(lambda: len(left_behind(serving)) == 1)
        connection.close()
        assert eventually(lambda: left_behind(serving) == [])
        again = send_head(url, serving, path, "alice", len(body))
        again.sendall(body)
        assert " 201 " in answer_of(again).splitlines()[0]
    assert [one for one in caplog.records if one.levelname not in ("INFO", "DEBUG")] == []


def test_a_client_that_sends_nothing_more_is_given_up(
    serving: Serving, packed: PackedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "IDLE_S", 0.3)
    path = f"/api/v1/datasets/{packed.fingerprint}/faces.zip"
    with served(serving) as url:
        assert " 408 " in answer_of(send_head(url, serving, path, "alice", 50_000)).splitlines()[0]
    assert left_behind(serving) == []


@pytest.mark.parametrize("announced", [True, False])
def test_what_there_is_no_room_for_is_refused(
    serving: Serving, packed: PackedData, monkeypatch: pytest.MonkeyPatch, announced: bool
) -> None:
    body = tar_of(packed.folder)
    free = disk.RESERVE_BYTES + len(body) - 1
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(routes, "CHECK_ROOM_EVERY", 1000)
    chunks = (body[at : at + 1000] for at in range(0, len(body), 1000))
    path = f"/api/v1/datasets/{packed.fingerprint}/x"
    line = refused(serving.client().put(path, content=body if announced else chunks), 507)
    assert "free space" in line
    assert left_behind(serving) == []


@pytest.mark.parametrize("where", ["tempfile.NamedTemporaryFile", "received", "_receive"])
def test_a_disk_that_is_full_at_any_moment_is_told(
    serving: Serving, packed: PackedData, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"tuner.service.routes.files.{where}", full)
    assert "full" in refused(put(serving, tar_of(packed.folder), packed.fingerprint), 503)
    monkeypatch.undo()
    assert put(serving, tar_of(packed.folder), packed.fingerprint).status_code == 201
