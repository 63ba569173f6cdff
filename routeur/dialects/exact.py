"""JSON with what orjson does not take: integers of any size, and halves of characters."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_LONG = re.compile(rb"[0-9]{20}")  # what may be an integer over 64 bits


def loads(data: bytes) -> Any:
    """The value of JSON that a provider or a client wrote. Raises ValueError if it is none.

    An integer stays one, whatever its size (orjson makes a float of it). A surrogate that lacks its
    other half becomes a question mark, as it is no character and cannot be written again.
    """
    if _LONG.search(data) is None:
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            if b"\\u" not in data:
                raise
    try:
        value = json.loads(data, parse_constant=_no_number)
        return json.loads(_written(value)) if b"\\u" in data else value
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def dumps(value: Any) -> bytes:
    """The value as JSON. `orjson.Fragment`s are put in as they are, or nearly so."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return _written(value)


def _written(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_of_fragment)
    return text.encode("utf-8", "replace")


def _of_fragment(value: Any) -> Any:
    if isinstance(value, orjson.Fragment):
        return json.loads(orjson.dumps(value))
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
