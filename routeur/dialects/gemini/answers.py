"""Answers of Gemini's generateContent and streamGenerateContent, also on Vertex AI.

Source of truth: GenerateContentResponse in generative_service.proto, and recordings. Each frame of
a stream is a whole response with the next parts; nothing says that it was the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson

from routeur.dialects import exact, gemini, sse
from routeur.dialects.array import Elements
from routeur.dialects.base import Json
from routeur.dialects.gemini import NAME
from routeur.dialects.gemini.candidates import Candidate
from routeur.dialects.gemini.writer import EventWriter, write_error, write_response
from routeur.dialects.loose import either, items, members, string
from routeur.dialects.neutral import BROKE_OFF, Fault, Response, Stop
from routeur.dialects.neutral.collect import collect
from routeur.dialects.neutral.events import (
    Done,
    Event,
    Failed,
    MetaUpdate,
    Start,
    Stopped,
    UsageUpdate,
)
from routeur.dialects.refusals import error_of, refusal_of, retry_after, status_of

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

STREAM_TYPE = "text/event-stream"

_KEY_INVALID = "API_KEY_INVALID"  # said with a 400
_WHITE = b" \t\r\n"  # as JSON has it
_LINE_ENDS = (b"\n", b"\r", b"}")


class Frames:
    """Cuts a stream of either form: events, or the elements of a JSON array.

    Google leaves out the blank line after the last event, and writes errors without `data:`. So
    what is whole without that line is a frame, too; the line then makes an empty one.
    """

    __slots__ = ("_cutter", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._cutter: sse.Frames | Elements | None = None

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that this chunk completes."""
        if self._cutter is None:
            chunk = (self.rest + chunk).removeprefix(sse.BOM)
            self.rest = chunk
            if not chunk.strip():
                return []
            self._cutter = Elements() if chunk.lstrip(_WHITE)[:1] == b"[" else sse.Frames()
        frames = self._cutter.feed(chunk)
        rest = self._cutter.rest
        if rest.endswith(_LINE_ENDS) and not rest.isspace() and _parsed(rest) is not None:
            frames.append(rest)
            rest = self._cutter.rest = b""
        self.rest = rest
        return frames


class EventReader:
    """Reads one stream. `model` is what to say where the answer names none."""

    __slots__ = ("_blocked", "_candidates", "_id", "_model", "_over", "_tier", "_usage")

    def __init__(self, model: str) -> None:
        self._model = model
        self._id: str | None = None  # None: nothing has come
        self._candidates: dict[int, Candidate] = {}
        self._blocked: Stop | None = None
        self._usage: Json = {}
        self._tier = ""
        self._over = False

    def read(self, frame: bytes) -> list[Event]:
        """The events of one whole frame."""
        found: list[Event] = []
        document = _parsed(frame)
        for each in document if isinstance(document, list) else (document,):
            if isinstance(each, dict) and not self._over:
                self.take(each, found)
        return found

    def take(self, document: Json, found: list[Event]) -> None:
        """Add the events of one response that has been parsed."""
        if document.get("error"):
            found.append(Failed(fault_of(document)))
            self._over = True
            return
        usage = members(either(document, "usageMetadata", "usage_metadata"))
        if self._id is None:
            self._start(document, found)
        elif usage and usage != self._usage and (known := gemini.usage(document)):
            found.append(UsageUpdate(known))
        if usage:
            self._usage = usage
            if (tier := _tier(usage)) and tier != self._tier:
                self._tier = tier
                found.append(MetaUpdate(service_tier=tier))
        if feedback := either(document, "promptFeedback", "prompt_feedback"):
            self._blocked = _blocked(members(feedback)) or self._blocked
        for position, each in enumerate(items(document.get("candidates"))):
            if isinstance(each, dict):
                self._candidate(each, position).take(each, found)

    def end(self) -> list[Event]:
        """The bytes are over: without a reason to have ended, the answer is not whole."""
        return self.close(whole=False)

    def close(self, *, whole: bool) -> list[Event]:
        """The events that end the stream; `whole`: it cannot have been cut."""
        if self._over:
            return []
        self._over = True
        found: list[Event] = []
        choices = list(self._candidates.values())
        if choices and (whole or all(each.finish for each in choices)):
            for each in choices:
                each.end(found)
        elif self._blocked and not choices:
            found.append(Stopped(self._blocked))
        else:
            return [Failed(BROKE_OFF)]
        return [*found, Done()]

    def _start(self, document: Json, found: list[Event]) -> None:
        self._id = string(either(document, "responseId", "response_id"))
        usage = gemini.usage(document)
        self._tier = _tier(members(either(document, "usageMetadata", "usage_metadata")))
        model = string(either(document, "modelVersion", "model_version")) or self._model
        found.append(Start(NAME, self._id, model, _created(document), usage, self._tier))

    def _candidate(self, each: Json, position: int) -> Candidate:
        number = each.get("index", position)
        if type(number) is not int or not 0 <= number < 1000:
            number = position
        found = self._candidates.get(number)
        if found is None:
            found = self._candidates[number] = Candidate(number, self._id or "")
        return found


def read_response(body: Json, model: str) -> Response:
    """A whole answer. It has an `error` where a 200 holds one."""
    reader = EventReader(model)
    found: list[Event] = []
    reader.take(body, found)
    response = collect(found + reader.close(whole=True))
    return response if response.dialect else _without_start(response)


def _without_start(response: Response) -> Response:
    return Response(NAME, error=response.error)


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """An error answer, whatever it is made of."""
    document = _parsed(body)
    if isinstance(document, list):
        document = document[0] if document else None
    return fault_of(members(document), status, headers)


def fault_of(document: Json, status: int = 0, headers: Mapping[str, str] | None = None) -> Fault:
    """The error in a document; `status` 0: it says itself which one it is."""
    error = error_of(document)
    status = status or status_of(document)
    refusal = refusal_of(NAME, status, document)
    if refusal.code == _KEY_INVALID:
        status = 401
    message = string(error.get("message")) or string(document.get("error"))
    if not message:
        message = f"the provider answered {status} and did not say why"
    wait = retry_after(headers or {})
    kind = string(error.get("status"))
    return Fault(
        status,
        message,
        kind,
        refusal.code if refusal.code and not refusal.code.isdecimal() else "",
        retry_after=refusal.wait if wait is None else wait,
    )


def _parsed(frame: bytes) -> object:
    """The JSON of a frame, with or without `data:`; None if it is none."""
    data = frame[6:] if frame.startswith(b"data: ") else frame
    if b'"function' not in data:  # a call's arguments may be integers of any size
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    data = sse.data(frame) or frame
    if not data or data.isspace():
        return None
    try:
        return exact.loads(data)
    except ValueError:
        return None


def _blocked(feedback: Json) -> Stop | None:
    """Why there are no candidates."""
    reason = string(either(feedback, "blockReason", "block_reason"))
    if not reason:
        return None
    detail = string(either(feedback, "blockReasonMessage", "block_reason_message"))
    return Stop("content_filter", raw=reason, detail=detail)


def _tier(usage: Json) -> str:
    return string(either(usage, "serviceTier", "service_tier")).lower()


def _created(document: Json) -> int:
    """Vertex AI says when it began."""
    try:
        return int(datetime.fromisoformat(string(document.get("createTime"))).timestamp())
    except ValueError:
        return 0
