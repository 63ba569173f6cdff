"""What a translation is for, and what it loses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from routeur.dialects.base import Json
from routeur.dialects.neutral import ANTHROPIC, BEDROCK, GEMINI, RESPONSES, Opaque, Request

# How clients spell what has another name here.
_SPELLED = {
    "openai_chat": {"format": "response_format"},
    "openai_responses": {
        "format": "text.format",
        "max_tokens": "max_output_tokens",
        "messages": "input",
    },
    "anthropic": {"format": "output_config.format", "stop": "stop_sequences"},
    "gemini": {
        "format": "generationConfig.responseSchema",
        "logprobs": "generationConfig.responseLogprobs",
        "max_tokens": "generationConfig.maxOutputTokens",
        "messages": "contents",
        "modalities": "generationConfig.responseModalities",
        "n": "generationConfig.candidateCount",
        "stop": "generationConfig.stopSequences",
        "system": "systemInstruction",
        "tool_choice": "toolConfig.functionCallingConfig",
    },
    "bedrock": {
        "format": "outputConfig.textFormat",
        "max_tokens": "inferenceConfig.maxTokens",
        "stop": "inferenceConfig.stopSequences",
        "tool_choice": "toolConfig.toolChoice",
    },
}
_ORIGINS = {"anthropic": ANTHROPIC, "google": GEMINI}


class TranslationError(Exception):
    """A request that is not passed on: 400, `message` for the client, `field` as its `param`.

    `field` is a path as the client spelled it: `tools[2].type`, `generationConfig.topK`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class Invalid(TranslationError):
    """The client's request breaks its own dialect (raised by readers)."""


class Untranslatable(TranslationError):
    """It would mean something else in the target's dialect (raised by writers, through Losses)."""


class Losses:
    """Collects what a writer cannot say: harmless hints are dropped and named, the rest refused.

    With `strict` (the client's `Routeur-Strict: true`) nothing is dropped. Answers are written with
    one that is not strict: what is in them has been paid for. `dialect` is the client's.
    """

    __slots__ = ("_names", "_spelled", "strict")

    def __init__(self, strict: bool = False, dialect: str = "") -> None:
        self.strict = strict
        self._spelled = _SPELLED.get(dialect, {})
        self._names: dict[str, None] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of what was dropped, each once, in order; for X-Routeur-Trace-Dropped."""
        return tuple(self._names)

    def drop(self, field: str) -> None:
        """Leave this out, as it does no harm. Raises Untranslatable if the client is strict.

        Names are the neutral ones without positions: `seed`, `cache`, `reasoning.signature`.
        """
        if self.strict:
            raise Untranslatable(
                field, f"`{field}` cannot be passed on to this provider, and Routeur-Strict is set"
            )
        self._names[field] = None

    def refuse(self, field: str, why: str) -> Untranslatable:
        """The error to raise where leaving it out would change the answer.

        `field` is the neutral name, or its path; the client is told its own.
        """
        name, dot, rest = field.partition(".")
        field = self._spelled.get(name, name) + dot + rest
        return Untranslatable(field, f"`{field}` cannot be passed on to this provider: {why}")

    def drop_all(self, fields: Mapping[str, object]) -> None:
        """Drop each of these that was said: name → value; "", (), {}, None and False were not."""
        for name, value in fields.items():
            if value is not None and value is not False and value not in ("", (), {}):
                self.drop(name)

    def only_one_text(self, request: Request) -> None:
        """Refuse what asks for more than one answer, or for another than text."""
        if (request.n or 1) > 1:
            raise self.refuse("n", "it gives one answer to a request")
        if set(request.modalities) - {"text"}:
            raise self.refuse("modalities", "it answers in text only")

    def stand_in(self, block: Opaque) -> str:
        """The text that a request has in place of another dialect's block; "": it is left out.

        A compaction holds all that was said before it: one that cannot be shown is refused.
        """
        if block.shown:
            return block.shown
        if "compaction" in block.kind:
            raise self.refuse(block.kind, "only its provider can read what was said before it")
        self.drop(block.kind)
        return ""

    def extras(self, request: Request, dialect: str) -> Json:
        """What a writer of `dialect` restores; for others, nothing, and all are told or refused."""
        if request.dialect == dialect:
            return request.extra
        for name in request.extra:
            if name in request.essential:
                raise self.refuse(name, f"it exists only in the dialect {request.dialect}")
            self.drop(name)
        return {}


@dataclass(frozen=True, slots=True)
class Aim:
    """The target that a request is written for.

    `dialect` is the target's. `vendor` made the model, wherever it runs ("" unknown); it decides
    whose signatures and parameters are understood. `max_output` in tokens, None unknown: for
    dialects that require max_tokens. `abilities` of `image file audio tools json reasoning`, None
    unknown.
    """

    dialect: str
    model: str  # as the target knows it
    vendor: Literal["", "anthropic", "google", "openai"] = ""
    platform: Literal["", "vertex", "bedrock", "azure"] = ""
    max_output: int | None = None
    abilities: frozenset[str] | None = None

    @property
    def origin(self) -> str:
        """Whose signatures the target understands, as in `Reasoning.origin`; "" nobody's."""
        if self.vendor in _ORIGINS:
            return _ORIGINS[self.vendor]
        own = (ANTHROPIC, GEMINI, RESPONSES, BEDROCK)  # also where nobody knows the vendor
        return self.dialect if self.dialect in own else ""

    @property
    def openai_reasoning(self) -> bool:
        """An o-series or gpt-5 model: max_completion_tokens, and no temperature."""
        name = self.model.rpartition("/")[2].lower()
        return name.startswith(("o1", "o3", "o4", "gpt-5")) and "chat" not in name


@dataclass(frozen=True, slots=True)
class Caller:
    """What an answer's writer has to know beside the answer.

    `token` is unique to the call, at least 24 letters and digits: an id is made of it where the
    answer's own is not of the client's dialect (`chatcmpl-…`, `resp_…`, `msg_…`). `created` is now,
    in Unix seconds. `sse` false: a Gemini client that wants the stream as a JSON array.
    """

    request: Request
    token: str
    created: int
    losses: Losses = field(default_factory=Losses)
    sse: bool = True


def vendor_of(model: str) -> Literal["", "anthropic", "google", "openai"]:
    """Who made a model, by its name at a provider (`us.anthropic.claude-…`, `models/gemini-…`)."""
    name = model.lower()
    if "claude" in name:
        return "anthropic"
    if "gemini" in name:
        return "google"
    base = name.rpartition("/")[2].rpartition("openai.")[2]
    return "openai" if base.startswith(("gpt-", "chatgpt", "o1", "o3", "o4")) else ""
