"""What Ray Tune sees of a run: a searcher, a scheduler and a callback that ask the driver.

They hold no state of their own. Ray's snapshots of them are empty, because a run is rebuilt from
its record, never from Ray's files.
"""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from trainables.data.packed import PackedData
from tuner.driver import Driver


class DriverSearcher(Searcher):  # type: ignore[misc]
    """Hands Tune the driver's next trial; ends the search when there is none."""

    def __init__(self, driver: Driver, data: PackedData) -> None:
        super().__init__()
        self._driver, self._data = driver, data
        self._processor = driver.record.run().host.get("cpu")

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's assignment, FINISHED, or None if Tune is to ask again."""
        assignment = self._driver.next_trial()
        if assignment is None:
            return None if self._driver.may_hand_out_more else str(Searcher.FINISHED)
        return {
            "number": assignment.number,
            "trial": assignment.trial.model_dump(mode="json"),
            "data": str(self._data.folder),
            "fingerprint": self._data.fingerprint,
            "limit": self._driver.spec.data.limit,
            "folder": str(assignment.folder),
            "store": assignment.store,
            "storage": self._driver.spec.resources.storage if assignment.store else None,
            "processor": self._processor,
            "acknowledged": assignment.acknowledged,
            "trunk": assignment.trunk,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the driver knew before Tune did."""

    def save(self, checkpoint_path: str) -> None:
        """Write an empty snapshot, which Tune insists on."""
        Path(checkpoint_path).write_bytes(b"")

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see the module's docstring."""

    def __getstate__(self) -> dict[str, Any]:
        """Leave the driver out when Tune pickles its own settings."""
        return {}


class DriverScheduler(FIFOScheduler):  # type: ignore[misc]
    """Gives each result to the driver, which records it and says whether the trial stops."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the trial to start next; once the run is interrupted, take back those that wait.

        Tune itself would start them all, for an epoch each.
        """
        if self._driver.interrupted is None:
            return super().choose_trial_to_run(tune_controller)
        for trial in tune_controller.get_trials():
            if trial.status == Trial.PENDING and self._driver.take_back(trial.config["number"]):
                trial.init_local_path()  # Tune's summary of its own wants one
                with redirect_stdout(None):  # Tune announces the end of each at any verbosity
                    tune_controller.stop_trial(trial)
        return None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return STOP when the trial has ended or is to stop, else CONTINUE."""
        number, rows = result["number"], json.loads(result["rows"])
        self._driver.on_placed(number, result["device"], result["worker"])
        if "shared" in result:
            self._driver.on_shared(number, rows[-1]["epoch"], **result["shared"])
        for row in rows:
            if self._driver.on_row(number, row, result["startup_s"]):
                return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the driver out when Tune pickles its own settings."""
        return {}


class DriverCallback(Callback):  # type: ignore[misc]
    """Tells the driver of starts and failures."""

    def __init__(self, driver: Driver, device: str) -> None:
        self._driver, self._device = driver, device

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a worker has taken the trial."""
        self._driver.on_started(trial.config["number"], self._device, str(trial.trial_id))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that Tune restarts a trial whose worker failed."""
        self._driver.on_retry(trial.config["number"], _error_text(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial failed for good."""
        self._driver.on_crashed(trial.config["number"], _error_text(trial))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the driver out when Tune pickles its own settings."""
        return {}


def _error_text(trial: Any) -> str:
    """Return the text of a trial's last failure, as Tune wrote it."""
    path = trial.error_file
    if not path or not Path(path).exists():
        return "no message"
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    return text.rpartition("Failure # ")[2]
