"""One attempt's answer on its way to the client: judged, held until it may go, then copied.

Until the commit point nothing is sent, so that another attempt may still answer. From it on the
provider's blocks go straight into the client's transport, in the turn of the loop in which they
come.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from routeur.answers import about
from routeur.call import Attempt, Call
from routeur.dialects.opening import BrokenOpening, Opening, begins_well, check_whole, ping
from routeur.dialects.refusals import Refusal, read_refusal
from routeur.errors import RouteurError, UpstreamError
from routeur.headers import sane_id
from routeur.heads import CHUNKED, UNTIL_CLOSE, Head
from routeur.providers import Timeouts
from routeur.relay import Tap
from routeur.server import ClientConnection
from routeur.upstream import Connection
from routeur.usage import Price

HEADERS, FIRST_EVENT, FIRST_TOKEN = "headers", "first_event", "first_token"  # words of `commit`
# A provider that says so speaks of our key, not the client's.
OUR_CREDENTIAL = frozenset([401, 402, 403])
HOLD = 64 * 1024  # bytes of a stream, or of an error, that are held at most
HOLD_JSON = 256 * 1024  # of an unstreamed answer
LATE = 2.0  # seconds after the head: a comment that comes later says that the provider is alive
ERROR_BODY = 2.0  # seconds for which the rest of an error is waited for

# Some 400s are about our account: a key that Gemini does not know, credit that is used up.
_OURS_IN_400 = frozenset(["gemini", "anthropic"])
_JUDGED_BODY = (b"text/event-stream", b"application/json", b"text/html")
_RETRY_AFTER = re.compile(rb"\r\n(retry-after(?:-ms)?):[ \t]*([^\r]*)", re.IGNORECASE)


class Judged(UpstreamError):
    """A provider's error: `answered` is its status, `refusal` what its body says."""

    answered: int
    refusal: Refusal


class Refused(Judged):
    """An error that may justify another attempt. `reply` can still pass it on, if it is `whole`.

    `headers` are its `retry-after` and `retry-after-ms` where it has them.
    """

    def __init__(
        self, reply: Reply, answered: int, refusal: Refusal, head: Head, *, whole: bool
    ) -> None:
        super().__init__(f"the provider answered {answered}")
        if refusal.ours:
            self.code = "upstream_auth_error"
            self.message = (
                f"the provider refused the credential that routeur uses for it ({answered})"
            )
        self.reply = reply
        self.answered = answered
        self.refusal = refusal
        self.whole = whole
        found = _RETRY_AFTER.findall(head.passed)
        self.headers = {name.lower(): value for name, value in found}


class Broken(Judged):
    """A 200 that is none."""

    def __init__(self, opening: BrokenOpening) -> None:
        super().__init__(f"the provider {opening.reason}")
        self.answered = opening.status
        self.refusal = opening.refusal


@dataclass(frozen=True, slots=True)
class Manner:
    """How answers are dealt with, by what is configured for their provider, rule and route.

    `format` is the route's (None: the body is not looked at), `content` matches the first content
    of a stream in it. `speaks` is the target's format, where it is another one. `refuse` are
    statuses that justify another attempt, `dialect` is the provider's, `keepalive` the seconds
    after which a client that waits is told so.
    """

    limits: Timeouts
    commit: str
    refuse: frozenset[int]
    dialect: str
    format: str | None
    speaks: str | None
    content: re.Pattern[bytes] | None
    keepalive: float | None
    price: Price | None


class Reply(Tap):
    """Takes one attempt's answer from its connection, and gives it to the client.

    `manner` says when it may go, `keep` whether the client's connection stays open afterwards.
    """

    started = complete = final = False
    _head: Head | None = None
    _held: list[bytes]
    _size = 0  # bytes that are held
    _opening: Opening | None = None
    _at_end: Callable[[], None] | None = None  # what is left to do at the end of a held body
    _timer: asyncio.TimerHandle | None = None
    _fed = 0  # of `pieces`, to the opening

    manner: Manner
    attempt: Attempt
    call: Call
    client: ClientConnection
    connection: Connection
    keep: bool
    write: Callable[[bytes], object]
    out: Callable[[bytes], object]  # writes to the client

    def over(self, error: RouteurError | None) -> None:
        """Called once: the answer is complete, or will not come (to its end)."""
        raise NotImplementedError

    def settle(self) -> None:
        """Called when the answer is whole, before its last bytes go."""
        raise NotImplementedError

    def on_start(self) -> None:
        """Called at the commit point."""

    def unread(self) -> bool:
        """Whether the client's request is still being read."""
        return False

    def hopeful(self) -> bool:
        """Whether another attempt is allowed."""
        return False

    @property
    def secret(self) -> bytes:
        """Our key at the provider, if there is one that is no ordinary word."""
        return b""

    def expected(self) -> bytes:
        """The Content-Type that an answer has if it does not say."""
        return b"application/json"

    # ---- what a connection tells, and asks (receiver.Receiver)

    @property
    def gone(self) -> bool:
        transport = self.client.transport
        return transport is None or transport.is_closing()

    def head(self, head: Head, whole: bool) -> bytes:
        """Judge the head: what to write at once; raises UpstreamError for what is no answer.

        `whole`: the body has come with it.
        """
        attempt, manner, kind = self.attempt, self.manner, head.content_type
        status = attempt.status = head.status
        attempt.answered = time.perf_counter()
        streamed = kind.startswith(b"text/event-stream")
        if streamed or head.content_encoding or not kind.startswith(b"application/json"):
            self.expect(manner.content if streamed else None, kind, head.content_encoding)
        if status >= 300:
            if self._refuses(status):
                return self._collect(head, whole)
        elif manner.format is not None and manner.commit != HEADERS and status != 204:
            if whole and not head.content_encoding and self.pieces and self.pieces[0][:1] == b"{":
                self._check()
                self.first_token, self.watching = attempt.answered, False
            elif kind.startswith(_JUDGED_BODY) or not kind or (not self.pieces and whole):
                if not (streamed and self.pieces and self._begins_well(self.pieces[0], head)):
                    return self._hold(head)
        return self._begin(head)

    def ending(self) -> None:
        self.final = True
        if self.started and self._at_end is None:
            self.settle()

    def ended(self) -> None:
        self.final = True
        # The connection may be somebody else's by now: a slow client must not make it wait.
        self.client.source = None
        if self._at_end is not None:
            try:
                self._at_end()
            except UpstreamError as error:
                return self.failed(error)
            except RuntimeError:
                if self.gone:  # uvloop's word for it; we hear of it next
                    return
                raise
        self.complete = True
        if self._timer is not None:
            self._timer.cancel()
        self.over(None)

    def failed(self, error: RouteurError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.over(error)

    def gather(self) -> None:
        super().gather()
        self._fed = 0

    # ---- what others ask for

    def pass_on(self) -> None:
        """Send a refused answer after all: nobody has done better."""
        assert self._head is not None
        head, self._head = self._head, None
        begun = self._begin(head)
        self.settle()
        self.out(begun + b"".join(self._held))
        self.complete = True

    # ---- inside

    def _refuses(self, status: int) -> bool:
        """Whether to look at this status before the client sees it; raises for redirects."""
        if status < 400:
            if status != 304:
                raise UpstreamError(
                    "the provider answered with a redirect, which is never followed"
                )
            return False
        if status in OUR_CREDENTIAL or status in self.manner.refuse:
            return True
        return status == 400 and self.manner.dialect in _OURS_IN_400

    def _check(self) -> None:
        """A whole JSON answer that is none; raises Broken."""
        pieces = self.pieces
        try:
            check_whole(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        except BrokenOpening as broken:
            raise Broken(broken) from None

    def _collect(self, head: Head, whole: bool) -> bytes:
        """Hold an error's body: it says more, and may be passed on later."""
        self._head, self._held, self.write = head, [], self._collect_on
        self._at_end = self._judge_error
        if not whole:
            self._timer = self.client.loop.call_later(ERROR_BODY, self._no_more)
        return b""

    def _keep(self, data: bytes) -> int:
        """Hold a block; returns how many bytes are held."""
        self._held.append(data)
        self._size += len(data)
        return self._size

    def _collect_on(self, data: bytes) -> None:
        if self._keep(data) > HOLD:
            self._enough()

    def _no_more(self) -> None:
        """The rest of an error does not come."""
        try:
            self._enough()
        except UpstreamError as error:
            self.connection.refuse(self, error)

    def _enough(self) -> None:
        """More of an error is not held: another attempt is made, or it goes as it comes."""
        refused = self._refused(whole=False)
        if refused.refusal.ours or (self.attempt.status != 400 and self.hopeful()):
            raise refused
        self._go()

    def _refused(self, *, whole: bool) -> Refused:
        assert self._head is not None
        head, status, body = self._head, self.attempt.status, b"".join(self.pieces)
        refusal = read_refusal(self.manner.dialect, status, body, head.content_encoding)
        return Refused(self, status, refusal, head, whole=whole)

    def _hold(self, head: Head) -> bytes:
        """Hold a body until it has shown what it is."""
        self._head, self._held, self.write = head, [], self._hold_on
        self._at_end = self._judge_whole
        return b""

    def _begins_well(self, piece: bytes, head: Head) -> bool:
        """A quick look that lets most streams go at once; false decides nothing."""
        if self.manner.commit != FIRST_EVENT or head.content_encoding:
            return False
        return begins_well(piece)

    def _hold_on(self, data: bytes) -> None:
        assert self._head is not None
        size = self._keep(data)
        fresh = self.pieces[self._fed :]
        self._fed = len(self.pieces)
        opening = self._opening
        if opening is None:
            if fresh and self._begins_well(fresh[0], self._head):
                return self._go()
            opening = self._open(self._head)
        try:
            go = any(opening.feed(piece) for piece in fresh)
        except BrokenOpening as broken:
            raise Broken(broken) from None
        if not go and fresh and opening.idle and self.manner.commit == FIRST_EVENT:
            go = time.perf_counter() - self.attempt.answered > LATE
        if not go:
            most = HOLD_JSON if self._head.content_type.startswith(b"application/json") else HOLD
            go = size > most
        if go:
            self._go()

    def _open(self, head: Head) -> Opening:
        format, until = self.manner.format, self.manner.commit
        assert format is not None
        kind = head.content_type or self.expected()
        self._opening = Opening(format, kind, head.content_encoding, until=until)
        return self._opening

    def _judge_error(self) -> None:
        """An error's body is whole; raises Refused, unless it is about the request itself."""
        refused = self._refused(whole=True)
        if self.attempt.status != 400 or refused.refusal.ours:
            raise refused
        self._go()

    def _judge_whole(self) -> None:
        """The body is over before it has shown what it is; raises Broken where it is nothing."""
        assert self._head is not None
        try:
            (self._opening or self._open(self._head)).end()
        except BrokenOpening as broken:
            raise Broken(broken) from None
        self._go()

    def _go(self) -> None:
        """The commit point: what was held goes as it came, and from now on everything at once."""
        assert self._head is not None
        head, held = self._head, self._held
        self._head = self._opening = self._at_end = None
        self._held = []
        begun = self._begin(head)
        self.write = self.out
        self.connection.redirect(self, self.out)
        if self.final:
            self.settle()
        self.out(begun + b"".join(held))

    def _begin(self, head: Head) -> bytes:
        """The client's head. From here on this answer is the client's."""
        self.on_start()
        self.started = True
        if head.status >= 400 and self.secret:
            self._hide(self.secret)
        call, attempt = self.call, self.attempt
        sent, answered = attempt.sent, attempt.answered
        call.status, call.sent, call.first_byte = head.status, sent, answered
        if not call.request_id:
            call.request_id = sane_id(head.request_id.decode("latin-1")) or call.id
        # A body that is still being read must not be taken for the next request.
        if head.length == UNTIL_CLOSE or self.unread():
            self.keep = False
        framing = b"" if self.keep else b"Connection: close\r\n"
        chunked = head.length == CHUNKED and not self.decoded
        if chunked:
            framing += b"Transfer-Encoding: chunked\r\n"
        self.client.bare = head.length < 0 and not chunked
        if self.manner.keepalive is not None and head.status < 300:
            self._keep_alive(head, self.manner.keepalive)
        return b"HTTP/1.1%b%b%bServer-Timing: routeur;dur=%.2f, upstream;dur=%.2f\r\n%b\r\n" % (
            head.line[8:],
            head.passed,
            about(call, attempt.status),
            (sent - call.started) * 1e3,
            (answered - sent) * 1e3,
            framing,
        )

    def _hide(self, secret: bytes) -> None:
        """An error may repeat what it was asked with: our key stays here, its length does not
        change.
        """
        out, copied = self.out, self.write is self.out

        def write(data: bytes) -> object:
            return out(data.replace(secret, b"*" * len(secret)))

        self.out = write
        if copied:
            self.write = write

    def _keep_alive(self, head: Head, seconds: float) -> None:
        """Tell the client now and then that the answer is still to come."""
        form = self.manner.format
        frame = ping(form, head.content_type) if form else b""
        if not frame or head.content_encoding or head.length >= 0:
            return
        frame = self._as_block(frame, head)
        later = self.client.loop.call_later

        def send_ping() -> None:
            if not (self.connection.answering or self.client.writing_paused):
                self.out(frame)
                self._timer = later(seconds, send_ping)

        self._timer = later(seconds, send_ping)

    def _as_block(self, frame: bytes, head: Head) -> bytes:
        """A frame of ours as the client's framing wants it."""
        if head.length == CHUNKED and not self.decoded:
            return b"%x\r\n%b\r\n" % (len(frame), frame)
        return frame
