"""Stored responses as values: packed, continued, listed, and taken up again."""

from __future__ import annotations

import json

import msgspec
import orjson
import pytest

from routeur import responses
from routeur.background import Background
from routeur.errors import ClientError
from routeur.eventlog import AT_MOST, EventLog, after, number_of
from routeur.responses import Stored, context, continued, own_input, pack, unpack
from routeur.store.base import Kept
from tests.recording import recording

BACKGROUND = "openai-responses/pydantic-ai__test_background_mode_streaming_vcr"


def items(*values):
    return tuple(orjson.dumps(value) for value in values)


def user(text):
    return {"role": "user", "content": text}


def said(text, id="msg_1"):
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": id, "role": "assistant", "content": [part]}


def stored(id="resp_1", *, owner="k", **more):
    response = {"id": id, "object": "response", "status": "completed", "output": [said("Hi")]}
    more = {"input": items(user("Hello")), "response": orjson.dumps(response)} | more
    return Stored(id, owner, 1000.0, **more)


# ---- packed


def test_there_and_back():
    one = stored(
        provider="anthropic",
        credential="main",
        previous="resp_0",
        depth=3,
        stream=(b"\x00", b"\xff" * 500),
        background=True,
    )
    kept = pack(one)

    assert unpack(kept) == one
    assert (kept.id, kept.owner, kept.at) == ("resp_1", "k", 1000.0)
    assert len(kept.body) < 1000


def test_a_pin_is_small():
    kept = responses.pin("resp_1", "k", 1000.0, "openai", "openai-2")

    found = unpack(kept)
    assert (found.provider, found.credential, found.pinned) == ("openai", "openai-2", True)
    assert len(kept.body) < 80


def test_what_is_new_does_not_matter_to_the_old():
    told = msgspec.msgpack.encode({"provider": "x", "invented": [1]})
    body = b"\x01" + msgspec.msgpack.encode((told, ()))

    assert unpack(Kept("resp_1", "k", 1.0, body)).provider == "x"


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="newer routeur"):
        unpack(Kept("resp_1", "k", 1.0, b"\x09..."))


@pytest.mark.parametrize(
    "start, id",
    [
        (b'{"id":"resp_abc-1","object"', "resp_abc-1"),
        (b'event: response.created\ndata: {"type":"x","response":{"id": "resp_9_a"', "resp_9_a"),
        (b'{"error":{"id":"req_1"}}', ""),
        (b"", ""),
        (b'{"id":"resp_' + b"a" * 300 + b'"}', ""),
    ],
)
def test_the_id_of_an_answer(start, id):
    assert responses.id_in(start) == id


# ---- whose it is


def test_what_is_no_id_is_not_repeated():
    assert "<script>" not in responses.not_found("<script>").message
    assert responses.previous_not_found("resp_1").code == "previous_response_not_found"


# ---- a conversation goes on


@pytest.mark.parametrize(
    "given, expected",
    [
        (b'{"input":"a\\u00e9"}', [{"type": "message", "role": "user", "content": "aé"}]),
        (b'{"input": [ {"role":"user","content":"x"} ]}', [user("x")]),
        (b'{"input":null}', []),
        (b"{}", []),
    ],
)
def test_the_input_of_a_request(given, expected):
    assert [orjson.loads(item) for item in own_input(given)] == expected


def test_a_conversation_goes_on():
    first = stored()
    second = stored("resp_2", previous="resp_1", input=items(user("And?")))
    raw = b'{"model":"m","previous_response_id":"resp_2","big":123456789012345678901234567890,'
    raw += b'"input":"More","temperature":1.0}'

    body = continued(raw, context([first, second]))

    told = json.loads(body)
    assert [each["content"] for each in told["input"] if each["role"] == "user"] == [
        "Hello",
        "And?",
        "More",
    ]
    assert [each["role"] for each in told["input"]] == ["user", "assistant"] * 2 + ["user"]
    assert "previous_response_id" not in told
    assert b'"big":123456789012345678901234567890' in body
    assert b'"temperature":1.0' in body


def test_half_a_character():
    """A model may stop in the middle of one: that is kept, too."""
    half = b'{"id":"resp_1","output":[{"type":"message","content":[{"text":"\\ud83d"}]}]}'
    (item,) = responses.output_of(half)
    assert b"\\ud83d" in item
    body = continued(b'{"input":"x","big":1.0}', (item,))
    assert json.loads(body)["input"][0]["content"][0]["text"] == "\ud83d"
    assert context([stored(input=(), response=half)]) == (item,)
    assert responses.with_ids((item,), "resp_1")[0]["content"][0]["text"] == "\ud83d"
    assert number_of(b'data: {"delta":"\\ud83d","sequence_number":7}\n\n') == 7


def test_other_members_can_be_replaced():
    body = continued(b'{"a":1,"stream":true}', (), stream=None, background=False)

    assert json.loads(body) == {"a": 1, "background": False}


def test_without_a_past_the_input_stays_as_it_is():
    assert continued(b'{"input":"x"}', ()) == b'{"input":"x"}'


def test_the_output_of_no_call():
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    good = {"type": "function_call_output", "call_id": "c1", "output": "1"}
    wrong = {**good, "call_id": "c2"}

    responses.require_calls(items(call), items(good))
    responses.require_calls((), items(call, good))
    with pytest.raises(
        ClientError, match="No tool call found for function call output with call_i"
    ):
        responses.require_calls(items(call), items(wrong))


# ---- what is shown


def test_items_have_ids_that_stay():
    listed = responses.with_ids(
        items(user("a"), said("b"), {"type": "function_call_output", "call_id": "c", "output": ""}),
        "resp_7",
    )

    assert [each["id"] for each in listed] == ["msg_70000", "msg_1", "fco_70002"]
    assert listed[0]["content"] == [{"type": "input_text", "text": "a"}]
    assert listed[0]["type"] == "message"
    assert listed[1]["content"][0]["text"] == "b"


ROWS = [{"id": f"msg_{n}"} for n in range(5)]


@pytest.mark.parametrize(
    "query, ids, more",
    [
        ({}, "43210", False),
        ({"order": "asc"}, "01234", False),
        ({"limit": "2"}, "43", True),
        ({"limit": "2", "after": "msg_3"}, "21", True),
        ({"limit": "2", "after": "msg_3", "order": "asc"}, "4", False),
        ({"after": "msg_0"}, "", False),
        ({"include": "reasoning.encrypted_content"}, "43210", False),
    ],
)
def test_pages(query, ids, more):
    found = responses.page(ROWS, query)

    assert [each["id"] for each in found["data"]] == [f"msg_{n}" for n in ids]
    assert found["has_more"] is more
    assert found["first_id"] == (f"msg_{ids[0]}" if ids else None)
    assert found["last_id"] == (f"msg_{ids[-1]}" if ids else None)


@pytest.mark.parametrize(
    "query", [{"order": "up"}, {"limit": "0"}, {"limit": "101"}, {"limit": "²"}, {"after": "x"}]
)
def test_pages_that_cannot_be(query):
    with pytest.raises(ClientError):
        responses.page(ROWS, query)


def test_an_empty_list():
    assert responses.page([], {})["data"] == []


@pytest.mark.parametrize(
    "query, number",
    [
        ({}, None),
        ({"stream": "false"}, None),
        ({"stream": "true"}, -1),
        ({"stream": "true", "starting_after": "12"}, 12),
    ],
)
def test_where_a_stream_is_taken_up(query, number):
    assert responses.starting_after(query) == number


@pytest.mark.parametrize(
    "query", [{"starting_after": "1"}, {"stream": "true", "starting_after": "x"}]
)
def test_where_it_cannot_be(query):
    with pytest.raises(ClientError):
        responses.starting_after(query)


# ---- streams


def recorded():
    return recording(BACKGROUND).body


@pytest.mark.parametrize("size", [7, 100_000])
def test_a_stream_is_kept_byte_for_byte(size):
    stream = recorded() * 20
    log = EventLog()
    for at in range(0, len(stream), size):
        log.add(stream[at : at + size])

    blocks = log.whole()
    assert log.read() == EventLog(blocks).read() == stream
    assert sum(map(len, blocks)) < len(stream) / 8


def test_a_stream_that_is_too_long_is_not_kept():
    log = EventLog()
    for _ in range(AT_MOST // 2**20 + 1):
        log.add(b"x" * 2**20)

    assert log.whole() == []


def test_it_goes_on_after_any_event():
    stream = recorded()
    whole = [frame + b"\n\n" for frame in stream.split(b"\n\n")[:-1]]

    assert [number_of(frame) for frame in whole] == [*range(len(whole))]
    for number in range(-1, len(whole) + 1):
        assert after(stream, number) == b"".join(whole[number + 1 :])


def test_comments_have_no_number():
    first = b'data: {"sequence_number":0}\n\n'
    rest = b': ping\n\ndata: {"sequence_number":1}\n\n'

    assert after(first + rest, 0) == rest.partition(b"\n\n")[2]
    assert number_of(b": ping\n\n") is None
    assert number_of(b"data: [DONE]\n\n") is None


# ---- those that nobody waits for


QUEUED = {"id": "resp_b", "object": "response", "created_at": 5, "status": "queued", "output": []}


def events(frames):
    return [orjson.loads(line[6:]) for line in frames.splitlines() if line.startswith(b"data: ")]


def of_stream(kind, **response):
    return {"type": kind, "sequence_number": 99, "response": {"id": "resp_x", **response}}


def test_a_background_response_from_its_beginning_to_its_end():
    one = Background(QUEUED)
    frames = one.begin()
    frames += one.take(of_stream("response.created", status="in_progress"))
    frames += one.take(of_stream("response.in_progress", status="in_progress"))
    assert one.status == "in_progress"
    frames += one.take({"type": "response.output_text.delta", "delta": "x", "sequence_number": 2})
    frames += one.take(of_stream("response.completed", status="completed", output=[said("x")]))

    told = events(frames)
    assert [each["sequence_number"] for each in told] == [0, 1, 2, 3, 4]
    assert [each["type"].removeprefix("response.") for each in told] == [
        "created",
        "queued",
        "in_progress",
        "output_text.delta",
        "completed",
    ]
    assert {each["response"]["id"] for each in told if "response" in each} == {"resp_b"}
    assert one.response["background"] is True
    assert one.response["created_at"] == 5
    assert (one.status, one.ended) == ("completed", True)


@pytest.mark.parametrize("end", ["cancel", "fail"])
def test_nothing_follows_its_end(end):
    one = Background(QUEUED)
    one.begin()
    last = one.cancel() if end == "cancel" else one.fail("server_error", "no luck")

    assert events(last)[0]["response"]["status"] == {"cancel": "cancelled", "fail": "failed"}[end]
    for more in (
        one.cancel(),
        one.fail("x", "y"),
        one.take(of_stream("response.completed", status="completed")),
        one.take({"type": "response.output_text.delta", "delta": "x"}),
    ):
        assert more == b""


def test_its_stream_is_like_the_recorded_one():
    one = Background(QUEUED)
    kinds = [each["type"] for each in events(one.begin())]

    assert kinds == [each["type"] for each in events(recorded())][:2]
