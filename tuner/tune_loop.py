"""The loop that Ray Tune drives, how it is interrupted, and how its end is told."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from search_spaces.model import UserError
from trainables.data.packed import PackedData
from tuner.driver import Driver
from tuner.run_storage import bring_best


def drive(
    driver: Driver,
    data: PackedData,
    gpus: float,
    concurrency: int,
    on_ready: Callable[[Path], None] | None,
    notice: Callable[[str], None],
) -> None:
    """Let Ray Tune run the trials, and write how the run ended.

    Parameters
    ----------
    driver : Driver
    data : PackedData
    gpus : float
        Fraction of a GPU that one trial holds.
    concurrency : int
        Trials at once.
    on_ready : callable or None
        Called with the run's folder before the first trial.
    notice : callable
        Takes one-line messages.

    Raises
    ------
    UserError
        If the run ended for something that the user can mend, such as a full disk.
    """
    driver.record.add_event(
        "slots",
        f"{concurrency} at once, {gpus:g} GPUs each",
        data={"concurrency": concurrency, "fraction": driver.slot_fraction},
    )
    if on_ready is not None:
        on_ready(driver.folder)
    state, reason = "failed", "an unexpected error"
    try:
        with _interrupts(driver, notice):
            _tune(driver, data, gpus, concurrency)
        if driver.interrupted is not None:
            state, reason = "interrupted", driver.interrupted
        else:
            state, reason = "finished", driver.end_reason or "no trial was left"
    except KeyboardInterrupt:
        state, reason = "interrupted", "interrupted at once"
    except Exception as error:
        known = _mendable(error, driver.folder)
        if known is not None:
            state, reason = "failed", str(known)
            raise known from error
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        with contextlib.suppress(OSError):  # the disk may be full; a resume writes them anew
            driver.board.close()
        with contextlib.suppress(UserError):
            driver.interrupt_all(reason)
            driver.charge_wall_time()
            try:  # first: who sees that the run has ended finds its weights
                if driver.best is not None:
                    bring_best(driver.storage, driver.record, -driver.best[1])
            finally:
                driver.record.set_run(state, reason)
                driver.record.add_event("end", f"{state}: {reason}")


def _mendable(error: BaseException, folder: Path) -> UserError | None:
    """Return what a user can mend, if that is why Tune gave up: it hides what a callback raises."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return UserError(
                f"The disk of {folder} is full. Everything recorded is kept; free some space there,"
                f" then continue with: tuner resume {folder.name}"
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _tune(driver: Driver, data: PackedData, gpus: float, concurrency: int) -> None:
    from ray import tune

    from trainables.ray_trial import RayTrial
    from tuner.ray_adapters import DriverCallback, DriverScheduler, DriverSearcher

    resources = driver.spec.resources
    attempts = driver.folder / "ray"
    attempts.mkdir(exist_ok=True)
    attempt = f"{len(list(attempts.iterdir())):04d}"
    device = "cpu"  # as the record means it, until the worker tells
    if gpus:
        device = driver.kinds[0] if len(driver.kinds) == 1 else "gpu"
    tuner = tune.Tuner(
        tune.with_resources(RayTrial, {"cpu": resources.cpus_per_trial, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            search_alg=DriverSearcher(driver, data),
            scheduler=DriverScheduler(driver),
            num_samples=-1,
            max_concurrent_trials=concurrency,  # unset, Tune keeps one trial pending at a time
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=attempt,
            storage_path=str(attempts),
            failure_config=tune.FailureConfig(max_failures=resources.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # state is ours
            callbacks=[DriverCallback(driver, device)],
            verbose=0,
        ),
    )
    with _quiet_ray():
        tuner.fit()


@contextlib.contextmanager
def _interrupts(driver: Driver, notice: Callable[[str], None]) -> Iterator[None]:
    """First Ctrl-C: running trials finish their epoch, then the run ends. Second: it ends now.

    So it does at SIGTERM: whoever sends it, a service manager or a shutdown, does not wait long.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: Any) -> None:
        if driver.interrupted is not None or number == signal.SIGTERM:
            raise KeyboardInterrupt
        driver.interrupted = "interrupted"
        notice("Finishing the running epochs; press Ctrl-C again to stop now. Nothing is lost.")

    handled = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, handler) for number in handled]
    try:
        yield
    finally:
        for number, old in zip(handled, previous, strict=True):
            signal.signal(number, old)


@contextlib.contextmanager
def _quiet_ray() -> Iterator[None]:
    """Silence Tune's own messages: what a user needs to know is in the record's events."""
    import logging

    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
