"""The doctor, on set-ups that are really broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import tuner.doctor
from tuner.doctor import Finding, examine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _only_small_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing torch and ray takes seconds; one test looks at all packages."""
    monkeypatch.setattr(tuner.doctor, "SUPPORTED", {"click": ("8.1.8", "9")})
    monkeypatch.setattr(tuner.doctor, "_gpus", lambda: iter(()))


def found(tmp_path: Path, **changes: Any) -> dict[str, Finding]:
    folders = {name: changes.pop(name, tmp_path / name) for name in ("runs", "cache", "temp")}
    (tmp_path / "temp").mkdir(exist_ok=True)
    findings = examine(**folders, **{"start_ray": False, **changes})
    return {finding.what: finding for finding in findings}


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    result = subprocess.run(
        [sys.executable, "-m", "tuner", "doctor", "--format", "json", *arguments],
        capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT, timeout=300,
    )  # fmt: skip
    return result.returncode, {item["what"]: item for item in json.loads(result.stdout)}


def test_a_sound_set_up_has_nothing_bad(tmp_path: Path) -> None:
    sound = found(tmp_path, temp=Path(tempfile.gettempdir()), free_bytes=0)
    assert [finding for finding in sound.values() if finding.level == "bad"] == []


def test_a_folder_that_is_a_file_is_bad(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for where in ("runs", "cache"):
        finding = found(tmp_path, **{where: tmp_path / "file"})[f"{where} folder"]
        assert finding.level == "bad"
        assert f"--{where}" in finding.mend
    below = found(tmp_path, runs=tmp_path / "file" / "runs")["runs folder"]
    assert below.level == "bad"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_permission_is_bad(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert found(tmp_path, runs=tmp_path / "closed")["runs folder"].level == "bad"


def test_only_a_folder_that_is_not_there_will_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert found(tmp_path, runs=Path("there"))["runs folder"].told == "there"
    assert found(tmp_path, runs=Path("new"))["runs folder"].told == "new (will be made)"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    found(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["temp"]


def test_a_full_disk_is_bad_and_a_filling_one_a_warning(tmp_path: Path) -> None:
    free = 2**40
    while found(tmp_path, free_bytes=free)["runs disk"].level != "ok":
        free //= 2
    assert found(tmp_path, free_bytes=free * 4)["runs disk"].level == "warn"
    assert found(tmp_path, free_bytes=free * 40)["runs disk"].level == "bad"


def test_little_shared_memory_is_a_warning(tmp_path: Path) -> None:
    assert found(tmp_path, shm_bytes=2**60)["shared memory"].level == "warn"


def test_a_long_temporary_folder_is_bad(tmp_path: Path) -> None:
    assert found(tmp_path, temp=tmp_path / ("t" * 90))["ray folder"].level == "bad"


@pytest.mark.parametrize(
    ("limits", "level", "part"),
    [
        ({"nobodys-package": ("1", "2")}, "bad", "not installed"),
        ({"click": ("999", "1000")}, "bad", "999 or later is needed"),
        ({"click": ("1", "2")}, "warn", "newer than any"),
    ],
)
def test_versions_are_compared_with_what_is_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], level: str, part: str
) -> None:
    monkeypatch.setattr(tuner.doctor, "SUPPORTED", limits)
    finding = found(tmp_path)[next(iter(limits))]
    assert finding.level == level
    assert part in finding.told
    assert "pip install" in finding.mend


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("raise ImportError('libcudart.so.12: cannot open')", "libcudart"),
        ("import os; os._exit(7)", "crashes the interpreter"),
    ],
)
def test_a_package_that_cannot_be_imported_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, part: str
) -> None:
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "optuna.py").write_text(content)
    limits = {"click": ("8", "9"), "optuna": ("5", "6"), "rich": ("13", "99")}
    monkeypatch.setattr(tuner.doctor, "SUPPORTED", limits)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))
    findings = found(tmp_path)
    assert findings["optuna"].level == "bad"
    assert part in findings["optuna"].told
    assert findings["click"].level == findings["rich"].level == "ok"


@pytest.mark.slow
def test_the_whole_doctor_finds_this_machine_fit_to_run(tmp_path: Path) -> None:
    status, findings = doctor(
        "--runs", str(tmp_path / "runs"), "--free-gib", "0.001", RAY_AUTH_MODE="disabled"
    )
    assert [item for item in findings.values() if item["level"] == "bad"] == []
    assert status == 0
    assert findings["ray"]["told"].startswith("starts; ")


@pytest.mark.slow
def test_a_ray_address_where_nobody_answers_is_bad(tmp_path: Path) -> None:
    status, findings = doctor(RAY_ADDRESS="127.0.0.1:1", RAY_AUTH_MODE="disabled")
    assert status == 1
    assert findings["ray at 127.0.0.1:1"]["level"] == "bad"
    assert "RAY_ADDRESS" in findings["ray at 127.0.0.1:1"]["mend"]
