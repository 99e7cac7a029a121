"""Room on the disk: whether there is enough for what is asked, and what is said if not."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from search_spaces.model import UserError

FULL = "The server's disk is full; free space there, then try again."
RESERVE_BYTES = 256 * 2**20
"""What a file that a user sends or fetches leaves to the searches under way."""


class NoRoom(UserError):  # noqa: N818 - it tells a state of the disk
    """What is asked needs more room than there is: HTTP 507."""


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse what would leave less than `RESERVE_BYTES` on a folder's disk.

    Raises
    ------
    NoRoom
        With `what`, such as "This data set", as who needs it.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + RESERVE_BYTES:
        raise NoRoom(
            f"{what} needs {needed_bytes / 1e6:,.0f} MB on the server's disk for a while, but only"
            f" {max(0, free - RESERVE_BYTES) / 1e6:,.0f} MB are free there; free space, then try"
            " again."
        )


def is_full(error: BaseException | None) -> bool:
    """Return whether an error says that a disk has no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
