"""Where an answer's body ends: counted byte by byte, so that nothing beyond gets anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade

from routeur.errors import UpstreamError
from routeur.heads import CHUNKED
from routeur.receiver import Receiver

LINE_END = b"\r\n"
EMPTY_LINE = b"\r\n\r\n"
BROKEN = "the provider sent broken chunks"
NOT_HTTP = (HttpParserError, HttpParserUpgrade)


class Framing(asyncio.Protocol):
    """Counts the body of the answer that is under way for `receiver`.

    `_left` are the bytes that are still to come, CHUNKED or UNTIL_CLOSE; `_complete` and `_surplus`
    say whether the body has ended, and whether more than that has come.
    """

    __slots__ = ("_complete", "_keep", "_left", "_parser", "_surplus", "on_body", "receiver")

    receiver: Receiver | None
    on_body: Callable[[bytes], None] | None  # llhttp's callback: the receiver's `pieces.append`
    _complete: bool
    _keep: bool | None  # whether the provider keeps the connection; None: its head has not come
    _left: int
    _parser: Any
    _surplus: bool

    def on_headers_complete(self) -> None:
        self._keep = self._parser.should_keep_alive()  # only here is it right

    def on_message_complete(self) -> None:
        self._complete = True

    def _count(self, data: bytes) -> bytes:
        """Take a block of the body, of which what belongs to it is to be written.

        Where the framing breaks, the exchange is over (`receiver` is None).
        """
        receiver = cast(Receiver, self.receiver)
        if self._left == CHUNKED:
            before = len(receiver.pieces)
            data = self._count_chunks(data)
            return b"".join(receiver.pieces[before:]) if receiver.decoded else data
        if self._left >= 0:
            size = len(data)
            if size >= self._left:
                self._surplus = size > self._left
                data = data[: self._left]
                self._complete = True
            self._left -= len(data)
        receiver.pieces.append(data)
        return data

    def _count_chunks(self, data: bytes) -> bytes:
        """Take a block of a chunked body; returns what belongs to it.

        llhttp says that a message ended, not where, and swallows line ends after it: so no feed
        goes beyond an empty line, which is where a message can end.
        """
        feed = self._parser.feed_data
        try:
            end = data.find(EMPTY_LINE)
            if end < 0 and data[0] not in LINE_END:
                feed(data)
                return data
            start = 0
            if data[0] in LINE_END:  # the empty line may have been cut by the network
                while start < min(4, len(data)) and not self._complete:
                    feed(data[start : start + 1])
                    start += 1
            while not self._complete and (end := data.find(EMPTY_LINE, max(0, start - 3))) >= 0:
                feed(data[start : end + 4])
                start = end + 4
            if self._complete:
                self._surplus = start < len(data)
                return data[:start]
            if start < len(data):
                feed(data[start:])
        except NOT_HTTP:
            self._refuse(UpstreamError(BROKEN))
        return data

    def _refuse(self, error: UpstreamError) -> None:
        """End the exchange: the provider has not kept to the framing."""
        raise NotImplementedError
