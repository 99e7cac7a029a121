"""State on disk survives kills, notices damage, and is never mistaken for another trial's."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
from pathlib import Path

import pytest
import torch

from tests.trainables.tiny import digest_of, tiny_trial, write_tiny_data
from trainables import state, train
from trainables.state import (
    CheckpointMismatch,
    CorruptCheckpoint,
    read_state,
    write_state,
    write_weights,
)
from trainables.state_files import BEST, NEXT, PREVIOUS, STATE, digest_of_file, settle_best
from trainables.train import Trial


def payload(number: int) -> dict:
    return {"number": number, "weights": torch.full((50,), float(number))}


def number_in(folder: Path) -> int | None:
    read = read_state(folder)
    if read is None:
        return None
    assert torch.equal(read["weights"], torch.full((50,), float(read["number"])))
    return read["number"]


def test_a_folder_without_state_has_none(tmp_path):
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "missing") is None


def test_what_is_written_is_read_and_the_newest_wins(tmp_path):
    for number in (1, 2, 3):
        write_state(tmp_path / "new folder", payload(number))
        assert number_in(tmp_path / "new folder") == number


def test_every_truncation_is_noticed(tmp_path):
    write_state(tmp_path, payload(1))
    content = (tmp_path / STATE).read_bytes()
    for length in (0, 1, 50, 90, len(content) // 2, len(content) - 1):
        (tmp_path / STATE).write_bytes(content[:length])
        with pytest.raises(CorruptCheckpoint, match="damaged"):
            read_state(tmp_path)


def test_every_flipped_bit_is_noticed(tmp_path):
    write_state(tmp_path, payload(1))
    content = (tmp_path / STATE).read_bytes()
    source = random.Random(0)
    positions = [*range(0, 90, 7), *(source.randrange(len(content)) for _ in range(60))]
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << source.randrange(8)
        (tmp_path / STATE).write_bytes(damaged)
        with pytest.raises((CorruptCheckpoint, CheckpointMismatch)):
            read_state(tmp_path)


def test_the_previous_state_stands_in_for_a_damaged_one_and_survives_the_next_write(
    tmp_path, monkeypatch, caplog
):
    write_state(tmp_path, payload(1))
    write_state(tmp_path, payload(2))
    (tmp_path / STATE).write_bytes(b"torn")
    assert number_in(tmp_path) == 1
    assert "state.pt is damaged" in caplog.text
    monkeypatch.setattr(Path, "replace", killed_before(2, Path.replace))
    with pytest.raises(Killed):  # between the two renames of a write
        write_state(tmp_path, payload(2))
    monkeypatch.undo()
    assert number_in(tmp_path) == 1


def test_with_both_states_damaged_nothing_is_returned(tmp_path):
    write_state(tmp_path, payload(1))
    write_state(tmp_path, payload(2))
    (tmp_path / STATE).write_bytes(b"torn")
    (tmp_path / PREVIOUS).write_bytes(b"torn too")
    with pytest.raises(CorruptCheckpoint, match=STATE):
        read_state(tmp_path)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours handles it."""


def killed_before(call: int, function):
    """Return `function` that is killed instead of running for the `call`-th time."""
    calls = iter(range(1, 1_000_000))

    def counted(*arguments, **keywords):
        if next(calls) == call:
            raise Killed
        return function(*arguments, **keywords)

    return counted


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [(os, "fsync", 1), (os, "fsync", 2), (Path, "replace", 1), (Path, "replace", 2)],
)
@pytest.mark.parametrize("written_before", [0, 1, 2])
def test_a_kill_inside_a_write_leaves_the_old_or_the_new_state(
    tmp_path, monkeypatch, owner, name, call, written_before
):
    for number in range(1, written_before + 1):
        write_state(tmp_path, payload(number))
    monkeypatch.setattr(owner, name, killed_before(call, getattr(owner, name)))
    killed = False
    try:
        write_state(tmp_path, payload(99))
    except Killed:
        killed = True
    monkeypatch.undo()
    assert killed or (name, call, written_before) == ("replace", 2, 0)  # the first needs one rename
    assert number_in(tmp_path) in (written_before or None, 99)
    write_state(tmp_path, payload(100))
    assert number_in(tmp_path) == 100


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        Path, "replace", lambda path, to: (events.append(f"{to.name}"), replace(path, to))[1]
    )
    write_state(tmp_path, payload(1))
    write_state(tmp_path, payload(2))
    assert events == ["fsync", STATE, "fsync", "fsync", PREVIOUS, STATE, "fsync"]


class Exploit:
    def __reduce__(self):
        return (os.mkdir, ("pwned",))


def test_a_pickle_that_would_run_code_is_refused_though_its_digest_matches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_state(tmp_path, {"weights": Exploit()})
    with pytest.raises(CorruptCheckpoint, match="more than tensors"):
        read_state(tmp_path)
    assert not Path("pwned").exists()


def test_another_format_is_a_users_mistake_with_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "FORMAT", 2)
    write_state(tmp_path, payload(1))
    monkeypatch.undo()
    with pytest.raises(CheckpointMismatch, match="format 2, but this version reads 1"):
        read_state(tmp_path)


def test_the_digest_in_the_header_is_that_of_what_follows(tmp_path):
    write_state(tmp_path, payload(1))
    header, _, body = (tmp_path / STATE).read_bytes().partition(b"\n")
    assert header == b"trial state 1 sha256 " + hashlib.sha256(body).hexdigest().encode()


def test_best_weights_are_a_plain_state_dict(tmp_path, data):
    trial = tiny_trial(data)
    trial.save_best(tmp_path)
    trial.save(tmp_path)
    weights = torch.load(tmp_path / BEST, weights_only=True)
    tiny_trial(data, seed=1).network.load_state_dict(weights)
    assert all(torch.equal(weights[name], w) for name, w in trial.network.state_dict().items())


def save_epoch(folder: Path, number: int, best: bool) -> None:
    """Write an epoch's state, and its weights if it is the best so far, as a trial does."""
    digest = write_weights(folder, payload(number)) if best else read_state(folder)["best"]
    write_state(folder, {**payload(number), "best": digest})
    settle_best(folder, digest)


def best_in(folder: Path) -> int:
    return torch.load(folder / BEST, weights_only=True)["number"]


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("call", range(1, 9))
def test_a_kill_at_any_moment_never_pairs_newer_weights_with_an_older_state(
    tmp_path, monkeypatch, name, call
):
    save_epoch(tmp_path, 1, best=True)
    save_epoch(tmp_path, 2, best=False)
    owner = os if name == "fsync" else Path
    monkeypatch.setattr(owner, name, killed_before(call, getattr(owner, name)))
    with contextlib.suppress(Killed):
        save_epoch(tmp_path, 3, best=True)
    monkeypatch.undo()
    state = read_state(tmp_path)
    assert state["number"] in (2, 3)
    assert best_in(tmp_path) in (1, state["number"] if state["number"] == 3 else 1)
    settle_best(tmp_path, state["best"])  # as whoever takes the trial over does
    assert digest_of_file(tmp_path / BEST) == state["best"]
    assert best_in(tmp_path) == (3 if state["number"] == 3 else 1)
    assert not (tmp_path / NEXT).exists()


def test_a_trial_that_is_taken_over_has_the_weights_of_its_best_epoch(tmp_path, data, monkeypatch):
    trial = tiny_trial(data)
    trial.run_epoch()
    trial.save_best(tmp_path)
    monkeypatch.setattr(train, "settle_best", lambda *_: None)  # killed just before
    trial.save(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / BEST).exists()
    other = tiny_trial(data)
    assert other.load(tmp_path)
    assert digest_of_file(tmp_path / BEST) == other.best_digest == trial.best_digest


def test_two_writers_of_one_folder_leave_a_whole_state(tmp_path, monkeypatch):
    """A process that was given up for dead writes on, between any two steps of its successor."""
    write_state(tmp_path, payload(1))
    fsync, inside = os.fsync, []

    def interrupted(descriptor: int) -> None:
        fsync(descriptor)
        if not inside:
            inside.append(True)
            write_state(tmp_path, payload(2))

    monkeypatch.setattr(os, "fsync", interrupted)
    write_state(tmp_path, payload(3))
    monkeypatch.undo()
    assert number_in(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [PREVIOUS, STATE]
    (tmp_path / STATE).unlink()
    assert number_in(tmp_path) == 2


def test_a_full_disk_leaves_nothing_of_a_write(tmp_path, monkeypatch):
    write_state(tmp_path, payload(1))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_state(tmp_path, payload(2))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
    assert number_in(tmp_path) == 1


def test_a_trial_without_a_checkpoint_starts_fresh(tmp_path, data):
    trial = tiny_trial(data)
    before = digest_of(trial)
    assert trial.load(tmp_path) is False
    assert (digest_of(trial), trial.epoch, trial.history) == (before, 0, [])


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        ({"seed": 1}, "seed is 0 there, but 1 here"),
        ({"lr": 0.02}, "lr is 0.01 there, but 0.02 here"),
        ({"epochs": 5}, "epochs is 4 there, but 5 here"),
        ({"method": "periodic", "T": 2}, "T is None there, but 2 here"),
    ],
)
def test_another_configurations_checkpoint_is_refused_by_field_and_values(
    tmp_path, data, knobs, told
):
    tiny_trial(data).save(tmp_path)
    other = tiny_trial(data, **knobs)
    before = digest_of(other)
    with pytest.raises(CheckpointMismatch, match=told) as caught:
        other.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert digest_of(other) == before


def test_a_checkpoint_on_other_data_or_another_limit_is_refused(tmp_path, data):
    trial = tiny_trial(data)
    trial.save(tmp_path / "state")
    other_data = write_tiny_data(tmp_path / "other data", seed=1)
    for other in (tiny_trial(other_data), Trial(trial.config, data, 20)):
        with pytest.raises(CheckpointMismatch, match="other data"):
            other.load(tmp_path / "state")


def test_a_damaged_checkpoint_costs_one_epoch_and_changes_no_number(tmp_path, data):
    whole = tiny_trial(data, epochs=3)
    for _ in range(3):
        whole.run_epoch()
        whole.save(tmp_path)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:-10])
    continued = tiny_trial(data, epochs=3)
    assert continued.load(tmp_path)
    assert continued.epoch == 2
    continued.run_epoch()
    assert digest_of(continued) == digest_of(whole)
