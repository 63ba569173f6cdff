"""Answers of the Responses API: streams that are read and written, and the whole resource."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from typing import Any

import openai
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response as SdkResponse
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from routeur.dialects import neutral as n
from routeur.dialects import sse
from routeur.dialects.base import Usage
from routeur.dialects.neutral.aim import Caller, Losses
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
    LogprobsDelta,
    MetaUpdate,
    OpaqueEvent,
    Ping,
    ReasoningDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.openai_responses.answers import (
    EventReader,
    EventWriter,
    read_error,
    read_response,
    write_error,
    write_response,
)
from routeur.dialects.openai_responses.requests import read_request, write_request
from routeur.dialects.translate import TRANSLATORS
from tests.recording import Recording, recording
from tests.schemas import breaks
from tests.translations import (
    NOW,
    TOKEN,
    aim_at,
    caller,
    check_order,
    dialect_of,
    is_stream,
    read,
    read_whole,
    recorded_events,
    streams,
    wholes,
    write,
)

NAME = "openai_responses"
OPEN_RESPONSES = "openresponses-2026-04-24.json"
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WHOLE: TypeAdapter[Any] = TypeAdapter(SdkResponse)
FOREIGN_STREAMS = [each for each in streams() if dialect_of(each) != NAME]
FOREIGN_WHOLES = [each for each in wholes() if dialect_of(each) != NAME]
OWN_WHOLES = [each for each in wholes() if dialect_of(each) == NAME and b'"output"' in each.body]


def payloads(stream: bytes) -> list[dict[str, Any]]:
    """The data of all events, in order."""
    frames = sse.Frames().feed(stream)
    return [orjson.loads(found) for each in frames if (found := sse.data(each))]


def written(*events: Event, **members: Any) -> list[dict[str, Any]]:
    return payloads(write(NAME, [Start("anthropic"), *events], **members))


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [each["type"].removeprefix("response.") for each in events]


def whole(*blocks: n.Block, stop: str = "end", **members: Any) -> dict[str, Any]:
    choice = n.Choice(blocks, n.Stop(stop))  # type: ignore[arg-type]
    answer = n.Response("anthropic", choices=(choice,), **members)
    found: dict[str, Any] = orjson.loads(write_response(answer, caller(NAME)))
    return found


def frames(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: %s\n\n" % orjson.dumps(each) for each in events)


def read_events(*events: dict[str, Any]) -> list[Event]:
    created = {"type": "response.created", "response": {"id": "resp_1", "model": "m"}}
    return read(NAME, frames(created, *events))


COMPLETED = {"type": "response.completed", "response": {"status": "completed", "output": []}}


# ── writing a stream


def test_the_events_of_a_text() -> None:
    events = written(
        BlockStart(0, n.Text()),
        TextDelta(0, "Hel"),
        Ping(),
        TextDelta(0, "lo"),
        BlockStop(0),
        UsageUpdate(Usage(input=3, cache_read=2, output=4, reasoning=1)),
        Stopped(n.Stop("end")),
        Done(),
    )
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [each["sequence_number"] for each in events] == list(range(10))
    item = {
        "type": "message",
        "id": f"msg_{TOKEN}00",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
    }
    assert events[8]["item"] == item
    last = events[9]["response"]
    assert last["output"] == [item]
    assert last["id"] == f"resp_{TOKEN}"
    assert last["usage"] == {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 10,
    }


def test_texts_in_a_row_are_one() -> None:
    """Anthropic cuts a text at its citations; where they stand is told by their indexes."""
    source = n.Citation(url="https://a.example", title="A", dialect="anthropic")
    events = written(
        BlockStart(0, n.Text()),
        TextDelta(0, "It is "),
        BlockStop(0),
        BlockStart(1, n.Text()),
        CitationDelta(1, source),
        TextDelta(1, "blue"),
        BlockStop(1),
        BlockStart(2, n.Text()),
        TextDelta(2, "."),
        BlockStop(2),
        Stopped(n.Stop("end")),
        Done(),
    )
    (item,) = events[-1]["response"]["output"]
    (part,) = item["content"]
    assert part["text"] == "It is blue."
    assert part["annotations"] == [
        {
            "type": "url_citation",
            "url": "https://a.example",
            "title": "A",
            "start_index": 6,
            "end_index": 10,
        }
    ]
    (added,) = [each for each in events if each["type"].endswith("annotation.added")]
    assert added["annotation"] == part["annotations"][0]


def test_citations_that_cannot_be_said_are_named() -> None:
    asked = caller(NAME)
    writer = EventWriter(asked)
    writer.write(BlockStart(0, n.Text("a", (n.Citation(document=0, quote="q"),))))
    assert asked.losses.dropped == ("citations",)


def test_items_may_grow_side_by_side() -> None:
    events = written(
        BlockStart(0, n.Text()),
        TextDelta(0, "a"),
        BlockStart(1, n.ToolCall("c1", "f")),
        ArgumentsDelta(1, '{"x": '),
        TextDelta(0, "b"),
        BlockStart(2, n.ToolCall("c2", "g")),
        ArgumentsDelta(2, "{}"),
        ArgumentsDelta(1, "1.0}"),
        BlockStop(0),
        BlockStop(2),
        BlockStop(1),
        Stopped(n.Stop("tool_calls")),
        Done(),
    )
    output = events[-1]["response"]["output"]
    assert output[0]["content"][0]["text"] == "ab"
    assert [(each["call_id"], each["arguments"]) for each in output[1:]] == [
        ("c1", '{"x": 1.0}'),
        ("c2", "{}"),
    ]
    done = [each["item"]["id"] for each in events if each["type"].endswith("item.done")]
    assert done == [output[0]["id"], output[2]["id"], output[1]["id"]]
    assert collect(read(NAME, frames(*events))).choices[0].stop.reason == "tool_calls"


def test_calls() -> None:
    output = whole(
        n.ToolCall("call_1", "f", '{"a": 12345678901234567890123}', item_id="fc_7"),
        n.ToolCall("call_2", "g", "free text", kind="custom"),
        stop="tool_calls",
    )["output"]
    assert output == [
        {
            "type": "function_call",
            "id": "fc_7",
            "call_id": "call_1",
            "name": "f",
            "arguments": '{"a": 12345678901234567890123}',
            "status": "completed",
        },
        {
            "type": "custom_tool_call",
            "id": f"ctc_{TOKEN}01",
            "call_id": "call_2",
            "name": "g",
            "input": "free text",
            "status": "completed",
        },
    ]


def test_reasoning_is_content_and_summary() -> None:
    events = written(
        BlockStart(0, n.Reasoning()),
        SummaryDelta(0, 0, "a"),
        SummaryDelta(0, 0, "b"),
        SummaryDelta(0, 3, "c"),
        ReasoningDelta(0, "hm"),
        ReasoningDelta(0, "m"),
        Signed(0, encrypted="gAAAA", origin=n.RESPONSES),
        BlockStop(0),
        Stopped(n.Stop("end")),
        Done(),
    )
    assert events[-1]["response"]["output"] == [
        {
            "type": "reasoning",
            "id": f"rs_{TOKEN}00",
            "summary": [
                {"type": "summary_text", "text": "ab"},
                {"type": "summary_text", "text": "c"},
            ],
            "content": [{"type": "reasoning_text", "text": "hmm"}],
            "encrypted_content": "gAAAA",
        }
    ]
    assert kinds(events)[3:-2] == [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "reasoning_text.done",
        "content_part.done",
    ]


def test_thoughts_are_the_summary_of_who_asked_for_one() -> None:
    asked = n.Thinking("on", "low", show=True, summary="auto")
    events = written(
        BlockStart(0, n.Reasoning()),
        ReasoningDelta(0, "hm"),
        BlockStop(0),
        Stopped(n.Stop("end")),
        Done(),
        thinking=asked,
    )
    (item,) = events[-1]["response"]["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert "content" not in item


def test_what_this_api_cannot_say_is_left_out() -> None:
    asked = caller(NAME)
    blocks = (n.File(data="aGk="), n.Opaque("anthropic", {"type": "server_tool_use"}))
    answer = n.Response("anthropic", choices=(n.Choice((*blocks, n.Audio(transcript="hi"))),))
    found = orjson.loads(write_response(answer, asked))
    assert [each["content"][0]["text"] for each in found["output"]] == ["hi"]
    assert asked.losses.dropped == ("file", "server_tool_use", "audio")


def test_spoken_words_are_text() -> None:
    events = written(
        BlockStart(0, n.Audio()),
        AudioDelta(0, "aGk=", "hi"),
        BlockStop(0),
        Stopped(n.Stop("end")),
        Done(),
    )
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hi"


def test_an_image_is_a_generated_one() -> None:
    (item,) = whole(n.Image(data="aGk=", media_type="image/webp"))["output"]
    assert item == {
        "type": "image_generation_call",
        "id": f"ig_{TOKEN}00",
        "status": "completed",
        "output_format": "webp",
        "result": "aGk=",
    }
    back = read_response({"output": [item]}, "m").choices[0].blocks[0]
    assert isinstance(back, n.Image)
    assert (back.data, back.media_type) == ("aGk=", "image/webp")


def test_only_one_choice_is_told() -> None:
    choices = (n.Choice((n.Text("a"),)), n.Choice((n.Text("b"),), n.Stop("length")))
    answer = n.Response("openai_chat", choices=choices)
    found = orjson.loads(write_response(answer, caller(NAME)))
    assert found["status"] == "completed"
    assert [each["content"][0]["text"] for each in found["output"]] == ["a"]


TOKENS = ({"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []},)


def test_logprobs_are_told_to_who_asked() -> None:
    events: list[Event] = [
        BlockStart(0, n.Text()),
        TextDelta(0, "a"),
        LogprobsDelta(TOKENS),
        BlockStop(0),
        Stopped(n.Stop("end")),
        Done(),
    ]
    part = written(*events, logprobs=True)[-1]["response"]["output"][0]["content"][0]
    assert part["logprobs"] == [{**TOKENS[0], "bytes": []}]
    assert written(*events)[-1]["response"]["output"][0]["content"][0]["logprobs"] == []


def test_logprobs_may_come_first() -> None:
    last = written(
        BlockStart(0, n.Text()),
        LogprobsDelta(TOKENS),
        TextDelta(0, "a"),
        BlockStop(0),
        Stopped(n.Stop("end")),
        Done(),
        logprobs=True,
    )[-1]
    assert last["response"]["output"][0]["content"][0]["logprobs"][0]["token"] == "a"


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        ("end", "completed", None),
        ("stop_sequence", "completed", None),
        ("pause", "completed", None),
        ("unknown", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("refusal", "incomplete", "content_filter"),
        ("malformed", "incomplete", "malformed_output"),
        ("error", "incomplete", "error"),
    ],
)
def test_why_it_ended(stop: str, status: str, reason: str | None) -> None:
    found = whole(n.Text("a"), stop=stop)
    assert found["status"] == status
    assert found["incomplete_details"] == (reason and {"reason": reason})
    assert (found["completed_at"] is None) == (status == "incomplete")
    cut = stop in ("length", "content_filter")
    assert found["output"][0]["status"] == ("incomplete" if cut else "completed")


def test_a_refusal_is_whole() -> None:
    found = whole(n.Refusal("no"), stop="refusal")
    assert found["status"] == "completed"
    assert found["output"][0]["content"] == [{"type": "refusal", "refusal": "no"}]
    assert read_response(found, "m").choices[0].stop.reason == "refusal"


def test_a_failure() -> None:
    """The error as SDKs raise it and as it is described, then the failed response."""
    events = written(
        BlockStart(0, n.Text()),
        TextDelta(0, "a"),
        Failed(n.Fault(429, "slow down", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED")),
    )
    error, failed = events[-2:]
    assert error["type"] == "error"
    assert error["message"] == error["error"]["message"] == "slow down"
    assert error["error"]["type"] == "rate_limit_error"
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
    assert failed["response"]["output"] == []


def test_names_that_come_late() -> None:
    late = MetaUpdate(id="msg_9", model="claude", service_tier="standard")
    last = written(late, Stopped(n.Stop("end")), Done())[-1]["response"]
    assert (last["id"], last["model"], last["service_tier"]) == (
        f"resp_{TOKEN}",
        "claude",
        "default",
    )


# ── the resource


ASKED = {
    "input": "Hello",
    "instructions": "Be kind.",
    "max_output_tokens": 100,
    "max_tool_calls": 2,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_logprobs": 3,
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {
        "format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}},
        "verbosity": "low",
    },
    "tools": [
        {"type": "function", "name": "f", "parameters": {"type": "object"}},
        {"type": "custom", "name": "c"},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "f"}],
    },
    "parallel_tool_calls": False,
    "previous_response_id": "resp_0",
    "metadata": {"a": "b"},
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "store": False,
    "truncation": "auto",
    "user": "u",
}
REPEATED = set(ASKED) - {"input", "text", "tools", "reasoning"}


def asked(**body: Any) -> Caller:
    request = read_request({**ASKED, **body}, model="claude", stream=True)
    return Caller(request, TOKEN, NOW)


def test_the_resource_repeats_the_request() -> None:
    found = orjson.loads(write_response(n.Response("gemini"), asked()))
    assert {name: found[name] for name in REPEATED} == {name: ASKED[name] for name in REPEATED}
    assert found["reasoning"] == {"effort": "high", "summary": "auto"}
    assert found["text"]["verbosity"] == "low"
    assert found["text"]["format"]["name"] == "a"
    assert found["tools"][0] == {
        "type": "function",
        "name": "f",
        "description": None,
        "parameters": {"type": "object"},
        "strict": None,
    }
    assert (found["model"], found["created_at"]) == ("claude", NOW)


def test_the_resource_is_complete() -> None:
    for body in (whole(n.Text("a")), orjson.loads(write_response(n.Response("gemini"), asked()))):
        described = {**body, "tools": [each for each in body["tools"] if each["type"] != "custom"]}
        form = body["text"]["format"]
        if form["type"] == "json_schema":
            described["text"] = {"format": {**form, "description": "", "schema": None}}
        assert breaks(OPEN_RESPONSES, "ResponseResource", described) == []
        WHOLE.validate_python(body)


@pytest.mark.parametrize("each", FOREIGN_STREAMS, ids=str)
def test_every_event_is_as_described(each: Recording) -> None:
    """By the official SDK's types, strictly; and by the Open Responses specification."""
    events = payloads(write(NAME, recorded_events(each)))
    for event in events:
        EVENT.validate_python(event)
    if "image_generation_call" not in str(events[-1]):  # which that specification has not
        last = events[-1]["response"]
        assert breaks(OPEN_RESPONSES, "ResponseResource", last) == []


@pytest.mark.parametrize("each", FOREIGN_WHOLES, ids=str)
def test_every_answer_is_as_described(each: Recording) -> None:
    answer = read_whole(str(dialect_of(each)), each.body)
    WHOLE.validate_python(orjson.loads(write_response(answer, asked())))


def client(body: bytes, kind: str) -> openai.OpenAI:
    """The official client, whose every request gets this answer."""

    http: Any = import_module(openai.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0])

    def answer(request: Any) -> Any:
        return http.Response(200, content=body, headers={"content-type": kind})

    transport = http.MockTransport(answer)
    return openai.OpenAI(
        api_key="k", base_url="http://x/v1", http_client=http.Client(transport=transport)
    )


def test_the_official_client_reads_a_stream() -> None:
    each = recording("fantasy__TestAnthropicCommon-claude-sonnet-4-tool_streaming.0")
    events = recorded_events(each)
    body = write(NAME, events)
    with client(body, "text/event-stream").responses.stream(model="m", input="x") as stream:
        last = stream.get_final_response()
    answer = collect(events).choices[0]
    (call,) = [block for block in answer.blocks if isinstance(block, n.ToolCall)]
    told = [item for item in last.output if item.type == "function_call"]
    assert [(each.call_id, each.name, each.arguments) for each in told] == [
        (call.id, call.name, call.arguments)
    ]
    assert last.output_text == "".join(b.text for b in answer.blocks if isinstance(b, n.Text))


def test_the_official_client_raises_a_failure() -> None:
    body = write(NAME, [Start("gemini"), Failed(n.Fault(503, "overloaded"))])
    with client(body, "text/event-stream") as sdk, pytest.raises(openai.APIError, match="over"):
        list(sdk.responses.create(model="m", input="x", stream=True))


# ── signatures of others


ROUND_TRIPS = (
    "test_anthropic_model_thinking_part_stream",
    "test_anthropic_model_thinking_part_redacted.0",
    "test_anthropic_tool_with_thinking.0",
    "otel-contrib__test_function_call_choice",
)


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_signatures_come_back_through_a_client_of_this_dialect(name: str) -> None:
    each = recording(name)
    dialect = str(dialect_of(each))
    answer = collect(recorded_events(each)) if is_stream(each) else read_whole(dialect, each.body)
    output = orjson.loads(write_response(answer, caller(NAME)))["output"]

    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "1"}
        for item in output
        if item["type"] == "function_call"
    ]
    history = [
        {"role": "user", "content": "x"},
        *output,
        *results,
        {"role": "user", "content": "y"},
    ]
    request = read_request(
        {"input": history, "reasoning": {"effort": "low"}}, model="m", stream=False
    )
    losses = Losses()
    model = "claude-sonnet-4" if dialect == "anthropic" else "gemini-3-pro"
    requests = TRANSLATORS[dialect].requests
    body = orjson.loads(requests.write_request(request, aim_at(dialect, model), losses))

    back = requests.read_request(body, model=model, stream=False).messages[1].blocks
    assert [signed(each) for each in back] == [signed(each) for each in answer.choices[0].blocks]
    assert losses.dropped == ()


def signed(block: Any) -> tuple[Any, ...]:
    names = ("text", "name", "signature", "encrypted", "origin")
    return (type(block), *(getattr(block, name, "") for name in names))


def test_a_signed_text() -> None:
    output = whole(n.Text("a", signature="s1", origin=n.GEMINI), n.ToolCall("c", "f", "{}"))[
        "output"
    ]
    assert [each["type"] for each in output] == ["message", "reasoning", "function_call"]
    (message,) = read_request({"input": output}, model="m", stream=False).messages
    assert message.blocks[0] == n.Text("a", signature="s1", origin=n.GEMINI)


def test_a_signature_without_text() -> None:
    output = whole(n.Text("", signature="s1", origin=n.GEMINI))["output"]
    assert [each["type"] for each in output] == ["reasoning"]
    (message,) = read_request({"input": output}, model="m", stream=False).messages
    assert message.blocks == (n.Text("", signature="s1", origin=n.GEMINI),)


def test_a_call_that_is_signed_late() -> None:
    events = written(
        BlockStart(0, n.ToolCall("c", "f")),
        ArgumentsDelta(0, "{}"),
        Signed(0, "s1", origin=n.GEMINI),
        BlockStop(0),
        Stopped(n.Stop("tool_calls")),
        Done(),
    )
    output = events[-1]["response"]["output"]
    (message,) = read_request({"input": output}, model="m", stream=False).messages
    call = n.ToolCall("c", "f", "{}", signature="s1", origin=n.GEMINI, item_id=f"fc_{TOKEN}00")
    assert message.blocks == (call,)


def test_seals_of_others_do_not_reach_openai() -> None:
    block = n.Reasoning("hm", signature="s1", origin=n.ANTHROPIC)
    output = whole(block, n.Text("a"))["output"]
    request = read_request({"input": output}, model="gpt-5", stream=False)
    losses = Losses()
    body = orjson.loads(write_request(request, aim_at(NAME, "gpt-5"), losses))
    assert [each["type"] for each in body["input"]] == ["message"]
    assert losses.dropped == ("reasoning",)


# ── reading a stream


def test_a_stream_without_deltas() -> None:
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c",
        "name": "f",
        "arguments": "",
        "status": "in_progress",
    }
    done = {**call, "arguments": "{}"}
    events = read_events(
        {"type": "response.output_item.added", "output_index": 0, "item": call},
        {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{}"},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        COMPLETED,
    )
    check_order(events)
    assert events[1:4] == [
        BlockStart(0, n.ToolCall("c", "f", item_id="fc_1")),
        ArgumentsDelta(0, "{}"),
        BlockStop(0),
    ]


def test_a_stream_of_one_event() -> None:
    """Whatever did not come by itself is in the last event's output."""
    each = recording("fantasy__TestOpenAIResponsesWithSummaryThinking-openai-o4-mini-thinking.0")
    completed = {"type": "response.completed", "response": orjson.loads(each.body)}
    events = read(NAME, frames(completed))
    check_order(events)
    assert collect(events) == read_whole(NAME, each.body)


@pytest.mark.parametrize("each", OWN_WHOLES, ids=str)
def test_the_last_event_has_it_all(each: Recording) -> None:
    events = read(NAME, frames({"type": "response.completed", "response": orjson.loads(each.body)}))
    check_order(events)
    assert collect(events) == read_whole(NAME, each.body)


def test_deltas_without_any_announcement() -> None:
    events = read(
        NAME,
        frames(
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"},
            {"type": "response.output_text.delta", "output_index": 1, "delta": "Hel"},
            {"type": "response.output_text.delta", "output_index": 1, "delta": "lo"},
            {"type": "response.refusal.delta", "output_index": 2, "delta": "no"},
            COMPLETED,
        ),
    )
    check_order(events)
    (choice,) = collect(events).choices
    assert choice.blocks == (n.Reasoning(summary=("hm",)), n.Text("Hello"), n.Refusal("no"))
    assert choice.stop.reason == "refusal"


def test_items_that_never_came_by_themselves() -> None:
    message = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "a"}]}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    last = {"type": "response.completed", "response": {"output": [message, call]}}
    events = read_events(
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "a"},
        last,
    )
    check_order(events)
    assert [type(each) for each in collect(events).choices[0].blocks] == [n.Text, n.ToolCall]


def test_ids_that_change_from_event_to_event() -> None:
    answer = collect(recorded_events(recording("github-copilot-id-rotation.1")))
    reasoning, text = answer.choices[0].blocks
    assert reasoning == n.Reasoning(
        summary=("**Counting character occurrences**",), id="capture-id-3"
    )
    assert isinstance(text, n.Text)
    assert text.text.startswith("There are **3** letter")
    assert text.extra == {"message": {"id": "capture-id-9", "phase": "final_answer"}}


def test_a_message_within_an_open_reasoning() -> None:
    answer = collect(recorded_events(recording("raw_cot_stream_openrouter")))
    reasoning, text = answer.choices[0].blocks
    assert isinstance(reasoning, n.Reasoning)
    assert reasoning.text.endswith("Just answer 4.")
    assert isinstance(text, n.Text)
    assert text.text == "4"


def test_tools_at_the_provider_come_whole() -> None:
    events = recorded_events(recording("responses_model_web_search_tool_stream.0"))
    (block,) = [
        event.block
        for event in events
        if isinstance(event, BlockStart) and isinstance(event.block, n.Opaque)
    ]
    assert block.raw["status"] == "completed"
    assert [each.raw["type"] for each in events if isinstance(each, OpaqueEvent)] == [
        "response.web_search_call.in_progress",
        "response.web_search_call.searching",
        "response.web_search_call.completed",
    ]


def test_an_image_that_was_generated() -> None:
    answer = collect(recorded_events(recording("openai-image-generation-tool.1")))
    (image,) = [each for each in answer.choices[0].blocks if isinstance(each, n.Image)]
    assert image.media_type == "image/webp"
    body = write(NAME, events_of(answer))
    (back,) = [each for each in payloads(body)[-1]["response"]["output"] if "result" in each]
    assert back == {**image.extra, "result": image.data}


def test_own_items_keep_their_ids_and_phases() -> None:
    each = recording("openai-phase.1")
    events = recorded_events(each)
    last = payloads(each.body)[-1]["response"]
    again = payloads(write(NAME, events))[-1]["response"]
    names = ("type", "id", "phase", "call_id", "arguments", "content", "encrypted_content")
    assert [{name: item.get(name) for name in names} for item in again["output"]] == [
        {name: item.get(name) for name in names} for item in last["output"]
    ]
    assert again["id"] == last["id"]


def test_an_error_within_a_stream() -> None:
    events = recorded_events(recording("openai-error.1"))
    assert isinstance(events[-1], Failed)
    fault = events[-1].fault
    assert (fault.status, fault.code) == (429, "insufficient_quota")
    assert fault.message.startswith("You exceeded your current quota")


OH = {"code": "server_error", "message": "oh"}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "oh", "param": None},
        {"type": "error", "error": {"type": "server_error", "message": "oh"}},
        {"type": "response.failed", "response": {"error": OH}},
        {"error": {"message": "oh", "code": 500}},
    ],
)
def test_errors_in_all_their_shapes(event: dict[str, Any]) -> None:
    last = read_events(event)[-1]
    assert isinstance(last, Failed)
    assert (last.fault.status, last.fault.message) == (500, "oh")


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"reason": "max_output_tokens"}, "length"),
        ({"reason": "content_filter"}, "content_filter"),
        ({"reason": "steered"}, "unknown"),
        (None, "unknown"),
    ],
)
def test_an_incomplete_answer(details: Any, reason: str) -> None:
    told = {"status": "incomplete", "incomplete_details": details, "output": []}
    events = read_events({"type": "response.incomplete", "response": told})
    assert events[-1] == Done()
    assert collect(events).choices[0].stop.reason == reason
    assert read_response(told, "m").choices[0].stop.reason == reason


def test_half_a_character() -> None:
    """A model may stop within an emoji: then orjson refuses what it said."""
    events = read(
        NAME,
        b'data: {"type":"response.output_text.delta","delta":"a\\ud83d"}\n\n' + frames(COMPLETED),
    )
    assert collect(events).choices[0].blocks == (n.Text("a\ud83d"),)
    assert rb'"delta":"a\ud83d"' in write(NAME, events)
    assert rb"a\ud83d" in write_response(collect(events), caller(NAME))


def test_every_piece_of_a_stream_may_be_missing() -> None:
    """Without any one of its events an answer is read, or is a failure; nothing is raised."""
    for name in ("openai-phase.1", "raw_cot_stream_openrouter", "openai-custom-tool.1"):
        frames_ = sse.Frames().feed(recording(name).body)
        for missing in range(len(frames_)):
            check_order(read(NAME, b"".join(frames_[:missing] + frames_[missing + 1 :])))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "type id item part text delta content summary output status error usage annotations"
                " logprobs encrypted_content arguments call_id name incomplete_details result"
                " created_at reason response model".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
TYPES = st.sampled_from(
    [
        f"response.{each}"
        for each in "created completed incomplete failed output_item.added output_item.done"
        " content_part.added content_part.done output_text.delta output_text.done refusal.delta"
        " refusal.done function_call_arguments.delta function_call_arguments.done"
        " reasoning_text.delta reasoning_summary_text.delta reasoning_summary_text.done"
        " output_text.annotation.added new".split()
    ]
    + ["error", "message", "reasoning", "function_call", "output_text", "refusal"]
)
JUNK_EVENT = st.fixed_dictionaries(
    {"type": TYPES},
    optional={
        "output_index": st.integers(0, 2) | JUNK,
        "content_index": st.integers(0, 2) | JUNK,
        "summary_index": st.integers(0, 2) | JUNK,
        "item": st.fixed_dictionaries({"type": TYPES}, optional={"content": JUNK, "summary": JUNK})
        | JUNK,
        "part": st.fixed_dictionaries({"type": TYPES}, optional={"text": JUNK}) | JUNK,
        "response": JUNK,
        "delta": JUNK,
        "text": JUNK,
        "logprobs": JUNK,
        "annotation": JUNK,
        "arguments": JUNK,
    },
)


@given(st.lists(JUNK_EVENT, max_size=12))
@settings(deadline=None, max_examples=25)
def test_no_event_is_fatal(events: list[Any]) -> None:
    reader = EventReader("m")
    found = [
        event
        for each in events
        for event in reader.read(b"data: %s\n\n" % json.dumps(each).encode())
    ]
    found += reader.end()
    check_order(found)
    write(NAME, found)


@given(JUNK | st.fixed_dictionaries({"output": st.lists(JUNK_EVENT | JUNK)}))
@settings(deadline=None, max_examples=60)
def test_no_answer_is_fatal(body: Any) -> None:
    if isinstance(body, dict):
        answer = read_response(body, "m")
        write_response(replace(answer, error=None), caller(NAME))


@pytest.mark.parametrize("name", ["openai-phase.1", "raw_cot_stream_openrouter"])
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_chunks_of_any_size(name: str, data: st.DataObject) -> None:
    body = recording(name).body
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=8)))
    reader, cutter = EventReader("any-model"), sse.Frames()
    ends = [*cuts, len(body)]
    events = [
        event
        for start, end in zip([0, *cuts], ends, strict=True)
        for frame in cutter.feed(body[start:end])
        for event in reader.read(frame)
    ]
    assert events + reader.end() == list(recorded_events(recording(name)))


# ── errors


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        (
            {"retry-after": "1", "retry-after-ms": "644"},
            {"error": {"message": "m", "type": "tokens", "code": "rate_limit_exceeded"}},
            n.Fault(429, "m", "tokens", "rate_limit_exceeded", retry_after=0.644),
        ),
        (
            {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"},
            {"error": {"message": "m", "param": "input", "code": None}},
            n.Fault(429, "m", param="input"),
        ),
        ({}, {"error": "in words"}, n.Fault(429, "in words")),
        ({}, {"detail": "in detail"}, n.Fault(429, "in detail")),
        ({}, {"object": "error", "message": "vLLM"}, n.Fault(429, "vLLM")),
        ({}, ["?"], n.Fault(429, "the provider answered with status 429")),
    ],
)
def test_errors(headers: dict[str, str], body: Any, expected: n.Fault) -> None:
    assert read_error(429, headers, orjson.dumps(body)) == expected


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (n.Fault(400, "m", "ValidationException"), "invalid_request_error"),
        (n.Fault(401, "m"), "authentication_error"),
        (n.Fault(429, "m", "RESOURCE_EXHAUSTED"), "rate_limit_error"),
        (n.Fault(429, "m", "insufficient_quota"), "insufficient_quota"),
        (n.Fault(529, "m", "overloaded_error"), "server_error"),
    ],
)
def test_error_types(fault: n.Fault, kind: str) -> None:
    assert orjson.loads(write_error(fault, "req_1"))["error"]["type"] == kind


def test_what_is_no_response_is_no_empty_one() -> None:
    for body in ({}, {"choices": [{"message": {"content": "Hi"}}]}, {"output": None}):
        error = read_response(body, "m").error
        assert error and error.status == 502
    assert read_response({"output": []}, "m").error is None


def test_a_200_that_failed() -> None:
    body = {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "later"}}
    error = read_response(body, "m").error
    assert error is not None
    assert (error.status, error.message) == (429, "later")
