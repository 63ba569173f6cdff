"""What every dialect's translators keep to, on every recording and every ordered pair."""

from __future__ import annotations

import orjson
import pytest

from routeur.dialects.neutral import Fault
from routeur.dialects.neutral.aim import Untranslatable
from routeur.dialects.neutral.collect import collect, events_of
from routeur.dialects.neutral.events import Done, Failed
from routeur.dialects.translate import TRANSLATORS
from tests.recording import Recording
from tests.translations import (
    NO_CUTS,
    again,
    caller,
    canonical,
    check_order,
    dialect_of,
    is_sayable,
    read,
    read_request,
    read_whole,
    recorded_events,
    requests,
    said,
    streams,
    wholes,
    write,
    write_request,
    write_whole,
)

MODELS = {
    "openai_chat": "gpt-4o",
    "openai_responses": "gpt-4.1",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro",
    "bedrock": "us.anthropic.claude-sonnet-4-5-v1:0",
}
TARGETS = sorted(TRANSLATORS)


# ── requests


@pytest.mark.parametrize("each", requests(), ids=str)
def test_a_request_there_and_back(each: Recording) -> None:
    """Written in its own dialect it says the same, extras included."""
    dialect = str(dialect_of(each))
    request = read_request(each)

    body = write_request(request, dialect, request.model)

    assert canonical(again(dialect, body, request.model, request.stream)) == canonical(request)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("each", requests(), ids=str)
def test_a_request_in_every_dialect(each: Recording, target: str) -> None:
    """It is written, and can be read again with nothing lost on the way back; or is refused."""
    request = read_request(each)
    try:
        body = write_request(request, target, MODELS[target])
    except Untranslatable as refused:
        assert refused.field
        return
    written = again(target, body, MODELS[target], request.stream)
    assert again(
        target, write_request(written, target, MODELS[target]), MODELS[target], request.stream
    )
    if request.tool_choice is None or request.tool_choice.mode != "none":
        assert len(written.tools) == len(request.tools)


# ── streams


@pytest.mark.parametrize("each", streams(), ids=str)
def test_events_are_in_order(each: Recording) -> None:
    check_order(recorded_events(each))


# Byte by byte is for the small ones.
CHUNKINGS = [
    (each, size)
    for each in streams()
    for size in (1, 7, 64, 1000)
    if size > 1 or len(each.body) <= 20_000
]


@pytest.mark.parametrize(("each", "size"), CHUNKINGS, ids=str)
def test_any_chunking(each: Recording, size: int) -> None:
    assert read(str(dialect_of(each)), each.body, size) == list(recorded_events(each))


CUTTABLE = [each for each in streams() if not each.name.endswith(NO_CUTS)]


@pytest.mark.parametrize("each", CUTTABLE, ids=str)
def test_a_cut_stream_is_no_whole_one(each: Recording) -> None:
    """Wherever it breaks off in its first half, the end is not Done."""
    dialect = str(dialect_of(each))
    for part in (0, 2, 4):
        events = read(dialect, each.body[: len(each.body) * part // 8])
        assert isinstance(events[-1], Failed), part


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("each", streams(), ids=str)
def test_a_stream_in_every_dialect(each: Recording, target: str) -> None:
    events = recorded_events(each)
    answer = collect(events)

    written = read(target, write(target, events))

    check_order(written)
    assert type(written[-1]) is type(events[-1])
    if answer.error is None and is_sayable(answer, target):
        assert said(collect(written)) == said(answer)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("each", streams(), ids=str)
def test_whole_equals_stream(each: Recording, target: str) -> None:
    """What is written of an answer says the same, in one piece and as its events."""
    answer = collect(recorded_events(each))
    if answer.error is not None or not is_sayable(answer, target):
        return
    whole = read_whole(target, write_whole(target, answer))
    streamed = collect(read(target, write(target, events_of(answer))))
    assert said(whole) == said(streamed) == said(answer)
    assert (whole.usage is None) or whole.usage == streamed.usage


# ── whole answers


@pytest.mark.parametrize("each", wholes(), ids=str)
def test_an_answer_is_its_events(each: Recording) -> None:
    answer = read_whole(str(dialect_of(each)), each.body)
    check_order(events_of(answer))
    assert collect(events_of(answer)) == answer


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("each", wholes(), ids=str)
def test_an_answer_in_every_dialect(each: Recording, target: str) -> None:
    answer = read_whole(str(dialect_of(each)), each.body)
    assert said(read_whole(target, write_whole(target, answer))) == said(answer)


# ── errors


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 502, 503, 504, 529])
def test_an_error_there_and_back(target: str, status: int) -> None:
    answers = TRANSLATORS[target].answers
    body = answers.write_error(Fault(status, "what went wrong"), "req_1")

    found = answers.read_error(status, {"content-type": "application/json"}, body)

    assert orjson.loads(body)
    assert (found.status, found.message) == (status, "what went wrong")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": ', b"[]", b"null", b"\xff", b"{}"])
def test_any_error_body_is_read(target: str, body: bytes) -> None:
    found = TRANSLATORS[target].answers.read_error(503, {}, body)
    assert found.status == 503
    assert found.message


@pytest.mark.parametrize("target", TARGETS)
def test_a_failure_within_a_stream(target: str) -> None:
    """An error in the stream is one that the dialect's own reader sees, and no clean end."""
    fault = Fault(529, "overloaded")
    writer = TRANSLATORS[target].answers.EventWriter(caller(target, stream=True))
    events = read(target, writer.write(Failed(fault)))
    assert isinstance(events[-1], Failed)
    assert "overloaded" in events[-1].fault.message
    assert Done() not in events
