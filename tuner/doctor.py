"""Check that this machine can run a search, and say how to mend what is wrong.

Every check looks at the real thing: it imports, writes, asks the driver, starts Ray. What could
hang or crash the interpreter runs in a process of its own with a time limit.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from tuner.provenance import gpus
from tuner.ray_session import nobody_listens

GIB = 2**30
RAY_TIMEOUT_S = 60.0
IMPORT_TIMEOUT_S = 120.0
SUPPORTED = {
    "torch": ("2.11", "3"),
    "torchvision": ("0.26", "1"),
    "ray": ("2.55", "3"),
    "optuna": ("5.0", "6"),
    "pydantic": ("2.11", "3"),
    "click": ("8.1.8", "9"),
    "rich": ("13.7", "16"),
    "ruamel.yaml": ("0.18.6", "1"),
    "pyarrow": ("15", "100"),
    "tensorboard": ("2.17", "3"),
    "tensorboardX": ("2.6.2", "3"),
}
"""Package → lowest version that works, and the first that nobody has tried."""


class Finding(NamedTuple):
    """The outcome of one check."""

    level: Literal["ok", "warn", "bad"]
    what: str
    told: str
    mend: str = ""
    """What to do; empty where nothing is wrong."""


def examine(
    runs: Path,
    cache: Path,
    temp: Path,
    *,
    free_bytes: int = 5 * GIB,
    shm_bytes: int = GIB,
    start_ray: bool = True,
) -> Iterator[Finding]:
    """Yield the findings one by one, as each check ends.

    Parameters
    ----------
    runs, cache, temp : Path
        Folders of runs, of packed data, and of Ray's temporary files.
    free_bytes : int
        Less free space than this on any of their disks is a warning, a tenth of it is bad.
    shm_bytes : int
        Less shared memory than this is a warning.
    start_ray : bool
        Whether to start a small Ray, or join RAY_ADDRESS, which takes some seconds.
    """
    yield Finding("ok", "python", f"{platform.python_version()}, {sys.executable}")
    yield from _packages()
    yield _cores()
    yield from _gpus()
    for what, folder in (("runs", runs), ("cache", cache), ("temp", temp)):
        yield _writable(what, folder)
        yield _free(what, folder, free_bytes)
    yield _shared_memory(shm_bytes)
    yield _ray_folder(temp)
    if start_ray:
        yield _ray()


def _packages() -> Iterator[Finding]:
    """Check each package's version, and that it can be imported here."""
    installed = {}
    for name in SUPPORTED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    errors = _import_errors(list(installed))
    for name, (low, beyond) in SUPPORTED.items():
        install = f'pip install "{name}>={low}"'
        version = installed.get(name)
        if version is None:
            yield Finding("bad", name, "not installed", install)
        elif _parts(version) < _parts(low):
            yield Finding("bad", name, f"{version}, but {low} or later is needed", install)
        elif name in errors:
            mend = f"Look for a file or folder that shadows it; else reinstall: {install}"
            yield Finding("bad", name, f"{version} cannot be imported: {errors[name]}", mend)
        elif _parts(version) >= _parts(beyond):
            yield Finding("warn", name, f"{version} is newer than any that was tried", install)
        else:
            yield Finding("ok", name, version)


def _import_errors(names: list[str]) -> dict[str, str]:
    """Return why packages cannot be imported, one process for all as long as none kills it."""
    errors: dict[str, str] = {}
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception as e: print(name, type(e).__name__, *str(e).split(), flush=True)\n"
        "    else: print(name, flush=True)"
    )
    while names:
        result = _python_says(code, IMPORT_TIMEOUT_S, *names)
        told = [line.split(" ", 1) for line in result.stdout.splitlines()] if result else []
        done = [line for line in told if line[0] in names]
        errors |= {line[0]: line[1] for line in done if len(line) == 2}
        names = names[len(done) :]
        if names:  # importing the next one has ended the process, or never ended
            errors[names.pop(0)] = "it crashes the interpreter" if result else "it hangs"
    return errors


def _parts(version: str) -> tuple[int, ...]:
    """Return the numbers of a version for comparison.

    >>> _parts("2.15.0+cpu") > _parts("2.11")
    True
    """
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0))
    told = f"{cores} of {os.cpu_count()}"
    if cores < 2:
        return Finding("warn", "cpu cores", told, "One trial at a time; give it more cores.")
    return Finding("ok", "cpu cores", told)


def _gpus() -> Iterator[Finding]:
    """Compare the GPUs that the driver tells with those that torch can use."""
    present = gpus()
    code = (
        "import json, torch; c = torch.cuda; print(json.dumps([torch.version.cuda,"
        " [[c.get_device_name(i), c.get_device_properties(i).total_memory]"
        " for i in range(c.device_count())] if c.is_available() else []]))"
    )
    result = _python_says(code, IMPORT_TIMEOUT_S)
    try:
        built_for, seen = json.loads(_last_line(result.stdout if result else ""))
    except ValueError:
        return  # torch cannot be imported: told above
    for name, memory_bytes in seen:
        yield Finding("ok", "gpu", f"{name}, {memory_bytes / GIB:.1f} GiB")
    if present and not seen:
        names = ", ".join(gpu["name"] for gpu in present)
        driver = present[0]["driver_version"]
        if built_for is None:
            mend = "This torch is built for CPUs: install one for CUDA, see pytorch.org."
        elif os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
            mend = "CUDA_VISIBLE_DEVICES hides them; unset it."
        else:
            mend = (
                f"Driver {driver} does not serve CUDA {built_for}: update it, or install a torch"
                " for an older CUDA."
            )
        yield Finding("bad", "gpu", f"{names} present, but torch sees none", mend)
    if not present and not seen:
        mend = "Trials run on CPU cores; --preset quick suits them."
        yield Finding("warn", "gpu", "none", mend)


def _writable(what: str, folder: Path) -> Finding:
    """Write and remove a file in the folder, or in the parent where it will be made."""
    name = f"{what} folder"
    place = _existing(folder)
    if not place.is_dir():
        return Finding("bad", name, f"{place} is a file, not a folder", _choose(what))
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".tuner-doctor-") as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return Finding("bad", name, f"cannot write in {place}: {error.strerror}", _choose(what))
    return Finding("ok", name, f"{folder}{'' if place == folder.absolute() else ' (will be made)'}")


def _choose(what: str) -> str:
    return "Set TMPDIR to another." if what == "temp" else f"Choose another with --{what}."


def _free(what: str, folder: Path, wanted: int) -> Finding:
    name = f"{what} disk"
    free = shutil.disk_usage(_existing(folder)).free
    told = f"{free / GIB:.1f} GiB free"
    if free >= wanted:
        return Finding("ok", name, told)
    mend = f"Free some space there. {_choose(what)}"
    return Finding("bad" if free < wanted / 10 else "warn", name, told, mend)


def _shared_memory(wanted: int) -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("ok", "shared memory", "no /dev/shm on this system")
    size = shutil.disk_usage(folder).total
    told = f"/dev/shm has {size / GIB:.2f} GiB"
    if size >= wanted:
        return Finding("ok", "shared memory", told)
    mend = "Ray then uses the disk, slowly; in a container: docker run --shm-size=1g"
    return Finding("warn", "shared memory", told, mend)


def _ray_folder(temp: Path) -> Finding:
    """Ray's sockets lie below its temporary folder, and Unix limits their path to 107 bytes."""
    used = len(os.fsencode(temp)) + len("/tuner-ray-1234567-abcdefgh")
    # session_2025-01-01_00-00-00_000000_1234567/sockets/plasma_store
    if used + 64 > 107:
        return Finding("bad", "ray folder", f"{temp} is too long for sockets", _choose("temp"))
    return Finding("ok", "ray folder", f"sockets fit below {temp}")


def _ray() -> Finding:
    """Start a small Ray as a run would, or join the one that RAY_ADDRESS names."""
    address = os.environ.get("RAY_ADDRESS")
    code = (
        "import json\nfrom tuner.ray_session import ray_session\n"
        "from tuner.spec import ResourcesConfig\n"
        f"with ray_session(ResourcesConfig(address={address!r})) as cluster:\n"
        "    print(json.dumps({key: cluster.get(key, 0) for key in ('CPU', 'GPU')}))"
    )
    what = f"ray at {address}" if address else "ray"
    closed = nobody_listens(address) if address else None
    mend = (
        "Unset RAY_ADDRESS, or start Ray there: ray start --head."
        if address
        else "Look into its logs under the temporary folder; a proxy or firewall on localhost,"
        " or too little memory, is the usual reason."
    )
    if closed is not None:
        return Finding("bad", what, closed, mend)
    result = _python_says(code, RAY_TIMEOUT_S)
    if result is None:
        return Finding("bad", what, f"no answer within {RAY_TIMEOUT_S:.0f} s", mend)
    if result.returncode:
        return Finding("bad", what, _last_line(result.stderr), mend)
    found = json.loads(_last_line(result.stdout))
    return Finding("ok", what, f"starts; {found['CPU']:g} CPUs, {found['GPU']:g} GPUs")


def _python_says(
    code: str, timeout_s: float, *arguments: str
) -> subprocess.CompletedProcess[str] | None:
    """Run Python code in a process of its own; None if it takes too long."""
    try:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        return None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no message"


def _existing(folder: Path) -> Path:
    """Return the nearest parent of a folder that exists, the folder itself included."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
