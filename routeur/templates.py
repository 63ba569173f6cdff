"""What a provider's heads look like: most are as those before them, but for their values.

A head is read with care when it has come (`heads.py`). Where its names have been seen often enough,
one look tells that there is nothing new about it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from routeur.headers import NOTED
from routeur.heads import BODILESS, CHUNKED, Head

LEARNT = 8  # heads with the same names in the same order, after which these are known
AT_MOST = 4  # templates of one provider
LONGEST = 100  # names; a head with more has no template
REMEMBERED = 64  # kinds of heads that are counted; a provider with more is not worth it

_NAME = re.compile(rb"\r\n([^:\r\n]*):")
# Possessive, so that nothing is tried twice.
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_LINE = rb"(?P<line>HTTP/1\.1 (?P<status>[2-9][0-9]{2})(?: %b)?)" % _TEXT
_GROUPS = ("line", "status", "length", "type", "coding", "id")
_VALUES = {
    b"content-length": rb"[ \t]*+(?P<length>[0-9]{1,18}+)[ \t]*+",
    b"content-type": rb"[ \t]*+(?P<type>%b)" % _TEXT,
    b"content-encoding": rb"[ \t]*+(?P<coding>%b)" % _TEXT,
    b"x-request-id": rb"[ \t]*+(?P<id>%b)" % _TEXT,
    b"connection": rb"[ \t]*+(?i:keep-alive)[ \t]*+",
    b"proxy-connection": rb"[ \t]*+(?i:keep-alive)[ \t]*+",  # llhttp heeds that, too
    b"transfer-encoding": rb"[ \t]*+(?i:chunked)[ \t]*+",
}


@dataclass(frozen=True, slots=True)
class Template:
    """Heads with the same names. `groups` of the pattern are _GROUPS and the lines that go back."""

    pattern: re.Pattern[bytes]
    groups: tuple[int, ...]
    chunked: bool

    def read(self, raw: bytes) -> Head | None:
        """The head that these bytes are, if it is one of them, and has a body."""
        found = self.pattern.fullmatch(raw)
        if found is None:
            return None
        line, status, length, kind, coding, id, *lines = found.group(*self.groups)
        code = int(status)
        if code in BODILESS:
            return None
        lines.append(b"\r\n")
        size = CHUNKED if self.chunked else int(length)
        coding = coding.strip().lower() if coding else b""
        return Head(code, line, b"".join(lines), size, kind, coding, id)


class Templates:
    """Those of one provider."""

    def __init__(self) -> None:
        self.known: list[Template] = []
        self._seen: Counter[tuple[bytes, ...]] = Counter()

    def read(self, raw: bytes) -> Head | None:
        for template in self.known:
            head = template.read(raw)
            if head is not None:
                return head
        return None

    def learn(self, raw: bytes) -> None:
        """A head has been read that is in order."""
        if len(self.known) == AT_MOST or len(self._seen) == REMEMBERED:
            return
        names = tuple(_NAME.findall(raw))
        self._seen[names] += 1
        if self._seen[names] == LEARNT:
            template = _made(names)
            if template is not None and template.read(raw) is not None:
                self.known.append(template)


def _made(names: tuple[bytes, ...]) -> Template | None:
    """A template for heads with these names; None where one of them would have to be weighed."""
    low = [name.lower() for name in names]
    framed = [name for name in low if name in (b"content-length", b"transfer-encoding")]
    if len(framed) != 1 or len(names) > LONGEST or any(low.count(name) > 1 for name in _VALUES):
        return None
    pattern, runs, open = _LINE, 0, False
    for name, known in zip(names, low, strict=True):
        goes = known.startswith(b"content-") or NOTED.match(b"\r\n%b:" % name) is None
        if goes and not open:
            pattern += rb"(?P<run%d>" % runs
            runs += 1
        elif open and not goes:
            pattern += rb")"
        open = goes
        pattern += rb"\r\n%b:%b" % (re.escape(name), _VALUES.get(known, _TEXT))
    pattern += rb")" if open else b""
    made = re.compile(pattern + rb"\r\n\r\n()")
    groups = (*_GROUPS, *(f"run{number}" for number in range(runs)))
    places = tuple(made.groupindex.get(group, made.groups) for group in groups)  # else nothing
    return Template(made, places, framed[0] == b"transfer-encoding")
