"""An answer that is translated for a client of the Responses API, as it will be kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from routeur.compaction import Prepended, prepended
from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import string
from routeur.eventlog import EventLog
from routeur.responses import LINKS, Item, Stored

if TYPE_CHECKING:
    from routeur.dialects.neutral.events import Event
    from routeur.dialects.openai_responses.writer import EventWriter


@dataclass(frozen=True, slots=True)
class Recording:
    """Of one request: `new` is its input, after what was said `before`, up to `previous`; that is
    needed where the chain is long.

    `after` is the response that its client goes on from ("": none). `item`, if there is one, stands
    at the beginning of the answer. `keeps`: the answer is to be kept.
    """

    owner: str
    new: Sequence[Item] = ()
    previous: Stored | None = None
    before: Sequence[Item] = ()
    after: str = ""
    item: Json | None = None
    keeps: bool = True

    def asked(self, id: str, at: float) -> Stored:
        """The response before there is an answer: who has asked what."""
        return linked(Stored(id, self.owner, at), self.previous, self.before, self.new)


class Tape:
    """What one attempt answers: a stream, or a whole answer."""

    __slots__ = ("_log", "_recording", "_response", "_writer")

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._log = EventLog()
        self._writer: EventWriter | None = None
        self._response: Json = {}

    def through(self, writer: EventWriter) -> Callable[[Event], bytes]:
        """What writes a stream's events, and is listened to."""
        self._writer = writer
        recording, log, write = self._recording, self._log, writer.write
        first = None if recording.item is None else Prepended(recording.item)

        def recorded(event: Event) -> bytes:
            text = write(event)
            if first is not None:
                text = first.frames(text)
            if recording.keeps:
                log.add(text)
            return text

        return recorded

    def whole(self, response: bytes) -> bytes:
        """An unstreamed answer, as its client gets it."""
        recording = self._recording
        if recording.keeps or recording.item is not None:
            self._response = exact.loads(response)
        return response if recording.item is None else exact.dumps(self._told())

    def stored(self, at: float, provider: str, credential: str) -> Stored | None:
        """For the shelf, after an answer has ended well; None where it is not kept."""
        recording = self._recording
        response = self._told() if recording.keeps else {}
        id = string(response.get("id"))
        if not id:
            return None
        return replace(
            recording.asked(id, at),
            response=exact.dumps(response),
            stream=tuple(self._log.whole()),
            provider=provider,
            credential=credential,
        )

    def _told(self) -> Json:
        """The response object with what stands before the model's output."""
        response = self._response if self._writer is None else self._writer.resource
        item = self._recording.item
        return response if item is None else prepended(response, item)


def linked(
    stored: Stored, previous: Stored | None, before: Sequence[Item], new: Sequence[Item]
) -> Stored:
    """The response with what it was made of: `new` after the conversation up to `previous`, as a
    link to that or, where the chain has become long, in full. `before` is what was said in it.
    """
    if previous is None:
        return replace(stored, input=tuple(new))
    if not is_long(previous):
        depth = previous.depth + 1
        return replace(stored, input=tuple(new), previous=previous.id, depth=depth)
    return replace(stored, input=(*before, *new))


def is_long(last: Stored) -> bool:
    """Whether the next response of a chain has to keep the whole of it."""
    return last.depth + 1 >= LINKS
