"""Errors as OpenAI words them, in Chat Completions and in Responses, read and written."""

from __future__ import annotations

from collections.abc import Mapping

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import members, string
from routeur.dialects.neutral import Fault
from routeur.dialects.refusals import error_of, refusal_of, retry_after, status_of

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# Types that OpenAI says itself, and that say more than a status.
_OWN = frozenset("insufficient_quota tokens requests server_error invalid_request_error".split())


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """An error answer, whatever it is made of. Header names are in lower case."""
    try:
        document = exact.loads(body)
    except ValueError:
        document = None
    return _fault(status, document, retry_after(headers))


def read_fault(document: Json) -> Fault:
    """The error in a 200: the whole answer, or an event of its stream."""
    return _fault(status_of(document), document, None)


def write_error(fault: Fault, request_id: str) -> bytes:
    """An error answer's body."""
    return exact.dumps({"error": error_object(fault)})


def error_object(fault: Fault) -> Json:
    """The error, also as it stands within a stream."""
    return {
        "message": fault.message,
        "type": fault.type if fault.type in _OWN else type_of(fault.status),
        "param": fault.param or None,
        "code": fault.code or None,
    }


def type_of(status: int) -> str:
    """OpenAI's type for a status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return _TYPES.get(status, kind)


def _fault(status: int, document: object, wait: float | None) -> Fault:
    outer = members(document)
    error = error_of(document)
    message = string(error.get("message")) or string(outer.get("error"))
    refusal = refusal_of("openai", status, document)
    return Fault(
        status,
        message or string(outer.get("detail")) or f"the provider answered with status {status}",
        type=string(error.get("type")),
        code=refusal.code or "",
        param=string(error.get("param")),
        retry_after=refusal.wait if wait is None else wait,
    )
