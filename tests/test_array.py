"""JSON arrays, cut into their elements in all places."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routeur.dialects import sse
from routeur.dialects.array import Elements
from tests.recording import recording

TRICKY = rb'[{"a": "]}\"[{\\"}, {"b": [[1, {"c": "\\\\"}], []]} ,{} , [] ]'
ELEMENTS = [rb'{"a": "]}\"[{\\"}', rb'{"b": [[1, {"c": "\\\\"}], []]}', b"{}", b"[]"]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def elements(chunks: list[bytes]) -> list[bytes]:
    array = Elements()
    return [element for chunk in chunks for element in array.feed(chunk)]


def test_at_every_cut() -> None:
    assert elements([TRICKY]) == ELEMENTS
    assert elements(cut(TRICKY, 1)) == ELEMENTS
    for at in range(len(TRICKY)):
        assert elements([TRICKY[:at], TRICKY[at:]]) == ELEMENTS


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_a_recorded_stream_as_google_sends_it_without_sse(size: int) -> None:
    frames = sse.Frames().feed(recording("google-stream-no-args-tool-call").body)
    payloads = [sse.data(frame) or b"" for frame in frames]
    body = b"[" + b"\r\n,".join(payloads) + b"\r\n]\r\n"

    assert elements(cut(body, size)) == payloads


def test_an_element_does_not_wait_for_what_follows() -> None:
    array = Elements()
    assert array.feed(b'[{"a": 1}') == [b'{"a": 1}']
    assert array.feed(b"\n,\r\n") == []
    assert array.rest == b""
    assert array.feed(b'{"b"') == []
    assert array.rest == b'{"b"'
    assert array.feed(b": 2}]") == [b'{"b": 2}']
    assert array.closed


def test_what_stands_around_an_array() -> None:
    array = Elements()
    assert array.feed(b"\xef\xbb") == []
    assert array.feed(b"\xbf \r\n[") == []
    assert not array.closed
    assert array.feed(b"] {}") == []
    assert array.closed
    assert array.feed(b"[{}]") == []


def test_strings_between_elements_are_passed_over() -> None:
    assert elements(cut(rb'["{\"", {}, 1, null, "\\"]', 1)) == [b"{}"]


@pytest.mark.parametrize("body", [b'{"error": {}}', b"<html>", b" data: {}", b'"["'])
def test_what_is_no_array(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"has to begin with \["):
        Elements().feed(body)


VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES), max_size=4), st.integers(1, 9))
def test_any_array_in_any_chunks(value: list[object], size: int) -> None:
    found = elements(cut(orjson.dumps(value, option=orjson.OPT_INDENT_2), size))

    assert [orjson.loads(each) for each in found] == value
