"""What all dialects' translators are tested with: recordings as neutral values, and checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import unquote

import orjson

from routeur.dialects.neutral import Message, Request, Response, Text
from routeur.dialects.neutral.aim import Aim, Caller, Losses, vendor_of
from routeur.dialects.neutral.events import (
    BlockStart,
    BlockStop,
    Done,
    Event,
    Failed,
    LogprobsDelta,
    MetaUpdate,
    OpaqueEvent,
    Ping,
    Start,
    Stopped,
    UsageUpdate,
)
from routeur.dialects.translate import TRANSLATORS
from tests.fake import split
from tests.recording import AWS, FORMATS, Recording, everything

DIALECTS = {**FORMATS, "bedrock": "bedrock", "bedrock-converse": "bedrock"}
DIALECTS.pop("openai-embeddings")
TOKEN = "x" * 24
NOW = 1_700_000_000
MOST = 4096  # what targets without a known limit may answer
_BETWEEN = (UsageUpdate, MetaUpdate, Ping, OpaqueEvent)
# Reasons that not all dialects tell apart.
_ALIKE = {
    "stop_sequence": "end",
    "pause": "end",
    "unknown": "end",
    "malformed": "end",
    "refusal": "content_filter",
}
# Recordings that no reader can take for what they claim to be, with the reason.
NO_REQUESTS: tuple[str, ...] = (
    "otel-contrib__test_generate_content_invalid_role",  # the API refused it, too
    "dd-trace-py__anthropic_completion_error",  # its message is a string: the API refused it, too
)

# Every frame of these says STOP, as Vertex AI once did: where they were cut nobody can tell. The
# last one is four answers in a row, of which the first is read.
NO_CUTS = (
    "streaming-success-utf8.txt",
    "streaming-failure-unknown-finish-enum.txt",
    "openai-reasoning-encrypted-content.1",
)


def dialect_of(each: Recording) -> str | None:
    """The dialect with whose translators a recording is read, if any is there."""
    found = DIALECTS.get(each.dialect)
    if "/openai/chat/" in each.path:
        found = "openai_chat"  # Google's own endpoint for it
    return found if found in TRANSLATORS else None


def is_stream(each: Recording) -> bool:
    return each.streamed or each.content_type.startswith(AWS)


def requests() -> list[Recording]:
    """Requests for an answer that a registered dialect reads."""
    verbs = ("/chat/completions", "/responses", "/messages", "ontent", "converse", "redict")
    return [
        each
        for each in everything()
        if dialect_of(each)
        and each.request[:1] == b"{"
        and each.method == "POST"
        and each.path.rstrip("/").endswith((*verbs, "converse-stream"))
        and not each.name.endswith(NO_REQUESTS or ("\0",))
    ]


def streams() -> list[Recording]:
    return [each for each in everything() if dialect_of(each) and is_stream(each)]


def wholes() -> list[Recording]:
    """Whole answers that went well."""
    counts = ("/count_tokens", ":countTokens", "/input_tokens")
    paths = (*counts, "/compact", "/files", "/conversations")
    return [
        each
        for each in everything()
        if dialect_of(each)
        and not is_stream(each)
        and each.status == 200
        and each.body[:1] == b"{"
        and b'"error": {' not in each.body[:200]
        and not each.path.endswith(paths)
        and "/cachedContents" not in each.path
        and "failure" not in each.name
        and "error" not in each.name
    ]


def model_of(each: Recording) -> str:
    """The model that a request names, in its body or its path."""
    if each.request[:1] == b"{" and isinstance(
        model := orjson.loads(each.request).get("model"), str
    ):
        return model
    path = unquote(each.path)
    if "/models/" in path:
        return path.partition("/models/")[2].rpartition(":")[0]
    return path.partition("/model/")[2].rpartition("/")[0] or "any-model"


def read_request(each: Recording) -> Request:
    body = orjson.loads(each.request)
    wants = bool(body.get("stream")) or "stream" in each.path.lower()
    return again(str(dialect_of(each)), each.request, model_of(each), wants)


def again(dialect: str, body: bytes, model: str, stream: bool) -> Request:
    parsed = orjson.loads(body)
    return TRANSLATORS[dialect].requests.read_request(parsed, model=model, stream=stream)


def aim_at(dialect: str, model: str) -> Aim:
    return Aim(dialect, model, vendor=vendor_of(model), max_output=MOST)


def write_request(request: Request, dialect: str, model: str, *, strict: bool = False) -> bytes:
    aim = aim_at(dialect, model)
    return TRANSLATORS[dialect].requests.write_request(request, aim, Losses(strict))


def canonical(request: Request) -> Request:
    """Without what no writer promises to keep: how adjacent texts and turns were cut."""
    messages: list[Message] = []
    for each in request.messages:
        if messages and each.role == "system" == messages[-1].role:
            blocks = messages.pop().blocks + each.blocks
            each = replace(each, blocks=blocks)
        messages.append(each)
    return replace(request, messages=tuple(messages))


def caller(dialect: str, **members: Any) -> Caller:
    """A client of this dialect that asked something simple."""
    asked = Request(dialect, "any-model", (Message("user", (Text("Hello"),)),), **members)
    return Caller(asked, TOKEN, NOW)


def read(dialect: str, stream: bytes, size: int = 1 << 20) -> list[Event]:
    """The events of a stream that comes in chunks of this size."""
    answers = TRANSLATORS[dialect].answers
    frames, reader = answers.Frames(), answers.EventReader("any-model")
    events = [
        event
        for chunk in split(stream, size)
        for frame in frames.feed(chunk)
        for event in reader.read(frame)
    ]
    return events + reader.end()


def write(dialect: str, events: Iterable[Event], **members: Any) -> bytes:
    """The stream of these events."""
    writer = TRANSLATORS[dialect].answers.EventWriter(
        caller(dialect, stream=True, include_usage=True, **members)
    )
    return b"".join(writer.write(event) for event in events)


def read_whole(dialect: str, body: bytes) -> Response:
    return TRANSLATORS[dialect].answers.read_response(orjson.loads(body), "any-model")


def write_whole(dialect: str, response: Response) -> bytes:
    return TRANSLATORS[dialect].answers.write_response(response, caller(dialect))


@cache
def recorded_events(each: Recording) -> tuple[Event, ...]:
    return tuple(read(str(dialect_of(each)), each.body))


def said(response: Response) -> list[tuple[Any, ...]]:
    """What an answer says in any dialect: text, calls, and why it ended."""
    found: list[tuple[Any, ...]] = []
    for choice in response.choices[:1]:
        text = "".join(each.text for each in choice.blocks if isinstance(each, Text))
        calls = [
            (each.name, orjson.loads(each.arguments or "{}"))
            for each in choice.blocks
            if type(each).__name__ == "ToolCall" and each.kind == "function"  # type: ignore[union-attr]
        ]
        reason = choice.stop.reason
        found.append((text, calls, _ALIKE.get(reason, reason)))
    return found


def is_sayable(response: Response, target: str) -> bool:
    """Whether the target's clients can have asked for it: custom tools are OpenAI's only."""
    kinds = {getattr(each, "kind", "") for choice in response.choices for each in choice.blocks}
    return "custom" not in kinds or target.startswith("openai")


def check_order(events: Iterable[Event]) -> None:
    """The grammar at the head of `events`: raises AssertionError where it is broken."""
    events = list(events)
    assert isinstance(events[-1], Done | Failed), "a stream ends with Done or Failed"
    begun = False
    opened: dict[tuple[int, int], bool] = {}  # (choice, index): still open
    stopped: set[int] = set()
    for event in events[:-1]:
        assert not isinstance(event, Done | Failed), "nothing follows the end"
        assert begun or isinstance(event, Start | Ping), f"{event} before Start"
        assert not (begun and isinstance(event, Start)), "Start comes once"
        begun = begun or isinstance(event, Start)
        if isinstance(event, (Start, LogprobsDelta, *_BETWEEN)):
            continue
        assert event.choice not in stopped, f"{event} after Stopped"  # type: ignore[union-attr]
        _check_block(event, opened, stopped)
    if isinstance(events[-1], Done):
        assert begun
        assert stopped, "a whole answer says why it ended"
        assert not any(opened.values())


def _check_block(event: Any, opened: dict[tuple[int, int], bool], stopped: set[int]) -> None:
    if isinstance(event, Stopped):
        mine = [key for key, still in opened.items() if still and key[0] == event.choice]
        assert not mine, "blocks are closed before Stopped"
        stopped.add(event.choice)
        return
    key = (event.choice, event.index)
    if isinstance(event, BlockStart):
        count = sum(choice == event.choice for choice, _ in opened)
        assert event.index == count, "blocks are numbered as they open"
        opened[key] = True
        return
    assert opened.get(key), f"{event} of a block that is not open"
    if isinstance(event, BlockStop):
        opened[key] = False
