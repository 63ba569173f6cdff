"""Reading the members of a request to Amazon Bedrock: what is of the wrong type is named."""

from __future__ import annotations

from typing import Any

from routeur.dialects.aim import Invalid
from routeur.dialects.base import Json


def path(at: str, name: str) -> str:
    """The path of a member: `messages[0].role`."""
    return f"{at}.{name}" if at else name


def an_object(value: Any, at: str) -> Json:
    """The value, which is an object; raises Invalid."""
    if type(value) is not dict:
        raise Invalid(at, f"`{at}`: expected an object")
    return value


def a_list(value: Any, at: str) -> list[Any]:
    """The value, which is a list; raises Invalid."""
    if type(value) is not list:
        raise Invalid(at, f"`{at}`: expected a list")
    return value


def a_text(value: Any, at: str) -> str:
    """The value, which is a string; raises Invalid."""
    if type(value) is not str:
        raise Invalid(at, f"`{at}`: expected a string")
    return value


def member(value: Json, name: str, at: str) -> Json:
    """A member that must be there and is an object."""
    return an_object(value.get(name), path(at, name))


def optional(value: Json, name: str, at: str) -> Json:
    """A member that is an object, or empty if it is not there."""
    found = value.get(name)
    return {} if found is None else an_object(found, path(at, name))


def listed(value: Json, name: str, at: str) -> list[Any]:
    """A member that is a list, or empty if it is not there."""
    found = value.get(name)
    return [] if found is None else a_list(found, path(at, name))


def required(value: Json, name: str, at: str) -> str:
    """A member that must be there and is a string."""
    return a_text(value.get(name), path(at, name))


def text_of(value: Json, name: str, at: str) -> str:
    """A member that is a string, or empty if it is not there."""
    found = value.get(name)
    return "" if found is None else a_text(found, path(at, name))


def boolean(value: Json, name: str, at: str) -> bool | None:
    """A member that is true or false, or None if it is not there."""
    found = value.get(name)
    if found is not None and type(found) is not bool:
        raise Invalid(path(at, name), f"`{path(at, name)}`: expected true or false")
    return found


def integer(value: Json, name: str, at: str) -> int | None:
    """A member that is a whole number of 0 or more, or None if it is not there."""
    found = value.get(name)
    if found is not None and (type(found) is not int or found < 0):
        raise Invalid(path(at, name), f"`{path(at, name)}`: expected a whole number")
    return found


def number(value: Json, name: str, at: str) -> float | None:
    """A member that is a number, or None if it is not there."""
    found = value.get(name)
    if found is not None and type(found) not in (int, float):
        raise Invalid(path(at, name), f"`{path(at, name)}`: expected a number")
    return found
