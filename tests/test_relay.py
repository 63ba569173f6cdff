"""What is kept beside the path of an answer, and its other end: chunks for a coroutine."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from routeur.errors import UpstreamError
from routeur.relay import KEEP_FIRST, KEEP_LAST, Chunks, Tap
from tests.fake import PATIENCE, split
from tests.test_upstream import CHUNKS, LENGTH, Line

JSON, EVENTS = b"application/json", b"text/event-stream; charset=utf-8"
TEXT = random.Random(7).randbytes(150_000).hex().encode()


def tapped(
    pieces: list[bytes],
    kind: bytes = EVENTS,
    coding: bytes = b"",
    content: re.Pattern[bytes] | None = None,
) -> Tap:
    """A tap that all the pieces have passed, gathered now and then."""
    tap = Tap()
    tap.pieces = []
    tap.expect(content, kind, coding)
    for number, piece in enumerate(pieces):
        tap.pieces.append(piece)
        if tap.watching:
            tap.look()
        if number % 7 == 0:
            tap.gather()
    if tap.pieces:
        tap.gather()
    return tap


@pytest.mark.parametrize("size", [1, 100, KEEP_FIRST, KEEP_FIRST + 1, KEEP_LAST, 50_000, 300_000])
@pytest.mark.parametrize("piece", [1000, 8192, 40_000, 300_000])
def test_first_and_last_are_kept(size: int, piece: int) -> None:
    data = TEXT[:size]
    tap = tapped(split(data, piece))
    assert tap.total == size
    assert data.startswith(tap.first)
    assert data.endswith(tap.last)
    assert len(tap.first) >= min(size, KEEP_FIRST)
    assert len(tap.last) >= min(size, KEEP_LAST)
    assert len(tap.first) + len(tap.last) <= KEEP_FIRST + KEEP_LAST


PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"gzip ": lambda data: gzip.compress(data[:9_999]) + gzip.compress(data[9_999:]),
    b"deflate ": lambda data: zlib.compress(data, wbits=-15),
}


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("piece", [1, 7, 1000, 300_000])
def test_packed_is_unpacked(coding: bytes, piece: int) -> None:
    data = TEXT[:70_000] + b"the end"
    tap = tapped(split(PACKERS[coding](data), piece), coding=coding.strip())
    assert data.startswith(tap.first)
    assert len(tap.first) >= KEEP_FIRST
    assert data.endswith(tap.last)
    assert len(tap.last) == KEEP_LAST


@pytest.mark.parametrize("more", range(40))
def test_the_very_end_of_packed_bytes(more: int) -> None:
    """Usage stands there; also where the unpacked size is just over a bound."""
    data = b"a" * (KEEP_LAST - 20 + more) + b"the end"
    tap = tapped([gzip.compress(data)], coding=b"gzip")
    assert tap.last.endswith(b"the end")


@pytest.mark.parametrize("at", [0, 5, 12, 2000, -9, -1])
def test_broken_gzip_harms_nobody(at: int) -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[at] ^= 0xFF
    tap = tapped(split(bytes(packed), 5000), coding=b"gzip")
    assert TEXT.startswith(tap.first[:100])
    assert len(tap.last) <= KEEP_LAST


@pytest.mark.full
def test_bomb_costs_no_memory() -> None:
    """A megabyte that would be a gigabyte."""
    bomb = gzip.compress(bytes(1 << 30), 1)
    tracemalloc.start()
    tap = tapped(split(bomb, 65_536), coding=b"gzip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (2 << 20) + len(bomb)
    assert len(tap.last) <= KEEP_LAST


@pytest.mark.parametrize(
    ("kind", "coding"),
    [(b"audio/mpeg", b""), (b"image/png", b""), (b"application/octet-stream", b""), (JSON, b"br")],
)
def test_what_holds_no_usage_is_not_kept(kind: bytes, coding: bytes) -> None:
    tap = tapped(split(TEXT, 1000), kind, coding)
    assert (tap.first, tap.last) == (b"", b"")


def test_first_token() -> None:
    """The moment at which content comes, not the first byte; looked for only until then."""
    content = re.compile(rb'"content":"')
    assert tapped([b": hello\n\n", b'data: {"role":1}\n\n'], content=content).watching
    tap = tapped([b": hello\n\n", b'data: {"content":"x"}\n\n'], content=content)
    assert not tap.watching
    assert tap.first_token > 0
    assert tapped([b"{"], JSON).first_token > 0


# ── chunks


def asked(line: Line) -> Chunks:
    chunks = Chunks(line.connection)
    line.connection.send(chunks, b"", b"", limits=line.pool.timeouts)
    return chunks


async def read(chunks: Chunks) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return b"".join([chunk async for chunk in chunks])


async def test_chunks() -> None:
    """Head first, then the body without its framing."""
    line = Line()
    chunks = asked(line)
    asyncio.get_running_loop().call_soon(line.come, CHUNKS + b"3\r\nabc\r\n", b"2\r\nde\r\n")
    head = await chunks.answer()
    assert head.status == 200
    asyncio.get_running_loop().call_soon(line.come, b"1\r\nf\r\n0\r\nX-T: 1\r\n\r\n")
    assert await read(chunks) == b"abcdef"
    assert line.idle


async def test_chunks_wait_for_a_slow_reader() -> None:
    """The provider is not read while much waits, and read again once it is taken."""
    line = Line()
    chunks = asked(line)
    line.come(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n")
    line.come(bytes(60_000))
    assert not line.wire.paused
    line.come(bytes(60_000))
    assert line.wire.paused
    got = 0
    async for chunk in chunks:
        assert not line.wire.paused
        got += len(chunk)
        if got < 300_000:
            line.come(bytes(60_000))
    assert got == 300_000


async def test_chunks_that_break_off() -> None:
    """What came before the break is given, then it is said."""
    line = Line()
    chunks = asked(line)
    line.come(LENGTH, b"123")
    line.lost()
    got = []
    with pytest.raises(UpstreamError, match="broke off"):
        async for chunk in chunks:
            got.append(chunk)
    assert got == [b"123"]


@pytest.mark.parametrize("late", [False, True])
async def test_no_head(late: bool) -> None:
    line = Line()
    chunks = asked(line)
    if late:
        asyncio.get_running_loop().call_soon(line.lost)
    else:
        line.lost()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(UpstreamError):
            await chunks.answer()


async def test_an_empty_answer() -> None:
    line = Line()
    chunks = asked(line)
    line.come(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await chunks.answer()).length == 0
    assert await read(chunks) == b""
