from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import orjson
import pytest

from routeur.conversation import ID_SIZE, Conversation, id_after, look
from tests.recording import Recording, everything

CHAT = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
ANSWERED = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And now?"}]


def of(
    doc: dict[str, Any],
    format: str | None = "openai_chat",
    *,
    headers: dict[bytes, str] | None = None,
    key: str | None = "k",
    model: str = "auto",
) -> Conversation:
    return look(format, doc, (headers or {}).get, key, model)


def recorded(each: Recording, **more: Any) -> Conversation:
    return of(orjson.loads(each.request), each.format, **more)


@pytest.mark.parametrize(
    "header",
    ["x-session-id", "x-claude-code-session-id", "session-id", "session_id", "x-session-affinity"],
)
def test_a_header_tells(header: str) -> None:
    found = of(CHAT, headers={header.encode(): "s1"})

    assert found.source == header
    assert len(found.id) == ID_SIZE
    assert found == of(
        {"messages": [{"role": "user", "content": "?"}]}, headers={header.encode(): "s1"}
    )


def test_headers_come_before_the_body_and_names_before_the_opening() -> None:
    doc = {
        **CHAT,
        "metadata": {"user_id": "m"},
        "user": "u",
        "previous_response_id": "r",
        "conversation": {"id": "c"},
        "prompt_cache_key": "p",
        "session_id": "s",
    }
    sources = [of(doc, headers={b"x-session-id": "h"}).source]
    while len(doc) > 1:
        sources.append(of(doc).source)
        doc.popitem()
    sources.append(of(doc).source)

    assert sources == [
        "x-session-id",
        "session_id",
        "prompt_cache_key",
        "conversation",
        "previous_response_id",
        "user",
        "metadata.user_id",
        "opening",
    ]


@pytest.mark.parametrize("value", [None, "", 7, [], {"a": 1}, True])
def test_what_is_no_name_is_not_taken_for_one(value: object) -> None:
    doc = {
        **CHAT,
        "user": value,
        "prompt_cache_key": value,
        "conversation": value,
        "metadata": value,
    }

    assert of(doc) == of(CHAT)


def test_others_have_other_conversations() -> None:
    ids = {
        of(CHAT).id,
        of(CHAT, key="other").id,
        of(CHAT, key=None).id,
        of(CHAT, model="auto:price").id,
        of({**CHAT, "user": "u"}).id,
        of({**CHAT, "prompt_cache_key": "u"}).id,
        of({"messages": CHAT["messages"][1:]}).id,
        of({"messages": [CHAT["messages"][0], {"role": "user", "content": "Hi!"}]}).id,
    }

    assert len(ids) == 8


def test_parts_do_not_run_together() -> None:
    assert (
        of({**CHAT, "user": "u"}, key="ab", model="c").id
        != of({**CHAT, "user": "u"}, key="a", model="bc").id
    )


def test_a_conversation_goes_on() -> None:
    later = {"messages": [*CHAT["messages"], *ANSWERED]}

    assert of(later).id == of(CHAT).id
    assert (of(CHAT).begins, of(later).begins) == (True, False)
    assert not of({**CHAT, "user": "u"}).begins


def test_an_opening_may_be_spelt_in_blocks_and_marked() -> None:
    plain = {"system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}]}
    block = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}
    marked = {
        "messages": [{"role": "user", "content": [block]}, *ANSWERED],
        "system": [{"type": "text", "text": "Be brief."}],
    }

    assert of(plain, "anthropic").id == of(marked, "anthropic").id


def test_all_recorded_conversations_keep_their_id() -> None:
    """The second request of a recording begins as the first does."""
    pairs = 0
    for one, two in pairwise(everything()):
        first, second = (each.request.startswith(b"{") and each.format for each in (one, two))
        stem, _, number = two.name.rpartition(".")
        if not first or first != second or number != "1" or one.name != f"{stem}.0":
            continue
        opening, later = recorded(one), recorded(two)
        if opening.source == later.source == "opening" and later.loop:
            pairs += 1
            assert opening.id == later.id, stem

    assert pairs > 20


@pytest.mark.parametrize(
    ("name", "loop", "signed"),
    [
        ("claude-sonnet-4-tool.0", False, False),
        ("claude-sonnet-4-tool.1", True, False),
        ("test_anthropic_model_thinking_part_redacted.1", False, True),
        ("test_anthropic_tool_with_thinking.1", True, True),
        ("test_google_model_thinking_part.1", False, True),
        ("test_google_streaming_tool_call_thought_signature.1", True, True),
        ("openai-gpt-5-tool.1", True, False),
        ("test_openai_responses_thinking_with_tool_calls.1", True, True),
        ("test_openai_responses_compact_messages.3", False, True),
    ],
)
def test_loops_and_seals_of_recordings(name: str, loop: bool, signed: bool) -> None:
    (found,) = {recorded(each) for each in everything() if each.name.endswith(name)} or {None}

    assert found is not None
    assert (found.loop, found.signed, found.held) == (loop, signed, loop or signed)


def assistant(**more: Any) -> dict[str, Any]:
    last = {"role": "user", "content": "Go on"}
    return {"messages": [*CHAT["messages"], {"role": "assistant", "content": "", **more}, last]}


@pytest.mark.parametrize(
    "more",
    [
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"reasoning_details": [{"type": "reasoning.text", "signature": "x"}]},
        {"thinking_blocks": [{"type": "thinking", "signature": "x"}]},
        {"extra_content": {"google": {"thought_signature": "x"}}},
        {"tool_calls": [{"extra_content": {"google": {"thought_signature": "x"}}}]},
    ],
)
def test_seals_in_chat(more: dict[str, Any]) -> None:
    assert of(assistant(**more)).signed


def test_reasoning_in_the_open_binds_nobody() -> None:
    assert not of(assistant(reasoning_content="Hm.", reasoning_details=[{"text": "Hm."}])).held


def test_a_system_message_behind_results_is_still_the_loop() -> None:
    results = [{"role": "tool", "content": "4"}, {"role": "system", "content": "Be brief."}]

    assert of({"messages": [*CHAT["messages"], *results]}).loop


def test_a_turn_that_the_provider_paused_goes_on_there() -> None:
    call = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    doc = {"messages": [*CHAT["messages"], {"role": "assistant", "content": [call]}]}

    assert of(doc, "anthropic").loop


@pytest.mark.parametrize("format", [None, "openai_chat", "openai_responses", "anthropic", "gemini"])
@pytest.mark.parametrize(
    "turns", [None, 7, "", [], {}, [None], [[]], [{}], [{"role": 7}], [{"content": [None, 7, {}]}]]
)
def test_nonsense_is_nobodys(format: str | None, turns: object) -> None:
    doc = {name: turns for name in ("messages", "input", "contents", "system", "metadata")}

    assert not of(doc, format).held


def test_an_embedding_has_no_conversation() -> None:
    assert of({"input": ["a", "b"]}).id == b""


def test_the_next_turn_is_known_by_the_response() -> None:
    next_turn = {"previous_response_id": "resp_1", "input": "And now?"}

    assert of(next_turn, "openai_responses").id == id_after("resp_1", "k", "auto")


def test_a_megabyte_takes_no_time() -> None:
    turn = {"role": "user", "content": [{"type": "text", "text": "word " * 40}]}
    doc = {"system": "x" * 400_000, "messages": [turn] * 3000}
    start = time.process_time()
    for _ in range(5000):
        of(doc, "anthropic")

    assert time.process_time() - start < 3


def test_names_of_any_length_and_script() -> None:
    assert of({**CHAT, "user": "\ud800 ü" * 10_000}).source == "user"
