"""One attempt whose answer is translated for a client of the Responses API, and kept for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from routeur.dialects.neutral import Request
from routeur.recording import Recording, Tape
from routeur.responses import is_stored, own_input
from routeur.translated import TranslatedPassage

if TYPE_CHECKING:
    from routeur.dialects.neutral.events import Event
    from routeur.dialects.openai_responses.writer import EventWriter
    from routeur.dialects.translate import Writer


class RecordedPassage(TranslatedPassage):
    """What it keeps, and puts before an answer, is said by the request's recording."""

    _tape: Tape

    def echoed(self, request: Request) -> Request:
        facts, said = self.facts, super().echoed(request)
        recording = facts.recording
        if recording is None:
            keeps, new = is_stored(facts.doc), own_input(facts.raw)
            recording = facts.recording = Recording(facts.caller.id, new, keeps=keeps)
        self._tape = Tape(recording)
        if not recording.after:
            return said
        return replace(said, extra={**request.extra, "previous_response_id": recording.after})

    def writing(self, writer: Writer) -> Callable[[Event], bytes]:
        return self._tape.through(cast("EventWriter", writer))

    def written(self, whole: bytes) -> bytes:
        text = self._tape.whole(whole) if whole else whole
        provider, _, _, credential = self.place.shown
        stored = self._tape.stored(self.call.started_at, provider, credential)
        if stored is not None:
            self.attempts.keep(stored)
        return text
