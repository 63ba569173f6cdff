"""What asking for usage changes of a request's body, and what it withholds of a stream's bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.asking import LONGEST, Sieve, has_only_usage, is_refused, may_ask, with_question
from routeur.body import parse
from routeur.dialects import sse
from tests.fake import split
from tests.recording import recording

ASK = '"stream_options":{"include_usage":true}'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
NULL = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
DONE = b"data: [DONE]\n\n"

# ── the body


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ('{"model":"m"}', '{"model":"m",ASK}'),
        ('{ "model" : "m"\r\n }\n ', '{ "model" : "m",ASK\r\n }\n '),
        ('{"model":"m","n":[{}]}', '{"model":"m","n":[{}],ASK}'),
        ('{"a":{"stream_options":1},"n":"}"}', '{"a":{"stream_options":1},"n":"}",ASK}'),
        ('{"stream_options": null ,"n":1}', '{"stream_options": {"include_usage":true} ,"n":1}'),
        ('{"stream_options":{ }}', '{"stream_options":{"include_usage":true }}'),
        ('{"stream_options":{"x":1.0 }}', '{"stream_options":{"x":1.0,"include_usage":true }}'),
        (
            '{"n":1,"stream_options":{"include_usage" : false, "x":1e3},"z":2}',
            '{"n":1,"stream_options":{"include_usage" : true, "x":1e3},"z":2}',
        ),
        ('{"stream_options":{"include_usage":null}}', '{"stream_options":{"include_usage":true}}'),
        (
            '{"stream\\u005foptions":{"include\\u005fusage":false}}',
            '{"stream\\u005foptions":{"include\\u005fusage":true}}',
        ),
        (
            '{"stream_options":{"x":1},"stream_options":{"y":"é"}}',
            '{"stream_options":{"x":1},"stream_options":{"y":"é","include_usage":true}}',
        ),
    ],
)
def test_the_question(raw: str, wanted: str) -> None:
    doc = parse(raw.encode())
    assert may_ask(doc)
    asked = with_question(raw.encode(), doc)
    assert asked.decode() == wanted.replace("ASK", ASK)
    assert orjson.loads(asked)["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    "options",
    [
        {"include_usage": True},
        {"include_usage": "no"},
        {"include_usage": 0},
        {"include_usage": {}},
        "yes",
        [],
        False,
        1,
    ],
)
def test_what_is_asked_already_or_said_in_odd_words(options: object) -> None:
    assert not may_ask({"model": "m", "stream_options": options})


NAMES = st.sampled_from(["model", "stream_options", "include_usage", "messages", 'a"}'])
SIMPLE = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["é", '"}', "\\"])
VALUES = SIMPLE | st.lists(SIMPLE, max_size=2) | st.dictionaries(NAMES, SIMPLE, max_size=3)


@given(st.dictionaries(NAMES, VALUES), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_any_body(body: dict[str, Any], indent: Any, escaped: bool) -> None:
    raw = json.dumps(body, indent=indent, ensure_ascii=escaped).encode()
    if may_ask(body):
        options = {**(body.get("stream_options") or {}), "include_usage": True}
        assert orjson.loads(with_question(raw, body)) == {**body, "stream_options": options}


# ── a refusal


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, b'{"error":{"message":"Unrecognized request argument: stream_options"}}', True),
        (422, b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}', True),
        (422, b'{"detail":"unknown field `include_usage`"}', True),
        (400, b'{"error":{"message":"max_tokens is too large"}}', False),
        (429, b"stream_options", False),
        (500, b"stream_options", False),
        (400, b"", False),
    ],
)
def test_a_refusal(status: int, body: bytes, wanted: bool) -> None:
    assert is_refused(status, body) is wanted


# ── a stream


def passed(*chunks: bytes) -> bytes:
    sieve = Sieve()
    return b"".join(map(sieve.feed, chunks)) + sieve.end(whole=True)


NAMED = [
    "OpenAICommon-openai-gpt-5-simple_streaming",
    "OpenAICommon-openai-gpt-5-multi_tool_streaming.0",
    "azure-gpt-5-mini-tool_streaming.0",
    "openai-azure-model-router.1",
    "test_run_stream_sync_streams_real_model.1",
]
WHOLE = [  # usage comes with the last words
    "deepseek-tool-call",
    "groq-tool-call",
    "mistral-incremental-tool-call",
    "mistral-reasoning",
    "anthropic-fallback-tool-call.sse",
]


def without_usage(stream: bytes) -> bytes:
    """The stream but for its last frame before `[DONE]`, which is the one."""
    frames = stream.split(b"\n\n")
    assert frames[-2:] == [b"data: [DONE]", b""]
    assert b'"choices":[]' in frames[-3] and b'"usage":{"' in frames[-3]
    return b"\n\n".join([*frames[:-3], *frames[-2:]])


@pytest.mark.parametrize("name", NAMED)
def test_recordings(name: str) -> None:
    """Azure's first frame has no choices either, but no usage: it stays."""
    stream = recording(name).body
    wanted = without_usage(stream)
    for size in (1, 2, 3, 7, 64, 1000, len(stream)):
        assert passed(*split(stream, size)) == wanted, size
    crlf = stream.replace(b"\n", b"\r\n")
    for size in (1, 2, 3, 7, 64, 1000, len(crlf)):
        assert passed(*split(crlf, size)) == wanted.replace(b"\n", b"\r\n"), size


@pytest.mark.parametrize("name", WHOLE)
def test_recordings_of_which_nothing_is_withheld(name: str) -> None:
    stream = recording(name).body
    for size in (1, 7, 64, len(stream)):
        assert passed(*split(stream, size)) == stream


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_cut_at_every_two_positions(end: bytes) -> None:
    usual = NULL, USAGE, b": so\n\n" + DONE
    before, withheld, after = (each.replace(b"\n", end) for each in usual)
    stream = before + withheld + after
    for a in range(len(stream)):
        for b in (a + 1, a + 2, a + 3, a + len(withheld), len(stream)):
            assert passed(stream[:a], stream[a:b], stream[b:]) == before + after, (a, b)


ONE = b'data: {"choices":[],"usage":{}}'
ENDS = st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n"])
LINES = st.sampled_from([ONE, ONE, b": c", b"data: [DONE]", NULL.strip()])


@given(st.lists(LINES | ENDS, max_size=12), st.lists(st.integers(0, 200), max_size=6))
def test_any_stream_and_any_chunks(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    frames = sse.Frames()
    wanted = b""
    for frame in (*frames.feed(stream), frames.rest):
        lines = frame.lstrip(b"\r\n")
        wanted += frame[: len(frame) - len(lines)] + (b"" if has_only_usage(lines) else lines)
    edges = [0, *sorted(cuts), len(stream)]
    assert passed(*(stream[a:b] for a, b in pairwise(edges))) == wanted


@pytest.mark.parametrize(
    "frame",
    [
        USAGE,
        b': cost\nid: 7\nevent: message\ndata:{ "choices" : [ ] ,\r\ndata: "usage":{}}\r\n\r\n',
        b'data: {"choices":\ndata: [\ndata: ], "usage":\ndata: {"prompt_tokens":1}}\n\n',
        b'\xef\xbb\xbfdata: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"usage":{"prompt_tokens":1},"choices":[]}  \r\r',
        b'data: {"id":"cmpl-1","object":"text_completion","choices":[],"usage":{"x":1}}\n\n',
    ],
)
def test_the_frame_in_other_words(frame: bytes) -> None:
    assert has_only_usage(frame)
    assert passed(NULL + frame + DONE) == NULL + DONE
    assert passed(NULL, frame + DONE) == NULL + DONE
    assert passed(NULL, frame + frame, DONE) == NULL + DONE
    assert passed(NULL, frame.rstrip()) == NULL


@pytest.mark.parametrize(
    "frame",
    [
        NULL,
        DONE,
        b': "choices":[] "usage":{}\n\n',
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
        b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"choices\\":[]"}}],"usage":{}}\n\n',
        b'data: {"inner":{"choices":[]},"choices":[{}],"usage":{}}\n\n',
        b'data: {"error":{"choices":[],"usage":{}}}\n\n',
        b'data: {"choices":[],"usage":{}\n\n',
        b'data: [{"choices":[],"usage":{}}]\n\n',
        b'{"choices":[],"usage":{}}\n\n',
    ],
)
def test_what_stays(frame: bytes) -> None:
    assert not has_only_usage(frame)
    assert passed(frame + USAGE + frame, frame) == frame * 3
    assert passed(*split(frame * 2, 1)) == frame * 2


def test_whole_frames_do_not_wait() -> None:
    """Only what may be the one is held, until it is whole."""
    sieve = Sieve()
    assert sieve.feed(NULL) == NULL
    assert sieve.feed(NULL + USAGE[:9]) == NULL
    assert sieve.feed(USAGE[9:] + NULL[:5]) == b""
    assert sieve.feed(NULL[5:]) == NULL


@pytest.mark.parametrize("size", [100, 4096, 10**6])
def test_a_long_frame_passes_as_it_comes(size: int) -> None:
    """It takes no memory, and is not the one whatever it holds."""
    long = b'data: {"choices":[],"usage":{"x":"%b"}}\n\n' % (b"\r\n:x" * LONGEST)
    sieve, out = Sieve(), b""
    for at, piece in enumerate(split(NULL + long + USAGE + DONE, size)):
        out += sieve.feed(piece)
        assert len(out) >= min((at + 1) * size, len(NULL + long)) - LONGEST - size
    assert out + sieve.end(whole=True) == NULL + long + DONE


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (NULL[:20], NULL[:20]),
        (NULL[:-2], NULL[:-2]),
        (USAGE[:10], USAGE[:10]),
        (USAGE[:-20], b""),
        (USAGE[:-1], b""),
    ],
)
def test_a_stream_that_breaks_off(held: bytes, wanted: bytes) -> None:
    """A piece of a frame is the client's, but for one of the frame it has not asked for."""
    sieve = Sieve()
    assert sieve.feed(NULL + held) == NULL
    assert sieve.end(whole=False) == wanted
