"""JSON as providers write it: also with escaped halves of a surrogate pair, which orjson refuses.

A model can stop in the middle of an emoji; then half of it stands in the answer as `\\ud83d`.
"""

from __future__ import annotations

import json

import orjson


def loads(raw: bytes) -> object:
    """The value. Raises ValueError if it is no JSON."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: object) -> bytes:
    """The value as JSON; strings that are no Unicode are written with escapes."""
    try:
        return orjson.dumps(value)
    except TypeError:  # also for integers beyond 64 bits
        return json.dumps(value, separators=(",", ":")).encode()
