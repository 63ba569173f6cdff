"""Amazon's event stream: what botocore reads from the same bytes, however they are cut."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from routeur.dialects.eventstream import (
    MAX_HEADERS,
    MAX_PAYLOAD,
    Byte,
    EventStreamError,
    Long,
    Message,
    Messages,
    Short,
    Timestamp,
    Value,
)
from tests.fake import split
from tests.recording import HERE

ALL_TYPES: dict[str, Value] = {
    "true": True,
    "false": False,
    "byte": Byte(-128),
    "short": Short(-32768),
    "integer": -(2**31),
    "long": Long(2**63 - 1),
    "bytes": b"\x00\xff",
    "text": "grüß",
    "timestamp": Timestamp(1_700_000_000_123),
    "uuid": UUID("01234567-89ab-cdef-0123-456789abcdef"),
}


def streams() -> Iterator[Any]:
    """Recorded answers: their bytes, and what a reference reads in them."""
    for file in sorted((HERE / "bedrock").glob("*.json")):
        for number, each in enumerate(json.loads(file.read_text())["exchanges"]):
            if "base64" in each["response"]:
                data = base64.b64decode(each["response"]["base64"])
                events = each["response"]["decoded_events"]
                yield pytest.param(data, events, id=f"{file.stem}.{number}")


def read(data: bytes, size: int = 1 << 30) -> list[Message]:
    messages = Messages()
    found = [message for chunk in split(data, size) for message in messages.feed(chunk)]
    assert messages.rest == b""
    return found


def theirs(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """The same by botocore."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(event.headers, event.payload) for event in buffer]


@pytest.mark.parametrize(("data", "events"), [*streams()])
def test_recorded(data: bytes, events: list[dict[str, Any]]) -> None:
    found = read(data)

    assert [(m.headers, json.loads(m.payload)) for m in found] == [
        (event["headers"], event["payload"]) for event in events
    ]
    assert [(m.headers, m.payload) for m in found] == theirs(data)
    assert b"".join(message.encode() for message in found) == data


@pytest.mark.parametrize(("data", "events"), [*streams()])
def test_any_chunking(data: bytes, events: list[dict[str, Any]]) -> None:
    whole = read(data)
    assert len(whole) == len(events)
    for size in (1, 2, 3, 7, 64, 1000):
        assert read(data, size) == whole


def test_every_type_of_header() -> None:
    data = Message(ALL_TYPES, b"payload").encode()
    (found,) = read(data)
    ((botocores, _),) = theirs(data)

    assert found.headers == ALL_TYPES
    assert {name: type(value) for name, value in found.headers.items()} == {
        name: type(value) for name, value in ALL_TYPES.items()
    }
    assert found.encode() == data
    assert botocores == {
        **ALL_TYPES,
        "uuid": UUID(str(ALL_TYPES["uuid"])).bytes,
        "true": True,
        "false": False,
    }
    assert datetime.fromtimestamp(botocores["timestamp"] / 1000, UTC).year == 2023


def test_no_headers_and_no_payload() -> None:
    empty = Message({}, b"")

    assert len(empty.encode()) == 16
    assert read(empty.encode() * 3) == [empty] * 3
    assert theirs(empty.encode()) == [({}, b"")]


def test_rest_is_what_is_not_whole() -> None:
    messages = Messages()
    data = Message({"a": "b"}, b"c").encode()

    assert messages.feed(data + data[:-1]) == [Message({"a": "b"}, b"c")]
    assert messages.rest == data[:-1]
    assert messages.feed(data[-1:]) == [Message({"a": "b"}, b"c")]
    assert messages.rest == b""


NUMBERS = st.one_of(
    st.integers(-(2**7), 2**7 - 1).map(Byte),
    st.integers(-(2**15), 2**15 - 1).map(Short),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Long),
    st.integers(-(2**63), 2**63 - 1).map(Timestamp),
)
VALUES = st.one_of(st.booleans(), NUMBERS, st.binary(max_size=99), st.text(max_size=99), st.uuids())
NAMES = st.text(max_size=60)
MESSAGES = st.builds(Message, st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=400))


@given(st.lists(MESSAGES, max_size=4), st.integers(1, 200))
def test_there_and_back(messages: list[Message], size: int) -> None:
    data = b"".join(message.encode() for message in messages)
    assert read(data, size) == messages
    assert b"".join(message.encode() for message in read(data)) == data


@given(st.binary(max_size=200), st.booleans())
def test_no_error_but_ours(data: bytes, framed: bool) -> None:
    """Headers of nonsense, and bytes that are no messages at all."""
    try:
        Messages().feed(message(data) if framed else data)
    except EventStreamError:
        pass


def message(headers: bytes, payload: bytes = b"", length: int | None = None) -> bytes:
    """A message with right checksums around headers that may be wrong."""
    size = 16 + len(headers) + len(payload)
    start = struct.pack(">II", size, len(headers) if length is None else length)
    whole = start + struct.pack(">I", crc32(start)) + headers + payload
    return whole + struct.pack(">I", crc32(whole))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<html><body>Bad gateway</body>", "expected the prelude of a message"),
        (b'{"message":"no"}', "expected the prelude of a message"),
        (message(b"")[:-1] + b"\x00", "a message's checksum is wrong"),
        (message(b"\x01a\x00", b"x").replace(b"x", b"y"), "a message's checksum is wrong"),
        (message(b"", length=MAX_HEADERS + 1), f"headers of {MAX_HEADERS + 1} bytes"),
        (message(b"", length=1), "a payload of -1 bytes"),
        (message(b"\x01a\x0a"), "a header's type is 10; expected 0 to 9"),
        (message(b"\x01a\x07\x00\x02b"), "headers are broken"),
        (message(b"\x01a\x06\x00"), "headers are broken"),
        (message(b"\x01a\x04\x00"), "headers are broken"),
        (message(b"\x01a\x09\x00"), "headers are broken"),
        (message(b"\x01a"), "headers are broken"),
        (message(b"\x05a"), "headers are broken"),
        (message(b"\x01\xff\x00"), "headers are broken"),
        (message(b"\x01a\x07\x00\x01\xff"), "headers are broken"),
        (message(b"\x01a\x00\x01a\x01"), "header 'a' stands twice"),
    ],
)
def test_damaged(data: bytes, why: str) -> None:
    with pytest.raises(EventStreamError, match=why):
        Messages().feed(data)


def test_too_long_is_said_at_once() -> None:
    """Nothing is waited for, or kept, of a message that will be refused."""
    prelude = struct.pack(">II", 16 + MAX_PAYLOAD + 1, 0)
    with pytest.raises(EventStreamError, match=f"a payload of {MAX_PAYLOAD + 1} bytes"):
        Messages().feed(prelude + struct.pack(">I", crc32(prelude)))


def test_what_came_before_the_damage() -> None:
    good = Message({"a": True}, b"1")
    messages = Messages()

    assert messages.feed(good.encode() + b"garbage garbage") == [good]
    assert messages.rest == b"garbage garbage"
    with pytest.raises(EventStreamError):
        messages.feed(b"")


def test_a_large_message_in_small_chunks() -> None:
    """Not copied with each chunk."""
    large = Message({}, bytes(8 * 1024 * 1024))
    assert read(large.encode(), 16 * 1024) == [large]
