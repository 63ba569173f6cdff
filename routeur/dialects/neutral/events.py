"""The events of one streamed answer, in nobody's format.

    Start · (BlockStart · deltas · BlockStop)* · Stopped per choice · Done or Failed

`index` numbers the blocks of a choice from 0 in the order in which they open. Several may be open
at once; who can write only one at a time uses `collect.OneAtATime`. All blocks of a choice are
closed before its Stopped. UsageUpdate, MetaUpdate and Ping come anywhere between Start and the end.
Nothing follows Done or Failed; a stream without either was cut, and no writer makes it look whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from routeur.dialects.base import Json, Usage
from routeur.dialects.neutral import Block, Citation, Fault, Stop


@dataclass(frozen=True, slots=True)
class Start:
    """The answer begins. `usage`: what is known at once (Anthropic: the input's)."""

    dialect: str
    id: str = ""
    model: str = ""
    created: int = 0
    usage: Usage | None = None
    service_tier: str = ""
    fingerprint: str = ""
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BlockStart:
    """A block opens. What `block` has already is its beginning: an Image or Opaque comes whole."""

    index: int
    block: Block
    choice: int = 0


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of a Text."""

    index: int
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of a Reasoning's text."""

    index: int
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class SummaryDelta:
    """More of part number `part` (from 0) of a Reasoning's summary."""

    index: int
    part: int
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """More of a ToolCall's arguments."""

    index: int
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More of a Refusal."""

    index: int
    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class AudioDelta:
    """More of an Audio: base64 that decodes by itself, or words; `expires_at` once known."""

    index: int
    data: str = ""
    transcript: str = ""
    expires_at: int | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class CitationDelta:
    """One more source of a Text."""

    index: int
    citation: Citation
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Signed:
    """A Text, Reasoning, Image or ToolCall is signed. What is not empty replaces what was there."""

    index: int
    signature: str = ""
    encrypted: str = ""  # of a Reasoning
    origin: str = ""
    choice: int = 0


@dataclass(frozen=True, slots=True)
class BlockStop:
    """A block is whole."""

    index: int
    choice: int = 0


@dataclass(frozen=True, slots=True)
class LogprobsDelta:
    """The logprobs of more tokens, as Chat spells them."""

    tokens: tuple[Json, ...]
    choice: int = 0


@dataclass(frozen=True, slots=True)
class UsageUpdate:
    """All that was used up to here: the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class MetaUpdate:
    """What was not known at the start. What is not empty replaces what was there."""

    id: str = ""
    model: str = ""
    service_tier: str = ""
    fingerprint: str = ""
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A choice is whole."""

    stop: Stop
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The stream ended as it should."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream ended with an error, or was cut."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Ping:
    """The provider is still there."""


@dataclass(frozen=True, slots=True)
class OpaqueEvent:
    """An event that only its dialect knows. Others leave it out."""

    dialect: str
    raw: Json


Delta = (
    TextDelta
    | ReasoningDelta
    | SummaryDelta
    | ArgumentsDelta
    | RefusalDelta
    | AudioDelta
    | CitationDelta
    | Signed
)
OfBlock = BlockStart | Delta | BlockStop
Event = (
    Start
    | OfBlock
    | LogprobsDelta
    | UsageUpdate
    | MetaUpdate
    | Stopped
    | Done
    | Failed
    | Ping
    | OpaqueEvent
)
