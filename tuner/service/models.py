"""The words of the service's API: what is asked and what is answered, as JSON.

Times are Unix seconds, durations seconds, GPUs may be fractions of one. Fields that do not apply
are null. The client imports this file, so it needs neither FastAPI nor Ray nor torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from search_spaces.model import Model

JobState = Literal[
    "queued", "starting", "running", "pausing", "paused", "stopping", "stopped", "finished",
    "failed",
]  # fmt: skip
OPEN: tuple[JobState, ...] = ("queued", "starting", "running", "pausing", "stopping")
"""States in which the service has something to do."""
HOLDING: tuple[JobState, ...] = ("starting", "running", "pausing", "stopping")
"""States in which a job holds its GPUs."""
RESUMABLE: tuple[JobState, ...] = ("paused", "stopped", "failed", "finished")
Wanted = Literal["run", "pause", "stop", "stop_now"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{8,100}$")]


class Me(Model):
    """Whose token it is."""

    user: str
    admin: bool


class Capacity(Model):
    """What there is to give."""

    gpus: float
    """GPUs of the cluster; 0 if searches train on CPU cores."""
    cpus: float
    gpu_names: list[str] = []
    """One for each GPU, where known."""
    pretended: bool = False
    """Whether Ray was told of more GPUs than this machine has."""


class Server(Model):
    """What a client checks before it submits."""

    versions: dict[str, str]
    """Of tuner, torch, ray, optuna, python."""
    capacity: Capacity | None
    """None while Ray is away."""
    spaces: list[str]
    presets: list[str]
    max_upload_bytes: int
    runs: str
    """The folder of all runs, on the server."""


class DataSet(Model):
    """Images that the server has."""

    fingerprint: Fingerprint
    name: Name
    """The file or folder from which it was packed: what a specification calls its source."""
    images: dict[str, int]
    """By split."""
    classes: list[str]
    size: int
    """Side of an image, pixels."""
    channels: int
    added_by: str
    added_at: float


class Submission(Model):
    """A search to queue."""

    kind: Literal["run", "study"] = "run"
    spec: dict[str, Any]
    """Of a run: `RunSpec`; of a study: `StudySpec`. Its data's source is `synthetic`, or the name
    of a data set."""
    digest: Fingerprint
    """The specification's digest as the client has it; refused if the server finds another."""
    fingerprint: Fingerprint | None = None
    """Of the data set; null for synthetic faces."""
    name: Name | None = None
    """The job's and the run's name; null lets the server choose."""
    key: Key
    """Chosen by the client once per submission, so that asking twice queues once."""
    priority: int = Field(0, ge=-10, le=10)
    """Higher goes first. Above 0 needs an admin."""
    exclusive: bool = True
    """Whether its GPUs are its own; timed comparisons need that."""
    gpus: float | None = Field(None, ge=0, le=1024)
    """GPUs to hold; null: what its trials at once need, or else all of a machine."""
    cpus: int | None = Field(None, ge=1, le=4096)
    """CPU cores to hold; null: what its trials at once need."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=200)] = []
    """The command line, for the record."""


class Draft(Model):
    """A run to be specified as `tuner run` would, from known presets and spaces alone."""

    preset: Name | None = None
    """None is `quick`."""
    space: Name = "periodic_T"
    flags: dict[str, Any] = {}
    """Fields of `RunSpec` that override the preset's."""
    sets: dict[str, Any] = {}
    """Knobs or other fields of a trial, held at a value: `--set`."""
    ranges: dict[str, tuple[float, float]] = {}
    """Knobs, narrowed to (low, high): `--range`."""


class Drafted(Model):
    """A specification, and its digest, as a submission needs them."""

    spec: dict[str, Any]
    digest: str


class Checked(Model):
    """A submission that would be queued now."""

    name: str
    digest: str
    gpus: float
    cpus: int
    position: int
    """Place in the queue, from 1."""
    notes: list[str] = []
    """What the user should know, such as other versions on the server."""


class Progress(Model):
    """How far a search has come."""

    trials: dict[str, int]
    """By state."""
    epochs: int
    slot_seconds: float | None
    """Null where trials ran on several kinds of device, whose seconds cannot be added."""
    slot_seconds_by_device: dict[str, float] = {}
    """By kind of device, where there are several."""
    wall_seconds: float
    best: float | None
    """Best validation macro-F1 so far."""
    best_trial: int | None
    remaining_seconds: float | None
    """An estimate; null while there is no ground for one."""
    share_done: float | None
    """Of the budget that will end it first, or of a study's trials, 0 to 1."""
    stage: str | None = None
    """Of a study: its run under way."""


class Job(Model):
    """A submitted search."""

    id: str
    """Also the name of its run; – in a queue where it is another user's."""
    kind: Literal["run", "study"]
    user: str
    state: JobState
    wanted: Wanted
    reason: str | None
    space: str | None
    """A run's space."""
    digest: str
    priority: int
    exclusive: bool
    gpus: float
    cpus: int
    attempt: int
    """How often its process has been started."""
    position: int | None
    """Place in the queue, from 1, while it waits."""
    created_at: float
    started_at: float | None
    ended_at: float | None
    expected_start_s: float | None = None
    """Seconds until it may start, estimated from what is ahead."""
    progress: Progress | None = None
    budget: dict[str, float | None] = {}
    epochs: int | None = None
    """Epochs of a trial that is not stopped."""
    links: dict[str, str] = {}
    """TensorBoard and optuna-dashboard of the run, where the server has them."""


class Raise(Model):
    """What to add to a budget when a job goes on."""

    more_trials: int | None = Field(None, ge=1, le=1_000_000)
    more_epochs: int | None = Field(None, ge=1, le=1_000_000_000)
    more_gpu_hours: float | None = Field(None, gt=0, le=100_000)
    more_wall_hours: float | None = Field(None, gt=0, le=100_000)
    key: Key | None = None
    """Chosen by the client once per request, so that asking twice adds once."""

    @property
    def amounts(self) -> dict[str, Any]:
        """What is added, by the name of its field."""
        return self.model_dump(exclude_none=True, exclude={"key"})


class Log(Model):
    """A part of what a job's process wrote."""

    text: str
    next_offset: int
    """Bytes; where to go on."""
    size: int
    ended: bool
    """Whether nothing more will come."""


class TrialRow(Model):
    """One trial, as the page's table shows it."""

    run: str
    """The run that it belongs to; a study has several."""
    number: int
    state: str
    knobs: dict[str, Any]
    seed: int
    epochs: int
    score: float | None
    test_score: float | None
    best_epoch: int | None
    slot_seconds: float
    device: str | None
    reason: str | None


class Trials(Model):
    """Trials that have changed since a cursor."""

    rows: list[TrialRow]
    cursor: str
    """To be given back for what changes next."""


class Point(Model):
    """One epoch of one trial."""

    run: str
    trial: int
    epoch: int
    val_f1: float
    best_val_f1: float
    injected_share: float


class Curves(Model):
    """Epochs recorded since a cursor, in order."""

    points: list[Point]
    cursor: str
    more: bool = False
    """Whether there is more already: ask again."""


class Waiting(Model):
    """A job's place in the queue."""

    id: str
    user: str
    position: int
    gpus: float
    exclusive: bool
    priority: int
    state: JobState
    cpus: int | None = None
    started_at: float | None = None
    expected_start_s: float | None = None
    """Seconds until it may start, estimated from what is ahead."""


class Queue(Model):
    """What is held and what waits."""

    capacity: Capacity | None
    held: list[Waiting]
    """Jobs that hold GPUs; their position is 0."""
    waiting: list[Waiting]
    notes: list[str] = []
    """Such as that Ray is away."""


class Comparison(Model):
    """Jobs to compare in one report."""

    jobs: list[Name] = Field(min_length=1, max_length=50)


class AuditRow(Model):
    """Something that a user did."""

    at: float
    user: str
    action: str
    job: str | None
    detail: str | None
    address: str | None


class Assignment(Model):
    """What a job's process is to do; lies in its folder as request.json."""

    job: str
    kind: Literal["run", "study"]
    spec: dict[str, Any]
    """With the path of its data on this server."""
    fingerprint: str | None
    runs: str
    cache: str
    command: list[str]
    gpus: float
    cpus: int
    attempt: int
    """How often its process has been started, this time included."""
    submission: str
    """How Ray knows this attempt; no other attempt of any service's database is called so."""
    more: Raise = Raise()
    """What was added to the specification's budget since it was submitted, in all."""


class Outcome(Model):
    """How a job's process ended; lies in its folder as outcome.json."""

    submission: str
    """Whose end it is, as in `Assignment`."""
    state: Literal["finished", "interrupted", "failed", "full", "crashed"]
    """`failed`: for something that its user can mend; `full`: the disk was, so that it goes on once
    there is room; `crashed`: for a fault that may pass, so that it is tried again."""
    reason: str | None
    ended_at: float
