"""What providers do wrong before the commit point: bytes and deeds, and what is said of them.

Each row is served by the fake provider; `tests/test_fault_table.py` looks at what the client gets,
what the provider saw, and what the trace says.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.fake import CLOSE, EVENTS, HOLD, RESET, Part, chunked, head, whole
from tests.recording import recording

ASKED = {"role": "user", "content": "hi"}
REQUESTS = {
    "openai": ("/v1/chat/completions", {"model": "any", "messages": [ASKED]}),
    "responses": ("/v1/responses", {"model": "any", "input": "hi"}),
    "anthropic": ("/v1/messages", {"model": "any", "max_tokens": 5, "messages": [ASKED]}),
    "gemini": ("/v1beta/models/any:generateContent", {"contents": []}),
}
EVERY = tuple(REQUESTS)

JSON = {
    "openai": b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}',
    "responses": b'{"id":"x","output":[],"usage":{"input_tokens":1,"output_tokens":1}}',
    "anthropic": b'{"id":"x","content":[],"usage":{"input_tokens":1,"output_tokens":1}}',
    "gemini": b'{"candidates":[],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}',
}
STREAM = {
    "openai": b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
    "responses": b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"a"}'
    b'\n\nevent: response.completed\ndata: {"type":"response.completed","response":{}}\n\n',
    "anthropic": b'event: message_start\ndata: {"type":"message_start","message":{}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"a"}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
    "gemini": b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'
    b'data: {"candidates":[{"finishReason":"STOP"}]}\r\n\r\n',
}
ERROR_EVENT = {
    "openai": b'data: {"error":{"message":"Oops","type":"server_error","code":null}}\n\n',
    "responses": b'event: error\ndata: {"type":"error","code":"server_error","message":"Oops"}\n\n',
    "anthropic": b"event: error\n"
    b'data: {"type":"error","error":{"type":"overloaded_error","message":"Oops"}}\n\n',
    "gemini": b'data: {"error":{"code":503,"message":"Oops","status":"UNAVAILABLE"}}\r\n\r\n',
}
ERROR = {
    "openai": b'{"error":{"message":"Oops","type":"server_error","param":null,"code":null}}',
    "responses": b'{"error":{"message":"Oops","type":"server_error","param":null,"code":null}}',
    "anthropic": b'{"type":"error","error":{"type":"overloaded_error","message":"Oops"}}',
    "gemini": b'{"error":{"code":503,"message":"Oops","status":"UNAVAILABLE"}}',
}
ERROR_NAME = {
    "openai": "server_error",
    "responses": "server_error",
    "anthropic": "overloaded_error",
    "gemini": "UNAVAILABLE",
}

Parts = tuple[Part, ...]


@dataclass(frozen=True)
class Fault:
    """`parts` is what the provider does (by dialect, where they differ), None if it is not there.

    `said` is routeur's own message to a client when there is nobody else, None where the provider's
    bytes are the answer; `why` the same in the trace, where it is another. `seen` is the provider's
    status. `short`: timeouts have to be.
    """

    parts: Parts | Mapping[str, Parts] | None
    said: str | None = None
    status: int = 502
    code: str = "upstream_error"
    seen: int = 0
    why: str | None = None
    short: bool = False

    @property
    def dialects(self) -> tuple[str, ...]:
        return tuple(self.parts) if isinstance(self.parts, Mapping) else ("openai",)

    def at(self, dialect: str) -> Parts | None:
        return self.parts[dialect] if isinstance(self.parts, Mapping) else self.parts

    def error(self) -> str:
        return self.why or self.said or f"the provider answered {self.seen}"


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LENGTH = OK + b"Content-Length: %d\r\n"
EVENTS_HEAD = head(200, [("Content-Type", EVENTS), ("Transfer-Encoding", "chunked")])
PACKED = gzip.compress(STREAM["openai"] * 20)
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
TWO_SIZES = "the provider sent a Content-Length that is no number"
NO_HTTP = "the provider did not answer in HTTP"
CLOSED = "the provider closed the connection before it answered"
BROKE = "the provider broke off its answer"
EMPTY_STREAM = "the provider sent an empty stream"
EMPTY = "the provider sent an empty answer"
HTML = "the provider sent an HTML page"
LATE = "the provider did not answer in time"
SILENT = "the provider sent nothing for too long"
REDIRECT = "the provider answered with a redirect, which is never followed"
CHUNKS = "the provider sent broken chunks"


def packed(data: bytes, kind: str = EVENTS) -> bytes:
    lines = [("Content-Type", kind), ("Content-Encoding", "gzip")]
    return head(200, [*lines, ("Content-Length", str(len(data)))]) + data


def frames(data: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """An event stream, whatever it begins with."""
    return EVENTS_HEAD + (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + end


def by_dialect(made: Callable[[str], Parts]) -> Mapping[str, Parts]:
    return {dialect: made(dialect) for dialect in EVERY}


CONNECTIONS = {
    "refused": Fault(None, "the provider could not be reached (connection refused)"),
    "close": Fault((CLOSE,), CLOSED),
    "reset": Fault((RESET,), CLOSED),
    "close in the head": Fault((b"HTTP/1.1 200 OK\r\nContent-", CLOSE), BROKE),
    "reset in the head": Fault((b"HTTP/1.1 200 OK\r\nContent-", RESET), BROKE),
    "close after 1xx": Fault((b"HTTP/1.1 103 Early Hints\r\n\r\n", CLOSE), BROKE),
    "1xx without end": Fault(
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000, CLOSE),
        "the provider sent interim answers without end",
    ),
    "huge head": Fault(
        (b"HTTP/1.1 200 OK\r\nX-Big: " + b"a" * (1 << 20) + b"\r\n\r\n",),
        "the provider sent a head larger than 64 KiB",
    ),
    "two lengths": Fault((LENGTH % 2 + b"Content-Length: 3\r\n\r\n{} ",), NO_HTTP),
    "odd length": Fault((OK + b"Content-Length: +2\r\n\r\n{}",), NO_HTTP),
    "length and chunks": Fault(
        (LENGTH % 2 + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",), NO_HTTP
    ),
    "not http": Fault((b"hello\r\n\r\n",), NO_HTTP),
    "switches protocols": Fault(
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",), NO_HTTP
    ),
    "redirect": Fault(
        (head(307, [("Location", "http://127.0.0.1:1/"), ("Content-Length", "0")]),),
        REDIRECT,
        seen=307,
    ),
}
# A head has come, and not enough of a body to be an answer.
BODIES = {
    "shorter than said": Fault((LENGTH % 99 + b"\r\n" + JSON["openai"], CLOSE), BROKE, seen=200),
    "close in a JSON": Fault((chunked(JSON["openai"][:30], end=b""), CLOSE), BROKE, seen=200),
    "half a JSON": Fault(
        (whole(JSON["openai"][:30]),),
        "the provider sent an answer that is not a whole JSON document",
        seen=200,
    ),
    "reset in the first event": Fault(
        (frames(STREAM["openai"][:30], end=b""), RESET), BROKE, seen=200
    ),
    "broken chunks": Fault(
        (frames(STREAM["openai"][:30], end=b""), 0.02, b"xyz\r\n"), CHUNKS, seen=200
    ),
    "half a first event": Fault(
        (frames(STREAM["openai"][:30]),),
        "the provider broke off within the first event of its stream",
        seen=200,
    ),
    "nothing": Fault((head(200, [("Content-Length", "0")]),), EMPTY, seen=200),
    "nothing, in JSON": Fault((OK + b"Content-Length: 0\r\n\r\n",), EMPTY, seen=200),
    "no chunk": Fault((OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"), EMPTY, seen=200),
    "no chunk of no type": Fault(
        (head(200, [("Transfer-Encoding", "chunked")]), 0.02, b"0\r\n\r\n"), EMPTY, seen=200
    ),
    "no event": Fault((frames(b""),), EMPTY_STREAM, seen=200),
    "only comments": Fault((frames(b": wait\n\n: wait\n\n"),), EMPTY_STREAM, seen=200),
    "only [DONE]": Fault((frames(b"data: [DONE]\n\n"),), EMPTY_STREAM, seen=200),
    "an empty array": Fault({"gemini": (chunked(b"[]"),)}, EMPTY_STREAM, seen=200),
    "HTML": Fault((whole(PAGE),), HTML, seen=200),
    "HTML in chunks": Fault((chunked(PAGE, 10),), HTML, seen=200),
    "HTML as JSON": Fault((LENGTH % len(PAGE) + b"\r\n" + PAGE,), HTML, seen=200),
    "HTML as events": Fault((frames(PAGE),), HTML, seen=200),
    "HTML of no type": Fault(
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(PAGE), PAGE),), HTML, seen=200
    ),
    "HTML of no type, later": Fault(
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE), 0.02, PAGE), HTML, seen=200
    ),
    "corrupt gzip": Fault(
        (packed(PACKED[:10] + b"\xff" * 50),),
        "the provider sent broken compressed data",
        seen=200,
    ),
    "no gzip": Fault(
        (packed(STREAM["openai"]),), "the provider sent broken compressed data", seen=200
    ),
    "half a gzip": Fault(
        (packed(gzip.compress(JSON["openai"])[:-9], "application/json"),),
        "the provider sent compressed data that breaks off",
        seen=200,
    ),
}
ERRORS = {
    f"error {how} {dialect}": Fault(
        {dialect: (made,)}, f"the provider {what}: {ERROR_NAME[dialect]}", seen=200
    )
    for dialect in EVERY
    for how, made, what in (
        ("as the first event of", chunked(ERROR_EVENT[dialect]), "began its stream with an error"),
        (
            "after a comment of",
            chunked(b": wait\n\n" + ERROR_EVENT[dialect]),
            "began its stream with an error",
        ),
        (
            "as an answer of",
            whole(ERROR[dialect]),
            "sent an error as if it were an answer",
        ),
    )
}
STALLS = {
    "no byte": Fault((HOLD,), LATE, status=504, code="upstream_timeout", short=True),
    "half a head": Fault(
        (b"HTTP/1.1 200 OK\r\nContent-", HOLD),
        LATE,
        status=504,
        code="upstream_timeout",
        short=True,
    ),
    "a head": Fault(
        (EVENTS_HEAD, HOLD), LATE, status=504, code="upstream_timeout", seen=200, short=True
    ),
    "half an event": Fault(
        (frames(STREAM["openai"][:30], end=b""), HOLD),
        SILENT,
        status=504,
        code="upstream_timeout",
        seen=200,
        short=True,
    ),
    "a JSON without its end": Fault(
        (chunked(JSON["openai"], end=b""), HOLD),
        SILENT,
        status=504,
        code="upstream_timeout",
        seen=200,
        short=True,
    ),
}
OUR_KEY = {
    f"{status}": Fault(
        by_dialect(lambda dialect, status=status: (whole(ERROR[dialect], status),)),
        f"the provider refused the credential that routeur uses for it ({status})",
        code="upstream_auth_error",
        seen=status,
    )
    for status in (401, 402, 403)
} | {
    "400 that is a 401": Fault(
        {"gemini": (whole(recording("unary-failure-api-key.json").body, 400),)},
        "the provider refused the credential that routeur uses for it (400)",
        code="upstream_auth_error",
        seen=400,
    ),
    "400 that is a 402": Fault(
        {
            "anthropic": (
                whole(
                    b'{"type":"error","error":{"type":"invalid_request_error","message":'
                    b'"Your credit balance is too low to access the Anthropic API."}}',
                    400,
                ),
            )
        },
        "the provider refused the credential that routeur uses for it (400)",
        code="upstream_auth_error",
        seen=400,
    ),
}
# Copied, if nobody does better.
ANSWERS = {
    f"{status}": Fault(
        by_dialect(
            lambda dialect, status=status: (
                whole(ERROR[dialect], status, ("X-Odd", "kept"), ("Retry-After", "2")),
            )
        ),
        status=status,
        seen=status,
    )
    for status in (408, 409, 429, 500, 502, 503, 504, 529)
} | {
    "500 in chunks": Fault(
        (chunked(ERROR["openai"], 7).replace(b"200 OK", b"500 Oops"),), status=500, seen=500
    ),
    "503 in HTML": Fault((whole(PAGE, 503),), status=503, seen=503),
    "503 of nothing": Fault((whole(b"", 503),), status=503, seen=503),
    "429 after 1xx": Fault(
        (b"HTTP/1.1 100 Continue\r\n\r\n" + whole(ERROR["openai"], 429),), status=429, seen=429
    ),
    "429 in gzip": Fault(
        (packed(gzip.compress(ERROR["openai"]), "application/json").replace(b"200 OK", b"429 Oh"),),
        status=429,
        seen=429,
    ),
}
FAULTS = CONNECTIONS | BODIES | ERRORS | STALLS | OUR_KEY | ANSWERS
