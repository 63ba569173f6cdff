"""How an answer with a good status begins: whether it may go to the client, or has failed already.

A 200 can hold an error, an HTML page, or nothing. While nothing of it has been sent, that is an
attempt that failed, and another can follow.
"""

from __future__ import annotations

import re
from typing import Protocol

import orjson

from routeur.dialects import FORMATS, sse
from routeur.dialects.array import Elements
from routeur.dialects.inflate import CODINGS, PLAIN, Inflater
from routeur.dialects.loose import members
from routeur.dialects.refusals import Refusal, refusal_of, status_of

HOLD = 64 * 1024  # bytes of a stream after which it goes, whatever it holds
HOLD_WHOLE = 256 * 1024  # the same of one JSON document

_EVENT_STREAM = b"text/event-stream"
_HTML = (b"text/html", b"application/xhtml+xml")

# A stream that ends well without content: stopped at once, refused, blocked.
_FINISHED = {
    "openai_chat": re.compile(
        rb'"finish_reason"\s*+:\s*+"|"type"\s*+:\s*+"[a-z_.]+\.(?:done|completed)"'
    ),
    "openai_responses": re.compile(rb'"type"\s*+:\s*+"response\.(?:completed|incomplete)"'),
    "anthropic": re.compile(rb'"stop_reason"\s*+:\s*+"|"type"\s*+:\s*+"message_stop"'),
    "gemini": re.compile(rb'"(?:finishReason|finish_reason|blockReason|block_reason)"\s*+:\s*+"'),
}

# google-genai reads a comment as JSON, and Google's Go package calls it an invalid chunk; both
# pass over an empty event. A JSON array has no such frame: google-api-core wants `[` first.
_PINGS = {
    "openai_chat": b": keep-alive\n\n",
    "openai_responses": b": keep-alive\n\n",
    "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n',
    "gemini": b"\n\n",
}

_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*+<")
_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?\s*+([^\s\xef])")
_BARE = re.compile(rb"(?:\xef\xbb\xbf)?\s*+[{\[]")
# Lines that tell a reader nothing: comments, `id`, `retry`, empty ones; the last may be unfinished.
_SILENT = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?:(?::|id:|retry:)[^\r\n]*+)?[\r\n])*+(?::[^\r\n]*+)?")
_PLAIN_EVENT = re.compile(rb"(?:event: ?(?!error)[\w.]++\r?\n)?data: ?\{")
_ERROR = re.compile(
    rb'"error"\s*+:\s*+(?!null)|"(?:type|object)"\s*+:\s*+"(?:error|response\.failed)"'
)
# What a whole answer does not begin with.
_SUSPECT = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*+(?:[^\s{\[]|\[?\s*+\{\s*+"(?:error"|(?:type|object)"\s*+:\s*+"error"))'
)
_ENDS = (b"}", b"]", b"}\n", b"]\n")
_CONTENT = ("choices", "output", "content", "candidates", "data")  # what an answer is made of


class BrokenOpening(Exception):
    """An answer that is a failed attempt. `reason` completes "the provider ...".

    `status` is what the error stands for, 502 if it does not say; `refusal` is the rest it says.
    """

    def __init__(self, reason: str, status: int = 502, refusal: Refusal | None = None) -> None:
        super().__init__(f"the provider {reason}")
        self.reason = reason
        self.status = status
        self.refusal = refusal or Refusal()

    @property
    def kind(self) -> str | None:
        """The provider's own code or type."""
        return self.refusal.code


def ping(format: str, content_type: bytes) -> bytes:
    """What can be sent before and between events so that a client waits on; maybe nothing."""
    return _PINGS[format] if _kind(content_type) == _EVENT_STREAM else b""


def begins_well(piece: bytes) -> bool:
    """Whether this first piece of an event stream is enough to let it go: what nearly all are.

    False says nothing: Opening has to look.
    """
    if not _PLAIN_EVENT.match(piece):
        return False
    end = piece.find(b"\n\n")
    if end < 0:
        end = piece.find(b"\r\n\r\n")
    if end < 0 or piece.find(b"response.failed", 0, end) >= 0:
        return False
    if piece.find(b'"error"', 0, end) < 0:
        return True
    # Responses says all along that there is none
    return piece.count(b'"error"', 0, end) == piece.count(b'"error":null', 0, end)


def is_well(data: bytes) -> bool:
    """Whether a look is enough to let a complete answer go: an object in JSON, as nearly all are.

    False says nothing: `check_whole` has to look.
    """
    return data[:1] == b"{" and data.endswith(_ENDS) and not _SUSPECT.match(data)


def check_whole(data: bytes) -> None:
    """Look at a complete JSON answer, in no coding; raises BrokenOpening for a failed attempt."""
    if not is_well(data):
        _examine(data)


def _examine(data: bytes, format: str = "") -> None:
    if not data or data.isspace():
        raise BrokenOpening("sent an empty answer")
    if _MARKUP.match(data):
        raise BrokenOpening("sent an HTML page")
    if not _BARE.match(data) or not data[-64:].rstrip().endswith(_ENDS):
        raise BrokenOpening("sent an answer that is not a whole JSON document")
    document = _parsed(data) if _SUSPECT.match(data) else None
    if isinstance(document, list) and document:
        document = document[0]
    if _is_error(document) and not any(map(members(document).get, _CONTENT)):
        raise _broken("sent an error as if it were an answer", format, document)


class Opening:
    """Says when an answer may begin to go to the client. One for each held answer.

    `until` is `first_event` or `first_token`; `format` a name in FORMATS. What is neither JSON nor
    an event stream, or in a coding that cannot be read here, may go with its first byte.
    """

    __slots__ = ("_inflater", "_left", "_reader")

    def __init__(
        self, format: str, content_type: bytes, content_encoding: bytes, *, until: str
    ) -> None:
        kind = _kind(content_type)
        coding = content_encoding.strip().lower()
        self._reader = _reader(format, kind, until)
        if coding not in PLAIN and coding not in CODINGS and kind not in _HTML:
            self._reader = _Anything()
        self._inflater = Inflater(coding) if coding in CODINGS else None
        self._left = self._reader.hold

    @property
    def idle(self) -> bool:
        """Whether something has come, but nothing except comments."""
        return self._left < self._reader.hold and self._reader.silent

    def feed(self, piece: bytes) -> bool:
        """A piece of the body, without its transfer framing. True: the answer may go from here on.

        Raises BrokenOpening where this is a failed attempt.
        """
        data = self._inflated(piece) if self._inflater else piece
        self._left -= max(len(piece), len(data))
        return self._reader.feed(data) or self._left <= 0

    def end(self) -> None:
        """The body is over before `feed` said True. Raises BrokenOpening, or else it may go."""
        if self._inflater and self._left < self._reader.hold and not self._inflater.whole:
            raise BrokenOpening("sent compressed data that breaks off")
        self._reader.end()

    def _inflated(self, piece: bytes) -> bytes:
        assert self._inflater is not None
        try:
            return self._inflater.feed(piece, max(1, self._left))
        except ValueError as error:
            raise BrokenOpening("sent broken compressed data") from error


class _Reader(Protocol):
    """Looks at an answer of one kind. `silent`: what has come so far tells a reader nothing."""

    hold: int

    @property
    def silent(self) -> bool: ...

    def feed(self, data: bytes) -> bool: ...

    def end(self) -> None: ...


def _reader(format: str, kind: bytes, until: str) -> _Reader:
    if kind in _HTML:
        return _Page()
    content = FORMATS[format].FIRST_TOKEN if until == "first_token" else None
    if kind == _EVENT_STREAM:
        return _Events(format, content)
    if kind == b"application/json" or kind.endswith(b"+json"):
        return _Json(format, content)
    return _Anything(not kind)


class _Anything:
    """Sound, text, and what nothing is known of: all it can be is empty, or a page."""

    hold = HOLD
    silent = False

    def __init__(self, look: bool = False) -> None:
        self._look = look

    def feed(self, data: bytes) -> bool:
        if self._look and _MARKUP.match(data):
            raise BrokenOpening("sent an HTML page")
        return bool(data)

    def end(self) -> None:
        raise BrokenOpening("sent an empty answer")


class _Page:
    """An HTML page."""

    hold = HOLD
    silent = False

    def feed(self, data: bytes) -> bool:
        raise BrokenOpening("sent an HTML page")

    def end(self) -> None:
        raise BrokenOpening("sent an HTML page")


class _Events:
    """An event stream."""

    hold = HOLD

    def __init__(self, format: str, content: re.Pattern[bytes] | None) -> None:
        self._judge = _Judge(format, content)
        self._frames = sse.Frames()

    @property
    def silent(self) -> bool:
        return not self._judge.seen and _SILENT.fullmatch(self._frames.rest) is not None

    def feed(self, data: bytes) -> bool:
        for frame in self._frames.feed(data):
            if self._passes(frame):
                return True
        if not self._judge.seen and _MARKUP.match(self._frames.rest):
            raise BrokenOpening("sent an HTML page")
        return False

    def end(self) -> None:
        rest = self._frames.rest
        if rest and self._passes(rest + b"\n\n", whole=False):  # Google leaves out the blank line
            return
        self._judge.end()

    def _passes(self, frame: bytes, whole: bool = True) -> bool:
        payload = sse.data(frame)
        if payload is None and _BARE.match(frame):
            payload = frame  # Google's errors come so, without `data:`
        if payload is None and _MARKUP.match(frame):
            raise BrokenOpening("sent an HTML page")
        name = sse.event(frame)
        if name != b"error" and (not payload or payload.isspace()):
            return False
        return self._judge.passes(payload or b"", name, whole)


class _Json:
    """A JSON document, held until it is whole; with Gemini an array is a stream."""

    hold = HOLD_WHOLE
    silent = False

    def __init__(self, format: str, content: re.Pattern[bytes] | None) -> None:
        self._format = format
        self._judge = _Judge(format, content)
        self._pieces: list[bytes] = []
        self._elements: Elements | None = None
        self._begun = False

    def feed(self, data: bytes) -> bool:
        if self._elements is None:
            self._pieces.append(data)
            data = b"".join(self._pieces) if not self._begun else b""
        if not self._begun and (first := _FIRST.match(data)):
            if first[1] == b"<":
                raise BrokenOpening("sent an HTML page")
            self._begun = True
            if first[1] == b"[" and self._format == "gemini":
                self._elements = Elements()
        if self._elements is None:
            return False
        found = self._elements.feed(data)
        return any(map(self._judge.passes, found)) or len(self._elements.rest) > HOLD

    def end(self) -> None:
        if self._elements is None:
            return _examine(b"".join(self._pieces), self._format)
        if not self._elements.closed:
            raise BrokenOpening("broke off within a JSON array")
        self._judge.end()


class _Judge:
    """Says of each whole event whether the answer may go with it.

    `content` is what has to have come until then; None: any event will do.
    """

    def __init__(self, format: str, content: re.Pattern[bytes] | None) -> None:
        self.seen = False  # whether there was an event
        self._format = format
        self._content = content
        self._finished = _FINISHED[format]

    def passes(self, payload: bytes, name: bytes = b"", whole: bool = True) -> bool:
        """Whether the answer may go; raises BrokenOpening for an error, and for an end."""
        if name == b"error" or b'"error"' in payload or b'"response.failed"' in payload:
            self._check(payload, name)
        if payload.strip() == b"[DONE]":
            self.end()
        if not whole and _parsed(payload) is None:
            raise BrokenOpening("broke off within the first event of its stream")
        self.seen = True
        if self._content is None:
            return True
        return bool(self._content.search(payload) or self._finished.search(payload))

    def _check(self, payload: bytes, name: bytes) -> None:
        if name != b"error" and not _ERROR.search(payload):
            return
        document = _parsed(payload)
        if (
            name == b"error"
            or _is_error(document)
            or (document is None and _SUSPECT.match(payload))
        ):
            raise _broken("began its stream with an error", self._format, document)

    def end(self) -> None:
        """The stream is over; raises BrokenOpening."""
        if self.seen:
            raise BrokenOpening("ended its stream before any content came")
        raise BrokenOpening("sent an empty stream")


def _kind(content_type: bytes) -> bytes:
    """A Content-Type without its parameters."""
    return content_type.partition(b";")[0].strip().lower()


def _parsed(data: bytes) -> object:
    """A JSON document; None if it is none, or too long to look into."""
    try:
        return orjson.loads(data.removeprefix(sse.BOM)) if len(data) <= HOLD else None
    except orjson.JSONDecodeError:
        return None


def _is_error(document: object) -> bool:
    outer = members(document)
    kinds = (outer.get("type"), outer.get("object"))
    return bool(outer.get("error")) or "error" in kinds or "response.failed" in kinds


def _broken(reason: str, format: str, document: object) -> BrokenOpening:
    status = status_of(document)
    refusal = refusal_of(format, status, document)
    return BrokenOpening(f"{reason}: {refusal.code}" if refusal.code else reason, status, refusal)
