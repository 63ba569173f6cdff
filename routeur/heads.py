"""The heads of answers: what of them goes back to the client, and how the body is framed."""

from __future__ import annotations

import re

from routeur.errors import UpstreamError
from routeur.headers import NOTED, nominated

CHUNKED = -1  # the answer's body is framed in chunks
UNTIL_CLOSE = -2  # it ends with the connection

# llhttp lets more than that pass in the reason.
_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}(?: [\t\x20-\x7e\x80-\xff]*)?(?=\r\n)")


class Head:
    """An answer's head.

    `line` is the status line as it came, without its end; `passed` are the header lines that go
    back to the client, between line ends. `length` counts the body's bytes, or is CHUNKED
    or UNTIL_CLOSE.
    """

    request_id = content_type = content_encoding = b""

    def __init__(self, status: int, line: bytes, passed: bytes, length: int) -> None:
        self.status = status
        self.line = line
        self.passed = passed
        self.length = length


def may_be_head(data: bytes) -> bool:
    """Whether these can be the first bytes of an HTTP/1.1 head; a bare LF would never end it."""
    return b"HTTP/1."[: len(data)] == data[:7] and data.count(b"\n") == data.count(b"\r\n")


def read_head(status: int, raw: bytes, *, no_body: bool) -> Head:
    """Read a head that llhttp has accepted (RFC 9112, 6.3); raises UpstreamError for framing in
    which two readers could see different answers."""
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise UpstreamError("the provider folded a header line")
    line = _LINE.match(raw)
    if line is None:
        raise UpstreamError("the provider did not answer in HTTP")
    start = line.end()
    head = Head(status, raw[:start], raw[start:-2], UNTIL_CLOSE)
    length: int | None = None
    coding = b""
    private: frozenset[bytes] = frozenset()
    for field, name, value in NOTED.findall(raw):
        name = name.lower()
        if name == b"content-type":
            head.content_type = value
        elif name == b"content-length":
            value = value.strip(b" \t")
            if length is not None or not value.isdigit() or len(value) > 18:
                raise UpstreamError("the provider sent a Content-Length that is no number")
            length = int(value)
            if status == 204:  # has none (RFC 9110, 8.6)
                head.passed = head.passed.replace(b"\r\n%b\r\n" % field, b"\r\n", 1)
        elif name == b"content-encoding":
            head.content_encoding = value.strip().lower()
        else:
            if name == b"x-request-id":
                head.request_id = value
            elif name == b"connection":
                private |= nominated(value)
            elif name == b"transfer-encoding":
                coding += value.strip().lower()
            head.passed = head.passed.replace(b"\r\n%b\r\n" % field, b"\r\n", 1)
    if private:
        # Without its length the client could not tell where the answer ends.
        head.passed = _without(head.passed, private - {b"content-length"})
    head.length = _framing(status, length, coding, no_body=no_body, old=raw.startswith(b"HTTP/1.0"))
    return head


def _framing(status: int, length: int | None, coding: bytes, *, no_body: bool, old: bool) -> int:
    if coding:
        if length is not None:
            raise UpstreamError("the provider framed its answer in two ways")
        if coding != b"chunked":
            raise UpstreamError("the provider used a transfer coding other than chunked")
        if old:
            raise UpstreamError("the provider sent chunks in HTTP/1.0")
    if no_body or status in (204, 304):
        return 0
    if length is not None:
        return length
    if coding:
        return CHUNKED
    return UNTIL_CLOSE


def _without(lines: bytes, names: frozenset[bytes]) -> bytes:
    """Header lines (between line ends) but for those with these names."""
    kept = [x for x in lines.split(b"\r\n") if x.partition(b":")[0].lower() not in names]
    return b"\r\n".join(kept)
