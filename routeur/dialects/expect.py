"""Reads a client's request: what is not as expected is an `Invalid` that names its path."""

from __future__ import annotations

from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.neutral.aim import Invalid


def join(at: str, name: str) -> str:
    """The path of a member: `input[2]` and `content` are `input[2].content`."""
    return f"{at}.{name}" if at else name


def wrong(path: str, what: str) -> Invalid:
    """The error to raise for a value that is not what was expected."""
    return Invalid(path, f"`{path}`: expected {what}")


# Values.


def an_object(value: Any, path: str) -> Json:
    """The value, which has to be an object."""
    if not isinstance(value, dict):
        raise wrong(path, "an object")
    return value


def a_list(value: Any, path: str) -> list[Any]:
    """The value, which has to be a list."""
    if not isinstance(value, list):
        raise wrong(path, "a list")
    return value


def a_string(value: Any, path: str) -> str:
    """The value, which has to be a string."""
    if not isinstance(value, str):
        raise wrong(path, "a string")
    return value


# Members; null is the same as a member that is not there.


def text(holder: Json, name: str, at: str = "") -> str:
    """A string, "" if it was not said."""
    value = holder.get(name)
    return "" if value is None else a_string(value, join(at, name))


def needed_text(holder: Json, name: str, at: str = "") -> str:
    """A string that has to be there."""
    value = holder.get(name)
    if value is None:
        raise wrong(join(at, name), "a string, and it is missing")
    return a_string(value, join(at, name))


def number(holder: Json, name: str, at: str = "") -> float | None:
    """A number as it was written, whole or not."""
    value = holder.get(name)
    if value is None or type(value) in (int, float):
        return value
    raise wrong(join(at, name), "a number")


def whole(holder: Json, name: str, at: str = "") -> int | None:
    """A whole number; 3.0 is one, too."""
    value = number(holder, name, at)
    if value is None or isinstance(value, int):
        return value
    if not value.is_integer():  # nor are NaN and infinity
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
    return {} if value is None else an_object(value, join(at, name))


def needed_record(holder: Json, name: str, at: str = "") -> Json:
    """An object that has to be there."""
    return an_object(holder.get(name), join(at, name))


def listing(holder: Json, name: str, at: str = "") -> list[Any]:
    """A list, an empty one if it was not said."""
    value = holder.get(name)
    return [] if value is None else a_list(value, join(at, name))


def records(holder: Json, name: str, at: str = "") -> list[tuple[str, Json]]:
    """The objects of a list, each with its path."""
    paths = ((f"{join(at, name)}[{i}]", each) for i, each in enumerate(listing(holder, name, at)))
    return [(path, an_object(each, path)) for path, each in paths]


def texts(holder: Json, name: str, at: str = "") -> tuple[str, ...]:
    """The strings of a list, none if it was not said."""
    path = join(at, name)
    found = enumerate(listing(holder, name, at))
    return tuple(a_string(each, f"{path}[{i}]") for i, each in found)
