"""Which dialects can be translated, and what each has to offer for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from routeur.dialects.anthropic import answers as anthropic_answers
from routeur.dialects.anthropic import requests as anthropic_requests
from routeur.dialects.base import Json
from routeur.dialects.bedrock import answers as bedrock_answers
from routeur.dialects.bedrock import requests as bedrock_requests
from routeur.dialects.gemini import answers as gemini_answers
from routeur.dialects.gemini import requests as gemini_requests
from routeur.dialects.neutral import Fault, Request, Response
from routeur.dialects.neutral.aim import Aim, Caller, Losses
from routeur.dialects.neutral.events import Event
from routeur.dialects.openai_chat import answers as openai_chat_answers
from routeur.dialects.openai_chat import requests as openai_chat_requests
from routeur.dialects.openai_responses import answers as openai_responses_answers
from routeur.dialects.openai_responses import requests as openai_responses_requests


class Cutter(Protocol):
    """Cuts a stream's chunks into whole frames (`sse.Frames`, `eventstream.Frames`)."""

    @property
    def rest(self) -> bytes:
        """What has come of a frame that is not whole."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The frames that this chunk completes."""


class Reader(Protocol):
    """Reads one stream. Nothing unknown is fatal: it becomes Opaque, OpaqueEvent, or nothing."""

    def read(self, frame: bytes) -> list[Event]:
        """The events of one whole frame, as `Frames` cut it (a comment has none)."""

    def end(self) -> list[Event]:
        """The bytes are over: what is missing up to Done, or Failed if the answer is not whole."""


class Writer(Protocol):
    """Writes one stream. Takes blocks as they come, interleaved if the dialect can say so."""

    def write(self, event: Event) -> bytes:
        """Whole frames, or none. Done writes the clean end, Failed the dialect's error."""


class Requests(Protocol):
    """The module `requests` of a dialect. It satisfies this as it is, as modules can."""

    def read_request(self, body: Json, *, model: str, stream: bool) -> Request:
        """A client's body, already parsed; model and stream as path or body said. May: Invalid."""

    def write_request(self, request: Request, aim: Aim, losses: Losses) -> bytes:
        """The body for a target, model and stream in it where the dialect has them there.

        May raise Untranslatable, by `losses`.
        """

    def address(self, model: str, stream: bool) -> str:
        """Path and query as a client of the dialect has them: `/v1/messages`, percent-encoded."""


class Answers(Protocol):
    """The module `answers` of a dialect."""

    #: Content-Type of a stream in this dialect.
    STREAM_TYPE: str

    def Frames(self) -> Cutter:
        """Cuts one stream."""

    def EventReader(self, model: str) -> Reader:
        """Reads one stream; `model` is what to say where the wire names none (Bedrock)."""

    def EventWriter(self, caller: Caller) -> Writer:
        """Writes one stream."""

    def read_response(self, body: Json, model: str) -> Response:
        """A whole answer; `model` as for EventReader. It has an `error` where a 200 holds one."""

    def write_response(self, response: Response, caller: Caller) -> bytes:
        """A whole answer without `error`, with every member that the dialect's SDKs require."""

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Fault:
        """An error answer, whatever it is made of (HTML, cut, empty). Header names lower case."""

    def write_error(self, fault: Fault, request_id: str) -> bytes:
        """An error answer's body: with the dialect's own type for `fault.status`."""


@dataclass(frozen=True, slots=True)
class Translator:
    """One dialect, both ways."""

    requests: Requests
    answers: Answers


TRANSLATORS: Mapping[str, Translator] = {
    "anthropic": Translator(anthropic_requests, anthropic_answers),
    "bedrock": Translator(bedrock_requests, bedrock_answers),
    "gemini": Translator(gemini_requests, gemini_answers),
    "openai_chat": Translator(openai_chat_requests, openai_chat_answers),
    "openai_responses": Translator(openai_responses_requests, openai_responses_answers),
}
