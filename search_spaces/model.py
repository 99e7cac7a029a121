"""The base of every validated model in this project, and how its mistakes are told to a user.

A user's mistake is a `UserError`: one line that names what is wrong, the rule, the value, where it
stands and what would work. The command line prints that line alone. Everything else is our mistake
and shows a traceback.
"""

from __future__ import annotations

import difflib
import reprlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

ModelT = TypeVar("ModelT", bound="Model")
FieldPath = tuple[str, ...]
Place = Callable[[FieldPath], tuple[str, str]]
"""From a field's path to the name a user knows it by, and where the user set it."""

MOST_MISTAKES = 4
"""So many are told at once; a line that names more is not read."""


class UserError(ValueError):
    """A mistake in what the user gave us, told in one line: name, rule, value, what would work."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


class Model(BaseModel):
    """A frozen, documented, closed set of fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )


class Section(Model):
    """A model of plain values only, whose numbers are numbers: neither `true` nor `"3"` is one."""

    model_config = ConfigDict(strict=True)
    later: ClassVar[tuple[str, ...]] = ()
    """Fields added since results were recorded: left out of a dump at their defaults, so that
    earlier trials, runs and studies keep their digests."""

    @model_serializer(mode="wrap")
    def _as_before(self, rest: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = rest(self)
        for name in self.later:
            if name in values and values[name] == type(self).model_fields[name].default:
                del values[name]
        return values


def did_you_mean(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the one line for an unknown name.

    >>> did_you_mean("space", "periodc_T", ["baseline", "periodic_T"])
    "Unknown space 'periodc_T'. Did you mean 'periodic_T'? Known: baseline, periodic_T."
    """
    choices = sorted(known)
    close = difflib.get_close_matches(name, choices, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    listed = f" Known: {', '.join(choices)}." if choices else ""
    return f"Unknown {kind} {shown(name)}.{guess}{listed}"


def validated(model: type[ModelT], values: Mapping[str, Any], where: str | Place) -> ModelT:
    """Build `model` from `values`, or raise one `UserError` line that names the mistakes.

    Parameters
    ----------
    model : type of Model
    values : mapping of field name to raw value
    where : str or Place
        What the user would look at to mend it, such as ``preset quick`` or a file's path; or a
        function that names it, and the field, for each field's path.

    Raises
    ------
    UserError
        If any field is unknown, missing, of the wrong kind, or out of its range.
    """
    place = where if callable(where) else lambda path: (".".join(path), where)
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(_explained(error, model, place)) from error


def rule(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return what a field takes, as the end of the sentence "X must be …".

    >>> from annotated_types import Ge, Gt, Lt
    >>> rule(int | None, [Ge(1)])
    'a whole number of at least 1'
    >>> rule(float, [Gt(0), Lt(1)])
    'a number greater than 0 and less than 1'
    >>> rule(Literal["asha", "none"])
    'one of asha, none'
    """
    bounds = _bounds(metadata)
    texts = []
    for member in _members(annotation):
        if isinstance(member, str):
            texts.append(member)
        elif get_origin(member) is Literal:
            values = [str(value) for value in get_args(member)]
            texts.append("one of " * (len(values) > 1) + ", ".join(values))
        elif member in _KINDS:
            texts.append(_KINDS[member] + (bounds if member in (int, float) else ""))
        elif isinstance(member, type) and issubclass(member, BaseModel):
            texts.append("names and values")
        else:
            texts.append(_CONTAINERS.get(get_origin(member), "another value"))
    return ", or ".join(dict.fromkeys(texts))


def shown(value: object) -> str:
    """Return a value as a user may have written it, short, and also if it is huge or recursive."""
    if isinstance(value, bool):
        return str(value).lower()
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxlevel = 2
_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
}
_CONTAINERS: dict[Any, str] = {list: "a list", tuple: "a list", dict: "names and values"}


def is_number(annotation: Any) -> bool:
    """Return whether a field takes any number, rather than one of a few.

    >>> is_number(int | None), is_number(Literal[18, 34])
    (True, False)
    """
    return {*_members(annotation)} <= {int, float}


def _members(annotation: Any) -> Iterator[Any]:
    """Return the kinds that an annotation allows but None; a described one as its description."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        told = [item.description for item in metadata if getattr(item, "description", None)]
        yield from told or _members(inner)
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif annotation is not type(None):
        yield annotation


def _bounds(metadata: Iterable[Any]) -> str:
    found = {
        key: getattr(item, key)
        for item in metadata
        for key in ("ge", "gt", "le", "lt")
        if getattr(item, key, None) is not None
    }
    if {"ge", "le"} <= set(found):
        return f" from {found['ge']} to {found['le']}"
    words = {"ge": "of at least", "gt": "greater than", "le": "of at most", "lt": "less than"}
    told = [f"{words[key]} {found[key]:g}" for key in words if key in found]
    return " " + " and ".join(told).replace("and of", "and") if told else ""


def _explained(error: ValidationError, model: type[BaseModel], place: Place) -> str:
    """Return a pydantic error as one line in this project's manner."""
    told: dict[str, str] = {}  # sentence → where; a union repeats itself once per member
    for item in error.errors():
        sentence, where = _sentence(dict(item), model, place)
        told.setdefault(sentence, where)
    more = len(told) - MOST_MISTAKES
    kept = list(told.items())[:MOST_MISTAKES]
    for i, (sentence, where) in enumerate(kept):  # what is known is told once
        begun, known = sentence.partition(" Known: ")[::2]
        if known and any(other.endswith(f" Known: {known}") for other, _ in kept[i + 1 :]):
            kept[i] = begun.removesuffix("."), where
    if len({where for _, where in kept}) == 1 and kept[0][1]:
        line = "; ".join(sentence for sentence, _ in kept) + f" ({kept[0][1]})"
    else:
        line = "; ".join(f"{text} ({where})" if where else text for text, where in kept)
    return line + (f"; and {more} more." if more > 0 else ".")


def _sentence(item: dict[str, Any], model: type[BaseModel], place: Place) -> tuple[str, str]:
    """Return what is wrong, and where; the latter is empty where the sentence says it already."""
    path, annotation, metadata, fields = _field(item["loc"], model)
    kind, value = item["type"], item.get("input")
    name, where = place(path)
    if kind == "value_error":
        message = str(item["ctx"]["error"])
        if message.startswith("must "):
            return f"{name} {message}, but got {shown(value)}", where
        return message.removesuffix("."), "" if message.endswith(").") else where
    if kind == "extra_forbidden":
        section = ".".join(path)
        unknown = "field" if where.endswith(f", {section}") or not section else f"{section} field"
        return did_you_mean(unknown, str(item["loc"][-1]), set(fields)).removesuffix("."), where
    if kind == "missing":
        return f"{name} is required, but is missing", where
    if kind == "union_tag_not_found":
        return f"{name} must say its {item['ctx']['discriminator']}", where
    if kind == "union_tag_invalid":
        tags, tag = item["ctx"]["expected_tags"], item["ctx"]["tag"]
        return f"{name} must be of kind {tags}, but got {shown(tag)}", where
    if not path or annotation is None:
        return f"{name or 'value'} must be names and values, but got {shown(value)}", where
    if kind in ("too_short", "string_too_short"):
        return f"{name} must not be empty", where
    return f"{name} must be {rule(annotation, metadata)}, but got {shown(value)}", where


def _field(
    location: tuple[int | str, ...], model: type[BaseModel]
) -> tuple[FieldPath, Any, list[Any], Iterable[str]]:
    """Return the path of the field at `location`, its annotation and metadata, and its siblings.

    Pydantic's location also names the members of unions and the indices of lists; a user does not.
    """
    path: list[str] = []
    annotation: Any = None
    metadata: list[Any] = []
    here: list[type[BaseModel]] = [model]
    for part in location:
        owner = next((one for one in here if part in one.model_fields), None)
        if owner is not None:
            field = owner.model_fields[str(part)]
            annotation, metadata = field.annotation, list(field.metadata)
            path.append(str(part))
        elif isinstance(part, str) and get_origin(annotation) is dict and part != "[key]":
            annotation, metadata = get_args(annotation)[1], []
            path.append(part)
        else:
            continue
        here = [
            member
            for member in _members(annotation)
            if isinstance(member, type) and issubclass(member, BaseModel)
        ]
    return tuple(path), annotation, metadata, [key for one in here for key in one.model_fields]
