"""Answers of the Responses API, to and from the neutral form."""

from __future__ import annotations

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import Block, Choice, Fault, Opaque, Refusal, Response, ToolCall
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.collect import events_of
from routeur.dialects.openai_chat.errors import read_error, read_fault, write_error
from routeur.dialects.openai_responses import NAME, usage
from routeur.dialects.openai_responses.items import (
    CALLS,
    IMAGE,
    message_of,
    read_call,
    read_image,
    read_output_part,
    read_reasoning,
)
from routeur.dialects.openai_responses.reader import EventReader
from routeur.dialects.openai_responses.resource import created_of, read_extra, stop_of
from routeur.dialects.openai_responses.writer import EventWriter
from routeur.dialects.sse import Frames

NO_RESPONSE = Fault(502, "the provider's answer is no response")

__all__ = [
    "STREAM_TYPE",
    "EventReader",
    "EventWriter",
    "Frames",
    "read_error",
    "read_response",
    "write_error",
    "write_response",
]

STREAM_TYPE = "text/event-stream; charset=utf-8"


def read_response(body: Json, model: str) -> Response:
    """A whole answer. It has an `error` where the provider failed after all."""
    output = [members(each) for each in items(body.get("output"))]
    blocks = [block for item in output for block in _blocks(item)]
    called = any(isinstance(each, ToolCall) for each in blocks)
    refused = any(isinstance(each, Refusal) for each in blocks)
    error = None if isinstance(body.get("output"), list) else NO_RESPONSE
    if body.get("error") or body.get("status") == "failed":
        error = read_fault(body)
    return Response(
        NAME,
        id=string(body.get("id")),
        model=string(body.get("model")) or model,
        created=created_of(body),
        choices=(Choice(tuple(blocks), stop_of(body, called, refused), _logprobs(output)),),
        usage=usage(body),
        service_tier=string(body.get("service_tier")),
        error=error,
        extra=read_extra(body),
    )


def _blocks(item: Json) -> list[Block]:
    """The blocks of one output item."""
    kind = string(item.get("type"))
    if kind == "message":
        message = message_of(item)
        return [read_output_part(members(each), message) for each in items(item.get("content"))]
    if kind == "reasoning":
        return [read_reasoning(item)]
    if kind in CALLS:
        return [read_call(item)]
    return [(read_image(item) if kind == IMAGE else None) or Opaque(NAME, item)]


def _logprobs(output: list[Json]) -> tuple[Json, ...]:
    parts = [members(each) for item in output for each in items(item.get("content"))]
    found = [token for part in parts for token in items(part.get("logprobs"))]
    return tuple(each for each in found if isinstance(each, dict))


def write_response(response: Response, caller: Caller) -> bytes:
    """A whole answer: what its stream would say last."""
    writer = EventWriter(caller)
    for event in events_of(response):
        writer.write(event)
    return exact.dumps(writer.resource)
