"""Where the service keeps what, and what its operator decided: all of it fixed at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

GB = 10**9
RAY_URL = "http://127.0.0.1:8265"
"""Where Ray's Jobs API listens, unless told otherwise."""


@dataclass(frozen=True)
class Settings:
    """What `tuner serve` was told."""

    runs: Path
    """Folder of all runs, absolute; the service's own files lie under it."""
    cache: Path
    """Folder of packed data sets."""
    database: str | None = None
    """SQLAlchemy URL; None is an SQLite file under `runs`."""
    ray: str = RAY_URL
    max_upload_bytes: int = 20 * GB
    webhook: str | None = field(default=None, repr=False)
    """URL that is told when a job ends; a secret."""
    notify_command: str | None = field(default=None, repr=False)
    """Command that is run when a job ends; may hold secrets."""
    links: dict[str, str] = field(default_factory=dict)
    """Name → URL of what else shows a job, with `{job}` where its name goes."""

    @property
    def service_folder(self) -> Path:
        """Folder of everything that is the service's own."""
        return self.runs / ".service"

    @property
    def database_url(self) -> str:
        """URL of the database that is really used."""
        return self.database or f"sqlite:///{self.database_file}"

    @property
    def database_file(self) -> Path:
        """File of the database, unless it is another one."""
        return self.service_folder / "service.db"

    @property
    def data_sets(self) -> Path:
        """Folder of the registered data sets."""
        return self.service_folder / "data"

    @property
    def temporary(self) -> Path:
        """Folder of files that are being received or sent; emptied at every start."""
        return self.service_folder / "tmp"

    @property
    def reports(self) -> Path:
        """Folder of reports that have been made."""
        return self.service_folder / "reports"

    def run_folder(self, job: str) -> Path:
        """Return the folder of a job's run or study."""
        return self.runs / job

    def job_folder(self, job: str) -> Path:
        """Return the folder of a job's request, log and outcome."""
        return self.service_folder / "jobs" / job

    def log_file(self, job: str) -> Path:
        """Return the file that a job's processes write to."""
        return self.job_folder(job) / "log.txt"

    def data_folder(self, fingerprint: str, name: str) -> Path:
        """Return the folder of a registered data set."""
        return self.data_sets / fingerprint / name
