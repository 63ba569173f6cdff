"""Frames of event streams, cut in all places."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest

from routeur.dialects import sse
from tests.recording import Recording, hostile, streams

CASES = hostile("sse-streams")["cases"]


def stream_of(case: dict[str, Any]) -> bytes:
    text: str | None = case.get("text")
    return text.encode() if text is not None else b64decode(case["base64"])


def dispatched(chunks: list[bytes]) -> list[tuple[str, str]]:
    """What a reader is told: names and data of the events."""
    frames = sse.Frames()
    found = []
    for chunk in chunks:
        for frame in frames.feed(chunk):
            data = sse.data(frame)
            if data is not None:
                name = sse.event(frame).decode() or "message"
                found.append((name, data.decode(errors="replace")))
    return found


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_hostile_streams(case: dict[str, Any]) -> None:
    data = stream_of(case)
    expected = [(each["event"], each["data"]) for each in case["events"]]

    assert dispatched([data]) == expected
    assert dispatched(cut(data, 1)) == expected
    for at in range(len(data)):
        assert dispatched([data[:at], data[at:]]) == expected


@pytest.mark.parametrize("stream", streams(), ids=str)
@pytest.mark.parametrize("size", [7, 61, 1000])
def test_frames_are_the_stream(stream: Recording, size: int) -> None:
    frames = sse.Frames()
    found = [frame for chunk in cut(stream.body, size) for frame in frames.feed(chunk)]

    assert b"".join(found) + frames.rest == stream.body
    whole = sse.Frames().feed(stream.body)
    assert [sse.data(each) for each in found] == [sse.data(each) for each in whole]


def test_a_frame_that_ends_in_cr_is_not_held_back() -> None:
    frames = sse.Frames()
    assert frames.feed(b"data: 1\r\n\r") == [b"data: 1\r\n\r"]
    assert frames.feed(b"\ndata: 2\r\n\r\n") == [b"\ndata: 2\r\n\r\n"]
    assert frames.rest == b""


def test_comments_and_unfinished_frames_have_no_data() -> None:
    frames = sse.Frames()
    assert [sse.data(each) for each in frames.feed(b": waiting\n\nevent: ping\n\n")] == [None, None]
    assert frames.feed(b'data: {"a"') == []
    assert frames.rest == b'data: {"a"'
