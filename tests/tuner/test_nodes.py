"""Real Ray clusters of several nodes: probed, kept apart, and lost while a search runs.

The oracle of every comparison is the same search on one machine, left alone. A node, head or store
is lost while all trials wait at a gate (`tests/gates.py`), so that none has ended by then.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.gates import Gates, gates, wait_until
from tests.object_server import CREDENTIALS, ObjectServer
from tests.ray_nodes import ENVIRONMENT, ROOT, SECOND, Cluster, cluster
from tests.tuner.searches import TINY, content, epochs_recorded
from trainables.object_store import ObjectStore
from trainables.state import read_payload
from tuner.record import Record
from tuner.summary import summary

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]

TRIALS, EPOCHS = 4, 4
SEARCH = ["--sampler", "random", "--scheduler", "none", "--trials", str(TRIALS)]
"""Trial k is the same whatever the order in which trials end, so that runs can be compared."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "tiny.yaml").write_text(TINY.replace("epochs: 6", f"epochs: {EPOCHS}"))
    return folder


@pytest.fixture(scope="module")
def undisturbed(shared: Path) -> Path:
    done = tuner(shared, "run", "--name", "alone", *SEARCH)
    assert done.returncode == 0, done.stderr
    return shared / "runs" / "alone"


@pytest.fixture(scope="module")
def closable() -> Iterator[Gates]:
    """Return the gates of all searches, wherever they train."""
    with gates() as made:
        yield made


@pytest.fixture(scope="module")
def head(closable: Gates) -> Iterator[Cluster]:
    with cluster({**closable.environment, **CREDENTIALS}) as made:
        yield made


def arguments(shared: Path, command: str, *more: str) -> list[str]:
    config = ["--config", str(shared / "tiny.yaml")] if command == "run" else []
    return [
        sys.executable, "-m", "tuner", command, *more, *config,
        "--runs", str(shared / "runs"), "--cache", str(shared / "cache"),
    ]  # fmt: skip


def tuner(shared: Path, *given: str) -> subprocess.CompletedProcess[str]:
    command, environment = arguments(shared, *given), {**os.environ, **ENVIRONMENT}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800)


@contextlib.contextmanager
def half_done(shared: Path, closable: Gates, name: str, *given: str) -> Iterator[Going]:
    """Yield a search whose two trials wait amid their second epochs, and end it at last."""
    command = arguments(shared, "run", "--name", name, "--concurrency", "2", *SEARCH, *given)
    environment = {**os.environ, **ENVIRONMENT, **closable.environment}
    log = shared / f"{name}.log"
    closable.close(name, 0, 2)
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        wait_until(
            lambda: (
                process.poll() is not None
                or (closable.waiting(name, 0) and closable.waiting(name, 1))
            ),
            log.read_text,
        )
        assert process.poll() is None, log.read_text()
        assert epochs_recorded(shared / "runs" / name) == 2
        yield Going(process, shared / "runs" / name, log)
    finally:
        closable.open_all()
        process.kill()
        process.wait()


class Going(NamedTuple):
    """A search that goes on."""

    process: subprocess.Popen[bytes]
    folder: Path
    log: Path

    def end(self) -> Path:
        """Wait until it has finished, and return its folder."""
        assert self.process.wait(timeout=800) == 0, self.log.read_text()[-3000:]
        return self.folder


def trained(folder: Path) -> dict[str, list[object]]:
    """Return what was trained, without who waited for whom."""
    found = content(folder)
    return {"trials": found["trials"], "epochs": found["epochs"]}


def nodes_of(folder: Path) -> set[str]:
    with Record.open(folder) as record:
        return {str(trial.worker).partition(":")[0] for trial in record.trials()}


def test_a_node_that_cannot_take_part_is_told_in_one_line_and_nothing_is_written(
    shared: Path, head: Cluster
) -> None:
    head.second()

    def refused(name: str, *given: str) -> str:
        done = tuner(shared, "run", "--name", name, "--address", head.address, *SEARCH, *given)
        assert done.returncode == 2
        assert not (shared / "runs" / name).exists()
        lines = done.stderr.strip().splitlines()
        assert not any("Traceback" in line for line in lines)
        return lines[-1]

    own = refused("own")
    assert f"Node {SECOND}" in own
    assert "--storage s3://BUCKET/PREFIX" in own and str(shared) in own
    unseen = refused("unseen", "--storage", str(shared / "storage"))
    assert f"Node {SECOND}" in unseen and "Give --storage a place that all nodes see." in unseen
    assert not list(shared.glob(".tuner-probe-*")) and not (shared / "storage").exists()
    away = refused("away", "--storage", "s3://faces/x?endpoint_override=127.0.0.1:1&scheme=http")
    assert "s3://faces/x" in away and "Could not connect" in away


def test_a_cluster_without_a_node_that_holds_a_trial_is_refused(
    shared: Path, head: Cluster
) -> None:
    head.second()
    given = ["--address", head.address, "--cpus-per-trial", "2"]
    done = tuner(shared, "run", "--name", "large", *SEARCH, *given)
    assert done.returncode == 2
    assert "No node of the cluster has the 2 CPUs and 0 GPUs of one trial" in done.stderr
    assert not (shared / "runs" / "large").exists()


def test_nodes_without_a_common_disk_train_what_one_machine_trains(
    shared: Path, undisturbed: Path, head: Cluster, server: ObjectServer
) -> None:
    head.second()
    storage = server.uri("apart")
    given = ["--address", head.address, "--storage", storage]
    done = tuner(shared, "run", "--name", "apart", *SEARCH, *given)
    assert done.returncode == 0, done.stderr
    assert "Bringing the data to nodes that lack them" in done.stderr
    run = shared / "runs" / "apart"
    assert trained(run) == trained(undisturbed)
    assert len(nodes_of(run)) == 2 and SECOND in nodes_of(run)
    names = [name.split("/") for name in ObjectStore(storage).names() if "data/" not in name]
    with Record.open(run) as record:
        best = record.best()
    assert best is not None
    assert [name[1:] for name in names] == [["trials", f"{best.number:05d}", "best.pt"]]
    kept = run / "trials" / f"{best.number:05d}" / "best.pt"
    assert kept.read_bytes() == ObjectStore(storage).read_bytes("/".join(names[0]))


def test_after_the_head_is_lost_the_run_goes_on_in_another_cluster(
    shared: Path, undisturbed: Path, head: Cluster, server: ObjectServer, closable: Gates
) -> None:
    with cluster({**closable.environment, **CREDENTIALS}) as first:
        first.second()
        given = ["--storage", server.uri("head"), "--address", first.address]
        with half_done(shared, closable, "head", *given) as going:
            first.close()
            assert going.process.wait(timeout=800) != 0
    before = epochs_recorded(going.folder)
    assert 2 <= before < TRIALS * EPOCHS
    head.second()
    done = tuner(shared, "resume", "head", "--address", head.address)
    assert done.returncode == 0, done.stderr
    assert trained(going.folder) == trained(undisturbed)


def test_an_object_store_that_is_away_for_a_while_costs_time_only(
    shared: Path, undisturbed: Path, server: ObjectServer, closable: Gates
) -> None:
    given = ["--storage", server.uri("while")]
    with half_done(shared, closable, "away", *given) as going:
        server.stop()
        closable.open("away")
        time.sleep(3)  # the trials' states are due, and have nowhere to go
        assert epochs_recorded(going.folder) == 2
        server.start()
        run = going.end()
    assert trained(run) == trained(undisturbed)
    with Record.open(run) as record:
        assert not [event for event in record.events() if event.kind in ("retry", "crash")]


def assert_stored(run: Path, storage: str, scratch: Path) -> None:
    """Assert that every epoch the record has of a running trial is in the store."""
    with Record.open(run) as record:
        running = {one.number: one.epochs for one in record.trials() if one.state == "running"}
    store = ObjectStore(storage)
    seen = 0
    for name in store.names():
        _, _, path = name.partition("/trials/")
        number, _, file = path.partition("/")
        if file != "state.pt" or not running.get(int(number)):
            continue
        if store.take(name, scratch / "state.pt"):  # else the trial has ended just now
            assert read_payload(scratch / "state.pt")["epoch"] >= running[int(number)]
            seen += 1
    assert seen, "no running trial had a state"


@pytest.fixture(scope="module")
def lost(
    shared: Path,
    head: Cluster,
    server: ObjectServer,
    closable: Gates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder of a search that has lost the node on which one of its trials was."""
    node = head.second(processor="Another Processor")
    given = ["--address", head.address, "--storage", server.uri("lost")]
    with half_done(shared, closable, "lost", *given) as going:
        head.lose(node)
        assert_stored(going.folder, server.uri("lost"), tmp_path_factory.mktemp("lost"))
        closable.open("lost")
        return going.end()


def test_a_node_that_is_lost_loses_no_epoch_and_doubles_none(lost: Path, undisturbed: Path) -> None:
    assert trained(lost) == trained(undisturbed)
    with Record.open(lost) as record:
        retries = [event for event in record.events() if event.kind == "retry"]
        trials = record.trials()
    moved = {event.trial for event in retries}
    assert moved, "the node held no trial when it was lost"
    assert all("continues after epoch" in event.message for event in retries)
    assert all(trial.as_run_epochs == trial.epochs == EPOCHS for trial in trials)


def test_a_trial_that_moved_to_another_kind_of_device_says_so_and_its_seconds_are_not_added(
    lost: Path,
) -> None:
    """Compared with nothing but the rules: seconds by device, counts in all."""
    with Record.open(lost) as record:
        devices = {trial.device for trial in record.trials()}
        moved = [event for event in record.events() if event.kind == "moved"]
        cost = summary(record)["cost"]
    assert "cpu" in devices
    assert any("Another Processor" in str(device) and "+" in str(device) for device in devices), (
        devices
    )
    assert moved and "trained partly on" in moved[0].message
    assert (cost["slot_seconds"], cost["epochs"]) == (None, TRIALS * EPOCHS)
    assert len(cost["slot_seconds_by_device"]) == len(devices)


def test_a_folder_that_all_nodes_see_is_enough_and_other_code_is_refused(
    shared: Path, undisturbed: Path, head: Cluster, tmp_path: Path
) -> None:
    head.second(own_disk=False)
    storage = tmp_path / "storage"
    given = ["--address", head.address, "--storage", str(storage)]
    done = tuner(shared, "run", "--name", "folder", *SEARCH, *given)
    assert done.returncode == 0, done.stderr
    run = shared / "runs" / "folder"
    assert trained(run) == trained(undisturbed)
    assert len(nodes_of(run)) == 2 and SECOND in nodes_of(run)
    with Record.open(run) as record:
        best = record.best()
    assert best is not None
    left = sorted(str(p.relative_to(storage)) for p in storage.rglob("*") if p.is_file())
    assert [name.partition("/")[2] for name in left] == [f"trials/{best.number:05d}/best.pt"]
    assert (run / "trials" / f"{best.number:05d}" / "best.pt").read_bytes() == (
        storage / left[0]
    ).read_bytes()
    seeding = ROOT / "tuner" / "seeding.py"
    (tmp_path / "seeding.py").write_text(seeding.read_text() + "# changed\n")
    head.second(own_disk=False, instead={seeding: tmp_path / "seeding.py"})
    done = tuner(shared, "run", "--name", "other", *SEARCH, *given)
    assert done.returncode == 2
    assert "other source code than this machine's; install the same on both" in done.stderr
