"""Usage of an answer of which only the first and the last bytes were kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from json import JSONDecoder
from typing import Any

import orjson

from routeur.dialects.base import Format, Json, Usage
from routeur.dialects.loose import members

CHARACTERS_PER_TOKEN = 4

# In a stream whose texts talk of usage the quote before the name is escaped.
_MEMBER = re.compile(rb'(?<!\\)"(usage|usageMetadata|usage_metadata)"\s*:\s*(?=\{)')
_LONGEST = 8 * 1024  # characters of a usage object
_DECODER = JSONDecoder()


def streamed_usage(format: Format, head: bytes, tail: bytes, whole: bool) -> Usage | None:
    """Usage from an answer's first bytes and its last, streamed or not; None: it has none.

    `whole` says that `tail` is all of it. Otherwise the tail may begin anywhere, also within a
    frame or within the only JSON document.
    """
    if b'"usage' not in tail and b'"usage' not in head:
        return None
    if whole and tail[:1] == b"{":  # one document, and all of it: what most answers are
        with suppress(orjson.JSONDecodeError):
            return format.usage(orjson.loads(tail))
    last = _last(format, tail)
    if last is None and not whole:
        last = _first_member(format, head)
    if last is None:
        return None
    if format.USAGE_FROM_START:
        last = _merged(_first_member(format, tail if whole else head) or {}, last)
    return format.usage(last)


def estimated_usage(format: Format, head: bytes, tail: bytes, total: int, prompt: int) -> Usage:
    """What an answer has probably used that does not say so, or broke off before it did.

    `total` is the answer's size in bytes, `prompt` the request's in characters.
    """
    whole = total <= len(tail)
    seen = streamed_usage(format, head, tail, whole)
    if seen is None:
        seen = Usage(input=prompt // CHARACTERS_PER_TOKEN + 1)
    start = (tail if whole else head).lstrip()[:1]
    piece = format.WHOLE_PIECE if start == b"{" else format.PIECE
    counted = count_output(piece, [head[: total - len(tail)] if not whole else b"", tail], total)
    seen.output = max(seen.output, counted - seen.reasoning)
    return seen


def count_output(text: re.Pattern[bytes], samples: Iterable[bytes], total: int) -> int:
    """Tokens of the text that a pattern finds in samples of an answer of `total` bytes, scaled."""
    seen = found = 0
    for sample in samples:
        seen += len(sample)
        sizes = map(len, text.findall(sample))
        found += sum([size // CHARACTERS_PER_TOKEN or 1 for size in sizes])
    return found * total // seen if total > seen > 0 else found


def _last(format: Format, tail: bytes) -> Json | None:
    """The last frame or document with usage."""
    for payload in _payloads_from_end(tail):
        if b'"usage' in payload:
            for document in _documents(payload):
                if format.usage(document) is not None:
                    return document
    members = reversed(list(_MEMBER.finditer(tail)))
    return next(_usages(format, tail, members), None)


def _first_member(format: Format, head: bytes) -> Json | None:
    """The first usage within the bytes, whatever is around it."""
    return next(_usages(format, head, _MEMBER.finditer(head)), None)


def _payloads_from_end(data: bytes) -> Iterator[bytes]:
    """The data of each frame, the last one first; the whole, if it has no frames."""
    parts: list[bytes] = []
    if data.lstrip()[:1] in (b"{", b"["):
        yield data
        return
    for line in reversed(data.splitlines()):
        if line.startswith(b"data:"):
            parts.append(line[5:])
        elif not line and parts:
            yield b"\n".join(reversed(parts))
            parts.clear()
    if parts:
        yield b"\n".join(reversed(parts))


def _documents(payload: bytes) -> list[Json]:
    """The JSON objects in a payload, the last one first; none where it is cut or broken."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return []
    found = document if isinstance(document, list) else [document]
    return [each for each in reversed(found) if isinstance(each, dict)]


def _usages(format: Format, data: bytes, found: Iterable[re.Match[bytes]]) -> Iterator[Json]:
    """The objects that these matches open, where the format takes them for usage."""
    for match in found:
        text = data[match.end() : match.end() + _LONGEST].decode("latin-1")
        try:
            value: Any = _DECODER.raw_decode(text)[0]
        except (ValueError, RecursionError):
            continue
        document = {match[1].decode(): value}
        if format.usage(document) is not None:
            yield document


def _merged(first: Json, last: Json) -> Json:
    """Figures are cumulative: the last ones win, and the first stand where the last say nothing."""
    start = members(first.get("usage"))
    end = members(last.get("usage") or members(last.get("message")).get("usage"))
    kept = {name: value for name, value in start.items() if not end.get(name)}
    if "output_tokens" in end:
        kept.pop("output_tokens", None)
    return {"usage": {**end, **kept}}
