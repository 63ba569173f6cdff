"""What a body's bytes tell is never less than what all of it says."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur.auto import Choice, Target
from routeur.dialects import FORMATS
from routeur.providers import Model
from routeur.signs import may_use
from tests.recording import everything

SAID = [
    ("openai_chat", {"messages": [{"content": [{"type": "image_url", "image_url": {}}]}]}),
    ("openai_chat", {"messages": [{"content": [{"type": "file", "file": {}}]}]}),
    ("openai_chat", {"messages": [{"content": [{"type": "input_audio"}]}]}),
    ("openai_chat", {"modalities": ["text", "audio"]}),
    ("openai_chat", {"functions": [{}]}),
    ("openai_chat", {"response_format": {"type": "json_schema"}}),
    ("openai_chat", {"reasoning_effort": "low"}),
    ("openai_chat", {"reasoning": {"enabled": True}}),
    ("openai_responses", {"input": [{"content": [{"type": "input_file"}]}]}),
    ("openai_responses", {"text": {"format": {"type": "json_object"}}, "tools": [{}]}),
    ("openai_responses", {"reasoning": {"summary": "auto"}}),
    ("anthropic", {"messages": [{"content": [{"type": "document", "source": {"type": "url"}}]}]}),
    ("anthropic", {"mcp_servers": [{}], "output_config": {"format": {}, "effort": "low"}}),
    ("anthropic", {"output_format": {"type": "x"}, "thinking": {"type": "adaptive"}}),
    ("gemini", {"contents": [{"parts": [{"inlineData": {"mimeType": "application/pdf"}}]}]}),
    ("gemini", {"contents": [{"parts": [{"inline_data": {"mime_type": "audio/wav"}}]}]}),
    ("gemini", {"contents": [{"parts": [{"fileData": {"fileUri": "gs://x"}}]}]}),
    ("gemini", {"generationConfig": {"responseMimeType": "application/json"}}),
    ("gemini", {"generation_config": {"response_schema": {}, "thinking_config": {"x": 1}}}),
    ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingBudget": 8}}, "tools": [{}]}),
]


@pytest.mark.parametrize(("format", "doc"), SAID)
def test_all_that_is_used_is_seen(format: str, doc: dict[str, Any]) -> None:
    raw = json.dumps(doc).encode()

    assert FORMATS[format].has(doc) <= may_use(raw)
    assert FORMATS[format].has(doc) <= may_use(spelled(raw))


def spelled(raw: bytes) -> bytes:
    """The same with all letters of all names and values as escapes."""

    def escaped(value: Any) -> str:
        if isinstance(value, str):
            return '"' + "".join(f"\\u{ord(sign):04x}" for sign in value) + '"'
        if isinstance(value, dict):
            return "{" + ",".join(f"{escaped(k)}:{escaped(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(escaped, value)) + "]"
        return json.dumps(value)

    made = escaped(json.loads(raw)).encode()
    assert json.loads(made) == json.loads(raw)
    return made


def test_recorded_requests() -> None:
    seen = 0
    for each in everything():
        if each.format and each.request.startswith(b"{"):
            doc = orjson.loads(each.request)
            assert FORMATS[each.format].has(doc) <= may_use(each.request), each.name
            seen += 1
    assert seen > 50


def test_a_plain_request_uses_nothing() -> None:
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Grüß dich"}]})

    assert may_use(raw.encode()) == frozenset()


class Asked:
    """A request of Chat Completions; notes what is looked at closely."""

    def __init__(self, doc: dict[str, Any]) -> None:
        self.doc = doc
        self.raw = orjson.dumps(doc)
        self.closely = False

    def has(self) -> frozenset[str]:
        self.closely = True
        return FORMATS["openai_chat"].has(self.doc)

    def tokens(self) -> int:
        self.closely = True
        return FORMATS["openai_chat"].prompt(self.doc) // 4 + 1

    def output(self) -> int:
        return int(self.doc.get("max_tokens", 0))


def choice(**known: Any) -> Choice:
    return Choice([Target("p", "m")], (), lambda _: Model("m", "m", **known))


@pytest.mark.parametrize(
    ("doc", "closely"),
    [
        ({"messages": [{"content": "x" * 800}]}, False),
        ({"messages": [{"content": "x" * 800}], "tools": [{}]}, False),
        ({"messages": [{"content": "x" * 2000}]}, True),
        ({"messages": [{"content": "an image"}]}, True),
    ],
)
def test_small_requests_are_not_looked_at_closely(doc: dict[str, Any], closely: bool) -> None:
    asked = Asked(doc)

    assert choice(context=1000, has=frozenset(["tools"])).fits(asked)  # type: ignore[arg-type]
    assert asked.closely == closely


PARTS = st.sampled_from(
    [
        {"type": "image_url"},
        {"type": "file"},
        {"type": "text", "text": "x"},
        {"type": "input_audio"},
        1.5,
        [1, 2, 3],
        "Привет, 世界 🌍",
    ]
)


@given(
    parts=st.lists(PARTS, max_size=8),
    text=st.text(max_size=200),
    tools=st.lists(st.dictionaries(st.text(max_size=3), st.integers() | st.floats(), max_size=3)),
    room=st.integers(1, 5000),
    most=st.integers(0, 50),
)
def test_a_glance_says_what_a_close_look_says(
    parts: list[Any], text: str, tools: list[Any], room: int, most: int
) -> None:
    doc = {"messages": [{"content": [*parts, text]}], "tools": tools, "max_tokens": most}
    doc = orjson.loads(json.dumps(doc).replace("NaN", "0").replace("Infinity", "1e300"))
    abilities = frozenset(["image", "tools"])
    asked = Asked(doc)

    fits = choice(context=room, output=20, has=abilities).fits(asked)  # type: ignore[arg-type]

    assert fits == (asked.tokens() <= room and asked.has() <= abilities and most <= 20)
