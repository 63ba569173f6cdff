"""Thought signatures: Gemini's own, the one that stands in for none, and those of other providers.

A Gemini client returns every part of an answer with its `thoughtSignature`, which is base64 and may
change its alphabet on the way. So what another provider has to get back with its reasoning travels
through it in a signature of ours, on a part that is a thought.
"""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64decode
from dataclasses import replace

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import string
from routeur.dialects.neutral import GEMINI, Reasoning

# Gemini 3 refuses a call of the current turn that has no signature; Google documents this one for
# calls that it did not make (ai.google.dev/gemini-api/docs/thought-signatures, "FAQs").
SKIP = b64encode(b"skip_thought_signature_validator").decode()

_MARK = b"routeur:"
_MARKED = b64encode(b"routeur:\0")[:10].decode()  # how base64 of it begins, in both alphabets


def carry(block: Reasoning, *, shown: bool) -> str:
    """The signature of a thought's part; with all of its text where that is not `shown` there."""
    if block.origin == GEMINI:
        return block.signature
    if not (block.signature or block.encrypted or block.id):
        return ""
    told = {
        "o": block.origin,
        "s": block.signature,
        "e": block.encrypted,
        "i": block.id,
        "t": "" if shown and not block.summary else block.text,
        "p": [] if shown and block.shown == "".join(block.summary) else block.summary,
        "q": bool(block.summary),
    }
    return b64encode(_MARK + exact.dumps(told)).decode()


def thought(text: str, signature: str, extra: Json) -> Reasoning:
    """A thought's part, as whoever thought it has to get it back."""
    if not signature.startswith(_MARKED):
        return Reasoning(text, signature=signature, origin=GEMINI, extra=extra)
    told = _told(signature)
    if told is None:
        return Reasoning(text, origin=GEMINI, extra=extra)
    block = Reasoning(
        signature=string(told.get("s")),
        encrypted=string(told.get("e")),
        origin=string(told.get("o")),
        id=string(told.get("i")),
    )
    if told.get("q"):
        parts = tuple(map(str, told.get("p") or ([text] if text else [])))
        return replace(block, summary=parts, text=string(told.get("t")))
    return replace(block, text=string(told.get("t")) or text)


def _told(signature: str) -> Json | None:
    plain = signature.replace("+", "-").replace("/", "_")
    try:
        value = exact.loads(urlsafe_b64decode(plain)[len(_MARK) :])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
