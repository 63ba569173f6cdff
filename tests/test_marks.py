from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur import body
from routeur.dialects import translate
from routeur.dialects.neutral import (
    File,
    Image,
    Message,
    Reasoning,
    Request,
    Text,
    Tool,
    ToolResult,
)
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.marks import MARK, least, mark_body, mark_request
from tests.recording import everything

LONG = "word " * 4000
SONNET = "claude-sonnet-4-5"
EPHEMERAL = {"type": "ephemeral"}
TOOL = {"name": "t", "description": LONG, "input_schema": {"type": "object"}}


def marked(model: str = SONNET, **doc: Any) -> dict[str, Any]:
    raw = orjson.dumps(doc)
    found: dict[str, Any] = orjson.loads(mark_body(raw, doc, model))
    assert unmarked(found) == unmarked(doc)
    return found


def unmarked(value: Any) -> Any:
    """Without marks, and with blocks for strings, as they mean the same."""
    if isinstance(value, list):
        return [unmarked(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: unmarked(each) for name, each in value.items() if name != "cache_control"}
    for name in ("system", "content"):
        if isinstance(found.get(name), str):
            found[name] = [{"type": "text", "text": found[name]}]
    return found


def where(value: Any, path: str = "") -> list[str]:
    """The places of marks: `system.0`, `messages.2.content.0`."""
    if isinstance(value, list):
        return [at for n, each in enumerate(value) for at in where(each, f"{path}.{n}")]
    if not isinstance(value, dict):
        return []
    found = [path.lstrip(".")] if value.get("cache_control") == EPHEMERAL else []
    return found + [at for name, each in value.items() for at in where(each, f"{path}.{name}")]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-3-7-sonnet-latest", 1024),
        ("claude-haiku-4-5", 4096),
        ("us.anthropic.claude-opus-4-5-20251101-v1:0", 4096),
        ("anthropic/claude-opus-4.6", 4096),
        ("claude-opus-4-8", 1024),
        ("claude-opus-5", 512),
        ("claude-sonnet-5", 1024),
        ("claude-3-haiku-20240307", 2048),
        ("claude-3-5-haiku-latest", 2048),
        ("amazon.nova-pro-v1:0", 1024),
    ],
)
def test_from_how_many_tokens_on(model: str, tokens: int) -> None:
    assert least(model) == tokens


def test_the_system_prompt_and_the_last_two_turns() -> None:
    turns = [user("One"), assistant("1"), user("Two"), assistant("2"), user("Three")]
    found = marked(tools=[TOOL], system=LONG, messages=turns)

    assert where(found) == ["system.0", "messages.2.content.0", "messages.4.content.0"]


def test_tools_where_there_is_no_system_prompt() -> None:
    later = {**TOOL, "defer_loading": True}

    assert where(marked(tools=[TOOL, TOOL, later], messages=[user("Hi")])) == [
        "tools.1",
        "messages.0.content.0",
    ]
    assert where(marked(tools=[TOOL], system=" ", messages=[])) == ["tools.0"]
    assert where(marked(tools=[later], messages=[assistant("?")])) == []


def test_a_single_turn_may_be_the_last() -> None:
    assert where(marked(system=LONG, messages=[user("Hi")])) == ["system.0"]
    assert where(marked(system="Be brief.", messages=[user(LONG)])) == []


def test_a_short_prompt_gets_none() -> None:
    doc = {"system": "Be brief.", "messages": [user("Hi"), assistant("Ho"), user("?")]}
    raw = orjson.dumps(doc)

    assert mark_body(raw, doc, SONNET) is raw
    assert where(marked("claude-haiku-4-5", system="x" * 4000, messages=[])) == []
    assert where(marked(SONNET, system="x" * 4000, messages=[])) == ["system.0"]


def test_marks_of_the_client_are_enough() -> None:
    doc = {
        "system": [{"type": "text", "text": LONG, "cache_control": EPHEMERAL}],
        "messages": [user("Hi")],
    }
    raw = orjson.dumps(doc)

    assert mark_body(raw, doc, SONNET) is raw


def test_marks_that_are_spelled_otherwise_are_seen_too() -> None:
    raw = orjson.dumps({"system": LONG, "tools": [{**TOOL, "cache_control": {}}], "messages": []})
    raw = raw.replace(b"cache_control", b"cache\\u005fcontrol")

    assert mark_body(raw, orjson.loads(raw), SONNET) is raw


@pytest.mark.parametrize("kind", [[], {}, 1, None])
def test_blocks_of_no_kind_get_none(kind: object) -> None:
    blocks = [{"type": "text", "text": LONG}, {"type": kind, "text": "?"}]
    turns = [user("One"), assistant("1"), {"role": "user", "content": blocks}]

    assert where(marked(messages=turns)) == ["messages.0.content.0", "messages.2.content.0"]


def test_the_last_block_that_can_have_one() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "4"}]}
    text = {"type": "text", "text": "Hi"}
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    system = [{"type": "text", "text": LONG}, {"type": "text", "text": ""}]

    def last(*blocks: Any) -> list[str]:
        turns = [user("One"), assistant([thought, text]), user(list(blocks))]
        return where(marked(system=system, messages=turns))[2:]

    assert last(text, image) == ["messages.2.content.1"]
    assert last(text, result) == ["messages.2.content.1"]
    assert last(result, text) == ["messages.2.content.1"]
    assert last(text, {"type": "text", "text": " "}) == ["messages.2.content.0"]
    assert last(text, {"type": "new_thing"}) == ["messages.2.content.0"]
    assert last({"type": "new_thing"}, {}) == []


def test_every_other_byte_stays() -> None:
    raw = (
        b'{ "model" : "m", "system" :\n "%b", "x": 1.10, "messages" : [ {"role":"user","content"'
        b' : [ {"type" : "text", "text":"\\u00fc" } ]} , {"content": "?", "role": "assistant"}\n,'
        b'{"content":"\\"Hi\\" \xc3\xbc","role":"user", "x" : 1.0} ] }' % LONG.encode()
    )
    expected = (
        raw.replace(
            b'"%b"' % LONG.encode(), b'[{"type":"text","text":"%b",%b}]' % (LONG.encode(), MARK)
        )
        .replace(b'\\u00fc" }', b'\\u00fc" ,%b}' % MARK)
        .replace(b'"\\"Hi\\" \xc3\xbc"', b'[{"type":"text","text":"\\"Hi\\" \xc3\xbc",%b}]' % MARK)
    )

    assert mark_body(raw, body.parse(raw), SONNET) == expected


blocks = st.sampled_from(
    [
        {"type": "text", "text": LONG},
        {"type": "text", "text": ""},
        {"type": "image", "source": {}},
        {"type": "tool_result", "content": "é"},
        {},
        None,
        7,
    ]
)
contents = st.one_of(st.lists(blocks, max_size=3), st.sampled_from(["", "Hi", LONG, None, 7]))
messages = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", 7]), "content": contents}),
    st.sampled_from([None, {}, {"role": "user"}]),
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "system": contents,
            "tools": st.lists(st.sampled_from([TOOL, {}, None]), max_size=2),
            "messages": st.one_of(st.lists(messages, max_size=5), st.none()),
        },
    ),
    st.booleans(),
)
def test_whatever_comes_nothing_else_changes(doc: dict[str, Any], indented: bool) -> None:
    raw = orjson.dumps(doc, option=orjson.OPT_INDENT_2 if indented else 0)
    found = orjson.loads(mark_body(raw, doc, SONNET))

    assert unmarked(found) == unmarked(doc)
    assert len(where(found)) <= 4


def test_recorded_requests_stay_what_they_are() -> None:
    looked_at = 0
    for each in everything():
        if each.format != "anthropic" or not each.request.startswith(b"{"):
            continue
        doc = orjson.loads(each.request)
        found = orjson.loads(mark_body(each.request, doc, "claude-opus-5"))
        assert unmarked(found) == unmarked(doc), each.name
        looked_at += 1

    assert looked_at > 30


# ---- requests in nobody's format


def neutral(*messages: Message, **more: Any) -> Request:
    return Request("openai_chat", "m", messages, **more)


def caches(request: Request) -> list[tuple[int, int]]:
    return [
        (m, b)
        for m, message in enumerate(request.messages)
        for b, block in enumerate(message.blocks)
        if getattr(block, "cache", None) == ""
    ]


TALK = (
    Message("system", (Text(LONG),)),
    Message("user", (Text("One"),)),
    Message("assistant", (Reasoning("Hm"), Text("1"))),
    Message("user", (ToolResult("t", (Text("2"),)), Text(" "))),
)


def test_the_same_for_what_is_translated() -> None:
    found = mark_request(neutral(*TALK, tools=(Tool("t"),)), SONNET)

    assert caches(found) == [(0, 0), (1, 0), (3, 0)]
    assert found.tools[0].cache is None


def test_tools_are_marked_for_claude_only() -> None:
    request = neutral(Message("user", (Text("Hi"),)), tools=(Tool("a"), Tool("b", LONG)))

    assert [tool.cache for tool in mark_request(request, SONNET).tools] == [None, ""]
    assert [tool.cache for tool in mark_request(request, "nova-pro").tools] == [None, None]


@pytest.mark.parametrize("block", [File(text=LONG), Reasoning("Hm"), Text("")])
def test_not_every_block_takes_a_mark(block: Any) -> None:
    found = mark_request(neutral(*TALK, Message("user", (Image(url="u"), block))), SONNET)

    assert caches(found) == [(0, 0), (3, 0), (4, 0)]


def test_others_get_none_and_marked_ones_no_more() -> None:
    own = neutral(*TALK[:-1], Message("user", (Text("Hi", cache="1h"),)))

    assert mark_request(neutral(*TALK), "gpt-5") == neutral(*TALK)
    assert mark_request(own, SONNET) is own
    assert mark_request(neutral(*TALK, cache=""), SONNET) == neutral(*TALK, cache="")
    assert caches(mark_request(neutral(*TALK[1:]), SONNET)) == []


@pytest.mark.parametrize(
    ("dialect", "model", "sign"),
    [
        ("anthropic", "claude-sonnet-4-5", b'"cache_control"'),
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", b'"cachePoint"'),
    ],
)
def test_it_is_written(dialect: str, model: str, sign: bytes) -> None:
    losses = Losses()
    aim = Aim(dialect, model, vendor="anthropic")
    request = mark_request(neutral(*TALK[:-1], TALK[1]), model)
    raw = translate.TRANSLATORS[dialect].requests.write_request(request, aim, losses)

    assert raw.count(sign) == 3
    assert not [name for name in losses.dropped if name.startswith("cache")]
