"""Usage: from every recording, from its ends alone, and from figures that nobody should send."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest

from routeur.dialects import FORMATS, anthropic, gemini, openai_chat, openai_responses, sse
from routeur.dialects.base import Usage
from routeur.dialects.usage_tail import count_output, estimated_usage, streamed_usage
from tests.recording import Recording, everything, recording

RECORDED = [each for each in everything() if each.format and b'"usage' in each.body]
STREAMS = [each for each in RECORDED if each.streamed]


def documents(each: Recording) -> list[dict[str, Any]]:
    """The JSON of an answer, event by event."""
    if not each.streamed:
        return [orjson.loads(each.body)]
    found = []
    for frame in sse.Frames().feed(each.body + b"\n\n"):  # some files lack their end
        try:
            found.append(orjson.loads(sse.data(frame) or b"null"))
        except orjson.JSONDecodeError:
            pass
    return [doc for doc in found if isinstance(doc, dict)]


def figures(doc: dict[str, Any]) -> dict[str, Any]:
    """The recorded figures of one document, wherever its dialect has them."""
    for inner in (doc, doc.get("response"), doc.get("message"), doc.get("x_groq")):
        for name in ("usage", "usageMetadata"):
            if isinstance(inner, dict) and isinstance(inner.get(name), dict):
                found: dict[str, Any] = inner[name]
                return found
    return {}


def totals(format: str, docs: list[dict[str, Any]]) -> tuple[int, int] | None:
    """Input and output as the recording adds them up: the last that was said of each."""
    said: dict[str, Any] = {}
    for doc in docs:
        said |= figures(doc)
    if format == "gemini":
        if "promptTokenCount" not in said:
            return None
        went_in = said["promptTokenCount"] + said.get("toolUsePromptTokenCount", 0)
        return went_in, said["totalTokenCount"] - went_in
    if format == "anthropic":
        if "input_tokens" not in said:
            return None
        cached = said.get("cache_read_input_tokens", 0), said.get("cache_creation_input_tokens", 0)
        extra = [i for i in said.get("iterations", []) if i["type"] == "compaction"]
        went_in = sum(each["input_tokens"] for each in [said, *extra])
        return went_in + sum(cached), sum(each["output_tokens"] for each in [said, *extra])
    if "prompt_tokens" in said:
        return said["prompt_tokens"], said.get("completion_tokens", 0)
    return (said["input_tokens"], said["output_tokens"]) if "input_tokens" in said else None


@pytest.mark.parametrize("each", RECORDED, ids=str)
def test_recorded_figures(each: Recording) -> None:
    assert each.format
    if "parallel-tool-call-wrapper" in each.name:  # its last event lacks a brace
        expected: tuple[int, int] | None = (34, 28)
    else:
        expected = totals(each.format, documents(each))
    usage = streamed_usage(FORMATS[each.format], b"", each.body, whole=True)
    assert (usage and (usage.input_total, usage.output_total)) == expected


@pytest.mark.parametrize("each", RECORDED, ids=str)
@pytest.mark.parametrize("limit", [2000, 5000, 32 * 1024])
def test_the_ends_tell_as_much_as_the_whole(each: Recording, limit: int) -> None:
    """Also where the first frame of the tail, or the only document, is cut."""
    assert each.format
    format = FORMATS[each.format]
    whole = streamed_usage(format, b"", each.body, whole=True)
    head, tail = each.body[: 8 * 1024], each.body[-limit:]
    assert streamed_usage(format, head, tail, whole=len(each.body) <= limit) == whole


@pytest.mark.parametrize("each", STREAMS, ids=str)
def test_first_token(each: Recording) -> None:
    """No content is seen in the first event, and some later; refusals and errors have none."""
    assert each.format
    pattern = FORMATS[each.format].FIRST_TOKEN
    if each.format in ("anthropic", "openai_responses"):
        assert not pattern.search(sse.Frames().feed(each.body)[0])
    assert bool(pattern.search(each.body)) != any(
        word in each.name for word in ("refusal", "openai-error")
    )


def test_buckets_of_openai() -> None:
    usage = openai_chat.usage(
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 10},
                "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 5},
            }
        }
    )
    assert usage == Usage(
        input=30, cache_read=60, audio_in=10, output=15, reasoning=30, audio_out=5
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        # DeepSeek, before it had details
        (
            {"usage": {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4}},
            Usage(input=5, cache_read=4, output=1),
        ),
        ({"x_groq": {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}}, Usage(3, output=2)),
        # xAI: reasoning beside the output
        (
            {
                "usage": {
                    "prompt_tokens": 32,
                    "completion_tokens": 9,
                    "total_tokens": 135,
                    "completion_tokens_details": {"reasoning_tokens": 94},
                }
            },
            Usage(32, output=9, reasoning=94),
        ),
        # embeddings
        ({"data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(8)),
        # images
        (
            {
                "data": [{"b64_json": "x"}],
                "usage": {
                    "input_tokens": 50,
                    "output_tokens": 1056,
                    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
                },
            },
            Usage(input=10, image_in=40, image_out=1056),
        ),
        (
            {
                "type": "image_generation.completed",
                "usage": {
                    "input_tokens": 5,
                    "output_tokens": 30,
                    "output_tokens_details": {"image_tokens": 20, "text_tokens": 10},
                },
            },
            Usage(input=5, output=10, image_out=20),
        ),
        # transcriptions
        (
            {
                "text": "x",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
                    "output_tokens": 45,
                },
            },
            Usage(input=4, audio_in=10, output=45),
        ),
        ({"text": "x", "usage": {"type": "duration", "seconds": 9}}, None),
        (
            {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101}},
            Usage(input=14, audio_out=101),
        ),
    ],
)
def test_other_shapes_of_openai(body: dict[str, Any], expected: Usage | None) -> None:
    assert openai_chat.usage(body) == expected


def test_buckets_of_responses() -> None:
    figures = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 30},
        "output_tokens": 10,
        "output_tokens_details": {"reasoning_tokens": 4},
    }
    expected = Usage(input=50, cache_read=20, cache_write=30, output=6, reasoning=4)
    assert openai_responses.usage({"response": {"usage": figures}}) == expected
    assert openai_responses.usage({"usage": figures}) == expected
    assert openai_responses.usage({"object": "response.input_tokens", "input_tokens": 9}) is None


def test_buckets_of_anthropic() -> None:
    usage = anthropic.usage(
        {
            "usage": {
                "input_tokens": 10,
                "cache_read_input_tokens": 500,
                "cache_creation_input_tokens": 70,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 30,
                    "ephemeral_1h_input_tokens": 40,
                },
                "output_tokens": 20,
                "output_tokens_details": {"thinking_tokens": 5},
            }
        }
    )
    assert usage == Usage(
        input=10, cache_read=500, cache_write=30, cache_write_1h=40, output=15, reasoning=5
    )


def test_anthropics_stream_is_cumulative() -> None:
    """The last figures win; those that only the start has stand, and nothing counts twice."""
    start = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 70,
        "cache_creation": {"ephemeral_1h_input_tokens": 70},
        "output_tokens": 1,
    }
    deltas: list[dict[str, Any]] = [
        {"output_tokens": 5},
        {"output_tokens": 9, "input_tokens": 0, "cache_creation_input_tokens": 70},
    ]
    events = [{"type": "message_start", "message": {"usage": start}}]
    events += [{"type": "message_delta", "delta": {}, "usage": each} for each in deltas]
    stream = b"".join(b"data: %s\n\n" % orjson.dumps(each) for each in events)
    expected = Usage(input=10, cache_write_1h=70, output=9)
    assert streamed_usage(anthropic, b"", stream, whole=True) == expected
    assert streamed_usage(anthropic, stream[:200], stream[-100:], whole=False) == expected


def test_buckets_of_gemini() -> None:
    usage = gemini.usage(
        {
            "usageMetadata": {
                "promptTokenCount": 1000,
                "cachedContentTokenCount": 300,
                "toolUsePromptTokenCount": 50,
                "candidatesTokenCount": 120,
                "thoughtsTokenCount": 80,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 500},
                    {"modality": "AUDIO", "tokenCount": 200},
                    {"modality": "IMAGE", "tokenCount": 300},
                ],
                "cacheTokensDetails": [
                    {"modality": "AUDIO", "tokenCount": 100},
                    {"modality": "TEXT", "tokenCount": 200},
                ],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 100}],
            }
        }
    )
    assert usage == Usage(
        input=350,
        cache_read=300,
        audio_in=100,
        image_in=300,
        output=20,
        image_out=100,
        reasoning=80,
    )


ODD = [None, -1, "7", math.nan, math.inf, 1e18, 10**30, True, [], {}, [1], {"a": 1}]


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_figures(odd: Any) -> None:
    """They never raise, never come through, and never make a bucket negative."""
    details = {"cached_tokens": odd, "reasoning_tokens": 99, "thinking_tokens": odd}
    for first, second in [(odd, odd), (5, odd), (odd, 5), (5, 5)]:
        figures = {
            "prompt_tokens": first,
            "completion_tokens": second,
            "input_tokens": first,
            "output_tokens": second,
            "total_tokens": odd,
            "prompt_tokens_details": details,
            "input_tokens_details": odd,
            "output_tokens_details": details,
            "completion_tokens_details": details,
            "cache_creation": odd,
            "cache_read_input_tokens": odd,
            "iterations": [odd, {"type": "compaction", "input_tokens": odd}],
        }
        google = {
            "promptTokenCount": first,
            "candidatesTokenCount": second,
            "thoughtsTokenCount": odd,
            "promptTokensDetails": [
                odd,
                {"modality": "AUDIO", "tokenCount": 99},
                {"modality": odd},
            ],
        }
        body = {"usage": figures, "usageMetadata": google, "x_groq": odd, "type": odd}
        for format in FORMATS.values():
            usage = format.usage(body)
            given = [each for each in (first, second) if each is not None]
            if not given or given != [5] * len(given):  # one absurd figure: none is believed
                assert usage is None
            else:
                assert usage is not None
                assert (usage.input_total, usage.output_total) == (first or 0, second or 0)
                assert min(usage.as_dict().values()) >= 0


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_odd_bodies(odd: Any) -> None:
    for format in FORMATS.values():
        for name in ("usage", "response", "message", "usageMetadata", "x_groq"):
            assert format.usage({name: odd}) is None
            assert format.usage({name: {"usage": odd}}) is None


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"<html>502</html>",
        b"data: [DONE]\n\n",
        b'data: not json "usage"\n\n',
        b'data: {"usage": null}\n\n',
        b'{"usage": {"prompt_tokens": ',
        b'[{"usageMetadata": {}}',
        b'"usage": {' * 500,
        b"\xff\xfe",
    ],
)
def test_nothing_to_read(name: str, data: bytes) -> None:
    assert streamed_usage(FORMATS[name], b"", data, whole=True) is None
    assert streamed_usage(FORMATS[name], data, data, whole=False) is None


def test_text_about_usage_is_not_usage() -> None:
    text = '"usage": {"prompt_tokens": 666, "completion_tokens": 666}'
    frames = [
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        {"choices": [{"delta": {"content": text}}]},
    ]
    stream = b"".join(b"data: %s\n\n" % orjson.dumps(each) for each in frames)
    assert streamed_usage(openai_chat, b"", stream, whole=True) == Usage(3, output=4)
    assert streamed_usage(openai_chat, b"", stream[10:], whole=False) == Usage(3, output=4)


def test_gemini_as_an_array() -> None:
    chunks = [
        {"candidates": [], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": n}}
        for n in (1, 7)
    ]
    body = b"[" + b"\r\n,".join(map(orjson.dumps, chunks)) + b"]"
    assert streamed_usage(gemini, b"", body, whole=True) == Usage(5, output=7)
    assert streamed_usage(gemini, body[:50], body[30:], whole=False) == Usage(5, output=7)
    assert streamed_usage(gemini, b"", body[:-1], whole=True) == Usage(5, output=7)


def test_large_answers() -> None:
    """The figures of embeddings stand at the end, mostly; elsewhere they may stand first."""
    usage = {"usage": {"prompt_tokens": 8, "total_tokens": 8}}
    data = {"data": [{"embedding": [0.25] * 20_000}]}
    for body in (orjson.dumps({**data, **usage}), orjson.dumps({**usage, **data})):
        found = streamed_usage(openai_chat, body[:8192], body[-32768:], whole=False)
        assert found == Usage(8)


def test_the_estimate_of_a_broken_stream() -> None:
    """Anthropic's start says what went in; what came out is counted, and scaled."""
    start = {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 40, "output_tokens": 1}},
    }
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "eight ch"}}
    stream = b"data: %s\n\n" % orjson.dumps(start) + b"data: %s\n\n" % orjson.dumps(delta) * 1000
    whole = estimated_usage(anthropic, b"", stream, len(stream), prompt=4000)
    assert whole == Usage(input=40, output=2000)
    ends = estimated_usage(anthropic, stream[:8192], stream[-8192:], len(stream), prompt=4000)
    assert ends.input == 40
    assert 1950 <= ends.output <= 2050


def test_the_estimate_where_nothing_is_said() -> None:
    chunk = {"choices": [{"delta": {"content": " a"}}]}
    stream = b"data: %s\n\n" % orjson.dumps(chunk) * 10
    found = estimated_usage(openai_chat, b"", stream, len(stream), prompt=400)
    assert found == Usage(input=101, output=10)
    assert count_output(openai_chat.PIECE, [], 0) == 0


@pytest.mark.parametrize("name", ["anthropic-text", "openai-phase.1", "mistral-reasoning"])
def test_cut_anywhere(name: str) -> None:
    """Half a stream never raises, and its estimate is never above the figures of the whole."""
    each = recording(name)
    assert each.format
    format = FORMATS[each.format]
    for end in range(0, len(each.body), 97):
        part = each.body[:end]
        usage = estimated_usage(format, part[:8192], part[-2000:], end, prompt=0)
        assert min(usage.as_dict().values()) >= 0
