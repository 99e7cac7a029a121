"""A wheel holds all that the program reads; installed, it trains and reports without the checkout.

Its environment is new and knows nothing of the checkout. What tuner depends on is taken from the
environment of the tests, by a path alone, which does not carry over an editable installation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from search_spaces.space import known_spaces

ROOT = Path(__file__).parents[2]
PACKAGES = ("tuner", "trainables", "search_spaces", "reports")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what a wheel is built from, as building writes into it."""
    copy = tmp_path_factory.mktemp("wheel") / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    """Return the wheel."""
    pytest.importorskip("setuptools")
    folder = source.parent
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def tuner(wheel: Path) -> Path:
    """Return the program in an environment into which the wheel was installed."""
    environment = wheel.parent / "environment"
    venv.create(environment, symlinks=True)
    program = environment / "bin" / "python"
    asked = [program, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout[:-1])
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("install", wheel, python=program)
    return environment / "bin" / "tuner"


def pip(command: str, *rest: str | Path, python: str | Path = sys.executable) -> None:
    """Let pip do something in an environment, with no other package and no index."""
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, command, "--no-deps", "--no-index",
         *rest],
        check=True, capture_output=True,
    )  # fmt: skip


def done(tuner: Path, *arguments: object, cwd: Path) -> str:
    """Return what a command printed, given elsewhere than in the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [tuner, *map(str, arguments)], cwd=cwd, check=True, capture_output=True, text=True,
        env={**environment, "XDG_CACHE_HOME": str(cwd / "cache")},
    ).stdout  # fmt: skip


def test_a_wheel_has_every_file_of_the_packages(source: Path, wheel: Path) -> None:
    files = {
        str(path.relative_to(source))
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file()
    }
    with zipfile.ZipFile(wheel) as archive:
        assert files - set(archive.namelist()) == set()


def test_installed_alone_it_trains_and_reports(tuner: Path, tmp_path: Path) -> None:
    program = tuner.parent / "python"
    where = [program, "-c", "import tuner, trainables; print(tuner.__file__, trainables.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert found.count(str(tuner.parents[1])) == 2
    assert all(space in done(tuner, "spaces", cwd=tmp_path) for space in known_spaces())
    done(tuner, "run", "--space", "periodic_T", "--trials", 2, "--epochs", 2, "--name", "it",
         "--scheduler", "none", cwd=tmp_path)  # fmt: skip
    assert "2 completed" in done(tuner, "status", "it", cwd=tmp_path)
    done(tuner, "report", "it", "-o", "it.html", cwd=tmp_path)
    assert "periodic_T" in (tmp_path / "it.html").read_text(encoding="utf-8")
