"""Chat Completions' requests: what is read of them, and what providers of the dialect get."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routeur.dialects import neutral as n
from routeur.dialects.neutral.aim import Aim, Invalid, Losses, Untranslatable, vendor_of
from routeur.dialects.openai_chat.requests import address, read_request, write_request
from tests.recording import Recording
from tests.schemas import OPENAI, breaks
from tests.translations import read_request as read_recorded
from tests.translations import requests

CLAUDE = "anthropic-claude-v1"
PIXEL = "iVBORw0KGgo="
USER = {"role": "user", "content": "Hello"}
PARAMETERS = {"type": "object", "properties": {}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}


def read(*messages: Any, **members: Any) -> n.Request:
    body = {"messages": list(messages) or [USER], **members}
    return read_request(body, model="any", stream=False)


def write(request: n.Request, model: str = "gpt-4o", **aim: Any) -> dict[str, Any]:
    losses = aim.pop("losses", None) or Losses()
    target = Aim("openai_chat", model, vendor=aim.pop("vendor", vendor_of(model)), **aim)
    written: dict[str, Any] = orjson.loads(write_request(request, target, losses))
    return written


def asked(*messages: n.Message, dialect: str = "anthropic", **members: Any) -> n.Request:
    """A request of a client of another dialect."""
    return n.Request(dialect, "any", messages or (n.Message("user", (n.Text("Hi"),)),), **members)


def user(*blocks: n.Block) -> n.Message:
    return n.Message("user", blocks)


def assistant(*blocks: n.Block) -> n.Message:
    return n.Message("assistant", blocks)


def home(*messages: Any, **members: Any) -> dict[str, Any]:
    """What a body of this dialect comes back as."""
    return write(read(*messages, **members))


def dropped(request: n.Request, model: str = "gpt-4o", **aim: Any) -> tuple[str, ...]:
    losses = Losses()
    write(request, model, losses=losses, **aim)
    return losses.dropped


# ── reading


def test_every_kind_of_message() -> None:
    found = read(
        {"role": "developer", "content": "be brief"},
        {"role": "system", "content": [{"type": "text", "text": "be kind"}], "name": "boss"},
        {"role": "user", "content": "", "name": "eve"},
        {
            "role": "assistant",
            "content": "",
            "refusal": None,
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x":1.0}'},
                },
                {"id": "b", "type": "custom", "custom": {"name": "g", "input": "free"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
    )
    assert found.messages == (
        n.Message("system", (n.Text("be brief"),), developer=True),
        n.Message("system", (n.Text("be kind"),), name="boss"),
        n.Message("user", (n.Text(""),), name="eve"),
        assistant(n.ToolCall("a", "f", '{"x":1.0}'), n.ToolCall("b", "g", "free", "custom")),
        user(n.ToolResult("a", (n.Text("1"),)), n.ToolResult("b", (n.Text("2"),))),
        assistant(n.Refusal("no")),
    )


def test_every_kind_of_part() -> None:
    parts = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/x.png", "detail": "low"}},
        {"type": "image_url", "image_url": "data:image/png;base64,aGk="},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "JVBERi0="}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": "aGk="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "document_url", "document_url": "https://a.example/x.pdf"},
    ]
    (message,) = read({"role": "user", "content": parts}).messages
    assert message.blocks == (
        n.Text("a", cache="1h"),
        n.Image("https://a.example/x.png", detail="low"),
        n.Image("data:image/png;base64,aGk="),
        n.Audio("aGk=", "wav"),
        n.File(data="JVBERi0=", media_type="application/pdf", name="a.pdf"),
        n.File(data="aGk=", media_type="text/plain", name="a.txt"),
        n.File("data:application/pdf;base64,JVBERi0="),
        n.File(file_id="file-1"),
        n.Reasoning("hm"),
        n.File("https://a.example/x.pdf", extra={"type": "document_url"}),
    )


def test_every_parameter() -> None:
    found = read(
        max_tokens=5,
        max_completion_tokens=7,
        temperature=0,
        top_p=0.5,
        top_k=3,
        stop="END",
        seed=12345678901,
        n=2,
        logprobs=True,
        top_logprobs=4,
        presence_penalty=1,
        frequency_penalty=-1.5,
        parallel_tool_calls=False,
        verbosity="low",
        user="u",
        safety_identifier="s",
        metadata={"a": "b"},
        prompt_cache_key="k",
        service_tier="flex",
        store=True,
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "mp3"},
        reasoning_effort="high",
        stream_options={"include_usage": True},
        response_format={"type": "json_object"},
    )
    assert (found.max_tokens, found.temperature, found.top_p, found.top_k) == (7, 0, 0.5, 3)
    assert (found.stop, found.seed, found.n, found.user) == (("END",), 12345678901, 2, "u")
    assert (found.logprobs, found.top_logprobs, found.parallel_tools) == (True, 4, False)
    assert (found.presence_penalty, found.frequency_penalty) == (1, -1.5)
    assert (found.verbosity, found.safety_identifier, found.cache_key) == ("low", "s", "k")
    assert (found.metadata, found.service_tier, found.store) == ({"a": "b"}, "flex", True)
    assert (found.modalities, found.include_usage) == (("text", "audio"), True)
    assert found.thinking == n.Thinking("on", "high")
    assert found.format == n.ResponseFormat("json")
    assert not found.extra


def test_what_has_no_field_is_kept() -> None:
    found = read(
        logit_bias={"1": -100},
        prediction={"type": "content", "content": "x"},
        web_search_options={},
        new=[1],
        absent=None,
    )
    assert found.extra.keys() == {"logit_bias", "prediction", "web_search_options", "new"}
    assert found.essential == {"logit_bias", "web_search_options"}
    assert not read(logit_bias={}).essential


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"reasoning_effort": "none"}, n.Thinking("off")),
        ({"reasoning_effort": "XHigh"}, n.Thinking("on", "xhigh")),
        ({"reasoning": {"max_tokens": 2000}}, n.Thinking("on", budget=2000)),
        ({"reasoning": {"effort": "low", "exclude": True}}, n.Thinking("on", "low", show=False)),
        ({"reasoning": {"enabled": True}}, n.Thinking("on")),
        ({"include_reasoning": False}, n.Thinking(show=False)),
        ({"thinking": {"type": "disabled"}}, n.Thinking("off")),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, n.Thinking("on", budget=9)),
        ({"thinking": {"type": "adaptive"}}, n.Thinking("adaptive")),
        ({"enable_thinking": False}, n.Thinking("off")),
        ({"enable_thinking": True, "thinking_budget": 7}, n.Thinking("on", budget=7)),
        ({}, None),
    ],
)
def test_how_much_to_think(members: dict[str, Any], expected: n.Thinking | None) -> None:
    found = read(**members)
    assert found.thinking == expected
    written = write(found, "local")
    assert read_request(written, model="any", stream=False).thinking == expected


def test_tools_and_choices() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: A"}}
    found = read(
        tools=[
            {"type": "function", "function": {"name": "f", "description": "d", "strict": True}},
            {"type": "custom", "custom": {"name": "g", "format": grammar}},
            {"type": "web_search"},
        ],
        tool_choice={
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            },
        },
    )
    assert found.tools == (
        n.Tool("f", "d", strict=True),
        n.Tool(
            "g",
            kind="custom",
            format={"type": "grammar", "syntax": "lark", "definition": "start: A"},
        ),
        n.Tool(kind="server", raw={"type": "web_search"}, dialect="openai_chat"),
    )
    assert found.tool_choice == n.ToolChoice("required", ("f",))
    assert write(found)["tools"][1]["custom"]["format"] == grammar


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", n.ToolChoice("auto")),
        ("any", n.ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, n.ToolChoice("named", ("f",))),
        ({"type": "custom", "custom": {"name": "g"}}, n.ToolChoice("named", ("g",))),
    ],
)
def test_tool_choice(choice: Any, expected: n.ToolChoice) -> None:
    assert read(tools=[TOOL], tool_choice=choice).tool_choice == expected


def test_old_functions_become_tools() -> None:
    found = read(
        USER,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        functions=[{"name": "f", "description": "d", "parameters": PARAMETERS}],
        function_call={"name": "f"},
    )
    call, result = found.messages[1].blocks[0], found.messages[2].blocks[0]
    assert isinstance(call, n.ToolCall)
    assert isinstance(result, n.ToolResult)
    assert (call.name, call.id) == ("f", result.id)
    assert found.tool_choice == n.ToolChoice("named", ("f",))
    written = write(found)
    assert written["tools"][0]["function"]["name"] == "f"
    assert written["messages"][2]["tool_call_id"] == written["messages"][1]["tool_calls"][0]["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [1]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "?"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "tool", "content": "1"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]},
            "messages[0].tool_calls[0].function",
        ),
        ({"messages": [{"role": "assistant", "content": 3}]}, "messages[0].content"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [TOOL], "tool_choice": "maybe"}, "tool_choice"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temperature": True}, "temperature"),
        ({"stop": [1]}, "stop"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.name"),
        ({"modalities": "audio"}, "modalities"),
    ],
)
def test_mistakes_are_named_by_their_path(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as raised:
        read_request({"messages": [USER], **body}, model="m", stream=False)
    assert raised.value.field == field
    assert f"`{field}`" in raised.value.message


# ── reasoning


SIGNED = n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC)
REDACTED = n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC)
SEALED = n.Reasoning(summary=("so",), encrypted="gAAA", id="rs_1", origin=n.RESPONSES)


def test_sealed_reasoning_is_read_in_its_place() -> None:
    (_, message) = read(
        USER,
        {
            "role": "assistant",
            "content": "Let me see. Done.",
            "reasoning_content": "hm",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "h", "index": 0, "format": CLAUDE},
                {"type": "reasoning.text", "text": "m", "signature": "c2ln", "index": 0},
                {
                    "type": "reasoning.encrypted",
                    "data": "eHg=",
                    "format": CLAUDE + CLAUDE,  # a client ran them together
                    "index": 1,
                    "block": 2,
                },
                {"type": "reasoning.summary", "summary": "so", "index": 2,
                 "format": "openai-responses-v1"},
                {"type": "reasoning.encrypted", "data": "gAAA", "id": "rs_1", "index": 2,
                 "format": "openai-responses-v1"},
            ],
            "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
        },
    ).messages  # fmt: skip
    assert message.blocks == (
        SIGNED,
        n.Text("Let me see. Done."),
        REDACTED,
        SEALED,
        n.ToolCall("a", "f", "{}"),
    )


def test_openrouters_numbers_count_the_reasoning_only() -> None:
    details = [
        {"type": "reasoning.text", "text": "a", "index": 0},
        {"type": "reasoning.text", "text": "b", "index": 1},
        {"type": "reasoning.text", "text": "c"},
        "no entry",
    ]
    message = {"role": "assistant", "content": "x", "reasoning_details": details}
    assert read(USER, message).messages[1].blocks == (
        n.Reasoning("a"),
        n.Reasoning("b"),
        n.Reasoning("c"),
        n.Text("x"),
    )


def test_googles_signatures_are_read() -> None:
    google = {"google": {"thought_signature": "s1"}}
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    first = {"role": "assistant", "tool_calls": [{**call, "extra_content": google}]}
    second = {"role": "assistant", "content": "x", "extra_content": google}
    third = {"role": "assistant", "tool_calls": [call], "extra_content": google}
    entry = {
        "type": "reasoning.encrypted",
        "data": "s1",
        "id": "a",
        "format": "google-gemini-v1",
    }
    fourth = {"role": "assistant", "tool_calls": [call], "reasoning_details": [entry]}
    signed = n.ToolCall("a", "f", "{}", signature="s1", origin=n.GEMINI)
    found = [each.blocks for each in read(first, second, third, fourth).messages]
    assert found == [
        (signed,),
        (n.Text("x", signature="s1", origin=n.GEMINI),),
        (signed,),
        (signed,),
    ]


def test_seals_go_back_to_who_made_them() -> None:
    """Through OpenRouter to Claude; nothing of it to OpenAI, where it would be refused."""
    request = asked(user(n.Text("Hi")), assistant(SIGNED, n.Text("x")), user(n.Text("go on")))
    message = write(request, "anthropic/claude-opus-4.5")["messages"][1]
    assert message["reasoning_details"] == [
        {
            "type": "reasoning.text",
            "text": "hm",
            "format": "anthropic-claude-v1",
            "index": 0,
            "signature": "c2ln",
        }
    ]
    assert write(request)["messages"][1] == {"role": "assistant", "content": "x"}
    assert dropped(request) == ("reasoning.signature", "reasoning")


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek/deepseek-v4", "kimi-k2-thinking"])
def test_some_want_to_see_what_they_thought(model: str) -> None:
    message = write(asked(assistant(n.Reasoning("hm"), n.Text("x"))), model)["messages"][0]
    assert message == {"role": "assistant", "content": "x", "reasoning_content": "hm"}


@pytest.mark.parametrize("model", ["llama-3", "deepseek-r1-distill-llama-70b", "gpt-5"])
def test_others_would_refuse_it(model: str) -> None:
    request = asked(assistant(n.Reasoning("hm"), n.Text("x")), dialect="gemini")
    assert write(request, model)["messages"] == [{"role": "assistant", "content": "x"}]
    assert dropped(request, model) == ("reasoning",)


def test_mistral_has_it_as_parts_and_short_ids() -> None:
    call = n.ToolCall("toolu_0123456789", "f", "{}")
    result = n.ToolResult("toolu_0123456789", (n.Text("1"),))
    request = asked(assistant(n.Reasoning("hm"), n.Text("x"), call), user(result))
    first, second = write(request, "magistral-medium-latest")["messages"]
    assert first["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "x"},
    ]
    id = first["tool_calls"][0]["id"]
    assert (len(id), id.isalnum(), id) == (9, True, second["tool_call_id"])


def test_geminis_signatures_go_to_gemini() -> None:
    call = n.ToolCall("a", "f", "{}", signature="s1", origin=n.GEMINI)
    request = asked(assistant(call), dialect="gemini")
    google = {"google": {"thought_signature": "s1"}}
    assert write(request, "gemini-3-pro")["messages"][0]["tool_calls"][0]["extra_content"] == google
    routed = write(request, "google/gemini-3-pro")["messages"][0]
    assert routed["reasoning_details"][0]["id"] == "a"
    assert (
        "reasoning_details"
        not in write(request, "google/gemini-3", platform="vertex")["messages"][0]
    )
    assert dropped(request) == ("tool_call.signature",)


# ── writing messages


def test_results_stand_straight_after_their_calls() -> None:
    calls = [n.ToolCall(id, "f", "") for id in "abc"]
    results = [n.ToolResult(id, (n.Text(id),)) for id in "cba"]
    written = write(
        asked(
            assistant(calls[0], calls[1]),
            assistant(calls[2]),
            user(*results, n.Text("and?")),
        )
    )["messages"]
    assert [each.get("tool_call_id", each["role"]) for each in written] == [
        "assistant", "a", "b", "assistant", "c", "user",
    ]  # fmt: skip
    assert written[0]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert written[-1]["content"] == "and?"


def test_images_of_results_follow_as_the_users() -> None:
    image = n.Image(data=PIXEL, media_type="image/png")
    results = (n.ToolResult("a", (n.Text("see"), image)), n.ToolResult("b", (image,)))
    written = write(
        asked(
            assistant(n.ToolCall("a", "f"), n.ToolCall("b", "f")),
            user(*results, n.Text("What is it?")),
        )
    )["messages"]
    assert [each["role"] for each in written] == ["assistant", "tool", "tool", "user"]
    assert [each["content"] for each in written[1:3]] == [
        "see",
        "The output follows in the user's next message.",
    ]
    assert [each["type"] for each in written[3]["content"]] == [
        "text", "image_url", "text", "image_url", "text",
    ]  # fmt: skip
    assert written[3]["content"][1]["image_url"] == {"url": f"data:image/png;base64,{PIXEL}"}


def test_images_of_the_last_result_are_not_lost() -> None:
    image = n.Image("https://a.example/x.png")
    written = write(asked(assistant(n.ToolCall("a", "f")), user(n.ToolResult("a", (image,)))))[
        "messages"
    ]
    assert [each["role"] for each in written] == ["assistant", "tool", "user"]


def test_images_that_the_model_made_are_shown_again() -> None:
    image = n.Image(data=PIXEL, media_type="image/png")
    request = asked(user(n.Text("Draw")), assistant(image), user(n.Text("Red")), dialect="gemini")
    written = write(request)["messages"]
    assert [each["role"] for each in written] == ["user", "user"]
    assert [each["type"] for each in written[1]["content"]] == ["text", "image_url", "text"]


def test_texts_of_others_are_put_together() -> None:
    written = write(
        asked(
            n.Message("system", (n.Text("a"), n.Text("b"))),
            user(n.Text("c"), n.Text("d")),
            assistant(n.Text("e"), n.Text("f"), n.ToolCall("x", "f")),
            user(n.ToolResult("x", (n.Text("g"), n.Text("h")), is_error=True)),
        )
    )["messages"]
    assert [each["content"] for each in written] == [
        "a\n\nb",
        [{"type": "text", "text": "c"}, {"type": "text", "text": "d"}],
        "ef",
        "g\nh",
    ]


def test_system_messages_stay_where_they_are() -> None:
    later = n.Message("system", (n.Text("later"),), developer=True)
    written = write(asked(user(n.Text("a")), later, user(n.Text("b"))))["messages"]
    assert [each["role"] for each in written] == ["user", "developer", "user"]


def test_blocks_that_only_others_know() -> None:
    search = n.Opaque("anthropic", {"type": "server_tool_use"})
    summary = n.Opaque("anthropic", {"type": "compaction"}, shown="Before: much.")
    request = asked(assistant(search), assistant(summary, n.Text("x")), user(search))
    assert write(request, "llama")["messages"] == [
        {"role": "assistant", "content": "Before: much.x"}
    ]
    assert dropped(request, "llama") == ("server_tool_use",)


def test_documents() -> None:
    pdf = n.File(data="JVBERi0=", media_type="application/pdf", title="Report", citations=True)
    plain = n.File(text="words", title="Notes", context="from 1999")
    nested = n.File(blocks=(n.Text("one"), n.Image("https://a.example/x.png")))
    (message,) = write(asked(user(pdf, plain, nested)))["messages"]
    assert message["content"] == [
        {
            "type": "file",
            "file": {"filename": "Report.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
        },
        {"type": "text", "text": "Notes\nfrom 1999"},
        {"type": "text", "text": "words"},
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}},
    ]
    assert dropped(asked(user(pdf))) == ("file.citations",)


@pytest.mark.parametrize(
    ("block", "field"),
    [
        (n.Image(file_id="file_1"), "image.file_id"),
        (n.Image("gs://bucket/x.png"), "image.url"),
        (n.File(file_id="file_1"), "file.file_id"),
        (n.File("https://a.example/x.pdf"), "file.url"),
        (n.Audio("aGk=", "ogg"), "audio.format"),
    ],
)
def test_what_cannot_be_fetched_is_refused(block: n.Block, field: str) -> None:
    with pytest.raises(Untranslatable) as refused:
        write(asked(user(block)))
    assert refused.value.field == field


def test_ids_that_are_too_long_pair_all_the_same() -> None:
    id = "x" * 41
    written = write(asked(assistant(n.ToolCall(id, "f")), user(n.ToolResult(id, (n.Text("1"),)))))[
        "messages"
    ]
    assert written[0]["tool_calls"][0]["id"] == written[1]["tool_call_id"]
    assert len(written[1]["tool_call_id"]) <= 40


def test_an_answer_cannot_be_begun_at_openai() -> None:
    request = asked(user(n.Text("Count")), assistant(n.Text("1, 2")))
    with pytest.raises(Untranslatable, match="begun"):
        write(request)
    assert write(request, "local-model")["messages"][-1]["content"] == "1, 2"


# ── writing parameters


def test_limits_by_their_name_at_the_target() -> None:
    request = asked(max_tokens=9, temperature=0.5, top_p=1, logprobs=True, seed=3)
    assert write(request)["max_tokens"] == 9
    written = write(request, "gpt-5-mini")
    assert written["max_completion_tokens"] == 9
    assert written["seed"] == 3
    assert not written.keys() & {"temperature", "top_p", "logprobs", "max_tokens"}
    assert dropped(request, "o3") == ("temperature", "logprobs")


@pytest.mark.parametrize(
    ("thinking", "model", "written"),
    [
        (n.Thinking("on", budget=1024), "gpt-5", {"reasoning_effort": "minimal"}),
        (n.Thinking("on", budget=10_000), "o3", {"reasoning_effort": "medium"}),
        (n.Thinking("on", "xhigh"), "gpt-5.2", {"reasoning_effort": "xhigh"}),
        (n.Thinking("on", "max"), "o4-mini", {"reasoning_effort": "high"}),
        (n.Thinking("off"), "gpt-5.1", {"reasoning_effort": "none"}),
        (n.Thinking("off"), "gpt-5", {"reasoning_effort": "minimal"}),
        (n.Thinking("off"), "gpt-4o", {}),
        (n.Thinking("on", "high"), "gpt-4o", {}),
        (n.Thinking("adaptive"), "gpt-5", {}),
        (n.Thinking("on", budget=5000), "anthropic/claude-x", {"reasoning": {"max_tokens": 5000}}),
        (n.Thinking("on", budget=5000), "gemini-2.5-pro", {"reasoning_effort": "low"}),
        (n.Thinking("off"), "qwen3", {"reasoning_effort": "none"}),
    ],
)
def test_thinking_in_words(thinking: n.Thinking, model: str, written: dict[str, Any]) -> None:
    found = write(asked(thinking=thinking), model)
    assert {k: v for k, v in found.items() if k.startswith("reasoning")} == written


def test_tools_are_written() -> None:
    tools = (n.Tool("f", parameters=PARAMETERS, strict=True, cache=""), n.Tool("g"))
    request = asked(tools=tools, tool_choice=n.ToolChoice("named", ("g",)), parallel_tools=False)
    found = write(request)
    assert found["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "parameters": PARAMETERS, "strict": True},
        },
        {"type": "function", "function": {"name": "g"}},
    ]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "g"}}
    assert found["parallel_tool_calls"] is False
    assert dropped(request) == ("cache",)
    assert "parallel_tools" in dropped(request, "o3-mini")


def test_allowed_tools_of_others_are_all_that_they_see() -> None:
    request = asked(tools=(n.Tool("f"), n.Tool("g")), tool_choice=n.ToolChoice("required", ("g",)))
    assert write(request)["tool_choice"]["allowed_tools"]["mode"] == "required"
    found = write(request, "local")
    assert [each["function"]["name"] for each in found["tools"]] == ["g"]
    assert found["tool_choice"] == "required"


def test_no_choice_without_tools() -> None:
    found = write(asked(tool_choice=n.ToolChoice("none"), parallel_tools=True))
    assert not found.keys() & {"tools", "tool_choice", "parallel_tool_calls"}


@pytest.mark.parametrize(
    ("request_", "model", "field"),
    [
        (asked(tools=(n.Tool(kind="server", dialect="anthropic"),)), "gpt-4o", "tools[0]"),
        (asked(tools=(n.Tool("f"), n.Tool("a.b"))), "gpt-4o", "tools[1].name"),
        (asked(tools=(n.Tool("f", kind="custom"),)), "local", "tools[0]"),
        (asked(stop=tuple("abcde")), "gpt-4o", "stop"),
        (asked(modalities=("image", "text")), "gpt-4o", "modalities"),
        (asked(modalities=("audio",)), "gpt-4o-audio-preview", "modalities"),
        (asked(extra={"mcp": 1}, essential=frozenset({"mcp"})), "gpt-4o", "mcp"),
    ],
)
def test_what_would_change_the_answer_is_refused(
    request_: n.Request, model: str, field: str
) -> None:
    with pytest.raises(Untranslatable) as refused:
        write(request_, model)
    assert refused.value.field == field


def test_hints_are_dropped_and_named() -> None:
    request = asked(
        user(n.Text("a", cache="1h")),
        top_k=4,
        verbosity="low",
        metadata={"a": "b"},
        service_tier="standard_only",
        safety_identifier="s",
        cache_key="k",
        cache="",
        store=True,
        user="u",
        thinking=n.Thinking(summary="auto", encrypted=True),
        extra={"anthropic_beta": ["x"]},
    )
    found = write(request)
    assert (found["user"], found["service_tier"]) == ("u", "default")
    assert (found["safety_identifier"], found["prompt_cache_key"]) == ("s", "k")
    assert not found.keys() & {"store", "metadata", "verbosity", "top_k", "cache_control"}
    assert dropped(request) == (
        "cache",
        "top_k",
        "thinking.summary",
        "thinking.encrypted",
        "verbosity",
        "metadata",
        "anthropic_beta",
    )
    assert {"service_tier", "safety_identifier", "cache_key"} <= set(dropped(request, "local"))
    with pytest.raises(Untranslatable, match="Routeur-Strict"):
        write(request, losses=Losses(strict=True))


def test_cache_marks_go_to_claude() -> None:
    request = asked(n.Message("system", (n.Text("long", cache="1h"),)))
    (message,) = write(request, "anthropic/claude-sonnet-4.5")["messages"]
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert message["content"] == [{"type": "text", "text": "long", "cache_control": mark}]


def test_a_stream_says_what_it_used() -> None:
    found = write(asked(stream=True))
    assert (found["stream"], found["stream_options"]) == (True, {"include_usage": True})
    assert "stream_options" not in write(read_request({"messages": [USER]}, model="m", stream=True))


def test_formats() -> None:
    schema = n.ResponseFormat("schema", schema=PARAMETERS, strict=True)
    assert write(asked(format=schema))["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": PARAMETERS, "strict": True},
    }
    json = write(asked(format=n.ResponseFormat("json")))
    assert json["response_format"] == {"type": "json_object"}
    assert "response_format" not in write(asked(format=n.ResponseFormat("text")))


def test_address() -> None:
    assert address("any/model", True) == "/v1/chat/completions"


# ── there and back


def test_nothing_is_lost_at_home() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "a", "name": "boss"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
                    {
                        "type": "image_url",
                        "image_url": {"url": "https://a.example/x", "detail": "low"},
                    },
                    {"type": "file", "file": {"file_data": "JVBERi0=", "filename": "a.pdf"}},
                    {"type": "video_url", "video_url": {"url": "https://a.example/x.mp4"}},
                ],
            },
            {
                "role": "assistant",
                "content": "c",
                "reasoning_content": "hm",
                "audio": {"id": "audio_1"},
                "prefix": True,
                "tool_calls": [
                    {
                        "id": "x" * 60,
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "x" * 60, "content": "1", "name": "f"},
        ],
        "tools": [TOOL, {"type": "web_search", "user_location": {}}],
        "tool_choice": "required",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {}, "strict": False, "description": "d"},
        },
        "logit_bias": {"1": 5},
        "service_tier": "scale",
        "store": False,
        "metadata": {"a": "b"},
        "top_k": 4,
        "temperature": 1.0,
        "unknown": {"x": [1]},
    }
    once = read_request(body, model="local", stream=True)
    again = read_request(write(once, "local"), model="local", stream=True)
    assert again == once


# ── every recorded request


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-mini", "local"])
@pytest.mark.parametrize("each", requests(), ids=str)
def test_requests_are_as_openai_describes_them(each: Recording, model: str) -> None:
    try:
        written = write(read_recorded(each), model)
    except Untranslatable as refused:
        assert refused.field
        return
    if "http_error" not in each.name:  # recorded with a temperature of -1, on purpose
        assert breaks(OPENAI, "CreateChatCompletionRequest", written) == []


def test_nothing_said() -> None:
    spoken = [{"role": "user", "content": "."}]
    silent = n.Request("anthropic", "any", ())
    assert write(silent)["messages"] == spoken
    unsaid = n.Message("system", (n.Text(""),))
    assert write(asked(unsaid))["messages"] == spoken
    hi = {"role": "user", "content": "Hi"}
    assert write(asked(unsaid, user(n.Text("Hi"))))["messages"] == [hi]
