"""The heads of answers: what of them goes back to the client, and how the body is framed."""

from __future__ import annotations

import re

import msgspec

from routeur.errors import UpstreamError
from routeur.headers import NOTED, nominated

CHUNKED = -1  # the answer's body is framed in chunks
UNTIL_CLOSE = -2  # it ends with the connection
BODILESS = frozenset([204, 304])
NO_LENGTH = frozenset([b"content-length"])

# llhttp lets more than that pass in the reason.
_LINE = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?(?=\r\n)")
_REMEMBERED = 1024  # shapes; providers invent names, so there has to be an end
_NONE = [(b"", b"", b"")]  # stands at the end, so that -1 is the position of what is not there


class Head(msgspec.Struct, gc=False):
    """An answer's head.

    `line` is the status line as it came, without its end; `passed` are the header lines that go
    back to the client, between line ends. `length` counts the body's bytes, or is CHUNKED
    or UNTIL_CLOSE.
    """

    status: int
    line: bytes
    passed: bytes
    length: int
    content_type: bytes = b""
    content_encoding: bytes = b""
    request_id: bytes = b""


class _Shape:
    """What the names of a head's noted lines, as they are spelled, say without their values.

    A provider's heads have the same names time and again, so that is looked up. Numbers are
    positions among these lines, -1: there is none. `stays` are those that stay behind.
    """

    __slots__ = (
        "codings",
        "content_encoding",
        "content_type",
        "lengths",
        "nominating",
        "request_id",
        "stays",
    )

    def __init__(self, spelled: tuple[bytes, ...]) -> None:
        names = [name.lower() for name in spelled]

        def all_of(name: bytes) -> tuple[int, ...]:
            return tuple(at for at, each in enumerate(names) if each == name)

        self.content_type, self.content_encoding, self.request_id = (
            (-1, *all_of(name))[-1]
            for name in (b"content-type", b"content-encoding", b"x-request-id")
        )
        self.lengths = all_of(b"content-length")
        self.codings = all_of(b"transfer-encoding")
        self.nominating = all_of(b"connection")
        self.stays = tuple(
            at for at, name in enumerate(names) if name and not name.startswith(b"content-")
        )


class _Shapes(dict[tuple[bytes, ...], _Shape]):
    """Shapes by spelled names."""

    def __missing__(self, spelled: tuple[bytes, ...]) -> _Shape:
        shape = _Shape(spelled)
        if len(self) < _REMEMBERED:
            self[spelled] = shape
        return shape


_shapes = _Shapes()


def may_be_head(data: bytes) -> bool:
    """Whether these can be the first bytes of an HTTP/1.1 head; a bare LF would never end it."""
    return b"HTTP/1."[: len(data)] == data[:7] and data.count(b"\n") == data.count(b"\r\n")


def read_head(status: int, raw: bytes, no_body: bool) -> Head:
    """Read a head that llhttp has accepted (RFC 9112, 6.3); raises UpstreamError for framing in
    which two readers could see different answers."""
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise UpstreamError("the provider folded a header line")
    line = _LINE.match(raw)
    if line is None:
        raise UpstreamError("the provider did not answer in HTTP")
    start = line.end()
    passed = raw[start:-2]
    lines, names, values = zip(*(NOTED.findall(raw) + _NONE), strict=True)
    shape = _shapes[names]
    for at in shape.stays:
        passed = passed.replace(b"\r\n%b\r\n" % lines[at], b"\r\n", 1)
    if shape.nominating:
        private = nominated(b",".join([values[at] for at in shape.nominating]))
        # Without its length the client could not tell where the answer ends.
        passed = _without(passed, private - NO_LENGTH)
    if status == 204:  # has no length (RFC 9110, 8.6)
        passed = _without(passed, NO_LENGTH)
    length = UNTIL_CLOSE
    if shape.lengths:
        said = values[shape.lengths[0]].strip(b" \t")
        if len(shape.lengths) > 1 or not said.isdigit() or len(said) > 18:
            raise UpstreamError("the provider sent a Content-Length that is no number")
        length = int(said)
    if shape.codings:
        coding = b"".join([values[at].strip() for at in shape.codings]).lower()
        length = _coded(coding, length, raw)
    if no_body or status in BODILESS:
        length = 0
    coding = values[shape.content_encoding]
    if coding:
        coding = coding.strip().lower()
    return Head(
        status,
        raw[:start],
        passed,
        length,
        values[shape.content_type],
        coding,
        values[shape.request_id],
    )


def _coded(coding: bytes, length: int, raw: bytes) -> int:
    """How an answer with a transfer coding is framed; raises UpstreamError."""
    if not coding:
        return length
    if length >= 0:
        raise UpstreamError("the provider framed its answer in two ways")
    if coding != b"chunked":
        raise UpstreamError("the provider used a transfer coding other than chunked")
    if raw.startswith(b"HTTP/1.0"):
        raise UpstreamError("the provider sent chunks in HTTP/1.0")
    return CHUNKED


def _without(lines: bytes, names: frozenset[bytes]) -> bytes:
    """Header lines (between line ends) but for those with these names."""
    kept = [x for x in lines.split(b"\r\n") if x.partition(b":")[0].lower() not in names]
    return b"\r\n".join(kept)
