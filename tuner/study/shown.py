"""Show the runs of a study, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tuner.progress import Display
from tuner.study.conduct import Followed


class Shown:
    """Shows one run after another; what was said of the data and of Ray once is not repeated."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    @contextmanager
    def follow(self, heading: str) -> Iterator[Followed]:
        """Show a run under a heading."""
        with Display() as display:

            def notice(text: str) -> None:
                if text not in self._told:
                    self._told.add(text)
                    display.notice(text)

            display.notice(heading)
            yield Followed(display.follow, notice)
