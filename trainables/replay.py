"""A function of fixed memory that a GPU replays as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 3
"""Calls before capture, in which libraries choose kernels and optimisers make their state."""


class Replay:
    """Calls a function, or replays what was captured of it.

    At 48 px a training step is some hundred kernels of a few microseconds each, which a host cannot
    launch as fast as a GPU runs them; a captured graph is launched once. It does on every replay
    what the function did on capture, at the same addresses: so the function may read and write only
    memory that stays, must not wait for the device, and must not decide anything by values there.

    Parameters
    ----------
    function : callable without arguments
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def captured(self) -> bool:
        """Whether a graph is replayed."""
        return self._graph is not None

    def capture(self, pool: Any = None) -> Any:
        """Capture the function on the current GPU, after calls that leave their traces in memory.

        Parameters
        ----------
        pool : optional
            Memory pool of a graph that is never replayed at the same time.

        Returns
        -------
        object
            This graph's pool.
        """
        main, beside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(main)
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                self._function()
        main.wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self._function()
        self._graph = graph
        return graph.pool()

    def __call__(self) -> None:
        if self._graph is None:
            self._function()
        else:
            self._graph.replay()
