"""Where a run's trials share, what they keep there, and when it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tuner.made_runs import make_run
from tests.tuner.simulation import spec
from trainables.state_files import BEST, STATE
from tuner.sharing import RunSharing, drop_trunks, own_trunks

KEY, DIGEST = "k" * 64, "d" * 64


def sharing(run: Path, space: str = "periodic_T", **resources: Any) -> RunSharing:
    return RunSharing(spec(space, seeds="fixed", resources=resources), run, 640)


def trial_files(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in (STATE, BEST):
        (folder / name).write_text(name)
    return folder


def test_a_run_has_a_store_of_its_own_unless_one_is_given(tmp_path: Path) -> None:
    trial = spec().trial({"T": 3}, 7)
    own = sharing(tmp_path / "run").plan(trial)
    assert own == {
        "folder": str(tmp_path / "run" / "trunks"),
        "limit_bytes": 10_000_000_000,
        "forks": [1, 2],
        "ends": True,
    }
    given = sharing(tmp_path / "run", trunks=str(tmp_path / "all"), trunks_gb=0.5).plan(trial)
    assert (given["folder"], given["limit_bytes"]) == (str(tmp_path / "all"), 500_000_000)


@pytest.mark.parametrize(("space", "kept"), [("periodic_T", True), ("dynamic_constant", False)])
def test_a_stopped_trial_is_kept_only_where_it_may_be_asked_for_again(
    tmp_path: Path, space: str, kept: bool
) -> None:
    files = trial_files(tmp_path / "run" / "trials" / "00000")
    sharing(tmp_path / "run", space).keep(KEY, files, DIGEST)
    assert (own_trunks(tmp_path / "run") / f"{KEY}.pt").exists() == kept


@pytest.mark.parametrize(
    ("state", "there"), [("finished", False), ("interrupted", True), ("failed", True)]
)
def test_a_runs_own_trunks_go_when_it_has_finished(tmp_path: Path, state: str, there: bool) -> None:
    run = make_run(tmp_path / "run", [({"T": 2}, [0.1], "completed")], state=state)
    files = trial_files(tmp_path / "files")
    sharing(run).keep(KEY, files, DIGEST)
    drop_trunks(run)
    assert own_trunks(run).exists() == there
