"""Answers of Gemini, and to its clients: parts, signatures, ends, usage; both kinds of streams."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from google import genai
from google.genai import _api_client, types
from hypothesis import given, settings
from hypothesis import strategies as st

from routeur.dialects import neutral as n
from routeur.dialects.base import Usage
from routeur.dialects.gemini.answers import (
    EventReader,
    EventWriter,
    Frames,
    read_error,
    read_response,
    write_error,
    write_response,
)
from routeur.dialects.gemini.pieces import Arguments
from routeur.dialects.gemini.requests import read_request
from routeur.dialects.neutral.aim import Caller, Invalid
from routeur.dialects.neutral.collect import collect, events_of
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    AudioDelta,
    BlockStart,
    BlockStop,
    Done,
    Event,
    Failed,
    ReasoningDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.neutral.ids import made_id
from tests.recording import Recording, recording
from tests.translations import (
    NOW,
    TOKEN,
    caller,
    check_order,
    dialect_of,
    read,
    read_whole,
    recorded_events,
    said,
    streams,
    wholes,
    write,
)

SIGNED = {"thoughtSignature": "c2ln"}
SEEN = n.Thinking(show=True)


def frame(*parts: Any, index: int = 0, **members: Any) -> bytes:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    return event(candidates=[{**candidate, **members}])


def event(**members: Any) -> bytes:
    return b"data: " + orjson.dumps({"responseId": "r", **members}) + b"\r\n\r\n"


def answer(*frames: bytes) -> n.Response:
    events = read("gemini", b"".join(frames))
    check_order(events)
    return collect(events)


def blocks(*frames: bytes) -> tuple[n.Block, ...]:
    return answer(*frames, frame(finishReason="STOP")).choices[0].blocks


def asked(**members: Any) -> Caller:
    return caller("gemini", stream=True, **members)


def chunks(events: list[Event], **members: Any) -> list[Any]:
    """What is written of these events, as parsed elements."""
    writer = EventWriter(asked(**members))
    found = b"".join(map(writer.write, events))
    return [orjson.loads(each[6:]) for each in found.split(b"\r\n\r\n") if each]


def pieces(found: list[Any]) -> list[Any]:
    """All parts of the first candidate."""
    return [part for each in found for part in each["candidates"][0]["content"]["parts"]]


# ── reading


def test_pieces_of_text_are_one_block() -> None:
    found = read("gemini", frame({"text": "a"}) + frame({"text": "b"}, finishReason="STOP"))
    assert found == [
        Start("gemini", "r", "any-model"),
        BlockStart(0, n.Text()),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        BlockStop(0),
        Stopped(n.Stop("end", raw="STOP")),
        Done(),
    ]


def test_signatures_stay_where_they_were() -> None:
    call = {"name": "f", "args": {"x": 1.0}, "id": "c"}
    image = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    sealed: Any = {"signature": "c2ln", "origin": n.GEMINI}
    assert blocks(
        frame({"text": "hm", "thought": True}, {"text": "m", "thought": True, **SIGNED}),
        frame({"text": "a"}),
        frame({"text": "b", **SIGNED}, {"functionCall": call, **SIGNED}, {"functionCall": call}),
        frame({**image, **SIGNED}),
        frame({"text": ""}, {"text": "", **SIGNED}),
    ) == (
        n.Reasoning("hm", origin=n.GEMINI),
        n.Reasoning("m", **sealed),
        n.Text("a"),
        n.Text("b", **sealed),
        n.ToolCall("c", "f", '{"x":1.0}', **sealed),
        n.ToolCall("c", "f", '{"x":1.0}'),
        n.Image(data="aGk=", media_type="image/png", **sealed),
        n.Text("", **sealed),
    )


def test_what_is_unknown_is_kept_and_harmless() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1", "id": "x"}, **SIGNED}
    assert blocks(frame(code, {"somethingNew": 1}, {"text": 7}), frame({"text": "a"})) == (
        n.Opaque("gemini", code),
        n.Opaque("gemini", {"somethingNew": 1}),
        n.Opaque("gemini", {"text": 7}),
        n.Text("a"),
    )
    assert (
        blocks(
            event(
                candidates=[7, {"content": 7, "index": 0}, {"content": {"parts": 7}, "index": 0}]
            ),
            event(somethingNew=1),
            b": a comment\r\n\r\n",
            b"data: no JSON\r\n\r\n",
        )
        == ()
    )


def test_calls_without_ids() -> None:
    """They get the same ids in a stream and in a whole answer, and others in other answers."""
    call = {"functionCall": {"name": "f"}}
    first, second = blocks(frame(call), frame(call))
    assert isinstance(first, n.ToolCall)
    assert isinstance(second, n.ToolCall)
    assert first.id == made_id("r", 0, 0, "f") != second.id
    assert first.arguments == "{}"
    content = {"content": {"parts": [call, call]}, "finishReason": "STOP"}
    whole = read_response({"responseId": "r", "candidates": [content]}, "m")
    assert whole.choices[0].blocks == (first, second)
    assert whole.choices[0].stop.reason == "tool_calls"


def test_big_integers_and_half_characters() -> None:
    data = b'data: {"candidates":[{"content":{"parts":[%b]},"index":0}]}\r\n\r\n'
    (call,) = blocks(
        data % b'{"functionCall":{"name":"f","args":{"n":12345678901234567890123,"x":1.0}}}'
    )
    assert isinstance(call, n.ToolCall)
    assert call.arguments == '{"n":12345678901234567890123,"x":1.0}'
    (text,) = blocks(data % rb'{"text":"a\ud83d"}')
    assert text == n.Text("a\ud83d")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "end"),
        (1, "end"),
        ("MAX_TOKENS", "length"),
        (2, "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "malformed"),
        ("UNEXPECTED_TOOL_CALL", "malformed"),
        ("OTHER", "error"),
        ("FINISH_REASON_UNSPECIFIED", "unknown"),
        ("SOMETHING_NEW", "unknown"),
        (77, "unknown"),
    ],
)
def test_reasons_to_stop(word: Any, reason: str) -> None:
    (choice,) = answer(frame({"text": "a"}, finishReason=word, finishMessage="m")).choices
    assert choice.stop.reason == reason
    assert choice.stop.detail == "m"


def test_a_reason_in_every_frame_ends_nothing() -> None:
    found = answer(frame({"text": "a"}, finishReason="STOP"), frame({"text": "b"}))
    assert found.choices == (n.Choice((n.Text("ab"),), n.Stop("end", raw="STOP")),)


def test_a_prompt_that_was_blocked() -> None:
    feedback = {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "no"}
    stop = n.Stop("content_filter", raw="MODEL_ARMOR", detail="no")
    assert answer(event(promptFeedback=feedback)).choices == (n.Choice((), stop),)


def test_nothing_is_no_answer() -> None:
    for found in (answer(), answer(event()), read_response({}, "m")):
        assert found.error is not None
        assert found.error.status == 502


def test_several_candidates() -> None:
    found = answer(
        frame({"text": "a"}) + frame({"text": "b"}, index=1),
        frame({"text": "A"}, index=0, finishReason="STOP"),
        frame({"text": "B"}, index=1, finishReason="MAX_TOKENS"),
    )
    assert [choice.blocks for choice in found.choices] == [(n.Text("aA"),), (n.Text("bB"),)]
    assert [choice.stop.reason for choice in found.choices] == ["end", "length"]
    cut = answer(frame({"text": "a"}, finishReason="STOP"), frame({"text": "b"}, index=1))
    assert cut.error is not None


def test_usage_is_the_last_one() -> None:
    def counts(**members: int) -> bytes:
        return event(usageMetadata={"promptTokenCount": 10, **members})

    found = read(
        "gemini",
        counts(candidatesTokenCount=1)
        + counts(candidatesTokenCount=3, thoughtsTokenCount=4, cachedContentTokenCount=6)
        + frame({"text": "a"}, finishReason="STOP"),
    )
    assert isinstance(found[0], Start)
    assert found[0].usage == Usage(input=10, output=1)
    assert collect(found).usage == Usage(input=4, cache_read=6, output=3, reasoning=4)


def test_what_the_head_says() -> None:
    found = read(
        "gemini",
        event(
            modelVersion="gemini-x",
            createTime="2026-05-04T20:01:02.264968Z",
            usageMetadata={"promptTokenCount": 1, "serviceTier": "FLEX"},
        ),
    )
    usage = Usage(input=1)
    assert found[0] == Start("gemini", "r", "gemini-x", 1777924862, usage, "flex")


def test_logprobs() -> None:
    (each,) = [each for each in wholes() if each.name.endswith("vertex_logprobs")]
    tokens = read_response(orjson.loads(each.body), "m").choices[0].logprobs
    assert [token["token"] for token in tokens] == ["2", " +", " ", "2", " =", " ", "4"]
    assert tokens[0]["top_logprobs"][1] == {
        "token": "4",
        "logprob": -4.1320033,
        "bytes": [52],
    }
    whole = write_response(read_response(orjson.loads(each.body), "m"), asked())
    assert read_response(orjson.loads(whole), "m").choices[0].logprobs == tokens


def test_grounding() -> None:
    """Positions are bytes there and characters here; those of other texts are left out."""
    grounding = {
        "groundingChunks": [
            {"web": {"uri": "https://a.example", "title": "A"}},
            {"retrievedContext": {"uri": "gs://b", "text": "quoted"}},
        ],
        "groundingSupports": [
            {"segment": {"startIndex": 3, "endIndex": 5}, "groundingChunkIndices": [0, 1, 9]},
            {"segment": {}, "groundingChunkIndices": [0]},
        ],
    }
    found = (
        frame({"text": "äß"}, groundingMetadata={}),
        frame({"text": "x"}, {"text": "", **SIGNED}, groundingMetadata=grounding),
    )
    text, last = blocks(*found)
    assert isinstance(text, n.Text)
    assert [
        (each.url, each.title, each.quote, each.text_start, each.text_end)
        for each in text.citations
    ] == [
        ("https://a.example", "A", "", 1, 3),
        ("gs://b", "", "quoted", 1, 3),
        ("https://a.example", "A", "", None, None),
    ]
    assert last == n.Text("", signature="c2ln", origin=n.GEMINI)
    alone = blocks(frame({"text": "äß", **SIGNED}, groundingMetadata=grounding))
    assert isinstance(alone[0], n.Text)
    assert len(alone[0].citations) == 3


def test_recited_sources() -> None:
    cited = {"citationSources": [{"startIndex": 0, "endIndex": 2, "uri": "https://a.example"}]}
    (text,) = blocks(frame({"text": "ab"}, citationMetadata=cited))
    assert isinstance(text, n.Text)
    (citation,) = text.citations
    assert (citation.url, citation.text_start, citation.text_end) == ("https://a.example", 0, 2)
    (late,) = blocks(frame(citationMetadata=cited))
    assert isinstance(late, n.Text)
    assert late.citations


# ── calls in pieces


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        (
            "google-stream-tool-call-arguments",
            [("getWeather", {"location": "Boston"}), ("getWeather", {"location": "San Francisco"})],
        ),
        (
            "google-stream-tool-call-array-arguments-missing-terminal-function-call",
            None,
        ),
        ("google-stream-no-args-tool-call", None),
    ],
)
def test_recorded_calls_in_pieces(name: str, calls: Any) -> None:
    (each,) = [each for each in streams() if each.name.endswith(name)]
    ((_, found, reason),) = said(collect(recorded_events(each)))
    assert reason == "tool_calls"
    assert found
    assert calls is None or found == calls
    assert all(isinstance(arguments, dict) for _, arguments in found)


def test_arguments_in_pieces() -> None:
    found = Arguments({"begun": True})
    for path, piece in (
        ("$.a[0].b", {"stringValue": "x", "willContinue": True}),
        ("$.a[0].b", {"stringValue": "y", "willContinue": True}),
        ("$.a[0].b", {"stringValue": ""}),
        ("$.a[0].b", {"stringValue": "z"}),
        ("$.a[2]", {"numberValue": 5}),
        ("$['it\\'s'][\"q\"]", {"boolValue": False}),
        ("$.n", {"nullValue": "NULL_VALUE"}),
        ("$.a.b", {"stringValue": "does not fit"}),
        ("$.a[999999999]", {"stringValue": "too far"}),
        ("nonsense", {"stringValue": "?"}),
        ("$.c", {}),
    ):
        found.add([{"jsonPath": path, **piece}, 7])
    assert orjson.loads(found.text) == {
        "begun": True,
        "a": [{"b": "z"}, None, 5],
        "it's": {"q": False},
        "n": None,
    }


# ── cutting


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\r\n", b"\n", b""])
def test_the_last_blank_line_may_be_missing(end: bytes) -> None:
    last = frame({"text": "b"}, finishReason="STOP").removesuffix(b"\r\n\r\n") + end
    assert said(answer(frame({"text": "a"}), last)) == [("ab", [], "end")]


def test_an_error_without_data() -> None:
    error = b'{\n  "error": {\n    "code": 499,\n    "message": "cancelled"\n  }\n}\n'
    events = read("gemini", frame({"text": "a"}) + error)
    assert events[-1] == Failed(n.Fault(499, "cancelled"))


def as_array(*elements: bytes) -> bytes:
    inside = [each.strip().removeprefix(b"data: ") for each in elements]
    return b"[" + b"\r\n,\r\n".join(inside) + b"]"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_that_is_an_array(size: int) -> None:
    elements = (frame({"text": "a]"}), frame({"text": "b"}, finishReason="STOP"))
    assert read("gemini", as_array(*elements), size) == read("gemini", b"".join(elements))
    error = b'[{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}}]'
    exhausted = "RESOURCE_EXHAUSTED"
    assert read("gemini", error, size) == [Failed(n.Fault(429, "slow", exhausted, exhausted))]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_chunks(data: st.DataObject) -> None:
    """However the bytes come, the events are the same."""
    known = [each for each in streams() if each.format == "gemini" and len(each.body) < 8000]
    each = data.draw(st.sampled_from(known))
    cuts = data.draw(st.lists(st.integers(0, len(each.body)), max_size=12).map(sorted))
    frames, reader = Frames(), EventReader("any-model")
    events: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(each.body)], strict=True):
        for cut in frames.feed(each.body[start:end]):
            events += reader.read(cut)
    assert tuple(events + reader.end()) == recorded_events(each)


@given(st.binary(max_size=200) | st.text('[]{}":,data \r\n\\u1', max_size=60).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_no_bytes_are_fatal(data: bytes) -> None:
    check_order(read("gemini", data, 5))
    check_order(read("gemini", b"data: " + data + b"\r\n\r\n"))


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "STOP", "$.a[0]"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "candidates content parts text thought thoughtSignature functionCall name args id"
                " partialArgs jsonPath stringValue willContinue inlineData mimeType data fileData"
                " fileUri finishReason index groundingMetadata groundingSupports groundingChunks"
                " segment groundingChunkIndices usageMetadata promptTokenCount promptFeedback"
                " blockReason error code message logprobsResult chosenCandidates".split()
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(VALUE, VALUE)
@settings(max_examples=200, deadline=None)
def test_no_shape_is_fatal(first: Any, second: Any) -> None:
    reader = EventReader("m")
    events = [
        found
        for each in (first, second)
        for shape in (each, {"candidates": [each]}, {"candidates": [{"content": {"parts": each}}]})
        for found in reader.read(orjson.dumps(shape))
    ]
    check_order(events + reader.end())
    body = first if isinstance(first, dict) else {"contents": first}
    with suppress(Invalid):
        read_request(body, model="m", stream=False)


# ── writing


def test_a_stream_for_a_client() -> None:
    found = chunks(
        [
            Start("anthropic", "msg_1", "claude", usage=Usage(input=3)),
            BlockStart(0, n.Text()),
            TextDelta(0, "a"),
            BlockStop(0),
            BlockStart(1, n.ToolCall("toolu_1", "f")),
            ArgumentsDelta(1, '{"x": 1.0'),
            ArgumentsDelta(1, "}"),
            BlockStop(1),
            Stopped(n.Stop("tool_calls")),
            UsageUpdate(Usage(input=3, cache_read=2, cache_write=1, output=4, reasoning=5)),
            Done(),
        ]
    )
    named = {"modelVersion": "claude", "responseId": "msg_1"}
    call = {"id": "toolu_1", "name": "f", "args": {"x": 1.0}}

    def chunk(part: Any, **members: Any) -> Any:
        content = {"parts": [part], "role": "model"}
        return {"candidates": [{"content": content, "index": 0, **members}], **named}

    assert found == [
        chunk({"text": "a"}),
        chunk({"functionCall": call}),
        {
            **chunk({"text": ""}, finishReason="STOP"),
            "usageMetadata": {
                "promptTokenCount": 6,
                "cachedContentTokenCount": 2,
                "candidatesTokenCount": 4,
                "thoughtsTokenCount": 5,
                "totalTokenCount": 15,
            },
        },
    ]


def test_the_same_as_an_array() -> None:
    text = BlockStart(0, n.Text("a"))
    events: list[Event] = [Start("x"), text, Stopped(n.Stop("length")), Done()]
    request = n.Request("gemini", "m", (), stream=True)
    writer = EventWriter(Caller(request, TOKEN, NOW, sse=False))
    written = b"".join(map(writer.write, events))
    first, last = orjson.loads(written)
    assert first["candidates"][0]["content"]["parts"] == [{"text": "a"}]
    assert last["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert said(collect(read("gemini", written))) == [("a", [], "length")]

    failing = EventWriter(Caller(request, TOKEN, NOW, sse=False))
    written = failing.write(text) + failing.write(Failed(n.Fault(503, "later")))
    assert orjson.loads(written)[1]["error"]["status"] == "UNAVAILABLE"


def test_thoughts_are_for_those_who_asked() -> None:
    """What has to come back does so for all, whole; what need not is left out."""
    thought: list[Event] = [
        Start("anthropic"),
        BlockStart(0, n.Reasoning(origin=n.ANTHROPIC)),
        ReasoningDelta(0, "h"),
        ReasoningDelta(0, "m"),
        Signed(0, "c2ln", origin=n.ANTHROPIC),
        BlockStop(0),
    ]
    block = n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC)
    shown, hidden = pieces(chunks(thought, thinking=SEEN)), pieces(chunks(thought))
    assert shown[:2] == [{"text": "h", "thought": True}, {"text": "m", "thought": True}]
    assert [part["text"] for part in hidden] == [""]
    for part in (shown[2], hidden[0]):
        content = {"role": "model", "parts": [part]}
        request = read_request({"contents": [content]}, model="m", stream=False)
        assert request.messages[0].blocks == (block,)
    assert chunks([each for each in thought if not isinstance(each, Signed)]) == []


def test_summaries_are_thoughts() -> None:
    events: list[Event] = [
        Start("openai_responses"),
        BlockStart(0, n.Reasoning(id="rs_1", origin=n.RESPONSES)),
        SummaryDelta(0, 0, "a"),
        SummaryDelta(0, 0, "b"),
        SummaryDelta(0, 1, "c"),
        Signed(0, encrypted="eHg=", origin=n.RESPONSES),
        BlockStop(0),
    ]
    found = pieces(chunks(events, thinking=SEEN))
    assert "".join(part["text"] for part in found) == "ab\n\nc"
    request = read_request({"contents": [{"parts": found[-1:]}]}, model="m", stream=False)
    (block,) = request.messages[0].blocks
    whole = n.Reasoning("", ("ab", "c"), "", "eHg=", n.RESPONSES, "rs_1")
    assert block == whole

    body = write_response(n.Response("openai_responses", choices=(n.Choice((whole,)),)), asked())
    (part,) = orjson.loads(body)["candidates"][0]["content"]["parts"]
    assert part["text"] == ""
    request = read_request({"contents": [{"parts": [part]}]}, model="m", stream=False)
    assert request.messages[0].blocks == (whole,)


def test_made_ids_and_other_blocks() -> None:
    image = n.Image(data="aGk=", media_type="image/png")
    events: list[Event] = [
        Start("bedrock"),
        BlockStart(0, n.ToolCall(made_id("f"), "f", "{}")),
        BlockStop(0),
        BlockStart(1, image),
        BlockStop(1),
        BlockStart(2, n.Audio(format="mp3")),
        AudioDelta(2, "aGk=", "hi"),
        BlockStop(2),
        BlockStart(3, n.Refusal("no")),
        BlockStop(3),
        BlockStart(4, n.Opaque("anthropic", {"type": "compaction"}, "a summary")),
        BlockStop(4),
    ]
    assert pieces(chunks(events)) == [
        {"functionCall": {"name": "f", "args": {}}},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"inlineData": {"mimeType": "audio/mpeg", "data": "aGk="}},
        {"text": "no"},
    ]


def test_sources_for_a_client() -> None:
    citation = n.Citation("https://a.example", "A", text_start=1, text_end=3)
    text = n.Text("äßx", (citation, n.Citation("https://a.example", "A")))
    response = n.Response("openai_chat", choices=(n.Choice((n.Text("ö"), text)),))
    whole = orjson.loads(write_response(response, asked()))
    grounding = whole["candidates"][0]["groundingMetadata"]
    assert grounding == {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [
            {
                "segment": {"startIndex": 4, "endIndex": 7, "text": "ßx"},
                "groundingChunkIndices": [0],
            },
            {
                "segment": {"startIndex": 2, "endIndex": 7, "text": "äßx"},
                "groundingChunkIndices": [0],
            },
        ],
    }
    streamed = read("gemini", write("gemini", events_of(response)))
    assert [each.url for each in collect(streamed).choices[0].blocks[0].citations] == [  # type: ignore[union-attr]
        "https://a.example",
        "https://a.example",
    ]


def test_reasons_for_a_client() -> None:
    reasons = {
        "end": "STOP",
        "stop_sequence": "STOP",
        "tool_calls": "STOP",
        "pause": "STOP",
        "unknown": "STOP",
        "length": "MAX_TOKENS",
        "refusal": "SAFETY",
        "content_filter": "SAFETY",
        "malformed": "MALFORMED_FUNCTION_CALL",
        "error": "OTHER",
    }
    for reason, word in reasons.items():
        stop = n.Stop(reason, detail="why")  # type: ignore[arg-type]
        (found,) = chunks([Start("x"), Stopped(stop), Done()])
        assert found["candidates"][0]["finishReason"] == word
        assert found["candidates"][0]["finishMessage"] == "why"


def test_half_a_character_fails_no_stream() -> None:
    writer = EventWriter(asked())
    events = [Start("x"), BlockStart(0, n.Text()), TextDelta(0, "a\ud83d")]
    assert rb'"text":"a\ud83d"' in b"".join(map(writer.write, events))


# ── errors


def test_errors() -> None:
    def fault(name: str) -> n.Fault:
        each = recording(name)
        return read_error(each.status, each.headers, each.body)

    limited = fault("google-429-retry-info.json")
    assert limited.retry_after
    key = recording("unary-failure-api-key.json")
    found = read_error(400, {}, key.body)
    assert (found.status, found.code) == (401, "API_KEY_INVALID")
    assert read_error(503, {"retry-after": "7"}, b"<html>").retry_after == 7
    assert read_error(503, {"retry-after": "soon"}, b"<html>").retry_after is None
    assert read_error(500, {}, b'{"error": "in a word"}').message == "in a word"
    listed = b'[{"error": {"code": 404, "message": "m", "status": "NOT_FOUND"}}]'
    assert read_error(404, {}, listed) == n.Fault(404, "m", "NOT_FOUND", "NOT_FOUND")
    assert orjson.loads(write_error(n.Fault(429, "slow"), "r")) == {
        "error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}
    }


# ── Google's own SDK


def sdk(content_type: str, body: bytes) -> genai.Client:
    """A client whose every call is answered with this body."""

    # It has changed its HTTP library: take the one it uses.
    http: Any = getattr(_api_client, "httpx2", None) or _api_client.httpx  # type: ignore[attr-defined]

    def respond(request: Any) -> Any:
        return http.Response(200, headers={"content-type": content_type}, content=body)

    options = types.HttpOptions(client_args={"transport": http.MockTransport(respond)})
    return genai.Client(api_key="k", http_options=options)


def foreign(found: list[Recording]) -> list[Recording]:
    return [each for each in found if dialect_of(each) not in (None, "gemini")]


def calls_of(chunk: types.GenerateContentResponse) -> list[Any]:
    return [(call.name, call.args) for call in chunk.function_calls or ()]


def test_the_sdk_reads_streams() -> None:
    for each in foreign(streams())[::9]:
        answer = collect(recorded_events(each))
        if answer.error is not None:
            continue
        client = sdk("text/event-stream", write("gemini", recorded_events(each)))
        found = list(client.models.generate_content_stream(model="m", contents="Hello"))
        ((text, calls, _),) = said(answer)
        assert "".join(chunk.text or "" for chunk in found if chunk.text) == text, each
        assert [call for chunk in found for call in calls_of(chunk)] == calls
        assert found[-1].candidates
        assert found[-1].candidates[0].finish_reason
        if answer.usage:
            assert found[-1].usage_metadata
            assert found[-1].usage_metadata.prompt_token_count == answer.usage.input_total
        client.close()


def test_the_sdk_reads_whole_answers() -> None:
    for each in foreign(wholes())[::6]:
        answer = read_whole(str(dialect_of(each)), each.body)
        client = sdk("application/json", write_response(answer, asked()))
        found = client.models.generate_content(model="m", contents="Hello")
        ((text, calls, _),) = said(answer)
        assert (found.text or "") == text
        assert calls_of(found) == calls
        client.close()


def test_the_sdk_sees_a_failure_in_a_stream() -> None:
    writer = EventWriter(asked())
    body = writer.write(BlockStart(0, n.Text("a"))) + writer.write(Failed(n.Fault(503, "later")))
    client = sdk("text/event-stream", body)
    with pytest.raises(genai.errors.APIError, match="later"):
        list(client.models.generate_content_stream(model="m", contents="Hello"))
    client.close()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("SAFETY", "content_filter"),
        ("MAX_TOKENS", "length"),
        ("OTHER", "error"),
        ("UNEXPECTED_TOOL_CALL", "malformed"),
        ("NEW_WORD", "unknown"),
    ],
)
def test_an_end_without_content(word: str, reason: str) -> None:
    candidate = {"index": 0, "finishReason": word}
    whole = read_response({"candidates": [candidate]}, "gemini-3-pro")
    for found in (whole, answer(event(candidates=[candidate]))):
        assert (found.choices[0].stop.reason, found.choices[0].stop.raw) == (reason, word)


def test_an_overload_within_a_stream_is_one_that_google_knows() -> None:
    error = orjson.loads(write_error(n.Fault(529, "overloaded"), ""))["error"]
    assert (error["code"], error["status"]) == (503, "UNAVAILABLE")


def test_what_is_no_white_space_of_json_begins_no_array() -> None:
    assert read("gemini", b"\x0b[") == read("gemini", b"\x0b{")
