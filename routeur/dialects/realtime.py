"""OpenAI's Realtime API: what its events say of usage. All else passes unread.

Source of truth: OpenAI's OpenAPI description as of the Python package openai 3.3.1.
"""

from __future__ import annotations

import json
import re

from routeur.dialects import exact
from routeur.dialects.base import Json, Usage
from routeur.dialects.loose import either, is_count, members, shares, tokens

DONE = b"response.done"

CHARACTERS_PER_TOKEN = 4
# PCM of 24 kHz in base64, 64,000 characters a second, of which an answer has 20 tokens.
AUDIO_PER_TOKEN = 3200

_START = 1024  # bytes at a message's beginning in which its type stands
_TYPE = re.compile(rb'"type"\s*+:\s*+"([a-z_.]+)"')
_DELTA = re.compile(rb'"delta"\s*+:\s*+"')


def kind(message: bytes) -> bytes:
    """An event's type, as far as its beginning tells."""
    found = _TYPE.search(message, 0, _START)
    return found[1] if found else b""


def done(message: bytes) -> tuple[bool, Usage | None]:
    """Whether a whole event ends an answer, and what that has used, if it says so.

    Of a message whose middle was left out only the usage is found.
    """
    if DONE not in message:
        return False, None
    try:
        event = exact.loads(message)
    except ValueError:
        over = kind(message) == DONE
        return over, _usage_at_end(message) if over else None
    if not isinstance(event, dict) or event.get("type") != DONE.decode():
        return False, None
    return True, usage(members(members(event.get("response")).get("usage")))


def _usage_at_end(message: bytes) -> Usage | None:
    text = message.decode(errors="replace")
    at = text.rfind('"usage"')
    if at < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(text, text.index("{", at))
    except ValueError:
        return None
    return usage(members(found))


def usage(raw: Json) -> Usage | None:
    """Tokens in disjoint buckets: what came from a cache counts there, be it text or sound."""
    went_in, came_out = raw.get("input_tokens"), raw.get("output_tokens")
    if not is_count(went_in) and not is_count(came_out):
        return None
    ins = members(either(raw, "input_token_details", "input_tokens_details"))
    outs = members(either(raw, "output_token_details", "output_tokens_details"))
    cached = members(ins.get("cached_tokens_details"))

    def fresh(name: str) -> int:
        return max(tokens(ins.get(name)) - tokens(cached.get(name)), 0)

    found = Usage()
    found.input, found.cache_read, found.audio_in, found.image_in = shares(
        tokens(went_in),
        tokens(ins.get("cached_tokens")),
        fresh("audio_tokens"),
        fresh("image_tokens"),
    )
    found.output, found.reasoning, found.audio_out = shares(
        tokens(came_out), tokens(outs.get("reasoning_tokens")), tokens(outs.get("audio_tokens"))
    )
    return found


class Meter:
    """What the answers of one connection have used: those that are over, and the one under way.

    `before` are the tokens of the conversation so far, which the next answer reads again.
    `guessed`: an answer has not said what it has used.
    """

    __slots__ = ("_audio", "_text", "before", "busy", "guessed")

    def __init__(self) -> None:
        self.busy = self.guessed = False
        self.before = 0
        self._text = self._audio = 0  # characters

    def take(self, message: bytes) -> Usage | None:
        """For each event of the provider's in turn: what the answer that it ends has used."""
        what = kind(message)
        if what == b"response.created":
            self.busy = True
        elif what.startswith(b"response.") and what.endswith(b".delta"):
            self._add(what, message)
        over, found = done(message)
        if not over:
            return None
        if found is None and self.busy:
            found, self.guessed = self.so_far(), True
        self.busy = False
        self._text = self._audio = 0
        if found is not None:
            self.before = found.total
        return found

    def _add(self, what: bytes, message: bytes) -> None:
        found = _DELTA.search(message)
        if found is None:
            return
        self.busy = True
        size = message.find(b'"', found.end()) - found.end()
        if what.endswith(b"audio.delta"):
            self._audio += size
        else:
            self._text += size

    def so_far(self) -> Usage:
        """What the answer under way has used, estimated."""
        found = Usage()
        if self.busy:
            found.input = self.before
            found.output = -(-self._text // CHARACTERS_PER_TOKEN)
            found.audio_out = -(-self._audio // AUDIO_PER_TOKEN)
        return found


def write_error(type: str, code: str, message: str) -> bytes:
    """An `error` event."""
    error = {"type": type, "code": code, "message": message, "param": None, "event_id": None}
    return exact.dumps({"type": "error", "event_id": "event_routeur", "error": error})
