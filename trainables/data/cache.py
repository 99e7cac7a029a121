"""Where what can be made again is kept: packed data sets, weights of confidence bands."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """Return `$XDG_CACHE_HOME/tuner`, or `~/.cache/tuner` (XDG base directory specification)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tuner"
