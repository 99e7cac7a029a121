import os
from pathlib import Path

import numpy as np
import pytest

from search_spaces.model import UserError
from tests.trainables.data.layouts import (
    SHARED_DATA,
    class_folders,
    counts,
    packed,
    png,
    table,
    write_folder,
    write_tar,
    write_zip,
)
from trainables.config import DataConfig
from trainables.data import synthetic
from trainables.data.source import SPLIT_STRIDE, describe, packed_before, prepare

SPLIT_FILES = class_folders(["cat", "dog", "eel"], 5, ["train", "val", "test"])


def test_zip_folder_tar_and_csv_of_the_same_pixels_have_one_fingerprint(tmp_path: Path) -> None:
    nested = {f"outer/inner/{name}": content for name, content in SPLIT_FILES.items()}
    renamed = {f"all/{i:03d}.png": SPLIT_FILES[n] for i, n in enumerate(sorted(SPLIT_FILES)[::-1])}
    rows = [("split", "path", "label", "age")]
    for i, name in enumerate(sorted(SPLIT_FILES)[::-1]):
        split, label, _ = name.split("/")
        rows.append((split, f"all/{i:03d}.png", label, "7"))
    write_folder(tmp_path / "csv", {**renamed, "list.csv": table(rows)})
    sources = [
        write_folder(tmp_path / "folder", SPLIT_FILES),
        write_folder(tmp_path / "nested", nested),
        write_zip(tmp_path / "set.zip", nested),
        write_tar(tmp_path / "set.tar", dict(reversed(nested.items()))),
        write_tar(tmp_path / "set.tar.gz", nested),
        tmp_path / "csv",
        tmp_path / "csv" / "list.csv",
        write_zip(tmp_path / "csv.zip", {**renamed, "list.csv": table(rows)}),
    ]
    packs = [packed(source) for source in sources]
    assert len({data.fingerprint for data in packs}) == 1
    assert len({data.folder for data in packs}) == len(packs)
    assert counts(packs[0]) == {"train": 15, "validation": 15, "test": 15}


def test_a_packed_set_is_found_again_without_reading_the_source(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "set.zip", SPLIT_FILES)
    first = packed(source)
    calls: list[int] = []
    config = DataConfig(source=str(source), limit=20, max_bad=5)  # neither changes what is packed
    again = prepare(config, tmp_path / "cache", lambda done, *_: calls.append(done))
    assert again == first
    assert calls == []


def test_copies_of_earlier_splits_are_left_out_on_demand_and_told(tmp_path: Path) -> None:
    train, validation = (SPLIT_FILES[f"{split}/cat/0000.png"] for split in ("train", "val"))
    files = {
        **SPLIT_FILES,
        "val/cat/copy.png": train,
        "test/cat/copy.png": train,
        "test/cat/other.png": validation,
    }
    source = write_zip(tmp_path / "set.zip", files)
    kept, data = packed(source), packed(source, copies="drop")
    assert counts(kept) == {"train": 15, "validation": 16, "test": 17}
    assert counts(data) == {"train": 15, "validation": 15, "test": 15}
    assert data.fingerprint == packed(write_zip(tmp_path / "without.zip", SPLIT_FILES)).fingerprint
    told = describe(data)
    for split, earlier in (("validation", "train"), ("test", "train"), ("test", "validation")):
        assert f"Dropped: 1 × image of {split} that is also in {earlier}." in told
    assert not [line for line in told if line.startswith("Duplicates") or "--copies drop" in line]
    assert len([line for line in describe(kept) if "--copies drop" in line]) == 1
    assert kept.copies_of_train() == kept.copies_of_train(17) == {"validation": 1, "test": 1}
    assert data.copies_of_train() == data.copies_of_train(15) == {"validation": 0, "test": 0}
    again = DataConfig(source=str(data.folder), copies="drop")
    assert prepare(again, tmp_path / "cache").fingerprint == data.fingerprint
    with pytest.raises(UserError, match="copies must be keep for"):
        prepare(again.model_copy(update={"source": str(kept.folder)}), tmp_path / "cache")
    few = {name: of for name, of in SPLIT_FILES.items() if not name.startswith("test")}
    few["test/cat/0000.png"] = train
    with pytest.raises(UserError, match=r"copies must be keep .*: every image of test"):
        packed(write_zip(tmp_path / "few.zip", few), copies="drop")


def test_what_is_packed_is_told_without_writing(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "set.zip", SPLIT_FILES)
    config, cache = DataConfig(source=str(source)), tmp_path / "cache"
    assert packed_before(config, cache) is None
    assert not cache.exists()
    assert packed_before(config, packed(source).folder.parent) == packed(source)
    folder = packed(source).folder
    assert packed_before(DataConfig(source=str(folder)), cache) == prepare(
        DataConfig(source=str(folder)), cache
    )
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("no image")
    for wrong in ("none", "text"):
        with pytest.raises(UserError, match=wrong):
            packed_before(DataConfig(source=str(tmp_path / wrong)), cache)


@pytest.mark.parametrize("kind", ["zip", "folder", "csv"])
def test_a_changed_source_is_packed_anew(tmp_path: Path, kind: str) -> None:
    files = {**SPLIT_FILES, "list.csv": b""}
    rows = [("path", "label", "split")]
    rows += [(name, name.split("/")[1], name.split("/")[0]) for name in SPLIT_FILES]
    files["list.csv"] = table(rows)
    source = write_folder(tmp_path / "set", files) / "list.csv"
    if kind == "folder":
        source = source.parent
    elif kind == "zip":
        source = write_zip(tmp_path / "set.zip", SPLIT_FILES)
    first = packed(source)
    changed = {**SPLIT_FILES, "train/cat/0000.png": png(12345)}
    if kind == "zip":
        write_zip(source, changed)
    else:
        write_folder(tmp_path / "set", {"train/cat/0000.png": png(12345)})
    second = packed(source)
    assert second.fingerprint != first.fingerprint


@pytest.mark.parametrize("option", [{"size": 9}, {"color": "rgb"}, {"seed": 1}, {"val_share": 0.3}])
def test_options_that_change_the_result_are_packed_anew(
    tmp_path: Path, option: dict[str, object]
) -> None:
    source = write_folder(tmp_path / "set", class_folders(["a", "b"], 12))
    assert packed(source, **option).fingerprint != packed(source).fingerprint


def test_a_packed_folder_is_a_source(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", SPLIT_FILES))
    assert packed(data.folder) == data
    # A server is sent a packed set, and a specification that says as what it was packed.
    assert packed(data.folder, format="folder") == data
    assert packed(data.folder, format="packed", size=12, color="gray") == data
    with pytest.raises(UserError, match="size must be 12 or empty"):
        packed(data.folder, size=48)
    with pytest.raises(UserError, match="color must be auto"):
        packed(data.folder, color="rgb")
    with pytest.raises(UserError, match="is not a packed data set"):
        packed(tmp_path / "set", format="packed")


def test_synthetic_faces_are_packed_with_wrong_labels_in_train_alone(tmp_path: Path) -> None:
    config = DataConfig(synthetic_train=70, synthetic_eval=21, synthetic_wrong=0.2, seed=4)
    data = prepare(config, tmp_path)
    assert counts(data) == {"train": 70, "validation": 21, "test": 21}
    assert data.classes == synthetic.CLASSES
    for number, (split, length) in enumerate((("train", 70), ("validation", 21), ("test", 21))):
        images, labels = synthetic.faces(length, 4, number * SPLIT_STRIDE)
        true = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
        found = data.split(split)
        assert {image.tobytes() for image in found.images_BCHW} == set(true)
        wrong = sum(
            true[image.tobytes()] != label
            for image, label in zip(found.images_BCHW, found.labels_B, strict=True)
        )
        assert wrong == (14 if split == "train" else 0)


def test_describe_shows_counts_and_everything_left_out(tmp_path: Path) -> None:
    files = class_folders(["happy", "sad", "contempt"], 10, ["train", "test"])
    files["test/sad/copy.png"] = files["train/happy/0003.png"]
    files["train/readme.txt"] = b""
    files["train/sad/empty.png"] = b""
    data = packed(write_folder(tmp_path / "my set", files), max_bad=1)
    lines = describe(data)
    assert lines[0] == "my-set: 41 images of 12×12 pixels, gray, 2 classes"
    assert [line.split() for line in lines[1:5]] == [
        ["class", "train", "validation", "test"],
        ["happy", "9", "1", "10"],
        ["sad", "9", "1", "11"],
        ["all", "18", "2", "21"],
    ]
    text = "\n".join(lines)
    assert "Dropped: 20 × contempt." in text
    assert "Dropped: 1 × not an image." in text
    assert "Bad: train/sad/empty.png: empty." in text
    assert "Duplicates: 1 images of test are also in " in text
    assert "1 of them under another class" in text
    assert "validation is carved from train: 10 % of each class, seed 0." in text
    assert lines[-1] == f"Fingerprint {data.fingerprint}"


def test_describe_shows_totals_of_many_classes(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "set", class_folders(map(str, range(21)), 3)))
    assert len(describe(data)) < 10


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent", "No file or folder .*absent; give synthetic, or the path"),
        ("empty", "none of the layouts .* was recognised; found no files"),
        ("text.dat", "neither a folder, a zip, a tar nor a CSV"),
        ("odd.csv", "none of the layouts .* was recognised; found 1 file: odd.csv"),
        ("holds-zip", "found 1 file: set.zip"),
    ],
)
def test_a_source_that_cannot_be_understood_is_told(
    tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "holds-zip").mkdir()
    (tmp_path / "holds-zip" / "set.zip").write_bytes(b"")
    (tmp_path / "text.dat").write_bytes(b"hello")
    (tmp_path / "odd.csv").write_bytes(b"x,y\n\xff\xfe")
    with pytest.raises(UserError, match=message) as caught:
        packed(tmp_path / source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "format_", ["fer2013", "affectnet", "rafdb", "cifar10", "cars", "manifest"]
)
def test_a_forced_format_that_is_not_there_says_what_was_looked_for(
    tmp_path: Path, format_: str
) -> None:
    source = write_folder(tmp_path / "set", SPLIT_FILES)
    with pytest.raises(UserError, match=rf"{format_} \(.+\) was not recognised; found 45 files"):
        packed(source, format=format_)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(UserError, match="Cannot pack into"):
        packed(write_folder(tmp_path / "set", SPLIT_FILES))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected", "channels"),
    [
        ("fer2013", {"train": 28_709, "validation": 3_589, "test": 3_589}, 1),
        ("cifar10", {"train": 45_000, "validation": 5_000, "test": 10_000}, 3),
    ],
)
def test_the_real_archives_pack_to_their_published_counts(
    tmp_path: Path, name: str, expected: dict[str, int], channels: int
) -> None:
    source = SHARED_DATA / f"{name}.zip"
    if not source.exists():
        pytest.skip(f"no {name}.zip")
    data = prepare(DataConfig(source=str(source)), tmp_path)
    assert counts(data) == expected
    assert data.channels == channels
    assert data.provenance["format"] == name
    assert data.provenance["bad"] == []
    assert np.unique(data.split("test").labels_B).tolist() == list(range(len(data.classes)))
    if name == "fer2013":
        assert data.provenance["counts"]["test"]["disgust"] == 55
        assert data.provenance["duplicates"]["train/test"]["images"] == 288
