"""Odd partners on both sides at once: slow, early, late, old, many; nothing is lost or kept."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import re
import socket
import tracemalloc

import pytest

from tests.conftest import Client
from tests.fake import (
    CLOSE,
    DEAF,
    EARLY,
    EVENTS,
    HOLD,
    PATIENCE,
    RESET,
    Do,
    Upstream,
    chunked,
    head,
    split,
)

CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
STREAM = b"".join(b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(50))
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)


def post(*headers: str, version: str = "1.1", body: bytes = b"") -> bytes:
    body = body or json.dumps(BODY).encode()
    lines = [f"POST {CHAT} HTTP/{version}", "Host: localhost", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Content-Type: application/json", *headers, "", ""]).encode() + body


def upload(size: int) -> bytes:
    return (
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n%b" % (size, FORM)
    )


def held(router: Client) -> int:
    """Bytes that wait in routeur's transports to its clients."""
    return sum(
        connection.transport.get_write_buffer_size()
        for connection in router.router.server.connections
        if connection.transport is not None
    )


async def test_slow_reader_costs_little(router: Client, upstream: Upstream) -> None:
    """64 MiB of which the client takes nothing for a while: they wait at the provider."""
    size, block = 64 << 20, bytes(1 << 20)
    upstream.sends(head(200, [("Content-Length", str(size))]), *[block] * 64)
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port, limit=4096)
    tracemalloc.start()
    writer.write(post("Connection: close"))
    request = await upstream.requested()
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.wait_for(request.connection.blocked.wait(), PATIENCE)
    ours = request.connection.transport.get_write_buffer_size()
    assert held(router) <= 384 * 1024
    got = most = 0
    while piece := await reader.read(1 << 16):
        got += len(piece)
        most = max(most, held(router))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    writer.close()
    assert got == size
    assert most <= 384 * 1024
    assert peak < ours + (6 << 20)


async def test_byte_by_byte(router: Client, upstream: Upstream) -> None:
    raw = chunked(STREAM[:500], size=7)
    upstream.sends(*split(raw, 1))
    answer = await router.post(CHAT, json=BODY)
    assert await answer.read() == STREAM[:500]


async def test_gzip_events(router: Client, upstream: Upstream) -> None:
    """Packed events pass as they are, and their usage is read."""
    end = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    packed = gzip.compress(STREAM + end + b"data: [DONE]\n\n")
    headers = [("Content-Type", "text/event-stream"), ("Content-Encoding", "gzip")]
    upstream.answers(packed, headers=headers, framing="chunked", chunk_size=50)
    answer = await router.post(CHAT, json=BODY, headers={"Accept-Encoding": "gzip"})
    assert await answer.read() == packed
    trace = await router.trace(answer)
    assert (trace["usage"]["input"], trace["usage"]["output"]) == (3, 4)
    assert not trace["estimated"]


@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_pipelined_streams(router: Client, upstream: Upstream, framing: str) -> None:
    """Spliced answers to requests that came at once: in order, and nothing in between."""
    count = 20
    for number in range(count):
        upstream.answers(STREAM + b"data: %d\n\n" % number, framing=framing, chunk_size=100)
    asked = post() * (count - 1) + post("Connection: close")
    got = await router.raw(asked)
    assert got.count(b"HTTP/1.1 200") == count
    assert [int(x) for x in re.findall(rb"data: (\d+)\n", got)] == list(range(count))
    assert upstream.anomalies == []


async def test_old_client_of_a_chunked_stream(router: Client, upstream: Upstream) -> None:
    """HTTP/1.0 knows no chunks: bytes until the end."""
    upstream.answers(STREAM, chunk_size=33)
    got = await router.raw(post(version="1.0"))
    start, _, body = got.partition(b"\r\n\r\n")
    assert body == STREAM
    assert b"chunked" not in start


@pytest.mark.parametrize(
    ("version", "framing", "end"),
    [("1.0", "chunked", CLOSE), ("1.0", "chunked", RESET), ("1.1", "close", RESET)],
)
async def test_a_break_where_the_end_is_all_that_is_said(
    router: Client, upstream: Upstream, version: str, framing: str, end: Do
) -> None:
    """An answer without length or chunks that breaks off: the client must not take it for whole."""
    sent = STREAM[:-9]
    until_close = head(200, [("Content-Type", EVENTS), ("Connection", "close")]) + sent
    begun = chunked(sent, end=b"") if framing == "chunked" else until_close
    upstream.sends(begun, 0.05, end)
    reader, writer = await router.connect()
    writer.write(post(version=version))
    assert (await reader.readuntil(sent)).endswith(sent)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), PATIENCE)


async def test_early_answer_and_close(router: Client, upstream: Upstream) -> None:
    """The provider has heard enough: the client gets the answer, and its upload ends."""
    upstream.sends(EARLY, b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\n{}", CLOSE)
    reader, writer = await router.connect()
    writer.write(upload(50_000_000) + bytes(100_000))
    async with asyncio.timeout(PATIENCE):
        got = await reader.readuntil(b"{}")
    assert got.startswith(b"HTTP/1.1 413")
    assert b"Connection: close" in got
    writer.transport.abort()


@pytest.mark.parametrize("how", ["abort", "half-close"])
async def test_leaving_an_upload(
    router: Client, upstream: Upstream, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is left waiting, and no task ends with a failure that nobody has seen."""
    caplog.set_level(logging.WARNING)
    upstream.answers(b"{}")
    _, writer = await router.connect()
    writer.write(upload(50_000_000) + bytes(2_000_000))
    request = await upstream.requested()
    if how == "abort":
        writer.transport.abort()
    else:
        writer.write_eof()
    await request.connection.wait_closed()
    await router.get("/healthz")
    writer.close()
    gc.collect()
    assert caplog.records == []


async def test_leaving_while_the_provider_is_deaf(router: Client, upstream: Upstream) -> None:
    """It takes nothing more of the upload; the client's going is seen all the same."""
    upstream.sends(EARLY, DEAF, HOLD)
    reader, writer = await router.connect()
    writer.write(upload(50_000_000))
    request = await upstream.requested()
    with_body = asyncio.create_task(flood(writer))
    await asyncio.sleep(0.2)
    with_body.cancel()
    writer.transport.abort()
    request.connection.transport.resume_reading()
    await request.connection.wait_closed()
    del reader


async def flood(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(bytes(1 << 18))
        await writer.drain()


async def test_a_thousand_idle_connections(router: Client, upstream: Upstream) -> None:
    """They cost nothing but memory, and little of it; all still serve."""
    upstream.answers(b"{}")
    links = [await router.connect() for _ in range(1000)]
    assert (await router.get("/healthz")).status == 200
    for reader, writer in links[::100]:
        writer.write(post())
        assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200")
    assert len(router.router.server.connections) >= 1000
    for _, writer in links:
        writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while len(router.router.server.connections) > 10:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_half_closed_before_the_request(router: Client, upstream: Upstream) -> None:
    """A connection that says nothing and half-closes is over."""
    reader, writer = await router.connect()
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    writer.close()
    assert upstream.requests == []


async def test_reset_in_the_middle_of_a_pipeline(router: Client, upstream: Upstream) -> None:
    """Requests that nobody waits for any more reach nobody."""
    upstream.answers(STREAM, hold=100)
    reader, writer = await router.connect()
    writer.write(post() * 5)
    await reader.readuntil(b"data:")
    raw: socket.socket = writer.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
    await upstream.request.connection.wait_closed()
    upstream.release()
    await router.get("/healthz")
    assert len(upstream.requests) == 1
