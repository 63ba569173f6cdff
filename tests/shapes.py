"""Checks values against an AWS service's own description, as the service itself would."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from tests.recording import spec

SHAPES: dict[str, Any] = spec("bedrock-runtime")["shapes"]


def problems(value: Any, shape: str = "ConverseRequest", at: str = "") -> Iterator[str]:
    """Every place where the value breaks a shape's description."""
    described = SHAPES[shape]
    if described.get("document") or not described.get("members", True):
        return  # any JSON, or an object without members
    yield from _CHECKS[described["type"]](value, described, at)


def _structure(value: Any, described: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: expected an object, not {value!r:.60}"
        return
    members = {
        name: one for name, one in described["members"].items() if one.get("location") != "uri"
    }
    for name in described.get("required", ()):
        if name not in value and name in members:
            yield f"{at}.{name}: is required"
    if described.get("union") and len(value) != 1:
        yield f"{at}: expected one member, not {sorted(value)}"
    for name, each in value.items():
        if name in members:
            yield from problems(each, members[name]["shape"], f"{at}.{name}")
        else:
            yield f"{at}.{name}: is not known"


def _list(value: Any, described: Any, at: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{at}: expected a list"
        return
    yield from _length(value, described, at)
    for number, each in enumerate(value):
        yield from problems(each, described["member"]["shape"], f"{at}[{number}]")


def _map(value: Any, described: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at}: expected an object"
        return
    yield from _length(value, described, at)
    for name, each in value.items():
        yield from problems(name, described["key"]["shape"], f"{at} key")
        yield from problems(each, described["value"]["shape"], f"{at}.{name}")


def _string(value: Any, described: Any, at: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{at}: expected a string, not {value!r:.60}"
        return
    yield from _length(value, described, at)
    if value not in described.get("enum", [value]):
        yield f"{at}: {value!r} is none of {described['enum']}"
    if "pattern" in described and not re.fullmatch(described["pattern"], value):
        yield f"{at}: {value!r} does not match {described['pattern']}"


def _length(value: Any, described: Any, at: str) -> Iterator[str]:
    if not described.get("min", 0) <= len(value) <= described.get("max", len(value)):
        yield f"{at}: has a length of {len(value)}"


def _number(value: Any, described: Any, at: str) -> Iterator[str]:
    if type(value) not in (int, float):
        yield f"{at}: expected a number, not {value!r}"
    elif not described.get("min", value) <= value <= described.get("max", value):
        yield f"{at}: {value} is out of range"


def _blob(value: Any, described: Any, at: str) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{at}: expected base64"
    elif not b64decode(value, validate=True):
        yield f"{at}: is empty"


def _boolean(value: Any, described: Any, at: str) -> Iterator[str]:
    if type(value) is not bool:
        yield f"{at}: expected true or false"


_CHECKS = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "integer": _number,
    "long": _number,
    "float": _number,
    "double": _number,
    "blob": _blob,
    "boolean": _boolean,
}
