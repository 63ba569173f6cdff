"""Anthropic's Messages API.

Source of truth: Anthropic's OpenAPI description as of its Python package 0.100.0, and recordings.
"""

from __future__ import annotations

import re

from routeur.dialects.base import Json, Route, Usage
from routeur.dialects.exact import dumps
from routeur.dialects.loose import (
    are_counts,
    items,
    json_size,
    members,
    objects,
    shares,
    size,
    string,
    tokens,
)

NAME = "anthropic"

ROUTES = (
    Route("POST", "/v1/messages", NAME, purpose="answer"),
    Route("POST", "/v1/messages/count_tokens", NAME, purpose="count"),
)

FIRST_TOKEN = re.compile(
    rb'"type"\s*:\s*"(?:content_block_delta|tool_use|server_tool_use|mcp_tool_use|redacted_thinking)"'
)
PIECE = re.compile(rb'"(?:text|thinking|partial_json)"\s*:\s*"((?:[^"\\]++|\\.)++)"')
WHOLE_PIECE = PIECE
USAGE_FROM_START = True

_KINDS = {"image": "image", "document": "file"}
_ERRORS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def kind(part: Json) -> str | None:
    """What a content block is, if it is not text. (A document of plain text is read as text.)"""
    source = members(part.get("source"))
    if not source or source.get("type") in ("text", "content"):
        return None
    return _KINDS.get(string(part.get("type")))


def has(body: Json) -> frozenset[str]:
    """Which of `image file audio tools json reasoning` a request uses."""
    found = {kind(each) for each in objects([body.get("system"), body.get("messages")])}
    if body.get("tools") or body.get("mcp_servers"):
        found.add("tools")
    if members(body.get("output_config")).get("format") or body.get("output_format"):
        found.add("json")
    if members(body.get("thinking")).get("type") in ("enabled", "adaptive"):
        found.add("reasoning")
    return frozenset(each for each in found if each)


def prompt(body: Json) -> int:
    """The size of the prompt in characters of text; an estimate of tokens is a fourth of it."""
    return size([body.get("system"), body.get("messages")], kind) + json_size(body.get("tools"))


def usage(body: Json) -> Usage | None:
    """Usage from a whole answer, or from one event of a stream (None: this event has none).

    What a compaction used stands in an iteration of its own, not in the totals.
    """
    raw = body.get("usage") or members(body.get("message")).get("usage")
    if not isinstance(raw, dict):
        return None
    if not are_counts(raw.get("input_tokens"), raw.get("output_tokens")):
        return None
    found = Usage()
    _add(found, raw)
    for each in items(raw.get("iterations")):
        if members(each).get("type") == "compaction":
            _add(found, each)
    return found


def _add(found: Usage, raw: Json) -> None:
    """Add one set of figures: input excludes the caches', output includes thinking."""
    written = members(raw.get("cache_creation"))
    for_an_hour = tokens(written.get("ephemeral_1h_input_tokens"))
    both = for_an_hour + tokens(written.get("ephemeral_5m_input_tokens"))
    cache_write, cache_write_1h = shares(
        max(tokens(raw.get("cache_creation_input_tokens")), both), for_an_hour
    )
    thinking = tokens(members(raw.get("output_tokens_details")).get("thinking_tokens"))
    output, reasoning = shares(tokens(raw.get("output_tokens")), thinking)
    found.input += tokens(raw.get("input_tokens"))
    found.cache_read += tokens(raw.get("cache_read_input_tokens"))
    found.cache_write += cache_write
    found.cache_write_1h += cache_write_1h
    found.output += output
    found.reasoning += reasoning


def write_error(
    status: int, message: str, *, type: str, code: str, param: str | None, request_id: str
) -> bytes:
    """An error as Anthropic words it: with its own types, by status."""
    name = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
    error = {"type": name, "message": message}
    return dumps({"type": "error", "error": error, "request_id": request_id or None})
