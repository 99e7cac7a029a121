"""A trial's state on disk: atomic, checked when read, one generation kept in reserve.

`state.pt` is one line of text with the SHA-256 of what follows, and then what torch saved. It is
read with `weights_only=True`, which executes nothing, and only after the digest matched. A new
state replaces the old one in steps such that at every moment, also across a power cut, a complete
one lies in the folder; the one before stays as `state.previous.pt` for the day the newest is
damaged.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from search_spaces.model import UserError
from trainables.state_files import NEXT, PREVIOUS, STATE, durable, sync_folder

FORMAT = 1
"""Version of the header and of the payload's fields."""
_log = logging.getLogger(__name__)
_HEADER = re.compile(rb"trial state ([0-9]{1,9}) sha256 ([0-9a-f]{64})\n")


class CheckpointMismatch(UserError):  # noqa: N818 (its name says enough)
    """The checkpoint belongs to another configuration, data set or version of this program."""


class CorruptCheckpoint(RuntimeError):  # noqa: N818
    """The checkpoint is damaged, and so is the one before it, or there is none."""


def write_state(folder: Path, payload: dict[str, Any]) -> None:
    """Make `payload` the folder's state; on return it is on the disk.

    Parameters
    ----------
    folder : Path
        Created if need be. A process that was given up for dead may still write to it: what two
        write at once is one's or the other's, whole.
    payload : dict
        Tensors, numbers, text and containers of them.
    """
    body = _serialised(payload)
    header = f"trial state {FORMAT} sha256 {hashlib.sha256(body).hexdigest()}\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = durable(folder / STATE, header + body)
    if (folder / STATE).exists():
        with contextlib.suppress(FileNotFoundError):  # another writer was faster
            (folder / STATE).replace(folder / PREVIOUS)
    temporary.replace(folder / STATE)
    sync_folder(folder)


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return the folder's state, or None if it has none.

    Where the newest is damaged or missing, the one before it takes its place, also on the disk.

    Raises
    ------
    CheckpointMismatch
        If another version of this program wrote it.
    CorruptCheckpoint
        If no undamaged state is left.
    """
    damage: CorruptCheckpoint | None = None
    for name in (STATE, PREVIOUS):
        try:
            payload = read_payload(folder / name)
        except FileNotFoundError:
            continue
        except CorruptCheckpoint as error:
            damage = damage or error
            continue
        if name == PREVIOUS:  # or the next write would put the damaged one in its place
            (folder / PREVIOUS).replace(folder / STATE)
            sync_folder(folder)
            if damage is not None:
                _log.warning("%s The state before it takes its place.", damage)
        return payload
    if damage is not None:
        raise damage
    return None


def write_weights(folder: Path, state_dict: dict[str, Any]) -> str:
    """Write best weights that wait for their state: a state dict for `torch.load`.

    `settle_best` makes them `best.pt` once the state that names them is on the disk.

    Returns
    -------
    str
        The file's SHA-256, as 64 hexadecimal digits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = _serialised(state_dict)
    durable(folder / NEXT, content).replace(folder / NEXT)
    sync_folder(folder)
    return hashlib.sha256(content).hexdigest()


def read_payload(path: Path) -> dict[str, Any]:
    """Return what a state's file holds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointMismatch
        If another version of this program wrote it.
    CorruptCheckpoint
        If it is damaged.
    """
    content = path.read_bytes()
    header = _HEADER.match(content)
    if header is None:
        raise CorruptCheckpoint(f"{path} is damaged: it does not begin like a trial's state.")
    body = memoryview(content)[header.end() :]
    if hashlib.sha256(body).hexdigest().encode() != header[2]:
        raise CorruptCheckpoint(f"{path} is damaged: its content does not match its SHA-256.")
    if int(header[1]) != FORMAT:
        raise CheckpointMismatch(
            f"{path} has format {int(header[1])}, but this version reads {FORMAT};"
            " use the version that wrote it, or another folder."
        )
    try:
        payload = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise CorruptCheckpoint(f"{path} holds more than tensors and plain values.") from error
    assert isinstance(payload, dict)
    return payload


def _serialised(payload: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    return buffer.getvalue()
