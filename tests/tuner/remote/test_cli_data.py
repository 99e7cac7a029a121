"""`tuner data` against the real service."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.trainables.data.layouts import class_folders, write_zip
from tests.tuner.remote.lab import Lab
from tests.tuner.remote.laptop import DATA, done, refused, tuner

pytestmark = pytest.mark.usefixtures("home")
OTHER_DATA = class_folders(["cat", "dog"], 8, ["train", "val", "test"])


def test_a_data_set_is_pushed_once_listed_and_found_by_its_content_or_name(
    lab: Lab, home: Path
) -> None:
    write_zip(home / "pets.zip", OTHER_DATA)
    line = refused("submit", "--data", "pets.zip")
    assert "Server lab does not have pets.zip (fingerprint" in line
    assert line.endswith(f"tuner data push {home / 'pets.zip'}")
    first = tuner("data", "push", "pets.zip")
    assert first.exit_code == 0
    assert "lab has pets.zip now." in first.stderr
    assert "Sending pets.zip to lab" in first.stderr
    again = tuner("data", "push", "pets.zip")
    assert "lab has pets.zip already." in again.stderr
    assert "Sending" not in again.stderr
    assert first.stdout == again.stdout
    fingerprint = first.stdout.strip()
    rows = json.loads(done("data", "list", "--format", "json"))
    (row,) = [one for one in rows if one["name"] == "pets.zip"]
    assert (row["fingerprint"], row["added_by"]) == (fingerprint, "alice")
    assert "pets.zip" in done("data", "list")
    assert fingerprint in done("data", "list", "--format", "csv")
    here = json.loads(done("submit", "--data", "pets.zip", "--format", "json"))
    (home / "pets.zip").unlink()
    result = tuner("submit", "--data", "pets.zip", "--format", "json")
    there = json.loads(result.stdout)
    assert there["digest"] == here["digest"]
    assert "Data: pets.zip as lab has it, 48 images" in result.stderr
    assert "Unknown data set 'pet.zip'. Did you mean 'pets.zip'?" in refused(
        "submit", "--data", "pet.zip"
    )


def test_a_data_set_that_is_damaged_there_is_pushed_again(lab: Lab, home: Path) -> None:
    write_zip(home / "worn.zip", class_folders(["ant", "bee"], 6, ["train", "val", "test"]))
    fingerprint = done("data", "push", "worn.zip").strip()
    images = lab.settings.data_folder(fingerprint, "worn.zip") / "images.npy"
    whole = images.read_bytes()
    images.chmod(0o600)
    images.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    again = tuner("data", "push", "worn.zip")
    assert (again.exit_code, again.stdout.strip()) == (0, fingerprint)
    assert "lab has worn.zip damaged; it is sent again." in again.stderr
    assert images.read_bytes() == whole
    assert "already" in tuner("data", "push", "worn.zip").stderr


def test_a_name_with_two_contents_must_be_here_to_be_meant(lab: Lab, home: Path) -> None:
    for content in (DATA, OTHER_DATA):
        write_zip(home / "twice.zip", content)
        done("data", "push", "twice.zip")
    (home / "twice.zip").unlink()
    assert "has 2 data sets twice.zip" in refused("submit", "--data", "twice.zip")


def test_a_name_that_no_server_takes_is_told_before_anything_is_packed(home: Path) -> None:
    write_zip(home / "my pets.zip", DATA)
    assert "rename the file" in refused("data", "push", "my pets.zip")
    assert "mend --name" in refused("data", "push", "my pets.zip", "--name", "a/b")
    assert "now" in tuner("data", "push", "my pets.zip", "--name", "mine.zip").stderr


def test_a_set_that_is_too_large_is_told_before_it_is_sent(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small").mkdir()
    small = Lab(tmp_path / "small", max_upload_bytes=1000)
    try:
        monkeypatch.setenv("TUNER_SERVERS", str(small.configure(tmp_path)))
        write_zip(home / "pets.zip", DATA)
        assert "ask its admin for `tuner data add`" in refused("data", "push", "pets.zip")
    finally:
        small.close()


def test_the_operator_adds_a_data_set_on_the_server_itself(lab: Lab, home: Path) -> None:
    write_zip(home / "added.zip", DATA)
    runs = lab.settings.runs
    fingerprint = done("data", "add", "added.zip", "--runs", runs).strip()
    assert done("data", "add", "added.zip", "--runs", runs).strip() == fingerprint
    row = lab.store.data_set(fingerprint, "added.zip")
    assert row is not None
    assert row.added_by == "operator"
    (home / "added.zip").unlink()
    done("submit", "--data", "added.zip", "--dry-run")


def test_what_is_called_like_a_command_can_still_be_packed(home: Path) -> None:
    shutil.copy(write_zip(home / "x.zip", DATA), home / "list")
    assert "45 images" in done("data", "x.zip")
    assert "No data set" not in tuner("data", "./list", "--data-format", "folder").stderr
    assert done("data", "list").startswith("name ")
