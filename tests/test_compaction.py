"""A conversation made short: what is asked of the model, the item, and how it is read again."""

from __future__ import annotations

import base64
import json

import orjson
import pytest

from routeur import compaction
from routeur.compaction import PREFIX, Prepended, seal, secret_for, split, unseal
from routeur.dialects import FORMATS
from routeur.dialects.neutral.aim import Aim, Losses
from routeur.dialects.translate import TRANSLATORS
from routeur.errors import ClientError, UpstreamError
from tests.recording import everything

KEY = secret_for(b"a secret")


def items(*values):
    return tuple(orjson.dumps(value) for value in values)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "role": "assistant", "id": "msg_1", "content": [part]}


CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at":"x"}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "found"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}


# ---- the item


@pytest.mark.parametrize(
    "text", ["", "Hello", "é 😀 \x00 \ud83d".replace("\ud83d", ""), "x" * 99999]
)
def test_sealed_and_read(text):
    content = seal(text, KEY)

    assert unseal(content, KEY) == text
    assert content.startswith("routeur.c1.")


def test_a_secret_for_one_purpose():
    assert secret_for(b"a secret") != b"a secret"
    assert secret_for(b"a secret") != secret_for(b"another")
    with pytest.raises(ValueError):
        secret_for(b"")


def flipped(content, at):
    raw = bytearray(base64.urlsafe_b64decode(content[len("routeur.c1.") :]))
    raw[at] ^= 1
    return "routeur.c1." + base64.urlsafe_b64encode(bytes(raw)).decode()


@pytest.mark.parametrize("at", [0, 31, 32, 40, -1])
def test_what_was_changed_is_refused(at):
    with pytest.raises(ClientError, match="changed, or made with another secret"):
        unseal(flipped(seal("Hello", KEY), at), KEY)


@pytest.mark.parametrize("content", ["", "x", "routeur.c1.", "routeur.c1.é", "routeur.c1.AAAA"])
def test_what_is_nothing_is_refused(content):
    with pytest.raises(ClientError):
        unseal(content, KEY)
    with pytest.raises(ClientError):
        unseal(seal("Hello", KEY), secret_for(b"another"))


def body(*said, **more):
    return orjson.dumps({"model": "m", "input": [*said], **more})


def test_an_item_becomes_a_message():
    item = compaction.made("It was long.", "resp_1", KEY)
    raw = b'{"model":"m","t":1.0,"input":[%b,{"role":"user","content":"Go on"}]}' % (
        orjson.dumps(item)
    )
    told = compaction.with_summaries(raw, KEY)

    found = json.loads(told)["input"]
    assert found[0]["role"] == "user"
    assert found[0]["content"] == [{"type": "input_text", "text": PREFIX + "It was long."}]
    assert found[1] == user("Go on")
    assert b'"t":1.0' in told


def test_others_stay_as_they_are():
    theirs = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAAB"}
    for raw in (body(theirs), body(user("I like routeur.c1.abc")), b'{"input": "routeur.c1."}'):
        assert json.loads(compaction.with_summaries(raw, KEY)) != {}
    assert compaction.with_summaries(body(theirs), KEY) == body(theirs)
    talk = body(user("I like routeur.c1.abc"))
    assert compaction.with_summaries(talk, KEY) == talk


def test_a_changed_item_is_an_error_of_the_clients():
    item = compaction.made("x", "resp_1", secret_for(b"another"))

    with pytest.raises(ClientError) as caught:
        compaction.with_summaries(body(item), KEY)
    assert caught.value.param == "input"


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "gemini", "bedrock"])
def test_every_provider_understands_it(dialect):
    raw = compaction.with_summaries(body(compaction.made("It was long.", "resp_1", KEY)), KEY)
    read = TRANSLATORS["openai_responses"].requests.read_request
    request = read(orjson.loads(raw), model="m", stream=False)
    losses = Losses(True, "openai_responses")

    written = TRANSLATORS[dialect].requests.write_request(request, Aim(dialect, "m"), losses)

    assert b"It was long." in written
    assert losses.dropped == ()


# ---- the summary


def test_what_the_model_is_asked():
    raw = body(
        {"role": "developer", "content": "Be brief"},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image"}],
        },
        THOUGHT,
        CALL,
        RESULT,
        assistant("Done"),
        instructions="You are a pirate.",
        tools=[{"type": "function", "name": "look"}],
        stream=True,
        prompt_cache_key="k",
        temperature=0.1,
    )
    asked = orjson.loads(compaction.summary_request(raw))

    (message,) = asked.pop("input")
    assert message["content"][0]["text"] == (
        "[instructions]\nYou are a pirate.\n\n"
        "[developer]\nBe brief\n\n[user]\nHi\n[image]\n\n"
        '[assistant thinks]\nhm\n\n[assistant calls look]\n{"at":"x"}\n\n[tool result]\nfound\n\n'
        "[assistant]\nDone"
    )
    assert asked == {
        "model": "m",
        "instructions": compaction.INSTRUCTIONS,
        "store": False,
        "stream": False,
        "prompt_cache_key": "k",
    }


def test_a_string_is_a_conversation_too():
    assert b"[user]\\nHello" in compaction.summary_request(b'{"model":"m","input":"Hello"}')


def test_what_only_another_can_read():
    theirs = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAAAB"}

    with pytest.raises(ClientError, match="can only be read there"):
        compaction.summary_request(body(theirs))


def test_any_recorded_conversation_can_be_summed_up():
    recorded = [each for each in everything() if each.format == "openai_responses" and each.request]
    found = 0
    for each in recorded:
        if b'"input"' in each.request and b'"compaction"' not in each.request:
            asked = compaction.summary_request(each.request)
            assert FORMATS["openai_responses"].prompt(orjson.loads(asked)) > 0
            found += 1
    assert found > 20


def test_the_summary_of_an_answer():
    answer = {"output": [THOUGHT, assistant(" A. "), assistant("B.")]}

    assert compaction.summary_of(answer) == "A. \nB."
    for nothing in ({}, {"output": [THOUGHT]}, {"output": [assistant(" ")]}):
        with pytest.raises(UpstreamError):
            compaction.summary_of(nothing)


def test_what_a_client_gets():
    """The recorded shape: all that users said, then the item."""
    said = items(user("a"), assistant("b"), {"role": "system", "content": "s"}, user("c"), RESULT)
    item = compaction.made("sum", "resp_9", KEY)
    output = compaction.compacted(said, "resp_9", item)
    told = orjson.loads(compaction.answer("resp_9", output, {"created_at": 5, "usage": {"x": 1}}))

    assert [each["type"] for each in told["output"]] == ["message", "message", "compaction"]
    assert told["output"][1] == {
        "id": "msg_90001",
        "role": "user",
        "content": [{"type": "input_text", "text": "c"}],
        "type": "message",
        "status": "completed",
    }
    assert told["output"][2]["id"] == "cmp_9"
    assert told["object"] == "response.compaction"
    assert (told["created_at"], told["usage"]) == (5, {"x": 1})


def test_again():
    """A summary goes into the next one, and is not taken for what a user said."""
    first = compaction.made("FIRST", "resp_1", KEY)
    raw = body(user("a"), first, user("b"))
    readable = compaction.with_summaries(raw, KEY)

    assert b"FIRST" in compaction.summary_request(readable)
    output = compaction.compacted(items(user("a"), first, user("b")), "resp_2", first)
    assert [each.get("role") for each in output] == ["user", "user", None]


# ---- by itself


@pytest.mark.parametrize(
    "given, expected",
    [
        (None, None),
        ([], None),
        ([{"type": "compaction"}], None),
        ([{"type": "compaction", "compact_threshold": None}], None),
        ([{"type": "compaction", "compact_threshold": 5000}], 5000),
    ],
)
def test_when(given, expected):
    assert compaction.threshold({"context_management": given}) == expected


@pytest.mark.parametrize(
    "given",
    [
        {},
        "x",
        [1],
        [{"type": "other"}],
        [{"type": "compaction", "compact_threshold": 999}],
        [{"type": "compaction", "compact_threshold": True}],
        [{"type": "compaction", "compact_threshold": "5000"}],
    ],
)
def test_when_it_cannot_be_said(given):
    with pytest.raises(ClientError):
        compaction.threshold({"context_management": given})


@pytest.mark.parametrize(
    "said, left",
    [
        ([user("a"), assistant("b"), user("c")], 1),
        ([user("a")], 1),
        ([user("a"), assistant("b")], 0),
        ([user("a"), assistant("b"), user("c"), user("d")], 2),
        ([user("a"), THOUGHT, CALL, RESULT], 3),
        ([user("a"), assistant("b"), user("c"), THOUGHT, CALL, CALL, RESULT, RESULT, user("d")], 6),
        ([], 0),
    ],
)
def test_what_has_to_stay(said, left):
    old, new = split(items(*said))

    assert (*old, *new) == items(*said)
    assert len(new) == left


def test_an_item_before_all_others():
    item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}
    one = Prepended(item)
    stream = [
        {"type": "response.created", "response": {"status": "in_progress", "output": []}},
        {"type": "response.in_progress", "response": {"status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"id": "msg"}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "x"},
        {
            "type": "response.completed",
            "response": {"status": "completed", "output": [{"id": "m"}]},
        },
    ]
    told = [each for event in stream for each in one.take(event)]

    assert [each["sequence_number"] for each in told] == [*range(7)]
    assert [each.get("output_index") for each in told] == [None, None, 0, 0, 1, 1, None]
    assert told[2]["item"] == told[3]["item"] == item
    assert told[6]["response"]["output"] == [item, {"id": "m"}]
    assert told[0]["response"]["output"] == []
    empty = {"type": "response.completed", "response": {"status": "completed", "output": []}}
    assert Prepended(item).take(empty)[0]["response"]["output"] == [item]
