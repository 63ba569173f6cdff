"""Reasoning in Chat Completions: under which names it goes, and how its seals survive.

OpenAI itself shows none. DeepSeek and vLLM say `reasoning_content`, OpenRouter `reasoning` and,
with seals, `reasoning_details`: entries of a `format`, those of one `index` belonging together.
Google's endpoint keeps signatures in `extra_content.google.thought_signature`, of a call or a
message.

What we write of `reasoning_details` can be put together as OpenAI's package does it: `index` counts
from 0, and strings that are the same in all pieces stand in the first one only. Reasoning between
texts and calls also has `block`, its number among all blocks of its message, and so comes back to
its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.loose import items, members, string
from routeur.dialects.neutral import ANTHROPIC, BEDROCK, GEMINI, RESPONSES, Block, Reasoning

_FORMATS = {
    ANTHROPIC: "anthropic-claude-v1",
    GEMINI: "google-gemini-v1",
    RESPONSES: "openai-responses-v1",
    BEDROCK: "amazon-bedrock-v1",
}
# A format's beginning: clients may have run several of one stream together.
_ORIGINS = (
    ("anthropic", ANTHROPIC),
    ("google", GEMINI),
    ("openai", RESPONSES),
    ("azure", RESPONSES),
    ("amazon", BEDROCK),
)


def format_of(origin: str) -> str:
    """What OpenRouter calls a family's way to seal."""
    return _FORMATS.get(origin, "unknown")


def origin_of(format: object) -> str:
    """Whose seals have this format; "" nobody's that we know."""
    name = string(format)
    return next((origin for start, origin in _ORIGINS if name.startswith(start)), "")


def shown_of(message: Json) -> str:
    """The text of a message's reasoning, or of one delta's, under any of its names."""
    return string(message.get("reasoning_content")) or string(message.get("reasoning"))


def google_signature(holder: Json) -> str:
    """Gemini's signature on a tool call, a message or a delta."""
    extra = holder.get("extra_content")
    return string(members(members(extra).get("google")).get("thought_signature")) if extra else ""


def google_extra(signature: str) -> Json:
    """The member that holds it."""
    return {"google": {"thought_signature": signature}}


@dataclass(slots=True)
class Details:
    """What `reasoning_details` say: reasoning with its places, and Gemini's signatures by call id.

    The signature of id "" is the text's.
    """

    blocks: list[Reasoning] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    signatures: dict[str, str] = field(default_factory=dict)
    _keys: list[object] = field(default_factory=list)  # each block's `index`

    def add(self, entry: Json) -> None:
        """One more entry; pieces of one block are put together."""
        if is_google_signature(entry):
            self.signatures[string(entry.get("id"))] = string(entry.get("data"))
            return
        number = self._same(entry)
        if number is not None:
            self.blocks[number] = grown(self.blocks[number], entry)
            return
        least = self.places[-1] + 1 if self.places else 0
        place = entry.get("block")
        self.places.append(max(place, least) if isinstance(place, int) else least)
        self.blocks.append(grown(Reasoning(), entry))
        self._keys.append(entry.get("index"))

    def among(self, rest: Iterable[Block]) -> tuple[Block, ...]:
        """All blocks of the message, the reasoning at its places among the rest."""
        found = list(rest)
        for place, block in zip(self.places, self.blocks, strict=True):
            found.insert(place, block)
        return tuple(found)

    def _same(self, entry: Json) -> int | None:
        """Which block an entry belongs to, if to any."""
        key, id = entry.get("index"), string(entry.get("id"))
        for number in range(len(self.blocks) - 1, -1, -1):
            block = self.blocks[number]
            if (key is not None and self._keys[number] == key) or (id and block.id == id):
                return number if belongs(block, entry) else None
        return None


def read_details(value: Any) -> Details:
    """All entries; what is no entry is left out."""
    found = Details()
    for entry in items(value):
        if isinstance(entry, dict):
            found.add(entry)
    return found


def is_google_signature(entry: Json) -> bool:
    """Whether it holds a signature of Gemini's, which is no reasoning of its own."""
    sealed = entry.get("type") == "reasoning.encrypted"
    return sealed and origin_of(entry.get("format")) == GEMINI


def belongs(block: Reasoning, entry: Json) -> bool:
    """Whether an entry of the same index goes on with a block: a redacted one stands alone."""
    if entry.get("type") != "reasoning.encrypted":
        return bool(block.text or block.summary or block.signature or not block.encrypted)
    return block.origin not in (ANTHROPIC, BEDROCK) and not block.encrypted


def grown(block: Reasoning, entry: Json) -> Reasoning:
    """The block with what an entry adds to it."""
    summary = string(entry.get("summary"))
    text = string(entry.get("text"))
    found = replace(
        block,
        text=block.text + text,
        summary=("".join((*block.summary, summary)),) if summary else block.summary,
        signature=string(entry.get("signature")) or block.signature,
        encrypted=string(entry.get("data")) or block.encrypted,
        id=string(entry.get("id")) or block.id,
        origin=block.origin or origin_of(entry.get("format")),
    )
    if not found.origin and string(entry.get("format")):
        found = replace(found, extra={"format": entry["format"]})
    return found


def write_head(block: Reasoning, origin: str, index: int, place: int) -> Json:
    """What stands once in a block's entries: reasoning number `index`, at `place` of all blocks."""
    found: Json = {"format": block.extra.get("format") or format_of(origin)}
    if place != index:
        found["block"] = place
    if block.id:
        found["id"] = block.id
    return found


def write_details(block: Reasoning, index: int, place: int) -> list[Json]:
    """The entries of one block."""
    head = {"index": index, **write_head(block, block.origin, index, place)}
    found: list[Json] = []
    if block.text or block.signature:
        entry: Json = {"type": "reasoning.text", "text": block.text, **head}
        if block.signature:
            entry["signature"] = block.signature
        found.append(entry)
    if block.summary:
        summary = "\n\n".join(block.summary)
        found.append({"type": "reasoning.summary", "summary": summary, **head})
    if block.encrypted:
        found.append({"type": "reasoning.encrypted", "data": block.encrypted, **head})
    return found


def is_sealed(block: Reasoning) -> bool:
    """Whether there is anything in it beside words."""
    return bool(block.signature or block.encrypted)
