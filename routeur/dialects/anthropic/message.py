"""What a message of the Messages API says beside its content: why it ended, and what it used."""

from __future__ import annotations

from typing import Any

from routeur.dialects import anthropic
from routeur.dialects.base import Json, Usage
from routeur.dialects.loose import members, string, without
from routeur.dialects.neutral import Stop, StopReason

_REASONS: dict[str, StopReason] = {
    "end_turn": "end",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "compaction": "pause",
    "refusal": "refusal",
}
_WORDS: dict[StopReason, str] = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
    "pause": "pause_turn",
}
_KNOWN = frozenset(
    "id type role model content stop_reason stop_sequence stop_details usage".split()
)
# Members of `usage` that are no tokens. (Those of an iteration stand in the totals already.)
_BESIDE = ("server_tool_use", "inference_geo", "speed")


def read_stop(raw: Json) -> Stop | None:
    """Why it ended, of a message or of a message_delta's `delta`; None: not yet."""
    word = raw.get("stop_reason")
    if not isinstance(word, str):
        return None
    detail = string(members(raw.get("stop_details")).get("explanation"))
    sequence = string(raw.get("stop_sequence"))
    return Stop(_REASONS.get(word, "unknown"), sequence, word, detail)


def write_stop(stop: Stop, *, own: bool) -> Json:
    """The members that say why it ended. `own`: the words are this dialect's."""
    word = _WORDS.get(stop.reason, "end_turn")
    if own and stop.raw:
        word = stop.raw
    elif stop.reason == "stop_sequence" and stop.sequence:
        word = "stop_sequence"
    details = None
    if word == "refusal":
        details = {"type": "refusal", "category": None, "explanation": stop.detail or None}
    return {
        "stop_reason": word,
        "stop_sequence": stop.sequence or None,
        "stop_details": details,
    }


def read_extra(message: Json) -> Json:
    """What a message, or a message_delta's `delta`, says that has no field."""
    extra = {name: value for name, value in without(message, _KNOWN).items() if value is not None}
    if details := message.get("stop_details"):
        extra["stop_details"] = details
    usage = members(message.get("usage"))
    if beside := {name: usage[name] for name in _BESIDE if usage.get(name) is not None}:
        extra["usage"] = beside
    return extra


def read_usage(raw: object) -> Usage | None:
    """What was used, of a `usage` in which all figures known so far stand together."""
    return anthropic.usage({"usage": raw})


def merge_usage(known: Json, more: object) -> None:
    """Add a later `usage` to what is known: its figures are totals.

    A later 0 is no figure: some servers say it for what they had said at the start.
    """
    for name, value in members(more).items():
        if value or name not in known:
            known[name] = value


def write_usage(usage: Usage | None) -> Json:
    """A `usage`, with what has no bucket here in the bucket that is paid like it."""
    found = usage or Usage()
    written: Json = {
        "input_tokens": found.input + found.audio_in + found.image_in,
        "cache_creation_input_tokens": found.cache_write + found.cache_write_1h,
        "cache_read_input_tokens": found.cache_read,
        "output_tokens": found.output_total,
    }
    if found.cache_write or found.cache_write_1h:
        written["cache_creation"] = {
            "ephemeral_5m_input_tokens": found.cache_write,
            "ephemeral_1h_input_tokens": found.cache_write_1h,
        }
    if found.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": found.reasoning}
    return written


def service_tier(usage: Any) -> str:
    """The tier that served, as a `usage` says it."""
    return string(members(usage).get("service_tier"))
