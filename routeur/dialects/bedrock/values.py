"""Why an answer of Amazon Bedrock ended, what it used, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routeur.dialects.base import Json, Usage
from routeur.dialects.exact import loads
from routeur.dialects.loose import items, members, string, tokens
from routeur.dialects.neutral import Fault, Stop, StopReason
from routeur.dialects.refusals import retry_after

_REASONS: dict[str, StopReason] = {
    "end_turn": "end",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "malformed",
    "malformed_tool_use": "malformed",
    "refusal": "refusal",  # these two are Claude's own words
    "pause_turn": "pause",
}
_WORDS: dict[StopReason, str] = {
    "end": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "refusal": "content_filtered",
    "content_filter": "content_filtered",
    "malformed": "malformed_model_output",
    "error": "malformed_model_output",
}

# The exceptions of the service and of its gateway; what is not known is told by HTTP.
_STATUSES = {
    "validationexception": 400,
    "servicequotaexceededexception": 400,
    "unrecognizedclientexception": 403,
    "expiredtokenexception": 403,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 408,
    "modelerrorexception": 424,
    "modelstreamerrorexception": 424,
    "throttlingexception": 429,
    "modelnotreadyexception": 429,
    "internalserverexception": 500,
    "internalfailure": 500,
    "serviceunavailableexception": 503,
}
_NAMES = {
    401: "UnrecognizedClientException",
    402: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
    529: "ServiceUnavailableException",
}
# A stream knows fewer.
_IN_STREAM = {
    424: "modelStreamErrorException",
    429: "throttlingException",
    503: "serviceUnavailableException",
    529: "serviceUnavailableException",
}


def read_stop(raw: str, fields: Any, calls: bool) -> Stop:
    """`fields`: additionalModelResponseFields. `calls`: the answer has calls of tools."""
    reason = _REASONS.get(raw, "unknown")
    if calls and reason == "end":
        reason = "tool_calls"
    fields = members(fields)
    sequence = fields.get("stop_sequence") or members(fields.get("delta")).get("stop_sequence")
    return Stop(reason, string(sequence), raw)


def write_stop(stop: Stop) -> str:
    """stopReason."""
    if _REASONS.get(stop.raw) == stop.reason and stop.raw not in ("refusal", "pause_turn"):
        return stop.raw
    return _WORDS.get(stop.reason, "end_turn")


def read_usage(raw: Any) -> Usage | None:
    """TokenUsage: what was read from a cache or written to it is no part of inputTokens."""
    if not isinstance(raw, dict):
        return None
    longer = sum(
        tokens(members(each).get("inputTokens"))
        for each in items(raw.get("cacheDetails"))
        if members(each).get("ttl") == "1h"
    )
    written = tokens(raw.get("cacheWriteInputTokens"))
    longer = min(longer, written)
    return Usage(
        input=tokens(raw.get("inputTokens")),
        cache_read=tokens(raw.get("cacheReadInputTokens")),
        cache_write=written - longer,
        cache_write_1h=longer,
        output=tokens(raw.get("outputTokens")),
    )


def write_usage(usage: Usage | None) -> Json:
    """TokenUsage."""
    usage = usage or Usage()
    written = {"1h": usage.cache_write_1h, "5m": usage.cache_write}
    cached = usage.cache_read + sum(written.values())
    found: Json = {
        "inputTokens": usage.input_total - cached,
        "outputTokens": usage.output_total,
        "totalTokens": usage.input_total + usage.output_total,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": sum(written.values()),
    }
    details = [{"ttl": ttl, "inputTokens": count} for ttl, count in written.items() if count]
    return {**found, "cacheDetails": details} if details else found


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """An error answer, whatever it is made of (HTML, cut, empty)."""
    said = _object(body)
    name = headers.get("x-amzn-errortype", "").partition(":")[0]
    name = name or string(said.get("__type")).rpartition("#")[2]
    message = _message(said) or f"the provider answered with status {status}"
    return Fault(status, message, type=name, retry_after=retry_after(headers))


def error_body(fault: Fault) -> Json:
    """An error as SDKs of AWS read it from a body alone."""
    rest = "ValidationException" if fault.status < 500 else "InternalServerException"
    return {"__type": _NAMES.get(fault.status, rest), "message": fault.message}


def fault_in(body: Json) -> Fault:
    """What a body says that ought to be an answer, and is none."""
    message = _message(body) or "the provider's answer has no `output`"
    return Fault(502, message, type=string(body.get("__type")).rpartition("#")[2])


def fault_in_stream(headers: Mapping[str, object], payload: bytes) -> Fault:
    """An exception or error among the messages of a stream."""
    said = _object(payload)
    names = (":exception-type", ":error-code", ":event-type")
    name = next((string(headers[each]) for each in names if each in headers), "")
    message = _message(said) or string(headers.get(":error-message"))
    message = message or string(said.get("originalMessage")) or f"the provider ended with {name}"
    return Fault(_STATUSES.get(name.lower(), 502), message, type=name)


def exception_of(status: int) -> str:
    """The exception that ends a stream."""
    rest = "validationException" if status < 500 else "internalServerException"
    return _IN_STREAM.get(status, rest)


def _object(body: bytes) -> Json:
    try:
        return members(loads(body))
    except ValueError:
        return {}


def _message(said: Json) -> str:
    return string(said.get("message")) or string(said.get("Message"))
