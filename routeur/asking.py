"""Streams of Chat Completions that are asked for usage by us, not by their clients.

OpenAI's API description: `stream_options.include_usage` adds one more chunk before `[DONE]`, with
usage and empty `choices`; all others have `usage: null`. Completions have the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from routeur.body import members
from routeur.dialects import sse
from routeur.dialects.base import Json

if TYPE_CHECKING:
    from routeur.facts import Facts
    from routeur.routing import Place

PATHS = frozenset(["/v1/chat/completions", "/chat/completions", "/v1/completions"])
STATUSES = frozenset([400, 422])  # with which a member of the body is refused
LONGEST = 16 * 1024  # bytes of a frame that can be the one with usage; all known ones are below 2
REMEMBERED = 1024  # targets; clients invent names of models, so there has to be an end

_OPTIONS, _USAGE = "stream_options", "include_usage"
_NAMES = re.compile(b"stream_options|include_usage")
_SPACE = b" \t\r\n"
_ENDS = (b"\n\n", b"\r\n\r\n")  # of nearly all chunks
_REACH = 3  # bytes of a blank line that may have come already
# An event's data may be cut into lines wherever JSON may have space.
_GAP = rb"(?:\s|data:)*+"
_EMPTY = re.compile(rb'"choices"' + rb"%b:%b\[%b\]" % (_GAP, _GAP, _GAP))


class Asking:
    """Whom to ask: remembers which models of which providers do not take the question."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, str], None] = {}

    def asks(self, facts: Facts, place: Place, limited: bool) -> bool:
        """Whether routeur asks for usage that the client does not ask for.

        `limited`: the caller's key has a limit of money or tokens.
        """
        if not facts.stream or not (limited or place.endpoint.provider.usage_ask):
            return False
        if place.manner.speaks is not None or facts.route.path not in PATHS:
            return False
        known = (place.target.provider, place.id)
        return known not in self._refused and may_ask(facts.doc)

    def refused(self, place: Place) -> None:
        """This place has answered only without the question."""
        if len(self._refused) >= REMEMBERED:
            del self._refused[next(iter(self._refused))]
        self._refused[place.target.provider, place.id] = None


def may_ask(doc: Json) -> bool:
    """Whether a body does not ask yet, and says so in words that providers know.

    What they would refuse is theirs to refuse.
    """
    options = doc.get(_OPTIONS)
    if not isinstance(options, dict):
        return options is None
    asked = options.get(_USAGE)
    return asked is None or asked is False


def with_question(raw: bytes, doc: Json) -> bytes:
    """The body with `stream_options.include_usage`; every other byte stays.

    `raw` has passed `body.parse`, `doc` is what it says, `may_ask(doc)` is true.
    """
    if _OPTIONS not in doc:
        return _added(raw, b'"stream_options":{"include_usage":true}')
    start, end = _span(raw, _OPTIONS)
    options = raw[start:end]
    if doc[_OPTIONS] is None:
        options = b'{"include_usage":true}'
    elif _USAGE in doc[_OPTIONS]:
        at, to = _span(options, _USAGE)
        options = options[:at] + b"true" + options[to:]
    else:
        options = _added(options, b'"include_usage":true')
    return b"".join((raw[:start], options, raw[end:]))


def is_refused(status: int, body: bytes) -> bool:
    """Whether an error says that the provider does not know the question."""
    return status in STATUSES and _NAMES.search(body) is not None


class Sieve:
    """Withholds the frames with usage and empty `choices` of one stream, whatever its chunks.

    What comes out is the stream but for them, byte for byte.
    """

    __slots__ = ("_frames", "_line_feed", "_sent")

    def __init__(self) -> None:
        self._frames = sse.Frames()
        self._sent = 0  # bytes of the frame under way that are out: it is too long to be the one
        # A frame has ended with a CR: what becomes of a LF that belongs to it.
        self._line_feed: bytes | None = None

    def feed(self, data: bytes) -> bytes:
        """What of the stream can go with these bytes; a frame waits until it is whole."""
        if not data:
            return b""
        frames = self._frames
        out = []
        if self._line_feed is not None:
            if data.startswith(b"\n"):
                data = data[1:]
                out.append(self._line_feed)
            self._line_feed = None
        if data.endswith(_ENDS) and not self._sent:
            whole = frames.rest + data
            if not _EMPTY.search(whole):  # as nearly always
                frames.rest = b""
                return b"".join((*out, whole)) if out else whole
        for frame in frames.feed(data):
            passes = bool(self._sent) or not has_only_usage(frame)
            out.append(frame[self._sent :] if passes else _before(frame))
            self._line_feed = b"\n" if passes else b""
            self._sent = 0
        if frames.rest or not data.endswith(b"\r"):
            self._line_feed = None
        if self._sent or len(frames.rest) > LONGEST:
            out.append(frames.rest[self._sent :])
            frames.rest = frames.rest[-_REACH:]
            self._sent = len(frames.rest)
        return b"".join(out)

    def end(self, *, whole: bool) -> bytes:
        """The rest of a stream that is over. `whole`: it has not broken off."""
        rest = self._frames.rest
        if not self._sent and (has_only_usage(rest) or (not whole and _EMPTY.search(rest))):
            return _before(rest)
        return rest[self._sent :]


def has_only_usage(frame: bytes) -> bool:
    """Whether a frame is the one that the question adds.

    One with content is not, even if it has usage: some providers attach that to their last words.
    """
    if not _EMPTY.search(frame):
        return False
    try:
        document = orjson.loads(sse.data(frame) or b"")
    except orjson.JSONDecodeError:
        return False
    if not isinstance(document, dict) or document.get("choices") != []:
        return False
    return isinstance(document.get("usage"), dict)


def _before(frame: bytes) -> bytes:
    """The empty lines before a frame, which are none of its own."""
    return frame[: len(frame) - len(frame.lstrip(b"\r\n"))]


def _span(raw: bytes, name: str) -> tuple[int, int]:
    """Where a member's value stands: of several the last, which is what counts."""
    return next((start, end) for each, start, end in reversed(members(raw)) if each == name)


def _added(raw: bytes, member: bytes) -> bytes:
    """An object with one more member at its end."""
    at = len(raw[: raw.rindex(b"}")].rstrip(_SPACE))
    comma = b"" if raw[at - 1 : at] == b"{" else b","
    return b"".join((raw[:at], comma, member, raw[at:]))
