"""Reads errors of providers for what decides about another attempt, in any dialect's words.

Providers of one dialect send another's errors (Google's at its OpenAI endpoint, vLLM's own), so
all shapes are understood everywhere. Sources: tests/recordings/errors; OpenAI's "API 429 errors"
(help.openai.com 5955604) and Moonshot's forum for accounts without money; Anthropic's "Errors" and
"Rate limits"; google/rpc/error_details.proto.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from routeur.dialects.base import Json
from routeur.dialects.inflate import inflate
from routeur.dialects.loose import items, members, string

READ_AT_MOST = 64 * 1024  # bytes of an error, inflated

_OURS = frozenset((401, 402, 403))
_KEY_INVALID = "API_KEY_INVALID"  # Google says it with a 400

# There is no money or quota left: waiting does not help, somebody has to act.
_EXHAUSTED = frozenset(
    """
    insufficient_quota billing_hard_limit_reached billing_not_active credit_balance_exhausted
    organization_spend_limit_exceeded organization_usage_limit_exceeded
    project_spend_limit_exceeded enforced_spend_limit_reached exceeded_current_quota_error
    """.split()
)
# Anthropic says the same with a 400 invalid_request_error, told apart by its text alone.
_ANTHROPIC_EXHAUSTED = (
    "Your credit balance is too low",
    "You have reached your specified API usage limits",
    "You have reached your specified workspace API usage limits",
)

_STATUS_OF = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "api_error": 500,
    "overloaded_error": 529,
    "timeout_error": 504,
    **dict.fromkeys(_EXHAUSTED, 429),
    # google/rpc/code.proto
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

_ERROR_STATUS = re.compile(r"[45][0-9][0-9]")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")  # a google.protobuf.Duration in JSON
_MEMBER = re.compile(
    rb'"(error_code|reason|code|status|type|retryDelay)"\s*+:\s*+"([A-Za-z0-9_.-]{1,64})"'
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error says. `ours`: it is about our credential, not about the client's request.

    `exhausted`: the account has no money or quota left, so that waiting is of no use. `wait` is in
    seconds, as its body says. `code` is the provider's own name for it.
    """

    ours: bool = False
    exhausted: bool = False
    wait: float | None = None
    code: str | None = None


def read_refusal(dialect: str, status: int, body: bytes, content_encoding: bytes = b"") -> Refusal:
    """What an error answer says. Never raises: HTML and half a body say no more than `status`."""
    return refusal_of(dialect, status, _document(inflate(body, content_encoding, READ_AT_MOST)))


def refusal_of(dialect: str, status: int, document: object) -> Refusal:
    """The same of a document that has been read, as of an event in a stream."""
    error = error_of(document)
    names = _names(error)
    ours = status in _OURS or _KEY_INVALID in names
    exhausted = status == 402 or not _EXHAUSTED.isdisjoint(names)
    if status == 400 and dialect == "anthropic":
        if string(error.get("message")).startswith(_ANTHROPIC_EXHAUSTED):
            ours = exhausted = True
    return Refusal(ours, exhausted, _wait(error), names[0] if names else None)


def status_of(document: object) -> int:
    """The status that an error within a 200 stands for; 502 if it does not say."""
    error = error_of(document)
    for name in ("code", "status", "http_status"):
        number = str(error.get(name))
        if _ERROR_STATUS.fullmatch(number):
            return int(number)
    return next((_STATUS_OF[name] for name in _names(error) if name in _STATUS_OF), 502)


def error_of(document: object) -> Json:
    """The error object within any dialect's document; the document itself where that is flat."""
    outer = members(document[0] if isinstance(document, list) and document else document)
    for holder in (outer, members(outer.get("response"))):
        if isinstance(holder.get("error"), dict):
            return members(holder["error"])
    return outer


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, as an answer's headers say it (names in lower case); None for dates and nonsense."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        told = headers.get(name, "")
        if len(told) < 12 and told.isascii() and told.replace(".", "", 1).isdecimal():
            return float(told) / unit
    return None


def _names(error: Json) -> list[str]:
    """What an error is called, the most telling name first; numbers tell least."""
    details = error.get("details")
    told = [members(details).get("error_code")]  # Anthropic's
    told += [members(each).get("reason") for each in items(details)]  # Google's ErrorInfo
    told += [error.get(name) for name in ("code", "status", "type")]
    names = [str(name) for name in told if type(name) in (str, int) and name != "error"]
    return sorted(filter(_NAME.fullmatch, names), key=str.isdecimal)


def _wait(error: Json) -> float | None:
    """Google's RetryInfo."""
    for each in items(error.get("details")):
        told = _SECONDS.fullmatch(string(members(each).get("retryDelay")))
        if told:
            return float(told[1])
    return None


def _document(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _salvaged(body)


def _salvaged(body: bytes) -> Json:
    """What can be recognised in a body that is no JSON, or only its beginning."""
    found: Json = {}
    for name, value in _MEMBER.findall(body):
        if value != b"error":
            found.setdefault(name.decode(), value.decode())
    code = found.get("error_code") or found.get("code")
    return {"error": {**found, "code": code, "details": [found]}}
