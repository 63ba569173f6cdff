"""What an answer has used, once it is over: read from what the tap kept, estimated where it does
not say.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from routeur.dialects import FORMATS
from routeur.dialects.base import Json, Usage
from routeur.dialects.usage_tail import estimated_usage, streamed_usage
from routeur.facts import Facts
from routeur.relay import Tap

# How paths end at which tokens are counted: nobody charges for that, and no answer says usage.
COUNTS = ("/count_tokens", ":countTokens", "/input_tokens")


class _Document(msgspec.Struct, rename={"metadata": "usageMetadata"}):
    """What tells usage in a whole answer, and of what; the rest of it is passed over."""

    usage: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    type: str | None = None
    choices: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_document = msgspec.json.Decoder(_Document).decode
_NOTHING = _Document()


def used(facts: Facts, tap: Tap, *, whole: bool) -> tuple[Usage | None, bool]:
    """What an answer has used, and whether that is an estimate. `whole`: it came to its end."""
    route = facts.route
    if facts.format is None or not (route.creates or _is_unread(facts)):
        return None, False  # what was made before has been counted then
    form = FORMATS[facts.format]
    if whole and (document := tap.document()):
        try:
            usage = form.usage(_members(document))
            if usage is not None:
                return usage, False
        except orjson.JSONDecodeError:
            pass
    tap.gather()
    if whole:
        usage = streamed_usage(form, tap.first, tap.last, tap.total <= len(tap.last))
        if usage is not None:
            return usage, False
    if facts.path.endswith(COUNTS):
        return None, False
    return estimated_usage(form, tap.first, tap.last, tap.total, facts.prompt()), True


def _members(document: bytes) -> Json:
    """The members of an answer, at least those that tell usage; raises orjson.JSONDecodeError."""
    try:
        found = _document(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = _NOTHING
    if found.usage is None:
        if found.metadata is None:
            members: Json = orjson.loads(document)
            return members
        return {"usageMetadata": found.metadata}
    members = {"usage": found.usage, "type": found.type}
    if found.choices is not msgspec.UNSET:
        members["choices"] = ()
    if found.data is not msgspec.UNSET:
        members["data"] = ()
    return members


def _is_unread(facts: Facts) -> bool:
    """Whether it may make something at a path of which only bytes are copied."""
    return facts.method == "POST" and facts.route.path == "*"
