"""What a dialect must be able to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec.structs import asdict, astuple

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One path of a dialect, `{name}` standing for one segment and a trailing `*` for the rest.

    `format` names the module whose shapes its body has (`openai_chat`, `openai_responses`,
    `anthropic`, `gemini`), or is None where only bytes are copied. `body` is `json` (or a form, if
    the Content-Type says so), `form` (multipart), `socket` (frames, both ways) or `any`. `creates`
    is false for paths that name no model (GET, DELETE, cancel); `needs_model` is false where the
    API has a default model, so that a body without one is no mistake.
    """

    method: str
    path: str
    format: str | None = None
    body: str = "json"
    creates: bool = True
    needs_model: bool = True
    purpose: str = ""


class Usage(msgspec.Struct, gc=False):
    """Tokens of one answer, in disjoint buckets: what one counts no other does."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    audio_in: int = 0
    audio_out: int = 0
    image_in: int = 0
    image_out: int = 0

    @property
    def input_total(self) -> int:
        """All tokens that went in, cached ones included."""
        return (
            self.input
            + self.cache_read
            + self.cache_write
            + self.cache_write_1h
            + self.audio_in
            + self.image_in
        )

    @property
    def output_total(self) -> int:
        """All tokens that came out, reasoning included."""
        return self.output + self.reasoning + self.audio_out + self.image_out

    @property
    def total(self) -> int:
        """All tokens."""
        return sum(astuple(self))

    def as_dict(self) -> dict[str, int]:
        """The buckets and both totals, as traces show them."""
        shown = asdict(self)
        return {**shown, "input_total": self.input_total, "output_total": self.output_total}


class Format(Protocol):
    """The shapes of one API's bodies. Modules of this package satisfy it."""

    #: Matches in the raw bytes of a stream as soon as content has come.
    FIRST_TOKEN: re.Pattern[bytes]

    #: Matches each piece of generated text in a stream's raw bytes; group 1 is the piece.
    PIECE: re.Pattern[bytes]

    #: The same in an answer that is one document.
    WHOLE_PIECE: re.Pattern[bytes]

    #: Whether a stream says at its start what went in, and only the rest at its end.
    USAGE_FROM_START: bool

    def has(self, body: Json) -> frozenset[str]:
        """Which of `image file audio tools json reasoning` a request uses."""

    def prompt(self, body: Json) -> int:
        """The size of the prompt in characters of text; an estimate of tokens is a fourth of it."""

    def usage(self, body: Json) -> Usage | None:
        """Usage from a whole answer, or from one event of a stream (None: this event has none)."""
