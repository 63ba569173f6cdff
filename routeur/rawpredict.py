"""The body of a Messages request as Vertex AI wants it: changed only in place.

The model stands in the path there, and `anthropic_version` in the body. `stream` stays: the path
of a stream wants it, too.
"""

from __future__ import annotations

import re

from routeur.body import members

_VERSION = b'"anthropic_version":"vertex-2023-10-16"'
_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*"(?:[^"\\]++|\\.)*+"')
_COMMA = re.compile(rb"[ \t\n\r]*,")


def for_vertex(raw: bytes) -> bytes:
    """The body with the version in the model's place; every other byte stays.

    `raw` has passed `body.parse` and has a model.
    """
    start, end = _model(raw)
    if not _has_version(raw):
        return b"".join((raw[:start], _VERSION, raw[end:]))
    if comma := _COMMA.match(raw, end):
        end = comma.end()
    else:
        start = raw.rindex(b",", 0, start)
    return raw[:start] + raw[end:]


def count_for_vertex(raw: bytes) -> bytes:
    """The body of count_tokens, which keeps its model, with the version as its first member."""
    if _has_version(raw):
        return raw
    start = raw.index(b"{") + 1
    return b"".join((raw[:start], _VERSION, b",", raw[start:]))


def _model(raw: bytes) -> tuple[int, int]:
    """Where the member `model` starts and ends, its name included."""
    plain = raw.count(b'"model"') == 1 and b"\\u00" not in raw
    if plain and (match := _MODEL.search(raw)):
        return match.span()
    start, end = next((start, end) for name, start, end in members(raw) if name == "model")
    colon = raw.rindex(b":", 0, start)
    closing = raw.rindex(b'"', 0, colon)  # however it is spelled, the name has no quote within
    return raw.rindex(b'"', 0, closing), end


def _has_version(raw: bytes) -> bool:
    if b"anthropic_version" not in raw and b"\\u00" not in raw:
        return False
    return any(name == "anthropic_version" for name, _, _ in members(raw))
