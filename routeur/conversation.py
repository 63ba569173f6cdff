"""Which conversation a request belongs to, and whether it can go on with another model now.

Clients that know say so in a header or a member of the body; of others the opening tells, which
stays the same from turn to turn. Only bounded parts of a body are looked at and hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

from routeur.dialects.base import Json
from routeur.dialects.loose import either, items, members, string
from routeur.dialects.openai_chat.reasoning import google_signature
from routeur.headers import SESSIONS

ID_SIZE = 16  # bytes
OPENING = "opening"

_LONGEST = 1024  # characters of a name that count
_FIRST, _LAST = 4096, 512  # characters of each text that count, beside its length
_TEXTS = 64  # texts of an opening that count
_LEADING = 64  # turns among which the first one of the user is looked for
_TURNS, _BLOCKS = 256, 32  # the last turns, and the blocks of each, in which a seal is looked for

_TURNS_OF = {
    "openai_chat": "messages",
    "openai_responses": "input",
    "anthropic": "messages",
    "gemini": "contents",
}
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")
_OF_SYSTEM = ("system", "developer")
# Members that may differ between two turns' ways to spell the same opening.
_UNSAID = frozenset("type role id status cache_control".split())


@dataclass(frozen=True, slots=True)
class Conversation:
    """`id` is ID_SIZE bytes, of one key and model name; b"" where nothing tells.

    `source` is the header or member that told, `opening`, or "". In a `loop` the last turn is
    results of tools; `signed` says that reasoning is carried which only its maker can read.
    `begins`: there is nothing of a model's in it yet, nor does anybody call it by a name, so that
    it may also be another one with the same opening.
    """

    id: bytes = b""
    source: str = ""
    loop: bool = False
    signed: bool = False
    begins: bool = False

    @property
    def held(self) -> bool:
        """Whether another model could not simply go on."""
        return self.loop or self.signed


def look(
    format: str | None,
    doc: Json,
    word: Callable[[bytes], str | None],
    key: str | None,
    model: str | None,
) -> Conversation:
    """The conversation of a request: its body, its headers (`word` finds one), who calls and the
    model's name as the client said it.
    """
    turns_name = _TURNS_OF.get(format or "")
    if turns_name is None:
        return Conversation()
    turns = doc.get(turns_name)
    listed = turns if isinstance(turns, list) else []
    source, parts = _told(doc, word) or _opening(doc, turns)
    return Conversation(
        _hash((key or "", model or "", source, *parts)) if source else b"",
        source,
        _in_loop(listed),
        any(map(_SEALS[format or ""], islice(reversed(listed), _TURNS))),
        source == OPENING and all(map(_is_asked, listed[:_LEADING])),
    )


def id_after(response: str, key: str | None, model: str | None) -> bytes:
    """The id that a request will have that goes on from this answer by `previous_response_id`."""
    return _hash((key or "", model or "", "previous_response_id", response[:_LONGEST]))


def _told(doc: Json, word: Callable[[bytes], str | None]) -> tuple[str, tuple[str, ...]] | None:
    """What the client calls it: where that stands, and the name."""
    for header in SESSIONS:
        if name := word(header):
            return header.decode(), (name[:_LONGEST],)
    for member, name in _names(doc):
        if name:
            return member, (name[:_LONGEST],)
    return None


def _names(doc: Json) -> Iterator[tuple[str, str]]:
    """Members that name a conversation, then those that name somebody."""
    yield "session_id", string(doc.get("session_id"))  # OpenRouter's
    yield "prompt_cache_key", string(doc.get("prompt_cache_key"))
    known = doc.get("conversation")
    yield "conversation", string(known) or string(members(known).get("id"))
    yield "previous_response_id", string(doc.get("previous_response_id"))
    yield "cachedContent", string(either(doc, "cachedContent", "cached_content"))
    yield "user", string(doc.get("user"))
    # Claude Code's has the session in it.
    yield "metadata.user_id", string(members(doc.get("metadata")).get("user_id"))


def _opening(doc: Json, turns: Any) -> tuple[str, tuple[str, ...]]:
    """The system's words and the first turn of the user; nothing where there is no such turn."""
    if isinstance(turns, str):
        return OPENING, tuple(_said([either(doc, *_SYSTEM), turns]))
    system = [either(doc, *_SYSTEM)]
    for turn in islice(items(turns), _LEADING):
        role = members(turn).get("role", "user")  # Gemini's first one may have none
        if role == "user":
            return OPENING, tuple(_said([system, turn]))
        if role in _OF_SYSTEM:
            system.append(turn)
    return "", ()


def _said(value: Any) -> Iterator[str]:
    """Both ends of the first texts within a value, in their order, and how long they are."""
    stack = [value]
    left = _TEXTS
    while stack and left:
        each = stack.pop()
        if isinstance(each, str):
            left -= 1
            yield f"{len(each)} {each[:_FIRST]}"
            yield each[-_LAST:]
        elif isinstance(each, list):
            stack += reversed(each[:_TEXTS])
        elif isinstance(each, dict):
            inner = [part for name, part in islice(each.items(), _TEXTS) if name not in _UNSAID]
            stack += reversed(inner)


def _hash(parts: Iterable[str]) -> bytes:
    found = blake2b(digest_size=ID_SIZE)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        found.update(b"%d:%b" % (len(raw), raw))
    return found.digest()


def _is_asked(turn: Any) -> bool:
    """Whether a turn is the user's or the system's own words."""
    found = members(turn)
    if found.get("type") not in (None, "message"):
        return False
    return found.get("role", "user") in ("user", *_OF_SYSTEM)


def _in_loop(turns: list[Any]) -> bool:
    """Whether the last turn, a system's aside, is results of tools, or a pause within its work."""
    for turn in islice(reversed(turns), _BLOCKS):
        if isinstance(turn, dict) and turn.get("role") in _OF_SYSTEM:
            continue
        return isinstance(turn, dict) and _is_result(turn)
    return False


def _is_result(turn: Json) -> bool:
    kind = string(turn.get("type"))
    if turn.get("role") in ("tool", "function") or kind.endswith("_output"):
        return True
    if kind == "mcp_approval_response":
        return True
    return any(map(_is_of_tools, _blocks(turn)))


def _is_of_tools(block: Any) -> bool:
    """Whether it is a result, or (in a turn that the provider paused) a call of a server's tool."""
    if not isinstance(block, dict):
        return False
    kind = string(block.get("type"))
    if kind in ("tool_result", "server_tool_use", "mcp_tool_use"):
        return True
    return "functionResponse" in block or "function_response" in block


def _blocks(turn: Json) -> list[Any]:
    """The blocks of a turn of Anthropic's, or the parts of one of Gemini's."""
    found = turn.get("content") or turn.get("parts")
    return found[:_BLOCKS] if isinstance(found, list) else []


def _sealed_chat(turn: Any) -> bool:
    """Reasoning as OpenRouter carries it, LiteLLM, or Google's own endpoint."""
    if not isinstance(turn, dict) or turn.get("role") != "assistant":
        return False
    for entry in items(turn.get("reasoning_details"))[:_BLOCKS]:
        if isinstance(entry, dict) and (entry.get("signature") or entry.get("data")):
            return True
    if any(map(_sealed_block, items(turn.get("thinking_blocks"))[:_BLOCKS])):
        return True
    calls = items(turn.get("tool_calls"))[:_BLOCKS]
    return any(isinstance(each, dict) and google_signature(each) for each in (turn, *calls))


def _sealed_item(item: Any) -> bool:
    """Reasoning that is encrypted, or kept by the provider under an id."""
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    if kind == "reasoning":
        return bool(item.get("encrypted_content") or item.get("id"))
    return kind in ("compaction", "item_reference")


def _sealed_message(turn: Any) -> bool:
    if not isinstance(turn, dict) or turn.get("role") != "assistant":
        return False
    return any(map(_sealed_block, _blocks(turn)))


def _sealed_block(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    return kind == "redacted_thinking" or (kind == "thinking" and bool(block.get("signature")))


def _sealed_content(turn: Any) -> bool:
    if not isinstance(turn, dict):
        return False
    for part in _blocks(turn):
        if isinstance(part, dict) and either(part, "thoughtSignature", "thought_signature"):
            return True
    return False


_SEALS: dict[str, Callable[[Any], bool]] = {
    "openai_chat": _sealed_chat,
    "openai_responses": _sealed_item,
    "anthropic": _sealed_message,
    "gemini": _sealed_content,
}
