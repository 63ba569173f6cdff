"""Answers of Bedrock: whole ones, streams however they are cut, errors; as botocore reads them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import botocore.session
import orjson
import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError
from botocore.parsers import EventStreamJSONParser, create_parser
from hypothesis import given
from hypothesis import strategies as st

from routeur.dialects import neutral as n
from routeur.dialects.base import Usage
from routeur.dialects.bedrock.answers import (
    EventReader,
    EventWriter,
    Frames,
    read_error,
    read_response,
    write_error,
    write_response,
)
from routeur.dialects.bedrock.requests import write_request
from routeur.dialects.eventstream import Message
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.neutral.collect import collect, events_of
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Done,
    Event,
    Failed,
    MetaUpdate,
    OpaqueEvent,
    Ping,
    ReasoningDelta,
    RefusalDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.translate import TRANSLATORS
from tests.fake import cut
from tests.recording import HERE, Recording, aws_frame, recording
from tests.shapes import problems
from tests.translations import (
    caller,
    check_order,
    dialect_of,
    recorded_events,
    streams,
    wholes,
)

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
SERVICE = botocore.session.get_session().get_service_model("bedrock-runtime")
STREAMS = [each for each in streams() if dialect_of(each) == "bedrock"]
WHOLES = [each for each in wholes() if dialect_of(each) == "bedrock"]
EMPTY = ({"text": ""}, {"reasoningContent": {"text": ""}})
PNG = b64encode(b"\x89PNG\r\n\x1a\n").decode()


def read(stream: bytes, ends: Iterable[int] = (), model: str = CLAUDE) -> list[Event]:
    frames, reader = Frames(), EventReader(model)
    found = [
        event
        for chunk in cut(stream, ends)
        for frame in frames.feed(chunk)
        for event in reader.read(frame)
    ]
    return found + reader.end()


def events(*messages: tuple[str, Any], model: str = CLAUDE) -> list[Event]:
    found = read(b"".join(aws_frame(name, payload) for name, payload in messages), model=model)
    check_order(found)
    return found


def blocks(*messages: tuple[str, Any], model: str = CLAUDE) -> tuple[n.Block, ...]:
    """Of an answer that these messages are, and an end."""
    stop = ("messageStop", {"stopReason": "end_turn"})
    return collect(events(START, *messages, stop, model=model)).choices[0].blocks


def delta(at: int, **value: Any) -> tuple[str, Any]:
    return "contentBlockDelta", {"contentBlockIndex": at, "delta": value}


def begin(at: int, **value: Any) -> tuple[str, Any]:
    return "contentBlockStart", {"contentBlockIndex": at, "start": value}


def stop(at: int) -> tuple[str, Any]:
    return "contentBlockStop", {"contentBlockIndex": at}


START = ("messageStart", {"role": "assistant"})
END = ("messageStop", {"stopReason": "end_turn"})
USED = (
    "metadata",
    {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 4}},
)


class Body:
    """An answer's body as botocore wants it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def stream(self) -> Iterator[bytes]:
        yield self.data

    def close(self) -> None:
        pass


def theirs(stream: bytes) -> list[dict[str, Any]]:
    """The stream as botocore reads it."""
    shape = SERVICE.operation_model("ConverseStream").output_shape.members["stream"]
    return list(EventStream(Body(stream), shape, EventStreamJSONParser(), "ConverseStream"))


def parsed(body: bytes, status: int = 200) -> dict[str, Any]:
    """The answer as botocore reads it."""
    answer = {"status_code": status, "headers": {}, "body": body}
    shape = SERVICE.operation_model("Converse").output_shape
    found: dict[str, Any] = create_parser("rest-json").parse(answer, shape)
    return found


def written(*given: Event) -> bytes:
    writer = EventWriter(caller("bedrock", stream=True))
    return b"".join(writer.write(event) for event in given)


# ── streams, read


@pytest.mark.parametrize("each", STREAMS, ids=str)
def test_a_recorded_stream_in_any_chunks(each: Recording) -> None:
    whole = recorded_events(each)
    frames = [0]
    for frame in Frames().feed(each.body):
        frames.append(frames[-1] + len(frame))

    # inside of every prelude, headers and checksum
    ends = sorted({edge + offset for edge in frames[:-1] for offset in (1, 4, 9, 12, 20)})

    assert frames[-1] == len(each.body)
    assert read(each.body, ends, "any-model") == list(whole)


@given(st.data())
def test_any_chunks(data: st.DataObject) -> None:
    body = recording("test_bedrock_model_thinking_part_stream").body
    ends = sorted(data.draw(st.lists(st.integers(1, len(body) - 1), max_size=30)))
    assert read(body, ends) == read(body)


def test_a_recorded_answer() -> None:
    (block, text), stopped = thinking_answer()
    assert isinstance(block, n.Reasoning)
    assert block.text.startswith("The")
    assert block.signature
    assert block.origin == n.ANTHROPIC
    assert isinstance(text, n.Text)
    assert text.text.startswith("Hello! It")
    assert stopped == n.Stop("end", raw="end_turn")


def thinking_answer() -> tuple[tuple[n.Block, ...], n.Stop]:
    answer = collect(read(recording("test_bedrock_model_thinking_part_stream").body))
    assert answer.usage == Usage(input=36, output=73)
    assert answer.model == CLAUDE
    assert answer.extra == {"metrics": {"latencyMs": 1999}}
    return answer.choices[0].blocks, answer.choices[0].stop


def test_tools_that_the_provider_runs_come_whole() -> None:
    answer = collect(recorded_events(recording("test_bedrock_model_code_execution_tool_stream")))
    call, result, own = answer.choices[0].blocks
    assert isinstance(call, n.Opaque)
    assert call.raw["toolUse"]["input"] == {"snippet": "1234 * 5678"}
    assert isinstance(result, n.Opaque)
    assert result.raw["toolResult"]["content"][0]["json"]["stdOut"] == "7006652"
    assert isinstance(own, n.ToolCall)
    assert own.arguments == '{"result":7006652.0}'


def test_an_empty_text_opens_nothing() -> None:
    answer = collect(recorded_events(recording("test_bedrock_model_stream_empty_text_delta")))
    assert [type(each) for each in answer.choices[0].blocks] == [n.Reasoning, n.Text]


def test_blocks_that_are_never_closed() -> None:
    found = events(
        delta(0, text="a"),
        begin(1, toolUse={"toolUseId": "t", "name": "f"}),
        delta(1, toolUse={"input": "{"}),
        delta(2, text="b"),
        delta(1, toolUse={"input": "}"}),
        END,
    )
    assert found[1:] == [
        BlockStart(0, n.Text()),
        TextDelta(0, "a"),
        BlockStop(0),
        BlockStart(1, n.ToolCall("t", "f")),
        ArgumentsDelta(1, "{"),
        BlockStart(2, n.Text()),
        TextDelta(2, "b"),
        ArgumentsDelta(1, "}"),
        BlockStop(1),
        BlockStop(2),
        Stopped(n.Stop("tool_calls", raw="end_turn")),
        Done(),
    ]


def test_usage_comes_behind_the_end_or_before_it() -> None:
    for order in ((END, USED), (USED, END)):
        answer = collect(events(START, delta(0, text="a"), *order))
        assert answer.usage == Usage(input=1, output=2)
    late = read(b"".join(aws_frame(*each) for each in (START, END, USED, delta(3, text="z"))))
    assert late[-1] == Done()


def test_redacted_reasoning_and_signatures() -> None:
    sealed = b64encode(b"RXU4").decode()
    given = (delta(0, reasoningContent={"redactedContent": sealed}), stop(0))
    assert blocks(*given) == (n.Reasoning(encrypted="RXU4", origin=n.ANTHROPIC),)
    assert blocks(*given, model="nova") == (n.Reasoning(encrypted=sealed, origin=n.BEDROCK),)


def test_citations() -> None:
    cited = {
        "title": "T",
        "source": "https://a.example",
        "sourceContent": [{"text": "q"}],
        "location": {"documentPage": {"documentIndex": 2, "start": 1}},
    }
    (text,) = blocks(delta(0, text="It is."), delta(0, citation=cited), stop(0))
    citation = n.Citation(
        url="https://a.example", title="T", quote="q", document=2, raw=cited, dialect="bedrock"
    )
    assert text == n.Text("It is.", (citation,))
    assert blocks(delta(0, citation=cited))[0] == n.Text("", (citation,))


def test_images_in_pieces() -> None:
    halves = [b64encode(part).decode() for part in (b"\x89PN", b"G\r\n\x1a\n")]
    pieces = [delta(0, image={"source": {"bytes": half}}) for half in halves]
    (image,) = blocks(begin(0, image={"format": "png"}), *pieces, stop(0))
    assert image == n.Image(data=PNG, media_type="image/png")


def test_what_is_new_is_not_fatal() -> None:
    found = events(
        ("newEvent", {"a": 1}),
        START,
        ("newEvent", {"a": 1}),
        begin(0, newKind={"b": 2}),
        delta(0, newKind={"c": 3}),
        stop(0),
        delta(1, newDelta={}),
        ("contentBlockDelta", {}),
        ("contentBlockStop", []),
        ("messageStop", {"stopReason": "new_reason"}),
    )
    assert collect(found).choices[0] == n.Choice(
        (n.Opaque("bedrock", {"newKind": {"b": 2}, "deltas": [{"newKind": {"c": 3}}]}),),
        n.Stop("unknown", raw="new_reason"),
    )
    assert OpaqueEvent("bedrock", {"newEvent": {"a": 1}}) in found


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "end"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "malformed"),
        ("malformed_tool_use", "malformed"),
        ("", "unknown"),
    ],
)
def test_stop_reasons(raw: str, reason: str) -> None:
    answer = collect(events(START, ("messageStop", {"stopReason": raw})))
    assert answer.choices[0].stop == n.Stop(reason, raw=raw)  # type: ignore[arg-type]
    again = written(*events_of(answer))
    assert collect(read(again)).choices[0].stop.reason in (reason, "end")


def test_the_stop_sequence_that_was_met() -> None:
    for fields in ({"delta": {"stop_sequence": "END"}}, {"stop_sequence": "END"}):
        said = {"stopReason": "stop_sequence", "additionalModelResponseFields": fields}
        answer = collect(events(START, ("messageStop", said)))
        assert answer.choices[0].stop.sequence == "END"
        assert answer.extra == {"additionalModelResponseFields": fields}


# ── streams that fail


@pytest.mark.parametrize(
    ("headers", "payload", "fault"),
    [
        (
            {":message-type": "exception", ":exception-type": "throttlingException"},
            {"message": "too many"},
            n.Fault(429, "too many", type="throttlingException"),
        ),
        (
            {":message-type": "exception", ":exception-type": "modelStreamErrorException"},
            {"originalStatusCode": 500, "originalMessage": "broken"},
            n.Fault(424, "broken", type="modelStreamErrorException"),
        ),
        (
            {
                ":message-type": "error",
                ":error-code": "InternalFailure",
                ":error-message": "an error",
            },
            {},
            n.Fault(500, "an error", type="InternalFailure"),
        ),
        (
            {":message-type": "exception", ":exception-type": "newException"},
            [],
            n.Fault(502, "the provider ended with newException", type="newException"),
        ),
    ],
)
def test_exceptions_end_a_stream(headers: Any, payload: Any, fault: n.Fault) -> None:
    frame = Message(headers, orjson.dumps(payload)).encode()
    begun = b"".join(aws_frame(*each) for each in (START, delta(0, text="a")))
    assert read(begun + frame + aws_frame(*END))[-1] == Failed(fault)
    assert read(frame) == [Failed(fault)]


def test_the_documented_frames() -> None:
    documented = json.loads((HERE / "errors" / "documented-errors.json").read_text())["bodies"]
    frames = [each["event_stream_frame"] for each in documented if "event_stream_frame" in each]
    statuses = []
    for frame in frames:
        payload = orjson.dumps(frame["payload"]) if frame["payload"] else b""
        (failed,) = read(Message(frame["headers"], payload).encode())
        assert isinstance(failed, Failed)
        statuses.append(failed.fault.status)
    assert statuses == [429, 500]


@pytest.mark.parametrize("size", [0, 1, 11, 12, 15, 40, 90])
def test_a_damaged_stream_fails(size: int) -> None:
    body = recording("test_bedrock_model_stream").body
    damaged = bytearray(body)
    damaged[size] ^= 1
    (failed,) = read(bytes(damaged))
    assert isinstance(failed, Failed)
    assert failed.fault.status == 502
    assert read(bytes(damaged), range(1, 400)) == [failed]


@pytest.mark.parametrize("body", [b"", b"<html>Not found</html>", b'{"message": "no stream"}'])
def test_what_is_no_stream_fails(body: bytes) -> None:
    (failed,) = read(body)
    assert isinstance(failed, Failed)


def test_payloads_that_are_no_json() -> None:
    headers = {":message-type": "event", ":event-type": "messageStart"}
    (failed,) = read(Message(headers, b"{").encode())
    assert isinstance(failed, Failed)
    assert read(Message(headers, b"[]").encode())[0] == Start("bedrock", model=CLAUDE)


@given(st.binary(max_size=200))
def test_any_bytes_are_read(body: bytes) -> None:
    assert isinstance(read(body)[-1], Failed)


@given(
    st.sampled_from(
        ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "metadata"]
    ),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    "contentBlockIndex delta start text toolUse toolResult reasoningContent input"
                    " image citation usage serviceTier name".split()
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    ),
)
def test_any_payload_is_read(name: str, payload: Any) -> None:
    payload = json.loads(json.dumps(payload))
    frame = Message(
        {":message-type": "event", ":event-type": name}, json.dumps(payload).encode()
    ).encode()
    check_order(read(aws_frame(*START) + frame + frame + aws_frame(*END)))


def test_halves_of_characters() -> None:
    headers = {":message-type": "event", ":event-type": "contentBlockDelta"}
    half = b'{"contentBlockIndex":0,"delta":{"text":"a\\ud83d"}}'
    (found,) = collect(read(Message(headers, half).encode())).choices[0].blocks
    assert found == n.Text("a\ud83d")


# ── streams, written


@pytest.mark.parametrize("each", STREAMS, ids=str)
def test_a_recorded_stream_is_written_as_it_came(each: Recording) -> None:
    """To botocore's eyes; but for empty texts, and what was out of order."""
    anomalies = ("json-with-tools.1", "tool-no-args", "empty_text_delta")
    if not each.name.endswith(anomalies):
        found = theirs(written(*recorded_events(each)))
        assert [plain(one) for one in found if one] == [
            plain(one) for one in theirs(each.body) if delta_of(one) not in EMPTY
        ]


def delta_of(event: dict[str, Any]) -> Any:
    return event.get("contentBlockDelta", {}).get("delta")


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Without members that are not described, and with those that are 0 if they are missing."""
    usage = answer.get("metadata", answer).get("usage", {})
    if usage:
        usage.setdefault("cacheReadInputTokens", 0)
        usage.setdefault("cacheWriteInputTokens", 0)
        usage.pop("cacheDetails", None)
    content = answer.get("output", {}).get("message", {}).get("content", [])
    for block in [*content, answer.get("contentBlockStart", {}).get("start", {})]:
        if block.get("toolUse", {}).get("type") == "tool_use":
            del block["toolUse"]["type"]
    return answer


def test_a_foreign_stream() -> None:
    body = written(
        Start("openai_responses", id="resp_1"),
        BlockStart(0, n.Reasoning(id="rs_1")),
        SummaryDelta(0, 0, "One."),
        SummaryDelta(0, 1, "Two."),
        Signed(0, encrypted="sealed", origin=n.RESPONSES),
        BlockStart(1, n.Text()),
        TextDelta(1, "Hi"),
        Ping(),
        BlockStop(0),
        CitationDelta(1, n.Citation(url="https://a.example", title="A")),
        Signed(1, signature="g", origin=n.GEMINI),
        BlockStop(1),
        BlockStart(2, n.Text()),
        BlockStop(2),
        BlockStart(3, n.ToolCall("call_1", "f")),
        ArgumentsDelta(3, '{"a": 1.0}'),
        BlockStop(3),
        BlockStart(4, n.Image(data=PNG, media_type="image/png")),
        BlockStop(4),
        BlockStart(5, n.Image(url="https://a.example/x.png")),
        BlockStop(5),
        BlockStart(6, n.Refusal()),
        RefusalDelta(6, "no"),
        BlockStop(6),
        BlockStart(7, n.Opaque("anthropic", {"type": "server_tool_use"})),
        BlockStop(7),
        Stopped(n.Stop("tool_calls")),
        UsageUpdate(Usage(input=1, cache_read=2, cache_write=3, cache_write_1h=4, output=5)),
        MetaUpdate(service_tier="flex", extra={"metrics": "foreign"}),
        Done(),
    )
    found = theirs(body)
    assert [delta_of(each) for each in found if delta_of(each)] == [
        {"reasoningContent": {"text": "One."}},
        {"reasoningContent": {"text": "\n\nTwo."}},
        {"text": "Hi"},
        {"citation": {"title": "A", "location": {"web": {"url": "https://a.example"}}}},
        {"toolUse": {"input": '{"a": 1.0}'}},
        {"image": {"source": {"bytes": b"\x89PNG\r\n\x1a\n"}}},
        {"text": "no"},
    ]
    starts = [each["contentBlockStart"]["start"] for each in found if "contentBlockStart" in each]
    assert starts == [
        {"toolUse": {"toolUseId": "call_1", "name": "f"}},
        {"image": {"format": "png"}},
    ]
    indexes = [each["contentBlockStop"] for each in found if "contentBlockStop" in each]
    assert [each["contentBlockIndex"] for each in indexes] == [0, 1, 2, 3, 4]
    assert found[-2] == {"messageStop": {"stopReason": "tool_use"}}
    assert found[-1]["metadata"] == {
        "usage": {
            "inputTokens": 1,
            "outputTokens": 5,
            "totalTokens": 15,
            "cacheReadInputTokens": 2,
            "cacheWriteInputTokens": 7,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 3}],
        },
        "metrics": {"latencyMs": 0},
        "serviceTier": {"type": "flex"},
    }


def test_what_is_lost_in_a_stream_is_named() -> None:
    asked = caller("bedrock", stream=True)
    writer = EventWriter(asked)
    for event in (
        Start("gemini"),
        BlockStart(0, n.Text()),
        Signed(0, signature="g", origin=n.GEMINI),
        BlockStop(0),
        BlockStart(1, n.Audio()),
        BlockStop(1),
        BlockStart(2, n.Reasoning()),
        ReasoningDelta(2, "hm"),
        Signed(2, encrypted="x", origin=n.RESPONSES),
        BlockStop(2),
    ):
        writer.write(event)
    assert asked.losses.dropped == ("text.signature", "audio", "reasoning.signature")


def test_a_failure_is_botocores_exception() -> None:
    for status, name in (
        (400, "validationException"),
        (424, "modelStreamErrorException"),
        (429, "throttlingException"),
        (500, "internalServerException"),
        (529, "serviceUnavailableException"),
    ):
        body = written(Start("gemini"), Failed(n.Fault(status, "what went wrong")))
        with pytest.raises(EventStreamError, match=f"{name}.*what went wrong"):
            theirs(body)


def test_nothing_is_written_at_the_end_of_a_cut_stream() -> None:
    body = written(Start("gemini"), BlockStart(0, n.Text()), TextDelta(0, "He"))
    assert [next(iter(each)) for each in theirs(body)] == ["messageStart", "contentBlockDelta"]


# ── whole answers


@pytest.mark.parametrize("each", WHOLES, ids=str)
def test_a_recorded_answer_is_written_as_it_came(each: Recording) -> None:
    answer = read_response(orjson.loads(each.body), CLAUDE)
    body = write_response(answer, caller("bedrock"))
    assert plain(parsed(body)) == plain(parsed(each.body))
    written = orjson.loads(body)["output"]["message"]["content"]
    assert [list(problems(block, "ContentBlock")) for block in written] == [[]] * len(written)


def test_what_an_answer_says() -> None:
    answer = read_response(
        {
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [
                        {"text": ""},
                        {"citationsContent": {"content": [{"text": "a"}, {"text": "b"}]}},
                        {"toolUse": {"toolUseId": "t", "name": "f", "input": {"x": 1.0}}},
                        {"text": 5},
                        {"image": {"format": "png"}},
                        7,
                    ],
                }
            },
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": 1,
                "outputTokens": 2,
                "totalTokens": 13,
                "cacheReadInputTokens": 3,
                "cacheWriteInputTokens": 7,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 4}, {"ttl": "5m", "inputTokens": 3}],
            },
            "metrics": {"latencyMs": 1},
            "trace": {"guardrail": {}},
            "serviceTier": {"type": "priority"},
        },
        CLAUDE,
    )
    assert answer.choices[0] == n.Choice(
        (
            n.Text("ab"),
            n.ToolCall("t", "f", '{"x":1.0}'),
            n.Opaque("bedrock", {"text": 5}),
            n.Opaque("bedrock", {"image": {"format": "png"}}),
        ),
        n.Stop("tool_calls", raw="end_turn"),
    )
    assert answer.usage == Usage(input=1, cache_read=3, cache_write=3, cache_write_1h=4, output=2)
    assert answer.service_tier == "priority"
    assert answer.extra == {"metrics": {"latencyMs": 1}, "trace": {"guardrail": {}}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "no `output`"),
        ({"message": "went wrong"}, "went wrong"),
        ({"output": None, "Message": "went wrong"}, "went wrong"),
        ({"Output": {"__type": "a#B"}, "Version": "1.0"}, "no `output`"),
    ],
)
def test_an_answer_that_is_none(body: dict[str, Any], message: str) -> None:
    error = read_response(body, CLAUDE).error
    assert error is not None
    assert message in error.message


def test_a_foreign_answer() -> None:
    answer = n.Response(
        "openai_chat",
        choices=(
            n.Choice(
                (
                    n.Reasoning("hm", encrypted="x", origin=n.RESPONSES),
                    n.Reasoning(encrypted="x", origin=n.RESPONSES),
                    n.Reasoning(encrypted="RXU4", origin=n.ANTHROPIC),
                    n.Text(""),
                    n.Text("Hi", (n.Citation(url="https://a.example"),)),
                    n.ToolCall("call_1", "with.dot", "{}"),
                    n.Image(url="https://a.example/x.png"),
                    n.Audio(PNG, "wav", transcript="aloud"),
                    n.Refusal("no"),
                    n.Opaque("gemini", {"executableCode": {}}),
                ),
                n.Stop("refusal"),
            ),
        ),
        extra={"system_fingerprint": "x"},
    )
    asked = caller("bedrock")
    body = write_response(answer, asked)
    content = orjson.loads(body)["output"]["message"]["content"]
    assert content == [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}},
        {"reasoningContent": {"redactedContent": "UlhVNA=="}},
        {
            "citationsContent": {
                "content": [{"text": "Hi"}],
                "citations": [{"location": {"web": {"url": "https://a.example"}}}],
            }
        },
        {"toolUse": {"toolUseId": "call_1", "name": "with.dot", "input": {}}},
        {"audio": {"format": "wav", "source": {"bytes": PNG}}},
        {"text": "no"},
    ]
    assert list(problems(orjson.loads(body), "ConverseResponse"))[1:] == []  # the tool's name
    assert parsed(body)["stopReason"] == "content_filtered"
    assert asked.losses.dropped == ("reasoning.signature", "image.url", "executableCode")


# ── errors


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (
            "bedrock_converse_error",
            n.Fault(
                403,
                "The security token included in the request is expired",
                type="ExpiredTokenException",
            ),
        ),
        (
            "test_converse_stream_with_invalid_model",
            n.Fault(400, "The provided model identifier is invalid.", type="ValidationException"),
        ),
    ],
)
def test_recorded_errors(name: str, fault: n.Fault) -> None:
    each = recording(name)
    assert read_error(each.status, each.headers, each.body) == fault


def test_errors() -> None:
    assert read_error(429, {"retry-after": "3"}, b'{"Message": "slow"}').retry_after == 3
    assert read_error(429, {"retry-after": "Fri, 31 Dec"}, b"").retry_after is None
    body = b'{"__type": "com.amazon.coral#ThrottlingException", "message": "x"}'
    assert read_error(429, {}, body).type == "ThrottlingException"
    assert read_error(500, {}, b"<html>").message == "the provider answered with status 500"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (413, "ValidationException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (504, "ModelTimeoutException"),
        (529, "ServiceUnavailableException"),
    ],
)
def test_written_errors_are_botocores(status: int, code: str) -> None:
    found = parsed(write_error(n.Fault(status, "what went wrong"), "req_1"), status)
    assert found["Error"] == {"Code": code, "Message": "what went wrong"}


# ── the next turn


@pytest.mark.parametrize(
    "name", ["bedrock_model_thinking_part_anthropic.0", "bedrock_model_thinking_part_redacted.0"]
)
def test_reasoning_survives_an_anthropic_client(name: str) -> None:
    """Sent back by a client of Anthropic's, it reaches Claude on Bedrock as it came."""
    answer = orjson.loads(recording(name).body)
    anthropic = TRANSLATORS["anthropic"]
    said = anthropic.answers.write_response(read_response(answer, CLAUDE), caller("anthropic"))
    body = {
        "model": "claude",
        "max_tokens": 5000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": orjson.loads(said)["content"]},
            {"role": "user", "content": "And?"},
        ],
    }
    request = anthropic.requests.read_request(body, model="claude", stream=False)
    losses = Losses(strict=True)
    written = write_request(request, Aim("bedrock", CLAUDE, "anthropic", "bedrock"), losses)
    assert orjson.loads(written)["messages"][1] == answer["output"]["message"]
