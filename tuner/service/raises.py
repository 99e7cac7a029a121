"""What is added to a job's budget when it goes on: each raise once for its key, and their sum."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select

from tuner.service import tables
from tuner.service.models import Raise
from tuner.service.transactions import Conflict


def first_use(connection: Connection, id: str, key: str, amounts: dict[str, Any]) -> bool:
    """Remember a key of a job's, or return False if it was used with the same amounts.

    Raises
    ------
    Conflict
        If it was used with others.
    """
    raises = tables.raises
    same_key = (raises.c.job == id) & (raises.c.key == key)
    there = connection.execute(select(raises.c.amounts).where(same_key)).first()
    if there is None:
        connection.execute(insert(raises).values(job=id, key=key, amounts=amounts))
        return True
    if there.amounts != amounts:
        raise Conflict(
            f"The key {key!r} was used to resume job {id} with other amounts; choose another key."
        )
    return False


def total(first: Raise, second: Raise) -> Raise:
    """Return what two raises add together.

    Raises
    ------
    Conflict
        If that is more than any budget has.

    >>> total(Raise(more_trials=2), Raise(more_trials=3, more_gpu_hours=0.5)).amounts
    {'more_trials': 5, 'more_gpu_hours': 0.5}
    """
    amounts: dict[str, Any] = first.amounts
    for name, amount in second.amounts.items():
        amounts[name] = amounts.get(name, 0) + amount
    try:
        return Raise(**amounts)
    except ValidationError as error:
        raise Conflict("More than that cannot be added to a budget in all.") from error
