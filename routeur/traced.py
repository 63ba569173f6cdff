"""An answer that gets a block `routeur`, for `Routeur-Trace: true`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from routeur.answers import with_block
from routeur.dialects.opening import BrokenOpening
from routeur.headers import sane_id
from routeur.heads import BODILESS, Head
from routeur.reply import Broken, Reply

AT_MOST = 16 * 1024 * 1024  # bytes of an answer; a larger one goes as it is

_LENGTH = re.compile(rb"\r\ncontent-length:[^\r]*(?=\r\n)", re.IGNORECASE)


class Traced(Reply):
    """An answer that is held whole, and gets a top-level block `routeur` if it is a JSON object.

    `measure` reads what the answer has used.
    """

    measure: Callable[[], None]

    def head(self, head: Head, whole: bool) -> bytes:
        if head.status in BODILESS:  # what there is not, gets no block
            return super().head(head, whole)
        self.attempt.status = head.status
        self.attempt.answered = time.perf_counter()
        self.expect(None, head.content_type, head.content_encoding)
        if head.status >= 300 and self._refuses(head.status):
            return self._collect(head, whole)
        self._head, self._held, self.write = head, [], self._hold_on
        self._at_end = self._finish
        return b""

    def gather(self) -> None:
        """Nothing is let go of before the end."""
        if self._head is None:
            super().gather()

    def pass_on(self) -> None:
        self._finish()
        self.complete = True

    def _hold_on(self, data: bytes) -> None:
        if self._keep(data) > AT_MOST:
            self._go()  # as it is, without a block

    def _finish(self) -> None:
        """Write the whole answer with its block."""
        assert self._head is not None
        head = self._head
        if self.attempt.status < 300:
            opening = self._open(head)
            try:
                if not any(opening.feed(piece) for piece in self.pieces):
                    opening.end()
            except BrokenOpening as broken:
                raise Broken(broken) from None
        self._head = self._at_end = None
        body = b"".join(self.pieces)
        call = self.call
        call.status, call.ended = head.status, time.perf_counter()
        call.request_id = call.request_id or sane_id(head.request_id.decode("latin-1"))
        self.measure()
        body = with_block(body, call)
        length = b"Content-Length: %d\r\n" % len(body)
        passed = _LENGTH.sub(b"", head.passed) + length
        begun = self._begin(Head(head.status, head.line, passed, len(body)))
        self.settle()
        self.out(begun + body)
