"""A connection to a provider, its bytes cut anywhere: framing is counted, or the exchange ends."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from routeur.errors import UpstreamError, UpstreamTimeout
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head
from routeur.pool import Origin, Pool
from routeur.providers import Timeouts
from routeur.upstream import Connection, Stale

LIMITS = Timeouts(connect=1, first_byte=2, idle=1)
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\n"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = OK + b"Content-Type: a/b\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport without a network: what was written, and what was done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class Sink:
    """A receiver that keeps everything; `refuse` is what it says to the head."""

    def __init__(self, *, decoded: bool = False, refuse: UpstreamError | None = None) -> None:
        self.decoded = decoded
        self.refuse = refuse
        self.pieces: list[bytes] = []
        self.watching = False
        self.heads: list[Head] = []
        self.data = b""
        self.kept = 0
        self.total = 0
        self.gone = False
        self.end: str | UpstreamError | None = None

    def head(self, head: Head, whole: bool) -> bytes:
        self.heads.append(head)
        if self.refuse:
            raise self.refuse
        return b""

    def write(self, data: bytes) -> None:
        assert self.end is None
        self.data += data

    def look(self) -> None:
        pass

    def gather(self) -> None:
        self.kept += sum(map(len, self.pieces))
        self.pieces.clear()

    def takes(self, head: Head, answer: bytes) -> bool:
        return False

    def ending(self) -> None:
        pass

    def ended(self) -> None:
        assert self.end is None
        self.end = "ended"

    def failed(self, error: UpstreamError) -> None:
        assert self.end is None
        self.end = error

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


class Line:
    """A connection over a wire, in a pool of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pool = Pool(Origin.of("http://h"), timeouts=LIMITS, clock=lambda: self.now)
        self.wire = Wire()
        self.connection = Connection(self.pool)
        self.connection.connection_made(self.wire)

    def ask(self, sink: Sink, **options: Any) -> Sink:
        self.connection.send(sink, b"GET / HTTP/1.1\r\n\r\n", b"", limits=LIMITS, **options)
        return sink

    def come(self, *parts: bytes) -> None:
        """Bytes come, as long as the connection is read."""
        for part in parts:
            if part and not self.wire.closed:
                self.connection.data_received(part)

    def lost(self, error: Exception | None = None) -> None:
        self.connection.connection_lost(error)

    @property
    def idle(self) -> bool:
        return self.pool.idle == [self.connection]


@pytest.fixture
def line() -> Line:
    return Line()


def parts_of(data: bytes, *ends: int) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *ends, len(data)])]


# ── whole answers: head, body as it is framed, decoded body

ANSWERS = {
    "length": (LENGTH, b"12345", b"12345"),
    "no bytes": (OK + b"Content-Length: 0\r\n\r\n", b"", b""),
    "chunks": (CHUNKS, b"3\r\nabc\r\n5;x=y\r\n\r\n\r\nz\r\n0\r\n\r\n", b"abc\r\n\r\nz"),
    "one chunk": (CHUNKS, b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "no chunk": (CHUNKS, b"0\r\n\r\n", b""),
    "trailers": (CHUNKS, b"1\r\na\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n", b"a"),
    "ends inside": (CHUNKS, b"9\r\n0\r\n\r\n0\r\n\r\r\n0\r\n\r\n", b"0\r\n\r\n0\r\n\r"),
    "leading zeros": (CHUNKS, b"0002\r\nab\r\n000\r\n\r\n", b"ab"),
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\n", b"a", b"a"),
    "interim": (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" * 2 + LENGTH, b"12345", b"12345"),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKS, b"1\r\na\r\n0\r\n\r\n", b"a"),
    "error": (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n", b"{}", b"{}"),
}


def is_whole(line: Line, sink: Sink, framed: bytes, plain: bytes) -> None:
    assert sink.end == "ended"
    assert len(sink.heads) == 1
    assert sink.data == (plain if sink.decoded else framed)
    assert sink.body == plain
    assert line.idle
    assert not line.wire.closed
    assert not line.pool.active


@pytest.mark.parametrize("decoded", [False, True], ids=["spliced", "decoded"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_cut_at_every_byte(kind: str, decoded: bool) -> None:
    head, framed, plain = ANSWERS[kind]
    raw = head + framed
    for end in range(len(raw)):
        line = Line()
        sink = line.ask(Sink(decoded=decoded))
        line.come(*parts_of(raw, end))
        is_whole(line, sink, framed, plain)


@pytest.mark.parametrize("decoded", [False, True], ids=["spliced", "decoded"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_cut_twice(kind: str, decoded: bool) -> None:
    """The body in three parts, wherever they are cut."""
    head, framed, plain = ANSWERS[kind]
    for first in range(len(framed)):
        for second in range(first, len(framed)):
            line = Line()
            sink = line.ask(Sink(decoded=decoded))
            line.come(head, *parts_of(framed, first, second))
            is_whole(line, sink, framed, plain)


@pytest.mark.parametrize("kind", ANSWERS)
def test_byte_by_byte_and_again(kind: str, line: Line) -> None:
    """A connection serves any number of answers, and forgets each of them."""
    head, framed, plain = ANSWERS[kind]
    for _ in range(3):
        sink = line.ask(Sink())
        line.come(*[bytes([byte]) for byte in head + framed])
        is_whole(line, sink, framed, plain)
        assert line.pool.take() is line.connection


@pytest.mark.parametrize("decoded", [False, True], ids=["spliced", "decoded"])
@pytest.mark.parametrize("surplus", [b"x", b"\r", b"\n", b"\r\n", LENGTH + b"12345"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_surplus(kind: str, surplus: bytes, decoded: bool) -> None:
    """Bytes after the end reach nobody, and end the connection, wherever the cut is."""
    head, framed, plain = ANSWERS[kind]
    raw = head + framed + surplus
    for end in range(len(raw)):
        line = Line()
        sink = line.ask(Sink(decoded=decoded))
        line.come(*parts_of(raw, end))
        assert sink.end == "ended"
        assert sink.data == (plain if decoded else framed)
        assert sink.body == plain
        assert line.wire.aborted
        assert not line.pool.idle


@pytest.mark.parametrize("decoded", [False, True], ids=["spliced", "decoded"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_broken_off(kind: str, decoded: bool) -> None:
    """Wherever the connection ends early, the exchange fails, and says so once."""
    head, framed, _ = ANSWERS[kind]
    raw = head + framed
    for end in range(len(raw)):
        line = Line()
        sink = line.ask(Sink(decoded=decoded))
        line.come(raw[:end])
        line.lost()
        assert isinstance(sink.end, UpstreamError)
        assert not isinstance(sink.end, Stale)
        assert not line.pool.idle
        assert not line.pool.active


def test_until_close() -> None:
    raw = CLOSE + b"abc\r\n\r\n"
    for end in range(len(raw)):
        line = Line()
        sink = line.ask(Sink())
        line.come(*parts_of(raw, end))
        assert sink.end is None
        line.lost()
        assert (sink.end, sink.data, sink.body) == ("ended", b"abc\r\n\r\n", b"abc\r\n\r\n")
        assert sink.heads[0].length == UNTIL_CLOSE
        assert not line.pool.idle


def test_until_reset(line: Line) -> None:
    sink = line.ask(Sink())
    line.come(CLOSE + b"abc")
    line.lost(ConnectionResetError())
    assert isinstance(sink.end, UpstreamError)


@pytest.mark.parametrize(
    ("raw", "no_body", "length"),
    [
        (OK + b"Content-Length: 500\r\n\r\n", True, 0),
        (CHUNKS, True, 0),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False, 0),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", False, 0),
    ],
    ids=["head, length", "head, chunks", "204", "304"],
)
def test_answers_without_a_body(raw: bytes, no_body: bool, length: int) -> None:
    for end in range(len(raw)):
        line = Line()
        for _ in range(2):
            sink = line.ask(Sink(), no_body=no_body)
            line.come(*parts_of(raw, end))
            assert (sink.end, sink.data, sink.heads[0].length) == ("ended", b"", length)
            assert line.pool.take() is line.connection


def test_odd_but_legal_lengths(line: Line) -> None:
    """White space around the number (RFC 9110, 5.5); a length with a 204, which goes no further."""
    sink = line.ask(Sink())
    line.come(OK + b"Content-Length: 5 \t\r\n\r\n12345")
    assert (sink.end, sink.data) == ("ended", b"12345")
    none = line.ask(Sink())
    line.come(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n")
    assert (none.end, none.heads[0].passed) == ("ended", b"\r\nX-A: 1\r\n")


def test_the_length_stays(line: Line) -> None:
    """A provider that calls its Content-Length a matter between two hops: the client needs it."""
    sink = line.ask(Sink())
    line.come(OK + b"Connection: content-length, X-A\r\nX-A: 1\r\nContent-Length: 5\r\n\r\n12345")
    assert sink.heads[0].passed == b"\r\nContent-Length: 5\r\n"


def test_head_without_framing(line: Line) -> None:
    sink = line.ask(Sink(), no_body=True)
    line.come(CLOSE)
    assert (sink.end, sink.data) == ("ended", b"")


def test_head_with_a_body(line: Line) -> None:
    """A provider that sends one all the same: its bytes are nobody's."""
    sink = line.ask(Sink(), no_body=True)
    line.come(LENGTH + b"12345")
    assert (sink.end, sink.data) == ("ended", b"")
    assert line.wire.aborted


@pytest.mark.parametrize(
    "raw",
    [
        LENGTH.replace(b"\r\n", b"\n") + b"12345",
        OK + b"X-A: 1\nContent-Length: 5\r\n\r\n12345",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
        OK + b"Content-Length: 5, 5\r\n\r\n12345",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: \r\n\r\n",
        OK + b"Content-Length: \r\n\r\n",
        OK + b"Content-Length: 0x5\r\n\r\n12345",
        OK + b"Content-Length: 5 5\r\n\r\n12345",
        OK + b"Content-Length: " + b"9" * 20 + b"\r\n\r\n12345",
        OK + b"Content-Length : 5\r\n\r\n12345",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\n12345",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 5\r\n\r\n12345",
        b"HTTP/1.1 200 O\x1bK\r\nContent-Length: 5\r\n\r\n12345",
        b"HTTP/1.1 20 Odd\r\nContent-Length: 5\r\n\r\n12345",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"\r\n" + LENGTH + b"12345",
        b"\0" * 20,
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_no_answer(raw: bytes) -> None:
    """Refused before anything is written, wherever the cut is; the connection is gone."""
    for end in range(len(raw)):
        line = Line()
        sink = line.ask(Sink())
        line.come(*parts_of(raw, end))
        assert isinstance(sink.end, UpstreamError), (end, sink.end)
        assert (sink.data, sink.end.status) == (b"", 502)
        assert line.wire.aborted
        assert not line.pool.active


@pytest.mark.parametrize(
    "raw",
    [
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"2\r\nab0\r\n\r\n",
        b"f" * 17 + b"\r\n",
        b"1\r\na\r\n0\r\nno colon\r\n\r\n",
        b"1\r\na\r\n0\r\nX : y\r\n\r\n",
        b"1\r\na\r\n0\n\n",
        b"\r\n",
    ],
)
def test_broken_chunks(raw: bytes) -> None:
    """A break, not an end, in one block or byte by byte."""
    for parts in ([CHUNKS + raw], [CHUNKS, raw], [CHUNKS, *(bytes([byte]) for byte in raw)]):
        line = Line()
        sink = line.ask(Sink())
        line.come(*parts)
        assert isinstance(sink.end, UpstreamError), parts
        assert line.wire.aborted
        assert not line.pool.active


@pytest.mark.parametrize("size", [1 << 20, 1000, 65_537])
def test_huge_head(line: Line, size: int) -> None:
    """Its size is bounded, however it is cut."""
    sink = line.ask(Sink())
    raw = OK + b"X-Big: " + b"a" * (1 << 20)
    line.come(*[raw[start : start + size] for start in range(0, len(raw), size)])
    assert isinstance(sink.end, UpstreamError)
    assert "64 KiB" in sink.end.message
    assert line.wire.aborted


def test_interim_answers_are_not_the_answer(line: Line) -> None:
    sink = line.ask(Sink())
    line.come(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n")
    assert (sink.heads, sink.end) == ([], None)
    line.come(LENGTH, b"12345")
    assert (sink.heads[0].status, sink.end) == (200, "ended")


def test_what_a_head_tells(line: Line) -> None:
    sink = line.ask(Sink())
    line.come(
        b"HTTP/1.1 429 Slow  down\r\nX-Request-ID:  req_1 \r\ncontent-TYPE: a/b; c=d\r\nX-A:1\r\n"
        b"Content-Encoding: GZIP\r\nSet-Cookie: a=b\r\nX-Mine: 1\r\nConnection: x-mine, close\r\n"
        b"Keep-Alive: 5\r\nTransfer-Encoding: Chunked\r\nX-A: 2\r\n\r\n"
    )
    (head,) = sink.heads
    assert (head.status, head.line) == (429, b"HTTP/1.1 429 Slow  down")
    assert head.passed.split(b"\r\n")[1:5] == [
        b"content-TYPE: a/b; c=d",
        b"X-A:1",
        b"Content-Encoding: GZIP",
        b"X-A: 2",
    ]
    for dropped in (b"Cookie", b"Mine", b"Keep-Alive", b"Connection", b"Request-ID"):
        assert dropped not in head.passed
    assert (head.length, head.request_id.strip()) == (CHUNKED, b"req_1")
    assert (head.content_type, head.content_encoding) == (b"a/b; c=d", b"gzip")


# ── connections


@pytest.mark.parametrize("end", ["Connection: close", "Connection: x, Close"])
@pytest.mark.parametrize("body", ["length", "chunks"])
def test_close_is_closed(line: Line, body: str, end: str) -> None:
    head, framed, _ = ANSWERS[body]
    sink = line.ask(Sink())
    line.come(head.replace(b"OK\r\n", b"OK\r\n" + end.encode() + b"\r\n") + framed)
    assert (sink.end, sink.data) == ("ended", framed)
    assert line.wire.closed
    assert not line.pool.idle


@pytest.mark.parametrize(("keep", "idle"), [(b"", False), (b"Connection: keep-alive\r\n", True)])
def test_http_10(line: Line, keep: bytes, idle: bool) -> None:
    sink = line.ask(Sink())
    line.come(b"HTTP/1.0 200 OK\r\n" + keep + b"Content-Length: 1\r\n\r\na")
    assert (sink.end, sink.data, line.idle) == ("ended", b"a", idle)


def test_bytes_on_an_idle_connection(line: Line) -> None:
    sink = line.ask(Sink())
    line.come(LENGTH, b"12345")
    assert line.idle
    line.come(LENGTH + b"54321")
    assert line.wire.aborted
    assert line.pool.take() is None
    assert sink.data == b"12345"


def test_stale(line: Line) -> None:
    """Only a reused connection, and only before any byte of its answer."""
    line.ask(Sink())
    line.come(LENGTH, b"12345")
    reused = line.ask(Sink())
    line.lost()
    assert isinstance(reused.end, Stale)


def test_not_stale(line: Line) -> None:
    line.ask(Sink())
    line.come(LENGTH, b"12345")
    begun = line.ask(Sink())
    line.come(b"H")
    line.lost()
    assert isinstance(begun.end, UpstreamError)
    assert not isinstance(begun.end, Stale)


def test_a_body_under_way_is_not_stale(line: Line) -> None:
    """It cannot be sent a second time."""
    line.ask(Sink())
    line.come(LENGTH, b"12345")
    uploading = line.ask(Sink(), more=True)
    line.lost()
    assert not isinstance(uploading.end, Stale)


def test_early_answer_ends_the_connection(line: Line) -> None:
    """Part of the request's body is still to come: nobody else may use it."""
    sink = line.ask(Sink(), more=True)
    line.come(LENGTH + b"12345")
    assert (sink.end, sink.data) == ("ended", b"12345")
    assert line.wire.aborted
    assert not line.pool.idle


def test_refused_head(line: Line) -> None:
    """A receiver that does not want the answer gets none of it."""
    refusal = UpstreamError("no")
    sink = line.ask(Sink(refuse=refusal))
    line.come(LENGTH + b"12345")
    assert (sink.end, sink.data) == (refusal, b"")
    assert line.wire.aborted


def test_only_the_owner_may_abort(line: Line) -> None:
    """The connection may be another's by the time somebody gives up."""
    first = line.ask(Sink())
    line.come(LENGTH, b"12345")
    second = line.ask(Sink())
    line.connection.abort(first)
    assert not line.wire.closed
    line.connection.abort(second)
    assert line.wire.aborted
    assert second.end is None
    line.lost()
    assert second.end is None


def test_nothing_comes_after_abort(line: Line) -> None:
    sink = line.ask(Sink())
    line.come(CHUNKS + b"1\r\na\r\n")
    line.connection.abort(sink)
    line.connection.data_received(b"0\r\n\r\n")
    assert (sink.end, sink.data) == (None, b"1\r\na\r\n")


def test_paused(line: Line) -> None:
    """A slow receiver stops the provider; the end of its answer sets the next one free."""
    sink = line.ask(Sink())
    line.come(LENGTH + b"12")
    line.connection.pause_reading()
    line.connection.pause_reading()
    assert line.wire.paused
    line.connection.resume_reading()
    assert not line.wire.paused
    line.connection.pause_reading()
    line.connection.data_received(b"345")  # it had been read already
    assert (sink.end, line.wire.paused, line.idle) == ("ended", False, True)


def test_large_answers_are_gathered(line: Line) -> None:
    """What is kept beside the path does not grow with the answer."""
    sink = line.ask(Sink())
    line.come(OK + b"Content-Length: 10000000\r\n\r\n")
    most = 0
    for _ in range(1000):
        line.come(bytes(10_000))
        most = max(most, len(sink.body))
    assert sink.end == "ended"
    assert most < 128 * 1024
    assert sink.kept + len(sink.body) == 10_000_000


# ── time


def test_first_byte_in_time(line: Line) -> None:
    sink = line.ask(Sink())
    line.pool.sweep(1.9)
    assert sink.end is None
    line.pool.sweep(0.2)
    assert isinstance(sink.end, UpstreamTimeout)
    assert line.wire.aborted


@pytest.mark.parametrize(
    "drip", [b"HTTP/1.1 103 Early Hints\r\n\r\n", OK, b"X-A: 1\r\n"], ids=["1xx", "line", "header"]
)
def test_a_dripped_head_is_no_answer(line: Line, drip: bytes) -> None:
    """What comes before the end of the head does not stop the clock."""
    sink = line.ask(Sink())
    line.come(OK if drip.startswith(b"X") else b"")
    line.pool.sweep(1.5)
    line.come(drip)
    line.pool.sweep(0.6)
    assert isinstance(sink.end, UpstreamTimeout)


def test_interim_answers_without_end(line: Line) -> None:
    sink = line.ask(Sink())
    line.come(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 21)
    assert isinstance(sink.end, UpstreamError)
    assert line.wire.aborted


def test_a_block_is_timed_once(line: Line) -> None:
    """However long a stream has been silent: the next block is one sample."""
    told: list[float] = []
    sink = line.ask(Sink())
    line.come(CHUNKS)
    for _ in range(2_000):
        line.pool.sample(told.append)
    line.come(b"1\r\na\r\n", b"1\r\nb\r\n")
    assert (sink.data, len(told)) == (b"1\r\na\r\n1\r\nb\r\n", 1)


def test_silence_in_the_body(line: Line) -> None:
    """Every byte starts the time anew; a receiver that is slow is not the provider's silence."""
    sink = line.ask(Sink())
    line.come(CHUNKS)
    for _ in range(5):
        line.pool.sweep(0.9)
        line.come(b"1\r\na\r\n")
    line.connection.pause_reading()
    line.pool.sweep(50)
    line.connection.resume_reading()
    line.pool.sweep(0.9)
    assert sink.end is None
    line.pool.sweep(0.2)
    assert isinstance(sink.end, UpstreamTimeout)


def test_idle_connections_are_closed(line: Line) -> None:
    line.ask(Sink())
    line.come(LENGTH + b"12345")
    line.pool.sweep(line.pool.idle_limit - 1)
    assert line.idle
    line.pool.sweep(2)
    assert line.wire.closed
    assert line.pool.take() is None


def test_old_connections_are_not_kept(line: Line) -> None:
    line.ask(Sink())
    line.now = 601.0
    line.come(LENGTH + b"12345")
    assert line.wire.closed
    assert not line.pool.idle


# ── the request's body


async def test_slow_provider_makes_the_upload_wait(line: Line) -> None:
    line.ask(Sink(), more=True)
    line.connection.pause_writing()
    upload = asyncio.create_task(line.connection.send_more(b"a"))
    await asyncio.sleep(0)
    assert not upload.done()
    line.connection.resume_writing()
    await upload
    assert line.wire.written.endswith(b"a")


async def test_upload_to_nobody(line: Line) -> None:
    """A provider that goes while it is being sent to: no wait without end."""
    sink = line.ask(Sink(), more=True)
    line.connection.pause_writing()
    upload = asyncio.create_task(line.connection.send_more(b"a"))
    await asyncio.sleep(0)
    line.lost()
    await upload
    with pytest.raises(UpstreamError):
        await line.connection.send_more(b"b")
    assert isinstance(sink.end, UpstreamError)
