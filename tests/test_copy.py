"""Same dialect: what one side sends is what the other gets, byte for byte, in both directions."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import tracemalloc

import pytest

from tests.conftest import ANY_NAME, KEYS, Client, MakeRouter
from tests.exchanges import Exchange, exchange, exchanges
from tests.fake import HOLD, PATIENCE, RESET, Upstream, chunked, cut, head, whole

RECORDED = [
    one
    for folder in ("anthropic", "openai-chat", "openai-compatible", "openai-responses", "gemini")
    for one in exchanges(folder)
]
# Errors of which the file does not say the status.
STATUSES = {
    "openai-reasoning-model-legacy-parameter-error.json": 400,
    "openai-error.1.json": 429,
    "openai-reasoning-model-temperature-error.json": 400,
    "google-429-retry-info.json": 429,
    "unary-failure-api-key.json": 401,
    "unary-failure-unknown-model.json": 404,
}
CHAT = "/v1/chat/completions"
BODY = (
    b'{ "model" : "gpt-4o",\t"messages":[ ], "new_field": [1, 2.50, 1e3], "\\u0061": "\xc3\xa9" }\n'
)
JSON = (
    b'{\n  "id": "chatcmpl-1",   "choices": [ ],"unknown":1.0, "usage": {"prompt_tokens": 11,'
    b' "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}} }\n'
)
STREAM = (
    ": a comment\n\n"
    'data: {"choices":[{"delta":{"content":"dé😀"}}]}\r\n\r\n'
    'event:odd\nid: 7\ndata:{"choices":[{"delta":{"content":"b"}}]}   \n\n'
    "data: [DONE]\n\n"
).encode()


# ── recordings


@pytest.fixture
async def any_name(make_router: MakeRouter) -> Client:
    return await make_router(providers=ANY_NAME)


def status(one: Exchange) -> int:
    return next((known for name, known in STATUSES.items() if one.name.endswith(name)), one.status)


async def ask(router: Client, one: Exchange) -> tuple[int, bytes]:
    """Of whoever speaks its dialect: the others serve any name, too."""
    headers = {"Content-Type": one.content_type}
    for start, vendor in (("/v1/messages", "anthropic"), ("/v1beta/models/", "google")):
        if one.path.startswith(start):
            headers["vendor"] = vendor
    answer = await router.request(one.method, one.path, data=one.body, headers=headers)
    return answer.status, await answer.read()


@pytest.mark.parametrize("size", [None, 37], ids=["whole", "37"])
async def test_every_recording(any_name, upstream, size):
    """Each answer as it came, each request as it was sent: no byte differs."""
    for one in RECORDED:
        if status(one) >= 400:
            continue
        upstream.answers(one.answer, one.status, {"Content-Type": one.answer_type}, chunk_size=size)
        assert await ask(any_name, one) == (one.status, one.answer), one.name
        # `openai/x` means the model x of the provider openai
        wanted = one.body.replace(b'"model": "openai/', b'"model": "')
        assert upstream.request.body == wanted.replace(b'"model":"openai/', b'"model":"'), one.name
        assert upstream.request.method == one.method
    assert len(upstream.connections) <= 3


@pytest.mark.parametrize("size", [None, 37], ids=["whole", "37"])
async def test_every_recorded_error(make_router, upstream, size):
    """So are errors, but for those of our own credential; with a 200 they are failed attempts."""
    for one in RECORDED:
        if (real := status(one)) in (401, 402, 403) or real < 400:
            continue
        headers = {"Content-Type": one.answer_type}
        for said, wanted in ((real, (real, one.answer)), (200, None)):
            upstream.answers(one.answer, said, headers, chunk_size=size)
            got = await ask(await make_router(providers=ANY_NAME), one)
            assert got == wanted if wanted else got[0] == 502, one.name


FEW = [
    exchange("anthropic", "test_prompt_with_prefill_and_stop_sequences"),
    exchange("openai-chat", "openai-gpt-5-simple_streaming"),
    exchange("gemini", "test_google_stream_usage_is_live_mid_stream"),
]


@pytest.mark.parametrize("one", FEW, ids=lambda one: one.name)
async def test_cut_at_every_position(any_name, upstream, one):
    """Head and body of an answer in two reads, cut at each byte."""
    raw = chunked(one.answer, 100)
    for at in range(1, len(raw)):
        upstream.sends(*cut(raw, [at]))
        assert await ask(any_name, one) == (200, one.answer), at
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
async def test_any_size_and_framing(router, upstream, size, framing):
    for body in (JSON, STREAM):
        upstream.answers(body, chunk_size=size, framing=framing)
        answer = await router.post(CHAT, data=BODY)
        assert await answer.read() == body


async def test_chunks_are_sent_when_they_come(router, upstream):
    """Once an event has come, nothing waits for the next piece."""
    upstream.answers(STREAM, hold=len(STREAM) // 2)
    answer = await router.post(CHAT, data=BODY)
    async with asyncio.timeout(PATIENCE):
        assert await answer.content.readexactly(len(STREAM) // 2) == STREAM[: len(STREAM) // 2]
    upstream.release()
    assert await answer.content.read() == STREAM[len(STREAM) // 2 :]


# ── requests

ROUTES = [
    ("/v1/chat/completions", "/v1/chat/completions"),
    ("/chat/completions", "/v1/chat/completions"),
    ("/v1/completions", "/v1/completions"),
    ("/v1/responses", "/v1/responses"),
    ("/v1/embeddings", "/v1/embeddings"),
    ("/v1/moderations", "/v1/moderations"),
    ("/v1/images/generations", "/v1/images/generations"),
    ("/v1/audio/speech", "/v1/audio/speech"),
    ("/v1/videos", "/v1/videos"),
]


@pytest.mark.parametrize(("path", "asked"), ROUTES)
async def test_openai_paths(router, upstream, path, asked):
    upstream.answers(JSON)
    answer = await router.post(path, data=BODY)
    assert await answer.read() == JSON
    assert (upstream.request.path, upstream.request.body) == (asked, BODY)
    assert upstream.request.header("authorization") == f"Bearer {KEYS['openai']}"


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_anthropic_paths(router, upstream, path):
    upstream.answers(JSON)
    body = BODY.replace(b"gpt-4o", b"claude-x")
    answer = await router.post(f"{path}?beta=true", data=body)
    assert await answer.read() == JSON
    assert (upstream.request.path, upstream.request.body) == (f"{path}?beta=true", body)
    assert upstream.request.header("x-api-key") == KEYS["anthropic"]


VERBS = ["generateContent", "streamGenerateContent", "countTokens", "embedContent"]
FORMS = [
    "/v1beta/models/{}",
    "/v1/models/{}",
    "/v1/projects/p/locations/l/publishers/google/models/{}",
    "/v1beta/models/google/{}",
    "/v1beta/google/{}",
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("query", ["", "?alt=sse", "?key=abc&alt=sse", "?alt=sse&key=abc"])
async def test_gemini_paths(router, upstream, form, verb, query):
    """Each form is asked for in the one that the provider knows; `?key=` stays here."""
    upstream.answers(JSON)
    body = b'{ "contents" : [ ] }'
    answer = await router.post(form.format(f"gemini-2.5-flash:{verb}") + query, data=body)
    assert await answer.read() == JSON
    alt = "?alt=sse" if "alt" in query else ""
    path, _, _ = upstream.request.path.partition("?")
    assert path in (
        f"/v1beta/models/gemini-2.5-flash:{verb}",
        f"/v1/models/gemini-2.5-flash:{verb}",
    )
    assert upstream.request.path == path + alt
    assert upstream.request.body == body
    assert upstream.request.header("x-goog-api-key") == KEYS["google"]


async def test_gemini_alias(router, upstream):
    upstream.answers(JSON)
    await router.post("/v1beta/models/fast:generateContent", data=b"{}")
    assert upstream.request.path == "/v1beta/models/gemini-2.5-flash:generateContent"


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        (CHAT, b'{"model":"fast","user":"fast"}', b'{"model":"gpt-4o-mini","user":"fast"}'),
        (CHAT, b'{"a":{"model":"fast"},\n "model" : "fast" }', None),
        (CHAT, b'{"model":"openai/gpt-4o"}', b'{"model":"gpt-4o"}'),
        (CHAT, b'{"\\u006dodel":"f\\u0061st"}', b'{"\\u006dodel":"gpt-4o-mini"}'),
        (CHAT, b'\xef\xbb\xbf{"model":"gpt-4o"}', b"?"),
        ("/v1/responses", b'{"input":"fast","model":"fast"}', None),
        (
            "/v1/messages",
            b'{"model":"fast","big":123456789012345678901234567890,"f":1.10}',
            b'{"model":"claude-haiku-4-5","big":123456789012345678901234567890,"f":1.10}',
        ),
    ],
)
async def test_only_the_models_name_is_replaced(router, upstream, path, body, wanted):
    upstream.answers(JSON)
    answer = await router.post(path, data=body)
    if wanted == b"?":  # a byte order mark is no JSON (RFC 8259, 8.1): refused or copied
        assert answer.status == 400 or upstream.request.body == body
        return
    assert answer.status == 200
    last = body.rfind(b'"fast"')
    wanted = wanted or body[:last] + b'"gpt-4o-mini"' + body[last + 6 :]
    assert upstream.request.body == wanted


async def test_responses_paths_without_a_model(router, upstream):
    """They go to the provider that owns them, if there is one such provider."""
    for method, path in [
        ("GET", "/v1/responses/resp_1?include[]=a"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items?limit=2"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/files"),
        ("GET", "/v1/batches/b%2F1?after=%20x"),
        ("DELETE", "/v1/files/f1"),
    ]:
        upstream.answers(JSON)
        answer = await router.request(method, path)
        assert await answer.read() == JSON, path
        assert (upstream.request.method, upstream.request.path) == (method, path)
        assert upstream.request.header("authorization") == f"Bearer {KEYS['openai']}"


async def test_v1_paths_of_anthropic(router, upstream):
    upstream.answers(JSON)
    await router.get("/v1/files", headers={"anthropic-version": "2023-06-01"})
    assert upstream.request.header("x-api-key") == KEYS["anthropic"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/openai/v1/anything/at%20all?a=1&a=2", "/v1/anything/at%20all?a=1&a=2"),
        ("/openai/anything", "/v1/anything"),
        ("/openai/chat/completions", "/v1/chat/completions"),
        ("/anthropic/v1/messages/batches", "/v1/messages/batches"),
        ("/google/v1beta/cachedContents?key=mine&x=%41", "/v1beta/cachedContents?x=%41"),
        ("/openai/v1/a%2Fb/%C3%A9/?", "/v1/a%2Fb/%C3%A9/?"),
        ("/openai/v1/{odd}|path;a=b,c", "/v1/{odd}|path;a=b,c"),
    ],
)
async def test_raw_paths(router, upstream, path, asked):
    """Any provider's own API, byte for byte, with its key put in."""
    body = bytes(range(256))
    upstream.answers(body, headers={"Content-Type": "application/octet-stream", "X-A": "b"})
    for method in ("POST", "PUT", "PATCH"):
        request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        got = await router.raw(request.encode() + b"Content-Length: 256\r\n\r\n" + body)
        assert got.startswith(b"HTTP/1.1 200"), got
        assert got.partition(b"\r\n\r\n")[2] == body
        assert upstream.request.method == method
        assert upstream.request.path in (asked, asked.rstrip("?"))
        assert upstream.request.body == body


# ── headers

DROPPED = {
    "Connection": "keep-alive, X-Nominated",
    "X-Nominated": "between us",
    "Keep-Alive": "timeout=5",
    "Proxy-Authorization": "Basic c2VjcmV0",
    "Proxy-Connection": "keep-alive",
    "TE": "trailers",
    "Authorization": "Bearer clients-own",
    "Cookie": "session=secret",
    "Routeur-Anything": "x",
    "Vendor": "openai",
    "X-Forwarded-For": "10.0.0.1",
    "X-Forwarded-Host": "example.org",
    "X-Forwarded-Proto": "https",
}
KEPT = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "anthropic-beta": "a-2025-01-01,b",
    "anthropic-version": "2023-06-01",
    "OpenAI-Organization": "org-1",
    "OpenAI-Beta": "x=1",
    "Idempotency-Key": "abc",
    "X-Stainless-Lang": "python",
    "X-Unknown": "  odd   spacing kept ".strip(),
    "User-Agent": "test/1",
    "Accept": "text/event-stream",
    "Accept-Encoding": "gzip, br",
    "Content-Type": "application/json; charset=utf-8",
}


async def test_request_headers(router, upstream):
    upstream.answers(JSON)
    await router.post(CHAT, data=BODY, headers=DROPPED | KEPT)
    sent = upstream.request
    for name, value in KEPT.items():
        assert sent.header(name) == value, name
    said = repr(sent.headers)
    for name in DROPPED.keys() - {"Connection", "Authorization"}:
        assert sent.header(name) is None, name
    assert sent.header("authorization") == f"Bearer {KEYS['openai']}"
    assert "clients-own" not in said
    assert sent.header("connection") in (None, "keep-alive")
    assert sent.header("host") == f"127.0.0.1:{upstream.port}"
    assert not any("routeur" in name or "via" in name for name in sent.names())


async def test_nothing_is_added_to_a_request(router, upstream):
    """No Accept-Encoding of ours, no User-Agent: the provider would answer somebody else."""
    upstream.answers(JSON)
    await router.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    )
    assert upstream.request.names() <= {"host", "authorization", "content-length", "connection"}


@pytest.mark.parametrize(
    ("request_line", "body", "wanted"),
    [
        ("GET /v1/files", b"", {}),
        ("DELETE /v1/files/f", b"", {}),
        ("POST /v1/files\r\nContent-Length: 0", b"", {"content-length": "0"}),
        ("POST /v1/files\r\nContent-Length: 2", b"{}", {"content-length": "2"}),
        (
            "POST /v1/files\r\nTransfer-Encoding: chunked",
            b"2\r\n{}\r\n0\r\n\r\n",
            {"transfer-encoding": "chunked"},
        ),
    ],
)
async def test_framing_of_requests(router, upstream, request_line, body, wanted):
    """What the client's has is said to the provider in a framing of its own, once."""
    upstream.answers(JSON)
    line, _, framing = request_line.partition("\r\n")
    lines = [f"{line} HTTP/1.1", "Host: localhost", "Connection: close", framing]
    await router.raw("\r\n".join(filter(None, lines)).encode() + b"\r\n\r\n" + body)
    sent = upstream.request
    names = ("content-length", "transfer-encoding")
    assert {name: sent.header(name) for name in names if sent.header(name) is not None} == wanted
    assert sent.body == (b"{}" if b"{}" in body else b"")


async def test_header_bytes_are_kept(router, upstream):
    """Spelling, repetition and order of names, bytes beyond ASCII."""
    upstream.answers(JSON)
    lines = (
        b"x-LoWer: 1\r\nX-Two: a\r\nX-Two: b\r\nX-Latin: caf\xe9\r\nX-Utf: \xc3\xa9\r\nX-No:\r\n"
    )
    await router.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        + lines
        + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    )
    theirs = [field for field in upstream.request.headers if field[0].lower().startswith(b"x-")]
    assert theirs == [
        (b"x-LoWer", b"1"),
        (b"X-Two", b"a"),
        (b"X-Two", b"b"),
        (b"X-Latin", b"caf\xe9"),
        (b"X-Utf", b"\xc3\xa9"),
        (b"X-No", b""),
    ]


async def test_answer_headers(router, upstream):
    upstream.answers(
        JSON,
        headers=[
            ("X-Unknown", "kept"),
            ("openai-processing-ms", "12"),
            ("x-ratelimit-remaining-requests", "9"),
            ("anthropic-organization-id", "o"),
            ("CF-Ray", "1"),
            ("Date", "Tue, 04 Aug 2026 07:59:32 GMT"),
            ("Server", "cloudflare"),
            ("Link", "<a>; rel=b"),
            ("Link", "<c>; rel=d"),
            ("Connection", "keep-alive, X-Nominated"),
            ("X-Nominated", "dropped"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("Trailer", "X-T"),
            ("Set-Cookie", "__cf=secret"),
            ("Alt-Svc", 'h3=":443"'),
            ("Strict-Transport-Security", "max-age=1"),
            ("X-Routeur-Trace-Provider", "forged"),
        ],
    )
    answer = await router.post(CHAT, data=BODY)
    got = answer.headers
    assert got["X-Unknown"] == "kept"
    assert got["openai-processing-ms"] == "12"
    assert got["x-ratelimit-remaining-requests"] == "9"
    assert got["Date"] == "Tue, 04 Aug 2026 07:59:32 GMT"
    assert got["Server"] == "cloudflare"
    assert got.getall("Link") == ["<a>; rel=b", "<c>; rel=d"]
    assert got.getall("X-Routeur-Trace-Provider") == ["openai"]
    for name in ("X-Nominated", "Keep-Alive", "Proxy-Authenticate", "Trailer", "Set-Cookie"):
        assert name not in got
    assert "Alt-Svc" not in got
    assert "Strict-Transport-Security" not in got
    assert await answer.read() == JSON


async def test_added_headers(router, upstream):
    upstream.answers(JSON)
    answer = await router.post(CHAT, data=BODY.replace(b"gpt-4o", b"fast"))
    got = answer.headers
    assert got["X-Routeur-Trace-Id"].startswith("tr_")
    assert got["X-Routeur-Trace-Provider"] == "openai"
    assert got["X-Routeur-Trace-Model"] == "gpt-4o-mini"
    assert got["X-Routeur-Trace-Reason"] == "alias:fast"
    assert got["X-Routeur-Trace-Attempts"] == "1"
    assert got["X-Routeur-Trace-Status"] == "200"
    assert got["Server-Timing"].startswith("routeur;dur=")
    assert ", upstream;dur=" in got["Server-Timing"]
    assert got["X-Request-Id"]


@pytest.mark.parametrize(
    ("clients", "providers", "wanted"),
    [
        ("mine-1", "theirs", "mine-1"),
        (None, "theirs", "theirs"),
        ("not sane\t", "theirs", "theirs"),
        ("x" * 1000, None, None),
        (None, None, None),
    ],
)
async def test_one_request_id(router, upstream, clients, providers, wanted):
    """The client's if it is sane, else the provider's, else ours; the trace has the same."""
    upstream.answers(JSON, headers={"X-Request-Id": providers} if providers else {})
    headers = {"X-Request-Id": clients} if clients else {}
    answer = await router.post(CHAT, data=BODY, headers=headers)
    (got,) = answer.headers.getall("X-Request-Id")
    if wanted:
        assert got == wanted
    assert got
    assert (await router.trace(answer))["request_id"] == got


# ── usage

GEMINI_JSON = (
    b'{"candidates": [], "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 3,'
    b' "cachedContentTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 16}}'
)
ANTHROPIC_STREAM = (
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":7,'
    b'"cache_read_input_tokens":4,"output_tokens":1}}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":2}}'
    b"\n\n"
    b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":3}}'
    b'\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
CHAT_STREAM = (
    b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\ndata: [DONE]\n\n'
)
RESPONSES_STREAM = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","delta":"a"}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"usage":'
    b'{"input_tokens":11,"input_tokens_details":{"cached_tokens":4},"output_tokens":3}}}\n\n'
)
USAGE = {
    "chat": (CHAT, BODY, JSON),
    "chat stream": (CHAT, b'{"model":"gpt-4o","stream":true}', CHAT_STREAM),
    "responses stream": ("/v1/responses", b'{"model":"gpt-4o","stream":true}', RESPONSES_STREAM),
    "anthropic stream": ("/v1/messages", b'{"model":"claude-x","stream":true}', ANTHROPIC_STREAM),
    "gemini": ("/v1beta/models/gemini-2.5-flash:generateContent", b"{}", GEMINI_JSON),
    "gemini sse": (
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        b"{}",
        b"data: " + GEMINI_JSON + b"\r\n\r\n",
    ),
    "gemini array": (
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        b"{}",
        b'[{"candidates": []}\n,\r\n' + GEMINI_JSON + b"\n]\n",
    ),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("size", [None, 5], ids=["whole", "5"])
@pytest.mark.parametrize("kind", USAGE)
async def test_usage(router, upstream, kind, size, packed):
    """Read after the bytes have gone, from a copy; the bytes are the provider's own."""
    path, body, said = USAGE[kind]
    headers = {"Content-Type": "text/event-stream" if "stream" in kind else "application/json"}
    if "sse" in kind:
        headers["Content-Type"] = "text/event-stream"
    if packed:
        said = gzip.compress(said)
        headers["Content-Encoding"] = "gzip"
    upstream.answers(said, headers=headers, chunk_size=size)

    answer = await router.post(path, data=body)

    assert await answer.read() == said
    usage = (await router.trace(answer))["usage"]
    assert (usage["input"], usage["cache_read"]) == (7, 4)
    assert usage["input_total"] == 11
    assert usage["output"] == 3
    assert usage["reasoning"] == (2 if "gemini" in kind else 0)


async def test_usage_of_an_endless_answer(router, upstream):
    """Said at the end of 20 MB: found, though not all of it was kept."""
    filler = b'data: {"choices":[{"delta":{"content":"' + b"x" * 10_000 + b'"}}]}\n\n'
    upstream.answers(filler * 2000 + CHAT_STREAM, chunk_size=1 << 16)
    answer = await router.post(CHAT, data=b'{"model":"gpt-4o","stream":true}')
    assert len(await answer.read()) == len(filler) * 2000 + len(CHAT_STREAM)
    assert (await router.trace(answer))["usage"]["input_total"] == 11


@pytest.mark.parametrize(
    "usage",
    [b"null", b'"x"', b"[1]", b"{}", b'{"prompt_tokens":-5,"completion_tokens":1e30}', b"{"],
)
async def test_odd_usage_harms_nobody(router, upstream, usage):
    said = b'{"choices":[],"usage":' + usage + b"}"
    upstream.answers(said)
    answer = await router.post(CHAT, data=BODY)
    assert (answer.status, await answer.read()) == (200, said)
    found = (await router.trace(answer))["usage"]
    assert found is None or all(value >= 0 for value in found.values())


# ── uploads


def form(model: str, *, first: bool, size: int = 1000) -> tuple[bytes, bytes]:
    """A multipart body with the model's name before or after a file: both halves."""
    name = f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{model}\r\n'.encode()
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n'
    file += bytes(size) + b"\r\n"
    return (name, file + b"--b--\r\n") if first else (file, name + b"--b--\r\n")


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize("chunks", [True, False], ids=["chunked", "length"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("model", ["whisper-1", "openai/whisper-1"])
@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_forms(router, upstream, model, first, size, chunks):
    """`model` is read wherever it stands; only its name changes, and only if it differs."""
    upstream.answers(b'{"text": "hello"}')
    halves = form(model, first=first, size=size)

    async def body():
        for half in halves:
            yield half

    answer = await router.post(
        "/v1/audio/transcriptions", data=body() if chunks else b"".join(halves), headers=FORM
    )

    assert await answer.read() == b'{"text": "hello"}'
    wanted = b"".join(form("whisper-1", first=first, size=size))
    assert upstream.request.size == len(wanted)
    assert upstream.request.sha256 == hashlib.sha256(wanted).hexdigest()
    assert upstream.request.header("content-type") == FORM["Content-Type"]


async def test_a_second_model_in_a_form(router, upstream):
    """The provider might take the other one, so it gets no whole form, however late it comes."""
    upstream.answers(b"{}")
    name, rest = form("whisper-1", first=True, size=3_000_000)
    again = name.replace(b"whisper-1", b"gpt-4o")

    async def body():
        yield name
        yield rest.removesuffix(b"--b--\r\n")
        yield again + b"--b--\r\n"

    answer = await router.post("/v1/audio/transcriptions", data=body(), headers=FORM)
    assert answer.status == 400
    assert not any(request.done.is_set() for request in upstream.requests)


async def test_form_without_a_model(router, upstream):
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n'
    answer = await router.post("/v1/audio/transcriptions", data=body, headers=FORM)
    assert answer.status == 400
    assert (await answer.json())["error"]["param"] == "model"
    assert upstream.requests == []


async def upload(router: Client, upstream: Upstream, size: int) -> int:
    """Sends a form of so many bytes; how many more bytes Python held at the worst time."""
    upstream.answers(b"{}")
    block = os.urandom(1 << 16)
    start, end = b"".join(form("whisper-1", first=True, size=0)).rsplit(b"\r\n--b--", 1)
    digest = hashlib.sha256()

    async def body():
        for piece in (start, *[block] * (size >> 16), b"\r\n--b--" + end):
            digest.update(piece)
            yield piece

    tracemalloc.start()
    answer = await router.post("/v1/audio/transcriptions", data=body(), headers=FORM)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status == 200
    assert upstream.request.sha256 == digest.hexdigest()
    return peak


async def test_large_upload_in_constant_memory(make_router, upstream):
    router = await make_router()
    assert await upload(router, upstream, 30 << 20) < 6 << 20


@pytest.mark.full
async def test_huge_upload_in_constant_memory(make_router, upstream):
    router = await make_router(server={"max_body": "2GB"})
    assert await upload(router, upstream, 1 << 30) < 6 << 20


async def test_raw_upload(router, upstream):
    """A body of no known kind streams through, whatever it is."""
    data = os.urandom(3_000_000)
    answer = await router.request("PUT", "/openai/v1/uploads/1", data=data)
    assert answer.status == 200
    assert upstream.request.sha256 == hashlib.sha256(data).hexdigest()


async def test_large_answer(router, upstream):
    data = os.urandom(30 << 20)
    upstream.answers(data, chunk_size=1 << 18)
    answer = await router.get("/v1/files/f/content")
    assert hashlib.sha256(await answer.read()).digest() == hashlib.sha256(data).digest()


# ── HTTP


def post(version: str, *headers: str) -> bytes:
    lines = [f"POST {CHAT} HTTP/{version}", "Host: localhost", f"Content-Length: {len(BODY)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + BODY


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_http_10_client(router, upstream, framing):
    """It knows no chunks: bytes until the end."""
    upstream.answers(STREAM, chunk_size=11, framing=framing)
    got = await router.raw(post("1.0"))
    assert got.partition(b"\r\n\r\n")[2] == STREAM
    assert b"transfer-encoding" not in got.lower()
    assert upstream.request.version == "1.1"


async def test_kept_connection(router, upstream):
    """Answers of every framing on one connection of the client."""
    for framing in ("length", "chunked"):
        upstream.answers(JSON, framing=framing)
    upstream.answers(b"", 204)
    upstream.answers(b"", 304, {"ETag": "x"})
    upstream.answers(JSON)
    got = await router.raw(post("1.1") * 4 + post("1.1", "Connection: close"))
    assert got.count(b"HTTP/1.1 ") == 5
    assert got.count(JSON) == 3
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_head(router, upstream, framing):
    upstream.answers(JSON, framing=framing, headers={"X-A": "b"})
    answer = await router.head("/v1/files/f")
    assert (answer.status, answer.headers["X-A"], await answer.read()) == (200, "b", b"")
    if framing == "length":
        assert answer.headers["Content-Length"] == str(len(JSON))
    again = await router.get("/v1/files/f")
    assert await again.read() == JSON


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body(router, upstream, status):
    upstream.answers(b"", status, {"ETag": '"x"'})
    for _ in range(2):
        answer = await router.get("/v1/files/f", headers={"If-None-Match": '"x"'})
        assert (answer.status, answer.headers["ETag"]) == (status, '"x"')
        assert await answer.read() == b""
    assert len(upstream.connections) == 1


async def test_trailers(router, upstream):
    """They pass or are dropped; the body is whole, and the connection goes on."""
    upstream.answers(STREAM, chunk_size=20, trailers=[("X-Trailer", "a"), ("X-B", "c")])
    for _ in range(2):
        answer = await router.post(CHAT, data=BODY)
        assert await answer.read() == STREAM
    assert len(upstream.connections) == 1


async def test_1xx_answers(router, upstream):
    """Informational answers are for us; the client gets the real one."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    upstream.answers(STREAM, chunk_size=5, before=[b"HTTP/1.1 100 Continue\r\n\r\n", hints])
    for _ in range(2):
        answer = await router.post(CHAT, data=BODY)
        assert (answer.status, await answer.read()) == (200, STREAM)


async def test_odd_status_line(router, upstream):
    """Status and reason are the provider's."""
    upstream.sends(b"HTTP/1.1 299 As You Like It\r\nContent-Length: 2\r\n\r\n{}")
    answer = await router.post(CHAT, data=BODY)
    assert (answer.status, answer.reason) == (299, "As You Like It")


async def test_answer_of_nothing(router, upstream):
    for raw in (whole(b""), head(200, [("Transfer-Encoding", "chunked")]) + b"0\r\n\r\n"):
        upstream.sends(raw)
        answer = await router.get("/v1/files/f")
        assert (answer.status, await answer.read()) == (200, b"")


async def test_many_streams_at_once(router, upstream):
    """300 streams side by side, each with bytes of its own."""

    async def one(number: int) -> None:
        body = json.dumps({"model": "gpt-4o", "user": str(number)}).encode()
        answer = await router.post(CHAT, data=body)
        assert answer.status == 200
        got = await answer.read()
        assert got == STREAM

    upstream.answers(STREAM, chunk_size=9)
    await asyncio.gather(*(one(number) for number in range(300)))
    users = sorted(int(json.loads(request.body)["user"]) for request in upstream.requests)
    assert users == [*range(300)]


async def test_another_stream_breaks(router, upstream):
    """A broken answer beside a whole one: only its own client sees it."""
    upstream.answers(STREAM, hold=100)
    upstream.sends(chunked(STREAM, end=b""), HOLD, RESET)
    good = await router.post(CHAT, data=BODY)
    await router.post(CHAT, data=BODY)
    upstream.release()
    assert await good.read() == STREAM


async def test_a_model_whose_name_ends_like_a_verb(router, upstream):
    """As those of Ollama and OpenRouter do, and fine-tuned ones: Gemini's verbs are only posted."""
    upstream.answers(b"{}")
    answer = await router.request("GET", "/v1/models/llama3:latest")
    assert (answer.status, (await answer.json())["error"]["code"]) == (404, "model_not_found")
    answer = await router.request("DELETE", "/v1/models/ft:gpt-4o:me", headers={"vendor": "openai"})
    assert (answer.status, upstream.request.path) == (200, "/v1/models/ft:gpt-4o:me")
    answer = await router.request("GET", "/v1beta/models/gemini-x:generateContent")
    assert answer.status == 405
