"""Takes secrets out of headers and bodies that are kept, however they are spelled there."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator

from routeur.headers import KEY_PROTOCOL, PROTOCOL

Fields = Iterable[tuple[bytes, bytes]]

SHORTEST = 6  # bytes of a secret that is looked for: shorter ones are in every text
CUT = 4  # bytes of a secret's beginning that are taken away where a text breaks off
MARK = b"***"

# Headers of which the value is a secret, whoever sends them.
_SECRET = re.compile(
    rb"(?:.*[-_])?(?:authorization|cookie2?|key|password|secret|signature|token)", re.IGNORECASE
)
_NO_SECRET = frozenset([b"idempotency-key"])
# Virtual keys are known by their hashes only.
_MINTED = re.compile(rb"rtr_(?:live|mgmt)_[A-Za-z0-9_-]{8,}")
_IN_QUERY = re.compile(rb"((?:[?&]|\\u0026|%26|%3[Ff])key(?:=|\\u003[Dd]|%3[Dd]))[^&\s\"'<>\\#%]+")
_ESCAPED = re.compile(rb"%(?:25)*([2-7][0-9A-Fa-f])|\\u00([2-7][0-9A-Fa-f])")
_BETWEEN = re.compile(rb"[\s,;]+")
_TO_URL = bytes.maketrans(b"+/", b"-_")


class Redactor:
    """Takes these secrets out, and virtual keys."""

    __slots__ = ("_needles", "_runs")

    def __init__(self, secrets: Iterable[bytes], known: tuple[bytes, ...] = ()) -> None:
        needles = {*known}.union(*map(_spelled, secrets))
        # The longest first: one may be within another.
        self._needles = tuple(sorted(needles, key=lambda needle: (-len(needle), needle)))
        self._runs = _runs(self._needles)

    def knowing(self, secrets: Iterable[bytes]) -> Redactor:
        """One that takes these out, too."""
        more = {each for each in secrets if len(each) >= SHORTEST}.difference(self._needles)
        return Redactor(more, self._needles) if more else self

    def clean(self, data: bytes, *, whole: bool = True) -> bytes:
        """A text without secrets. One that is not `whole` may end within one."""
        suspect = b"\n".join({*self._runs.findall(data)})
        for needle in self._needles if suspect else ():
            if needle in suspect:
                data = data.replace(needle, MARK)
        data = self._without_escaped(data)
        if b"rtr_" in data:
            data = _MINTED.sub(MARK, data)
        for start in _MINTED_IN_BASE64:
            if start in data:
                data = re.sub(re.escape(start) + rb"[A-Za-z0-9+/_-]*", MARK, data)
        data = _IN_QUERY.sub(rb"\1" + MARK, data)
        return data if whole else self._without_beginning(data)

    def headers(self, fields: Fields) -> dict[str, str]:
        """Headers by lower-case name; those that say the same thing twice are joined."""
        found: dict[str, str] = {}
        for name, value in fields:
            low = name.lower().decode("latin-1")
            shown = (MARK if is_secret(name) else self.clean(value.strip())).decode("latin-1")
            found[low] = f"{found[low]}, {shown}" if low in found else shown
        return found

    def _without_escaped(self, data: bytes) -> bytes:
        """Without those of which some characters are percent-encoded, or escaped as in JSON."""
        plain = _unescaped(data)
        if plain == data:
            return data
        suspect = b"\n".join({*self._runs.findall(plain)}.difference(self._runs.findall(data)))
        for needle in self._needles if suspect else ():
            meant = _unescaped(needle)
            if meant in suspect:
                expression = _spelling(meant[0], rb"\\") + b"".join(
                    rb"(?:\\u005[Cc]|\\|%%(?:25)*5[Cc])*+%b" % _spelling(each) for each in meant[1:]
                )
                data = re.sub(expression, MARK, data)
        return data

    def _without_beginning(self, data: bytes) -> bytes:
        """Without the beginning of a secret at the end."""
        for needle in self._needles:
            for size in range(len(needle) - 1, CUT - 1, -1):
                if data.endswith(needle[:size]):
                    return data[:-size] + MARK
        return data


def is_secret(name: bytes) -> bool:
    """Whether a header of this name carries one."""
    return _SECRET.fullmatch(name) is not None and name.lower() not in _NO_SECRET


def presented(fields: Fields) -> Iterator[bytes]:
    """The secrets in headers: what stands after a word such as `Bearer`, or after a name."""
    for name, value in fields:
        if is_secret(name):
            parts = _BETWEEN.split(value.strip())
            if len(parts) > 1 and b"=" not in parts[0]:
                del parts[0]
            yield from parts
            yield from (part.partition(b"=")[2] for part in parts)
        elif name.lower() == PROTOCOL:  # of a WebSocket: a browser has no other place for a key
            offered = [part.strip() for part in value.split(b",")]
            yield from (p[len(KEY_PROTOCOL) :] for p in offered if p.startswith(KEY_PROTOCOL))


def _spelled(secret: bytes) -> Iterator[bytes]:
    """As it is, and in base64: there of what stands around it only the length matters."""
    if len(secret) < SHORTEST:
        return
    yield secret
    for before in range(3):
        coded = b64encode(bytes(before) + secret)
        # Characters that hold nothing but bits of the secret.
        core = coded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        yield core
        yield core.translate(_TO_URL)


_PREFIXES = (b"rtr_live_", b"rtr_mgmt_")
_MINTED_IN_BASE64 = tuple({*_spelled(_PREFIXES[0]), *_spelled(_PREFIXES[1])}.difference(_PREFIXES))


def _runs(needles: Collection[bytes]) -> re.Pattern[bytes]:
    """Matches whatever is long enough to be one, of their characters: few parts of most texts."""
    meant = [*needles, *map(_unescaped, needles)] or [bytes(SHORTEST)]
    some = b"[%b]" % b"".join(re.escape(bytes([each])) for each in {*b"".join(meant)})
    return re.compile(b"(?<!%b)%b{%d,}" % (some, some, min(map(len, meant))))


def _unescaped(data: bytes) -> bytes:
    """What is meant by escapes of ASCII, however often they were escaped; no backslash stays."""
    if b"%" in data or b"\\u00" in data:
        data = _ESCAPED.sub(lambda found: bytes.fromhex((found[1] or found[2]).decode()), data)
    return data.replace(b"\\", b"")


def _spelling(character: int, backslash: bytes = b"") -> bytes:
    """An expression for a character of ASCII in any spelling."""
    code = b"".join(
        b"[%c%c]" % (digit, digit - 32) if digit > 96 else b"%c" % digit
        for digit in b"%02x" % character
    )
    plain = re.escape(bytes([character]))
    return rb"(?:%%(?:25)*%b|%bu00%b|%b)" % (code, backslash, code, plain)
