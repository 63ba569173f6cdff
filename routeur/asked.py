"""One attempt at a stream that is asked for usage although its client does not: the frame that has
it is read here, and withheld.
"""

from __future__ import annotations

import re
import time

from routeur.asking import STATUSES, Sieve, is_refused, with_question
from routeur.attempts import Attempts
from routeur.call import Attempt
from routeur.dialects.inflate import CODINGS, PLAIN, Inflater, inflate
from routeur.errors import RouteurError, UpstreamError
from routeur.facts import Facts
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head
from routeur.passage import Passage
from routeur.reply import HOLD
from routeur.routing import Place
from routeur.server import ClientConnection
from routeur.upstream import Stale

STEP = 1024 * 1024  # bytes that are inflated at once
INFLATE_AT_MOST = 64 * 1024 * 1024  # of one stream
IDENTITY = {b"accept-encoding": b"identity"}

_LENGTH = re.compile(rb"\r\ncontent-length:[^\r]*(?=\r\n)", re.IGNORECASE)
_CODING = re.compile(rb"\r\ncontent-encoding:[^\r]*(?=\r\n)", re.IGNORECASE)


class Unasked(Stale):
    """The provider does not know the question: once more without it, on a new connection."""


class AskedPassage(Passage):
    """Asks for usage, and keeps the answer to that question from the client.

    A provider that refuses the question gets the client's own body, and `asking` is told if that
    helps: it will not be asked again.
    """

    without = frozenset(IDENTITY)
    _asks = True
    _sieve: Sieve | None = None  # of an answer that is an event stream
    _inflater: Inflater | None = None  # of one that is coded all the same
    _inflated = 0  # bytes
    _chunked = False  # the client's framing

    def __init__(
        self, attempts: Attempts, place: Place, facts: Facts, client: ClientConnection
    ) -> None:
        super().__init__(attempts, place, facts, client)
        assert self.body is not None
        self._asking = attempts.asking
        self._own_body = self.body
        self.body = with_question(self.body, facts.doc)

    def head_lines(self) -> bytes:
        facts, endpoint = self.facts, self.place.endpoint
        return endpoint.head(facts.method, self.target, facts.inbound, self.without, IDENTITY)

    # ---- what its answer does

    def head(self, head: Head, whole: bool) -> bytes:
        if self._asks and 200 <= head.status < 300:
            self._look_at(head)
        first = super().head(head, whole)
        if self._sieve is None or not first:
            return first
        self.write, self._at_end = self._relay, self._end
        self.out(first + self._framed(self._passed()))
        return b""

    def over(self, error: RouteurError | None) -> None:
        if isinstance(error, Unasked):
            self._begin_again(error)
        super().over(error)

    def on_start(self) -> None:
        super().on_start()
        self._own_body = b""
        if not self._asks and self.attempt.status < 300:
            self._asking.refused(self.place)

    # ---- a provider that refuses the question

    def _refuses(self, status: int) -> bool:
        return super()._refuses(status) or (self._asks and status in STATUSES)

    def _judge_error(self) -> None:
        assert self._head is not None
        body = inflate(b"".join(self.pieces), self._head.content_encoding, HOLD)
        if self._asks and is_refused(self.attempt.status, body):
            raise Unasked("the provider does not know `stream_options.include_usage`")
        if super()._refuses(self.attempt.status):
            super()._judge_error()
        else:
            self._go()

    def _enough(self) -> None:
        if super()._refuses(self.attempt.status):
            super()._enough()
        else:
            self._go()

    def _begin_again(self, error: Unasked) -> None:
        """As if nothing had come, and nothing had been asked."""
        self._book(error.message)
        place, number = self.place, self.attempt.number
        self.attempt = Attempt(place.name, place.standing.credential.name, number=number)
        self.call.attempts.append(self.attempt)
        self._began, self.booked = time.perf_counter(), False
        self.body, self._asks = self._own_body, False
        self.write, self._head, self._at_end = self.out, None, None
        self._held, self._size, self._fed = [], 0, 0
        self.pieces = []
        self.first = self.last = b""
        self.total, self._pattern, self._inflate = 0, None, None
        self.first_token, self.watching = 0.0, True

    # ---- a stream

    def _look_at(self, head: Head) -> None:
        """Frames are cut of an event stream, in a coding that can be read."""
        kind = head.content_type.lower() or self.expected()
        if not kind.startswith(b"text/event-stream") or not head.length:
            return
        if head.content_encoding in CODINGS:
            self._inflater = Inflater(head.content_encoding)
        elif head.content_encoding not in PLAIN:
            return
        self._sieve = Sieve()

    def _keep(self, data: bytes) -> int:
        if self._sieve is None:
            return super()._keep(data)
        return super()._keep(b"".join(self.pieces[self._fed :]))

    def _go(self) -> None:
        if self._sieve is None:
            return super()._go()
        assert self._head is not None
        head, held = self._head, b"".join(self._held)
        self._head = self._opening = None
        self._held = []
        self._fed = len(self.pieces)
        self.write, self._at_end = self._relay, self._end
        self.connection.redirect(self, self._relay)
        self.out(self._begin(head) + self._framed(self._sifted(held)))

    def _judge_whole(self) -> None:
        super()._judge_whole()
        if self._sieve is not None:
            self._end()

    def _begin(self, head: Head) -> bytes:
        if self._sieve is None:
            return super()._begin(head)
        passed = _LENGTH.sub(b"", head.passed)
        if self._inflater is not None:
            passed = _CODING.sub(b"", passed)
        self._chunked = self.facts.modern
        length = CHUNKED if self._chunked else UNTIL_CLOSE
        kind, id = head.content_type, head.request_id
        return super()._begin(Head(head.status, head.line, passed, length, kind, b"", id))

    def _relay(self, data: bytes) -> None:
        """A block, of which `pieces` has what it holds."""
        text = self._framed(self._passed())
        if text:
            self.out(text)

    def _passed(self) -> bytes:
        """What the client gets of the pieces that are new."""
        pieces, fed = self.pieces, self._fed
        self._fed = len(pieces)
        new = pieces[fed] if len(pieces) == fed + 1 else b"".join(pieces[fed:])
        return self._sifted(new)

    def _sifted(self, data: bytes) -> bytes:
        assert self._sieve is not None
        return self._sieve.feed(data if self._inflater is None else self._without_coding(data))

    def _without_coding(self, data: bytes) -> bytes:
        """A block without its content coding; raises UpstreamError."""
        assert self._inflater is not None
        pieces = []
        try:
            while piece := self._inflater.feed(data, STEP):
                pieces.append(piece)
                data = b""
                self._inflated += len(piece)
                if self._inflated > INFLATE_AT_MOST:
                    raise UpstreamError("the provider sent a compressed stream without end")
        except ValueError:
            raise UpstreamError("the provider sent a body that cannot be inflated") from None
        return b"".join(pieces)

    def _framed(self, text: bytes) -> bytes:
        if not text or not self._chunked:
            return text
        return b"%x\r\n%b\r\n" % (len(text), text)

    def _end(self) -> None:
        """The stream is over, and whole."""
        assert self._sieve is not None
        if self._inflater is not None and not self._inflater.whole:
            raise UpstreamError("the provider broke off its answer")
        text = self._framed(self._sieve.end(whole=True))
        if self._chunked:
            text += b"0\r\n\r\n"
        self.settle()
        if text:
            self.out(text)

    def _cut(self, error: RouteurError) -> None:
        if self._sieve is not None and not self.gone:
            self.out(self._framed(self._sieve.end(whole=False)))
        super()._cut(error)
