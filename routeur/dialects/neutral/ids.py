"""Ids of tool calls, and of answers: deterministic, and within what each API takes."""

from __future__ import annotations

import re
from hashlib import blake2s

_MADE = "call_rtr"  # how ids begin that we made up: their own API never sees them again
_SAFE = re.compile(r"[A-Za-z0-9_-]+")
LONGEST = 64  # characters: OpenAI's call_id, Bedrock's toolUseId


def made_id(*parts: object) -> str:
    """An id for a call that came without one: the same for the same parts (name and position)."""
    return _MADE + _digest(*parts)


def is_made(id: str) -> bool:
    """Whether `made_id` made it: then an API that gave none must not get it, either."""
    return id.startswith(_MADE)


def fit_id(id: str, longest: int = LONGEST) -> str:
    """The id, or one in its place that every API takes; the same for a call and its result."""
    if len(id) <= longest and _SAFE.fullmatch(id):
        return id
    return "call_" + _digest(id)


def own_id(id: str, prefix: str, token: str) -> str:
    """An answer's id if it is of this kind (`msg_…`), else one made of the call's token."""
    return id if id.startswith(prefix) else prefix + token


def _digest(*parts: object) -> str:
    return blake2s(repr(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
