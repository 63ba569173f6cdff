"""Which headers go on, as one table.

To the provider goes everything but what belongs between two hops (RFC 9110, 7.6.1), what identifies
the client to us, and what speaks to us. To the client goes everything but hop-by-hop and what would
bind the client to the provider's host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

from multidict import CIMultiDict

Fields = tuple[tuple[bytes, bytes], ...]

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


# What a request's header is to us: most go on unread. A word is read here; some of them go on too.
GOES_ON, STAYS, WORD, WORD_ON, STEER, KEY, PROTOCOLS = range(7)

_WORDS = frozenset(
    b"connection expect host upgrade sec-websocket-extensions transfer-encoding".split()
)
_WORDS_ON = frozenset(
    b"content-encoding content-type origin x-request-id anthropic-version".split()
)
_KEYS = frozenset(b"authorization x-api-key x-goog-api-key".split())
# A browser cannot set headers for a WebSocket: its key is one of the protocols that it offers.
PROTOCOL = b"sec-websocket-protocol"
KEY_PROTOCOL = b"openai-insecure-api-key."
# What clients call a session, the plainest word first.
SESSIONS = (
    b"x-session-id",  # OpenRouter's, and that of most gateways
    b"x-claude-code-session-id",
    b"session-id",  # Codex; older ones with an underscore
    b"session_id",
    b"x-session-affinity",  # opencode
    b"x-amp-thread-id",  # Amp
    b"x-conversation-id",  # what LibreChat is set up with
)


class _Kinds(dict[bytes, int]):
    """Kinds by name as clients spell it; a name is looked at once, and what clients invent is
    bounded.
    """

    def __missing__(self, spelled: bytes) -> int:
        found = request_kind(spelled)
        if len(self) < 4096:
            self[spelled] = found
        return found


def request_kind(name: bytes) -> int:
    """What becomes of a request's header of this name: one of the numbers above."""
    name = name.lower()
    if name in _KEYS:
        return KEY
    if name in _WORDS:
        return WORD
    if name == PROTOCOL:
        return PROTOCOLS
    if name == b"vendor" or name.startswith(b"routeur-"):
        return STEER
    if name in _WORDS_ON or name in SESSIONS:
        return WORD_ON
    stays = name in HOP_BY_HOP or name in FRAMING or name in IDENTITY or name.startswith(OURS)
    return STAYS if stays else GOES_ON


_kinds = _Kinds()


class Inbound:
    """A request's headers, sorted in one pass.

    `lines` go on to the provider (name, colon, value and end of each), `words` are those that say
    something to routeur (by lower-case name; the last one counts), `keys` the values of those that
    carry a key.
    """

    __slots__ = (
        "_fields",
        "_joined",
        "keys",
        "lines",
        "plain_json",
        "steers",
        "words",
    )

    def __init__(self, fields: Fields) -> None:
        self._joined: bytes | None = None
        self._fields = fields
        self.steers = False  # whether there is a word about who shall answer, and how
        self.lines: list[bytes] = []
        self.words: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []
        lines, kinds = self.lines, _kinds
        for name, value in fields:
            what = kinds[name]
            if what == GOES_ON:
                lines += (name, b": ", value, b"\r\n")
            elif what == KEY:
                self.keys.append(value)
            elif what != STAYS:
                low = name.lower()
                if what == PROTOCOLS:
                    value = self._without_key(value)
                known = self.words.get(low)
                self.words[low] = value if known is None else known + b"," + value
                if what == WORD_ON:
                    lines += (name, b": ", value, b"\r\n")
                elif what == STEER:
                    self.steers = True

        form = self.words.get(b"content-type", b"")[:10].lower() == b"multipart/"
        self.plain_json = not form and b"content-encoding" not in self.words

    @property
    def headers(self) -> CIMultiDict[str]:
        """All of them, as text."""
        return CIMultiDict(
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
            for name, value in self._fields
        )

    def _without_key(self, protocols: bytes) -> bytes:
        """The protocols that a WebSocket's client offers, but for the one that is its key."""
        kept = []
        for each in protocols.split(b","):
            protocol = each.strip()
            if protocol.startswith(KEY_PROTOCOL):
                self.keys.append(protocol.removeprefix(KEY_PROTOCOL))
            elif protocol:
                kept.append(protocol)
        return b", ".join(kept)

    def word(self, name: bytes) -> str | None:
        """The value of a header that speaks to routeur (`name` in lower case)."""
        value = self.words.get(name)
        return None if value is None else value.decode("utf-8", "replace").strip()

    def asks(self, name: bytes) -> bool:
        """Whether a header such as `routeur-trace` says yes."""
        value = self.words.get(name)
        return value is not None and value.strip().lower() in (b"true", b"1", b"yes")

    def to_provider(self, without: frozenset[bytes]) -> bytes:
        """The lines that go on, but for those in `without` and those that `Connection` names."""
        if self._joined is not None and not without:
            return self._joined
        connection = self.words.get(b"connection")
        if connection is not None and connection.lower() not in (b"keep-alive", b"close"):
            without |= nominated(connection)
        lines = self.lines
        if not without:
            self._joined = b"".join(lines)
            return self._joined
        whole = [lines[i : i + 4] for i in range(0, len(lines), 4)]
        return b"".join(part for line in whole if line[0].lower() not in without for part in line)


def _any_of(names: Iterable[bytes]) -> bytes:
    """An expression for any of these names; by first letters, as most lines begin with others."""
    by_letter: dict[bytes, list[bytes]] = {}
    for name in sorted(names):
        by_letter.setdefault(name[:1], []).append(name[1:])
    parts = (b"%b(?:%b)" % (letter, b"|".join(rest)) for letter, rest in by_letter.items())
    return b"(?=[%b])(?:%b)" % (b"".join(by_letter), b"|".join(parts))


# The lines of an answer's head that are more than passed on (line, name, value): those that say how
# it is framed and what it is, and those that stay behind.
_READ = frozenset(b"content-length content-type content-encoding x-request-id".split())
NOTED = re.compile(
    rb"\r\n((%b):[ \t]*([^\r]*))"
    % _any_of({*_READ, *HOP_BY_HOP, *NOT_BACK, rb"x-routeur-[^:\r]*"}),
    re.IGNORECASE,
)


def nominated(connection: bytes) -> frozenset[bytes]:
    """Header names that a `Connection` value declares to be between two hops only."""
    return frozenset(name.strip().lower() for name in connection.split(b","))


@lru_cache(maxsize=4096)
def value(text: str) -> bytes:
    """A name as a header's value: printable ASCII as it is, anything else percent-encoded."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return quote(text, safe=" /:@+=,;()[]{}!*'").encode()


def sane_id(text: str | None) -> str:
    """A request id if it may be repeated in headers and logs, else nothing."""
    return text if text and _SANE_ID.fullmatch(text) else ""
