"""Chat Completions' answers: what servers send, and what clients of the dialect get."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from routeur.dialects import neutral as n
from routeur.dialects.base import Usage
from routeur.dialects.neutral.aim import Aim, Caller, Invalid, Losses, Untranslatable
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
    Ping,
    ReasoningDelta,
    Signed,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.openai_chat.answers import (
    EventWriter,
    read_error,
    read_response,
    write_error,
    write_response,
)
from routeur.dialects.openai_chat.requests import read_request, write_request
from tests.recording import Recording, recording
from tests.translations import (
    NOW,
    TOKEN,
    caller,
    check_order,
    dialect_of,
    read_whole,
    recorded_events,
    said,
    streams,
    wholes,
    write_whole,
)
from tests.translations import read as read_in
from tests.translations import write as write_in

CHAT = "openai_chat"
LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}


def chunk(delta: Any = None, finish: str | None = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "created": 5, "model": "m", "choices": [choice], **members}


def stream(*chunks: dict[str, Any], done: bool = True) -> bytes:
    lines = [orjson.dumps(each) for each in chunks] + ([b"[DONE]"] if done else [])
    return b"".join(b"data: %b\n\n" % line for line in lines)


def read(*chunks: dict[str, Any], done: bool = True) -> list[Event]:
    events = read_in(CHAT, stream(*chunks, done=done))
    check_order(events)
    return events


def blocks(*chunks: dict[str, Any]) -> tuple[n.Block, ...]:
    return collect(read(*chunks)).choices[0].blocks


def whole(message: Any, finish: str = "stop", **members: Any) -> n.Response:
    choice = {"index": 0, "message": message, "finish_reason": finish, **members}
    return read_response({"id": "chatcmpl-1", "model": "m", "choices": [choice]}, "any")


def chunks_of(body: bytes) -> list[Any]:
    """The data of a written stream, `[DONE]` as None."""
    lines = body.decode().removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [None if line == "data: [DONE]" else orjson.loads(line[6:]) for line in lines]


def deltas(events: Iterable[Event], **members: Any) -> list[Any]:
    """The deltas of what is written, without the role's and the last one."""
    written = chunks_of(write_in(CHAT, events, **members))
    return [each["choices"][0]["delta"] for each in written if each and each["choices"]][1:-1]


def message_of(response: n.Response, client: Caller | None = None) -> Any:
    body = orjson.loads(write_response(response, client or caller(CHAT)))
    return body["choices"][0]["message"]


def answer(*found: n.Block, reason: n.StopReason = "end", dialect: str = "anthropic") -> n.Response:
    return n.Response(dialect, "msg_1", "m", choices=(n.Choice(found, n.Stop(reason)),))


# ── streams of compatible servers


def test_reasoning_under_any_of_its_names() -> None:
    for name in ("reasoning_content", "reasoning"):
        assert blocks(
            chunk({"role": "assistant", "content": None, name: ""}),
            chunk({"content": None, name: "h"}),
            chunk({name: "m"}),
            chunk({"content": "Hi", name: None}),
            chunk({}, "stop"),
        ) == (n.Reasoning("hm"), n.Text("Hi"))


def test_a_call_whole_in_one_chunk_without_an_id() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    found = collect(read(chunk({"tool_calls": [call]}), chunk({}, "stop")))
    (block,) = found.choices[0].blocks
    assert isinstance(block, n.ToolCall)
    assert (block.name, block.arguments) == ("f", '{"a":1}')
    assert block.id
    assert found.choices[0].stop == n.Stop("tool_calls", raw="stop")


def test_all_calls_under_one_index() -> None:
    """As Google's endpoint has it."""
    calls = [
        {"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}} for id in ("a", "b")
    ]
    unnamed = {"index": 0, "function": {"name": "g", "arguments": "{}"}}
    found = blocks(
        chunk({"tool_calls": [calls[0]]}),
        chunk({"tool_calls": [calls[1]]}),
        chunk({"tool_calls": [unnamed]}),
        chunk({}, "tool_calls"),
    )
    assert [(each.name, each.arguments) for each in found if isinstance(each, n.ToolCall)] == [
        ("f", "{}"),
        ("f", "{}"),
        ("g", "{}"),
    ]
    assert len({each.id for each in found if isinstance(each, n.ToolCall)}) == 3


def test_calls_side_by_side() -> None:
    def piece(index: int, text: str, **more: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, "function": {"arguments": text}, **more}]})

    found = blocks(
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}),
        piece(0, '{"x"'),
        chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g"}}]}),
        piece(1, "{}"),
        piece(0, ":1}"),
        chunk({}, "tool_calls"),
    )
    assert found == (n.ToolCall("a", "f", '{"x":1}'), n.ToolCall("b", "g", "{}"))


def test_a_call_that_is_whole_is_closed_when_the_next_begins() -> None:
    events = read(
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": " "}}]}),
        chunk({}, "tool_calls"),
    )
    assert events.index(BlockStop(0)) < events.index(BlockStart(1, n.ToolCall("b", "g")))


def test_old_function_calls() -> None:
    found = collect(
        read(
            chunk({"function_call": {"name": "f", "arguments": ""}}),
            chunk({"function_call": {"arguments": "{}"}}),
            chunk({}, "function_call"),
        )
    )
    (block,) = found.choices[0].blocks
    assert isinstance(block, n.ToolCall)
    assert (block.name, block.arguments, found.choices[0].stop.reason) == ("f", "{}", "tool_calls")


def test_the_end_without_done() -> None:
    assert read(chunk({"content": "Hi"}), chunk({}, "stop"), done=False)[-1] == Done()
    assert isinstance(read(chunk({"content": "Hi"}), done=False)[-1], Failed)


def test_done_without_a_reason() -> None:
    events = read(chunk({"content": "Hi"}))
    assert events[-2:] == [Stopped(n.Stop("unknown")), Done()]


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", b": hello\n\n", b"data: {}\n\n"])
def test_nothing_is_no_answer(body: bytes) -> None:
    assert isinstance(read_in(CHAT, body)[-1], Failed)


def test_a_role_alone_is_no_answer() -> None:
    assert isinstance(read(chunk({"role": "assistant", "content": ""}))[-1], Failed)


def test_usage_wherever_it_comes() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    expected = Usage(input=3, output=2)
    late = {"id": "chatcmpl-1", "choices": [], "usage": usage}
    for last in (
        [chunk({"content": "Hi"}, "stop", usage=usage)],
        [chunk({"content": "Hi"}, "stop"), late],
        [chunk({"content": "Hi"}, "stop", x_groq={"id": "r", "usage": usage})],
        [
            chunk({"content": "Hi"}, usage={**usage, "completion_tokens": 1}),
            chunk({}, "stop"),
            late,
        ],
    ):
        assert collect(read(*last)).usage == expected


def test_azures_first_and_late_chunks() -> None:
    first = {"choices": [], "id": "", "model": "", "prompt_filter_results": [{}]}
    late = chunk({}, None, **{"obfuscation": "x"})
    late["choices"][0] |= {"content_filter_offsets": {"check_offset": 1}}
    events = read(first, chunk({"content": "Hi"}), chunk({}, "stop"), late)
    assert events[0] == Start(CHAT, "chatcmpl-1", "m", 5)
    assert events[-1] == Done()


@pytest.mark.parametrize(
    "broken",
    [
        {"error": {"message": "overloaded", "code": 529}},
        {"error": "overloaded"},
        chunk({}, "error", error={"message": "overloaded", "code": 502}),
        {"id": "x", "choices": [{"index": 0, "error": {"message": "overloaded"}}]},
    ],
)
def test_an_error_instead_of_a_chunk(broken: dict[str, Any]) -> None:
    events = read(chunk({"content": "Hi"}), broken, chunk({"content": "more"}, "stop"))
    assert isinstance(events[-1], Failed)
    assert events[-1].fault.message == "overloaded"
    assert events[-1].fault.status in (502, 529)


def test_a_chunk_that_is_no_json() -> None:
    body = stream(chunk({"content": "Hi"}), done=False) + b'data: {"id": \n\n'
    events = read_in(CHAT, body)
    assert isinstance(events[-1], Failed)


def test_wild_indexes_cost_nothing() -> None:
    wild = chunk({"content": "x"})
    wild["choices"][0]["index"] = 10**9
    odd = chunk({"content": "x"})
    odd["choices"][0]["index"] = "0"
    assert blocks(wild, odd, chunk({"content": "Hi"}, "stop")) == (n.Text("Hi"),)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "end"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("model_length", "length"),
        ("eos_token", "end"),
        ("STOP", "end"),
        ("whatever", "unknown"),
        ("error", "error"),
        ("tool_calls", "end"),  # there is none
    ],
)
def test_why_it_ended(word: str, reason: str) -> None:
    streamed = collect(read(chunk({"content": "x"}), chunk({}, word))).choices[0].stop
    assert streamed == whole({"content": "x"}, word).choices[0].stop
    assert (streamed.reason, streamed.raw) == (reason, word)


def test_the_sequence_that_stopped_it() -> None:
    """vLLM's `stop_reason`; the number of a token is none."""
    found = whole({"content": "x"}, stop_reason="END").choices[0].stop
    assert found == n.Stop("stop_sequence", "END", "stop")
    assert whole({"content": "x"}, stop_reason=7).choices[0].stop.reason == "end"


def test_several_choices_and_logprobs() -> None:
    def of(number: int, text: str, **more: Any) -> dict[str, Any]:
        found = chunk({"content": text})
        found["choices"][0] |= {"index": number, **more}
        return found

    found = collect(
        read(
            of(1, "b", logprobs={"content": [LOGPROB]}),
            of(0, "a"),
            of(1, "B", finish_reason="length"),
            of(0, "A", finish_reason="stop"),
        )
    )
    assert [each.blocks for each in found.choices] == [(n.Text("aA"),), (n.Text("bB"),)]
    assert found.choices[1].logprobs == (LOGPROB,)
    assert found.choices[1].stop.reason == "length"


def test_what_the_model_said_aloud_showed_and_cited() -> None:
    note = {
        "type": "url_citation",
        "url_citation": {"url": "https://a", "title": "A", "start_index": 0, "end_index": 2},
    }
    citation = n.Citation("https://a", "A", text_start=0, text_end=2, raw=note, dialect=CHAT)
    found = blocks(
        chunk({"audio": {"id": "audio_1", "transcript": "Hi"}}),
        chunk({"audio": {"data": "aGk="}}),
        chunk({"audio": {"expires_at": 9}}),
        chunk(
            {"images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}
        ),
        chunk({"content": "Hi"}),
        chunk({"annotations": [note]}),
        chunk({"refusal": "n"}),
        chunk({"refusal": "o"}),
        chunk({}, "stop"),
    )
    assert found == (
        n.Audio("aGk=", id="audio_1", transcript="Hi", expires_at=9),
        n.Image("data:image/png;base64,aGk="),
        n.Text("Hi", (citation,)),
        n.Refusal("no"),
    )


def test_sealed_reasoning_in_a_stream() -> None:
    """OpenRouter's: text with a signature, a redacted block, a summary with what it is of."""
    claude, gpt = "anthropic-claude-v1", "openai-responses-v1"

    def of(*entries: dict[str, Any]) -> dict[str, Any]:
        text = "".join(each.get("text", "") for each in entries)
        return chunk({"reasoning": text, "reasoning_details": list(entries)})

    found = blocks(
        of({"type": "reasoning.text", "text": "h", "format": claude, "index": 0}),
        of({"type": "reasoning.text", "text": "m", "format": claude, "index": 0}),
        of({"type": "reasoning.text", "signature": "c2ln", "format": claude, "index": 0}),
        of({"type": "reasoning.encrypted", "data": "eHg=", "format": claude, "index": 1}),
        of({"type": "reasoning.summary", "summary": "s", "format": gpt, "index": 2}),
        of({"type": "reasoning.summary", "summary": "o", "format": gpt, "index": 2}),
        of({"type": "reasoning.encrypted", "data": "gA", "id": "r", "format": gpt, "index": 2}),
        chunk({"content": "Hi"}),
        chunk({}, "stop"),
    )
    assert found == (
        n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC),
        n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC),
        n.Reasoning(summary=("so",), encrypted="gA", origin=n.RESPONSES),
        n.Text("Hi"),
    )


def test_geminis_signatures_in_a_stream() -> None:
    google = {"google": {"thought_signature": "s"}}
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    entry = {"type": "reasoning.encrypted", "data": "s", "id": "a", "format": "google-gemini-v1"}
    signed = n.ToolCall("a", "f", "{}", signature="s", origin=n.GEMINI)
    end = chunk({}, "tool_calls")
    assert blocks(chunk({"tool_calls": [{**call, "extra_content": google}]}), end) == (signed,)
    assert blocks(chunk({"tool_calls": [call], "extra_content": google}), end) == (signed,)
    assert blocks(chunk({"tool_calls": [call]}), chunk({"reasoning_details": [entry]}), end) == (
        signed,
    )
    assert blocks(chunk({"content": "Hi", "extra_content": google}), chunk({}, "stop")) == (
        n.Text("Hi", signature="s", origin=n.GEMINI),
    )
    assert blocks(chunk({"extra_content": google}), chunk({}, "stop")) == (
        n.Text("", signature="s", origin=n.GEMINI),
    )


def test_half_an_emoji_fails_nothing() -> None:
    """orjson refuses it; it comes out as it went in."""
    body = (
        b'data: {"id":"1","choices":[{"delta":{"content":"\\ud83d"},"finish_reason":"stop"}]}\n\n'
    )
    events = read_in(CHAT, body)
    assert b'"content":"\\ud83d"' in write_in(CHAT, events)
    answer = read_response(
        {"id": "1", "choices": [{"message": {"content": "\ud83d"}, "finish_reason": "stop"}]}, "m"
    )
    assert b"\\ud83d" in write_response(answer, caller(CHAT))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_cut(data: st.DataObject) -> None:
    body = stream(
        chunk({"role": "assistant", "content": "", "reasoning_content": "hm…"}),
        chunk({"content": "Grüße 👋"}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"ü": "\\n"}'}}]}, "stop"),
    ).replace(b"\n\n", b"\r\n\r\n", 2)
    size = data.draw(st.integers(1, len(body)))
    assert read_in(CHAT, body, size) == read_in(CHAT, body)


# ── whole answers


def test_a_whole_answer_is_read() -> None:
    found = whole(
        {
            "role": "assistant",
            "content": "Hi",
            "reasoning_content": "hm",
            "refusal": None,
            "audio": {"id": "audio_1", "data": "aGk=", "transcript": "Hi", "expires_at": 9},
            "tool_calls": [{"id": "", "type": "function", "function": {"name": "f"}}],
        },
        logprobs={"content": [LOGPROB], "refusal": None},
    )
    (choice,) = found.choices
    assert choice.blocks[:3] == (
        n.Reasoning("hm"),
        n.Text("Hi"),
        n.Audio("aGk=", id="audio_1", transcript="Hi", expires_at=9),
    )
    assert isinstance(choice.blocks[3], n.ToolCall)
    assert choice.blocks[3].id
    assert (choice.stop.reason, choice.logprobs) == ("tool_calls", (LOGPROB,))


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no", "code": 400}},
        {"choices": [{"message": {}, "finish_reason": "error", "error": {"message": "no"}}]},
        {"choices": []},
        {},
    ],
)
def test_a_200_that_is_none(body: dict[str, Any]) -> None:
    found = read_response(body, "m")
    assert found.error is not None
    assert found.error.status in (400, 502)


def test_parts_that_are_unknown_are_left_out() -> None:
    content = [{"type": "reference", "ids": [1]}, 3, {"type": "text", "text": "Hi"}]
    assert whole({"content": content}).choices[0].blocks == (n.Text("Hi"),)


# ── what clients get


EVENTS: list[Event] = [
    Start("anthropic", "msg_1", "claude", usage=Usage(input=3)),
    Ping(),
    BlockStart(0, n.Reasoning()),
    ReasoningDelta(0, "hm"),
    Signed(0, "c2ln", origin=n.ANTHROPIC),
    BlockStop(0),
    BlockStart(1, n.Text()),
    TextDelta(1, "Hi"),
    BlockStop(1),
    BlockStart(2, n.ToolCall("toolu_1", "f")),
    ArgumentsDelta(2, '{"a": 1.0}'),
    BlockStop(2),
    BlockStart(3, n.ToolCall("toolu_2", "g")),
    BlockStop(3),
    UsageUpdate(Usage(input=3, cache_read=4, output=5)),
    Stopped(n.Stop("tool_calls")),
    Done(),
]


def test_chunks_in_openais_order() -> None:
    written = chunks_of(write_in(CHAT, EVENTS))
    heads = {
        (each["id"], each["object"], each["created"], each["model"]) for each in written if each
    }
    assert heads == {(f"chatcmpl-{TOKEN}", "chat.completion.chunk", NOW, "claude")}
    assert written[-1] is None
    assert written[-2]["choices"] == []
    assert (written[-2]["usage"]["prompt_tokens"], written[-2]["usage"]["total_tokens"]) == (7, 12)
    assert all(each["usage"] is None for each in written[:-2])
    choices = [each["choices"][0] for each in written[:-2]]
    assert choices[0]["delta"] == {"role": "assistant", "content": None, "refusal": None}
    assert [each["finish_reason"] for each in choices] == [None] * 8 + ["tool_calls"]
    head = {"index": 0, "id": "toolu_1", "type": "function"}
    assert [each["delta"] for each in choices[1:]] == [
        {
            "reasoning_content": "hm",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "hm",
                    "index": 0,
                    "format": "anthropic-claude-v1",
                }
            ],
        },
        {"reasoning_details": [{"type": "reasoning.text", "signature": "c2ln", "index": 0}]},
        {"content": "Hi"},
        {"tool_calls": [{**head, "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1.0}'}}]},
        {"tool_calls": [{**head, "index": 1, "id": "toolu_2",
                         "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]  # fmt: skip


def test_usage_only_for_who_asked() -> None:
    writer = EventWriter(caller(CHAT, stream=True))
    written = chunks_of(b"".join(writer.write(each) for each in EVENTS))
    assert not any("usage" in each for each in written if each)
    assert written[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_an_error_ends_it_without_done() -> None:
    events = [*EVENTS[:8], Failed(n.Fault(529, "overloaded", "overloaded_error"))]
    last = chunks_of(write_in(CHAT, events))[-1]
    assert last == {
        "error": {"message": "overloaded", "type": "server_error", "param": None, "code": None}
    }


def test_an_empty_answer_has_its_chunks() -> None:
    written = chunks_of(write_in(CHAT, [Start("gemini"), Stopped(n.Stop("end")), Done()]))
    assert [each and each["choices"][0]["delta"] for each in written] == [
        {"role": "assistant", "content": "", "refusal": None},
        {},
        None,
    ]


def test_what_is_known_later() -> None:
    events = [
        Start("gemini"),
        MetaUpdate(id="chatcmpl-7", model="late", fingerprint="fp"),
        BlockStart(0, n.Text()),
        MetaUpdate(id="chatcmpl-8", service_tier="standard"),
        TextDelta(0, "Hi"),
        BlockStop(0),
        Stopped(n.Stop("end")),
        Done(),
    ]
    first, second, *_ = chunks_of(write_in(CHAT, events))
    assert (first["id"], first["model"], first["system_fingerprint"]) == (
        "chatcmpl-7",
        "late",
        "fp",
    )
    assert (second["id"], second["service_tier"]) == ("chatcmpl-7", "default")


def test_summaries_have_their_parts_apart() -> None:
    events = [
        Start("openai_responses"),
        BlockStart(0, n.Reasoning(id="rs_1")),
        SummaryDelta(0, 0, "a"),
        SummaryDelta(0, 1, "b"),
        Signed(0, encrypted="gA", origin=n.RESPONSES),
        BlockStop(0),
        Stopped(n.Stop("end")),
        Done(),
    ]
    first, second, third = deltas(events)
    assert first["reasoning_content"] + second["reasoning_content"] == "a\n\nb"
    assert third["reasoning_details"] == [{"type": "reasoning.encrypted", "data": "gA", "index": 0}]
    assert first["reasoning_details"][0]["id"] == "rs_1"


def test_unsigned_reasoning_has_no_details() -> None:
    found = answer(n.Reasoning("hm"), n.Text("Hi"), dialect="gemini")
    assert deltas(events_of(found))[0] == {"reasoning_content": "hm"}
    assert "reasoning_details" not in message_of(found)


def test_reasoning_is_left_out_where_it_is_not_wanted() -> None:
    hidden = n.Thinking("on", "low", show=False)
    found = answer(n.Reasoning("hm", signature="s", origin=n.ANTHROPIC), n.Text("Hi"))
    assert deltas(events_of(found), thinking=hidden) == [{"content": "Hi"}]
    message = message_of(found, caller(CHAT, thinking=hidden))
    assert not {name for name in message if name.startswith("reasoning")}


def test_seals_survive_a_chat_client() -> None:
    """What an answer's message holds is what the next request brings back, in its place."""
    sent = answer(
        n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC),
        n.Text("Let me see."),
        n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC),
        n.Reasoning(summary=("so",), encrypted="gA", id="rs_1", origin=n.RESPONSES),
        n.ToolCall("toolu_1", "f", "{}"),
        n.ToolCall("toolu_2", "f", "{}", signature="sig", origin=n.GEMINI),
        reason="tool_calls",
    )
    state = ChatCompletionStreamState()  # puts chunks together as OpenAI's package does
    for each in chunks_of(write_in(CHAT, events_of(sent))):
        if each:
            state.handle_chunk(ChatCompletionChunk.model_validate(each))
    streamed = state.current_completion_snapshot.choices[0].message.to_dict()
    for message in (message_of(sent), streamed):
        request = read_request({"messages": [message]}, model="m", stream=False)
        assert request.messages[0].blocks == sent.choices[0].blocks


def test_a_clients_list_of_details_is_read_as_pieces() -> None:
    """A client that keeps all entries as they came, without putting them together."""
    found = deltas(EVENTS)
    entries = [entry for delta in found for entry in delta.get("reasoning_details", ())]
    message = {"role": "assistant", "content": "Hi", "reasoning_details": entries}
    request = read_request({"messages": [message]}, model="m", stream=False)
    assert request.messages[0].blocks[0] == n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC)


def test_a_signature_on_text() -> None:
    found = answer(n.Text("Hi"), n.Text("", signature="s", origin=n.GEMINI), dialect="gemini")
    google = {"google": {"thought_signature": "s"}}
    assert message_of(found)["extra_content"] == google
    assert deltas(events_of(found))[-1] == {"content": "", "extra_content": google}


def test_citations_become_annotations() -> None:
    cited = n.Citation("https://a", "A")
    exact = n.Citation("https://b", text_start=1, text_end=2)
    page = n.Citation(title="page 3", document=0)
    found = answer(n.Text("Hello "), n.Text("you", (cited, exact, page)))
    client = caller(CHAT)
    notes = [each["url_citation"] for each in message_of(found, client)["annotations"]]
    assert [(each["start_index"], each["end_index"], each["title"]) for each in notes] == [
        (6, 9, "A"),
        (7, 8, "https://b"),
    ]
    assert client.losses.dropped == ("citations",)
    events = [each for each in events_of(found) if not isinstance(each, CitationDelta)]
    assert len(deltas(events_of(found))) == len(deltas(events)) + 2


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("end", "stop"),
        ("stop_sequence", "stop"),
        ("pause", "stop"),
        ("unknown", "stop"),
        ("malformed", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("refusal", "content_filter"),
        ("content_filter", "content_filter"),
        ("error", "error"),
    ],
)
def test_finish_reasons(reason: n.StopReason, word: str) -> None:
    found = answer(n.Text("x"), reason=reason)
    body = orjson.loads(write_response(found, caller(CHAT)))
    assert body["choices"][0]["finish_reason"] == word
    last = chunks_of(write_in(CHAT, events_of(found)))[-2]
    assert last["choices"][0]["finish_reason"] == word


def test_refusals() -> None:
    message = message_of(answer(n.Refusal("no")))
    assert (message["content"], message["refusal"]) == (None, "no")
    told = n.Response("anthropic", choices=(n.Choice((), n.Stop("refusal", detail="why")),))
    assert message_of(told)["refusal"] == "why"
    assert deltas(events_of(told)) == [{"refusal": "why"}]


def test_clients_of_functions_get_a_function_call() -> None:
    asked = read_request(
        {"messages": [{"role": "user", "content": "x"}], "functions": [{"name": "f"}]},
        model="m",
        stream=True,
    )
    client = Caller(asked, TOKEN, NOW)
    found = answer(n.ToolCall("a", "f", "{}"), n.ToolCall("b", "f", "{}"), reason="tool_calls")
    body = orjson.loads(write_response(found, client))["choices"][0]
    assert body["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert body["finish_reason"] == "function_call"
    assert "tool_calls" not in body["message"]
    writer = EventWriter(client)
    written = chunks_of(b"".join(writer.write(each) for each in events_of(found)))
    assert [each["choices"][0]["delta"] for each in written[1:4]] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
        {},
    ]
    assert client.losses.dropped == ("tool_calls",)


def test_logprobs_and_choices() -> None:
    choice = n.Choice((n.Text("Hi"),), logprobs=(LOGPROB,))
    refused = n.Choice((n.Refusal("no"),), logprobs=(LOGPROB,))
    found = n.Response(CHAT, choices=(choice, refused))
    body = orjson.loads(write_response(found, caller(CHAT)))
    assert [each["logprobs"] for each in body["choices"]] == [
        {"content": [LOGPROB], "refusal": None},
        {"content": None, "refusal": [LOGPROB]},
    ]
    written = chunks_of(write_in(CHAT, events_of(found)))
    told = [each["choices"][0] for each in written if each and each["choices"]]
    assert [each["logprobs"] for each in told if each["logprobs"]] == [
        {"content": [LOGPROB], "refusal": None},
        {"content": None, "refusal": [LOGPROB]},
    ]
    assert {each["index"] for each in told} == {0, 1}


def test_other_blocks() -> None:
    client = caller(CHAT)
    message = message_of(
        answer(
            n.Audio("aGk=", "wav", transcript="Hi"),
            n.Image(data="aGk=", media_type="image/png"),
            n.Opaque("anthropic", {"type": "server_tool_use"}),
            n.ToolCall("a", "g", "free", "custom"),
        ),
        client,
    )
    assert message["audio"] == {
        "id": f"audio_{TOKEN}", "data": "aGk=", "expires_at": NOW, "transcript": "Hi",
    }  # fmt: skip
    assert message["images"][0]["image_url"] == {"url": "data:image/png;base64,aGk="}
    assert message["tool_calls"][0]["custom"] == {"name": "g", "input": "free"}
    assert client.losses.dropped == ("server_tool_use",)


def test_usage_as_openai_counts() -> None:
    used = Usage(3, 4, 5, 6, 7, 8, 1, 2, 3, 4)
    body = orjson.loads(write_response(n.Response("gemini", usage=used), caller(CHAT)))["usage"]
    assert (body["prompt_tokens"], body["completion_tokens"], body["total_tokens"]) == (22, 21, 43)
    assert body["prompt_tokens_details"] == {
        "cached_tokens": 4, "audio_tokens": 1, "cache_write_tokens": 11, "image_tokens": 3,
    }  # fmt: skip
    assert body["completion_tokens_details"]["reasoning_tokens"] == 8


# ── errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (529, "server_error"),
    ],
)
def test_errors_have_openais_types(status: int, kind: str) -> None:
    error = orjson.loads(write_error(n.Fault(status, "m", "foreign", "c", "p"), "req_1"))["error"]
    assert error == {"message": "m", "type": kind, "param": "p", "code": "c"}


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error": {"message": "m", "type": "t", "code": "c"}}', "m", "c"),
        (b'{"object": "error", "message": "m", "code": 400}', "m", "400"),
        (b'[{"error": {"message": "m", "status": "INVALID_ARGUMENT"}}]', "m", "INVALID_ARGUMENT"),
        (b'{"error": "m"}', "m", ""),
        (b'{"detail": "m"}', "m", ""),
        (b"<html>no</html>", "the provider answered with status 400", ""),
    ],
)
def test_errors_of_all_servers(body: bytes, message: str, code: str) -> None:
    found = read_error(400, {}, body)
    assert (found.status, found.message, found.code) == (400, message, code)


def test_when_to_ask_again() -> None:
    headers = {"retry-after": "1", "retry-after-ms": "644"}
    assert read_error(429, headers, b"{}").retry_after == 0.644
    assert read_error(429, {"retry-after": "31"}, b"{}").retry_after == 31


# ── OpenAI's own package


@pytest.mark.parametrize("each", wholes(), ids=str)
def test_openais_package_reads_whole_answers(each: Recording) -> None:
    found = read_whole(str(dialect_of(each)), each.body)
    parsed = ChatCompletion.model_validate_json(write_whole(CHAT, found), strict=False)
    (text, calls, _), *_ = said(found)
    message = parsed.choices[0].message
    assert (message.content or "") == text
    assert [
        (call.function.name, orjson.loads(call.function.arguments))
        for call in message.tool_calls or ()
        if call.type == "function"
    ] == calls
    if found.usage:
        assert parsed.usage is not None
        assert parsed.usage.prompt_tokens == found.usage.input_total


@pytest.mark.parametrize(
    "each",
    # whose chunks of custom tools the package does not know
    [each for each in streams() if "custom-tool" not in each.name],
    ids=str,
)
def test_openais_package_reads_streams(each: Recording) -> None:
    events = recorded_events(each)
    found = collect(events)
    state = ChatCompletionStreamState()
    for each_chunk in chunks_of(write_in(CHAT, events)):
        if each_chunk and "error" not in each_chunk:
            state.handle_chunk(ChatCompletionChunk.model_validate(each_chunk))
    if found.error is not None:
        return
    final = state.current_completion_snapshot
    (text, calls, _), *_ = said(found)
    message = final.choices[0].message
    assert (message.content or "") == text
    assert [
        (call.function.name, orjson.loads(call.function.arguments))
        for call in message.tool_calls or ()
    ] == calls


def test_recorded_reasoning_of_deepseek_and_mistral() -> None:
    for name in ("deepseek-tool-call", "mistral-reasoning"):
        found = collect(recorded_events(recording(name)))
        kinds = [type(each).__name__ for each in found.choices[0].blocks]
        assert kinds[0] == "Reasoning"
        assert found.usage is not None


# ── anything at all

NAMES = """
    id index choices delta message role content type text image_url url refusal audio data images
    tool_calls function name arguments custom input function_call reasoning reasoning_content
    reasoning_details signature summary format encrypted extra_content google thought_signature
    annotations url_citation start_index logprobs finish_reason stop_reason usage error code model
    prompt_tokens created x_groq thinking block expires_at transcript messages tools parameters
    tool_choice allowed_tools mode response_format json_schema schema stop file file_data
    input_audio tool_call_id cache_control stream_options metadata n temperature functions
""".split()
WORDS = """
    text image_url file input_audio refusal thinking function custom tool user assistant system
    reasoning.text reasoning.encrypted reasoning.summary google-gemini-v1 url_citation stop error
    allowed_tools json_schema auto {} \ud83d
""".split()
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 3), st.floats(), st.sampled_from(WORDS), st.text()
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=8)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "delta": OBJECTS,
        "message": OBJECTS,
        "index": LEAVES,
        "finish_reason": LEAVES,
        "logprobs": ANYTHING,
    },
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "function", "x", None, []])
MESSAGES = st.builds(lambda role, rest: {**rest, "role": role}, ROLES, OBJECTS)
MANY = 40


@settings(max_examples=MANY, deadline=None)
@given(st.lists(st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=3)}), max_size=4))
def test_no_stream_is_fatal(chunks: list[Any]) -> None:
    body = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in chunks)
    events = read_in(CHAT, body + b"data: [DONE]\n\n")
    check_order(events)
    write_in(CHAT, events)


@settings(max_examples=MANY, deadline=None)
@given(st.fixed_dictionaries({"id": st.just("x"), "choices": st.lists(CHOICES, max_size=3)}))
def test_no_answer_is_fatal(body: dict[str, Any]) -> None:
    found = read_response(body, "m")
    assert collect(events_of(found)) == found
    assert found.error or write_response(found, caller(CHAT))


@settings(max_examples=MANY, deadline=None)
@given(OBJECTS, st.lists(MESSAGES, max_size=4))
def test_no_request_is_fatal(body: dict[str, Any], messages: list[Any]) -> None:
    """What is wrong with one is said, and nothing else is raised."""
    try:
        request = read_request({**body, "messages": messages}, model="m", stream=True)
    except Invalid as mistake:
        assert mistake.field
        return
    try:
        assert write_request(request, Aim(CHAT, "local"), Losses())
    except Untranslatable as refused:
        assert refused.field
