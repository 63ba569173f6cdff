"""What the client gets to see of an answer's head: the provider's, or our own."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from http import HTTPStatus

import orjson
from aiohttp import HttpVersion11, web

from routeur.call import Attempt, Call
from routeur.dialects import FAMILIES
from routeur.errors import RouteurError, UpstreamError
from routeur.headers import sane_id, value
from routeur.relay import Tap
from routeur.upstream import CHUNKED, UNTIL_CLOSE, Head

OUR_CREDENTIAL = frozenset(
    [401, 402, 403]
)  # a provider that says so speaks of our key, not the client's


class Refused(UpstreamError):
    """An answer whose status justifies asking the next target."""


class Reply:
    """Turns a provider's head into the client's, or refuses it.

    `refuse` are the statuses that are not passed on because another target may do better; `content`
    matches the first content of a stream in the route's format.
    """

    __slots__ = ("_attempt", "_call", "_content", "_refuse", "_request", "_tap", "keep", "sse")

    def __init__(
        self,
        call: Call,
        attempt: Attempt,
        request: web.BaseRequest,
        tap: Tap,
        *,
        refuse: frozenset[int],
        content: re.Pattern[bytes] | None,
    ) -> None:
        self._call = call
        self._attempt = attempt
        self._request = request
        self._tap = tap
        self._refuse = refuse
        self._content = content
        self.keep = request.keep_alive and request.version == HttpVersion11
        self.sse = False

    def head(self, head: Head) -> bytes:
        """The head to write to the client; raises UpstreamError (Refused) to pass nothing on."""
        call, status = self._call, head.status
        self._attempt.status = status
        call.first_byte = now = time.perf_counter()
        check(status, self._refuse)
        call.status = status
        if not call.request_id:
            call.request_id = sane_id(head.request_id.decode("latin-1")) or call.id
        parts = [b"HTTP/1.1" + head.line[8:], *head.passed, *about(call)]
        parts.append(
            b"Server-Timing: routeur;dur=%.2f, upstream;dur=%.2f"
            % ((call.sent - call.started) * 1e3, (now - call.sent) * 1e3)
        )
        # A body that is still being read must not be taken for the next request.
        if not self._request.content.is_eof() or head.length == UNTIL_CLOSE:
            self.keep = False
        if not self.keep:
            parts.append(b"Connection: close")
        if head.length_line and not status == 204:
            parts.append(head.length_line)
        elif head.length == CHUNKED and not self._tap.decoded:
            parts.append(b"Transfer-Encoding: chunked")
        parts.append(b"\r\n")
        self.sse = head.content_type.startswith(b"text/event-stream")
        content = self._content if self.sse else None
        self._tap.expect(content, head.content_type, head.content_encoding)
        return b"\r\n".join(parts)


def check(status: int, refuse: frozenset[int]) -> None:
    """Raise UpstreamError for a status that is not an answer to the client."""
    if status in OUR_CREDENTIAL:
        raise UpstreamError(
            f"the provider refused the credential that routeur uses for it ({status})",
            code="upstream_auth_error",
        )
    if 300 <= status < 400 and status != 304:
        raise UpstreamError("the provider answered with a redirect, which is never followed")
    if status in refuse:
        raise Refused(f"the provider answered {status}")


def about(call: Call) -> tuple[bytes, ...]:
    """The header lines that every inference answer gets, as far as they are known."""
    attempts = call.attempts
    return (
        b"X-Request-Id: %b" % (call.request_id or call.id).encode(),
        b"X-Routeur-Trace-Id: %b" % call.id.encode(),
        *_about_route(
            call.provider,
            call.model,
            call.reason,
            len(attempts),
            attempts[-1].status if attempts else 0,
        ),
    )


@lru_cache(maxsize=4096)
def _about_route(
    provider: str | None, model: str | None, reason: str | None, attempts: int, status: int
) -> tuple[bytes, ...]:
    known = {
        b"Provider": provider,
        b"Model": model,
        b"Reason": reason,
        b"Attempts": attempts and str(attempts),
        b"Status": status and str(status),
    }
    return tuple(b"X-Routeur-Trace-%b: %b" % (k, value(v)) for k, v in known.items() if v)


def own(call: Call, status: int, body: bytes) -> web.Response:
    """An answer of routeur's own to an inference request."""
    answer = web.Response(status=status, body=body, content_type="application/json")
    return _with_headers(answer, call)


def _with_headers(answer: web.Response, call: Call) -> web.Response:
    for line in about(call):
        name, _, text = line.decode("latin-1").partition(": ")
        answer.headers[name] = text
    now = time.perf_counter()
    timing = f"routeur;dur={((call.sent or now) - call.started) * 1e3:.2f}"
    if call.sent:
        timing += f", upstream;dur={((call.first_byte or now) - call.sent) * 1e3:.2f}"
    answer.headers["Server-Timing"] = timing
    return answer


def traced(call: Call, head: Head, body: bytes) -> web.Response:
    """A provider's answer with a top-level `routeur` block, if it is a JSON object."""
    stripped = body.rstrip()
    if stripped.endswith(b"}") and stripped.startswith(b"{"):
        comma = b"" if stripped[1:-1].isspace() or len(stripped) == 2 else b","
        body = stripped[:-1] + comma + b'"routeur":' + json(_block(call)) + b"}"
    answer = web.Response(status=head.status, body=body)
    for line in head.passed:
        name, _, text = line.decode("latin-1").partition(":")
        answer.headers.add(name, text.strip())
    return _with_headers(answer, call)


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
    }


def json(value: object) -> bytes:
    return orjson.dumps(value)


def refusal(
    request: web.BaseRequest, family: str, error: RouteurError, call: Call | None
) -> web.Response:
    """The answer to a request that cannot be served."""
    body = error_body(family, error, (call.request_id or call.id) if call else "")
    if call is not None:
        answer = own(call, error.status, body)
    else:
        answer = web.Response(status=error.status, body=body, content_type="application/json")
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


def early_error_body(status: int, message: str) -> bytes:
    """The body for what is no request yet: its path, and so its dialect, is unknown."""
    codes = {408: "request_timeout", 431: "headers_too_large", 500: "internal_error"}
    kind = "server_error" if status == HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return FAMILIES["openai"].write_error(
        status,
        message,
        type=kind,
        code=codes.get(status, "invalid_request"),
        param=None,
        request_id="",
    )
