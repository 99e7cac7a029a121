"""`tuner compare` from the command line: also without torch and ray, and with every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tuner.made_runs import make_run, quick
from tuner.cli import cli

ROOT = Path(__file__).resolve().parents[2]
TEN = """\
arm,space,config_id,seed,state,score,test_score,epochs,slot_seconds,knob.T
periodic,periodic_T,0,1,completed,0.31,0.30,12,30,3
periodic,periodic_T,1,2,completed,0.35,0.33,12,31,5
periodic,periodic_T,2,3,crashed,,,4,9,1
periodic,periodic_T,3,4,completed,0.39,0.37,12,30,4
periodic,periodic_T,4,5,completed,0.28,0.27,12,30,6
periodic,periodic_T,5,6,completed,0.33,0.31,12,30,2
dynamic,dynamic_default,0,11,completed,0.38,0.37,12,33,
dynamic,dynamic_default,1,12,completed,0.40,0.38,12,33,
dynamic,dynamic_default,2,13,completed,0.37,0.36,12,33,
dynamic,dynamic_default,3,14,completed,0.39,0.37,12,33,
"""
SPACES = ["--periodic", "periodic_T", "--dynamic", "dynamic_default"]


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    (tmp_path / "ten.csv").write_text(TEN, encoding="utf-8")
    return tmp_path / "ten.csv"


def compare(*arguments: object, spaces: list[str] = SPACES):
    result = CliRunner().invoke(cli, ["compare", *map(str, arguments), *spaces])
    return result.exit_code, result.stdout, result.stderr


def test_a_hand_written_table_gives_the_claim_first(ten: Path):
    status, out, err = compare(ten, "--target", 0.37)
    assert (status, err) == (0, "")
    assert out.startswith("periodic_T needs 6 times as many trials as dynamic_default to reach")


def test_it_needs_neither_torch_nor_ray(ten: Path, tmp_path: Path):
    for name in ("torch", "ray", "torchvision"):
        (tmp_path / "shadow" / name).mkdir(parents=True)
        (tmp_path / "shadow" / name / "__init__.py").write_text("raise ImportError('shadowed')")
    code = (
        "import importlib, pathlib, sys\n"
        "for name in ('torch', 'ray'):\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except ImportError:\n        continue\n"
        "    sys.exit('not shadowed')\n"
        "from tuner.cli import main\nmain()\n"
    )
    path = os.pathsep.join([str(tmp_path / "shadow"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path)}
    arguments = [sys.executable, "-c", code, "compare", str(ten), *SPACES, "--format", "json"]
    found = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert found.stderr == ""
    assert found.returncode == 0
    assert json.loads(found.stdout)["arms"]["dynamic"]["trials"] == 4


MODULES = sorted(
    f"reports.{path.stem}" for path in (ROOT / "reports").glob("*.py") if path.stem != "__init__"
)


def test_no_module_of_reports_imports_torch_or_ray():
    code = (
        "import importlib, sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'ray'):\n"
        "            raise ImportError(f'{name} is not to be imported')\n"
        "sys.meta_path.insert(0, Block())\n"
        f"for name in {MODULES!r}:\n    importlib.import_module(name)\n"
    )
    arguments = [sys.executable, "-c", code]
    found = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
    assert found.returncode == 0, found.stderr


def test_runs_and_tables_mix_and_a_run_is_found_by_name(ten: Path, tmp_path: Path):
    runs = tmp_path / "runs"
    spec = quick(sampler={"name": "random"}, scheduler={"name": "none"})
    curves = [({"T": t}, [0.3, 0.3 + t / 100], "completed") for t in range(2, 6)]
    make_run(runs / "mine", curves, spec)
    only_dynamic = "\n".join(TEN.splitlines()[:1] + TEN.splitlines()[7:]) + "\n"
    ten.write_text(only_dynamic, encoding="utf-8")
    status, out, _ = compare(ten, "mine", "--runs", runs, "--target", 0.335, "--format", "json")
    assert status == 0
    assert json.loads(out)["arms"]["periodic"]["hits"] == 2  # 0.34 and 0.35
    assert compare(ten, runs / "mine", "--target", 0.335, "--format", "json")[1] == out


def test_a_pilot_gives_the_target(ten: Path, tmp_path: Path):
    pilot = tmp_path / "pilot.csv"
    header, row = TEN.splitlines()[0], TEN.splitlines()[-1]
    pilot.write_text(f"{header}\n{row.replace('14', '99')}\n", encoding="utf-8")
    status, out, _ = compare(ten, "--target-from", pilot, "--format", "json")
    assert status == 0
    assert json.loads(out)["target"] == {"value": 0.39, "source": "median of 1 pilot trial"}


def test_sides_are_named_only_where_several_could_be_meant(ten: Path, tmp_path: Path):
    assert compare(ten, spaces=[]) == compare(ten)
    lines = TEN.splitlines()
    several = tmp_path / "several.csv"
    more = lines[1].replace("periodic_T", "periodic")
    several.write_text("\n".join([*lines, more, ""]), encoding="utf-8")
    _, out, err = compare(several, spaces=SPACES[2:])
    assert (out, err) == (
        "",
        "No comparison: choose one periodic space with --periodic (periodic_T, periodic).\n",
    )
    alone = tmp_path / "alone.csv"
    alone.write_text("\n".join([*lines[:-4], ""]), encoding="utf-8")
    status, out, err = compare(alone, spaces=[])
    assert (status, out) == (2, "")
    without = (
        "No comparison: there is no run of a dynamic space"
        " (make one with: tuner run --space dynamic_default).\n"
    )
    assert err == without
    alone.write_text("\n".join([*lines[:-4], more, ""]), encoding="utf-8")
    assert compare(alone, spaces=[]) == (2, "", without)  # before which periodic space is meant


@pytest.mark.parametrize("format", ["markdown", "latex"])
def test_the_forms_for_papers(ten: Path, format: str):
    status, out, _ = compare(ten, "--target", 0.37, "--format", format)
    assert status == 0
    assert "Miettinen" in out


@pytest.mark.parametrize(
    ("arguments", "spaces", "expected"),
    [
        (["--target", 0.9], SPACES, "--target must lie within the scores of the data, 0.28 to 0.4"),
        (["--target", 37], SPACES, "--target must be greater than 0 and less than 1, got 37."),
        (["--target", "nan"], SPACES, "--target must be greater than 0 and less than 1, got nan."),
        (["--margin", -1], SPACES, "--margin must be greater than 0 and less than 1, got -1."),
        (["--confidence", 95], SPACES, "--confidence must be greater than 0 and less than 1"),
        (["none.csv"], SPACES, "Cannot read none.csv"),
        (["nothing"], SPACES, "Unknown run"),
        ([], ["--periodic", "periodc_T", *SPACES[2:]], "Unknown space 'periodc_T'. Did you mean"),
        ([], [*SPACES[:2], "--dynamic", "dynamic"], "Unknown space 'dynamic'. Did you mean"),
        (["--target", 0.3, "--target-from", "x.csv"], SPACES, "Give --target or --target-from"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(ten: Path, arguments, spaces, expected):
    status, out, err = compare(ten, *arguments, spaces=spaces)
    assert (status, out) == (2, "")
    assert err.startswith(expected)
    assert err.count("\n") == 1
