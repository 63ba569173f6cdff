"""JSON that orjson does not take: integers of any size, and halves of characters."""

from __future__ import annotations

import orjson
import pytest

from routeur.dialects import FAMILIES
from routeur.dialects.exact import dumps, encoded, is_plain, loads
from routeur.dialects.neutral import (
    ANTHROPIC,
    GEMINI,
    Audio,
    Choice,
    Citation,
    Fault,
    Image,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Response,
    Stop,
    Text,
    Thinking,
    ToolCall,
)
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.collect import events_of
from routeur.dialects.neutral.media import arguments_json, arguments_text
from routeur.dialects.translate import TRANSLATORS

LONG = 123456789012345678901234567890
HALF = "\ud83d"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": 1.0, "b": 1}', {"a": 1.0, "b": 1}),
        (b'{"a": 123456789012345678901234567890}', {"a": LONG}),
        (rb'"x\ud83dy"', "x\ud83dy"),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'["\ud83d", 123456789012345678901234567890]', [HALF, LONG]),
    ],
)
def test_values(text: bytes, value: object) -> None:
    found = loads(text)
    assert found == value
    assert loads(dumps(found)) == value
    assert type(loads(b"1.0")) is float


@pytest.mark.parametrize(
    "text", [b"", b"{", b"NaN", rb'{"\ud83d', b"\xff", b"[" * 100_000 + rb'"\u0000"' + b"0" * 20]
)
def test_no_json(text: bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)


def test_fragments_beside_what_orjson_does_not_take() -> None:
    value = {"a": orjson.Fragment('{"x": 1.0}'), "b": LONG, "c": HALF}
    assert loads(dumps(value)) == {"a": {"x": 1.0}, "b": LONG, "c": HALF}
    with pytest.raises(TypeError):
        dumps(object())


@pytest.mark.parametrize("before", [0, 5, 2**20 - 30, 2**20 - 19, 2**20 - 1, 2**20, 2**21 - 30])
def test_long_integers_are_seen_wherever_they_stand(before: int) -> None:
    assert not is_plain(b"x" * before + b"1" * 20 + b"x" * 2**20)
    assert is_plain(b"x" * before + b"1" * 19 + b"x" * 2**20)


def test_both_halves_make_a_character() -> None:
    assert loads(dumps(loads(rb'"\ud83d"') + loads(rb'"\ude00"'))) == "😀"


def test_halves_in_arguments() -> None:
    """As the string that a model wrote, and as a value."""
    said = '{"a":"' + HALF + '"}'
    assert loads(dumps(arguments_json(said))) == {"a": HALF}
    assert arguments_text({"a": HALF}) == rb'{"a":"\ud83d"}'.decode()
    assert loads(encoded(said)) == {"a": HALF}


@pytest.mark.parametrize("name", TRANSLATORS)
def test_halves_in_errors(name: str) -> None:
    fault = Fault(400, f"what is {HALF}?", type=HALF, code=HALF, param=HALF)
    assert b"\\ud83d" in TRANSLATORS[name].answers.write_error(fault, "req_1")


@pytest.mark.parametrize("name", FAMILIES)
def test_halves_in_errors_of_our_own(name: str) -> None:
    written = FAMILIES[name].write_error(
        400, f"no model {HALF}", type="t", code="c", param=HALF, request_id="r"
    )
    assert b"\\ud83d" in written


@pytest.mark.parametrize("source", TRANSLATORS)
@pytest.mark.parametrize("target", TRANSLATORS)
def test_halves_fail_no_writer(source: str, target: str) -> None:
    """Wherever they stand in an answer."""
    citation = Citation(HALF, HALF, HALF, text_start=0, text_end=1)
    blocks = (
        Reasoning(HALF, (HALF,), HALF, HALF, ANTHROPIC, HALF),
        Text(HALF, (citation,), HALF, GEMINI),
        Refusal(HALF),
        Audio(HALF, "wav", HALF, HALF),
        ToolCall(HALF, HALF, '{"a":"' + HALF + '"}', signature=HALF, origin=GEMINI, item_id=HALF),
        ToolCall(HALF, HALF, HALF, "custom"),
        Opaque(target, {"type": HALF, HALF: HALF}),
        Image(data="aGk=", media_type=f"image/{HALF}"),
    )
    tokens = ({"token": HALF, "logprob": 0.0, "bytes": None, "top_logprobs": []},)
    choice = Choice(blocks, Stop("stop_sequence", HALF, HALF, HALF), tokens)
    answer = Response(source, HALF, HALF, 1, (choice,), service_tier=HALF, fingerprint=HALF)
    asking = Request(target, HALF, (), logprobs=True, thinking=Thinking("on", show=True))
    caller = Caller(asking, "x" * 24, 1)

    assert TRANSLATORS[target].answers.write_response(answer, caller)
    writer = TRANSLATORS[target].answers.EventWriter(caller)
    written = b"".join(map(writer.write, events_of(answer)))
    assert rb"\ud83d" in written
