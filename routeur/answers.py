"""What the client gets to see of an answer's head: the provider's, or our own."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus

import orjson
from aiohttp import HttpVersion11, web

from routeur.call import Attempt, Call, new_id
from routeur.dialects import FAMILIES
from routeur.errors import RouteurError, UpstreamError
from routeur.headers import sane_id, value
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head
from routeur.relay import Splice
from routeur.server import ClientConnection

# A provider that says so speaks of our key, not the client's.
OUR_CREDENTIAL = frozenset([401, 402, 403])


class Refused(UpstreamError):
    """An answer whose status justifies asking the next target."""


class Reply(Splice):
    """A copied answer: turns the provider's head into the client's, or refuses it.

    `refuse` are the statuses that are not passed on because another target may do better;
    `content` matches the first content of a stream in the route's format. `keep` says whether the
    client's connection stays open afterwards; `on_start` is called when the answer is accepted.
    """

    attempt: Attempt
    on_start: Callable[[], None]
    refuse: frozenset[int] = frozenset()
    content: re.Pattern[bytes] | None = None

    def __init__(
        self,
        client: ClientConnection,
        transport: asyncio.Transport,
        request: web.BaseRequest,
        call: Call,
    ) -> None:
        self.write = transport.write
        self.done = client.loop.create_future()
        self._client = client
        self.pieces = []
        self._request = request
        self._call = call
        modern = request.version == HttpVersion11
        self.decoded = not modern  # HTTP/1.0 knows no chunks
        self.keep = modern and request.keep_alive

    def ended(self) -> None:
        self._client.source = None  # it may be somebody else's by the time the handler wakes
        super().ended()

    def head(self, head: Head) -> bytes:
        """The head to write to the client; raises UpstreamError (Refused) to pass nothing on."""
        call, status = self._call, head.status
        self.attempt.status = status
        call.first_byte = now = time.perf_counter()
        if status >= 300:
            check(status, self.refuse)
        call.status = status
        if not call.request_id:
            call.request_id = sane_id(head.request_id.decode("latin-1")) or call.id
        # A body that is still being read must not be taken for the next request.
        if head.length == UNTIL_CLOSE or not self._request.content.is_eof():
            self.keep = False
        framing = b"" if self.keep else b"Connection: close\r\n"
        if head.length == CHUNKED and not self.decoded:
            framing += b"Transfer-Encoding: chunked\r\n"
        event_stream = head.content_type.startswith(b"text/event-stream")
        self.expect(
            self.content if event_stream else None, head.content_type, head.content_encoding
        )
        self.started = True
        self.on_start()
        return b"HTTP/1.1%b%b%bServer-Timing: routeur;dur=%.2f, upstream;dur=%.2f\r\n%b\r\n" % (
            head.line[8:],
            head.passed,
            about(call),
            (call.sent - call.started) * 1e3,
            (now - call.sent) * 1e3,
            framing,
        )


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


def about(call: Call) -> bytes:
    """The header lines that every inference answer gets, as far as they are known."""
    attempts = call.attempts
    return b"X-Request-Id: %b\r\nX-Routeur-Trace-Id: %b\r\n%b" % (
        (call.request_id or call.id).encode(),
        call.id.encode(),
        _about_route(
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
) -> bytes:
    known = {
        b"Provider": provider,
        b"Model": model,
        b"Reason": reason,
        b"Attempts": attempts and str(attempts),
        b"Status": status and str(status),
    }
    return b"".join(b"X-Routeur-Trace-%b: %b\r\n" % (k, value(v)) for k, v in known.items() if v)


def plain(status: int, body: bytes, kind: str = "application/json") -> web.Response:
    """An answer of routeur's own; without a word about what it is made of."""
    return web.Response(
        status=status, body=body, headers={"Content-Type": kind, "Server": "routeur"}
    )


def own(call: Call, status: int, body: bytes) -> web.Response:
    """An answer of routeur's own to an inference request."""
    answer = plain(status, body)
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


def traced(call: Call, head: Head, body: bytes) -> web.Response:
    """A provider's answer with a top-level `routeur` block, if it is a JSON object."""
    stripped = body.rstrip()
    if stripped.endswith(b"}") and stripped.startswith(b"{"):
        comma = b"" if stripped[1:-1].isspace() or len(stripped) == 2 else b","
        body = stripped[:-1] + comma + b'"routeur":' + json(_block(call)) + b"}"
    answer = web.Response(status=head.status, body=body)
    for line in head.passed.decode("latin-1").split("\r\n")[1:-1]:
        name, _, text = line.partition(":")
        if name.lower() != "content-length":
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
