"""Start Ray for one run, or join a cluster, and leave nothing behind.

A local Ray lives in a temporary folder of its own, named after the process that started it, so
that what a killed run left can be told from what a living one uses.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from search_spaces.model import UserError
from tuner.folders import writable
from tuner.provenance import gpus
from tuner.spec_sections import ResourcesConfig
from tuner.storage_check import marked

CONNECT_TIMEOUT_S = 5.0
OBJECT_STORE_BYTES = 100 * 2**20
"""Trials exchange only metrics; Ray's default would take 30 % of the memory."""

_FOLDER = re.compile(r"tuner-ray-(\d+)-")


def nobody_listens(address: str) -> str | None:
    """Return why no connection to an address is possible; Ray itself would try for a minute."""
    if address in ("auto", "local"):  # Ray's own words
        return None
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isascii() and port.isdigit()):
        return "an address is HOST:PORT, ray://HOST:PORT or auto"
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return f"nobody answers ({error.strerror or error})"
    except OverflowError:
        return "a port is at most 65535"
    return None


def check_before_start(resources: ResourcesConfig) -> None:
    """Refuse what can be seen to be impossible before data are packed and Ray is started.

    Raises
    ------
    UserError
        If nobody answers at the address, this machine has too few CPU cores or GPUs, or the storage
        or the folder of shared epochs cannot be written to.
    """
    if resources.trunks is not None:
        writable(Path(resources.trunks), "--trunks")
    if resources.storage is not None:
        if resources.in_object_store:
            with marked(resources.storage):
                pass
        else:
            writable(Path(resources.storage), "--storage")
    if resources.address is not None:
        if resources.gpus_per_trial == "auto":
            raise UserError(
                "--gpus-per-trial auto measures on this machine's GPU, so it cannot be used with"
                " --address; give a fraction, such as 0.5."
            )
        closed = nobody_listens(resources.address)
        if closed is not None:
            raise UserError(f"Cannot join Ray at --address {resources.address}: {closed}.")
        return
    check_fits(resources, {"CPU": local_cpus(), "GPU": local_gpus()})


@contextlib.contextmanager
def ray_session(resources: ResourcesConfig) -> Iterator[dict[str, float]]:
    """Yield the cluster's resources (``CPU``, ``GPU``, …) while Ray is up.

    Within another session that one is used, and left up.

    Raises
    ------
    UserError
        If the address is not that of a Ray, or a local one cannot start.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # paths of ours are absolute anyway
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # the engine's handler records why
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the record and TensorBoard are ours
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # its banner goes to stdout, which is for data
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # it prints of dead workers, whatever is asked
    import ray

    if ray.is_initialized():
        yield dict(ray.cluster_resources())
        return
    remove_leftovers()
    folder = None
    try:
        if resources.address is not None:
            ray.init(address=resources.address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            folder = Path(tempfile.mkdtemp(prefix=f"tuner-ray-{os.getpid()}-"))
            ray.init(
                address="local",
                num_cpus=local_cpus(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
            )
    except BaseException as error:  # an interrupt, too
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, ConnectionError | RuntimeError | ValueError | OSError):
            raise
        where = f"--address {resources.address}" if resources.address else "a local Ray"
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"Cannot start or join Ray ({where}): {first} Try `tuner doctor`."
        ) from error
    try:
        yield dict(ray.cluster_resources())
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def check_fits(resources: ResourcesConfig, cluster: dict[str, float]) -> tuple[float, int]:
    """Return (GPUs per trial, trials at once), or refuse what the cluster cannot give.

    Raises
    ------
    UserError
        If one trial, or the concurrency asked for, needs more than there is.
    """
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    asked = resources.gpus_per_trial
    # What `auto` finds is known before Ray is asked; until then, it needs what one trial needs.
    per_trial = asked if isinstance(asked, float) else 1.0 if gpus else 0.0
    if per_trial > gpus:
        raise UserError(
            f"--gpus-per-trial must be at most {gpus:g}, the GPUs that Ray sees,"
            f" but got {per_trial:g}."
        )
    if resources.cpus_per_trial > cpus:
        raise UserError(
            f"--cpus-per-trial must be at most {cpus:g}, the CPUs that Ray sees,"
            f" but got {resources.cpus_per_trial}."
        )
    fitting = int(cpus // resources.cpus_per_trial)
    if asked == "auto":
        return per_trial, resources.concurrency or fitting
    if per_trial:
        # fractions live on single GPUs: two GPUs hold two trials of 0.6, not three
        fitting = min(fitting, int(gpus) * round(1 / per_trial))
    if resources.concurrency is not None and resources.concurrency > fitting:
        raise UserError(
            f"--concurrency must be at most {fitting}, what {cpus:g} CPUs and {gpus:g} GPUs hold at"
            f" {resources.cpus_per_trial} CPUs and {per_trial:g} GPUs a trial,"
            f" but got {resources.concurrency}."
        )
    return per_trial, resources.concurrency or fitting


def remove_leftovers() -> None:
    """Delete temporary folders of Ray whose run was killed."""
    for path in Path(tempfile.gettempdir()).glob("tuner-ray-*"):
        match = _FOLDER.match(path.name)
        if match and not psutil.pid_exists(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def local_gpus() -> int:
    """Return how many GPUs a Ray of this machine will see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "NoDevFiles", "-1"):  # Ray reads them so
        return 0
    devices = Path("/proc/driver/nvidia/gpus")  # there even where nvidia-smi is not
    present = len(gpus()) or len(list(devices.glob("*")))
    return present if visible is None else min(present, len(visible.split(",")))


def local_cpus() -> int:
    """Return how many CPU cores a Ray of this machine will use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, cores or 1)
