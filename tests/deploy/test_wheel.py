"""A wheel holds all that the program reads, and works outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from search_spaces.space import known_spaces

ROOT = Path(__file__).parents[2]
PACKAGES = ("tuner", "trainables", "search_spaces", "reports")

pytestmark = pytest.mark.slow


def test_a_wheel_has_every_file_of_the_packages_and_works_without_the_checkout(
    tmp_path: Path,
) -> None:
    pytest.importorskip("setuptools")
    source = tmp_path / "source"  # building writes into it
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    files = {str(path.relative_to(source)) for path in source.rglob("*/*") if path.is_file()}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
         "--wheel-dir", tmp_path, source],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        assert files - set(archive.namelist()) == set()
        archive.extractall(installed)
    for arguments in (["--help"], ["spaces"]):
        done = subprocess.run(
            [sys.executable, "-m", "tuner", *arguments],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed)},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    assert all(space in done.stdout for space in known_spaces())
