"""A client that goes away ends the provider's work too, whatever the call is waiting for.

The tests assert that the provider's connection closes; how fast is in the notes, not in tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from tests.conftest import Client, MakeRouter
from tests.fake import HOLD, PATIENCE, Upstream, head

STREAM = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(20))
STREAMED = {"model": "gpt-4o", "stream": True, "messages": []}
UNSTREAMED = {"model": "gpt-4o", "messages": []}


def post(body: dict[str, object], *headers: str, path: str = "/v1/chat/completions") -> bytes:
    data = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(data)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + data


async def trace_of_the_leaver(router: Client) -> dict[str, object]:
    """The trace of the one call there was, settled before the provider's connection closed."""
    (id,) = router.router.traces._by_id
    return await router.trace_of(id)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("asked", [STREAMED, UNSTREAMED], ids=["stream", "whole"])
@pytest.mark.parametrize("where", ["before the head", "after the head", "in mid-stream"])
async def test_provider_is_closed(router, upstream, where, asked, reset):
    if where == "before the head":
        upstream.answers(STREAM, before=[HOLD])
    else:
        upstream.answers(STREAM, hold=0 if where == "after the head" else len(STREAM) // 2)
    reader, writer = await router.connect()
    writer.write(post(asked))
    request = await upstream.requested()
    if where == "in mid-stream":
        await reader.readuntil(b'"3"')

    if reset:
        writer.transport.abort()
    else:
        writer.close()

    await request.connection.wait_closed()
    assert len(upstream.requests) == 1


async def test_while_the_stream_is_running(router, upstream):
    """Chunks come without a pause; the client leaves between two of them."""
    upstream.answers(STREAM * 2000, chunk_size=50, pause=0.001)
    reader, writer = await router.connect()
    writer.write(post(STREAMED))
    await reader.readuntil(b'"3"')

    writer.close()

    await upstream.request.connection.wait_closed()


async def test_while_uploading(router, upstream):
    """A large body is under way to the provider when its client leaves."""
    _, writer = await router.connect()
    part = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    part += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    writer.write(
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" + part + bytes(2_000_000)
    )
    request = await upstream.requested()
    assert not request.done.is_set()

    writer.close()

    await request.connection.wait_closed()
    assert not request.done.is_set()


async def test_while_uploading_json(router, upstream):
    """A body that never becomes whole reaches nobody, and is not waited for."""
    _, writer = await router.connect()
    writer.write(post(UNSTREAMED)[:-3])
    writer.close()
    assert (await router.get("/healthz")).status == 200
    assert upstream.requests == []


async def test_half_close_is_leaving(router, upstream):
    """FIN after the request: taken as gone, as nginx does."""
    upstream.answers(STREAM, before=[HOLD])
    _, writer = await router.connect()
    writer.write(post(STREAMED))
    request = await upstream.requested()

    writer.write_eof()

    await request.connection.wait_closed()
    writer.close()


async def test_many_queued_requests(router, upstream):
    """With a queue of requests the server does not read: the going must show all the same."""
    upstream.answers(STREAM, hold=100)
    reader, writer = await router.connect()
    writer.write(post(STREAMED) * 100)
    await reader.readuntil(b"HTTP/1.1 200")

    writer.transport.abort()

    await upstream.request.connection.wait_closed()
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("asked", [STREAMED, UNSTREAMED], ids=["stream", "whole"])
async def test_trace_says_499(router, upstream, asked):
    upstream.answers(STREAM, before=[HOLD])
    _, writer = await router.connect()
    writer.write(post(asked))
    request = await upstream.requested()

    writer.close()

    await request.connection.wait_closed()
    trace = await trace_of_the_leaver(router)
    assert trace["status_code"] == 499
    assert (trace["provider"], trace["model"]) == ("openai", "gpt-4o")


async def test_tokens_seen_so_far_are_in_the_trace(router, upstream):
    """Anthropic says at the start what went in: so much is known of a stream left half-way."""
    start = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1",'
        b'"type":"message","role":"assistant","model":"claude-x","content":[],'
        b'"usage":{"input_tokens":25,'
        b'"output_tokens":1}}}\n\n'
    )
    upstream.answers(start + b": more\n\n", hold=len(start))
    reader, writer = await router.connect()
    writer.write(post({"model": "claude-x", "stream": True}, path="/v1/messages"))
    await reader.readuntil(b"message_start")

    writer.close()

    await upstream.request.connection.wait_closed()
    trace = await trace_of_the_leaver(router)
    assert trace["status_code"] == 499
    assert trace["usage"]["input"] == 25


async def test_others_are_not_disturbed(router, upstream):
    """Of two streams one client leaves; the other gets every byte."""
    upstream.answers(STREAM, hold=100)
    stays = await router.post("/v1/chat/completions", json=STREAMED)
    reader, writer = await router.connect()
    writer.write(post(STREAMED))
    await reader.readuntil(b"data:")

    writer.transport.abort()
    await upstream.request.connection.wait_closed()
    upstream.release()

    assert await stays.read() == STREAM


async def test_finished_connection_is_not_aborted(router, upstream):
    """A client that leaves after its answer: the provider's connection serves the next one."""
    upstream.answers(STREAM)
    for _ in range(5):
        reader, writer = await router.connect()
        writer.write(post(STREAMED, "Connection: close"))
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()
    assert len(upstream.connections) == 1
    assert upstream.open


async def test_slow_client_makes_the_provider_wait(router: Client, upstream: Upstream):
    """64 MiB for a client that does not read: the provider is stopped, then all of it arrives."""
    size = 64 << 20
    upstream.sends(head(200, [("Content-Length", str(size))]), *[bytes(1 << 20)] * 64)
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=4096)
    writer.write(post(UNSTREAMED, "Connection: close"))
    request = await upstream.requested()
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.wait_for(request.connection.blocked.wait(), PATIENCE)

    got = 0
    while piece := await reader.read(1 << 20):
        got += len(piece)
    writer.close()
    assert got == size


async def test_stalled_client_is_cut_off(make_router: MakeRouter, upstream: Upstream):
    """A client that reads nothing for longer than the server waits loses its connection."""
    router = await make_router()
    router.router.server.stall_timeout = 0.2
    upstream.sends(head(200, [("Content-Length", str(64 << 20))]), *[bytes(1 << 20)] * 64)
    _, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=4096)
    writer.write(post(UNSTREAMED))
    request = await upstream.requested()

    await request.connection.wait_closed()

    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
