"""A function of fixed memory that a GPU replays as one CUDA graph."""

from __future__ import annotations

import warnings
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
        self._function: Callable[[], None] | None = function
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def captured(self) -> bool:
        """Whether a graph is replayed."""
        return self._graph is not None

    def capture(self, device: torch.device, pool: Any = None) -> Any:
        """Capture the function on a GPU, after calls that leave their traces in memory.

        Parameters
        ----------
        device : torch.device
        pool : optional
            Memory pool of a graph that is never replayed at the same time.

        Returns
        -------
        object
            This graph's pool.
        """
        assert self._function is not None
        main = torch.cuda.current_stream(device)
        # One stream for warm-up and capture, so that what libraries keep by stream, such as
        # cuBLAS's workspace, is there before and lies outside the graph's pool.
        beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        beside.wait_stream(main)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(beside), warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*capturable=True", UserWarning)
                for _ in range(WARM_UP):
                    self._function()
            with torch.cuda.graph(graph, pool=pool, stream=beside):
                self._function()
        finally:
            torch.cuda.set_stream(main)  # where capture fails, torch stays on the other one
        main.wait_stream(beside)
        self._graph = graph
        return graph.pool()

    def forget(self) -> None:
        """Let go of the graph; the function is called from now on."""
        self._graph = None

    def close(self) -> None:
        """Let go of the graph, its memory and the function; it cannot be called any more."""
        self._graph = self._function = None

    def __call__(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        else:
            assert self._function is not None
            self._function()
