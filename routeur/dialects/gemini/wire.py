"""Members of Gemini's objects, strictly read: in both spellings, and as lax as Google's own parser.

Google's JSON of protocol buffers takes camelCase and snake_case, one object where a list belongs,
numbers in quotes, and the number of an enum's value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from routeur.dialects import expect
from routeur.dialects.base import Json

_NEW_WORD = re.compile(r"_+([a-zA-Z0-9])")
_GENERATION = re.compile(r"gemini-(\d+(?:\.\d+)?)")


def camel(value: Json) -> Json:
    """The object with its members' names in camelCase; what is in them stays as it is."""
    for name in value:
        if "_" in name:
            return {_camel(name): inner for name, inner in value.items()}
    return value


def _camel(name: str) -> str:
    return _NEW_WORD.sub(lambda word: word[1].upper(), name.lstrip("_"))


def generation(model: str) -> float | None:
    """2.5 of gemini-2.5-pro; None where the name does not say it, as in gemini-flash-latest."""
    found = _GENERATION.search(model.lower())
    return float(found[1]) if found else None


def an_object(value: object, path: str) -> Json:
    """The object, in camelCase; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise expect.wrong(path, "an object")
    return camel(value)


def a_list(value: object, path: str) -> list[object]:
    """The list; nothing is an empty one, and an object a list of one."""
    if value is None:
        return []
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise expect.wrong(path, "a list")
    return value


def a_string(value: object, path: str) -> str:
    """The string; nothing is an empty one."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise expect.wrong(path, "a string")
    return value


def strings(value: object, path: str) -> tuple[str, ...]:
    """The strings of a list; one alone is a list of one."""
    if isinstance(value, str):
        return (value,)
    return tuple(a_string(each, f"{path}[{i}]") for i, each in enumerate(a_list(value, path)))


def a_bool(value: object, path: str) -> bool | None:
    """True or false, or None if nothing was said."""
    if value is not None and not isinstance(value, bool):
        raise expect.wrong(path, "true or false")
    return value


def a_number(value: object, path: str) -> float | None:
    """The number, also one in quotes; None if nothing was said."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = ""
    if value is not None and type(value) not in (int, float):
        raise expect.wrong(path, "a number")
    return value  # type: ignore[return-value]  # checked by its type, which excludes bool


def an_integer(value: object, path: str) -> int | None:
    """The whole number, also 3.0 or one in quotes; None if nothing was said."""
    number = a_number(value, path)
    if number is None or isinstance(number, int):
        return number
    if not number.is_integer():
        raise expect.wrong(path, "a whole number")
    return int(number)


def a_word(value: object, path: str, words: Sequence[str] = ()) -> str:
    """An enum's value in upper case; `words` are those that have numbers, the first being 0."""
    if type(value) is int and 0 <= value < len(words):
        return words[value]
    return a_string(value, path).upper()
