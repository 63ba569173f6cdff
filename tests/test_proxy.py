"""One request and several providers: who is asked next, what is sent twice, what the trace says."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.conftest import KEYS, Client, MakeRouter
from tests.fake import CLOSE, HOLD, PATIENCE, RESET, Part, Upstream, chunked, head, whole

CHAT = "/v1/chat/completions"
BODY = {"model": "both", "messages": [{"role": "user", "content": "hi"}]}
FIRST, SECOND = b'{"from":"first"}', b'{"from":"second"}'
FAILED = head(503, [("Content-Length", "2"), ("Content-Type", "application/json")]) + b"{}"
STREAM = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(9))


@pytest.fixture
async def second() -> AsyncIterator[Upstream]:
    provider = Upstream()
    await provider.start()
    yield provider
    await provider.stop()
    assert provider.anomalies == []


@pytest.fixture
async def both(make_router: MakeRouter, second: Upstream) -> Client:
    """`both` is two providers, one after the other."""
    return await make_router(
        retries={"attempts": 3},
        providers={
            "spare": {
                "dialect": "openai",
                "base_url": f"{second.url}/v1",
                "api_key": "sk-at-spare",
                "models": {
                    "gpt-x": {"id": "deployed-x", "price": {"input": 1, "output": 2}},
                    "whisper-1": {},
                },
            }
        },
        aliases={
            "both": ["openai/gpt-4o", "spare/gpt-x"],
            "loud": ["openai/whisper-1", "spare/whisper-1"],
        },
    )


async def ask(client: Client, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    answer = await client.post(CHAT, json=BODY, headers=headers)
    return answer, await answer.read()


FAULTS: dict[str, tuple[Part, ...]] = {
    "503": (FAILED,),
    "429": (whole(b"{}", 429, ("Retry-After", "9")),),
    "500 in chunks": (chunked(b"{}").replace(b"200 OK", b"500 Oops"),),
    "529": (whole(b"{}", 529),),
    "reset": (RESET,),
    "close": (CLOSE,),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", CLOSE),
    "not http": (b"hello\r\n\r\n", CLOSE),
    "our credential": (whole(b"{}", 401),),
    "redirect": (head(302, [("Location", "http://h"), ("Content-Length", "0")]),),
}


@pytest.mark.parametrize("trace", ["false", "true"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_the_next_is_asked(
    both: Client, upstream: Upstream, second: Upstream, fault: str, trace: str
) -> None:
    """Under its own name for the model, with its own key; the client sees one good answer."""
    upstream.sends(*FAULTS[fault])
    second.answers(SECOND)

    answer, said = await ask(both, **{"Routeur-Trace": trace})

    assert answer.status == 200
    assert json.loads(said)["from"] == "second"
    assert json.loads(upstream.request.body)["model"] == "gpt-4o"
    assert json.loads(second.request.body)["model"] == "deployed-x"
    assert second.request.header("authorization") == "Bearer sk-at-spare"
    assert KEYS["openai"] not in repr(second.request.headers)
    shown = answer.headers
    assert shown["X-Routeur-Trace-Provider"] == "spare"
    assert shown["X-Routeur-Trace-Model"] == "gpt-x"
    assert shown["X-Routeur-Trace-Reason"] == "alias:both"
    assert shown["X-Routeur-Trace-Attempts"] == "2"
    assert shown["X-Routeur-Trace-Status"] == "200"
    assert shown["X-Request-Id"]
    attempts = (await both.trace(answer))["attempts"]
    assert [each["target"] for each in attempts] == ["openai/gpt-4o", "spare/gpt-x"]
    assert attempts[0]["error"]
    assert attempts[1]["error"] is None
    assert [each["credential"] for each in attempts] == ["openai", "spare"]


async def test_refused_connection(both: Client, upstream: Upstream, second: Upstream) -> None:
    await upstream.stop()
    second.answers(SECOND)
    answer, said = await ask(both)
    assert (answer.status, said) == (200, SECOND)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_the_clients_own_fault(
    both: Client, upstream: Upstream, second: Upstream, status: int
) -> None:
    """An answer that another provider would give too is the answer."""
    upstream.answers(b'{"error": 1}', status)
    answer, said = await ask(both)
    assert (answer.status, said) == (status, b'{"error": 1}')
    assert second.requests == []


async def test_the_last_error_is_the_answer(
    both: Client, upstream: Upstream, second: Upstream
) -> None:
    """Whole, as the provider said it."""
    upstream.sends(FAILED)
    second.answers(b'{"error": "busy"}', 429, {"Retry-After": "7"})
    answer, said = await ask(both)
    assert (answer.status, said) == (429, b'{"error": "busy"}')
    assert answer.headers["Retry-After"] == "7"
    assert answer.headers["X-Routeur-Trace-Attempts"] == "2"


async def test_nobody_answers(both: Client, upstream: Upstream, second: Upstream) -> None:
    await upstream.stop()
    await second.stop()
    answer, _ = await ask(both)
    assert answer.status == 502
    trace = await both.trace(answer)
    assert len(trace["attempts"]) == 2
    assert all(each["error"] for each in trace["attempts"])


async def test_as_many_attempts_as_set(make_router: MakeRouter, upstream: Upstream) -> None:
    """Over credentials and targets; a fallback credential comes last."""
    upstream.sends(FAILED)
    credentials = [
        {"name": name, "base_url": f"{upstream.url}/v1", "api_key": f"sk-{name}", **more}
        for name, more in (("spare", {"fallback": True}), ("one", {}), ("two", {}))
    ]
    provider = {"dialect": "openai", "credentials": credentials, "models": ["gpt-4o"]}
    for attempts, names in ((2, ["one", "two"]), (3, ["one", "two", "spare"]), (9, None)):
        client = await make_router(
            retries={"attempts": attempts},
            providers={"openai": None, "many": provider},
            aliases={"fast": None},
        )
        before = len(upstream.requests)
        answer = await client.post(CHAT, json=BODY | {"model": "gpt-4o"})
        assert answer.status == 503
        sent = [each.header("authorization") for each in upstream.requests[before:]]
        assert sent == [f"Bearer sk-{name}" for name in names or ["one", "two", "spare"]]


async def test_after_the_first_byte_nobody_else_is_asked(
    both: Client, upstream: Upstream, second: Upstream
) -> None:
    upstream.sends(chunked(STREAM, end=b""), RESET)
    answer = await both.post(CHAT, json=BODY)
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
    assert second.requests == []


async def test_a_streamed_body_is_not_sent_twice(
    both: Client, upstream: Upstream, second: Upstream
) -> None:
    """It has been read from the client once: what answers is the answer."""
    upstream.sends(FAILED)
    form = aiohttp.FormData({"model": "loud"})
    form.add_field("file", bytes(300_000), filename="a")
    answer = await both.request("POST", "/v1/audio/transcriptions", data=form)
    assert answer.status == 503
    assert b"whisper-1" in upstream.request.body
    assert second.requests == []


async def test_the_client_leaves_between_attempts(
    both: Client, upstream: Upstream, second: Upstream
) -> None:
    """Then there is nothing to ask the next one for."""
    upstream.sends(HOLD, FAILED)
    _, writer = await both.connect()
    data = json.dumps(BODY).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(data), data)
    )
    request = await upstream.requested()
    writer.close()
    await request.connection.wait_closed()
    upstream.release()
    assert (await both.get("/healthz")).status == 200
    assert second.requests == []


# ── rules


async def test_split(make_router: MakeRouter, upstream: Upstream) -> None:
    upstream.answers(b"{}")
    shares = {"openai/gpt-4o": 3, "openai/gpt-4o-mini": 1}
    client = await make_router(
        rules=[{"name": "trial", "match": {"model": "half"}, "split": shares}]
    )
    for _ in range(200):
        await client.post(CHAT, json=BODY | {"model": "half"})
    found = Counter(json.loads(each.body)["model"] for each in upstream.requests)
    assert found["gpt-4o"] + found["gpt-4o-mini"] == 200
    assert 110 <= found["gpt-4o"] <= 190


@pytest.mark.parametrize("trace", ["false", "true"])
async def test_timeouts_of_a_rule(make_router: MakeRouter, upstream: Upstream, trace: str) -> None:
    """Narrower than the provider's, for what matches."""
    upstream.answers(b"{}", before=[HOLD])
    rule = {"name": "quick", "match": {"model": "quick"}, "to": ["openai/gpt-4o"]}
    client = await make_router(
        timeouts={"first_byte": "10m"}, rules=[rule | {"timeouts": {"first_byte": "100ms"}}]
    )
    answer = await client.post(
        CHAT, json=BODY | {"model": "quick"}, headers={"Routeur-Trace": trace}
    )
    assert answer.status == 504


async def test_retries_of_a_rule(make_router: MakeRouter, upstream: Upstream) -> None:
    upstream.sends(FAILED)
    to = ["openai/gpt-4o", "openai/gpt-4o-mini", "openai/gpt-5"]
    client = await make_router(
        retries={"attempts": 3},
        rules=[{"name": "twice", "match": {"model": "twice"}, "to": to, "retries": 2}],
    )
    answer = await client.post(CHAT, json=BODY | {"model": "twice"})
    assert answer.headers["X-Routeur-Trace-Attempts"] == "2"
    assert len(upstream.requests) == 2


# ── Routeur-Trace, Routeur-Dry-Run


@pytest.mark.parametrize(
    ("path", "body", "usage"),
    [
        (
            CHAT,
            {"model": "gpt-4o", "messages": []},
            {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        ),
        (
            "/v1/responses",
            {"model": "gpt-4o", "input": "hi"},
            {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12},
        ),
        (
            "/v1/messages",
            {"model": "claude-x", "max_tokens": 9, "messages": []},
            {"input_tokens": 5, "output_tokens": 7},
        ),
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            {"contents": []},
            {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12},
        ),
    ],
    ids=["chat", "responses", "anthropic", "gemini"],
)
async def test_trace_block(
    router: Client, upstream: Upstream, path: str, body: dict[str, Any], usage: dict[str, int]
) -> None:
    """The answer of every dialect, and one block more."""
    name = "usageMetadata" if "gemini" in path else "usage"
    theirs = {"id": "x", name: usage}
    upstream.answers(json.dumps(theirs), headers={"X-Request-Id": "req_1", "Cache-Control": "no"})
    answer = await router.post(
        path, json=body, headers={"Routeur-Trace": "true", "Accept-Encoding": "gzip"}
    )
    said = await answer.json(content_type=None)
    block = said.pop("routeur")
    assert said == theirs
    assert (block["usage"]["input_total"], block["usage"]["output_total"]) == (5, 7)
    assert block["attempts"] == 1
    assert block["trace_id"] == answer.headers["X-Routeur-Trace-Id"]
    assert answer.headers["Cache-Control"] == "no"
    assert upstream.request.header("accept-encoding") in (None, "identity")


async def test_trace_block_keeps_the_providers_request_id(
    router: Client, upstream: Upstream
) -> None:
    upstream.answers(b"{}", headers={"X-Request-Id": "req_1"})
    answer = await router.post(
        CHAT, json=BODY | {"model": "gpt-4o"}, headers={"Routeur-Trace": "true"}
    )
    assert answer.headers["X-Request-Id"] == "req_1"


@pytest.mark.parametrize("said", [b"[1]", b"{}", b'{"a": 1}\n', b"text"])
async def test_trace_block_of_odd_answers(router: Client, upstream: Upstream, said: bytes) -> None:
    upstream.answers(said)
    answer = await router.post(
        CHAT, json=BODY | {"model": "gpt-4o"}, headers={"Routeur-Trace": "true"}
    )
    got = await answer.read()
    assert answer.status == 200
    if said.strip().endswith(b"}"):
        assert json.loads(got)["routeur"]
    else:
        assert got == said


@pytest.mark.parametrize("said", [b"", b'{"a": 1', b"<html></html>", b'{"error": {"code": 500}}'])
async def test_no_trace_block_makes_an_answer(
    router: Client, upstream: Upstream, said: bytes
) -> None:
    """What is no answer without the header is none with it."""
    upstream.answers(said)
    answer = await router.post(
        CHAT, json=BODY | {"model": "gpt-4o"}, headers={"Routeur-Trace": "true"}
    )
    assert answer.status == 502
    assert (await answer.json())["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("status", [204, 304])
async def test_no_trace_block_without_a_body(
    router: Client, upstream: Upstream, status: int
) -> None:
    """What is an answer without the header is one with it."""
    upstream.answers(b"", status)
    answer = await router.post(
        CHAT, json=BODY | {"model": "gpt-4o"}, headers={"Routeur-Trace": "true"}
    )
    assert (answer.status, await answer.read()) == (status, b"")


async def test_estimated_only_if_so(both: Client, upstream: Upstream, second: Upstream) -> None:
    """An attempt that failed leaves no estimate behind."""
    upstream.sends(FAILED)
    second.answers(b'{"usage":{"prompt_tokens":1000000,"completion_tokens":1000000}}')
    answer, said = await ask(both, **{"Routeur-Trace": "true"})
    block = json.loads(said)["routeur"]
    assert block["estimated"] is False
    assert block["cost_usd"] == 3
    assert (await both.trace(answer))["estimated"] is False


async def test_trace_block_and_a_form(make_router: MakeRouter, upstream: Upstream) -> None:
    """A body that is streamed arrives whole all the same."""
    router = await make_router(timeouts={"first_byte": "300ms"})
    upstream.answers(b'{"text":"x"}')
    form = aiohttp.FormData({"model": "whisper-1"})
    form.add_field("file", io.BytesIO(bytes(3_000_000)), filename="a")
    answer = await router.request(
        "POST", "/v1/audio/transcriptions", data=form, headers={"Routeur-Trace": "true"}
    )
    assert answer.status == 200
    assert upstream.request.size > 3_000_000


@pytest.mark.parametrize("trace", ["false", "true"])
async def test_head_with_a_trace(router: Client, upstream: Upstream, trace: str) -> None:
    """A HEAD's answer has no body to wait for."""
    upstream.sends(head(200, [("Content-Length", "50")]))
    async with asyncio.timeout(PATIENCE):
        answer = await router.head("/openai/v1/models/x", headers={"Routeur-Trace": trace})
    assert answer.status == 200


async def test_dry_run(both: Client, upstream: Upstream, second: Upstream) -> None:
    answer, said = await ask(both, **{"Routeur-Dry-Run": "true"})
    shown = json.loads(said)["routeur"]
    assert shown["targets"] == ["openai/gpt-4o", "spare/gpt-x"]
    assert (shown["provider"], shown["model"]) == ("openai", "gpt-4o")
    assert (answer.status, shown["route_reason"]) == (200, "alias:both")
    assert upstream.requests == second.requests == []


# ── what is counted


async def test_raw_paths_are_metered(both: Client, second: Upstream) -> None:
    """The provider's own API has tokens and a trace too."""
    second.answers(b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}')
    answer = await both.post("/spare/v1/chat/completions", json={"model": "gpt-x"})
    assert await answer.read()
    trace = await both.trace(answer)
    assert (trace["usage"]["input"], trace["usage"]["output"]) == (3, 4)
    assert trace["provider"] == "spare"


@pytest.mark.parametrize("by", ["client", "upstream"])
async def test_an_aborted_stream_is_estimated(router: Client, upstream: Upstream, by: str) -> None:
    """What was seen of it has been used."""
    if by == "client":
        upstream.answers(STREAM * 10, hold=len(STREAM) * 5)
    else:
        upstream.sends(chunked(STREAM * 5, end=b""), RESET)
    answer = await router.post(CHAT, json=BODY | {"model": "gpt-4o", "stream": True})
    if by == "client":
        await answer.content.readexactly(len(STREAM) * 5)
        answer.close()
    else:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    await upstream.request.connection.wait_closed()
    trace = await router.trace(answer)
    assert trace["estimated"] is True
    assert trace["usage"]["input"] > 0
    assert 20 <= trace["usage"]["output"] <= 90


@pytest.mark.parametrize("preset", [True, False])
async def test_bare_base64_of_files(make_router: MakeRouter, upstream: Upstream, preset: bool):
    """Gets its data-URL prefix where the preset needs one; every other byte stays."""
    upstream.answers(b"{}")
    here: dict[str, Any] = {"base_url": f"{upstream.url}/v1", "api_key": "sk", "models": ["m"]}
    here |= {"preset": "openai"} if preset else {"dialect": "openai"}
    client = await make_router(providers={"openai": None, "p": here}, aliases={"fast": None})
    pdf = base64.b64encode(b"%PDF-1.4 " + bytes(30)).decode()
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}}
    body = {"model": "m", "messages": [{"role": "user", "content": [file]}]}
    raw = json.dumps(body, indent=1).encode()
    await client.post(CHAT, data=raw)
    wanted = raw.replace(pdf.encode(), b"data:application/pdf;base64," + pdf.encode())
    assert upstream.request.body == (wanted if preset else raw)


async def test_the_body_of_a_stream_under_way_is_let_go(both: Client, upstream: Upstream) -> None:
    """A long stream does not keep its prompt in memory; its size is estimated all the same."""
    upstream.answers(b"data: {}\n\n" * 4, headers={"Content-Type": "text/event-stream"}, hold=10)
    messages = [{"role": "user", "content": "word " * 4_000_000}]
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": messages}).encode()
    tracemalloc.start()
    try:
        answer = await both.post("/v1/chat/completions", data=body)
        await answer.content.readany()
        assert tracemalloc.get_traced_memory()[0] < 5_000_000
    finally:
        tracemalloc.stop()

    upstream.release()
    await answer.read()
    assert (await both.trace(answer))["usage"]["input"] > 4_000_000
