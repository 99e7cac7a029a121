"""A search space: which knobs vary, over what, why, and what is held fixed.

One YAML file per space, its name the file's name. A range cites its source, because the answer of
a comparison is a function of the range. A bound may be given in epochs (`epochs/2`), since an
interval longer than the training never shows itself.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, StrictInt, model_validator

from search_spaces.model import Model, Section, UserError, did_you_mean, shown, validated
from search_spaces.yaml_file import check_kind, read_yaml

FOLDER = Path(__file__).parent
Value = str | int | float | bool
BoundT = TypeVar("BoundT", int, float)
Whole = Annotated[StrictInt, Field(gt=-(2**31), lt=2**31, description="a whole number")]
EpochShare = Annotated[
    str,
    Field(pattern=r"^epochs(/[1-9][0-9]{0,3})?$", description="a share such as epochs/2"),
]
"""A whole number given as a share of the epochs, rounded down but at least 1."""


class IntKnob(Section):
    """A whole number; it stays one for the sampler, so that 3 lies between 2 and 4."""

    kind: Literal["int"]
    low: Whole | EpochShare
    """Smallest value, included."""
    high: Whole | EpochShare
    """Largest value, included."""
    log: bool = False
    """Sample its logarithm uniformly."""
    when: dict[str, list[Value]] = {}
    """Active only while each named knob has one of these values."""
    source: str
    """Where the range comes from."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self.low, self.high, self.log)
        return self


class FloatKnob(Section):
    """A real number."""

    kind: Literal["float"]
    low: float
    """Smallest value, included."""
    high: float
    """Largest value, included."""
    log: bool = False
    """Sample its logarithm uniformly."""
    grid: int = Field(5, ge=2, le=1000)
    """How many evenly spaced values a grid search tries."""
    when: dict[str, list[Value]] = {}
    """Active only while each named knob has one of these values."""
    source: str
    """Where the range comes from."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_range(self.low, self.high, self.log)
        return self


class ChoiceKnob(Section):
    """One of a few unordered values."""

    kind: Literal["choice"]
    values: list[Value] = Field(min_length=1)
    """What may be chosen."""
    when: dict[str, list[Value]] = {}
    """Active only while each named knob has one of these values."""
    source: str
    """Where the choice comes from."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({(type(value), value) for value in self.values}) != len(self.values):
            raise UserError(f"values must differ, but got {self.values}")
        return self


Knob = Annotated[IntKnob | FloatKnob | ChoiceKnob, Field(discriminator="kind")]


class Space(Model):
    """Which knobs vary and what is fixed."""

    name: str
    """The file's name without `.yaml`."""
    summary: str
    """One line for listings."""
    fixed: dict[str, Any] = {}
    """Fields of the trial's configuration that this space sets for every trial."""
    knobs: dict[str, Knob] = {}
    """What varies; empty means that only the seed does."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        both = sorted(set(self.fixed) & set(self.knobs))
        if both:
            raise UserError(f"{both[0]} is both fixed and a knob; keep one")
        for name, knob in self.knobs.items():
            for other in knob.when:
                if other == name or other not in self.knobs:
                    raise UserError(
                        f"when of {name} must name another knob of the space, but got {other!r}"
                    )
                if self.knobs[other].when:
                    raise UserError(f"when of {name} names {other}, which is conditional itself")
        return self

    def resolved(self, epochs: int) -> Space:
        """Return the space with every bound a number, for trials of `epochs` epochs.

        Raises
        ------
        UserError
            If a range is empty at this number of epochs.
        """
        knobs: dict[str, Any] = {}
        for name, knob in self.knobs.items():
            if isinstance(knob, IntKnob):
                low, high = _bound(knob.low, epochs), _bound(knob.high, epochs)
                if low > high:
                    raise UserError(
                        f"The range of {name} is empty at {epochs} epochs: {low} to {high}"
                        f" (space {self.name})."
                    )
                knob = knob.model_copy(update={"low": low, "high": high})
            knobs[name] = knob
        return self.model_copy(update={"knobs": knobs})

    def with_fixed(self, name: str, value: Any) -> Space:
        """Return the space with a knob or fixed field held at `value`."""
        knobs = {key: knob for key, knob in self.knobs.items() if key != name}
        for key, knob in knobs.items():
            if name in knob.when:  # now always or never active
                when = {other: v for other, v in knob.when.items() if other != name}
                if value not in knob.when[name]:
                    raise UserError(
                        f"{key} is only active when {name} is one of {knob.when[name]},"
                        f" but {name} is set to {value!r}; set {key} too (space {self.name})."
                    )
                knobs[key] = knob.model_copy(update={"when": when})
        return validated(
            Space,
            {
                **self.model_dump(),
                "knobs": {key: knob.model_dump() for key, knob in knobs.items()},
                "fixed": {**self.fixed, name: value},
            },
            f"space {self.name}",
        )

    def with_range(self, name: str, low: str, high: str, epochs: int) -> Space:
        """Return the space with a knob's range narrowed to `low`…`high`, both included.

        Raises
        ------
        UserError
            If the knob is unknown or a choice, or a bound is no number or lies outside the range
            that the knob has in trials of `epochs` epochs.
        """
        where = f"space {self.name}, knob {name}"
        if name not in self.knobs:
            vary = f"{', '.join(self.knobs)} alone" if self.knobs else "nothing but the seed"
            raise UserError(
                f"Space {self.name} varies {vary}, not {shown(name)}. A space file can let more"
                " vary."
            )
        knob = self.knobs[name]
        if isinstance(knob, ChoiceKnob):
            choices = ", ".join(map(str, knob.values))
            raise UserError(
                f"A range needs a number, but {name} is a choice of {choices} ({where}). Hold one"
                f" with --set {name}={knob.values[0]}, or write a space file with fewer."
            )
        values = {**knob.model_dump(), "low": _number(low), "high": _number(high)}
        narrowed = validated(type(knob), values, lambda path: (" of ".join((*path, name)), where))
        limits, bounds = (
            [_bound(bound, epochs) for bound in (one.low, one.high)] for one in (knob, narrowed)
        )
        if bounds[0] < limits[0] or bounds[1] > limits[1]:
            raise UserError(
                f"{name} must stay within {limits[0]}:{limits[1]}, its range in the space, but got"
                f" {low}:{high} ({where}). Write a space file to widen it."
            )
        return self.model_copy(update={"knobs": {**self.knobs, name: narrowed}})

    def active(self, values: dict[str, Any]) -> list[str]:
        """Return the knobs that are active given the values of those they depend on."""
        return [
            name
            for name, knob in self.knobs.items()
            if all(values.get(other) in allowed for other, allowed in knob.when.items())
        ]


@cache
def known_spaces() -> tuple[str, ...]:
    """Return the names of the spaces that come with the product."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def load_space(name_or_path: str) -> Space:
    """Return a space by name, or from a user's own YAML file.

    Raises
    ------
    UserError
        If there is none of this name, or the file does not hold a valid space.
    """
    if name_or_path in known_spaces():
        path = FOLDER / f"{name_or_path}.yaml"
    elif re.search(r"[/\\]|\.ya?ml$", name_or_path) and "\0" not in name_or_path:
        path = Path(name_or_path)
    else:
        raise UserError(did_you_mean("space", name_or_path, known_spaces()))
    values = read_yaml(path)
    check_kind(values, path, "space")
    space = validated(Space, {"name": path.stem, **values}, str(path))
    if space.name != path.stem:
        raise UserError(f"name must equal the file's name {path.stem!r}, but got {space.name!r}.")
    return space


def _check_range(low: float | str, high: float | str, log: bool) -> None:
    """Refuse an empty range, and a log scale from 0; a share of the epochs is at least 1."""
    if not isinstance(low, str) and not isinstance(high, str) and low > high:
        raise UserError(f"low must be at most high, but got {low} and {high}")
    if log and not isinstance(low, str) and low <= 0:
        raise UserError(f"low must be greater than 0 on a log scale, but got {low}")


def _bound(bound: BoundT | str, epochs: int) -> BoundT | int:
    if not isinstance(bound, str):
        return bound
    _, _, divisor = bound.partition("/")
    return max(1, epochs // int(divisor or 1))


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
