"""Reading JSON that others wrote: a wrong type or an absurd figure is nothing, never an error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import orjson

from routeur.dialects.base import Json

ATTACHMENT = 4000  # characters that an image, a file or a recording counts at least: 1,000 tokens
_LARGEST = 50 * ATTACHMENT  # and at most
_BASE64 = {"file": 16, "audio": 250}  # characters of it that count as one of text
_NUMBERS = (int, float)  # and not bool, which is an int to isinstance
HIGHEST = 1_000_000_000  # tokens; no answer has more, so what says more is wrong

# Long strings that no model reads as text: signatures, encrypted reasoning, cache keys.
_OPAQUE = frozenset(
    "signature encrypted_content thoughtSignature thought_signature cache_control".split()
)

Kind = Callable[[Json], str | None]  # what an object is: `image`, `file`, `audio`, or None


def members(value: Any) -> Json:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def string(value: Any) -> str:
    """The value if it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def integer(value: Any) -> int | None:
    """The value if it is a whole number, else None."""
    return value if type(value) is int else None


def tokens(value: Any) -> int:
    """The value if it is a sane number of tokens, else 0."""
    return int(value) if type(value) in _NUMBERS and 0 <= value <= HIGHEST else 0


def is_count(value: Any) -> bool:
    """Whether it is a number from 0 to HIGHEST; NaN is not."""
    return type(value) in _NUMBERS and 0 <= value <= HIGHEST


def are_counts(*figures: Any) -> bool:
    """Whether these are figures to believe: one at least is there, and none is absurd."""
    given = [figure for figure in figures if figure is not None]
    return bool(given) and all(map(is_count, given))


def shares(total: int, *parts: int) -> list[int]:
    """What is left of a total, then its parts: disjoint, and never more than the total together."""
    taken = []
    for part in parts:
        taken.append(min(part, total))
        total -= taken[-1]
    return [total, *taken]


def either(value: Json, *names: str) -> Any:
    """The first member that is there, of several spellings."""
    for name in names:
        found = value.get(name)
        if found is not None:
            return found
    return None


def without(value: Json, names: Collection[str]) -> Json:
    """The members but those of these names."""
    return {name: each for name, each in value.items() if name not in names}


def objects(value: Any) -> Iterator[Json]:
    """All objects within a value, itself included."""
    stack = [value]
    while stack:
        each = stack.pop()
        what = type(each)
        if what is str:  # most are
            continue
        if what is dict:
            yield each
            stack += each.values()
        elif what is list:
            stack += each


def size(value: Any, kind: Kind) -> int:
    """Characters of English text that a value is worth: four are about a token.

    An image counts a flat figure, a file or a recording what grows with it, a number one token.
    """
    total = 0
    stack = [value]
    while stack:
        each = stack.pop()
        what = type(each)
        if what is str:
            total += len(each) if each.isascii() else foreign(each)
        elif what is dict:
            if attached := kind(each):
                total += _attachment(each, attached)
            elif _OPAQUE.isdisjoint(each):
                stack += each.values()
            else:
                stack += without(each, _OPAQUE).values()
        elif what is list:
            stack += each
        elif each is not None:
            total += 4
    return total


def foreign(text: str) -> int:
    """A Chinese sign is about a token, a Cyrillic letter half of one: so are their bytes."""
    return (3 * len(text.encode("utf-8", "surrogatepass")) - len(text)) // 2


def _attachment(part: Json, kind: str) -> int:
    """Many bytes are many pages or minutes; those of a picture say nothing."""
    if kind not in _BASE64:
        return ATTACHMENT
    strings = [each for inner in objects(part) for each in inner.values() if isinstance(each, str)]
    longest = max(map(len, strings), default=0)
    if any(each.startswith(("text/", "data:text/")) for each in strings):
        return max(longest * 3 // 4, ATTACHMENT)
    return min(max(longest // _BASE64[kind], ATTACHMENT), _LARGEST)


def json_size(value: Any) -> int:
    """Characters that a value takes as JSON; nothing takes none."""
    return len(orjson.dumps(value)) if value else 0
