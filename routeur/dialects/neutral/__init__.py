"""One request, and one answer, in nobody's format: the richest form, not the most popular.

Who reads fills in what its wire said; who writes says what it could not say (`aim.Losses`).

- A string that was not said is "", a list of nothing is (), anything else not said is None.
- `cache` marks where a prompt's cached part ends: None no mark, "" a mark with the default time to
  live, else that time as Anthropic spells it, "5m" or "1h". Bedrock's cachePoint is a mark on the
  block, or tool, before it.
- `signature` and `encrypted` are carried, never understood. `origin` is the family that can read
  them: ANTHROPIC (Claude wherever it runs), GEMINI (Vertex, too), RESPONSES, or BEDROCK for other
  models there. A writer gives them back only if `aim.origin` is the same; else it drops them.
- `extra` holds members that have no field, as the wire of `Request.dialect` (`Response.dialect`)
  spelled them; only a writer of that dialect restores them.
- Base64 and data URLs stay the very string that came: `media.py` converts where it is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from routeur.dialects.base import Json, Usage

ANTHROPIC = "anthropic"
GEMINI = "gemini"
RESPONSES = "openai_responses"
BEDROCK = "bedrock"

Role = Literal["system", "user", "assistant"]
StopReason = Literal[
    "end",  # the model was done
    "length",  # max_tokens, or the context window
    "stop_sequence",  # `Stop.sequence` says which, if known (Anthropic, Bedrock)
    "tool_calls",  # at least one ToolCall wants a result; also where the wire says STOP
    "refusal",  # the model itself declined (Anthropic refusal)
    "content_filter",  # something around the model stopped it (Gemini SAFETY, guardrails)
    "pause",  # the client is to send the answer back to go on (Anthropic pause_turn)
    "malformed",  # the model's call or output could not be read (Gemini, Bedrock)
    "error",  # the provider gave up; `Response.error` says why, if it said so
    "unknown",  # a word that we do not know: `Stop.raw`; written as the plain end
]


# What messages are made of.


@dataclass(frozen=True, slots=True)
class Citation:
    """A source of a text. What is not known is "" or None.

    `start` and `end` are characters of the cited passage in the source; `text_start`, `text_end`
    those of the block's text that rests on it. `document` counts the request's files from 0.
    `raw` is the citation in full, as `dialect` spells it.
    """

    url: str = ""
    title: str = ""
    quote: str = ""
    file_id: str = ""
    document: int | None = None
    start: int | None = None
    end: int | None = None
    text_start: int | None = None
    text_end: int | None = None
    raw: Json = field(default_factory=dict)
    dialect: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """Text. A signature on it is Gemini's, which may stand on any part, also on an empty one."""

    text: str = ""
    citations: tuple[Citation, ...] = ()
    signature: str = ""
    origin: str = ""
    cache: str | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought, in full (`text`), in summary (Responses, its parts), or sealed.

    `text`: Anthropic thinking, Gemini thoughts, Bedrock reasoningText, Chat's reasoning_content,
    Responses' reasoning_text. `signature`: Anthropic, Bedrock. `encrypted`: Anthropic's
    redacted_thinking.data, Bedrock's redactedContent (both base64) and Responses'
    encrypted_content; with no text it is redacted. `id` is Responses' item id (rs_…).
    """

    text: str = ""
    summary: tuple[str, ...] = ()
    signature: str = ""
    encrypted: str = ""
    origin: str = ""
    id: str = ""
    extra: Json = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """What people can read of it."""
        return self.text or "\n\n".join(self.summary)


@dataclass(frozen=True, slots=True)
class Image:
    """An image, by one of `url` (http, gs, s3, or a data URL as it came), `data` and `file_id`.

    `data` is base64 with its `media_type` (image/png). `detail`: OpenAI's low, high, auto.
    """

    url: str = ""
    data: str = ""
    media_type: str = ""
    file_id: str = ""
    detail: str = ""
    signature: str = ""
    origin: str = ""
    cache: str | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class File:
    """A document (PDF, video, anything else), by one of `url`, `data`, `file_id`, `text`, `blocks`.

    `url` and `data` as for images. `text`: Anthropic's and Bedrock's plain text documents;
    `blocks`: their documents made of blocks. `name` is a file name (OpenAI, Bedrock), `title` and
    `context` are words for the model (Anthropic, Bedrock), `citations` asks for citations.
    """

    url: str = ""
    data: str = ""
    media_type: str = ""
    file_id: str = ""
    text: str = ""
    blocks: tuple[Block, ...] = ()
    name: str = ""
    title: str = ""
    context: str = ""
    citations: bool | None = None
    cache: str | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound: base64 `data` in a `format` (wav, mp3, pcm16, …), or `id` of what the model said.

    `transcript` and `expires_at` (Unix seconds) come with a model's own words (Chat).
    """

    data: str = ""
    format: str = ""
    id: str = ""
    transcript: str = ""
    expires_at: int | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a client's tool. `arguments` is the very string the model wrote: JSON, or not.

    `id` pairs it with its result (never empty: `ids.py` makes one where the wire has none).
    `kind` custom: `arguments` is free text (Responses, Chat). `item_id`: Responses' fc_….
    """

    id: str = ""
    name: str = ""
    arguments: str = ""
    kind: Literal["function", "custom"] = "function"
    signature: str = ""
    origin: str = ""
    item_id: str = ""
    cache: str | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool said, in a user message. `name` is "" where the wire has none (see `turns`)."""

    id: str = ""
    blocks: tuple[Block, ...] = ()
    name: str = ""
    is_error: bool = False
    kind: Literal["function", "custom"] = "function"
    cache: str | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A model's words on why it declines (Chat, Responses)."""

    text: str = ""
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opaque:
    """A block that only its dialect knows: server tools, compaction, what is new. Kept as it is.

    Answers of others leave it out. Their requests have `shown` as text in its place, as a
    compaction's summary, or leave it out, too, unless that would be a loss: `Losses.stand_in`.
    """

    dialect: str
    raw: Json
    shown: str = ""

    @property
    def kind(self) -> str:
        """What its dialect calls it: its `type`, or else its first member."""
        kind = self.raw.get("type") or next(iter(self.raw), "")
        return kind if kind and isinstance(kind, str) else "block"


Block = Text | Reasoning | Image | File | Audio | ToolCall | ToolResult | Refusal | Opaque


# A request.


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Tool results are blocks of user messages, those of one turn in one message.

    A system message may stand anywhere; `developer` says that the wire called it so. `name` is
    Chat's participant, `id` Responses' item id; `extra` has Responses' `status`, `phase`.
    """

    role: Role
    blocks: tuple[Block, ...]
    developer: bool = False
    name: str = ""
    id: str = ""
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. `parameters` is its JSON Schema, None where none was given.

    `kind` function; custom, with the grammar of its free text in `format` (as Responses spells it,
    None: any text); or server: run by the provider, in `raw` as `dialect` spells it. No other
    dialect can say that one: its writer refuses it.
    """

    name: str = ""
    description: str = ""
    parameters: Json | None = None
    strict: bool | None = None
    cache: str | None = None
    kind: Literal["function", "custom", "server"] = "function"
    format: Json | None = None
    raw: Json = field(default_factory=dict)
    dialect: str = ""
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools are called. `names`: with `named` the one, else those allowed (none: all)."""

    mode: Literal["auto", "none", "required", "named"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """How the answer's text is to look: any, some JSON object, or JSON of a schema."""

    kind: Literal["text", "json", "schema"]
    name: str = ""
    description: str = ""
    schema: Json | None = None
    strict: bool | None = None
    extra: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much to reason. `effort.py` turns efforts into budgets and back.

    `mode`: off; on (by `budget` or `effort`); adaptive (the model decides: Anthropic's adaptive,
    Gemini's budget -1); "" not said. `effort`: minimal, low, medium, high, xhigh, max, or what
    else the wire said, in lower case. `budget` in tokens. `show`: thoughts are wanted in the answer
    (Gemini includeThoughts, Anthropic display). `summary`: Responses' auto, concise, detailed.
    `encrypted`: sealed reasoning is wanted (Responses' include).
    """

    mode: Literal["", "off", "on", "adaptive"] = ""
    effort: str = ""
    budget: int | None = None
    show: bool | None = None
    summary: str = ""
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Tools and messages in the order of the wire, `system` ones at the head.

    `essential` names those of `extra` without which the answer would be another: writers of other
    dialects refuse them, and drop the rest (`Losses.extras` does both).
    """

    dialect: str  # whose client asks: as `TRANSLATORS` names dialects
    model: str  # as the client named it; a writer takes `aim.model`
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None  # may the model call several at once
    max_tokens: int | None = None  # of the answer, reasoning included
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None  # how many choices
    logprobs: bool | None = None
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    format: ResponseFormat | None = None
    thinking: Thinking | None = None
    verbosity: str = ""  # OpenAI: low, medium, high
    user: str = ""  # OpenAI's user, Anthropic's metadata.user_id
    safety_identifier: str = ""  # OpenAI
    metadata: Json = field(default_factory=dict)  # OpenAI's, Bedrock's requestMetadata
    cache_key: str = ""  # OpenAI's prompt_cache_key
    cache: str | None = None  # Anthropic's mark on the whole request
    service_tier: str = ""  # as the wire said it: the words differ
    store: bool | None = None  # OpenAI
    modalities: tuple[str, ...] = ()  # of the answer, in lower case: text, audio, image
    audio: Json | None = None  # Chat's {voice, format}
    stream: bool = False
    include_usage: bool = False  # Chat only: the client wants the chunk with usage
    extra: Json = field(default_factory=dict)
    essential: frozenset[str] = frozenset()


# An answer.


@dataclass(frozen=True, slots=True)
class Stop:
    """Why it ended: `raw` is the wire's own word, `detail` what it said for people."""

    reason: StopReason
    sequence: str = ""
    raw: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error, before an answer or in it. `type` and `code` as the provider worded them, or "".

    `status` is what HTTP says, or would have said within a stream (502 where nothing is known).
    `retry_after` in seconds.
    """

    status: int
    message: str
    type: str = ""
    code: str = ""
    param: str = ""
    retry_after: float | None = None


BROKE_OFF = Fault(502, "the provider's answer broke off")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `n` answers, `logprobs` as Chat's list of {token, logprob, bytes, top_logprobs}."""

    blocks: tuple[Block, ...] = ()
    stop: Stop = Stop("end")
    logprobs: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer: at least one choice. `created` in Unix seconds, 0 if not said."""

    dialect: str
    id: str = ""
    model: str = ""
    created: int = 0
    choices: tuple[Choice, ...] = (Choice(),)
    usage: Usage | None = None
    service_tier: str = ""
    fingerprint: str = ""
    error: Fault | None = None
    extra: Json = field(default_factory=dict)
