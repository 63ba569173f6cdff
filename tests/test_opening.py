"""When an answer may begin to go to the client: recorded streams, cut everywhere, and bad ones."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable

import anthropic
import httpx2
import openai
import orjson
import pytest
from google import genai
from google.genai import types

from routeur.dialects import FORMATS, sse
from routeur.dialects.opening import (
    HOLD,
    HOLD_WHOLE,
    BrokenOpening,
    Opening,
    begins_well,
    check_whole,
    ping,
)
from tests.recording import HERE, JSON, Recording, answers, recording, streams

SSE = b"text/event-stream; charset=utf-8"
MODES = ("first_event", "first_token")
CHUNK = (
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
)
ROLE = CHUNK.replace(b'"hi"', b'""')
ERROR = b'data: {"error":{"message":"m","type":"server_error","param":null,"code":null}}\n\n'
OVERLOADED = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n'
)
DOCUMENTED = json.loads((HERE / "errors" / "documented-errors.json").read_text())["bodies"]

# Recorded without a word of content, and not because the provider says that it has finished.
NO_CONTENT = ("streaming-failure-invalid-json.txt", "streaming-failure-malformed-content.txt")
FAILED = "openai-error.1"  # after response.created
GOOD = [
    each
    for each in streams()
    if each.status == 200 and not each.name.endswith((*NO_CONTENT, FAILED))
]
WHOLE = [
    each
    for each in answers()
    if each.status == 200
    and each.content_type.startswith(JSON)
    and b'"error": {' not in each.body[:40]
]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def opening(
    format: str | None, until: str = "first_event", kind: bytes = SSE, coding: bytes = b""
) -> Opening:
    assert format is not None
    return Opening(format, kind, coding, until=until)


def goes_after(held: Opening, chunks: list[bytes]) -> int | None:
    """How many bytes have come when the answer may go; None: when it is over."""
    come = 0
    for chunk in chunks:
        come += len(chunk)
        if held.feed(chunk):
            return come
    held.end()
    return None


def broken(held: Opening, *chunks: bytes) -> BrokenOpening:
    """What the whole of an answer fails with."""
    with pytest.raises(BrokenOpening) as caught:
        goes_after(held, list(chunks))
    return caught.value


@pytest.mark.parametrize("stream", GOOD, ids=str)
def test_recorded_streams_go(stream: Recording) -> None:
    for until in MODES:
        for size in (7, 61, 1000, len(stream.body)):
            goes_after(opening(stream.format, until), cut(stream.body, size))


@pytest.mark.parametrize(
    "name",
    [
        "openai-gpt-5-simple_streaming",
        "claude-sonnet-4-simple_streaming",
        "openai_responses_raw_cot_stream_openrouter",  # comments first
        "test_google_stream_usage_is_live_mid_stream",  # CRLF
    ],
)
def test_a_stream_goes_with_its_first_event_wherever_it_is_cut(name: str) -> None:
    (stream,) = [each for each in GOOD if name in each.name and "TestOpenAIR" not in each.name]
    frames = sse.Frames().feed(stream.body)
    comments = sum(len(frame) for frame in frames if sse.data(frame) is None)
    first = next(frame for frame in frames if sse.data(frame))
    # a frame is whole with the CR of its last line's end, too
    whole = comments + len(first) - first.endswith(b"\r\n")

    for at in range(1, whole + 40):
        held = opening(stream.format)
        assert held.feed(stream.body[:at]) is (at >= whole), at
        if at < whole:
            assert held.feed(stream.body[at : at + 3000])
    assert goes_after(opening(stream.format), cut(stream.body, 1)) == whole


@pytest.mark.parametrize("stream", GOOD, ids=str)
def test_until_first_token_frames_without_content_are_held(stream: Recording) -> None:
    assert stream.format is not None
    frames = sse.Frames().feed(stream.body)
    content = FORMATS[stream.format].FIRST_TOKEN
    expected = next((n for n, frame in enumerate(frames) if content.search(frame)), None)
    held = opening(stream.format, "first_token")

    went = next((n for n, frame in enumerate(frames) if held.feed(frame)), None)
    if expected is not None:
        assert went == expected
    elif frames:
        assert went is not None and b"stop_reason" in frames[went]  # a refusal without words
    else:
        held.feed(stream.body)
        held.end()  # one event, and no empty line after it


@pytest.mark.parametrize("name", NO_CONTENT)
def test_recorded_streams_that_say_nothing(name: str) -> None:
    stream = recording(name)
    error = broken(opening("gemini", "first_token"), stream.body)
    assert error.reason == "ended its stream before any content came"
    assert goes_after(opening("gemini"), [stream.body]) is not None


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_recorded_error_after_the_first_event(size: int) -> None:
    stream = recording(FAILED)
    error = broken(opening("openai_responses", "first_token"), *cut(stream.body, size))
    assert error.reason == "began its stream with an error: insufficient_quota"
    assert (error.status, error.kind, error.refusal.exhausted) == (429, "insufficient_quota", True)
    assert goes_after(opening("openai_responses"), cut(stream.body, size)) is not None

    frames = sse.Frames().feed(stream.body)
    for first in frames[2:]:  # `error`, and `response.failed`
        assert broken(opening("openai_responses"), first).kind == "insufficient_quota"


@pytest.mark.parametrize("until", MODES)
@pytest.mark.parametrize(
    ("dialect", "format", "status", "kind"),
    [
        ("anthropic", "anthropic", 529, "overloaded_error"),
        ("openai-chat", "openai_chat", 500, "server_error"),
        ("openai-responses", "openai_responses", 500, "server_error"),
    ],
)
def test_documented_errors_in_streams(
    until: str, dialect: str, format: str, status: int, kind: str
) -> None:
    (each,) = [each for each in DOCUMENTED if each["dialect"] == dialect and "sse" in each]
    stream: bytes = each["sse"].encode()

    for at in range(len(stream)):
        error = broken(opening(format, until), stream[:at], stream[at:])
        assert (error.status, error.kind) == (status, kind)
    assert broken(opening(format, until), *cut(stream, 1)).kind == kind


@pytest.mark.parametrize(
    ("format", "frame", "status"),
    [
        ("gemini", b'data: {"error": {"code": 503, "status": "UNAVAILABLE"}}\r\n\r\n', 503),
        ("gemini", b'{\n "error": {\n  "code": 429,\n  "status": "x"\n }\n}\n', 429),  # no `data:`
        ("gemini", b'{"error": {"code": 429}}\n\n', 429),
        ("openai_chat", b'data: {"object":"error","message":"m","code":400}\n\n', 400),  # vLLM
        ("openai_chat", b'data: {"error":"overloaded"}\n\n', 502),  # TGI, Ollama
        ("openai_chat", b'data: {"id":"1","choices":[],"error":{"code":502}}\n\n', 502),
        ("openai_chat", b'data: {"error": {"code": 500, "mess\n\n', 502),
        ("openai_chat", b"event: error\ndata: it is broken\n\n", 502),
        ("openai_chat", b"event: error\n\n", 502),
        ("openai_chat", b'\xef\xbb\xbfdata: {"error":\rdata: {"code":500}}\r\r', 500),
        ("openai_chat", b'id: 1\r\nretry: 3\r\ndata:{"error":{"code":500}}\r\n\r\n', 500),
        ("openai_chat", b": wait\n\nretry: 1\n\n" + ERROR, 500),
        ("openai_responses", b'data: {"type":"response.failed","response":{}}\n\n', 502),
        ("anthropic", b": wait\n\n" + OVERLOADED, 529),
        ("anthropic", OVERLOADED[:-2], 529),  # the empty line is missing
    ],
)
def test_errors_as_the_first_event(format: str, frame: bytes, status: int) -> None:
    assert broken(opening(format), frame).status == status
    assert broken(opening(format), *cut(frame, 1)).status == status
    assert not begins_well(frame)


def test_what_only_speaks_of_errors_may_go() -> None:
    for frame in (
        b'data: {"choices":[{"delta":{"content":"\\"error\\": {}"}}]}\n\n',
        b'data: {"choices":[{"content_filter_result":{"error":{"code":"x"}},"delta":{}}]}\n\n',
        b'data: {"error":null,"choices":[]}\n\n',
        b'data: {"error": {},"choices":[]}\n\n',
        b"data: plain text\n\n",
    ):
        assert opening("openai_chat").feed(frame)


def test_openrouter_names_an_error_in_a_late_frame_only() -> None:
    late = b'data: {"error":{"code":502},"choices":[{"finish_reason":"error","delta":{}}]}\n\n'
    assert opening("openai_chat").feed(ROLE + late)
    assert broken(opening("openai_chat", "first_token"), ROLE, late).status == 502
    assert opening("openai_chat", "first_token").feed(CHUNK + late)


@pytest.mark.parametrize(
    ("until", "body", "reason"),
    [
        ("first_event", b"", "sent an empty stream"),
        ("first_event", b"\n\n", "sent an empty stream"),
        ("first_event", b": a\n\n: b\n\nretry: 5\n\n", "sent an empty stream"),
        ("first_event", b"data:\n\ndata: \n\nevent: ping\n\n", "sent an empty stream"),
        ("first_event", b"data: [DONE]\n\n", "sent an empty stream"),
        ("first_event", b": a\n\ndata: [DONE]", "sent an empty stream"),
        ("first_event", CHUNK[:-9], "broke off within the first event of its stream"),
        ("first_token", ROLE, "ended its stream before any content came"),
        ("first_token", ROLE + b"data: [DONE]\n\n", "ended its stream before any content came"),
        ("first_event", b"\n<!DOCTYPE html><html>", "sent an HTML page"),
        ("first_event", b"<html>\n\n<body>", "sent an HTML page"),
    ],
)
def test_streams_that_are_none(until: str, body: bytes, reason: str) -> None:
    assert broken(opening("openai_chat", until), body).reason == reason
    error = broken(opening("openai_chat", until), *cut(body, 1))
    assert (str(error), error.status, error.kind) == (f"the provider {reason}", 502, None)


@pytest.mark.parametrize(
    ("format", "frame"),
    [
        ("openai_chat", ROLE.replace(b"null", b'"length"')),
        ("openai_responses", b'data: {"type":"response.incomplete","response":{}}\n\n'),
        ("anthropic", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
        ("gemini", b'data: {"candidates":[{"finishReason":"MAX_TOKENS"}]}\n\n'),
        ("gemini", b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\n\n'),
    ],
)
def test_an_answer_may_be_without_content(format: str, frame: bytes) -> None:
    assert opening(format, "first_token").feed(frame)


def test_pings_and_beginnings_are_events_but_no_content() -> None:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    created = b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n'
    for format, frame in (("anthropic", ping), ("openai_responses", created)):
        assert opening(format).feed(frame)
        assert not opening(format, "first_token").feed(frame)


def test_reasoning_tools_and_refusals_are_content() -> None:
    for delta in (
        b'"reasoning_content":"x"',
        b'"reasoning":"x"',
        b'"refusal":"x"',
        b'"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]',
    ):
        assert opening("openai_chat", "first_token").feed(CHUNK.replace(b'"content":"hi"', delta))


def test_idle_while_there_are_only_comments() -> None:
    held = opening("openai_chat", "first_token")
    assert not held.idle  # nothing has come
    for piece in (b": wai", b"ting\n", b"\n: x\r\n\r\nretry: 5\n\n", b"\n"):
        assert not held.feed(piece)
        assert held.idle
    assert not held.feed(b": and\nda")
    assert not held.idle  # an event begins
    assert not held.feed(b"ta: " + ROLE[6:])
    assert not held.feed(b": late\n\n")
    assert not held.idle


def test_what_is_too_long_goes() -> None:
    assert goes_after(opening("openai_chat"), [b": x\n\n"] * HOLD) == HOLD + 4
    assert goes_after(opening("openai_chat", "first_token"), [ROLE] * HOLD) is not None
    assert opening("openai_chat").feed(b"data: {" + b" " * HOLD)
    assert goes_after(opening("gemini", kind=b"application/json"), [b"[{", b" " * HOLD]) is not None
    held = opening("openai_chat", kind=b"application/json")
    assert goes_after(held, [b"{" + b" " * 9_999] * 100) == 270_000 > HOLD_WHOLE


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"raw", b"members", b" GZip "])
@pytest.mark.parametrize("until", MODES)
def test_compressed_streams(coding: bytes, until: str) -> None:
    raw = zlib.compressobj(wbits=-15)
    packed = {
        b"deflate": zlib.compress(ROLE + CHUNK),
        b"raw": raw.compress(ROLE + CHUNK) + raw.flush(),
        b"members": gzip.compress(ROLE[:5]) + gzip.compress(b"") + gzip.compress(ROLE[5:] + CHUNK),
    }.get(coding, gzip.compress(ROLE + CHUNK))
    header = {b"raw": b"deflate", b"members": b"gzip"}.get(coding, coding)

    for size in (1, 13, 1000):
        assert goes_after(opening("openai_chat", until, coding=header), cut(packed, size))


def test_broken_compression() -> None:
    packed = gzip.compress(b": only a comment\n\n" * 3)
    held = opening("openai_chat", coding=b"gzip")
    assert broken(held, b"\x1f\x8b\x08 no").reason == "sent broken compressed data"
    held = opening("openai_chat", coding=b"gzip")
    assert broken(held, CHUNK).reason == "sent broken compressed data"
    held = opening("openai_chat", coding=b"gzip")
    assert broken(held, packed[:-9]).reason == "sent compressed data that breaks off"
    wrong = packed[:-8] + b"\0" * 8
    held = opening("openai_chat", coding=b"gzip")
    assert broken(held, *cut(wrong, 1)).reason == "sent broken compressed data"
    held = opening("openai_chat", coding=b"gzip")
    assert broken(held, packed).reason == "sent an empty stream"
    held = opening("openai_chat", coding=b"gzip")
    assert broken(held, gzip.compress(ERROR)).kind == "server_error"


def test_a_bomb_goes_without_being_inflated() -> None:
    bomb = gzip.compress(b": " + bytes(100_000_000))
    started = time.process_time()
    for _ in range(100):
        assert opening("openai_chat", coding=b"gzip").feed(bomb[:HOLD])
    assert time.process_time() - started < 3


def test_what_cannot_be_read_goes_at_once() -> None:
    for coding in (b"br", b"zstd", b"gzip, br"):
        assert opening("openai_chat", coding=coding).feed(b"\x0b")
        assert opening("openai_chat", kind=b"application/json", coding=coding).feed(b"\x0b")
    for kind in (b"audio/mpeg", b"text/plain", b"application/x-ndjson", b"multipart/mixed", b""):
        assert opening("openai_chat", kind=kind).feed(b"\x01")
        assert broken(opening("openai_chat", kind=kind)).reason == "sent an empty answer"


@pytest.mark.parametrize("kind", [b"text/html", b"Text/HTML; charset=x", b"application/json", b""])
def test_pages(kind: bytes) -> None:
    page = recording("unary-failure-invalid-location-url-not-found.html").body
    assert broken(opening("gemini", kind=kind), page).reason == "sent an HTML page"
    assert broken(opening("gemini", kind=kind, coding=b""), b"<").reason == "sent an HTML page"


def test_an_empty_page() -> None:
    assert broken(opening("gemini", kind=b"text/html")).reason == "sent an HTML page"
    assert broken(opening("gemini", kind=b"text/html", coding=b"br"), b"x").status == 502


# -- JSON, whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", WHOLE, ids=str)
def test_recorded_answers_go(answer: Recording) -> None:
    check_whole(answer.body)
    if answer.format is not None:
        for size in (100, len(answer.body)):
            held = opening(answer.format, kind=b"application/json")
            assert goes_after(held, cut(answer.body, size)) is None


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("vercel-ai__openai-error.1.json", 429, "insufficient_quota"),
        ("openai-reasoning-model-legacy-parameter-error.json", 400, "unsupported_parameter"),
        ("unary-failure-api-key.json", 400, "API_KEY_INVALID"),
        ("google-429-retry-info.json", 429, "RESOURCE_EXHAUSTED"),
        ("unary-failure-iam-permission-denied.json", 403, "IAM_PERMISSION_DENIED"),
    ],
)
def test_recorded_errors_as_answers(name: str, status: int, kind: str) -> None:
    body = recording(name).body
    with pytest.raises(BrokenOpening, match="sent an error as if it were an answer") as caught:
        check_whole(body)
    assert (caught.value.status, caught.value.kind) == (status, kind)
    assert caught.value.refusal.ours == (kind in ("API_KEY_INVALID", "IAM_PERMISSION_DENIED"))
    for size in (1, 100):
        held = opening("gemini", kind=b"application/json; charset=UTF-8")
        assert broken(held, *cut(body, size)).kind == kind


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "sent an empty answer"),
        (b" \r\n", "sent an empty answer"),
        (b'{"id": "1", "choices": [', "sent an answer that is not a whole JSON document"),
        (b'{"id": "1", "choi', "sent an answer that is not a whole JSON document"),
        (b"upstream error}", "sent an answer that is not a whole JSON document"),
        (b"null", "sent an answer that is not a whole JSON document"),
        (b" <html>}", "sent an HTML page"),
        (b'\xef\xbb\xbf {"error": {"type": "x"}}', "sent an error as if it were an answer: x"),
        (b'{"type": "error", "error": {}}', "sent an error as if it were an answer"),
        (b'{ "object" : "error", "code": 500}', "sent an error as if it were an answer: 500"),
        (b'[{"error": {"code": 500}}]', "sent an error as if it were an answer: 500"),
        (b'{"error": "busy"}\r\n', "sent an error as if it were an answer"),
    ],
)
def test_answers_that_are_none(body: bytes, reason: str) -> None:
    with pytest.raises(BrokenOpening) as caught:
        check_whole(body)
    assert caught.value.reason == reason
    assert broken(opening("openai_chat", kind=b"application/json"), body).reason == reason


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]\n",
        b'{"choices": []} \r\n\t',
        b'{"error": null, "choices": []}',
        b'{"error": {"code": 1}, "choices": [{}]}',
        b'{"type": "message", "content": []}',
        b'{"id": "x", "status": "failed", "error": {"code": "x"}}',
        b'{"errors": 1}',
        b'{"error": "%b"}' % (b"x" * HOLD),  # too long to look into
    ],
)
def test_answers_that_are_fine(body: bytes) -> None:
    check_whole(body)


# -- Gemini's arrays -----------------------------------------------------------------------------


def array(stream: Recording) -> tuple[bytes, bytes]:
    """A recorded stream as Google sends it without `alt=sse`, and its first element."""
    payloads = [sse.data(frame) or b"" for frame in sse.Frames().feed(stream.body)]
    return b"[" + b"\r\n,".join(payloads) + b"\r\n]\r\n", payloads[0]


def test_an_array_goes_with_its_first_element() -> None:
    body, first = array(recording("google-stream-no-args-tool-call"))
    for until in MODES:
        for size in (1, 7, 10_000):
            held = opening("gemini", until, b"application/json; charset=UTF-8")
            went = goes_after(held, cut(body, size))
            assert went is not None
            assert 0 <= went - len(b"[" + first) < size


def test_errors_in_arrays() -> None:
    error = b'[{\n  "error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}\n}\n]\n'
    for size in (1, 9, 1000):
        assert broken(opening("gemini", kind=b"application/json"), *cut(error, size)).status == 429
    role = b'[{"candidates": [{"content": {"role": "model"}}]}\n,'
    held = opening("gemini", "first_token", b"application/json")
    assert broken(held, role, error[1:]).status == 429


@pytest.mark.parametrize(
    ("until", "body", "reason"),
    [
        ("first_event", b"[]", "sent an empty stream"),
        ("first_event", b"[\n]\n", "sent an empty stream"),
        ("first_event", b'[{"candidates": [', "broke off within a JSON array"),
        ("first_event", b"[", "broke off within a JSON array"),
        ("first_event", b"", "sent an empty answer"),
        ("first_token", b"[{}]", "ended its stream before any content came"),
    ],
)
def test_arrays_that_are_none(until: str, body: bytes, reason: str) -> None:
    assert broken(opening("gemini", until, b"application/json"), *cut(body, 1)).reason == reason


# -- the quick look ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", GOOD, ids=str)
def test_the_quick_look_says_yes_only_where_the_long_one_does(stream: Recording) -> None:
    frames = sse.Frames().feed(stream.body)
    quick = begins_well(stream.body)
    commented = bool(frames) and sse.data(frames[0]) is None

    assert quick is (bool(frames) and not commented)
    assert not begins_well(stream.body[: len(frames[0]) - 2] if frames else b"data: {")


def test_the_quick_look_sees_no_errors() -> None:
    for frame in (ERROR, OVERLOADED, b"data: [DONE]\n\n", b": x\n\n", b"event: ping\n\n"):
        assert not begins_well(frame)
    failed = b'event: response.failed\ndata: {"type":"response.failed"}\n\n'
    assert not begins_well(failed)


def test_looking_at_a_good_answer_costs_next_to_nothing() -> None:
    """Not a benchmark: a bound that only work which grows with the body can break."""
    body = b'{"id": "1", "choices": ["%b"]}\n' % (b"x" * 10_000_000)
    started = time.process_time()
    for _ in range(20_000):
        check_whole(body)
    assert time.process_time() - started < 3


# -- keep-alive ----------------------------------------------------------------------------------


def serve(body: bytes) -> Callable[[httpx2.Request], httpx2.Response]:
    headers = {"content-type": "text/event-stream"}
    return lambda _: httpx2.Response(200, headers=headers, content=body)


def pinged(format: str, name: str) -> bytes:
    """A recorded stream with a ping before, between and after all its events."""
    between = ping(format, SSE)
    assert between
    return between.join([b"", b"", *sse.Frames().feed(recording(name).body), b""])


def test_openai_reads_past_pings() -> None:
    body = pinged("openai_chat", "OpenAICommon-openai-gpt-5-simple_streaming")
    transport = httpx2.MockTransport(serve(body))
    with openai.OpenAI(api_key="x", http_client=httpx2.Client(transport=transport)) as client:
        chunks = list(client.chat.completions.create(model="x", messages=[], stream=True))
    assert len(chunks) == body.count(b"data: {")


def test_openai_responses_reads_past_pings() -> None:
    body = pinged("openai_responses", "test_openai_responses_stream.1")
    transport = httpx2.MockTransport(serve(body))
    with openai.OpenAI(api_key="x", http_client=httpx2.Client(transport=transport)) as client:
        with client.responses.stream(model="x", input="x") as stream:
            assert stream.get_final_response().output_text


def test_anthropic_reads_past_pings() -> None:
    body = pinged("anthropic", "claude-sonnet-4-simple_streaming")
    transport = httpx2.MockTransport(serve(body))
    http = httpx2.Client(transport=transport)
    message = {"role": "user", "content": "x"}
    with anthropic.Anthropic(api_key="x", http_client=http) as client:
        with client.messages.stream(model="x", max_tokens=9, messages=[message]) as stream:
            assert stream.get_final_text()


def test_google_reads_past_pings() -> None:
    name = "test_google_stream_usage_is_live_mid_stream"
    body = pinged("gemini", name)
    http = httpx2.Client(transport=httpx2.MockTransport(serve(body)))
    client = genai.Client(api_key="x", http_options=types.HttpOptions(httpx_client=http))
    chat = client.chats.create(model="x")
    assert len(list(chat.send_message_stream("x"))) == body.count(b"data: {")
    assert len(chat.get_history(curated=True)) == 1 + body.count(b"data: {")  # a good turn


def test_bodies_that_carry_no_pings() -> None:
    for format in FORMATS:
        assert ping(format, b"application/json; charset=UTF-8") == b""
        assert ping(format, b"audio/mpeg") == b""


def test_pings_are_no_events_to_us_either() -> None:
    for format in ("openai_chat", "openai_responses", "gemini"):
        held = opening(format)
        assert not held.feed(ping(format, SSE))
        assert held.idle
    assert orjson.loads(sse.data(ping("anthropic", SSE)) or b"") == {"type": "ping"}
