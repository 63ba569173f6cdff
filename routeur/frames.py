"""WebSocket frames (RFC 6455, 5): a stream of bytes cut into them, and new ones."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KNOWN = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
CONTROL = 0x8  # this bit of an opcode: no message, and at most 125 bytes
NORMAL, GOING_AWAY, PROTOCOL_ERROR, POLICY = 1000, 1001, 1002, 1008
TOO_BIG, INTERNAL_ERROR, RESTART = 1009, 1011, 1012
MOST_OF_CONTROL = 125  # bytes
WHOLE = 64 * 1024  # bytes of a frame that is held until it is whole; larger ones pass in parts

DEFLATE = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"  # what a sender leaves out at a compressed message's end (RFC 7692)
_STEP = 64 * 1024  # bytes that are inflated at once


class BrokenFrame(Exception):
    """What came is no frame; `code` is what a connection is closed with for it."""

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Part:
    """A frame, or a part of a large one: `raw` as it came, `data` is what it carries, unmasked.

    `starts` and `ends` say which part of its frame it is; `fin` and `packed` are its frame's bits.
    """

    raw: bytes
    data: bytes
    opcode: int
    fin: bool
    packed: bool
    starts: bool = True
    ends: bool = True

    @property
    def control(self) -> bool:
        return self.opcode >= CONTROL

    @property
    def code(self) -> int:
        """Of a close frame: why; 1005 where it does not say."""
        return int.from_bytes(self.data[:2]) if len(self.data) >= 2 else 1005


class Cutter:
    """Cuts one side's bytes into frames; `masked` is how that side sends them.

    A message has at most `most` bytes. Of masked frames only those of control are unmasked. What is
    no frame is `broken`, and what comes after it is nothing.
    """

    __slots__ = ("_head", "_left", "_masked", "_most", "_rest", "_size", "broken", "within")

    def __init__(self, *, masked: bool, most: int) -> None:
        self._masked = masked
        self._most = most
        self._rest = b""
        self._left = 0  # bytes of a large frame that are still to come
        self._head = (0, False, False)  # its opcode and bits
        self._size = 0  # of the message so far
        self.within = False  # a message has begun, and has not ended
        self.broken: BrokenFrame | None = None

    @property
    def between(self) -> bool:
        """Whether all that was given out ends where a frame does."""
        return not self._left

    def feed(self, data: bytes) -> list[Part]:
        """The frames that these bytes complete, and parts of large ones."""
        parts: list[Part] = []
        if self.broken is not None:
            return parts
        if self._left:
            took = data[: self._left]
            data = data[len(took) :]
            self._left -= len(took)
            parts.append(Part(took, took, *self._head, starts=False, ends=not self._left))
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0
        try:
            while (part := self._next(data, at)) is not None:
                parts.append(part)
                at += len(part.raw)
        except BrokenFrame as error:
            self.broken = error
        if not self._left:
            self._rest = data[at:] if at else data
        return parts

    def _next(self, data: bytes, at: int) -> Part | None:
        """The frame at a place, or what there is of a large one; None: not enough has come."""
        have = len(data) - at
        if have < 2:
            return None
        first, second = data[at], data[at + 1]
        opcode, fin, packed = first & 0x0F, bool(first & 0x80), bool(first & 0x40)
        self._check(opcode, fin, first, second)
        size, start = second & 0x7F, 2
        if size > MOST_OF_CONTROL:
            start = 4 if size == 126 else 10
            if have < start:
                return None
            size = int.from_bytes(data[at + 2 : at + start])
        self._count(opcode, fin, size)
        start += 4 if self._masked else 0
        if have < start + size and (have < start or start + size <= WHOLE):
            self._uncount(opcode, size)
            return None
        raw = data[at : at + start + size]
        self._left = start + size - len(raw)
        self._head = opcode, fin, packed
        if opcode < CONTROL:
            self.within = not fin
            self._size = 0 if fin else self._size
        carried = raw[start:]
        if self._masked and opcode >= CONTROL:
            carried = mask(raw[start - 4 : start], carried)
        return Part(raw, carried, opcode, fin, packed, ends=not self._left)

    def _check(self, opcode: int, fin: bool, first: int, second: int) -> None:
        if opcode not in KNOWN or first & 0x30:
            raise BrokenFrame("a frame of an unknown kind")
        if bool(second & 0x80) is not self._masked:
            raise BrokenFrame("a frame that is not masked" if self._masked else "a masked frame")
        if opcode >= CONTROL:
            if not fin or second & 0x7F > MOST_OF_CONTROL or first & 0x40:
                raise BrokenFrame("a control frame that is too large, or in parts")
        elif (opcode == CONTINUATION) is not self.within:
            raise BrokenFrame("a message within another, or the rest of none")

    def _count(self, opcode: int, fin: bool, size: int) -> None:
        if opcode < CONTROL:
            self._size += size
            if self._size > self._most:
                raise BrokenFrame(f"a message of more than {self._most} bytes", TOO_BIG)

    def _uncount(self, opcode: int, size: int) -> None:
        if opcode < CONTROL:
            self._size -= size


class Inflater:
    """Inflates the messages of one side (RFC 7692, 7.2.2). `kept`: each refers to those before."""

    def __init__(self, *, kept: bool) -> None:
        self._kept = kept
        self._stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def feed(self, data: bytes, *, last: bool, most: int) -> bytes:
        """What a part of a message says, up to `most` bytes of it; raises BrokenFrame."""
        pieces, size = [], 0
        data += _TAIL if last else b""
        try:
            while data:
                piece = self._stream.decompress(data, _STEP)
                data = self._stream.unconsumed_tail
                size += len(piece)
                if size <= most:
                    pieces.append(piece)
        except zlib.error:
            raise BrokenFrame("a message that cannot be inflated") from None
        if last and not self._kept:
            self._stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        return b"".join(pieces)


def frame(opcode: int, data: bytes, *, masked: bool) -> bytes:
    """A frame that is a whole message, or control."""
    size, bit = len(data), 0x80 if masked else 0
    if size <= MOST_OF_CONTROL:
        head = bytes((0x80 | opcode, bit | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2)
    else:
        head = bytes((0x80 | opcode, bit | 127)) + size.to_bytes(8)
    if not masked:
        return head + data
    key = os.urandom(4)
    return head + key + mask(key, data)


def goodbye(code: int, why: str, *, masked: bool) -> bytes:
    """A close frame."""
    told = why.encode()[: MOST_OF_CONTROL - 2].decode(errors="ignore").encode()
    return frame(CLOSE, code.to_bytes(2) + told, masked=masked)


def mask(key: bytes, data: bytes) -> bytes:
    """Masked, or unmasked: the same (RFC 6455, 5.3)."""
    size = len(data)
    keys = key * (size // 4 + 1)
    return (int.from_bytes(data) ^ int.from_bytes(keys[:size])).to_bytes(size)


def deflates(extensions: str) -> Inflater | None:
    """How to read what a server sends that has agreed to this; None: as it is.

    Raises BrokenFrame for what routeur does not know.
    """
    if not extensions.strip():
        return None
    name, *params = (part.strip().lower() for part in extensions.split(";"))
    if name != DEFLATE or "," in extensions:
        raise BrokenFrame("the provider answered with an extension that was not offered")
    return Inflater(kept="server_no_context_takeover" not in params)
