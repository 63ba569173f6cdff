"""The wire formats. Bytes and values in and out; no I/O, and nothing of the rest of routeur."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from routeur.dialects import anthropic, gemini, openai_chat, openai_responses
from routeur.dialects.base import Format, Route


class WriteError(Protocol):
    """Writes an error's body in a dialect."""

    def __call__(
        self,
        status: int,
        message: str,
        *,
        type: str,
        code: str,
        param: str | None,
        request_id: str,
    ) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Family:
    """A dialect as clients speak it. `auth` is the header that usually carries its key."""

    name: str
    routes: tuple[Route, ...]
    write_error: WriteError
    auth: str


FORMATS: Mapping[str, Format] = {
    "openai_chat": openai_chat,
    "openai_responses": openai_responses,
    "anthropic": anthropic,
    "gemini": gemini,
}

FAMILIES: Mapping[str, Family] = {
    "openai": Family(
        "openai",
        openai_chat.ROUTES + openai_responses.ROUTES,
        openai_chat.write_error,
        auth="bearer",
    ),
    "anthropic": Family("anthropic", anthropic.ROUTES, anthropic.write_error, auth="x-api-key"),
    "gemini": Family("gemini", gemini.ROUTES, gemini.write_error, auth="x-goog-api-key"),
}

Found = tuple[str, Route]  # a family's name, and one of its routes


def match(method: str, path: str) -> Found | None:
    """The family and route of a raw path (percent-encoded, without query), if there is one."""
    found = _EXACT.get((method, path))
    if found is not None:
        return found
    for pattern, known, family, route in _PATTERNS:
        if known == method and pattern.fullmatch(path):
            return family, route
    if method == "POST" and (verb := gemini.route_of(path)):
        return "gemini", verb
    return None


def methods(path: str) -> tuple[str, ...]:
    """The methods that a path is known with; none: it is no path of any dialect."""
    known = {method for method, exact in _EXACT if exact == path}
    known |= {method for pattern, method, _, _ in _PATTERNS if pattern.fullmatch(path)}
    if gemini.route_of(path):
        known.add("POST")
    return tuple(sorted(known))


def _pattern(path: str) -> re.Pattern[str]:
    parts = (
        "[^/]+" if part.startswith("{") else ".+" if part == "*" else re.escape(part)
        for part in path.split("/")
    )
    return re.compile("/".join(parts))


_OWN = [(name, route) for name in ("openai", "anthropic") for route in FAMILIES[name].routes]
_OPEN = [(name, route) for name, route in _OWN if re.search(r"[{*]", route.path)]
_EXACT = {
    (route.method, route.path): (name, route) for name, route in _OWN if (name, route) not in _OPEN
}
_PATTERNS = [(_pattern(route.path), route.method, name, route) for name, route in _OPEN]

FIXED_PATHS = tuple(path for _, path in _EXACT)
