"""Before the first trial: can every machine of the cluster train trials of this run?

A small task on each node tells its versions, its devices, whether it sees the storage, and whether
it has the data. A run never goes on with some of the nodes in silence: one that cannot take part is
told with what would mend it, and the run refused before anything of it is written.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from search_spaces.model import UserError
from trainables.data import bring
from trainables.data.packed import PackedData
from trainables.processor import processor_name
from tuner import provenance
from tuner.spec_sections import ResourcesConfig
from tuner.storage_check import answer, answered, marked

VERSIONS = ("python", "torch", "ray", "tuner")
TIMEOUT_S = 120.0
"""How long a node may take: the first task of a user on it starts a Python, which imports Ray."""
DATA_TIMEOUT_S = 6 * 3600.0
"""How long it may take to bring the data: some sets have tens of gigabytes."""


class Node(NamedTuple):
    """A node that is to train trials."""

    id: str
    name: str
    """Address and host name."""


class Asked(NamedTuple):
    """What a node is asked; it travels to it."""

    word: str
    """To answer marks with."""
    places: tuple[tuple[str, str], ...]
    """Flag and mark of each place that all nodes must see."""
    data: str
    fingerprint: str
    storage: str | None
    """Object store to bring the data from, if it is one."""


class Told(NamedTuple):
    """What a node tells of itself."""

    versions: dict[str, str]
    code: str
    """Digest of tuner's own source."""
    processor: str
    gpus: list[str]
    unseen: list[tuple[str, str]]
    """Flag of a place that it does not see, and why."""
    data: str | None
    """What is wrong with the data there, or None if it has them."""


def check_nodes(
    resources: ResourcesConfig,
    data: PackedData,
    runs: Path,
    gpus: float,
    notice: Callable[[str], None],
) -> tuple[str, ...]:
    """Probe every node of the joined cluster and return the kinds of device that trials may meet.

    Parameters
    ----------
    resources : ResourcesConfig
    data : PackedData
    runs : Path
        Where the run's folder lies, or will.
    gpus : float
        Fraction of a GPU that one trial holds.
    notice : callable
        Takes one-line messages.

    Raises
    ------
    UserError
        If a node cannot take part: which, why, and what would work.
    """
    if resources.address is None:
        return ()
    nodes = _training_nodes(resources, gpus)
    if not nodes:
        raise UserError(
            f"No node of the cluster has the {resources.cpus_per_trial} CPUs and {gpus:g} GPUs of"
            " one trial; lower --cpus-per-trial or --gpus-per-trial."
        )
    own = runs if resources.storage is None else None
    places = [
        ("run's folder", None if own is None else str(own)),
        ("--storage", resources.storage),
        ("--trunks", resources.trunks),
    ]
    told = _probe(nodes, places, data, None)
    store = resources.storage if resources.in_object_store else None
    if store is not None and any(one.data for one in told.values() if isinstance(one, Told)):
        notice("Bringing the data to nodes that lack them, by way of the storage …")
        bring.upload(data, store)
        told = _probe(nodes, places, data, store)
    troubles = {
        node.name: trouble for node in nodes if (trouble := _trouble(told[node.id])) is not None
    }
    if troubles:
        (name, trouble), *others = troubles.items()
        more = f" Nor can: {', '.join(other for other, _ in others)}." if others else ""
        raise UserError(f"Node {name} cannot take part: {trouble}{more}")
    found = [one for one in told.values() if isinstance(one, Told)]
    kinds = [kind for one in found for kind in (one.gpus if gpus else [one.processor])]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    devices = ", ".join(f"{count} × {kind}" for kind, count in counts.items())
    notice(f"{len(nodes)} node{'s' if len(nodes) > 1 else ''} can train: {devices or 'GPUs'}.")
    return tuple(counts)


def _training_nodes(resources: ResourcesConfig, gpus: float) -> list[Node]:
    """Return the nodes that can hold a trial."""
    import ray

    needed = {"CPU": float(resources.cpus_per_trial), "GPU": gpus}
    return [
        Node(one["NodeID"], f"{one['NodeManagerAddress']} ({one['NodeManagerHostname']})")
        for one in ray.nodes()
        if one["Alive"]
        and all(one["Resources"].get(name, 0.0) >= least for name, least in needed.items())
    ]


def _probe(
    nodes: Sequence[Node],
    places: Sequence[tuple[str, str | None]],
    data: PackedData,
    store: str | None,
) -> dict[str, Told | str]:
    """Ask all nodes at once; return what each told, or why it did not."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    timeout_s = TIMEOUT_S if store is None else DATA_TIMEOUT_S
    found: dict[str, Told | str] = {}
    with contextlib.ExitStack() as stack:
        marks = tuple(
            (flag, stack.enter_context(marked(where)))
            for flag, where in places
            if where is not None
        )
        task = ray.remote(num_cpus=0, max_retries=0)(tell)
        asked = {
            node.id: task.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
            ).remote(Asked(node.id, marks, str(data.folder), data.fingerprint, store))
            for node in nodes
        }
        for node_id, reference in asked.items():
            try:
                told = ray.get(reference, timeout=timeout_s)
            except GetTimeoutError:
                found[node_id] = f"it did not answer within {timeout_s:.0f} s; look at its Ray"
                continue
            except RayError as error:
                found[node_id] = _not_installed(str(error))
                continue
            unheard = [
                (flag, "what it writes there does not arrive here")
                for flag, mark in marks
                if flag not in dict(told.unseen) and not answered(mark, node_id)
            ]
            found[node_id] = told._replace(unseen=[*told.unseen, *unheard])
    return found


def tell(asked: Asked) -> Told:
    """Return what this machine is and has; runs on the node."""
    unseen = [
        (flag, why) for flag, mark in asked.places if (why := answer(mark, asked.word)) is not None
    ]
    lacking = None
    try:
        if bring.here(Path(asked.data), asked.fingerprint, asked.storage) is None:
            lacking = f"{asked.data} is not there with fingerprint {asked.fingerprint[:12]}"
    except UserError as error:
        lacking = str(error).rstrip(".")
    versions = provenance.versions()
    return Told(
        {name: versions.get(name, "missing") for name in VERSIONS},
        provenance.source_digest(),
        processor_name(),
        [gpu["name"] for gpu in provenance.gpus()],
        unseen,
        lacking,
    )


def _trouble(told: Told | str) -> str | None:
    """Return why a node cannot take part and what would work, or None if it can."""
    if isinstance(told, str):
        return f"{told}."
    mine = provenance.versions()
    for name in VERSIONS:
        here, there = mine.get(name, "missing"), told.versions[name]
        if here != there:
            return f"it has {name} {there}, but this machine {here}; install the same on both."
    if told.code != provenance.source_digest():
        return "its tuner has other source code than this machine's; install the same on both."
    for flag, why in told.unseen:
        if flag == "run's folder":
            return (
                f"{why}. Trials keep their state there: give --runs a folder that all nodes see, or"
                " --storage FOLDER or --storage s3://BUCKET/PREFIX."
            )
        return f"{flag}: {why.rstrip('.')}. Give {flag} a place that all nodes see."
    if told.data is not None:
        return (
            f"{told.data}. Copy that folder to it, or pack the data where all nodes see them"
            " (--cache), or use --storage s3://… to have them brought."
        )
    return None


def _not_installed(error: str) -> str:
    """Return what a probe that could not run means."""
    for line in reversed(error.splitlines()):
        if "Error:" in line:
            return f"tuner does not run there ({line.strip()}); install it in the Python of its Ray"
    return f"tuner does not run there ({error.strip().splitlines()[0][:200]})"
