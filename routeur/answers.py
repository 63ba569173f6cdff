"""Answers of routeur's own, and what every answer says of the call."""

from __future__ import annotations

import time
from functools import lru_cache
from http import HTTPStatus

import orjson
from aiohttp import web

from routeur.call import Call, new_id
from routeur.dialects import FAMILIES, match
from routeur.errors import RouteurError
from routeur.headers import sane_id, value


def about(call: Call, status: int = 0) -> bytes:
    """The header lines that every inference answer gets, as far as they are known.

    `status` is the provider's; 0: that of the last attempt, whatever became of it.
    """
    attempts = call.attempts
    known = about_route(
        call.provider,
        call.model,
        call.reason,
        len(attempts),
        status or (attempts[-1].status if attempts else 0),
        call.dropped,
    )
    if call.remaining is not None:
        known += about_limits(*call.remaining)
    return b"X-Request-Id: %b\r\nX-Routeur-Trace-Id: %b\r\n%b" % (
        (call.request_id or call.id).encode(),
        call.id.encode(),
        known,
    )


@lru_cache(maxsize=4096)
def about_route(
    provider: str | None,
    model: str | None,
    reason: str | None,
    attempts: int,
    status: int,
    dropped: tuple[str, ...],
) -> bytes:
    """Those of these lines that many calls have in common."""
    known = {
        b"Dropped": ", ".join(dropped),
        b"Provider": provider,
        b"Model": model,
        b"Reason": reason,
        b"Attempts": attempts and str(attempts),
        b"Status": status and str(status),
    }
    return b"".join(b"X-Routeur-Trace-%b: %b\r\n" % (k, value(v)) for k, v in known.items() if v)


def about_limits(requests: int | None, tokens: int | None) -> bytes:
    """What is left to the caller's key of this minute; nothing where it has no such limit."""
    left = {b"Requests": requests, b"Tokens": tokens}
    return b"".join(
        b"X-Routeur-RateLimit-%b-Remaining: %d\r\n" % (name, count)
        for name, count in left.items()
        if count is not None
    )


def plain(status: int, body: bytes, kind: str = "application/json") -> web.Response:
    """An answer of routeur's own; without a word about what it is made of."""
    return web.Response(
        status=status, body=body, headers={"Content-Type": kind, "Server": "routeur"}
    )


def own(call: Call, status: int, body: bytes) -> web.Response:
    """An answer of routeur's own to an inference request."""
    answer = plain(status, body)
    if call.payload is not None:
        call.payload.own = answer
    return _with_headers(answer, call)


def _with_headers(answer: web.Response, call: Call) -> web.Response:
    call.request_id = call.request_id or call.id
    for line in about(call).decode("latin-1").splitlines():
        name, _, text = line.partition(": ")
        answer.headers[name] = text
    now = time.perf_counter()
    timing = f"routeur;dur={((call.sent or now) - call.started) * 1e3:.2f}"
    if call.sent:
        timing += f", upstream;dur={((call.first_byte or now) - call.sent) * 1e3:.2f}"
    answer.headers["Server-Timing"] = timing
    return answer


def with_block(body: bytes, call: Call) -> bytes:
    """A whole answer with a top-level `routeur` block, if it is a JSON object."""
    stripped = body.rstrip()
    if not (stripped.startswith(b"{") and stripped.endswith(b"}")):
        return body
    comma = b"" if stripped[1:-1].isspace() or len(stripped) == 2 else b","
    return stripped[:-1] + comma + json({"routeur": _block(call)})[1:]


def _block(call: Call) -> dict[str, object]:
    return {
        "request_id": call.request_id or call.id,
        "trace_id": call.id,
        "requested_model": call.requested_model,
        "provider": call.provider,
        "model": call.model,
        "route_reason": call.reason,
        "attempts": len(call.attempts),
        "latency_ms": round((call.ended - call.started) * 1e3, 2),
        "usage": call.usage.as_dict() if call.usage else None,
        "estimated": call.estimated,
        "cost_usd": call.cost_usd,
        "dropped": list(call.dropped),
    }


def json(value: object) -> bytes:
    return orjson.dumps(value)


def refusal(
    request: web.BaseRequest, family: str, error: RouteurError, call: Call | None
) -> web.Response:
    """The answer to a request that cannot be served; without a call it never was one."""
    if call is not None:
        answer = own(call, error.status, error_body(family, error, call.request_id or call.id))
    else:
        id = sane_id(request.headers.get("X-Request-Id")) or new_id()
        answer = plain(error.status, error_body(family, error, id))
        answer.headers["X-Request-Id"] = id
    if error.allow:
        answer.headers["Allow"] = ", ".join(error.allow)
    if error.retry_after is not None:
        answer.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if not request.content.is_eof() or "Upgrade" in request.headers or request.method == "CONNECT":
        answer.force_close()
    return answer


def error_body(family: str, error: RouteurError, request_id: str = "") -> bytes:
    """An error in the caller's dialect."""
    return FAMILIES[family].write_error(
        error.status,
        error.message,
        type=error.type,
        code=error.code,
        param=error.param,
        request_id=request_id,
    )


def early_error_body(status: int, message: str, data: bytes) -> bytes:
    """The body for what is no request yet: its dialect is that of the path with which it begins
    (`data`), if it has come so far."""
    words = data[:4096].split(b" ", 2)
    path = words[1].partition(b"?")[0].decode("latin-1") if len(words) == 3 else ""
    found = match("POST", path)
    codes = {408: "request_timeout", 431: "headers_too_large", 500: "internal_error"}
    kind = "server_error" if status == HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return FAMILIES[found[0] if found else "openai"].write_error(
        status,
        message,
        type=kind,
        code=codes.get(status, "invalid_request"),
        param=None,
        request_id="",
    )
