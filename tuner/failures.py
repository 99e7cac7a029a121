"""What a worker's error text means to the user: one line, and what to lower or mend."""

from __future__ import annotations

import re
from typing import NamedTuple


class Failure(NamedTuple):
    """A failed trial in the user's words."""

    kind: str
    """`gpu memory`, `host memory`, `disk full`, `storage`, `worker died`, `error`."""
    summary: str
    """One line: what happened, and what would help."""
    ends_run: bool
    """Whether further trials would fail alike until somebody mends something."""


_PATTERNS: tuple[tuple[str, str, str, bool], ...] = (
    (
        r"No space left on device|Errno 28|Disk quota exceeded|Errno 122",
        "disk full",
        "The disk is full; free some space, then resume",
        True,
    ),
    (
        r"StoreUnreachable",
        "storage",
        "The object store could not be reached; mend that, then resume",
        True,
    ),
    (
        r"CUDA out of memory|torch\.OutOfMemoryError|CUDA error: out of memory",
        "gpu memory",
        "Out of GPU memory; lower --set batch_size=…, --width or --image-size,"
        " or give each trial more of the GPU with --gpus-per-trial",
        False,
    ),
    (
        r"running low on memory|MemoryError|can't allocate memory|OutOfMemoryError",
        "host memory",
        "Out of main memory; lower --concurrency, --set batch_size=… or --limit",
        False,
    ),
    (
        r"The actor died|ActorDiedError|ActorUnavailableError|actor is dead|WorkerCrashedError",
        "worker died",
        "The worker process died (killed, or a crash below Python)",
        False,
    ),
)


def explain_failure(text: str) -> Failure:
    """Return what an error's text, a traceback or a message of Ray's, means.

    >>> explain_failure("...\\nOSError: [Errno 28] No space left on device").kind
    'disk full'
    >>> explain_failure("Traceback ...\\nValueError: 3 is not a colour").summary
    'ValueError: 3 is not a colour'
    """
    for pattern, kind, summary, ends_run in _PATTERNS:
        if re.search(pattern, text):
            return Failure(kind, summary, ends_run)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Failure("error", lines[-1][:300] if lines else "no message", False)
