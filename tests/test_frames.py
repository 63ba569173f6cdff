"""WebSocket frames: cut however the bytes come."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    WHOLE,
    BrokenFrame,
    Cutter,
    Inflater,
    deflates,
    frame,
    goodbye,
    mask,
)

SIZES = (0, 1, 125, 126, 65_535, WHOLE, 70_000)


def cut(cutter, data, size):
    parts = [part for at in range(0, len(data), size) for part in cutter.feed(data[at : at + size])]
    assert cutter.broken is None
    return parts


def fragment(opcode, data, *, fin):
    """A part of a message, not masked."""
    whole = frame(opcode, data, masked=False)
    return bytes([whole[0] & 0x7F | fin << 7]) + whole[1:]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7, 100, 4096, 1 << 20])
def test_any_sizes_in_any_pieces(masked, size):
    sizes = [n for n in SIZES if size > 7 or n < 1000]
    stream = b"".join(frame(BINARY, b"x" * n, masked=masked) for n in sizes)
    stream += frame(PING, b"there", masked=masked)
    cutter = Cutter(masked=masked, most=1 << 20)

    parts = cut(cutter, stream, size)

    assert b"".join(part.raw for part in parts) == stream
    assert sum(part.ends for part in parts) == len(sizes) + 1
    assert sum(part.starts for part in parts) == len(sizes) + 1
    assert parts[-1].data == b"there"
    assert cutter.between
    if not masked:
        assert sum(len(part.data) for part in parts if not part.control) == sum(sizes)


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50), st.booleans())
def test_there_and_back(messages, size, masked):
    stream = b"".join(frame(TEXT, each, masked=masked) for each in messages)
    parts = cut(Cutter(masked=masked, most=1000), stream, size)
    assert len(parts) == len(messages)
    for part, message in zip(parts, messages, strict=True):
        key = part.raw[len(part.raw) - len(part.data) - 4 : len(part.raw) - len(part.data)]
        assert (mask(key, part.data) if masked else part.data) == message


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_rubbish(pieces):
    """It is cut, or it is broken; nothing is invented."""
    cutter = Cutter(masked=False, most=1000)
    out = b"".join(part.raw for piece in pieces for part in cutter.feed(piece))
    assert b"".join(pieces).startswith(out)


def test_messages_in_parts():
    cutter = Cutter(masked=False, most=100)
    first = fragment(TEXT, b"a", fin=False)
    assert not cutter.feed(first)[0].fin
    assert cutter.within
    assert cutter.feed(frame(PING, b"", masked=False))[0].control
    assert cutter.within
    assert cutter.feed(fragment(CONTINUATION, b"b", fin=True))[0].fin
    assert not cutter.within


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\x83\x00", 1002),
        (b"\xa1\x00", 1002),
        (b"\x81\x80\0\0\0\0", 1002),
        (b"\x09\x00", 1002),
        (b"\x89\x7e\x00\xff", 1002),
        (b"\x80\x00", 1002),
        (b"\x01\x00\x81\x00", 1002),
        (b"\x81\x65", 1009),
        (b"\x01\x40" + b"a" * 64 + b"\x80\x40", 1009),
        (b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 1009),
    ],
)
def test_what_is_none(stream, code):
    cutter = Cutter(masked=False, most=100)
    for at in range(len(stream)):
        cutter.feed(stream[at : at + 1])
    assert cutter.broken is not None
    assert cutter.broken.code == code
    assert cutter.feed(frame(TEXT, b"a", masked=False)) == []


def test_what_comes_before_the_mistake_counts():
    cutter = Cutter(masked=False, most=100)
    (part,) = cutter.feed(frame(TEXT, b"a", masked=False) + b"\x83\x00")
    assert part.data == b"a"
    assert cutter.broken is not None


def test_why_a_connection_is_closed():
    (part,) = Cutter(masked=False, most=1).feed(goodbye(1011, "ä" * 100, masked=False))
    assert (part.opcode, part.code, len(part.data)) == (CLOSE, 1011, 2 + 122)
    assert part.data[2:].decode() == "ä" * 61


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_compressed(kept):
    packer = zlib.compressobj(wbits=-15)
    inflater = Inflater(kept=kept)
    for text in (b"hello " * 50, b"hello " * 60, b"x" * 100_000):
        if not kept:
            packer = zlib.compressobj(wbits=-15)
        packed = (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        parts = [packed[:3], packed[3:]]
        told = [inflater.feed(each, last=each is parts[-1], most=1 << 20) for each in parts]
        assert b"".join(told) == text


def test_a_bomb():
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(bytes(50_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(Inflater(kept=True).feed(packed[:-4], last=True, most=1000)) <= 1000


def test_extensions():
    assert deflates("") is None
    assert deflates("permessage-deflate; server_max_window_bits=10") is not None
    for text in ("x-mux", "permessage-deflate, x-mux"):
        with pytest.raises(BrokenFrame):
            deflates(text)
    with pytest.raises(BrokenFrame):
        Inflater(kept=True).feed(b"\xff\xff\xff", last=True, most=10)
