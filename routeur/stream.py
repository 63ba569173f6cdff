"""The frames of one translated answer on their way through the neutral events."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from routeur.dialects.loose import foreign
from routeur.dialects.neutral import Fault
from routeur.dialects.neutral.aim import Caller
from routeur.dialects.neutral.collect import Collector
from routeur.dialects.neutral.events import (
    ArgumentsDelta,
    Event,
    Failed,
    Ping,
    ReasoningDelta,
    RefusalDelta,
    Start,
    Stopped,
    SummaryDelta,
    TextDelta,
    UsageUpdate,
)
from routeur.dialects.refusals import Refusal
from routeur.dialects.translate import Answers
from routeur.errors import UpstreamError
from routeur.reply import FIRST_TOKEN, OUR_CREDENTIAL, Judged

if TYPE_CHECKING:
    from routeur.translated import TranslatedPassage

LONGEST_MESSAGE = 500  # characters of a provider's words in an error of ours
_TEXT = (TextDelta, ReasoningDelta, SummaryDelta, ArgumentsDelta, RefusalDelta)


class Fallen(Judged):
    """An answer that holds an error."""

    def __init__(self, fault: Fault) -> None:
        told = ": ".join(part for part in (fault.code or fault.type, fault.message) if part)
        super().__init__(
            f"the provider's answer is an error ({told[:LONGEST_MESSAGE]})",
            retry_after=fault.retry_after,
        )
        self.fault = fault
        self.answered = fault.status
        self.refusal = Refusal(
            ours=fault.status in OUR_CREDENTIAL,
            exhausted=False,
            wait=fault.retry_after,
            code=fault.code or fault.type or None,
        )


class Stream:
    """The frames of one answer on their way through the neutral events.

    A client that wants no stream gets what `collector` has at the end.
    """

    def __init__(self, passage: TranslatedPassage, there: Answers, here: Answers, caller: Caller):
        self.may_go = False  # what has come is an answer
        self.collector = None if caller.request.stream else Collector()
        self._passage = passage
        self._first_token = passage.manner.commit == FIRST_TOKEN
        self._cutter = there.Frames()
        self._reader = there.EventReader(passage.place.id)
        self.write = passage.writing(here.EventWriter(caller))

    def feed(self, data: bytes) -> bytes:
        """What the client gets for this; raises UpstreamError for broken frames, Fallen."""
        try:
            frames = self._cutter.feed(data)
        except ValueError:
            raise UpstreamError("the provider sent broken frames") from None
        return self._take([event for frame in frames for event in self._reader.read(frame)])

    def end(self) -> bytes:
        """The rest, down to the dialect's last frame; raises Fallen for an answer that was cut."""
        rest = self._cutter.rest
        # Some leave out the last blank line.
        events = self._reader.read(rest) if rest.strip() else []
        return self._take([*events, *self._reader.end()])

    def _take(self, events: list[Event]) -> bytes:
        passage = self._passage
        texts: list[bytes] = []
        for event in events:
            if isinstance(event, _TEXT):
                passage.seen += size_of([event])
                if not passage.first_token:
                    passage.first_token = time.perf_counter()
                self.may_go = True
            elif isinstance(event, Failed):
                if passage.started:  # what came before it is the client's
                    passage.out(passage.framed(b"".join(texts)))
                raise Fallen(event.fault)
            elif isinstance(event, UsageUpdate | Start):
                passage.used = event.usage or passage.used
                self.may_go = self.may_go or not self._first_token
            elif isinstance(event, Stopped) or not (self._first_token or isinstance(event, Ping)):
                self.may_go = True
            if self.collector is not None:
                self.collector.add(event)
            else:
                texts.append(self.write(event))
        return b"".join(texts)


def size_of(events: Iterable[Event]) -> int:
    """Characters of what a model wrote; of other scripts than Latin more, as in prompts."""
    texts = (event.text for event in events if isinstance(event, _TEXT))
    return sum(len(text) if text.isascii() else foreign(text) for text in texts)
