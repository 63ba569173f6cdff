"""Amazon's event stream: bytes to messages, and a message to its bytes.

A message is its total length and that of its headers (four bytes each), a CRC of these eight
bytes, the headers, the payload, and a CRC of all before (`vnd.amazon.event-stream`, smithy.io).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID
from zlib import crc32

MAX_HEADERS = 128 * 1024  # bytes; both limits are the protocol's
MAX_PAYLOAD = 24 * 1024 * 1024

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_FRAMING = _PRELUDE.size + _CRC.size
_REPEATED = 256  # bytes: headers up to here are the same in most messages of a stream


class Byte(int):
    """A header's number of one byte; a plain int has four."""


class Short(int):
    """A header's number of two bytes."""


class Long(int):
    """A header's number of eight bytes."""


class Timestamp(int):
    """Milliseconds since 1970."""


Value = bool | int | bytes | str | UUID
Headers = Mapping[str, Value]

# How a header's value is written: its type's number, then the value.
_TRUE, _FALSE, _BYTES, _TEXT, _UUID = 0, 1, 6, 7, 9
_NUMBERS: dict[int, tuple[type[int], struct.Struct]] = {
    2: (Byte, struct.Struct(">b")),
    3: (Short, struct.Struct(">h")),
    4: (int, struct.Struct(">i")),
    5: (Long, struct.Struct(">q")),
    8: (Timestamp, struct.Struct(">q")),
}
_KINDS = {kind: (number, form) for number, (kind, form) in _NUMBERS.items()}


class EventStreamError(ValueError):
    """The bytes are no event stream, or were damaged on the way."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Headers of what a service sends: `:message-type`, `:event-type`, …"""

    headers: Headers
    payload: bytes

    def encode(self) -> bytes:
        """The message's bytes; raises struct.error for a number that its type does not hold."""
        headers = b"".join(_write(name, value) for name, value in self.headers.items())
        size = _FRAMING + len(headers) + len(self.payload)
        start = struct.pack(">II", size, len(headers))
        whole = b"".join((start, _CRC.pack(crc32(start)), headers, self.payload))
        return whole + _CRC.pack(crc32(whole))


class Messages:
    """Cuts a stream into messages, whatever its chunks."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """What has come of a message that is not whole."""
        return bytes(self._buffer)

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that this chunk completes.

        Raises EventStreamError where the next one is damaged; those before it come first, and it
        stays in `rest`.
        """
        buffer = self._buffer
        buffer += chunk
        found: list[Message] = []
        start = 0
        try:
            while len(buffer) - start >= _PRELUDE.size:
                size, length = _prelude(buffer, start)
                end = start + size
                if len(buffer) < end:
                    break
                found.append(_message(bytes(buffer[start:end]), length))
                start = end
        except EventStreamError:
            if not found:
                raise
        del buffer[:start]
        return found


class Frames:
    """Cuts a stream into the bytes of its messages, whatever its chunks.

    Bytes that are no message come out as they are: who reads them says that they are damaged.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def rest(self) -> bytes:
        """What has come of a message that is not whole."""
        return bytes(self._buffer)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The messages that this chunk completes."""
        buffer = self._buffer
        buffer += chunk
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= _PRELUDE.size:
            try:
                size, _ = _prelude(buffer, start)
            except EventStreamError:
                size = len(buffer) - start
            if len(buffer) - start < size:
                break
            frames.append(bytes(buffer[start : start + size]))
            start += size
        del buffer[:start]
        return frames


def _prelude(buffer: bytearray, start: int) -> tuple[int, int]:
    """The sizes of a message and of its headers, checked before the rest is waited for."""
    size, length, crc = _PRELUDE.unpack_from(buffer, start)
    if crc32(buffer[start : start + 8]) != crc:
        raise EventStreamError("expected the prelude of a message; its checksum is wrong")
    if length > MAX_HEADERS:
        raise EventStreamError(f"headers of {length} bytes; at most {MAX_HEADERS} are allowed")
    payload = size - length - _FRAMING
    if not 0 <= payload <= MAX_PAYLOAD:
        raise EventStreamError(f"a payload of {payload} bytes; expected 0 to {MAX_PAYLOAD}")
    return size, length


def _message(whole: bytes, length: int) -> Message:
    body = memoryview(whole)[:-4]
    if crc32(body) != _CRC.unpack_from(whole, len(body))[0]:
        raise EventStreamError("a message's checksum is wrong")
    border = _PRELUDE.size + length
    read = _repeated if length <= _REPEATED else _headers
    return Message(read(whole[_PRELUDE.size : border]), whole[border:-4])


def _headers(data: bytes) -> Headers:
    found: dict[str, Value] = {}
    at = 0
    try:
        while at < len(data):
            end = at + 1 + data[at]
            name = data[at + 1 : end].decode()
            value, at = _read(data, end)
            if name in found:
                raise EventStreamError(f"header {name!r} stands twice")
            found[name] = value
    except (IndexError, struct.error, UnicodeDecodeError):
        raise EventStreamError("a message's headers are broken") from None
    return found


_repeated = lru_cache(maxsize=256)(_headers)


def _read(data: bytes, at: int) -> tuple[Value, int]:
    """The value whose type stands at this place, and where the next header begins."""
    kind = data[at]
    at += 1
    if kind in (_BYTES, _TEXT):
        start = at + _LENGTH.size
        end = start + _LENGTH.unpack_from(data, at)[0]
        value = _part(data, start, end)
        return (value if kind == _BYTES else value.decode()), end
    if kind in _NUMBERS:
        number, form = _NUMBERS[kind]
        return number(form.unpack_from(data, at)[0]), at + form.size
    if kind == _UUID:
        return UUID(bytes=_part(data, at, at + 16)), at + 16
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    raise EventStreamError(f"a header's type is {kind}; expected 0 to 9")


def _part(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError
    return data[start:end]


def _write(name: str, value: Value) -> bytes:
    label = name.encode()
    start = bytes((len(label),)) + label
    if isinstance(value, bool):
        return start + bytes((_TRUE if value else _FALSE,))
    if isinstance(value, int):
        kind, form = _KINDS[type(value)]
        return start + bytes((kind,)) + form.pack(value)
    if isinstance(value, UUID):
        return start + bytes((_UUID,)) + value.bytes
    kind, data = (_TEXT, value.encode()) if isinstance(value, str) else (_BYTES, value)
    return start + bytes((kind,)) + _LENGTH.pack(len(data)) + data
