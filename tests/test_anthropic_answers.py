"""Answers of Anthropic's Messages API: as its own package reads them, and against its habits."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from random import Random
from typing import Any

import anthropic
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routeur.dialects import neutral as n
from routeur.dialects import sse
from routeur.dialects.anthropic import answers
from routeur.dialects.anthropic.message import merge_usage, read_usage
from routeur.dialects.base import Usage
from routeur.dialects.exact import dumps, loads
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.collect import collect, events_of
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    AudioDelta,
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
from tests.mutations import mutated
from tests.recording import Recording, recording
from tests.translations import caller, check_order, dialect_of, read, streams, wholes, write

NAME = "anthropic"
# Of these one breaks off, and one is two streams.
ODD = ("spliced-message-start", "tool-search-regex.1")
OWN_STREAMS = [
    each for each in streams() if dialect_of(each) == NAME and not each.name.endswith(ODD)
]
OWN_WHOLES = [each for each in wholes() if dialect_of(each) == NAME]


def spell(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in events)


def start(**usage: Any) -> dict[str, Any]:
    usage = usage or {"input_tokens": 3, "output_tokens": 1}
    return {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": usage}}


def opened(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **members: Any) -> dict[str, Any]:
    inner = {"type": f"{kind}_delta", **members}
    return {"type": "content_block_delta", "index": index, "delta": inner}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


LAST = {"type": "message_stop"}


def read_all(*events: dict[str, Any]) -> list[Event]:
    found = read(NAME, spell(*events))
    check_order(found)
    return found


def answer(*events: dict[str, Any]) -> n.Response:
    return collect(read_all(*events))


def events_in(stream: bytes) -> list[Any]:
    """What a stream says, each event with its name in front of its data."""
    frames = sse.Frames().feed(stream)
    found = [(sse.event(each).decode(), orjson.loads(sse.data(each) or b"")) for each in frames]
    assert all(name == event["type"] for name, event in found)
    return [event for _, event in found]


# ── Anthropic's own package as the client


def by_package(body: bytes, kind: str) -> Any:
    """The message that it makes of an answer."""
    # It has changed its HTTP library: take the one it uses.
    http: Any = import_module(anthropic.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

    def respond(request: Any) -> Any:
        return http.Response(200, headers={"content-type": kind}, content=body)

    client = anthropic.Anthropic(
        api_key="sk-test", http_client=http.Client(transport=http.MockTransport(respond))
    )
    asked: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with client:
        if kind == "application/json":
            return client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            return stream.get_final_message()


def gist(message: Any) -> Any:
    """What its users look at."""
    blocks = [each.to_dict() for each in message.content]
    for each in blocks:
        each.pop("caller", None)
        if each.get("citations") in ([], None):
            each.pop("citations", None)
    usage = message.usage
    return (
        [each for each in blocks if each != {"type": "text", "text": ""}],
        (message.id, message.model, message.stop_reason, message.stop_sequence),
        (usage.input_tokens, usage.output_tokens),
        (usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0),
    )


@pytest.mark.parametrize("each", OWN_STREAMS, ids=str)
def test_streams_as_the_package_reads_them(each: Recording) -> None:
    """What we write of what we read is, to the package, what Anthropic sent."""
    written = write(NAME, read(NAME, each.body))
    assert gist(by_package(written, answers.STREAM_TYPE)) == gist(
        by_package(each.body, answers.STREAM_TYPE)
    )


@pytest.mark.parametrize("each", OWN_WHOLES, ids=str)
def test_answers_as_the_package_reads_them(each: Recording) -> None:
    response = answers.read_response(loads(each.body), "any")
    asked = caller(NAME)
    written = answers.write_response(response, asked)
    ours, theirs = (by_package(body, "application/json") for body in (written, each.body))
    compaction = "compaction" in each.name  # its tokens are added
    assert gist(ours)[: 2 if compaction else 4] == gist(theirs)[: 2 if compaction else 4]


@pytest.mark.parametrize("each", OWN_WHOLES, ids=str)
def test_answers_there_and_back(each: Recording) -> None:
    response = answers.read_response(loads(each.body), "any")
    again = loads(answers.write_response(response, caller(NAME)))
    assert answers.read_response(again, "any") == response
    stream = write(NAME, events_of(response))
    assert collect(read(NAME, stream)) == response


# ── reading


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_chunking(data: st.DataObject) -> None:
    body = recording("anthropic-tool-no-args").body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=20)))
    frames, reader = answers.Frames(), answers.EventReader("any")
    edges = [0, *cuts, len(body)]
    pieces = [body[one:two] for one, two in pairwise(edges)]
    found = [e for piece in pieces for frame in frames.feed(piece) for e in reader.read(frame)]
    assert found + reader.end() == read(NAME, body)


def test_a_stream() -> None:
    found = answer(
        start(input_tokens=10, cache_read_input_tokens=5, output_tokens=1),
        {"type": "ping"},
        opened(0, type="thinking", thinking="", signature=""),
        delta(0, "thinking", thinking="h"),
        delta(0, "thinking", thinking="m"),
        delta(0, "signature", signature="c2ln"),
        closed(0),
        opened(1, type="redacted_thinking", data="eHg="),
        closed(1),
        opened(2, type="text", text="", citations=[]),
        delta(2, "citations", citation={"type": "char_location", "cited_text": "q"}),
        delta(2, "text", text="a"),
        closed(2),
        opened(3, type="tool_use", id="t", name="f", input={}),
        delta(3, "input_json", partial_json=""),
        delta(3, "input_json", partial_json='{"x": 1'),
        delta(3, "input_json", partial_json=".0}"),
        closed(3),
        ended("tool_use", output_tokens=20, output_tokens_details={"thinking_tokens": 4}),
        LAST,
    )
    citation = {"type": "char_location", "cited_text": "q"}
    assert found.choices[0].blocks == (
        n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC),
        n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC),
        n.Text("a", (n.Citation(quote="q", raw=citation, dialect=NAME),)),
        n.ToolCall("t", "f", '{"x": 1.0}'),
    )
    assert found.choices[0].stop == n.Stop("tool_calls", raw="tool_use")
    assert found.usage == Usage(input=10, cache_read=5, output=16, reasoning=4)
    assert (found.id, found.model, found.dialect) == ("msg_1", "m", NAME)


@pytest.mark.parametrize(
    ("value", "pieces", "arguments"),
    [({}, [], "{}"), ({}, [""], "{}"), ({"a": 1}, [], '{"a":1}'), ({}, ['{"a"'], '{"a"')],
)
def test_inputs(value: Any, pieces: list[str], arguments: str) -> None:
    """No input is an empty object; some servers say the whole of it at the start."""
    found = answer(
        start(),
        opened(0, type="tool_use", id="t", name="f", input=value),
        *(delta(0, "input_json", partial_json=each) for each in pieces),
        closed(0),
        ended("tool_use"),
        LAST,
    )
    assert found.choices[0].blocks == (n.ToolCall("t", "f", arguments),)


def test_what_only_this_dialect_knows_comes_whole() -> None:
    found = read_all(
        start(),
        opened(0, type="server_tool_use", id="s", name="web_search", input={}),
        delta(0, "input_json", partial_json='{"q":'),
        delta(0, "input_json", partial_json=' "x"}'),
        closed(0),
        opened(1, type="compaction", content=None),
        delta(1, "compaction", content="so far", encrypted_content=None),
        closed(1),
        opened(2, type="tool_from_next_year", x=[1]),
        delta(2, "odd", y="a"),
        delta(2, "odd", y="b"),
        closed(2),
        {"type": "event_from_next_year", "x": 1},
        ended("pause_turn"),
        LAST,
    )
    assert collect(found).choices[0].blocks == (
        n.Opaque(
            NAME,
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}},
        ),
        n.Opaque(NAME, {"type": "compaction", "content": "so far"}, shown="so far"),
        n.Opaque(NAME, {"type": "tool_from_next_year", "x": [1], "y": "ab"}),
    )
    assert OpaqueEvent(NAME, {"type": "event_from_next_year", "x": 1}) in found


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "end"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("stop_sequence", "stop_sequence"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("compaction", "pause"),
        ("refusal", "refusal"),
        ("from_next_year", "unknown"),
    ],
)
def test_stop_reasons(word: str, reason: str) -> None:
    found = answer(start(), ended(word), LAST)
    assert (found.choices[0].stop.reason, found.choices[0].stop.raw) == (reason, word)
    again = events_in(write(NAME, events_of(found)))[-2]
    assert again["delta"]["stop_reason"] == word


def test_a_refusal() -> None:
    found = collect(read(NAME, recording("anthropic-refusal").body))
    assert found.choices[0].stop.detail.startswith("This request triggered")
    assert found.extra["stop_details"]["category"] == "cyber"


def test_starts_said_twice() -> None:
    found = collect(read(NAME, recording("duplicate-message-start").body))
    assert found.choices[0].blocks == (n.Text("Hello, World!"),)
    assert found.usage == Usage(input=17, output=227)


def test_a_second_answer_within_one() -> None:
    events = read(NAME, recording("spliced-message-start").body)
    assert isinstance(events[-1], Failed)


def test_the_last_figures_count() -> None:
    found = collect(read(NAME, recording("message-delta-input-tokens").body))
    assert found.usage == Usage(input=61, output=2)
    known: dict[str, Any] = {"input_tokens": 7, "output_tokens": 1}
    merge_usage(known, {"input_tokens": 0, "output_tokens": 5, "cache_read_input_tokens": None})
    assert read_usage(known) == Usage(input=7, output=5)


def test_servers_that_leave_things_out() -> None:
    """No starts, no stops, no message_stop: the stop reason makes it whole."""
    found = answer(
        delta(0, "text", text="a"),
        delta(1, "thinking", thinking="b"),
        ended("end_turn", output_tokens=2),
    )
    assert found.error is None
    assert found.choices[0].blocks == (n.Text("a"), n.Reasoning("b"))
    assert (found.model, found.usage) == ("any-model", Usage(output=2))
    assert answer(start(), LAST).choices[0].stop.reason == "unknown"


def test_a_cut_stream() -> None:
    events = read_all(start(), opened(0, type="text", text=""), delta(0, "text", text="a"))
    assert events[-1] == Failed(n.Fault(502, "the provider's answer broke off"))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, 529),
        ({"type": "rate_limit_error", "message": "Slower"}, 429),
        ({"type": "from_next_year", "message": "?"}, 502),
    ],
)
def test_an_error_in_a_stream(error: dict[str, Any], status: int) -> None:
    events = read_all(start(), {"type": "error", "error": error}, LAST)
    assert events[-1] == Failed(n.Fault(status, error["message"], error["type"]))


def test_no_json() -> None:
    events = read(NAME, b"data: {\n\ndata: 5\n\n: comment\n\n")
    assert isinstance(events[-1], Failed)


def test_half_an_emoji_fails_nothing() -> None:
    stream = spell(start(), opened(0, type="text", text="")) + (
        b'data: {"type":"content_block_delta","index":0,'
        rb'"delta":{"type":"text_delta","text":"a\ud83d"}}' + b"\n\n"
    )
    events = read(NAME, stream + spell(ended(), LAST))
    assert collect(events).choices[0].blocks == (n.Text("a\ud83d"),)
    assert write(NAME, [Start("openai_chat"), BlockStart(0, n.Text()), TextDelta(0, "\ud83d")])


def test_a_200_that_holds_an_error() -> None:
    body = {"type": "error", "error": {"type": "api_error", "message": "sorry"}}
    assert answers.read_response(body, "m").error == n.Fault(500, "sorry", "api_error")


def test_what_is_no_message_is_no_empty_one() -> None:
    """A server of another dialect: what it says is lost, so another provider is asked."""
    for body in ({}, {"choices": [{"message": {"content": "Hi"}}]}, {"content": None}):
        assert answers.read_response(body, "m").error == answers.NO_MESSAGE
    assert answers.read_response({"content": []}, "m").error is None


def test_odd_answers() -> None:
    """Nothing in an answer is fatal."""
    body = {"content": [5, {"type": "text"}, {"type": "tool_use", "id": "t", "name": "f"}]}
    found = answers.read_response(body, "m")
    assert found.choices[0].blocks == (
        n.Opaque(NAME, {}),
        n.Opaque(NAME, {"type": "text"}),
        n.ToolCall("t", "f", "{}"),
    )
    assert found.choices[0].stop.reason == "tool_calls"


@pytest.mark.parametrize("seed", range(5))
def test_no_answer_breaks_the_reader(seed: int) -> None:
    random = Random(seed)
    for _ in range(100):
        body = mutated(loads(random.choice(OWN_WHOLES).body), random)
        found = answers.read_response(body, "m")
        if found.error is None:
            assert answers.write_response(found, caller(NAME))


@pytest.mark.parametrize("seed", range(5))
def test_no_stream_breaks_the_reader(seed: int) -> None:
    random = Random(seed)
    for _ in range(100):
        said = mutated(events_in(random.choice(OWN_STREAMS).body)[:30], random)
        stream = b"".join(b"data: " + dumps(each) + b"\n\n" for each in said)
        events = read(NAME, stream)
        check_order(events)
        assert write(NAME, events)


# ── writing to clients


def written(*events: Event, losses: Any = None) -> list[Any]:
    asked = caller(NAME, stream=True)
    if losses is not None:
        asked = Caller(asked.request, asked.token, asked.created, losses)
    writer = answers.EventWriter(asked)
    stream = b"".join(writer.write(each) for each in events)
    by_package(stream, answers.STREAM_TYPE) if Done() in events else None
    return events_in(stream)


def contents(*events: Event) -> list[Any]:
    """What comes of these events of an answer: its blocks, whole."""
    whole = (Start("openai_chat"), *events, Stopped(n.Stop("end")), Done())
    message = collect(read(NAME, b"".join(
        b"data: " + orjson.dumps(each) + b"\n\n" for each in written(*whole)
    )))  # fmt: skip
    return list(message.choices[0].blocks)


def test_a_foreign_stream() -> None:
    found = written(
        Start("openai_chat", "chatcmpl-1", "gpt-4o"),
        BlockStart(0, n.Text()),
        TextDelta(0, "a"),
        Ping(),
        BlockStop(0),
        BlockStart(1, n.ToolCall("call_1", "f")),
        ArgumentsDelta(1, '{"x"'),
        ArgumentsDelta(1, ": 1}"),
        BlockStop(1),
        Stopped(n.Stop("tool_calls")),
        UsageUpdate(Usage(input=5, cache_read=2, output=3, reasoning=4, audio_in=1)),
        Done(),
    )
    assert [each["type"] for each in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "ping",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert found[0]["message"] == {
        "id": "msg_" + "x" * 24,
        "type": "message",
        "role": "assistant",
        "model": "gpt-4o",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {
            "input_tokens": 0,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }
    assert found[5]["content_block"] == {
        "type": "tool_use", "id": "call_1", "name": "f", "input": {},
    }  # fmt: skip
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert found[-2]["usage"] == {
        "input_tokens": 6,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_empty_blocks_are_not_begun() -> None:
    found = contents(
        BlockStart(0, n.Text()),
        BlockStop(0),
        BlockStart(1, n.Reasoning()),
        ReasoningDelta(1, ""),
        BlockStop(1),
        BlockStart(2, n.Text("a")),
        BlockStop(2),
    )
    assert found == [n.Text("a")]


def test_reasoning_of_others() -> None:
    """Its words are shown; what is sealed can be of no use here, and is named."""
    asked = caller(NAME)
    found = contents(
        BlockStart(0, n.Reasoning(origin=n.RESPONSES)),
        SummaryDelta(0, 0, "a"),
        SummaryDelta(0, 0, "b"),
        SummaryDelta(0, 1, "c"),
        Signed(0, encrypted="sealed", origin=n.RESPONSES),
        BlockStop(0),
        BlockStart(1, n.Reasoning("d", signature="s", origin=n.BEDROCK)),
        BlockStop(1),
    )
    assert found == [n.Reasoning("ab\n\nc"), n.Reasoning("d")]
    writer = answers.EventWriter(asked)
    for each in (BlockStart(0, n.Text()), Signed(0, "s", origin=n.GEMINI), BlockStop(0)):
        writer.write(each)
    assert asked.losses.dropped == ("signature",)


def test_reasoning_of_claude_elsewhere() -> None:
    found = contents(
        BlockStart(0, n.Reasoning(origin=n.ANTHROPIC)),
        ReasoningDelta(0, "a"),
        Signed(0, "c2ln"),
        BlockStop(0),
        BlockStart(1, n.Reasoning()),
        Signed(1, encrypted="eHg=", origin=n.ANTHROPIC),
        BlockStop(1),
        BlockStart(2, n.Reasoning(encrypted="eXk=", origin=n.ANTHROPIC)),
        BlockStop(2),
    )
    assert found == [
        n.Reasoning("a", signature="c2ln", origin=n.ANTHROPIC),
        n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC),
        n.Reasoning(encrypted="eXk=", origin=n.ANTHROPIC),
    ]


def test_blocks_come_one_at_a_time() -> None:
    found = contents(
        BlockStart(0, n.ToolCall("a", "f")),
        BlockStart(1, n.ToolCall("b", "g", "{")),
        ArgumentsDelta(0, "{}"),
        ArgumentsDelta(1, "}"),
        BlockStop(1),
        BlockStop(0),
    )
    assert found == [n.ToolCall("a", "f", "{}"), n.ToolCall("b", "g", "{}")]


def test_blocks_without_a_form_here() -> None:
    citation = n.Citation("https://a.example", "A", "q")
    nothing = n.Citation(quote="of nothing")
    found = contents(
        BlockStart(0, n.Refusal()),
        RefusalDelta(0, "no"),
        BlockStop(0),
        BlockStart(1, n.Audio()),
        AudioDelta(1, "AAAA", "hi"),
        BlockStop(1),
        BlockStart(2, n.Image(data="AAAA")),
        BlockStop(2),
        BlockStart(3, n.Opaque("gemini", {"type": "x"}, shown="y")),
        BlockStop(3),
        BlockStart(4, n.Text()),
        CitationDelta(4, citation),
        CitationDelta(4, nothing),
        TextDelta(4, "a"),
        BlockStop(4),
        OpaqueEvent("gemini", {"type": "z"}),
    )
    assert [each.text for each in found if isinstance(each, n.Text)] == ["no", "hi", "a"]
    cited = found[2]
    assert isinstance(cited, n.Text)
    assert [(each.url, each.quote) for each in cited.citations] == [("https://a.example", "q")]


def test_a_failure_leaves_open_what_is_open() -> None:
    """A call that looks whole would be made."""
    found = written(
        Start("gemini"),
        BlockStart(0, n.ToolCall("a", "f")),
        ArgumentsDelta(0, '{"x"'),
        Failed(n.Fault(529, "Overloaded")),
    )
    assert [each["type"] for each in found[-2:]] == ["content_block_delta", "error"]
    assert found[-1]["error"] == {"type": "overloaded_error", "message": "Overloaded"}


def test_extras_of_its_own_go_through() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "e"}
    found = written(
        Start(NAME, "msg_1", "m", service_tier="standard", extra={"usage": {"speed": "fast"}}),
        MetaUpdate(extra={"container": {"id": "c", "expires_at": "2026-01-01T00:00:00Z"}}),
        MetaUpdate(extra={"stop_details": details, "context_management": {"applied_edits": []}}),
        OpaqueEvent(NAME, {"type": "odd"}),
        Stopped(n.Stop("refusal", raw="refusal", detail="e")),
        Done(),
    )
    assert found[0]["message"]["id"] == "msg_1"
    assert found[0]["message"]["usage"]["speed"] == "fast"
    assert found[0]["message"]["usage"]["service_tier"] == "standard"
    assert found[1] == {"type": "odd"}
    assert found[2]["delta"]["container"]["id"] == "c"
    assert found[2]["delta"]["stop_details"] == details
    assert found[2]["context_management"] == {"applied_edits": []}


def test_a_foreign_answer() -> None:
    asked = caller(NAME)
    response = n.Response(
        "openai_responses",
        "resp_1",
        "gpt-5",
        choices=(
            n.Choice(
                (
                    n.Reasoning(summary=("a", "b"), encrypted="x", origin=n.RESPONSES),
                    n.Text(""),
                    n.Text(" "),
                    n.ToolCall("call_1", "f", '{"a": 1.0}', extra={"x": 1}),
                ),
                n.Stop("content_filter", detail="why"),
            ),
        ),
        usage=Usage(input=1, cache_write=2, cache_write_1h=3, output=4),
        extra={"y": 1},
    )
    body = answers.write_response(response, asked)
    by_package(body, "application/json")
    found = loads(body)
    assert b'"input":{"a": 1.0}' in body
    assert found["id"] == "msg_" + asked.token
    assert [each["type"] for each in found["content"]] == ["thinking", "text", "tool_use"]
    assert found["content"][0] == {"type": "thinking", "thinking": "a\n\nb", "signature": ""}
    assert found["stop_reason"] == "refusal"
    assert found["stop_details"]["explanation"] == "why"
    assert found["usage"]["cache_creation_input_tokens"] == 5
    assert found["usage"]["cache_creation"] == {
        "ephemeral_5m_input_tokens": 2,
        "ephemeral_1h_input_tokens": 3,
    }
    assert "y" not in found
    assert asked.losses.dropped == ("reasoning.signature",)
    assert answers.read_response(found, "m").usage == response.usage


# ── errors


def test_errors_as_recorded() -> None:
    each = recording("anthropic_completion_error")
    found = answers.read_error(400, each.headers, each.body)
    assert found.type == "invalid_request_error"
    assert found.message.startswith("messages.0:")


def test_when_to_come_back() -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    error = {"type": "rate_limit_error", "message": "Spend limit", "details": details}
    body = orjson.dumps({"type": "error", "error": error})
    found = answers.read_error(429, {"retry-after": "31"}, body)
    assert (found.retry_after, found.code) == (31.0, "enforced_spend_limit_reached")
    for wrong in ("soon", "-1", "nan", "inf"):
        assert answers.read_error(429, {"retry-after": wrong}, body).retry_after is None


def test_an_error_of_vertex() -> None:
    body = b'[{"error": {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED"}}]'
    assert answers.read_error(429, {}, body).message == "Quota"


def test_an_error_to_a_client() -> None:
    found = orjson.loads(answers.write_error(n.Fault(413, "too much"), "req_1"))
    assert found == {
        "type": "error",
        "error": {"type": "request_too_large", "message": "too much"},
        "request_id": "req_1",
    }
