"""JSON to the last digit: integers of any size, and halves of characters, which orjson refuses.

A model can stop in the middle of an emoji; then half of it stands in the answer as `\\ud83d`, and
the other half may come in the next piece. Halves are kept, and written with the same escapes.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

_DIGITS = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG = b"0" * 20  # digits, of what may be an integer over 64 bits
_SLICE = 2**20  # bytes that are looked through at once, so that large bodies are not copied


def is_plain(data: bytes) -> bool:
    """Whether there can be no integer over 64 bits in it: orjson makes floats of those."""
    if len(data) <= _SLICE:
        return _LONG not in data.translate(_DIGITS)
    starts = range(0, len(data), _SLICE - len(_LONG))
    return all(_LONG not in data[at : at + _SLICE].translate(_DIGITS) for at in starts)


def loads(data: bytes) -> Any:
    """The value of JSON that a provider or a client wrote. Raises ValueError if it is none."""
    if is_plain(data):
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            if b"\\u" not in data:
                raise
    try:
        return json.loads(data.decode(), parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def dumps(value: Any) -> bytes:
    """The value as JSON. `orjson.Fragment`s are put in as they are, or nearly so."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), default=_of_fragment).encode()


def encoded(text: str) -> bytes:
    """JSON that stands in a string, such as a call's arguments, as bytes: halves as escapes."""
    return text.encode("utf-8", "backslashreplace")


def _of_fragment(value: Any) -> Any:
    if isinstance(value, orjson.Fragment):
        return json.loads(orjson.dumps(value))
    raise TypeError(f"a {type(value).__name__} is no JSON")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
