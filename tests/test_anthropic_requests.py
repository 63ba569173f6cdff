"""Requests to Anthropic's Messages API: what is read, what is written, what is refused."""

from __future__ import annotations

from base64 import b64encode
from random import Random
from typing import Any

import orjson
import pytest

from routeur.dialects import neutral as n
from routeur.dialects.anthropic import requests as requests_of
from routeur.dialects.exact import loads
from routeur.dialects.neutral.aim import Aim, Invalid, Losses, Untranslatable, vendor_of
from tests.mutations import mutated
from tests.recording import Recording, recording
from tests.schemas import ANTHROPIC, breaks
from tests.translations import MOST, dialect_of, read_request
from tests.translations import requests as recorded_requests

OLD, NEW = "claude-sonnet-4-5", "claude-opus-5-5"
HELLO = n.Message("user", (n.Text("Hello"),))
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="


def read(body: dict[str, Any], **members: Any) -> n.Request:
    whole = {"model": OLD, "max_tokens": 9, "messages": [], **body}
    return requests_of.read_request(whole, model=OLD, stream=False, **members)


def asked(*messages: n.Message, **members: Any) -> n.Request:
    return n.Request("openai_chat", "any", messages or (HELLO,), **members)


def write(request: n.Request, model: str = OLD, losses: Losses | None = None) -> Any:
    aim = Aim("anthropic", model, vendor_of(model), max_output=MOST)
    return loads(requests_of.write_request(request, aim, losses or Losses()))


def content(*blocks: n.Block) -> Any:
    """What a user's blocks become."""
    losses = Losses()
    (message,) = write(asked(n.Message("user", blocks)), losses=losses)["messages"]
    return message["content"]


def there_and_back(body: dict[str, Any]) -> Any:
    return write(read(body))


def block_read(raw: Any) -> n.Block:
    (message,) = read({"messages": [{"role": "user", "content": [raw]}]}).messages
    (block,) = message.blocks
    return block


# ── blocks, read and written again as they came

BLOCKS = [
    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    {
        "type": "text",
        "text": "a",
        "citations": [
            {
                "type": "char_location",
                "cited_text": "c",
                "document_index": 0,
                "document_title": "t",
                "start_char_index": 1,
                "end_char_index": 2,
            }
        ],
    },
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
    {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
    {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
    {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        "title": "t",
        "context": "c",
        "citations": {"enabled": True},
    },
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
    {"type": "document", "source": {"type": "url", "url": "https://a.example/x.pdf"}},
    {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
    {
        "type": "document",
        "source": {
            "type": "content",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "image", "source": {"type": "url", "url": "https://a.example/x"}},
            ],
        },
    },
    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    {"type": "thinking", "thinking": "", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "eHg="},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1.0, "a": 10**30}},
    {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}, "caller": {"type": "direct"}},
    {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [
            {"type": "text", "text": "x"},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/x"}},
            {"type": "tool_reference", "tool_name": "f"},
        ],
        "is_error": True,
    },
    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"},
    {"type": "tool_result", "tool_use_id": "toolu_1"},
    {
        "type": "search_result",
        "title": "t",
        "source": "s",
        "content": [{"type": "text", "text": "x"}],
    },
    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"q": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
    {"type": "container_upload", "file_id": "file_1"},
    {"type": "compaction", "content": "so far"},
    {"type": "what_comes_next_year", "x": [1]},
]


@pytest.mark.parametrize("raw", BLOCKS, ids=lambda raw: str(raw["type"]))
def test_blocks_there_and_back(raw: dict[str, Any]) -> None:
    body = {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "-"}, raw]}]}
    assert there_and_back(body)["messages"][0]["content"][1] == raw


def test_what_blocks_mean() -> None:
    cited = block_read(BLOCKS[2])
    assert isinstance(cited, n.Text)
    assert (cited.citations[0].document, cited.citations[0].start) == (0, 1)
    assert block_read(BLOCKS[11]) == n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC)
    assert block_read(BLOCKS[13]) == n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC)
    call = block_read(BLOCKS[14])
    assert isinstance(call, n.ToolCall)
    assert call.arguments == '{"b":1.0,"a":1000000000000000000000000000000}'
    search, compacted = block_read(BLOCKS[19]), block_read(BLOCKS[23])
    assert isinstance(search, n.Opaque) and search.shown == "t\ns\nx"
    assert isinstance(compacted, n.Opaque) and compacted.shown == "so far"


# ── the rest of a request


@pytest.mark.parametrize(
    "member",
    [
        {"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 3},
        {"stop_sequences": ["x"]},
        {"metadata": {"user_id": "u"}, "service_tier": "standard_only"},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}},
        {"thinking": {"type": "between_tools"}},
        {"output_config": {"effort": "xhigh", "task_budget": {"type": "tokens", "total": 5000}}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"minLength": 1}}}},
        {"cache_control": {"type": "ephemeral", "ttl": "5m"}},
        {"mcp_servers": [{"name": "m"}], "container": "c", "anthropic_beta": ["x"]},
    ],
    ids=str,
)
def test_members_there_and_back(member: dict[str, Any]) -> None:
    found = there_and_back({"messages": [{"role": "user", "content": "x"}], **member})
    assert found == {
        "model": OLD,
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        **member,
    }


def test_tools_there_and_back() -> None:
    tools = [
        {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True},
        {
            "name": "g",
            "input_schema": {"type": "object"},
            "cache_control": {"type": "ephemeral"},
            "defer_loading": True,
        },
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    choice = {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    body = {"messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice}
    found = there_and_back(body)
    assert (found["tools"], found["tool_choice"]) == (tools, choice)
    request = read(body)
    assert [each.kind for each in request.tools] == ["function", "function", "server"]
    assert request.tool_choice == n.ToolChoice("named", ("f",))
    assert request.parallel_tools is False


def test_output_format_of_the_beta() -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}
    found = there_and_back({"messages": [{"role": "user", "content": "x"}], "output_format": form})
    assert found["output_config"] == {"format": form}


def test_what_is_essential() -> None:
    request = read({"container": "c", "speed": "fast", "messages": []})
    losses = Losses()
    with pytest.raises(Untranslatable, match="container"):
        losses.extras(request, "gemini")
    assert "speed" not in request.essential


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": None}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            "messages[0].content[0].source.type",
        ),
        ({"system": 5}, "system"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"temperature": True}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"stop_sequences": [1]}, "stop_sequences[0]"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {"type": "much"}}, "thinking.type"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type"),
    ],
)
def test_what_breaks_the_dialect(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as found:
        read(body)
    assert found.value.field == field
    assert field in found.value.message


# ── a conversation in a row


def turns(*messages: n.Message, model: str = OLD) -> Any:
    return write(asked(*messages), model)["messages"]


def user(*blocks: n.Block | str) -> n.Message:
    return n.Message("user", tuple(n.Text(b) if isinstance(b, str) else b for b in blocks))


def assistant(*blocks: n.Block | str) -> n.Message:
    return n.Message("assistant", tuple(n.Text(b) if isinstance(b, str) else b for b in blocks))


def system(text: str) -> n.Message:
    return n.Message("system", (n.Text(text),))


def call(id: str) -> n.ToolCall:
    return n.ToolCall(id, "f", "{}")


def result(id: str, text: str = "1") -> n.ToolResult:
    return n.ToolResult(id, (n.Text(text),))


def shape(messages: Any) -> list[tuple[str, list[str]]]:
    """Roles, and what is in them: texts, and the ids of calls and results."""
    found = []
    for each in messages:
        inner = each["content"]
        if isinstance(inner, str):
            inner = [{"text": inner}]
        marks = [b.get("text") or b.get("id") or "=" + b["tool_use_id"] for b in inner]
        found.append((each["role"], marks))
    return found


def test_roles_are_merged_and_empty_texts_go() -> None:
    found = turns(user("a", ""), user("  \n"), user("b"), assistant(""), assistant("c"), user("d"))
    assert shape(found) == [("user", ["a", "b"]), ("assistant", ["c"]), ("user", ["d"])]


def test_the_user_is_first() -> None:
    assert shape(turns(assistant("Hi!"), user("a"))) == [
        ("user", ["."]),
        ("assistant", ["Hi!"]),
        ("user", ["a"]),
    ]
    assert turns(n.Message("user", (n.Text(""),))) == [{"role": "user", "content": "."}]


def test_a_system_prompt_alone_is_what_the_user_says() -> None:
    body = write(asked(system("be kind"), system("say hi")))
    assert body["system"] == [{"type": "text", "text": "be kind"}]
    assert body["messages"] == [{"role": "user", "content": "say hi"}]


def test_results_stand_behind_their_calls() -> None:
    """In one turn, first in it, also those that came late."""
    found = turns(
        user("a"),
        assistant(call("x"), call("y")),
        user("and", result("y")),
        assistant("hm"),
        user(result("x"), "b"),
    )
    assert shape(found) == [
        ("user", ["a"]),
        ("assistant", ["x", "y"]),
        ("user", ["=x", "=y", "and"]),
        ("assistant", ["hm"]),
        ("user", ["b"]),
    ]


def test_ids_that_come_twice() -> None:
    """Some servers count their calls anew in each turn; the API wants ids that are unique."""
    found = turns(
        user("a"), assistant(call("c0")), user(result("c0", "1")),
        assistant(call("c0")), user(result("c0", "2")),
    )  # fmt: skip
    assert shape(found)[1:] == [
        ("assistant", ["c0"]),
        ("user", ["=c0"]),
        ("assistant", ["c0_1"]),
        ("user", ["=c0_1"]),
    ]
    assert found[4]["content"][0]["content"] == "2"


def test_ids_that_the_api_does_not_take() -> None:
    found = turns(user("a"), assistant(call("f:1")), user(result("f:1")))
    id = found[1]["content"][0]["id"]
    assert id == found[2]["content"][0]["tool_use_id"]
    assert id.replace("_", "").isalnum()


def test_a_call_without_result_is_refused() -> None:
    with pytest.raises(Untranslatable, match="the call x has no result"):
        turns(user("a"), assistant(call("x")), user("b"))


def test_an_answer_begun_for_the_model() -> None:
    assert turns(user("a"), assistant("So \n"))[-1]["content"] == "So"
    thought = n.Reasoning("hm", signature="s", origin=n.ANTHROPIC)
    assert shape(turns(user("a"), assistant(thought))) == [("user", ["a"])]
    with pytest.raises(Untranslatable, match="begun"):
        turns(user("a"), assistant("So"), model=NEW)


def test_system_messages_in_the_middle() -> None:
    messages = user("a"), system("b"), system("c"), assistant("d"), system("e"), user("f")
    tagged = "<system>\nbc\n</system>"
    assert shape(turns(*messages)) == [
        ("user", ["a", tagged]),
        ("assistant", ["d"]),
        ("user", ["<system>\ne\n</system>", "f"]),
    ]
    assert shape(turns(*messages, model="claude-opus-4-8")) == [
        ("user", ["a"]),
        ("system", ["b", "c"]),
        ("assistant", ["d"]),
        ("user", ["<system>\ne\n</system>", "f"]),
    ]


def test_system_prompts_are_text() -> None:
    with pytest.raises(Untranslatable, match="system prompt"):
        turns(n.Message("system", (n.Image(url="https://a.example"),)), user("a"))


# ── foreign blocks


@pytest.mark.parametrize(
    ("image", "source"),
    [
        (n.Image(url="https://a.example/x"), {"type": "url", "url": "https://a.example/x"}),
        (n.Image(url=f"data:image/jpg;base64,{PNG}"),
         {"type": "base64", "media_type": "image/jpeg", "data": PNG}),
        (n.Image(data=PNG), {"type": "base64", "media_type": "image/png", "data": PNG}),
        (n.File(data=PNG, media_type="image/png"),
         {"type": "base64", "media_type": "image/png", "data": PNG}),
    ],
)  # fmt: skip
def test_images(image: n.Block, source: Any) -> None:
    assert content(image) == [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (n.File(data=PDF), {"type": "base64", "media_type": "application/pdf", "data": PDF}),
        (n.File(url=f"data:application/pdf;base64,{PDF}"),
         {"type": "base64", "media_type": "application/pdf", "data": PDF}),
        (n.File(data=b64encode("ä".encode()).decode(), media_type="text/csv"),
         {"type": "text", "media_type": "text/plain", "data": "ä"}),
        (n.File(url="https://a.example/x.pdf"), {"type": "url", "url": "https://a.example/x.pdf"}),
    ],
)  # fmt: skip
def test_files(file: n.File, source: Any) -> None:
    assert content(file) == [{"type": "document", "source": source}]


def test_a_file_name_is_a_title() -> None:
    assert content(n.File(data=PDF, name="a.pdf"))[0]["title"] == "a.pdf"


@pytest.mark.parametrize(
    "block",
    [
        n.Image(url="gs://bucket/x.png"),
        n.Image(file_id="file-1"),
        n.Image(data="AAAA", media_type="image/heic"),
        n.File(file_id="file-1"),
        n.File(data="AAAA", media_type="application/zip"),
        n.File(data="//79", media_type="text/plain"),
        n.File(url="https://a.example/x.mp4", media_type="video/mp4"),
        n.Audio("AAAA", "wav"),
    ],
    ids=repr,
)
def test_blocks_that_are_refused(block: n.Block) -> None:
    with pytest.raises(Untranslatable):
        content(block)


def test_the_assistant_shows_no_images() -> None:
    with pytest.raises(Untranslatable, match="messages"):
        turns(user("a"), assistant(n.Image(data=PNG)), user("b"))


def test_what_is_left_out_of_a_history() -> None:
    losses = Losses()
    history = assistant(
        n.Reasoning("hm", signature="s", origin=n.BEDROCK),
        n.Reasoning("mine", signature="s", origin=n.ANTHROPIC),
        n.Text("a", signature="s", origin=n.GEMINI),
        n.Text("b", citations=(n.Citation(url="https://a.example", dialect="gemini"),)),
        n.Audio(id="audio_1", transcript="c"),
        n.Refusal("d"),
        n.Opaque("openai_responses", {"type": "compaction"}, shown="e"),
        n.Opaque("gemini", {"type": "executableCode"}),
    )
    thinks = n.Thinking("on", "low")
    body = write(asked(user("-"), history, user("-"), thinking=thinks), losses=losses)
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "mine", "signature": "s"},
        *({"type": "text", "text": each} for each in "abcde"),
    ]
    assert losses.dropped == (
        "reasoning", "text.signature", "citations", "audio", "executableCode",
    )  # fmt: skip


def test_citations_that_we_made_do_not_reach_the_api() -> None:
    mine = {"type": "web_search_result_location", "url": "https://a.example", "encrypted_index": ""}
    theirs = {**mine, "encrypted_index": "x"}
    text = {"type": "text", "text": "a", "citations": [mine, theirs]}
    body = there_and_back({"messages": [{"role": "assistant", "content": [text]}]})
    assert body["messages"][0]["content"][0]["citations"] == [theirs]


def test_arguments_stay_what_the_model_wrote() -> None:
    def written(arguments: str) -> bytes:
        made = n.ToolCall("x", "f", arguments)
        aim = Aim("anthropic", OLD, "anthropic")
        request = asked(user("a"), assistant(made), user(result("x")))
        return requests_of.write_request(request, aim, Losses())

    assert b'"input":{"b": 1.0, "a": 12345678901234567890123}' in written(
        '{"b": 1.0, "a": 12345678901234567890123}'
    )
    assert b'"input":{}' in written("")
    assert b'"input":{"INVALID_JSON":"{\\"a"}' in written('{"a')


def test_a_custom_tools_call_in_a_history() -> None:
    said = n.ToolCall("x", "f", "SELECT 1", "custom")
    assert turns(user("a"), assistant(said), user(result("x")))[1]["content"] == [
        {"type": "tool_use", "id": "x", "name": "f", "input": {"input": "SELECT 1"}}
    ]


def test_results() -> None:
    found = turns(
        user("-"),
        assistant(call("x"), call("y"), call("z")),
        user(
            n.ToolResult("x", (n.Text("a"), n.Image(data=PNG)), cache=""),
            n.ToolResult("y", is_error=True),
            n.ToolResult("z"),
        ),
    )
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    assert found[2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "x",
            "content": [{"type": "text", "text": "a"}, {"type": "image", "source": image}],
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "tool_result", "tool_use_id": "y", "content": "Error", "is_error": True},
        {"type": "tool_result", "tool_use_id": "z"},
    ]


# ── foreign settings

TOOLS = (n.Tool("f"), n.Tool("g"), n.Tool("h"))


@pytest.mark.parametrize(
    ("members", "choice"),
    [
        ({}, None),
        ({"parallel_tools": True}, None),
        ({"parallel_tools": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"tool_choice": n.ToolChoice("auto")}, {"type": "auto"}),
        ({"tool_choice": n.ToolChoice("none")}, {"type": "none"}),
        ({"tool_choice": n.ToolChoice("required"), "parallel_tools": False},
         {"type": "any", "disable_parallel_tool_use": True}),
        ({"tool_choice": n.ToolChoice("required", ("g",))}, {"type": "tool", "name": "g"}),
        ({"tool_choice": n.ToolChoice("named", ("g",))}, {"type": "tool", "name": "g"}),
    ],
)  # fmt: skip
def test_tool_choice(members: Any, choice: Any) -> None:
    body = write(asked(tools=TOOLS, **members))
    assert body.get("tool_choice") == choice
    assert len(body["tools"]) == 3


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools(mode: Any) -> None:
    body = write(asked(tools=TOOLS, tool_choice=n.ToolChoice(mode, ("f", "h"))))
    assert [each["name"] for each in body["tools"]] == ["f", "h"]
    assert body["tool_choice"]["type"] == {"auto": "auto", "required": "any"}[mode]


def test_no_tools_no_choice() -> None:
    assert "tool_choice" not in write(asked(tool_choice=n.ToolChoice("auto"), parallel_tools=False))


def test_foreign_tools() -> None:
    strict = {"properties": {"a": {"type": "string", "minLength": 1}}}
    body = write(asked(tools=(n.Tool("f"), n.Tool("g", "d", strict, strict=True, cache="1h"))))
    assert body["tools"] == [
        {"name": "f", "input_schema": {"type": "object"}},
        {
            "name": "g",
            "description": "d",
            "input_schema": {
                "type": "object",
                "properties": {"a": {"type": "string", "description": "{minLength: 1}"}},
                "additionalProperties": False,
            },
            "strict": True,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
    ]


def test_the_default_of_max_tokens() -> None:
    known, unknown = (Aim("anthropic", OLD, max_output=limit) for limit in (777, None))
    for aim, limit in ((known, 777), (unknown, requests_of.MAX_TOKENS)):
        body = orjson.loads(requests_of.write_request(asked(), aim, Losses()))
        assert body["max_tokens"] == limit


def test_a_schema() -> None:
    form = n.ResponseFormat("schema", "name", "what", {"type": "object"}, strict=True)
    losses = Losses()
    body = write(asked(format=form, thinking=n.Thinking("on", "high")), NEW, losses)
    assert body["output_config"] == {
        "effort": "high",
        "format": {
            "type": "json_schema",
            "schema": {"type": "object", "additionalProperties": False},
        },
    }
    assert body["thinking"] == {"type": "adaptive"}
    assert losses.dropped == ("format.description",)


def test_hints() -> None:
    losses = Losses()
    body = write(
        asked(
            seed=1,
            n=1,
            presence_penalty=0.0,
            frequency_penalty=0.5,
            verbosity="low",
            metadata={"a": "b"},
            cache_key="k",
            store=True,
            logprobs=False,
            modalities=("text",),
            safety_identifier="u",
            service_tier="default",
            stop=("END",),
            stream=True,
        ),
        losses=losses,
    )
    assert losses.dropped == (
        "seed", "frequency_penalty", "verbosity", "metadata", "cache_key", "store",
    )  # fmt: skip
    assert body["metadata"] == {"user_id": "u"}
    assert body["service_tier"] == "standard_only"
    assert body["stop_sequences"] == ["END"]
    assert body["stream"] is True


@pytest.mark.parametrize(
    ("members", "model", "field"),
    [
        ({"n": 2}, OLD, "n"),
        ({"logprobs": True}, OLD, "logprobs"),
        ({"modalities": ("text", "audio")}, OLD, "modalities"),
        ({"stop": ("\n",)}, OLD, "stop"),
        ({"format": n.ResponseFormat("json")}, OLD, "format"),
        ({"tools": (n.Tool(kind="server", raw={"type": "x"}, dialect="gemini"),)}, OLD, "tools"),
        ({"tools": (n.Tool("f", kind="custom"),)}, OLD, "tools"),
        ({"tools": (n.Tool("a.b"),)}, OLD, "tools"),
        ({"tools": TOOLS, "tool_choice": n.ToolChoice("required")}, NEW, "tool_choice"),
        ({"extra": {"x": 1}, "essential": frozenset(("x",))}, OLD, "x"),
    ],
)
def test_what_is_refused(members: Any, model: str, field: str) -> None:
    with pytest.raises(Untranslatable) as found:
        write(asked(**members), model)
    assert found.value.field == field


def test_a_strict_client() -> None:
    with pytest.raises(Untranslatable, match="Routeur-Strict"):
        write(asked(seed=1), losses=Losses(strict=True))


# ── recordings

# Without those that their own API has refused.
FOREIGN = [
    each for each in recorded_requests() if dialect_of(each) != "anthropic" and each.status < 400
]


@pytest.mark.parametrize("model", [OLD, NEW, "claude-3-5-haiku-20241022"])
@pytest.mark.parametrize("each", FOREIGN, ids=str)
def test_what_is_written_is_as_described(each: Recording, model: str) -> None:
    try:
        body = write(read_request(each), model)
    except Untranslatable:
        return
    assert breaks(ANTHROPIC, "BetaCreateMessageParams", body) == []


def test_a_count_is_asked_for() -> None:
    request = read_request(recording("anthropic/pydantic-ai__test_anthropic_tool_with_thinking.1"))
    aim = Aim("anthropic", OLD, "anthropic", max_output=MOST)
    body = orjson.loads(requests_of.write_count_request(request, aim, Losses()))
    assert breaks(ANTHROPIC, "BetaCountMessageTokensParams", body) == []
    assert body["messages"] and body["tools"]


@pytest.mark.parametrize("seed", range(5))
def test_no_request_breaks_the_reader(seed: int) -> None:
    random = Random(seed)
    bodies = [
        loads(each.request) for each in recorded_requests() if dialect_of(each) == "anthropic"
    ]
    for _ in range(200):
        body = mutated(random.choice(bodies), random)
        try:
            write(requests_of.read_request(body, model=OLD, stream=False))
        except (Invalid, Untranslatable) as error:
            assert error.field
            assert error.message


def test_counts() -> None:
    assert requests_of.read_count(orjson.loads(requests_of.write_count(12))) == 12
    assert requests_of.read_count({"input_tokens": None}) == 0
    assert requests_of.address("any", True) == "/v1/messages"


# ── thoughts in loops of tools

MINE = n.Reasoning("hm", signature="s", origin=n.ANTHROPIC)
LOW = n.Thinking("on", "low")


def step(id: str, *before: n.Block) -> tuple[n.Message, n.Message]:
    """A call and its result."""
    return assistant(*before, n.ToolCall(id, "f", "{}")), user(n.ToolResult(id, (n.Text("1"),)))


@pytest.mark.parametrize(
    ("history", "thinks"),
    [
        ((*step("a"),), False),
        ((*step("a", n.Text("Well")),), False),
        ((*step("a", n.Reasoning("hm", origin=n.GEMINI)),), False),
        ((*step("a"), user("More")), False),  # beside the results
        ((*step("a"), assistant("So."), user("More")), True),
        ((*step("a", MINE),), True),
        ((*step("a", MINE), *step("b")), True),  # thoughts stand at the head of the loop
        ((*step("a", MINE), assistant(n.Text("So.")), user("And?"), *step("b")), False),
    ],
)
def test_a_loop_without_thoughts_goes_on_without(
    history: tuple[n.Message, ...], thinks: bool
) -> None:
    losses = Losses()
    body = write(asked(user("Hi"), *history, thinking=LOW), losses=losses)
    assert ("thinking" in body) is thinks
    assert ("thinking" in losses.dropped) is not thinks


def test_thoughts_stay_away_where_there_are_to_be_none() -> None:
    losses = Losses()
    body = write(asked(user("Hi"), assistant(MINE, n.Text("a")), user("-")), losses=losses)
    assert body["messages"][1]["content"] == "a"
    assert losses.dropped == ("reasoning",)
    kept = write(asked(user("Hi"), assistant(MINE, n.Text("a")), user("-")), NEW)
    assert kept["messages"][1]["content"][0]["type"] == "thinking"  # it thinks anyway


def test_thoughts_leave_room_for_the_answer() -> None:
    def limits(max_output: int | None = None, **members: Any) -> tuple[int, int]:
        aim = Aim("anthropic", OLD, "anthropic", max_output=max_output)
        body = loads(requests_of.write_request(asked(**members), aim, Losses()))
        return body["max_tokens"], body["thinking"]["budget_tokens"]

    high = n.Thinking("on", "high")
    assert limits(thinking=high) == (30_720, 24_576)
    assert limits(thinking=high, max_tokens=10_000) == (10_000, 8000)
    assert limits(16_000, thinking=high) == (16_000, 12_800)
    assert limits(thinking=n.Thinking("on", "max")) == (32_000, 25_600)
