import errno
import io
import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_spaces.model import UserError
from tests.trainables.data.layouts import (
    class_folders,
    counts,
    packed,
    pixels,
    pixels_by_class,
    png,
    write_folder,
    write_zip,
)
from trainables.config import DataConfig
from trainables.data import pack as pack_module
from trainables.data.packed import fingerprint_of
from trainables.data.source import prepare

REPOSITORY = Path(__file__).resolve().parents[3]
PACK = """
import os, signal, sys
from pathlib import Path
from trainables.config import DataConfig
from trainables.data.source import prepare

def progress(done, total, what):
    print(done, what, flush=True)
    if what.startswith(sys.argv[3]) and done >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

prepare(DataConfig(source=sys.argv[1]), Path(sys.argv[2]), progress)
"""


def pack_in_process(source: Path, cache: Path, phase: str, kill_at: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PACK, str(source), str(cache), phase, str(kill_at)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1200 images, two of which are damaged."""
    files = class_folders(["a", "b", "c"], 400)
    return write_zip(tmp_path_factory.mktemp("source") / "set.zip", files)


@pytest.mark.parametrize(("phase", "kill_at"), [("packing", 500), ("ordering", 1)])
def test_killed_with_signal_9_it_continues_to_the_same_bytes(
    tmp_path: Path, source: Path, phase: str, kill_at: int
) -> None:
    whole = prepare(DataConfig(source=str(source)), tmp_path / "whole")
    killed = pack_in_process(source, tmp_path / "killed", phase, kill_at)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not list((tmp_path / "killed").glob("set-*"))
    seen: list[int] = []
    config = DataConfig(source=str(source))
    again = prepare(config, tmp_path / "killed", lambda done, *_: seen.append(done))
    assert seen[0] == (500 if phase == "packing" else 1200)
    assert content(again.folder) == content(whole.folder)
    assert again.folder.name == whole.folder.name
    assert sorted(content(again.folder)) == ["images.npy", "labels.npy", "meta.json"]


def test_two_processes_at_once_pack_once(tmp_path: Path, source: Path) -> None:
    processes = [pack_in_process(source, tmp_path, "never", 0) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("ordering images" in output for output in outputs) == 1
    data = prepare(DataConfig(source=str(source)), tmp_path)
    assert sum(counts(data).values()) == 1200
    images, labels = np.load(data.folder / "images.npy"), np.load(data.folder / "labels.npy")
    assert data.fingerprint == fingerprint_of(images, labels, data.classes, data.splits)


def test_a_full_disk_is_told_and_what_was_packed_is_kept(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:  # two files each time: in the second checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pack_module.os, "fsync", full)
    config = DataConfig(source=str(source))
    with pytest.raises(UserError, match=f"No space left in {tmp_path}") as caught:
        prepare(config, tmp_path)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    seen: list[int] = []
    data = prepare(config, tmp_path, lambda done, *_: seen.append(done))
    assert seen[0] == 500
    assert data.fingerprint == prepare(config, tmp_path / "other").fingerprint


def bad_files() -> dict[str, bytes]:
    whole = png(99)
    return {
        "a/empty.png": b"",
        "a/half.png": whole[: len(whole) // 2],
        "b/text.jpg": b"not an image",
        "b/huge.png": huge_png(),
    }


def huge_png() -> bytes:
    """Return the start of a PNG that claims 20000×20000 pixels."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    chunks = b""
    for kind, content in ((b"IHDR", header), (b"IDAT", b"x")):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        chunks += struct.pack(">I", len(content)) + kind + content + checksum
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_any_bad_image_is_refused_by_default_and_named(tmp_path: Path) -> None:
    files = class_folders(["a", "b"], 10)
    source = write_folder(tmp_path / "set", {**files, "a/empty.png": b""})
    with pytest.raises(
        UserError, match=r"max_bad \(--max-bad\) must be at least 1 .* of 21 .*empty.png: empty"
    ):
        packed(source)


def test_tolerated_bad_images_are_left_out_and_listed(tmp_path: Path) -> None:
    good = class_folders(["a", "b"], 20)
    source = write_folder(tmp_path / "set", {**good, **bad_files()})
    with pytest.raises(UserError, match=r"at least 4 .*bad.txt") as caught:
        packed(source, max_bad=3)
    listed = Path(str(caught.value).rpartition("all of them in ")[2].rstrip(").")).read_text()
    assert {line.split(":")[0] for line in listed.splitlines()} == set(bad_files())
    data = packed(source, max_bad=4)
    reasons = dict(data.provenance["bad"])
    assert set(reasons) == set(bad_files())
    assert reasons["a/empty.png"] == "empty"
    assert reasons["b/text.jpg"] == "not an image"
    assert reasons["b/huge.png"] == "has more pixels than Pillow's limit"
    clean = packed(write_folder(tmp_path / "clean", good))
    assert data.fingerprint == clean.fingerprint
    with pytest.raises(UserError, match=r"at least 4 .*meta.json"):  # also where already packed
        packed(source, max_bad=3)


def test_the_second_try_with_more_tolerance_decodes_nothing_again(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "set", {**class_folders(["a", "b"], 20), **bad_files()})
    with pytest.raises(UserError):
        packed(source)
    seen: list[tuple[int, int]] = []
    config = DataConfig(source=str(source), max_bad=4)
    prepare(config, tmp_path / "cache", lambda done, total, _: seen.append((done, total)))
    assert seen[0] == (44, 44)


def test_only_bad_images_are_told(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "set", {"a/1.png": b"x", "b/2.png": b"y"})
    with pytest.raises(UserError, match=r"None of 2 images .*a/1\.png: not an image"):
        packed(source, max_bad=9)


def test_images_of_another_size_are_resized_as_pillow_does(tmp_path: Path) -> None:
    files = class_folders(["a", "b"], 6)
    files["b/large.png"] = png(77, side=31)
    data = packed(write_folder(tmp_path / "set", files))
    small = Image.fromarray(pixels(77, 31)).resize((12, 12), Image.Resampling.BILINEAR)
    found = set.union(*(pixels_by_class(data, s).get("b", set()) for s in data.splits))
    assert small.tobytes() in found
    assert (data.size, data.provenance["resized"]) == (12, 1)


def test_a_configured_size_and_color_win(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "set", class_folders(["a", "b"], 6))
    data = packed(source, size=8, color="rgb")
    images = data.split("train").images_BCHW
    assert images.shape[1:] == (3, 8, 8)
    assert (images[:, 0] == images[:, 2]).all()
    assert data.provenance["resized"] == data.provenance["recolored"] == 12


def test_rgb_is_kept_channel_first_and_auto_follows_the_first_image(tmp_path: Path) -> None:
    files = {f"{c}/{i}.png": png(10 * n + i, 8, 3) for n, c in enumerate("ab") for i in range(5)}
    files["b/gray.png"] = png(99, 8)
    data = packed(write_folder(tmp_path / "set", files))
    found = set.union(*(pixels_by_class(data, s)["a"] for s in data.splits))
    assert found == {pixels(i, 8, 3).transpose(2, 0, 1).tobytes() for i in range(5)}
    assert data.provenance["recolored"] == 1


@pytest.mark.parametrize("mode", ["1", "P", "RGBA", "CMYK", "I;16", "LA"])
def test_every_common_pixel_kind_is_packed(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(pixels(1, 16))
    if mode == "I;16":
        image = Image.fromarray(pixels(1, 16).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, "TIFF" if mode == "CMYK" else "PNG")
    files = {**class_folders(["a", "b"], 4), "b/odd.tif": stream.getvalue()}
    data = packed(write_folder(tmp_path / "set", files), color="gray", size=16)
    found = set.union(*(pixels_by_class(data, s).get("b", set()) for s in data.splits))
    if mode in ("I;16", "LA"):  # shades survive exactly
        assert pixels(1, 16).tobytes() in found
    assert sum(counts(data).values()) == 9


@pytest.mark.parametrize("side", [4, 2000])
def test_a_first_image_of_unusable_size_asks_for_one(tmp_path: Path, side: int) -> None:
    stream = io.BytesIO()
    Image.new("L", (side, side)).save(stream, "PNG")
    source = write_folder(tmp_path / "set", {"a/1.png": stream.getvalue(), "b/1.png": png(1)})
    with pytest.raises(UserError, match=f"size must be 8 to 1024, but .*{side}"):
        packed(source)


def test_the_provenance_says_what_was_done(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "set.zip", class_folders(["a", "b"], 10))
    data = packed(source, seed=3)
    about = json.loads((data.folder / "meta.json").read_text())["provenance"]
    assert about["source"] == str(source)
    assert about["format"] == "folder"
    assert about["options"]["seed"] == 3
    assert set(about["created_by"]) == {"numpy", "pillow"}
    assert about["counts"]["train"] == {"a": 8, "b": 8}
