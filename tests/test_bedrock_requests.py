"""Requests to Bedrock: what is recorded there and back, and each rule for foreign ones."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.dialects import neutral as n
from routeur.dialects.bedrock.answers import read_response, write_response
from routeur.dialects.bedrock.requests import address, read_request, write_request
from routeur.dialects.neutral.aim import Aim, Invalid, Losses, Untranslatable, vendor_of
from tests.recording import Recording
from tests.shapes import problems
from tests.translations import caller, dialect_of, model_of, requests
from tests.translations import read_request as recorded

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NEWEST = "us.anthropic.claude-opus-4-8-v1"
NOVA = "us.amazon.nova-2-lite-v1:0"
LLAMA = "meta.llama3-3-70b-instruct-v1:0"
PNG = b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
PDF = b64encode(b"%PDF-1.7 and more").decode()
HELLO = n.Message("user", (n.Text("Hello"),))
TOOL = n.Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})
CALL = n.ToolCall("call_1", "look", '{"at": 1.0}')
RESULT = n.ToolResult("call_1", (n.Text("a cat"),))

RICH: dict[str, Any] = {
    "system": [
        {"text": "Be kind."},
        {"cachePoint": {"type": "default", "ttl": "1h"}},
        {"guardContent": {"text": {"text": "guarded", "qualifiers": ["query"]}}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": ""},
                {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
                {
                    "image": {
                        "format": "webp",
                        "source": {
                            "s3Location": {"uri": "s3://box/a.webp", "bucketOwner": "1" * 12}
                        },
                    }
                },
                {
                    "document": {
                        "format": "pdf",
                        "name": "Report [2]",
                        "source": {"bytes": PDF},
                        "context": "last year's",
                        "citations": {"enabled": True},
                    }
                },
                {"cachePoint": {"type": "default"}},
                {"document": {"name": "Notes", "source": {"content": [{"text": "a"}]}}},
                {"document": {"format": "md", "name": "More", "source": {"text": "# b"}}},
                {"video": {"format": "three_gp", "source": {"bytes": PNG}}},
                {"audio": {"format": "pcm", "source": {"bytes": PNG}}},
                {"audio": {"format": "mp3", "source": {"s3Location": {"uri": "s3://box/a"}}}},
                {"searchResult": {"source": "s", "title": "t", "content": [{"text": "found"}]}},
                {"newKind": {"x": 1}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": b64encode(b"RXU4").decode()}},
                {
                    "citationsContent": {
                        "content": [{"text": "It says so."}],
                        "citations": [
                            {
                                "title": "Report",
                                "sourceContent": [{"text": "so"}],
                                "location": {
                                    "documentChar": {"documentIndex": 0, "start": 1, "end": 3}
                                },
                            }
                        ],
                    }
                },
                {"toolUse": {"toolUseId": "functions.f:0", "name": "f", "input": {"a": [1.0, 2]}}},
                {"cachePoint": {"type": "default"}},
                {
                    "toolUse": {
                        "toolUseId": "s",
                        "name": "g",
                        "input": {},
                        "type": "server_tool_use",
                    }
                },
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "toolResult": {
                        "toolUseId": "functions.f:0",
                        "content": [
                            {"json": {"a": 1.0}},
                            {"text": ""},
                            {"image": {"format": "png", "source": {"bytes": PNG}}},
                        ],
                        "status": "error",
                    }
                }
            ],
        },
        {"role": "system", "content": [{"toolAddition": {"tool": {"type": "tool", "name": "f"}}}]},
    ],
    "inferenceConfig": {"maxTokens": 5, "temperature": 0, "topP": 0.5, "stopSequences": ["END"]},
    "toolConfig": {
        "tools": [
            {
                "toolSpec": {
                    "name": "f",
                    "inputSchema": {"json": {"type": "object"}},
                    "strict": False,
                }
            },
            {"cachePoint": {"type": "default"}},
            {"systemTool": {"name": "nova_grounding"}},
        ],
        "toolChoice": {"tool": {"name": "f"}},
    },
    "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
    "additionalModelRequestFields": {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "top_k": 4,
        "anthropic_beta": ["x"],
    },
    "additionalModelResponseFieldPaths": ["/stop_sequence"],
    "promptVariables": {"v": {"text": "1"}},
    "requestMetadata": {"team": "a"},
    "performanceConfig": {"latency": "optimized"},
    "serviceTier": {"type": "flex"},
    "outputConfig": {
        "textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "N"}},
        },
        "effort": "high",
    },
}


def ask(*messages: n.Message, **members: Any) -> n.Request:
    return n.Request("openai_chat", "any", messages or (HELLO,), **members)


def write(request: n.Request, model: str = CLAUDE, losses: Losses | None = None) -> Any:
    """The body as it is written, which the service's description allows."""
    aim = Aim("bedrock", model, vendor_of(model), "bedrock", max_output=8192)
    body = orjson.loads(write_request(request, aim, losses or Losses()))
    assert list(problems(body)) == []
    return body


def content(request: n.Request, model: str = CLAUDE) -> Any:
    return [each["content"] for each in write(request, model)["messages"]]


def drops(request: n.Request, model: str = CLAUDE) -> tuple[str, ...]:
    losses = Losses()
    write(request, model, losses)
    return losses.dropped


def refusal(request: n.Request, model: str = CLAUDE) -> str:
    with pytest.raises(Untranslatable) as refused:
        write(request, model)
    return refused.value.field


# ── this dialect's own


@pytest.mark.parametrize(
    "each", [each for each in requests() if dialect_of(each) == "bedrock"], ids=str
)
def test_a_recorded_request_is_written_as_it_came(each: Recording) -> None:
    """But for empty members, a status of success, and how a schema is spaced."""
    body = orjson.loads(each.request)
    written = write(recorded(each), model_of(each))
    if not body.get("inferenceConfig", {}).get("stopSequences", True):
        del body["inferenceConfig"]["stopSequences"]
    for message in body["messages"]:
        for block in message["content"]:
            if block.get("toolResult", {}).get("status") == "success":
                del block["toolResult"]["status"]
    for definition in (body, written):
        if "outputConfig" in definition:
            known = definition["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
            known["schema"] = orjson.loads(known["schema"])
    assert written == {name: value for name, value in body.items() if value or name == "messages"}


def test_everything_there_and_back() -> None:
    request = read_request(RICH, model=CLAUDE, stream=False)
    aim = Aim("bedrock", CLAUDE, "anthropic")

    assert orjson.loads(write_request(request, aim, Losses(strict=True))) == RICH


def test_what_everything_means() -> None:
    request = read_request(RICH, model=CLAUDE, stream=True)

    system, user, assistant, result, later = request.messages
    assert system.blocks[0] == n.Text("Be kind.", cache="1h")
    assert user.blocks[1] == n.Image(data=PNG, media_type="image/jpeg")
    assert user.blocks[2].url == "s3://box/a.webp"  # type: ignore[union-attr]
    assert user.blocks[3] == n.File(
        data=PDF,
        media_type="application/pdf",
        name="Report [2]",
        context="last year's",
        citations=True,
        cache="",
    )
    assert user.blocks[4] == n.File(name="Notes", blocks=(n.Text("a"),))
    assert user.blocks[6] == n.File(data=PNG, media_type="video/3gpp")
    assert user.blocks[7] == n.Audio(PNG, "pcm16")
    assert user.blocks[9].shown == "t\ns\nfound"  # type: ignore[union-attr]
    assert assistant.blocks[0] == n.Reasoning("hm", signature="c2ln", origin=n.ANTHROPIC)
    assert assistant.blocks[1] == n.Reasoning(encrypted="RXU4", origin=n.ANTHROPIC)
    (citation,) = assistant.blocks[2].citations  # type: ignore[union-attr]
    assert (citation.title, citation.quote, citation.document) == ("Report", "so", 0)
    assert assistant.blocks[3] == n.ToolCall("functions.f:0", "f", '{"a":[1.0,2]}', cache="")
    assert result.blocks[0].is_error  # type: ignore[union-attr]
    assert result.blocks[0].blocks[0].text == '{"a":1.0}'  # type: ignore[union-attr]
    assert later.role == "system"
    assert [each.kind for each in request.tools] == ["function", "server"]
    assert request.tool_choice == n.ToolChoice("named", ("f",))
    assert request.thinking == n.Thinking("adaptive", "high", show=True)
    assert (request.max_tokens, request.top_k, request.stop) == (5, 4, ("END",))
    assert (request.service_tier, request.metadata, request.stream) == ("flex", {"team": "a"}, True)
    assert request.essential == {"guardrailConfig", "promptVariables"}


def test_other_models_reasoning_stays_theirs() -> None:
    body = {"messages": [{"role": "assistant", "content": [RICH["messages"][1]["content"][1]]}]}
    (message,) = read_request(body, model=NOVA, stream=False).messages
    assert message.blocks == (n.Reasoning(encrypted="UlhVNA==", origin=n.BEDROCK),)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": {}}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "tool", "content": []}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["a"]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"text": 1}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"image": {"format": "png"}}]}]},
            "messages[0].content[0].image.source",
        ),
        (
            {"messages": [{"role": "user", "content": [{"image": {"source": {}}}]}]},
            "messages[0].content[0].image.source",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"toolUse": {"toolUseId": "a"}}]}]},
            "messages[0].content[0].toolUse.name",
        ),
        ({"system": [{"text": None}]}, "system[0].text"),
        ({"inferenceConfig": {"maxTokens": "5"}}, "inferenceConfig.maxTokens"),
        ({"inferenceConfig": {"temperature": True}}, "inferenceConfig.temperature"),
        ({"inferenceConfig": {"stopSequences": [1]}}, "inferenceConfig.stopSequences[0]"),
        ({"toolConfig": []}, "toolConfig"),
        ({"toolConfig": {"tools": [{"cachePoint": {"type": "default"}}]}}, "toolConfig.tools[0]"),
        (
            {"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}},
            "toolConfig.tools[0].toolSpec.inputSchema",
        ),
        ({"toolConfig": {"toolChoice": {"none": {}}}}, "toolConfig.toolChoice"),
        (
            {"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "{"}}}}},
            "outputConfig.textFormat.structure.jsonSchema.schema",
        ),
    ],
)
def test_what_breaks_the_description_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as found:
        read_request(body, model=CLAUDE, stream=False)
    assert found.value.field == field
    assert field in found.value.message


def test_address() -> None:
    assert address(CLAUDE, False) == f"/model/{CLAUDE.replace(':', '%3A')}/converse"
    assert address("arn:aws:x/y", True) == "/model/arn%3Aaws%3Ax%2Fy/converse-stream"


# ── foreign ones


@pytest.mark.parametrize("model", [CLAUDE, NEWEST, NOVA, LLAMA])
@pytest.mark.parametrize("each", requests(), ids=str)
def test_every_recorded_request_is_as_described(each: Recording, model: str) -> None:
    """Written for any model, it breaks neither the service's description nor its turns."""
    request = recorded(each)
    try:
        body = write(request, model)
    except Untranslatable as refused:
        assert refused.field
        return
    except AssertionError:
        assert (request.temperature or 0) < 0  # a recorded mistake
        return
    roles = [message["role"] for message in body["messages"]]
    if dialect_of(each) != "bedrock":
        assert roles == (["user", "assistant"] * len(roles))[: len(roles)]


def test_turns_alternate_and_results_come_first() -> None:
    request = ask(
        n.Message("system", (n.Text("kind"), n.Text(" "))),
        n.Message("assistant", (n.Text("Hi"),)),
        n.Message("user", (n.Text("go"),)),
        n.Message("assistant", (CALL,)),
        n.Message("user", (n.Text("and"),)),
        n.Message("user", (RESULT,)),
        n.Message("system", (n.Text("be brief"),)),
        tools=(TOOL,),
    )
    body = write(request)
    assert body["system"] == [{"text": "kind "}]
    assert content(request) == [
        [{"text": "(empty)"}],
        [{"text": "Hi"}],
        [{"text": "go"}],
        [{"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"at": 1.0}}}],
        [
            {"toolResult": {"toolUseId": "call_1", "content": [{"text": "a cat"}]}},
            {"text": "and"},
            {"text": "<system>\nbe brief\n</system>"},
        ],
    ]


def test_results_stand_behind_their_calls() -> None:
    """Late ones move there, in the order of the calls; an id that comes again is another."""
    two = n.ToolCall("call_2", "look", "{}")
    first, second = n.ToolResult("call_1", (n.Text("1"),)), n.ToolResult("call_2", (n.Text("2"),))
    again = n.ToolResult("call_1", (n.Text("3"),))
    request = ask(
        HELLO,
        n.Message("assistant", (CALL, two)),
        n.Message("user", (second,)),
        n.Message("assistant", (n.Text("and?"),)),
        n.Message("user", (first, n.Text("there"))),
        n.Message("assistant", (CALL,)),
        n.Message("user", (again,)),
        tools=(TOOL,),
    )
    turns = content(request)
    results = [
        [each["toolResult"]["toolUseId"] for each in turn if "toolResult" in each] for turn in turns
    ]
    assert results == [[], [], ["call_1", "call_2"], [], [], [], ["call_1_2"]]
    assert turns[4] == [{"text": "there"}]
    assert turns[5][0]["toolUse"]["toolUseId"] == "call_1_2"
    assert refusal(ask(HELLO, n.Message("assistant", (CALL,)), tools=(TOOL,))) == "messages"


def test_an_answer_that_is_begun() -> None:
    begun = n.Message("assistant", (n.Text("The answer is "),))
    assert content(ask(HELLO, begun))[1] == [{"text": "The answer is"}]
    assert content(ask(HELLO, begun), NOVA)[1] == [{"text": "The answer is "}]
    assert refusal(ask(HELLO, begun), NEWEST) == "messages"


def test_a_system_prompt_alone() -> None:
    body = write(ask(n.Message("system", (n.Text("Say hi."),))))
    assert body == {"messages": [{"role": "user", "content": [{"text": "Say hi."}]}]}


def test_blank_texts_are_never_written() -> None:
    request = ask(
        n.Message("user", (n.Text(""), n.Text("a"), n.Text("\n"), n.Text("", cache=""))),
        n.Message("assistant", (n.Text("  "),)),
        n.Message("user", (n.Text("b"),)),
        n.Message("assistant", (CALL,)),
        n.Message("user", (n.ToolResult("call_1", (n.Text(""),), is_error=True),)),
        n.Message("assistant", (n.Text("go on \n"),)),
        tools=(TOOL,),
    )
    result = {"toolUseId": "call_1", "content": [{"text": "(empty)"}], "status": "error"}
    assert content(request) == [
        [{"text": "a\n"}, {"cachePoint": {"type": "default"}}, {"text": "b"}],
        [{"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"at": 1.0}}}],
        [{"toolResult": result}],
        [{"text": "go on"}],
    ]


def test_arguments_and_ids() -> None:
    call = n.ToolCall("a:b.c-" + "x" * 80, "look", '{"z": 12345678901234567890123, "a": 1.0}')
    request = ask(
        n.Message("assistant", (call, n.ToolCall("b:1", "look", "[broken"))),
        n.Message("user", (n.ToolResult(call.id), n.ToolResult("b:1"))),
        tools=(TOOL,),
    )
    aim = Aim("bedrock", CLAUDE, "anthropic")
    written = write_request(request, aim, Losses())
    assert b'"input":{"z": 12345678901234567890123, "a": 1.0}' in written
    _, calls, results = content(request)
    ids = [each["toolUse"]["toolUseId"] for each in calls]
    assert ids == [each["toolResult"]["toolUseId"] for each in results]
    assert len(ids[0]) <= 64
    assert ids[1] == "b:1"
    assert calls[1]["toolUse"]["input"] == {"INVALID_JSON": "[broken"}


def test_images() -> None:
    url = f"data:image/jpg;base64,{PNG}"
    blocks = (n.Text("see"), n.Image(url=url), n.Image(data=PNG), n.Image(url="s3://box/a.png"))
    assert refusal(ask(n.Message("user", blocks))) == "image.media_type"
    assert content(ask(n.Message("user", blocks[:3]))) == [
        [
            {"text": "see"},
            {"image": {"format": "jpeg", "source": {"bytes": PNG}}},
            {"image": {"format": "png", "source": {"bytes": PNG}}},
        ]
    ]
    for image, field in (
        (n.Image(url="https://a.example/x.png"), "image.url"),
        (n.Image(file_id="file_1"), "image.file_id"),
        (n.Image(data=PNG, media_type="image/tiff"), "image.media_type"),
    ):
        assert refusal(ask(n.Message("user", (image,)))) == field
    assert refusal(ask(HELLO, n.Message("assistant", (n.Image(data=PNG),)))) == "messages"


def test_documents_have_names_and_a_text_beside_them() -> None:
    files = (
        n.File(data=PDF, name="my_report (2).pdf"),
        n.File(data=PDF, media_type="application/pdf", title="my report (2)", citations=True),
        n.File(url=f"data:application/json;base64,{PDF}", name="größe.json"),
        n.File(text="plain", context="c"),
        n.File(blocks=(n.Text("a"), n.Text("b"))),
        n.File(url="s3://box/a.csv", name="a.csv"),
    )
    documents = [each.get("document", each) for each in content(ask(n.Message("user", files)))[0]]
    source = {"bytes": PDF}
    assert documents == [
        {"format": "pdf", "name": "my report (2)", "source": source},
        {
            "format": "pdf",
            "name": "my report (2) 2",
            "source": source,
            "citations": {"enabled": True},
        },
        {"format": "txt", "name": "gr e", "source": source},
        {"format": "txt", "name": "Document", "source": {"text": "plain"}, "context": "c"},
        {
            "format": "txt",
            "name": "Document 2",
            "source": {"content": [{"text": "a"}, {"text": "b"}]},
        },
        {"format": "csv", "name": "a", "source": {"s3Location": {"uri": "s3://box/a.csv"}}},
        {"text": "(file attached)"},
    ]


@pytest.mark.parametrize(
    ("block", "field"),
    [
        (n.File(url="https://a.example/x.pdf", media_type="application/pdf"), "file.url"),
        (n.File(file_id="f", name="a.pdf"), "file.file_id"),
        (n.File(data=PNG, media_type="application/zip"), "file.media_type"),
        (n.File(data=PNG, media_type="video/avi"), "file.media_type"),
        (n.File(blocks=(n.Image(data=PNG),)), "file.blocks"),
        (n.Audio(PNG, "g711"), "audio"),
    ],
)
def test_files_that_cannot_be_sent(block: n.Block, field: str) -> None:
    assert refusal(ask(n.Message("user", (n.Text("see"), block)))) == field


def test_video_and_sound() -> None:
    blocks = (n.File(data=PNG, media_type="video/quicktime"), n.Audio(PNG, "wav"), n.Text("?"))
    assert content(ask(n.Message("user", blocks)), NOVA)[0][:2] == [
        {"video": {"format": "mov", "source": {"bytes": PNG}}},
        {"audio": {"format": "wav", "source": {"bytes": PNG}}},
    ]


def test_cache_marks() -> None:
    """None stands right behind a document, which the service would refuse."""
    request = ask(
        n.Message("system", (n.Text("kind", cache="1h"),)),
        n.Message("user", (n.File(data=PDF, cache="5m"), n.Text("?"))),
        tools=(replace(TOOL, cache=""),),
        cache="",
    )
    body = write(request)
    point = {"cachePoint": {"type": "default"}}
    long, short = ({"cachePoint": {"type": "default", "ttl": ttl}} for ttl in ("1h", "5m"))
    assert body["system"] == [{"text": "kind"}, long]
    assert body["toolConfig"]["tools"][1:] == [point]
    assert body["messages"][0]["content"][1:] == [
        {"text": "(file attached)"},
        short,
        {"text": "?"},
        point,
    ]
    nova = write(request, NOVA)
    assert nova["system"][1:] == [point]
    assert len(nova["toolConfig"]["tools"]) == 1
    assert drops(request, NOVA) == ("cache.ttl", "cache")
    assert "cachePoint" not in str(write(request, LLAMA))
    assert drops(request, LLAMA) == ("cache",)


def test_reasoning_goes_back_where_it_came_from() -> None:
    def thoughts(model: str, **members: Any) -> Any:
        said = n.Message("assistant", (n.Reasoning(**members), n.Text("Hi")))
        thinks = n.Thinking("on", "low")
        return content(ask(HELLO, said, HELLO, thinking=thinks), model)[1][:-1]

    signed = {"reasoningText": {"text": "hm", "signature": "s"}}
    assert thoughts(CLAUDE, text="hm", signature="s", origin=n.ANTHROPIC) == [
        {"reasoningContent": signed}
    ]
    assert thoughts(CLAUDE, encrypted="RXU4", origin=n.ANTHROPIC) == [
        {"reasoningContent": {"redactedContent": "UlhVNA=="}}
    ]
    assert thoughts(CLAUDE, text="hm", origin=n.ANTHROPIC) == []
    assert thoughts(CLAUDE, text="hm", signature="s", origin=n.GEMINI) == []
    assert thoughts(NOVA, text="hm", signature="s", origin=n.ANTHROPIC) == []
    assert thoughts(NOVA, text="hm", origin=n.BEDROCK) == [
        {"reasoningContent": {"reasoningText": {"text": "hm"}}}
    ]
    foreign = n.Message("assistant", (n.Reasoning("hm"), replace(CALL, signature="g")))
    loop = (HELLO, foreign, n.Message("user", (RESULT,)))
    assert drops(ask(*loop, tools=(TOOL,))) == ("reasoning", "tool_call.signature")


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (n.ToolChoice("auto"), {"auto": {}}),
        (n.ToolChoice("required"), {"any": {}}),
        (n.ToolChoice("named", ("look",)), {"tool": {"name": "look"}}),
        (n.ToolChoice("required", ("look",)), {"tool": {"name": "look"}}),
        (None, None),
    ],
)
def test_tool_choices(choice: n.ToolChoice | None, written: Any) -> None:
    config = write(ask(tools=(TOOL,), tool_choice=choice))["toolConfig"]
    assert config.get("toolChoice") == written
    assert config["tools"] == [
        {
            "toolSpec": {
                "name": "look",
                "description": "Looks.",
                "inputSchema": {"json": TOOL.parameters},
            }
        }
    ]


def test_allowed_tools_are_the_only_ones() -> None:
    other, third = replace(TOOL, name="other"), replace(TOOL, name="third")
    choice = n.ToolChoice("auto", ("look", "third"))
    config = write(ask(tools=(TOOL, other, third), tool_choice=choice))["toolConfig"]
    assert [each["toolSpec"]["name"] for each in config["tools"]] == ["look", "third"]
    assert config["toolChoice"] == {"auto": {}}


def test_no_tools_are_wanted() -> None:
    """Without calls so far there is no toolConfig; with some there has to be one."""
    none = n.ToolChoice("none")
    assert "toolConfig" not in write(ask(tools=(TOOL,), tool_choice=none))
    loop = (HELLO, n.Message("assistant", (CALL,)), n.Message("user", (RESULT,)))
    request = ask(*loop, tools=(TOOL,), tool_choice=none)
    assert write(request)["toolConfig"].keys() == {"tools"}
    assert drops(request) == ("tool_choice",)
    assert write(ask(*loop))["toolConfig"]["tools"] == [
        {"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}
    ]
    assert "toolConfig" not in write(ask(tool_choice=n.ToolChoice("required")))


def test_tools_that_cannot_be_said() -> None:
    for tool, field in (
        (n.Tool("a.b"), "tools.name"),
        (n.Tool("x" * 65), "tools.name"),
        (n.Tool("free", kind="custom"), "tools"),
        (n.Tool(kind="server", raw={"type": "web_search"}, dialect="anthropic"), "tools"),
    ):
        assert refusal(ask(tools=(tool,))) == field


def test_strict_tools_have_closed_schemas() -> None:
    tool = replace(TOOL, strict=True)
    spec = write(ask(tools=(tool,)))["toolConfig"]["tools"][0]["toolSpec"]
    assert spec["strict"]
    assert spec["inputSchema"]["json"]["additionalProperties"] is False
    assert write(ask(tools=(n.Tool("f"),)))["toolConfig"]["tools"][0]["toolSpec"] == {
        "name": "f",
        "inputSchema": {"json": {"type": "object"}},
    }
    assert drops(ask(tools=(tool,)), "openai.gpt-oss-120b-1:0") == ()
    for model in ("anthropic.claude-3-5-sonnet-20240620-v1:0", NOVA):
        assert drops(ask(tools=(tool,)), model) == ("tools.strict",)


def test_one_call_at_a_time() -> None:
    request = ask(tools=(TOOL,), parallel_tools=False)
    body = write(request)
    assert body["additionalModelRequestFields"] == {
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}
    }
    named = write(replace(request, tool_choice=n.ToolChoice("named", ("look",))))
    assert named["additionalModelRequestFields"]["tool_choice"] == {
        "type": "tool",
        "name": "look",
        "disable_parallel_tool_use": True,
    }
    assert "toolChoice" not in named["toolConfig"]
    again = read_request(named, model=CLAUDE, stream=False)
    assert (again.tool_choice, again.parallel_tools) == (n.ToolChoice("named", ("look",)), False)
    assert drops(request, NOVA) == ("parallel_tools",)
    assert "additionalModelRequestFields" not in write(replace(request, tools=()))


def test_thinking() -> None:
    high = ask(thinking=n.Thinking("on", effort="high"), max_tokens=40_000, temperature=0.5)
    fields = write(high)["additionalModelRequestFields"]
    assert fields == {"thinking": {"type": "enabled", "budget_tokens": 24_576}}
    assert drops(high) == ("temperature",)
    newest = write(high, NEWEST)
    assert newest["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}}
    assert newest["outputConfig"] == {"effort": "high"}
    assert write(high, NOVA)["additionalModelRequestFields"] == {
        "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}
    }
    gpt = write(high, "openai.gpt-oss-120b-1:0")
    assert gpt["additionalModelRequestFields"] == {"reasoning_effort": "high"}
    assert drops(high, LLAMA) == ("thinking",)
    off = write(ask(thinking=n.Thinking("off")))
    assert off["additionalModelRequestFields"] == {"thinking": {"type": "disabled"}}


def test_a_budget_leaves_room_for_the_answer() -> None:
    body = write(ask(thinking=n.Thinking("on", budget=5000)))
    assert body["inferenceConfig"] == {"maxTokens": 8192}
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 5000


def test_a_loop_that_lost_its_thinking_goes_on_without() -> None:
    loop = (HELLO, n.Message("assistant", (CALL,)), n.Message("user", (RESULT,)))
    thinking = n.Thinking("on", effort="low")
    assert drops(ask(*loop, tools=(TOOL,), thinking=thinking)) == ("thinking",)
    signed = n.Reasoning("hm", signature="s", origin=n.ANTHROPIC)
    loop = (HELLO, n.Message("assistant", (signed, CALL)), n.Message("user", (RESULT,)))
    assert drops(ask(*loop, tools=(TOOL,), thinking=thinking)) == ()


def test_sampling() -> None:
    request = ask(temperature=1.5, top_p=0.5, top_k=9, stop=("END", ""), max_tokens=7)
    claude = write(request)
    assert claude["inferenceConfig"] == {"maxTokens": 7, "temperature": 1, "stopSequences": ["END"]}
    assert claude["additionalModelRequestFields"] == {"top_k": 9}
    nova = write(request, NOVA)
    assert nova["inferenceConfig"]["topP"] == 0.5
    assert nova["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 9}}
    assert drops(request, LLAMA) == ("temperature", "top_k")
    assert drops(request, NEWEST) == ("temperature", "top_p", "top_k")


def test_which_stop_sequence_is_asked_for() -> None:
    body = write(ask(stop=("a", "b"), stream=True))
    assert body["additionalModelResponseFieldPaths"] == ["/delta/stop_sequence"]
    assert "additionalModelResponseFieldPaths" not in write(ask(stop=("a", "b")), NOVA)


def test_answers_in_json() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    written = write(ask(format=n.ResponseFormat("schema", "N", "d", schema)))["outputConfig"]
    definition = written["textFormat"]["structure"]["jsonSchema"]
    assert (definition["name"], definition["description"]) == ("N", "d")
    assert orjson.loads(definition["schema"])["additionalProperties"] is False
    assert refusal(ask(format=n.ResponseFormat("json"))) == "format"
    assert "outputConfig" not in write(ask(format=n.ResponseFormat("text")))


def test_what_has_no_place() -> None:
    hints: dict[str, Any] = {
        "seed": 1,
        "presence_penalty": 0.5,
        "user": "u",
        "cache_key": "k",
        "verbosity": "low",
        "service_tier": "scale",
        "metadata": {"ok": "yes", "no": "ü"},
    }
    request = ask(n.Message("user", (n.Text("Hi"),), name="Ann"), n=1, **hints)
    assert drops(request) == (
        "seed",
        "presence_penalty",
        "verbosity",
        "user",
        "cache_key",
        "metadata",
        "service_tier",
        "messages.name",
    )
    assert write(request)["requestMetadata"] == {"ok": "yes"}
    with pytest.raises(Untranslatable, match="Routeur-Strict"):
        write(request, CLAUDE, Losses(strict=True))
    assert refusal(ask(n=2)) == "n"
    assert refusal(ask(logprobs=True)) == "logprobs"
    assert refusal(ask(modalities=("text", "audio"))) == "modalities"
    assert "serviceTier" not in write(ask(service_tier="auto"))
    assert write(ask(service_tier="flex"))["serviceTier"] == {"type": "flex"}


def test_blocks_of_others() -> None:
    shown = n.Opaque("anthropic", {"type": "compaction"}, "what was said")
    hidden = n.Opaque("anthropic", {"type": "server_tool_use"})
    said = n.Message("assistant", (hidden, n.Refusal("no"), n.Audio(id="a", transcript="aloud")))
    request = ask(n.Message("user", (shown,)), said, HELLO)
    assert content(request)[:2] == [
        [{"text": "what was said"}],
        [{"text": "no"}, {"text": "aloud"}],
    ]
    assert drops(request) == ("server_tool_use",)
    assert refusal(ask(n.Message("system", (n.Image(data=PNG),)), HELLO)) == "system"


# ── anything


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container within a value, with each of its keys or indexes."""
    keys = value if isinstance(value, dict) else range(len(value) if isinstance(value, list) else 0)
    own = [(value, key) for key in keys]
    return own + [place for key in keys for place in places(value[key])]


@given(st.data())
def test_any_request_is_read_or_refused(data: st.DataObject) -> None:
    """Whatever stands in one place: no error but ours, and what was read can be written."""
    body = orjson.loads(orjson.dumps(RICH))
    holder, key = data.draw(st.sampled_from(places(body)))
    holder[key] = data.draw(JUNK)
    try:
        request = read_request(body, model=CLAUDE, stream=False)
        write_request(request, Aim("bedrock", CLAUDE, "anthropic"), Losses())
        request = replace(request, dialect="anthropic")
        write_request(request, Aim("bedrock", CLAUDE, "anthropic"), Losses())
    except (Invalid, Untranslatable) as refused:
        assert refused.field
        assert refused.message


@given(st.data())
def test_any_answer_is_read(data: st.DataObject) -> None:
    content = orjson.loads(orjson.dumps(RICH["messages"][1]["content"]))
    body = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "cacheDetails": [{"ttl": "1h", "inputTokens": 1}]},
        "serviceTier": {"type": "flex"},
        "additionalModelResponseFields": {"delta": {"stop_sequence": "x"}},
    }
    holder, key = data.draw(st.sampled_from(places(body)))
    holder[key] = data.draw(JUNK)
    answer = read_response(body, CLAUDE)
    if answer.error is None:
        assert orjson.loads(write_response(answer, caller("bedrock")))


def test_nothing_said() -> None:
    unsaid = n.Message("system", (n.Text(""),)), n.Message("user", (n.Text(""),))
    for messages in ((), unsaid):
        body = write(n.Request("anthropic", "any", messages))
        assert body["messages"] == [{"role": "user", "content": [{"text": "(empty)"}]}]
        assert "system" not in body


def test_a_custom_call_in_the_history() -> None:
    call = replace(CALL, arguments="ls -l", kind="custom")
    loop = (HELLO, n.Message("assistant", (call,)), n.Message("user", (RESULT,)))
    assert content(ask(*loop))[1][0]["toolUse"]["input"] == {"input": "ls -l"}


def test_an_answer_of_no_tokens_is_refused() -> None:
    assert refusal(ask(max_tokens=0)) == "max_tokens"


def test_thoughts_stay_away_where_there_are_to_be_none() -> None:
    signed = n.Reasoning("hm", signature="s", origin=n.ANTHROPIC)
    request = ask(HELLO, n.Message("assistant", (signed, n.Text("a"))), HELLO)
    assert content(request)[1] == [{"text": "a"}]
    assert drops(request) == ("reasoning",)


def test_a_budget_where_nobody_knows_the_limit() -> None:
    request = ask(thinking=n.Thinking("on", budget=5000))
    body = orjson.loads(write_request(request, Aim("bedrock", CLAUDE, "anthropic"), Losses()))
    assert body["inferenceConfig"] == {"maxTokens": 9096}
