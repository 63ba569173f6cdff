"""Arguments of a call that come in pieces: Vertex AI's `partialArgs`, each at a path in JSON."""

from __future__ import annotations

import re
from typing import Any

from routeur.dialects import exact
from routeur.dialects.base import Json
from routeur.dialects.gemini.wire import camel
from routeur.dialects.loose import items, members, string

_LONGEST = 10_000  # elements that a list may grow by, whatever a path says
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
# $.name, $[0], and both ways to quote a name (RFC 9535).
_STEP = re.compile(
    r"""\.([^.\[\]]+)|\[(\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]"""
)
_ESCAPED = re.compile(r"\\(.)")


class Arguments:
    """The arguments as far as they came."""

    __slots__ = ("_open", "_root")

    def __init__(self, begun: object) -> None:
        self._root: Json = dict(members(begun))
        self._open = ""  # the path of a string that goes on

    def add(self, pieces: object) -> None:
        """More of them."""
        for piece in map(members, items(pieces)):
            piece = camel(piece)
            kind = next((each for each in _VALUES if each in piece), "")
            path = string(piece.get("jsonPath"))
            if kind and (steps := _steps(path)):
                value = None if kind == "nullValue" else piece[kind]
                _put(self._root, steps, value, append=path == self._open)
            self._open = path if piece.get("willContinue") is True else ""

    @property
    def text(self) -> str:
        """All of them as JSON."""
        return exact.dumps(self._root).decode()


def _steps(path: str) -> list[str | int]:
    found: list[str | int] = []
    for name, number, *quoted in _STEP.findall(path):
        found.append(int(number) if number else name or _ESCAPED.sub(r"\1", "".join(quoted)))
    return found


def _put(root: Json, steps: list[str | int], value: object, *, append: bool) -> None:
    """Set the value at the steps, making what is on the way; what does not fit is left out."""
    place: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if not _has_room(place, step):
            return
        if following is not None:
            if not isinstance(place[step], dict | list):
                place[step] = [] if isinstance(following, int) else {}
            place = place[step]
        elif append and isinstance(place[step], str) and isinstance(value, str):
            place[step] += value
        else:
            place[step] = value


def _has_room(place: Any, step: str | int) -> bool:
    if isinstance(place, dict) and isinstance(step, str):
        place.setdefault(step, None)
        return True
    if not isinstance(place, list) or not isinstance(step, int) or step > len(place) + _LONGEST:
        return False
    place.extend([None] * (step + 1 - len(place)))
    return True
