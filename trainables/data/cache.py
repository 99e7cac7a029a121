"""Where what can be made again is kept: packed data sets, weights of confidence bands."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """Return `$XDG_CACHE_HOME/tuner`, or `~/.cache/tuner` (XDG base directory specification)."""
    return user_folder("XDG_CACHE_HOME", ".cache")


def user_folder(variable: str, otherwise: str) -> Path:
    """Return our folder of a kind of the user's files.

    Parameters
    ----------
    variable : str
        Of the environment, which names the folder of that kind.
    otherwise : str
        Where that is below the user's home if the variable is not set.
    """
    home = os.environ.get(variable)
    return (Path(home) if home else Path.home() / otherwise) / "tuner"
