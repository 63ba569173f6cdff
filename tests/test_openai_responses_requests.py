"""Requests of the Responses API: read strictly, written so that the API takes them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routeur.dialects import neutral as n
from routeur.dialects.neutral.aim import Aim, Invalid, Losses, Untranslatable, vendor_of
from routeur.dialects.openai_responses.requests import address, read_request, write_request
from tests.recording import Recording
from tests.schemas import OPENAI, breaks
from tests.translations import aim_at, dialect_of, requests
from tests.translations import read_request as read_recorded

NAME = "openai_responses"
USER = n.Message("user", (n.Text("Hello"),))
CALL = n.ToolCall("call_1", "add", '{"a": 1.0}')
FUNCTION = n.Tool("add", "Adds", {"type": "object", "properties": {}})


def read(**body: Any) -> n.Request:
    return read_request({"model": "m", **body}, model="m", stream=False)


def items(*given_items: Any) -> tuple[n.Message, ...]:
    return read(input=list(given_items)).messages


def write(
    request: n.Request, model: str = "gpt-4.1", losses: Losses | None = None, **aim: Any
) -> dict[str, Any]:
    to = Aim(NAME, model, **{"vendor": vendor_of(model), **aim})
    body: dict[str, Any] = orjson.loads(write_request(request, to, losses or Losses()))
    return body


def foreign(*messages: n.Message, dialect: str = "anthropic", **members: Any) -> n.Request:
    return n.Request(dialect, "m", messages or (USER,), **members)


def message(role: str, *parts: Any, **members: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts), **members}


# ── reading


def test_input_may_be_a_string() -> None:
    assert read(input="Hello").messages == (USER,)
    assert read(prompt={"id": "pmpt_1"}).messages == ()


def test_every_member_is_kept() -> None:
    body = {
        "input": "Hello",
        "instructions": "Be kind.",
        "max_output_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_logprobs": 3,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
        "reasoning": {"effort": "HIGH", "summary": "auto"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "parallel_tool_calls": False,
        "user": "u",
        "safety_identifier": "s",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "service_tier": "flex",
        "store": False,
    }
    request = read_request(body, model="m", stream=True)
    assert request == n.Request(
        NAME,
        "m",
        (
            n.Message("system", (n.Text("Be kind."),), extra={"type": "instructions"}),
            USER,
        ),
        parallel_tools=False,
        max_tokens=100,
        temperature=0.5,
        top_p=0.9,
        logprobs=True,
        top_logprobs=3,
        format=n.ResponseFormat("json"),
        thinking=n.Thinking("on", "high", show=True, summary="auto", encrypted=True),
        verbosity="low",
        user="u",
        safety_identifier="s",
        metadata={"a": "b"},
        cache_key="k",
        service_tier="flex",
        store=False,
        stream=True,
    )


EXTRAS: dict[str, Any] = {
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "background": True,
    "prompt": {"id": "pmpt_1"},
    "moderation": {"model": "omni-moderation-latest"},
    "tool_choice": {"type": "web_search_preview"},
    "context_management": [{"type": "compaction"}],
    "truncation": "auto",
    "max_tool_calls": 3,
    "prompt_cache_retention": "24h",
    "prompt_cache_options": {"ttl": "30m"},
    "stream_options": {"include_obfuscation": False},
    "include": ["file_search_call.results"],
    "something_new": 1,
}


def test_what_has_no_field_goes_home_as_it_came() -> None:
    request = read(input="Hello", **EXTRAS)
    assert request.extra == EXTRAS
    assert EXTRAS.items() <= write(request).items()


@pytest.mark.parametrize(
    "name", "previous_response_id conversation background prompt moderation tool_choice".split()
)
def test_others_refuse_what_they_cannot_mean(name: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        Losses().extras(read(input="Hello", **{name: EXTRAS[name]}), "anthropic")
    assert refused.value.field == name


def test_others_drop_hints() -> None:
    hints = {"truncation": "auto", "max_tool_calls": 3, "store": False, "background": False}
    losses = Losses()
    assert losses.extras(read(input="Hello", **hints), "anthropic") == {}
    assert losses.dropped == ("truncation", "max_tool_calls")


def test_members_of_members_have_paths() -> None:
    body = {"reasoning": {"effort": "low", "mode": "pro"}, "text": {"format": {"type": "new"}}}
    request = read(input="Hello", **body)
    assert request.extra == {"reasoning.mode": "pro", "text.format": {"type": "new"}}
    assert body.items() <= write(request).items()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"input": 7}, "input"),
        ({"input": [7]}, "input[0]"),
        ({"input": [{}]}, "input[0]"),
        ({"input": [{"role": "nobody", "content": ""}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [1]}]}, "input[0].content[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "filename": "x"}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "input[0].content[0].input_audio.data",
        ),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]},
            "input[0].arguments",
        ),
        ({"input": [{"type": "function_call_output", "output": ""}]}, "input[0].call_id"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": 7}]},
            "input[0].output",
        ),
        ({"input": [{"type": "reasoning", "summary": [1]}]}, "input[0].summary[0]"),
        ({"input": [{"type": "reasoning", "encrypted_content": 1}]}, "input[0].encrypted_content"),
        ({"instructions": []}, "instructions"),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "strict": 1}]}, "tools[0].strict"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "none", "tools": []}},
            "tool_choice.mode",
        ),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"max_output_tokens": True}, "max_output_tokens"),
        ({"temperature": "1"}, "temperature"),
        ({"text": []}, "text"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"reasoning": {"effort": 1}}, "reasoning.effort"),
        ({"include": [1]}, "include"),
        ({"store": "no"}, "store"),
        ({"metadata": 1}, "metadata"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as found:
        read(**body)
    assert found.value.field == path
    assert f"`{path}`: expected" in found.value.message


# ── turns


def test_a_turn_is_one_message() -> None:
    found = items(
        {"role": "user", "content": "Add."},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        message("assistant", {"type": "output_text", "text": "So"}, id="msg_1", status="completed"),
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "2"}],
        },
        {"role": "user", "content": "And?"},
    )
    assert [(each.role, [type(block) for block in each.blocks]) for each in found] == [
        ("user", [n.Text]),
        ("assistant", [n.Reasoning, n.Text, n.ToolCall, n.ToolCall]),
        ("user", [n.ToolResult, n.ToolResult]),
        ("user", [n.Text]),
    ]
    assert (found[1].id, found[1].extra) == ("msg_1", {"status": "completed"})
    assert found[1].blocks[3] == n.ToolCall("c2", "g", "x", kind="custom")
    assert found[2].blocks[1] == n.ToolResult("c2", (n.Text("2"),), kind="custom")


def test_two_messages_of_the_model_stay_two() -> None:
    found = items(
        message("assistant", {"type": "output_text", "text": "a"}, id="msg_1", phase="commentary"),
        message("assistant", {"type": "output_text", "text": "b"}, id="msg_2"),
    )
    assert [(each.id, each.extra) for each in found] == [
        ("msg_1", {"phase": "commentary"}),
        ("msg_2", {}),
    ]


def test_system_and_developer_stand_anywhere() -> None:
    found = items(
        {"role": "developer", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "system", "content": "c"},
    )
    assert [(each.role, each.developer) for each in found] == [
        ("system", True),
        ("user", False),
        ("system", False),
    ]


def test_unknown_items_and_parts_stay_as_they_are() -> None:
    told = [
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"n": 1}},
        message("user", {"type": "input_video", "video_url": "https://a.example/v"}),
        {"type": "shell_call_output", "call_id": "c", "output": []},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "aGk="},
        {"type": "item_reference", "id": "msg_9"},
    ]
    request = read(input=told)
    assert write(request)["input"] == told
    assert request.extra == {"item_reference": True}
    with pytest.raises(Untranslatable, match="item_reference"):
        Losses().extras(request, "gemini")


def test_a_reference_may_leave_out_its_type() -> None:
    assert write(read(input=[{"id": "msg_9"}]))["input"] == [
        {"type": "item_reference", "id": "msg_9"}
    ]


def test_content_parts_of_users() -> None:
    data = "data:application/pdf;base64,aGk="
    told = [
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_image", "image_url": "https://a.example/i.png", "detail": "low"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_data": data, "filename": "a.pdf"},
        {"type": "input_file", "file_data": "aGk=", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://a.example/a.pdf", "detail": "high"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
    ]
    request = read(input=[message("user", *told)])
    assert request.messages[0].blocks == (
        n.Text("a", cache=""),
        n.Image(url="https://a.example/i.png", detail="low"),
        n.Image(file_id="file_1"),
        n.File(url=data, name="a.pdf"),
        n.File(data="aGk=", media_type="application/pdf", name="a.pdf"),
        n.File(url="https://a.example/a.pdf", extra={"detail": "high"}),
        n.Audio("aGk=", "wav"),
    )
    assert write(request)["input"][0]["content"] == told


def test_what_the_model_said() -> None:
    note = {"type": "url_citation", "url": "u", "title": "t", "start_index": 1, "end_index": 2}
    told = [
        {"type": "output_text", "text": "a", "annotations": [note]},
        {"type": "refusal", "refusal": "no"},
    ]
    request = read(input=[message("assistant", *told, id="msg_1", status="completed")])
    text = request.messages[0].blocks[0]
    assert isinstance(text, n.Text)
    assert text.citations[0].url == "u"
    assert write(request)["input"][0]["content"] == told


# ── tools


TOOLS = [
    {
        "type": "function",
        "name": "f",
        "description": "d",
        "parameters": {"type": "object", "properties": {"a": {"const": 1.0}}},
        "strict": True,
        "defer_loading": True,
    },
    {"type": "function", "name": "g", "parameters": None},
    {
        "type": "custom",
        "name": "c",
        "format": {"type": "grammar", "syntax": "lark", "definition": "x"},
    },
    {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}},
]


def test_tools_go_home_as_they_came() -> None:
    request = read(input="x", tools=TOOLS)
    assert [each.kind for each in request.tools] == ["function", "function", "custom", "server"]
    assert write(request)["tools"] == TOOLS


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", n.ToolChoice("auto")),
        ("none", n.ToolChoice("none")),
        ("required", n.ToolChoice("required")),
        ({"type": "function", "name": "f"}, n.ToolChoice("named", ("f",))),
        ({"type": "custom", "name": "c"}, n.ToolChoice("named", ("c",))),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}],
            },
            n.ToolChoice("required", ("f", "c")),
        ),
        ({"type": "mcp", "server_label": "s"}, None),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}, None),
    ],
)
def test_tool_choice(choice: Any, expected: n.ToolChoice | None) -> None:
    request = read(input="x", tools=TOOLS, tool_choice=choice)
    assert request.tool_choice == expected
    assert write(request)["tool_choice"] == choice


def test_the_schema_of_an_answer_is_flat() -> None:
    form = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
    request = read(input="x", text={"format": form})
    assert request.format == n.ResponseFormat("schema", "a", "", {"type": "object"}, True)
    assert write(request)["text"] == {"format": form}


def test_strict_is_said_as_its_default_differs() -> None:
    tools = write(foreign(tools=(FUNCTION,), dialect="openai_chat"))["tools"]
    assert tools[0]["strict"] is False
    assert "strict" not in write(read(input="x", tools=TOOLS[1:2]))["tools"][0]


# ── writing for another API's client


def test_a_foreign_conversation() -> None:
    request = foreign(
        n.Message("system", (n.Text("Be kind."),)),
        n.Message("user", (n.Text("Add"), n.Image(data="aGk=", media_type="image/png"))),
        n.Message(
            "assistant",
            (n.Text("One"), n.Text(" moment"), CALL, n.ToolCall("toolu:1", "now", " ")),
        ),
        n.Message(
            "user",
            (
                n.ToolResult("call_1", (n.Text("1"),)),
                n.ToolResult("toolu:1", (n.Image(url="https://a.example/i"),)),
                n.Text("go on"),
            ),
        ),
        tools=(FUNCTION,),
        max_tokens=5,
    )
    losses = Losses()
    body = write(request, losses=losses)
    made = body["input"][4]["call_id"]
    assert body == {
        "model": "gpt-4.1",
        "input": [
            message("system", {"type": "input_text", "text": "Be kind."}),
            message(
                "user",
                {"type": "input_text", "text": "Add"},
                {
                    "type": "input_image",
                    "detail": "auto",
                    "image_url": "data:image/png;base64,aGk=",
                },
            ),
            {"type": "message", "role": "assistant", "content": "One moment"},
            {
                "type": "function_call",
                "call_id": "call_1",
                "name": "add",
                "arguments": '{"a": 1.0}',
            },
            {"type": "function_call", "call_id": made, "name": "now", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "1"},
            {
                "type": "function_call_output",
                "call_id": made,
                "output": [
                    {
                        "type": "input_image",
                        "detail": "auto",
                        "image_url": "https://a.example/i",
                    }
                ],
            },
            message("user", {"type": "input_text", "text": "go on"}),
        ],
        "tools": [
            {
                "type": "function",
                "name": "add",
                "description": "Adds",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            }
        ],
        "max_output_tokens": 16,
        "store": False,
    }
    assert made != "toolu:1"
    assert losses.dropped == ("max_tokens",)


def test_documents() -> None:
    blocks = (
        n.File(data="aGk=", media_type="application/pdf", title="A", context="B"),
        n.File(text="plain", title="C"),
        n.File(url="https://a.example/a.pdf"),
        n.File(blocks=(n.Text("inner"),)),
        n.File(data="aGk=", media_type="text/plain", name="a.txt", citations=True),
    )
    losses = Losses()
    body = write(foreign(n.Message("user", blocks)), losses=losses)
    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "A\nB"},
        {
            "type": "input_file",
            "filename": "A.pdf",
            "file_data": "data:application/pdf;base64,aGk=",
        },
        {"type": "input_text", "text": "C"},
        {"type": "input_text", "text": "plain"},
        {"type": "input_file", "file_url": "https://a.example/a.pdf"},
        {"type": "input_text", "text": "inner"},
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,aGk="},
    ]
    assert losses.dropped == ("file.citations",)


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("stop", foreign(stop=("END",))),
        ("n", foreign(n=2)),
        ("modalities", foreign(modalities=("text", "audio"))),
        ("tools[0]", foreign(tools=(n.Tool(kind="server", dialect="anthropic"),))),
        ("messages", foreign(USER, n.Message("assistant", (n.Text("I"),)))),
        ("image", foreign(n.Message("user", (n.Image(url="gs://a/b"),)))),
        ("image", foreign(n.Message("user", (n.Image(file_id="file_1"),)))),
        ("image", foreign(n.Message("assistant", (n.Image(data="aGk="),)), USER)),
        ("file", foreign(n.Message("user", (n.File(data="aGk=", media_type="video/mp4"),)))),
        ("file", foreign(n.Message("user", (n.File(url="s3://a/b"),)))),
        ("audio", foreign(n.Message("user", (n.Audio("aGk=", "wav"),)))),
        ("logit_bias", foreign(extra={"logit_bias": {}}, essential=frozenset({"logit_bias"}))),
    ],
)
def test_what_would_change_the_answer_is_refused(field: str, request_: n.Request) -> None:
    with pytest.raises(Untranslatable) as refused:
        write(request_)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("seed", foreign(seed=7)),
        ("top_k", foreign(top_k=7)),
        ("presence_penalty", foreign(presence_penalty=0.5)),
        ("cache", foreign(cache="")),
        ("cache", foreign(n.Message("user", (n.Text("a", cache="1h"),)))),
        ("messages.name", foreign(n.Message("user", (n.Text("a"),), name="Ann"))),
        ("user", foreign(user="u" * 65)),
        ("service_tier", foreign(service_tier="batch")),
        ("thinking", foreign(thinking=n.Thinking("on", budget=2000))),
        ("reasoning", foreign(USER, n.Message("assistant", (n.Reasoning("hm"), CALL)))),
        (
            "tool_result.is_error",
            foreign(USER, n.Message("user", (n.ToolResult("c", is_error=True),))),
        ),
        (
            "server_tool_use",
            foreign(n.Message("user", (n.Opaque("anthropic", {"type": "server_tool_use"}),))),
        ),
        (
            "tool_call.signature",
            foreign(USER, n.Message("assistant", (n.ToolCall("c", "f", "{}", "function", "s"),))),
        ),
    ],
)
def test_hints_are_dropped_and_named(field: str, request_: n.Request) -> None:
    losses = Losses()
    write(request_, losses=losses)
    assert losses.dropped == (field,)
    with pytest.raises(Untranslatable, match="Routeur-Strict"):
        write(request_, losses=Losses(strict=True))


def test_a_mark_stays_with_openai() -> None:
    request = foreign(n.Message("user", (n.Text("a", cache=""),)), dialect="openai_chat")
    part = write(request)["input"][0]["content"][0]
    assert part["prompt_cache_breakpoint"] == {"mode": "explicit"}


def test_what_stands_for_an_opaque_block_is_text() -> None:
    block = n.Opaque("anthropic", {"type": "compaction"}, shown="We talked.")
    body = write(foreign(n.Message("user", (block, n.Text("Go on")))))
    assert [each["text"] for each in body["input"][0]["content"]] == ["We talked.", "Go on"]


def test_sampling_of_reasoning_models() -> None:
    losses = Losses()
    request = foreign(temperature=0.2, top_p=1, thinking=n.Thinking("on", "high"))
    body = write(request, "gpt-5", losses)
    assert losses.dropped == ("temperature",)
    assert body["reasoning"] == {"effort": "high"}
    assert body["include"] == ["reasoning.encrypted_content"]
    assert "top_p" not in body
    own = write(read(input="x", temperature=0.2), "gpt-5")
    assert own["temperature"] == 0.2
    assert "include" not in own


@pytest.mark.parametrize(
    ("model", "dialect", "thinking", "expected"),
    [
        ("gpt-5.2", "anthropic", n.Thinking("on", budget=2000), {"effort": "low"}),
        ("gpt-5.2", "anthropic", n.Thinking("adaptive"), None),
        ("gpt-5.2", "anthropic", n.Thinking("on", "max"), {"effort": "high"}),
        ("gpt-5.2", "openai_chat", n.Thinking("on", "xhigh"), {"effort": "xhigh"}),
        ("gpt-5.2", "openai_chat", n.Thinking("off"), {"effort": "none"}),
        ("gpt-5.2", "anthropic", n.Thinking("off"), {"effort": "none"}),
        ("gpt-5-mini", "anthropic", n.Thinking("off"), {"effort": "minimal"}),
        ("o4-mini", "gemini", n.Thinking("off"), {"effort": "low"}),
        ("gpt-4o", "anthropic", n.Thinking("off"), None),
        (
            "gpt-5",
            "gemini",
            n.Thinking("on", "low", show=True),
            {"effort": "low", "summary": "auto"},
        ),
        ("gpt-oss", "gemini", n.Thinking("on", "low"), {"effort": "low"}),
    ],
)
def test_reasoning(model: str, dialect: str, thinking: n.Thinking, expected: Any) -> None:
    body = write(foreign(dialect=dialect, thinking=thinking), model)
    assert body.get("reasoning") == expected


def test_tiers() -> None:
    assert write(foreign(service_tier="standard_only"))["service_tier"] == "default"
    assert write(foreign(service_tier="FLEX"))["service_tier"] == "flex"


def test_logprobs_are_asked_for() -> None:
    body = write(foreign(dialect="openai_chat", logprobs=True, top_logprobs=2))
    assert body["include"] == ["message.output_text.logprobs"]
    assert body["top_logprobs"] == 2


# ── reasoning and seals


SEALED = n.Reasoning(summary=("a",), encrypted="gAAAA", origin=n.RESPONSES, id="rs_1")
SEALED_ITEM = {
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "a"}],
    "encrypted_content": "gAAAA",
    "id": "rs_1",
}


def test_encrypted_reasoning_comes_back_through_another_client() -> None:
    request = foreign(USER, n.Message("assistant", (SEALED, CALL)), USER, dialect="openai_chat")
    assert write(request, "gpt-5")["input"][1] == SEALED_ITEM


def test_it_goes_nowhere_else() -> None:
    request = foreign(USER, n.Message("assistant", (SEALED, CALL)), USER, dialect="openai_chat")
    losses = Losses()
    body = write(request, "anthropic/claude-sonnet-4", losses)
    assert [each["type"] for each in body["input"]] == ["message", "function_call", "message"]
    assert losses.dropped == ("reasoning",)


def test_reasoning_needs_what_followed_it() -> None:
    request = foreign(USER, n.Message("assistant", (SEALED,)), USER, dialect="openai_chat")
    losses = Losses()
    assert len(write(request, "gpt-5", losses)["input"]) == 2
    assert losses.dropped == ("reasoning",)


def test_own_reasoning_stays_as_it_is() -> None:
    told = [
        {"type": "reasoning", "summary": [], "id": "rs_2"},
        {**SEALED_ITEM, "content": [{"type": "reasoning_text", "text": "hm"}], "format": "new"},
    ]
    assert write(read(input=told))["input"] == told


@pytest.mark.parametrize(
    "content", ["routeur.1.", "routeur.1.!!", "routeur.1.e30=", "routeur.1.WzFd"]
)
def test_a_broken_seal_is_no_seal(content: str) -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}
    (found,) = items(item)
    assert found.blocks == (n.Reasoning(),)


# ── what the API's own description says

# Its own clients' requests stay as they are, right or wrong.
FOREIGN = [each for each in requests() if dialect_of(each) != NAME]


@pytest.mark.parametrize("model", ["gpt-4.1", "gpt-5"])
@pytest.mark.parametrize("each", FOREIGN, ids=str)
def test_written_requests_are_as_described(each: Recording, model: str) -> None:
    try:
        body = write_request(read_recorded(each), aim_at(NAME, model), Losses())
    except Untranslatable:
        return
    assert breaks(OPENAI, "CreateResponse", orjson.loads(body)) == []


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "type role content id call_id name arguments output summary text format effort"
                " encrypted_content image_url file_data input_audio schema parameters mode".split()
            ),
            inner | st.sampled_from(["message", "user", "assistant", "function", "reasoning"]),
            max_size=5,
        )
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(
            "input instructions tools tool_choice text reasoning include metadata store".split()
        ),
        JUNK,
    )
)
@settings(deadline=None, max_examples=100)
def test_any_body_is_read_or_invalid(body: dict[str, Any]) -> None:
    try:
        request = read(**body)
    except Invalid as wrong:
        assert wrong.field
        return
    write_request(request, Aim(NAME, "m"), Losses())


def test_half_a_character_is_written_too() -> None:
    body = write_request(foreign(n.Message("user", (n.Text("\ud83d"),))), Aim(NAME, "m"), Losses())
    assert b"\\ud83d" in body


def test_long_data_is_not_changed() -> None:
    data = "A" * 100_000
    body = write(foreign(n.Message("user", (n.Image(url=f"data:image/png;base64,{data}"),))))
    assert body["input"][0]["content"][0]["image_url"].endswith(data)


def test_the_address() -> None:
    assert address("openai/gpt-5", True) == "/v1/responses"


def test_nothing_said() -> None:
    spoken = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "."}],
    }
    unsaid = n.Message("system", (n.Text(""),)), n.Message("user", ())
    for messages in ((), unsaid, (n.Message("user", (n.Text(""),)),)):
        assert write(n.Request("anthropic", "any", messages))["input"] == [spoken]
