"""Turns over one WebSocket: which begins when, what is remembered, what the client is told."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routeur import lanes
from routeur.errors import ClientError, RouteurError
from routeur.lanes import IN_FLIGHT, NAMED, WAITING, Lanes, Misread, Refusal, Turn, error_event

MAX_BODY = 1 << 20


def create(**more):
    told = {"type": "response.create", "model": "m", "input": "Hi", **more}
    return orjson.dumps({name: each for name, each in told.items() if each is not None})


def misread(known, message):
    with pytest.raises(Misread) as caught:
        known.take(message)
    return caught.value


def message(text):
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }


def last(id, *, status="completed", output=None):
    response = {
        "id": id,
        "status": status,
        "output": [message("Yes")] if output is None else output,
    }
    told = {"type": f"response.{status}", "response": response, "sequence_number": 3}
    return orjson.dumps(told)


def play(known, *, id="resp_1", event=None, **more):
    """A turn from its message to its end; what it sends."""
    turn = known.take(create(**more))
    assert known.ready() == [turn]
    known.begin(turn)
    sent = turn.take(event or last(id))
    known.learn(turn)
    known.over(turn)
    return turn, sent


def texts(turn):
    """What was said in a turn's body."""
    said = orjson.loads(turn.raw)["input"]
    return [each["content"] if isinstance(each, dict) else each for each in said]


@pytest.fixture
def known():
    return Lanes(MAX_BODY)


# ---- messages


def test_a_message_becomes_the_body_of_a_post(known):
    text = b'{"type":"response.create","stream_id":"a.1","generate":true,"model":"m","n":1.0,'
    text += b'"stream":false,"background":false,"big":123456789012345678901234,"store":null}'

    turn = known.take(text)

    assert turn.raw == (
        b'{"model":"m","n":1.0,"big":123456789012345678901234,"store":null,"stream":true}'
    )
    assert (turn.lane, turn.store, turn.generate, turn.previous) == ("a.1", True, True, "")


@pytest.mark.parametrize(
    "text, code, param",
    [
        (b"{", "invalid_json", None),
        (b"\xff", "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b'{"type":"response.create","model":"a","model":"b"}', "invalid_request", "model"),
        (b"{}", "invalid_request", "type"),
        (b'{"type":["response.create"]}', "invalid_request", "type"),
        (b'{"type":"response.cancel"}', "invalid_request", "type"),
        (create(background=True), "unsupported_parameter", "background"),
        (create(generate="no"), "invalid_request", "generate"),
        (create(store=0), "invalid_request", "store"),
        (create(previous_response_id=["x"]), "invalid_request", "previous_response_id"),
        (create(stream_id=""), "invalid_stream_id", "stream_id"),
        (create(stream_id="a b"), "invalid_stream_id", "stream_id"),
        (create(stream_id="a\n"), "invalid_stream_id", "stream_id"),
        (create(stream_id=1), "invalid_stream_id", "stream_id"),
        (create(stream_id="x" * 257), "invalid_stream_id", "stream_id"),
    ],
)
def test_messages_that_are_no_turns(known, text, code, param):
    error = misread(known, text).error

    assert (error.status, error.code, error.param) == (400, code, param)
    assert known.idle


def test_named_lanes_count_for_the_life_of_the_connection(known):
    for number in range(NAMED):
        play(known, stream_id=f"lane-{number}")

    play(known, stream_id="lane-0")
    refused = misread(known, create(stream_id="one-more"))
    assert refused.error.code == "websocket_stream_limit_reached"
    assert refused.lane is None
    play(known)


def test_a_refused_message_names_no_lane(known):
    for number in range(NAMED + 5):
        misread(known, create(stream_id=f"lane-{number}", background=True))

    assert misread(known, create(stream_id="a", background=True)).lane == "a"
    play(known, stream_id="lane-0")


# ---- which begins when


def test_turns_of_a_lane_follow_each_other(known):
    first, second, other = (known.take(create(stream_id=lane)) for lane in "aab")

    assert known.ready() == [first, other]
    assert known.ready() == []
    known.over(first)
    assert known.ready() == [second]


def test_without_a_name_there_is_one_lane(known):
    first, second = known.take(create()), known.take(create())

    assert known.ready() == [first]
    known.over(first)
    assert known.ready() == [second]


def test_the_seventeenth_waits(known):
    turns = [known.take(create(stream_id=str(number))) for number in range(IN_FLIGHT + 2)]

    assert known.ready() == turns[:IN_FLIGHT]
    known.over(turns[5])
    assert known.ready() == [turns[IN_FLIGHT]]
    assert known.ready() == []


def test_too_many_wait(known):
    for _ in range(WAITING):
        known.take(create())

    refused = misread(known, create(stream_id="a"))
    assert (refused.error.status, refused.error.code) == (429, "rate_limit_exceeded")
    assert refused.lane == "a"
    known.ready()
    known.take(create())


def test_what_waits_is_not_larger_than_a_body():
    known = Lanes(1000)
    known.take(create(input="x" * 990))

    assert misread(known, create(input="y" * 100)).error.status == 429
    known.ready()
    known.take(create(input="y" * 100))


# ---- what is remembered


def test_a_response_that_is_not_stored_is_continued(known):
    play(known, store=False)
    turn, _ = play(known, id="resp_2", store=False, previous_response_id="resp_1", input="More")
    third, _ = play(known, store=True, previous_response_id="resp_2", input="Again")

    assert texts(turn) == ["Hi", message("Yes")["content"], "More"]
    assert "previous_response_id" not in orjson.loads(turn.raw)
    assert len(texts(third)) == 5


def test_lanes_can_fork(known):
    play(known, store=False, stream_id="a")
    left, _ = play(known, id="resp_2", store=False, stream_id="b", previous_response_id="resp_1")
    right, _ = play(known, id="resp_3", store=False, stream_id="c", previous_response_id="resp_1")

    assert texts(left) == texts(right)


def test_what_others_keep_is_theirs(known):
    """A stored one is not remembered here: it may be deleted, or its provider know more of it."""
    play(known, store=True)
    turn, _ = play(known, store=False, id="resp_2", previous_response_id="resp_1", input="More")
    body = orjson.loads(turn.raw)
    assert (body["previous_response_id"], body["input"]) == ("resp_1", "More")

    later, _ = play(known, store=False, id="resp_3", previous_response_id="resp_2", input="End")
    assert orjson.loads(later.raw)["previous_response_id"] == "resp_1"
    assert texts(later) == ["More", message("Yes")["content"], "End"]


@pytest.mark.parametrize("how", ["failed", "refused", "cut"])
def test_a_failed_continuation_is_forgotten(known, how):
    play(known, store=False)
    turn = known.take(create(store=False, previous_response_id="resp_1"))
    known.ready()
    known.begin(turn)
    if how == "failed":
        turn.take(last("resp_2", status="failed"))
        known.learn(turn)
    elif how == "cut":
        turn.take(b'{"type":"response.created"}')
        assert b"broke off" in turn.end()
    known.over(turn)

    assert "resp_1" not in known._answers
    assert "resp_2" not in known._answers


def test_the_output_of_no_call_fails_the_continuation(known):
    play(known, store=False)
    wrong = [{"type": "function_call_output", "call_id": "nobody", "output": "1"}]
    turn = known.take(create(store=False, previous_response_id="resp_1", input=wrong))
    known.ready()
    with pytest.raises(ClientError, match="No tool call found"):
        known.begin(turn)
    known.over(turn)

    assert "resp_1" not in known._answers


def test_a_conversation_has_an_end():
    known = Lanes(2000)
    play(known, store=False, input="x" * 1500)
    turn = known.take(create(previous_response_id="resp_1", input="x" * 1000))
    known.ready()

    with pytest.raises(ClientError, match="too long"):
        known.begin(turn)


def test_memory_has_an_end(known, monkeypatch):
    monkeypatch.setattr(lanes, "REMEMBERED", 3)
    for number in range(5):
        play(known, id=f"resp_{number}", store=False)
    assert [*known._answers] == ["resp_2", "resp_3", "resp_4"]

    monkeypatch.setattr(lanes, "REMEMBERED_SIZE", 500)
    play(known, id="resp_9", store=False, input="x" * 600)
    assert "resp_9" in known._answers
    assert "resp_4" not in known._answers


def test_reasoning_that_nobody_can_read_again_is_left_out(known):
    bare = {"type": "reasoning", "id": "rs_1", "summary": []}
    sealed = {**bare, "encrypted_content": "x"}
    play(known, store=False, event=last("resp_1", output=[bare, sealed, message("Yes")]))
    turn, _ = play(known, previous_response_id="resp_1")

    kinds = [each.get("type") for each in orjson.loads(turn.raw)["input"]]
    assert kinds == ["message", "reasoning", "message", "message"]
    assert orjson.loads(turn.raw)["input"][1]["encrypted_content"] == "x"


def test_to_warm_up(known):
    turn = known.take(create(generate=False, store=True))
    known.ready()
    known.begin(turn)
    sent = [
        orjson.loads(each)
        for each in turn.warm({"id": "resp_w", "status": "completed", "output": []})
    ]
    known.learn(turn)
    known.over(turn)

    assert [each["type"] for each in sent] == ["response.created", "response.completed"]
    assert [each["sequence_number"] for each in sent] == [0, 1]
    assert [each["response"]["status"] for each in sent] == ["in_progress", "completed"]
    after, _ = play(known, previous_response_id="resp_w", input="Go")
    assert texts(after) == ["Hi", "Go"]


# ---- what the client is told


def test_events_say_their_lane():
    data = b'{"type":"response.output_text.delta","delta":"\\"type\\":\\"error\\""}'

    assert Turn(None, b"").take(data) == [data]
    assert Turn("a", b"").take(data + b"\n") == [data[:-1] + b',"stream_id":"a"}']


def test_an_error_is_said_once():
    """A stream says it twice; clients of a WebSocket take the first for the end of the turn."""
    error = b'{"type":"error","code":"x","message":"m","param":null,"sequence_number":1}'
    turn = Turn("a", b"")

    assert turn.take(error) == []
    (sent,) = turn.take(last("resp_1", status="failed"))
    assert orjson.loads(sent)["type"] == "response.failed"
    assert turn.end() == b""


def test_half_a_character():
    half = b'{"type":"response.completed","response":{"id":"resp_1","output":[{"x":"\\ud83d"}]}}'
    turn = Turn(None, b"")

    assert turn.take(half) == [half]
    assert b"\\ud83d" in turn.output[0]


def test_an_error_that_is_the_end():
    turn = Turn("a", b"")
    turn.take(b'{"type":"response.created"}')
    turn.take(b'{"type":"error","error":{"code":"c","message":"m","type":"t"}}')

    assert orjson.loads(turn.end()) == {
        "type": "error",
        "status": 500,
        "sequence_number": 1,
        "stream_id": "a",
        "error": {"code": "c", "message": "m", "type": "t", "param": None},
    }


def test_the_shape_of_an_error():
    ours = error_event(lanes.time_is_up())
    theirs = error_event(Refusal(429, {"code": "verbatim", "message": "m", "more": 1}), "b", 4)

    assert orjson.loads(ours)["error"]["code"] == "websocket_connection_limit_reached"
    assert "stream_id" not in orjson.loads(ours)
    assert orjson.loads(theirs) == {
        "type": "error",
        "status": 429,
        "sequence_number": 4,
        "stream_id": "b",
        "error": {"code": "verbatim", "message": "m", "type": None, "param": None},
    }
    assert orjson.loads(error_event(RouteurError("internal error")))["status"] == 500


# ---- all of it, in any order

NAMES = st.sampled_from([None, "a", "b", "c", "d"])


class Connections(RuleBasedStateMachine):
    """Clients that continue, fork, fail and connect again, against a plain model."""

    def __init__(self):
        super().__init__()
        self.reconnect()
        self.count = 0

    @rule()
    def reconnect(self):
        self.known = Lanes(MAX_BODY)
        self.waiting, self.running, self.names = [], [], set()
        self.memory = {}  # texts of a conversation, by the id of its last response
        self.texts = {}  # of turns

    @rule(lane=NAMES, store=st.booleans(), pick=st.integers(0, 9), miss=st.booleans())
    def send(self, lane, store, pick, miss):
        ids = [*self.memory]
        previous = "resp_missing" if miss else ids[pick % len(ids)] if ids else None
        text = f"text {len(self.texts)}"
        turn = self.known.take(
            create(stream_id=lane, store=store, previous_response_id=previous, input=text)
        )
        self.texts[turn] = text
        self.waiting.append(turn)

    @rule()
    def start(self):
        expected = []
        for turn in self.waiting:
            busy = {each.lane for each in self.running + expected}
            if turn.lane not in busy and len(self.running + expected) < IN_FLIGHT:
                expected.append(turn)
        begun = self.known.ready()
        assert begun == expected
        for turn in begun:
            self.waiting.remove(turn)
            self.running.append(turn)
            self.known.begin(turn)
            body = orjson.loads(turn.raw)
            before = self.memory.get(turn.previous)
            if before is None:
                assert body.get("previous_response_id", "") == turn.previous
                assert body["input"] == self.texts[turn]
            else:
                base, said = before
                told = [each["content"] for each in body["input"]]
                assert [each if isinstance(each, str) else "!" for each in told] == [
                    *said,
                    self.texts[turn],
                ]
                assert body.get("previous_response_id", "") == base

    @precondition(lambda self: self.running)
    @rule(pick=st.integers(0, 9), how=st.sampled_from(["completed", "failed", "cut"]))
    def finish(self, pick, how):
        turn = self.running.pop(pick % len(self.running))
        self.count += 1
        id = f"resp_{self.count}"
        # What was said before is what it was when the turn began.
        said = [orjson.loads(each)["content"] for each in turn.said]
        conversation = turn.base, [each if isinstance(each, str) else "!" for each in said]
        if how != "cut":
            turn.take(last(id, status=how))
            self.known.learn(turn)
        self.known.over(turn)
        if how != "completed":
            self.memory.pop(turn.previous, None)
        elif not turn.store:
            self.memory[id] = conversation[0], [*conversation[1], "!"]

    @invariant()
    def the_same_is_remembered(self):
        assert {*self.known._answers} == {*self.memory}
        assert self.known.idle == (not self.waiting and not self.running)
        assert len(self.running) <= IN_FLIGHT
        lanes_of_running = [turn.lane for turn in self.running]
        assert len(lanes_of_running) == len({*lanes_of_running})


TestConnections = Connections.TestCase
TestConnections.settings = settings(max_examples=40, deadline=None)
