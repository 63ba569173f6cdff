"""Reads members of a client's request: a wrong type is an `Invalid` that names the path."""

from __future__ import annotations

from typing import Any

from routeur.dialects.aim import Invalid
from routeur.dialects.base import Json


def join(at: str, name: str) -> str:
    """The path of a member: `input[2]` and `content` are `input[2].content`."""
    return f"{at}.{name}" if at else name


def wrong(path: str, what: str) -> Invalid:
    """The error to raise for a member that is not what was expected."""
    return Invalid(path, f"`{path}`: expected {what}")


def text(holder: Json, name: str, at: str = "") -> str:
    """A string, "" if it was not said."""
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong(join(at, name), "a string")
    return value


def needed_text(holder: Json, name: str, at: str = "") -> str:
    """A string that has to be there."""
    if holder.get(name) is None:
        raise wrong(join(at, name), "a string, and it is missing")
    return text(holder, name, at)


def number(holder: Json, name: str, at: str = "") -> float | None:
    """A number as it was written, whole or not."""
    value = holder.get(name)
    if value is None or type(value) in (int, float):
        return value
    raise wrong(join(at, name), "a number")


def whole(holder: Json, name: str, at: str = "") -> int | None:
    """A whole number; 3.0 is one, too."""
    value = number(holder, name, at)
    if value is None or type(value) is int:
        return value
    if value != value or value in (float("inf"), float("-inf")) or value != int(value):
        raise wrong(join(at, name), "a whole number")
    return int(value)


def truth(holder: Json, name: str, at: str = "") -> bool | None:
    """True or false."""
    value = holder.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise wrong(join(at, name), "true or false")


def record(holder: Json, name: str, at: str = "") -> Json:
    """An object, an empty one if it was not said."""
    value = holder.get(name)
    return {} if value is None else as_record(value, join(at, name))


def as_record(value: Any, path: str) -> Json:
    """The value, which has to be an object."""
    if not isinstance(value, dict):
        raise wrong(path, "an object")
    return value


def listing(holder: Json, name: str, at: str = "") -> list[Any]:
    """A list, an empty one if it was not said."""
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong(join(at, name), "a list")
    return value


def records(holder: Json, name: str, at: str = "") -> list[tuple[str, Json]]:
    """The objects of a list, each with its path."""
    paths = ((f"{join(at, name)}[{i}]", each) for i, each in enumerate(listing(holder, name, at)))
    return [(path, as_record(each, path)) for path, each in paths]
