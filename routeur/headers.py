"""Which headers go on, as one table.

To the provider goes everything but what belongs between two hops (RFC 9110, 7.6.1), what identifies
the client to us, and what speaks to us. To the client goes everything but hop-by-hop and what would
bind the client to the provider's host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from urllib.parse import quote

Fields = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    b" transfer-encoding upgrade".split()
)
# Framing is written anew for the other side's connection; an Expect is answered by us.
FRAMING = frozenset([b"content-length", b"expect", b"host"])
# Never shown to a provider: `api-key` is what Azure's clients send.
IDENTITY = frozenset([b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"cookie"])
OURS = (b"routeur-", b"x-forwarded-")
# Would bind the client to the provider's host, or claim to be ours.
NOT_BACK = frozenset([b"set-cookie", b"set-cookie2", b"alt-svc", b"strict-transport-security"])

_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)


@lru_cache(maxsize=4096)
def goes_on(name: bytes) -> bool:
    """Whether a request header of this name goes on to the provider."""
    name = name.lower()
    if name in HOP_BY_HOP or name in FRAMING or name in IDENTITY or name == b"vendor":
        return False
    return not name.startswith(OURS)


class Kind(IntEnum):
    """What an answer's header is to us."""

    PASSED = 0
    DROPPED = 1
    LENGTH = 2
    CODING = 3  # of the transfer
    REQUEST_ID = 4
    CONTENT_TYPE = 5
    CONTENT_ENCODING = 6
    CONNECTION = 7


_KINDS = {
    b"content-length": Kind.LENGTH,
    b"transfer-encoding": Kind.CODING,
    b"x-request-id": Kind.REQUEST_ID,
    b"content-type": Kind.CONTENT_TYPE,
    b"content-encoding": Kind.CONTENT_ENCODING,
    b"connection": Kind.CONNECTION,
}


@lru_cache(maxsize=4096)
def kind(name: bytes) -> Kind:
    """What becomes of an answer's header of this name."""
    name = name.lower()
    if name in _KINDS:
        return _KINDS[name]
    dropped = name in HOP_BY_HOP or name in NOT_BACK or name.startswith(b"x-routeur-")
    return Kind.DROPPED if dropped else Kind.PASSED


def nominated(value: str | None) -> frozenset[bytes]:
    """Header names that a `Connection` value declares to be between two hops only."""
    if value is None or value.lower() in ("keep-alive", "close"):
        return frozenset()
    return frozenset(name.strip().lower().encode("latin-1") for name in value.split(","))


def to_provider(fields: Fields, without: frozenset[bytes] = frozenset()) -> bytes:
    """The client's headers that go on, as lines; those in `without` (lower case) stay out."""
    if without:
        fields = [field for field in fields if field[0].lower() not in without]
    return b"".join([b"%b: %b\r\n" % field for field in fields if goes_on(field[0])])


@lru_cache(maxsize=4096)
def value(text: str) -> bytes:
    """A name as a header's value: printable ASCII as it is, anything else percent-encoded."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return quote(text, safe=" /:@+=,;()[]{}!*'").encode()


def sane_id(text: str | None) -> str | None:
    """A request id that may be repeated in headers and logs, or None."""
    return text if text and _SANE_ID.fullmatch(text) else None
