"""Start Ray for one run, or join a cluster, and leave nothing behind.

A local Ray lives in a temporary folder of its own, named after the process that started it, so
that what a killed run left can be told from what a living one uses.

It takes all CPU cores and GPUs that this process may use, unless two environment variables say
otherwise: TUNER_CPUS, a whole number, and TUNER_GPUS, a whole number or, for a run that shares one
GPU with others, a fraction of 1. Both limit, or pretend: a Ray that is told of more has more. The
service sets them to what a job holds.
"""

from __future__ import annotations

import contextlib
import logging
import math
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
        yield _allotted(ray.cluster_resources(), resources)
        return
    remove_leftovers()
    folder, given = None, _given_gpus()
    try:
        if resources.address is not None:
            ray.init(address=resources.address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            folder = Path(tempfile.mkdtemp(prefix=f"tuner-ray-{os.getpid()}-"))
            ray.init(
                address="local",
                num_cpus=local_cpus(),
                num_gpus=None if given is None else math.ceil(given),
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
        yield _allotted(ray.cluster_resources(), resources)
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _allotted(cluster: dict[str, float], resources: ResourcesConfig) -> dict[str, float]:
    """Return what a cluster has for this run: of a local one, no more of a GPU than was given."""
    given = None if resources.address is not None else _given_gpus()
    return dict(cluster) if given is None else {**cluster, "GPU": given}


def check_fits(resources: ResourcesConfig, cluster: dict[str, float]) -> tuple[float, int]:
    """Return (GPUs per trial, trials at once), or refuse what the cluster cannot give.

    Raises
    ------
    UserError
        If one trial, or the concurrency asked for, needs more than there is.
    """
    cpus, gpus = cluster.get("CPU", 0.0), cluster.get("GPU", 0.0)
    asked = resources.gpus_per_trial
    if asked == "auto" and gpus % 1:
        raise UserError(
            f"--gpus-per-trial auto needs whole GPUs, but this run has {gpus:g}; give a fraction."
        )
    # What `auto` finds is known before Ray is asked; until then, it needs what one trial needs.
    per_trial = asked if isinstance(asked, float) else 1.0 if gpus else 0.0
    if per_trial and not gpus:
        raise UserError(
            f"--gpus-per-trial {per_trial:g} needs a GPU, but Ray sees none here. Leave it out to"
            " train on CPU cores, or name a cluster with --address."
        )
    if per_trial > gpus + 1e-9:
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
        whole, part = divmod(gpus, 1)
        on_part = int(part / per_trial + 1e-9)
        fitting = min(fitting, int(whole) * round(1 / per_trial) + on_part)
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


def local_gpus() -> float:
    """Return how many GPUs a Ray of this machine will take.

    Raises
    ------
    UserError
        If TUNER_GPUS is no number of GPUs.
    """
    given = _given_gpus()
    if given is not None:
        return given
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible in ("", "NoDevFiles", "-1"):  # Ray reads them so
        return 0
    devices = Path("/proc/driver/nvidia/gpus")  # there even where nvidia-smi is not
    present = len(gpus()) or len(list(devices.glob("*")))
    return present if visible is None else min(present, len(visible.split(",")))


def local_cpus() -> int:
    """Return how many CPU cores a Ray of this machine will take.

    Raises
    ------
    UserError
        If TUNER_CPUS is no number of cores.
    """
    given = os.environ.get("TUNER_CPUS")
    if given is not None:
        if not (given.isascii() and given.isdigit() and int(given) > 0):
            raise UserError(f"TUNER_CPUS must be a whole number of at least 1, but got {given!r}.")
        return int(given)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, cores or 1)


def _given_gpus() -> float | None:
    """Return what TUNER_GPUS says, None where it is not set."""
    text = os.environ.get("TUNER_GPUS")
    if text is None:
        return None
    try:
        given = float(text)
    except ValueError:
        given = -1.0
    if not (0 <= given < 1 or (given.is_integer() and 1 <= given < math.inf)):
        raise UserError(
            f"TUNER_GPUS must be a whole number or a fraction of 1, such as 0.5, but got {text!r}."
        )
    return given
