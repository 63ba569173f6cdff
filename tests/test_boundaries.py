"""Where a request ends and the next one begins: what comes in pieces, or ahead of its turn."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.conftest import Client, MakeRouter
from tests.fake import HOLD, PATIENCE, Upstream, whole
from tests.test_express import JSON, request, talk

SHORT = b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("size", [7, 61, 160, 500])
async def test_requests_in_small_pieces(router: Client, upstream: Upstream, size: int) -> None:
    """None overtakes another, wherever the network has cut them."""
    upstream.answers(b"{}")
    asked = [request(user=str(number)) for number in range(30)]
    reader, writer = await router.connect()
    sent = b"".join(asked)
    for start in range(0, len(sent), size):
        writer.write(sent[start : start + size])
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        for _ in asked:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(SHORT)
            assert await reader.readexactly(2) == b"{}"
    writer.close()
    users = [json.loads(each.body)["user"] for each in upstream.requests]
    assert users == [str(number) for number in range(30)]


async def test_a_headers_value_is_no_request(router: Client, upstream: Upstream) -> None:
    """Half a head was sent while an answer was under way; what follows belongs to it."""
    upstream.sends(whole(JSON))
    upstream.sends(HOLD, whole(JSON))
    one = await talk(router, warm=request())
    one.writer.write(request("X-Request-Id: slow"))
    await upstream.requested(2)
    one.writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ")
    upstream.release()
    await one.answer()
    assert await one.status(request(user="smuggled")) == 400
    assert len(upstream.requests) == 2


async def test_a_large_answer_leaves_its_connection_usable(
    make_router: MakeRouter, upstream: Upstream
) -> None:
    """A client that reads it slowly makes nobody else wait."""
    router = await make_router()
    text = "x" * 6_000_000
    message = {"role": "assistant", "content": text}
    answer = {"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "message": message}]}
    upstream.answers(json.dumps(answer).encode())
    body = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    first = await router.post("/v1/messages", data=json.dumps(body).encode())
    assert (await first.json())["content"][0]["text"] == text
    message["content"] = "short"
    upstream.answers(json.dumps(answer).encode())
    second = await router.post("/v1/messages", data=json.dumps(body).encode())
    assert (await second.json())["content"][0]["text"] == "short"
    assert len(upstream.connections) == 1


@pytest.mark.parametrize("status", [400, 404, 503])
async def test_a_large_error_is_translated_once(
    router: Client, upstream: Upstream, status: int
) -> None:
    """The rest of it, which comes after its translation was sent, goes nowhere."""
    said = b'{"error":{"message":"%b"}}' % (b"x" * 300_000)
    upstream.answers(said, status, chunk_size=20_000, pause=0.001)
    body = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    head = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    sent = json.dumps(body).encode()
    got = await router.raw(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
    start, _, rest = got.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(rest)["type"] == "error"
    assert len(upstream.requests) == 1


async def test_a_bomb_is_not_translated(
    router: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routeur.translated.WHOLE_AT_MOST", 1_000_000)
    bomb = gzip.compress(b" " * 50_000_000 + b"{}")
    upstream.answers(bomb, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    body = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    answer = await router.post("/v1/messages", data=json.dumps(body).encode())
    assert answer.status == 502
    assert "too large" in (await answer.json())["error"]["message"]


async def test_a_mistake_of_ours_is_no_silence(
    router: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop says RuntimeError for a client that is gone; a RecursionError is one, too."""

    def broken(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr("routeur.dialects.openai_chat.answers.read_response", broken)
    upstream.answers(b'{"id":"c","choices":[]}')
    body = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    answer = await router.post("/v1/messages", data=json.dumps(body).encode())
    assert answer.status == 502
