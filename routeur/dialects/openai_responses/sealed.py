"""What other providers signed or sealed, carried by a Responses client as `encrypted_content`.

A client sends reasoning items back as they came, so that they are where signatures survive: of a
Reasoning with its text (a client may cut what is shown), of a ToolCall, named by its id, and of the
Text before. OpenAI's own content stays as it is.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.loose import members
from routeur.dialects.neutral import RESPONSES, Block, Reasoning, Text, ToolCall
from routeur.dialects.neutral.events import Signed

_HEAD = "routeur.1."  # no base64, so nothing that OpenAI's own content can begin with


@dataclass(slots=True)
class Seal:
    """What has come of a block's signature, and of a Reasoning's text."""

    block: Block
    signature: str = ""
    encrypted: str = ""
    origin: str = ""
    text: list[str] = field(default_factory=list)

    def add(self, event: Signed) -> None:
        """What is not empty replaces what was there."""
        self.signature = event.signature or self.signature
        self.encrypted = event.encrypted or self.encrypted
        self.origin = event.origin or self.origin

    def reasoning(self) -> str:
        """The encrypted content of a Reasoning: OpenAI's own as it is, "" if nothing is sealed."""
        if self.origin in ("", RESPONSES):
            return self.encrypted
        if not (self.signature or self.encrypted):
            return ""
        return _seal(
            origin=self.origin,
            text="".join(self.text),
            signature=self.signature,
            encrypted=self.encrypted,
        )

    def other(self) -> str:
        """The content of an item of its own for a call's or text's signature; "" without one."""
        if not self.signature:
            return ""
        if isinstance(self.block, ToolCall):
            return _seal(origin=self.origin, call=self.block.id, signature=self.signature)
        if isinstance(self.block, Text):
            return _seal(origin=self.origin, after="text", signature=self.signature)
        return ""


def seal_of(block: Block) -> Seal:
    """What a block has when it opens."""
    match block:
        case Reasoning():
            return Seal(block, block.signature, block.encrypted, block.origin)
        case Text() | ToolCall():
            return Seal(block, block.signature, origin=block.origin)
    return Seal(block)


def unseal(content: str) -> Json | None:
    """The strings that were sealed; None: it is not of our making, or broken."""
    if not content.startswith(_HEAD):
        return None
    try:
        found = members(exact.loads(b64decode(content[len(_HEAD) :], validate=True)))
    except (ValueError, binascii.Error):
        return None
    sound = "origin" in found and all(isinstance(each, str) for each in found.values())
    return found if sound else None


def is_sealed(content: str) -> bool:
    """Whether we made it: then it is nothing to OpenAI."""
    return content.startswith(_HEAD)


def _seal(**said: str) -> str:
    told = {name: value for name, value in said.items() if value or name == "origin"}
    return _HEAD + b64encode(exact.dumps(told)).decode()
