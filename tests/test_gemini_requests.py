"""Requests to Gemini: Google's spellings, what is recorded there and back, each rule for others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from routeur.dialects import neutral as n
from routeur.dialects.gemini.count import (
    count_address,
    read_count,
    read_count_request,
    write_count,
    write_count_request,
)
from routeur.dialects.gemini.requests import address, read_request, write_request
from routeur.dialects.gemini.schemas import adapted, is_empty, to_json_schema
from routeur.dialects.gemini.signatures import SKIP, carry, thought
from routeur.dialects.neutral.aim import Aim, Invalid, Losses, Untranslatable, vendor_of
from routeur.dialects.neutral.ids import made_id
from tests.recording import Recording
from tests.schemas import breaks
from tests.translations import aim_at, requests
from tests.translations import read_request as recorded

SPEC = "gemini-v1beta-openapi"
PRO3 = "gemini-3-pro-preview"
FLASH3 = "gemini-3-flash-preview"
FLASH = "gemini-2.5-flash"
PRO = "gemini-2.5-pro"
OLD = "gemini-2.0-flash"
HELLO = n.Message("user", (n.Text("Hello"),))
TOOL = n.Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})
CALL = n.ToolCall("call_1", "look", '{"at": 1.0}')
RESULT = n.ToolResult("call_1", (n.Text("a cat"),))


def read(**members: Any) -> n.Request:
    body = {"contents": [{"parts": [{"text": "Hello"}]}], **members}
    return read_request(body, model=FLASH, stream=False)


def parts(*found: Any, role: str = "user") -> tuple[n.Block, ...]:
    return read(contents=[{"role": role, "parts": list(found)}]).messages[0].blocks


def asked(*messages: n.Message, **members: Any) -> n.Request:
    return n.Request("openai_chat", "any", messages or (HELLO,), **members)


def written(request: n.Request, model: str = FLASH3, losses: Losses | None = None) -> Any:
    body = orjson.loads(write_request(request, aim_at("gemini", model), losses or Losses()))
    assert breaks(SPEC, "GenerateContentRequest", body) == []
    return body


def dropped(request: n.Request, model: str = FLASH3) -> tuple[str, ...]:
    losses = Losses()
    written(request, model, losses)
    return losses.dropped


def contents(*messages: n.Message, model: str = FLASH3) -> Any:
    return written(asked(*messages), model)["contents"]


def refused(request: n.Request, model: str = FLASH3) -> str:
    with pytest.raises(Untranslatable) as found:
        write_request(request, aim_at("gemini", model), Losses())
    return found.value.field


# ── recordings


@pytest.mark.parametrize("each", requests(), ids=str)
def test_what_is_written_is_as_described(each: Recording) -> None:
    """Every recorded request of every dialect, as Google describes its own."""
    for model in (PRO3, OLD):
        try:
            written(recorded(each), model)
        except Untranslatable:
            pass


# ── reading


def test_both_spellings() -> None:
    snake = {
        "system_instruction": {"parts": {"text": "Be kind."}},
        "contents": {"parts": {"inline_data": {"mime_type": "image/png", "data": "aGk="}}},
        "generation_config": {
            "max_output_tokens": "9",
            "stop_sequences": ["a"],
            "thinking_config": {"thinking_budget": 0, "include_thoughts": True},
        },
        "tools": {"function_declarations": {"name": "f", "parameters_json_schema": {"x_y": 1}}},
        "tool_config": {"function_calling_config": {"mode": 2, "allowed_function_names": "f"}},
    }
    assert read_request(snake, model="m", stream=True) == n.Request(
        "gemini",
        "m",
        (
            n.Message("system", (n.Text("Be kind."),)),
            n.Message("user", (n.Image(data="aGk=", media_type="image/png"),)),
        ),
        (n.Tool("f", parameters={"x_y": 1}),),
        n.ToolChoice("named", ("f",)),
        max_tokens=9,
        stop=("a",),
        thinking=n.Thinking("off", show=True),
        stream=True,
        essential=read().essential,
    )


def test_the_body_that_was_read_is_not_changed() -> None:
    body = {
        "contents": [{"parts": [{"text": "a"}]}],
        "generationConfig": {"thinkingConfig": {"thinkingBudget": 1}},
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    }
    before = orjson.dumps(body)
    read_request(body, model="m", stream=False)
    assert orjson.dumps(body) == before


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": "Hello"}, "contents"),
        ({"contents": ["Hello"]}, "contents[0]"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": 1}]}]}, "contents[0].parts[0].inlineData"),
        (
            {"contents": [{"parts": [{"functionCall": {"args": {}}}]}]},
            "contents[0].parts[0].functionCall.name",
        ),
        (
            {"contents": [{"parts": [{"functionResponse": {}}]}]},
            "contents[0].parts[0].functionResponse.name",
        ),
        ({"systemInstruction": "Be kind."}, "systemInstruction"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"generationConfig": {"temperature": True}}, "generationConfig.temperature"),
        ({"generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences[0]"),
        ({"generationConfig": {"responseJsonSchema": []}}, "generationConfig.responseJsonSchema"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
    ],
)
def test_mistakes_are_named(members: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as found:
        read(**members)
    assert found.value.field == field
    assert field in found.value.message


def test_parts() -> None:
    sealed = {"thoughtSignature": "c2ln"}
    assert parts(
        {"text": "a", "videoMetadata": {"fps": 1}},
        {"text": "hm", "thought": True},
        {"text": "", **sealed},
        sealed,
        {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": "aGk="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "aGk=", "displayName": "a.pdf"}},
        {"fileData": {"fileUri": "gs://box/a.png", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
        {"executableCode": {"language": "PYTHON", "code": "1"}, **sealed},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thought": True},
        {"somethingNew": {}},
        role="model",
    ) == (
        n.Text("a", extra={"videoMetadata": {"fps": 1}}),
        n.Reasoning("hm", origin=n.GEMINI),
        n.Text("", signature="c2ln", origin=n.GEMINI),
        n.Text("", signature="c2ln", origin=n.GEMINI),
        n.Audio("aGk=", "pcm16", extra={"mimeType": "audio/L16;rate=24000"}),
        n.File(data="aGk=", media_type="application/pdf", name="a.pdf"),
        n.Image(url="gs://box/a.png", media_type="image/png"),
        n.File(file_id="https://generativelanguage.googleapis.com/v1beta/files/x"),
        n.Opaque("gemini", {"executableCode": {"language": "PYTHON", "code": "1"}, **sealed}),
        n.Opaque(
            "gemini", {"inlineData": {"mimeType": "image/png", "data": "aGk="}, "thought": True}
        ),
        n.Opaque("gemini", {"somethingNew": {}}),
    )


def test_results_are_paired_with_their_calls() -> None:
    """By id, or by name in order where there is none."""
    messages = read(
        contents=[
            {"parts": [{"text": "Look twice."}]},
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": "look", "args": {"at": 1}}},
                    {"functionCall": {"name": "look", "args": {"at": 2}}},
                    {"functionCall": {"name": "go", "id": "x"}},
                ],
            },
            {
                "role": "function",
                "parts": [
                    {"functionResponse": {"name": "go", "id": "x", "response": {"error": "no"}}},
                    {"functionResponse": {"name": "look", "response": {"output": "a"}}},
                    {"functionResponse": {"name": "look", "response": {"cats": 2}}},
                ],
            },
        ]
    ).messages
    first, second, third = messages[1].blocks
    assert isinstance(first, n.ToolCall)
    assert isinstance(second, n.ToolCall)
    assert (first.id, first.arguments) == (made_id("contents[1].parts[0]"), '{"at":1}')
    assert third == n.ToolCall("x", "go", "{}")
    assert messages[2] == n.Message(
        "user",
        (
            n.ToolResult("x", (n.Text("no"),), "go", is_error=True),
            n.ToolResult(first.id, (n.Text("a"),), "look"),
            n.ToolResult(second.id, (n.Text('{"cats":2}'),), "look"),
        ),
    )


def test_images_in_a_result() -> None:
    image = {"inline_data": {"mime_type": "image/png", "data": "aGk="}}
    response = {"name": "f", "response": {"output": ""}, "parts": [image], "scheduling": "SILENT"}
    (block,) = parts({"functionResponse": response})
    assert isinstance(block, n.ToolResult)
    assert block.blocks == (n.Image(data="aGk=", media_type="image/png"),)
    assert block.extra == {"scheduling": "SILENT"}


@pytest.mark.parametrize(
    ("config", "thinking"),
    [
        ({"thinkingBudget": 0}, n.Thinking("off")),
        ({"thinkingBudget": -1}, n.Thinking("adaptive")),
        ({"thinkingBudget": 128}, n.Thinking("on", budget=128)),
        ({"thinkingLevel": "LOW"}, n.Thinking("on", "low")),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, n.Thinking()),
        ({"includeThoughts": True}, n.Thinking(show=True)),
    ],
)
def test_thinking_is_read_and_written_back(config: Any, thinking: n.Thinking) -> None:
    request = read(generationConfig={"thinkingConfig": config})
    assert request.thinking == thinking
    if "UNSPECIFIED" not in str(config):
        assert written(request)["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(
    ("config", "format"),
    [
        ({}, None),
        ({"responseMimeType": "text/plain"}, n.ResponseFormat("text")),
        ({"responseMimeType": "application/json"}, n.ResponseFormat("json")),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY"}},
            n.ResponseFormat("schema", schema={"type": "array"}),
        ),
        (
            {"responseMimeType": "application/json", "_responseJsonSchema": {"type": "array"}},
            n.ResponseFormat("schema", schema={"type": "array"}),
        ),
        (
            {"responseFormat": {"text": {"mimeType": "APPLICATION_JSON", "schema": {"a": 1}}}},
            n.ResponseFormat("schema", schema={"a": 1}),
        ),
        ({"responseMimeType": "text/x.enum", "responseSchema": {"enum": ["a"]}}, None),
        ({"responseFormat": {"image": {"imageSize": "IMAGE_SIZE_FOUR_K"}}}, None),
    ],
)
def test_formats(config: Any, format: n.ResponseFormat | None) -> None:
    request = read(generationConfig=config)
    assert request.format == format
    again = read_request(written(request), model=FLASH, stream=False)
    assert again == request
    if config and format is None:
        assert request.extra.keys() & request.essential


def test_what_has_no_field_is_kept() -> None:
    request = read(
        cachedContent="cachedContents/1",
        safetySettings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
        labels={"team": "a"},
        serviceTier="FLEX",
        generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW", "speechConfig": {}},
        toolConfig={
            "retrievalConfig": {"languageCode": "de"},
            "functionCallingConfig": {"mode": "VALIDATED"},
        },
        tools=[{"googleSearch": {}}, {"functionDeclarations": [{"name": "f", "response": {}}]}],
    )
    assert request.service_tier == "flex"
    assert set(request.extra) == {
        "cachedContent",
        "safetySettings",
        "labels",
        "generationConfig.mediaResolution",
        "generationConfig.speechConfig",
        "toolConfig.retrievalConfig",
        "toolConfig.functionCallingConfig.mode",
    }
    assert request.extra.keys() & request.essential == {
        "cachedContent",
        "generationConfig.speechConfig",
    }
    assert request.tools == (
        n.Tool("googleSearch", kind="server", raw={"googleSearch": {}}, dialect="gemini"),
        n.Tool("f", extra={"response": {}}),
    )
    body = written(request)
    assert read_request(body, model=FLASH, stream=False) == request
    assert body["toolConfig"]["functionCallingConfig"] == {"mode": "VALIDATED"}


# ── schemas


def test_openapi_as_json_schema() -> None:
    assert to_json_schema(
        {
            "type": "OBJECT",
            "properties": {
                "any_of": {"type": 1, "nullable": True, "min_length": "2", "format": "enum"},
                "b": {"any_of": [{"type": "STRING"}], "nullable": True, "example": 1},
                "c": {"type": "ARRAY", "items": {"type": "INTEGER"}, "maxItems": "3"},
                "d": {"type": "STRING", "enum": ["x"], "nullable": True},
                "e": {"ref": "#/defs/E"},
            },
            "defs": {"E": {"type": "NULL"}},
            "propertyOrdering": ["b", "any_of"],
            "additionalProperties": False,
        }
    ) == {
        "type": "object",
        "properties": {
            "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "examples": [1]},
            "any_of": {"type": ["string", "null"], "minLength": 2},
            "c": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
            "d": {"type": ["string", "null"], "enum": ["x", None]},
            "e": {"$ref": "#/$defs/E"},
        },
        "$defs": {"E": {"type": "null"}},
        "additionalProperties": False,
    }


def test_the_order_of_properties() -> None:
    schema = {"properties": {"a": {}, "b": {}, "c": {}}, "propertyOrdering": ["c", "a"]}
    assert list(to_json_schema(schema)["properties"]) == ["c", "a", "b"]


def test_json_schema_in_words_that_gemini_knows() -> None:
    assert adapted(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {
                "const": {"const": "a"},
                "n": {"const": 1},
                "t": {"const": True},
                "none": {"const": None},
                "r": {"$ref": "#/$defs/R", "description": "a reference"},
                "l": {"allOf": [{"$ref": "#/$defs/R"}], "default": {}},
                "u": {"type": ["string", "null"], "items": {"const": 1.5}},
            },
            "$defs": {"R": {"$ref": "#/$defs/S"}},
            "additionalProperties": False,
        }
    ) == {
        "properties": {
            "const": {"type": "string", "enum": ["a"]},
            "n": {"type": "integer", "enum": [1]},
            "t": {"type": "boolean"},
            "none": {"type": "null"},
            "r": {"anyOf": [{"$ref": "#/$defs/R"}], "description": "a reference"},
            "l": {"anyOf": [{"$ref": "#/$defs/R"}], "default": {}},
            "u": {"type": ["string", "null"], "items": {"type": "number", "enum": [1.5]}},
        },
        "$defs": {"R": {"$ref": "#/$defs/S"}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("schema", "empty"),
    [
        (None, True),
        ({}, True),
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object", "additionalProperties": True}, False),
        ({"type": "object", "properties": {"a": {}}}, False),
        ({"$ref": "#/$defs/A"}, False),
    ],
)
def test_no_parameters(schema: Any, empty: bool) -> None:
    assert is_empty(schema) is empty
    tools = (n.Tool("f", parameters=schema),)
    (declaration,) = written(asked(tools=tools))["tools"][0]["functionDeclarations"]
    assert ("parametersJsonSchema" not in declaration) is empty


# ── writing


def test_system_messages() -> None:
    system = n.Message("system", (n.Text("Be kind."),))
    body = written(asked(system, replace(system, developer=True), HELLO, system))
    assert body["systemInstruction"] == {"parts": [{"text": "Be kind."}, {"text": "Be kind."}]}
    assert body["contents"] == [
        {
            "role": "user",
            "parts": [{"text": "Hello"}, {"text": "<system>\nBe kind.\n</system>"}],
        }
    ]


def test_nothing_but_a_system_message() -> None:
    body = written(asked(n.Message("system", (n.Text("Say hi."),))))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]}


def test_turns_and_empty_texts() -> None:
    empty = n.Message("assistant", (n.Text(""),))
    assert contents(HELLO, empty, HELLO, n.Message("assistant", (n.Text("{"),))) == [
        {"role": "user", "parts": [{"text": "Hello"}]},
        {"role": "user", "parts": [{"text": "Hello"}]},
        {"role": "model", "parts": [{"text": "{"}]},
    ]


def test_a_tool_loop() -> None:
    """The result names its tool, results stand in the order of their calls, and made ids go."""
    made = n.ToolCall(made_id("look", 0), "look", '{"at": 12345678901234567890123}')
    found = contents(
        HELLO,
        n.Message("assistant", (made, CALL)),
        n.Message(
            "user", (n.Text("and?"), RESULT, n.ToolResult(made.id, (n.Text('{"cats": 2.0}'),)))
        ),
        model=OLD,
    )
    raw = write_request(
        asked(HELLO, n.Message("assistant", (made,))), aim_at("gemini", OLD), Losses()
    )
    assert b'"args":{"at": 12345678901234567890123}' in raw
    assert found[1]["parts"][1] == {
        "functionCall": {"id": "call_1", "name": "look", "args": {"at": 1.0}}
    }
    assert found[2]["parts"] == [
        {"functionResponse": {"name": "look", "response": {"cats": 2.0}}},
        {"functionResponse": {"id": "call_1", "name": "look", "response": {"output": "a cat"}}},
        {"text": "and?"},
    ]


def test_a_failed_tool_and_bad_arguments() -> None:
    call = replace(CALL, arguments='{"at": ')
    found = contents(
        HELLO,
        n.Message("assistant", (call,)),
        n.Message("user", (replace(RESULT, is_error=True),)),
    )
    assert found[1]["parts"][0]["functionCall"]["args"] == {"INVALID_JSON": '{"at": '}
    assert found[2]["parts"][0]["functionResponse"]["response"] == {"error": "a cat"}


def test_a_result_of_no_call_is_refused() -> None:
    assert refused(asked(HELLO, n.Message("user", (RESULT,)))) == "messages"


def test_images_in_results_are_for_gemini_3() -> None:
    image = n.Image(url="data:image/png;base64,aGk=")
    found = n.Message("user", (n.ToolResult("call_1", (n.Text("see"), image)), n.Text("so?")))
    data = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    response = {"id": "call_1", "name": "look", "response": {"output": "see"}}
    messages = (HELLO, n.Message("assistant", (CALL,)), found)
    assert contents(*messages)[2]["parts"] == [
        {"functionResponse": {**response, "parts": [data]}},
        {"text": "so?"},
    ]
    assert contents(*messages, model=FLASH)[2]["parts"] == [
        {"functionResponse": response},
        data,
        {"text": "so?"},
    ]


def test_calls_of_other_models_are_signed_for_gemini_3() -> None:
    """Only in the current turn, and only the first of those made at once."""
    other = n.ToolCall("call_2", "look", "{}")
    old = (n.Message("assistant", (n.ToolCall("call_0", "look", "{}"),)),)
    loop = (
        HELLO,
        *old,
        n.Message("user", (n.ToolResult("call_0", ()),)),
        HELLO,
        n.Message("assistant", (n.Text("well"), CALL, other)),
        n.Message("user", (RESULT, n.ToolResult("call_2", ()))),
        n.Message("assistant", (n.ToolCall("call_3", "look", "{}"),)),
        n.Message("user", (n.ToolResult("call_3", ()), n.Text("a reminder"))),
    )

    def signatures(model: str) -> list[Any]:
        return [
            part.get("thoughtSignature")
            for each in contents(*loop, model=model)
            for part in each["parts"]
            if "functionCall" in part
        ]

    # the second message merges with the first words of the user: the turn begins there
    assert signatures(FLASH3)[1:] == [SKIP, None, SKIP]
    assert signatures("gemini-flash-latest")[1:] == [SKIP, None, SKIP]
    assert signatures(PRO) == [None] * 4


def test_signatures_go_home_only() -> None:
    signed = n.Message(
        "assistant",
        (
            n.Reasoning("hm", origin=n.GEMINI),
            n.Text("so", signature="c2ln", origin=n.GEMINI),
            replace(CALL, signature="c2ln", origin=n.GEMINI),
            n.Text("", signature="bGFzdA==", origin=n.GEMINI),
        ),
    )
    assert contents(HELLO, signed)[1]["parts"] == [
        {"text": "hm", "thought": True},
        {"text": "so", "thoughtSignature": "c2ln"},
        {
            "functionCall": {"id": "call_1", "name": "look", "args": {"at": 1.0}},
            "thoughtSignature": "c2ln",
        },
        {"text": "", "thoughtSignature": "bGFzdA=="},
    ]
    assert dropped(asked(HELLO, signed), "claude-opus-4") == (
        "reasoning",
        "text.signature",
        "tool_call.signature",
    )
    foreign = n.Message("assistant", (n.Reasoning("hm", signature="s", origin=n.ANTHROPIC),))
    assert dropped(asked(HELLO, foreign, HELLO)) == ("reasoning",)


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize(
    "block",
    [
        n.Reasoning("hm", signature="a+/=", origin=n.ANTHROPIC),
        n.Reasoning(encrypted="eHg=", origin=n.ANTHROPIC),
        n.Reasoning(encrypted="eHg=", id="rs_1", summary=("a", "b"), origin=n.RESPONSES),
        n.Reasoning(encrypted="eHg=", id="rs_1", summary=("a",), origin=n.RESPONSES),
        n.Reasoning("raw", ("a",), id="rs_1", origin=n.RESPONSES),
        n.Reasoning("hm", signature="c2ln", origin=n.BEDROCK),
    ],
)
def test_reasoning_of_others_survives_a_gemini_client(block: n.Reasoning, shown: bool) -> None:
    """Its SDK decodes signatures, and encodes them in the other alphabet."""
    signature = carry(block, shown=shown).replace("+", "-").replace("/", "_")
    part = {"text": block.shown if shown else "", "thought": True, "thoughtSignature": signature}
    assert parts(part, role="model") == (block,)


def test_a_broken_carried_signature_is_only_a_thought() -> None:
    good = carry(n.Reasoning("hm", signature="s", origin=n.ANTHROPIC), shown=True)
    assert thought("hm", good[:-8], {}) == n.Reasoning("hm", origin=n.GEMINI)


def test_media() -> None:
    pdf = n.File(data="aGk=", media_type="application/pdf", title="T", context="C")
    blocks = (
        n.Image(url="https://a.example/x.JPG?w=1"),
        n.Image(url="https://a.example/x"),
        n.Image(data="aGk=", media_type="image/png", detail="auto"),
        pdf,
        n.File(url="data:application/pdf;base64,aGk="),
        n.File(text="plain"),
        n.File(blocks=(n.Text("of blocks"),)),
        n.Audio("aGk=", "mp3"),
        n.Audio(id="audio_1", transcript="hi"),
        n.Refusal("no"),
        n.Opaque("anthropic", {}, "a summary"),
    )
    data = {"inlineData": {"mimeType": "application/pdf", "data": "aGk="}}
    assert contents(n.Message("user", blocks))[0]["parts"] == [
        {"fileData": {"fileUri": "https://a.example/x.JPG?w=1", "mimeType": "image/jpeg"}},
        {"fileData": {"fileUri": "https://a.example/x"}},
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
        {"text": "T\nC"},
        data,
        data,
        {"text": "plain"},
        {"text": "of blocks"},
        {"inlineData": {"mimeType": "audio/mpeg", "data": "aGk="}},
        {"text": "hi"},
        {"text": "no"},
        {"text": "a summary"},
    ]


@pytest.mark.parametrize(
    ("block", "field"),
    [
        (n.Image(file_id="file_1"), "image.file_id"),
        (n.File(file_id="file_1"), "file.file_id"),
        (n.Image(url="s3://box/a.png"), "image"),
        (n.File(), "file"),
    ],
)
def test_media_that_google_cannot_read(block: n.Block, field: str) -> None:
    assert refused(asked(n.Message("user", (block,)))) == field


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (n.ToolChoice("auto"), {"mode": "AUTO"}),
        (n.ToolChoice("none"), {"mode": "NONE"}),
        (n.ToolChoice("required"), {"mode": "ANY"}),
        (n.ToolChoice("named", ("look",)), {"mode": "ANY", "allowedFunctionNames": ["look"]}),
        (n.ToolChoice("auto", ("look",)), {"mode": "VALIDATED", "allowedFunctionNames": ["look"]}),
    ],
)
def test_tool_choices(choice: n.ToolChoice, config: Any) -> None:
    body = written(asked(tools=(TOOL,), tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": config}
    assert "toolConfig" not in written(asked(tool_choice=choice))


def test_strict_tools_are_validated() -> None:
    strict = replace(TOOL, strict=True)
    body = written(asked(tools=(strict,)))
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert dropped(asked(tools=(strict,))) == ()
    assert dropped(asked(tools=(strict,)), OLD) == ("tools.strict",)
    assert dropped(asked(tools=(strict, TOOL))) == ("tools.strict",)


@pytest.mark.parametrize(
    "tool",
    [
        n.Tool("x", kind="custom"),
        n.Tool(kind="server", raw={"type": "web_search"}, dialect="anthropic"),
    ],
)
def test_tools_that_gemini_has_not(tool: n.Tool) -> None:
    assert refused(asked(tools=(TOOL, tool))) == "tools[1]"


ON = n.Thinking("on")
OFF = n.Thinking("off")


@pytest.mark.parametrize(
    ("thinking", "model", "config"),
    [
        (replace(ON, effort="medium"), FLASH3, {"thinkingLevel": "MEDIUM"}),
        (replace(ON, effort="medium"), PRO3, {"thinkingLevel": "LOW"}),
        (replace(ON, effort="minimal"), "gemini-3.1-pro", {"thinkingLevel": "LOW"}),
        (replace(ON, effort="xhigh"), FLASH3, {"thinkingLevel": "HIGH"}),
        (replace(ON, budget=20_000), FLASH3, {"thinkingLevel": "HIGH"}),
        (n.Thinking("adaptive"), FLASH3, {}),
        (replace(ON, effort="low"), FLASH, {"thinkingBudget": 4096}),
        (replace(ON, budget=90_000), FLASH, {"thinkingBudget": 24_576}),
        (n.Thinking("adaptive"), PRO, {"thinkingBudget": -1}),
        (ON, PRO, {}),
    ],
)
def test_thinking(thinking: n.Thinking, model: str, config: Any) -> None:
    """As much as asked for, in the model's own words; and thoughts are wanted."""
    body = written(asked(thinking=thinking), model)
    assert body["generationConfig"]["thinkingConfig"] == {**config, "includeThoughts": True}
    hidden = written(asked(thinking=replace(thinking, show=False)), model)
    assert hidden.get("generationConfig", {}).get("thinkingConfig", {}) == config


@pytest.mark.parametrize(
    ("model", "config", "names"),
    [
        (FLASH3, {"thinkingLevel": "MINIMAL"}, ()),
        (PRO3, {"thinkingLevel": "LOW"}, ("thinking.mode",)),
        (FLASH, {"thinkingBudget": 0}, ()),
        (PRO, {"thinkingBudget": 128}, ("thinking.mode",)),
        (OLD, None, ()),
    ],
)
def test_no_thinking(model: str, config: Any, names: tuple[str, ...]) -> None:
    request = asked(thinking=OFF)
    assert written(request, model).get("generationConfig", {}).get("thinkingConfig") == config
    assert dropped(request, model) == names


def test_thinking_of_models_that_cannot() -> None:
    assert dropped(asked(thinking=replace(ON, effort="low")), OLD) == ("thinking",)
    assert dropped(asked(thinking=replace(ON, effort="low")), "gemma-3-27b") == ("thinking",)


def test_the_rest_of_the_config() -> None:
    request = asked(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop=("a", "b"),
        seed=2**40 + 5,
        n=2,
        logprobs=True,
        top_logprobs=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        modalities=("text",),
        format=n.ResponseFormat(
            "schema", "cat", "A cat.", {"$schema": "x", "type": "object"}, strict=True
        ),
    )
    assert written(request) == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {
            "maxOutputTokens": 9,
            "temperature": 0.5,
            "topP": 0.9,
            "topK": 3,
            "stopSequences": ["a", "b"],
            "seed": 5,
            "candidateCount": 2,
            "responseLogprobs": True,
            "logprobs": 3,
            "presencePenalty": 0.1,
            "frequencyPenalty": 0.2,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object", "description": "A cat."},
        },
    }
    assert dropped(request) == ()


def test_what_is_dropped() -> None:
    request = asked(
        n.Message("user", (n.Text("Hello", cache=""),), name="Ada"),
        tools=(TOOL,),
        parallel_tools=False,
        user="u",
        safety_identifier="s",
        metadata={"a": "b"},
        cache_key="k",
        verbosity="low",
        store=True,
        service_tier="scale",
    )
    assert dropped(request) == (
        "user",
        "safety_identifier",
        "metadata",
        "cache_key",
        "verbosity",
        "store",
        "messages.name",
        "parallel_tools",
        "cache",
        "service_tier",
    )
    with pytest.raises(Untranslatable, match="Routeur-Strict"):
        write_request(request, aim_at("gemini", FLASH), Losses(strict=True))


def test_what_is_refused() -> None:
    assert refused(asked(stop=tuple("abcdef"))) == "stop"
    assert refused(asked(modalities=("text", "audio"))) == "modalities"
    assert refused(asked(audio={"voice": "alloy", "format": "wav"})) == "modalities"


def test_tiers() -> None:
    assert written(asked(service_tier="default"))["serviceTier"] == "standard"
    assert "serviceTier" not in written(asked(service_tier="auto"))
    aim = Aim("gemini", FLASH, vendor_of(FLASH), "vertex")
    losses = Losses()
    assert "serviceTier" not in orjson.loads(write_request(asked(service_tier="flex"), aim, losses))
    assert losses.dropped == ("service_tier",)


def test_names_of_files_on_vertex() -> None:
    file = n.File(data="aGk=", media_type="application/pdf", name="a.pdf")
    request = asked(n.Message("user", (file,)))
    body = write_request(request, Aim("gemini", FLASH, "google", "vertex"), Losses())
    assert b'"displayName":"a.pdf"' in body
    assert dropped(request) == ("file.name",)


def test_half_a_character_does_not_fail_the_call() -> None:
    body = write_request(
        asked(n.Message("user", (n.Text("a\ud83d"),))), aim_at("gemini", FLASH), Losses()
    )
    assert json.loads(body)["contents"][0]["parts"][0]["text"] == "a\ud83d"


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        (FLASH, False, "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("a b", True, "/v1beta/models/a%20b:streamGenerateContent?alt=sse"),
    ],
)
def test_addresses(model: str, stream: bool, path: str) -> None:
    assert address(model, stream) == path


# ── counting


def test_counting_tokens() -> None:
    body: Any = {"generateContentRequest": {"model": "models/m", "contents": [{"parts": []}]}}
    assert read_count_request(body, model="m").messages == (n.Message("user", ()),)
    system = n.Message("system", (n.Text("Be kind."),))
    request = asked(system, HELLO, temperature=1)
    found = orjson.loads(write_count_request(request, aim_at("gemini", FLASH), Losses()))
    assert breaks(SPEC, "CountTokensRequest", found) == []
    assert found["generateContentRequest"]["model"] == "models/gemini-2.5-flash"
    assert found["generateContentRequest"]["systemInstruction"]
    aim = Aim("gemini", FLASH, "google", "vertex")
    assert set(orjson.loads(write_count_request(request, aim, Losses()))) == {
        "contents",
        "systemInstruction",
        "generationConfig",
    }
    assert count_address(FLASH) == "/v1beta/models/gemini-2.5-flash:countTokens"
    assert read_count(orjson.loads(write_count(7))) == 7
    assert read_count({}) is None


def test_url_safe_base64_becomes_what_others_read() -> None:
    """Google's own clients write it."""
    parts = [
        {"inlineData": {"mimeType": kind, "data": "-_-_aGk"}}
        for kind in ("image/png", "application/pdf", "audio/wav")
    ]
    (message,) = read(contents=[{"parts": parts}]).messages
    assert {getattr(each, "data", "") for each in message.blocks} == {"+/+/aGk="}


def test_nothing_said() -> None:
    spoken = [{"role": "user", "parts": [{"text": "."}]}]
    unsaid = n.Message("system", (n.Text(""),)), n.Message("user", (n.Text(""),))
    for messages in ((), unsaid):
        body = written(n.Request("anthropic", "any", messages))
        assert body["contents"] == spoken
        assert "systemInstruction" not in body


def test_texts_of_a_result_stay_apart() -> None:
    result = replace(RESULT, blocks=(n.Text("a cat"), n.Text("a dog")))
    found = contents(HELLO, n.Message("assistant", (CALL,)), n.Message("user", (result,)))
    response = found[-1]["parts"][0]["functionResponse"]["response"]
    assert response == {"output": "a cat\na dog"}


def test_a_budget_without_room() -> None:
    request = asked(thinking=n.Thinking("on", "low"), max_tokens=1000)
    assert written(request, FLASH)["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 0
    assert dropped(request, FLASH) == ("thinking",)
