"""Values as YAML for people: short ones on one line, and comments where they help."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

WIDTH = 100  # characters of a line; what is longer goes over several

_PLAIN = re.compile(r"[A-Za-z_/][\w./@+:~-]*(?<!:)", re.ASCII)
_AMOUNT = re.compile(r"\d+(ms|s|m|h|d|MB)|\d+(\.\d+){3}", re.ASCII)
# Words that YAML takes for something else.
_OTHERS = frozenset("null true false yes no on off y n".split())


def block(name: str, value: Any, indent: int = 0, comments: Sequence[str] = ()) -> list[str]:
    """The lines of a setting."""
    gap = " " * indent
    lines = [f"{gap}# {comment}" for comment in comments]
    short = f"{gap}{scalar(name)}: {flow(value)}"
    if len(short) <= WIDTH or not isinstance(value, Mapping | list) or not value:
        return [*lines, short]
    lines.append(f"{gap}{scalar(name)}:")
    if isinstance(value, Mapping):
        for key, each in value.items():
            lines += block(str(key), each, indent + 2)
    elif any(isinstance(each, Mapping | list) for each in value):
        lines += items(value, indent + 2)
    else:
        lines += _wrapped(value, indent + 2)
    return lines


def _wrapped(values: Sequence[Any], indent: int) -> list[str]:
    """A list of scalars on as many lines as it needs."""
    gap = " " * indent
    lines = [f"{gap}["]
    for place, value in enumerate(map(scalar, values)):
        if place and len(lines[-1]) + len(value) + 3 > WIDTH:
            lines.append(f"{gap} ")
        space = "" if lines[-1].endswith(("[", "  ", f"{gap} ")) else " "
        lines[-1] += f"{space}{value}{',' if place < len(values) - 1 else ']'}"
    return lines


def items(values: Sequence[Any], indent: int) -> list[str]:
    """The lines of a list."""
    gap = " " * indent
    lines: list[str] = []
    for value in values:
        short = f"{gap}- {flow(value)}"
        if len(short) <= WIDTH or not isinstance(value, Mapping):
            lines.append(short)
            continue
        inner = [line for key, each in value.items() for line in block(str(key), each, indent + 2)]
        lines += [f"{gap}- {inner[0].strip()}", *inner[1:]]
    return lines


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{scalar(key)}: {flow(each)}" for key, each in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    return scalar(value)


def scalar(value: Any) -> str:
    """Quoted where anyone could read it differently."""
    if value is None:
        return "{}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    text = str(value)
    plain = _PLAIN.fullmatch(text) and text.lower() not in _OTHERS
    if plain or _AMOUNT.fullmatch(text):
        return text
    return quoted(text)


def quoted(text: str) -> str:
    if text.isascii() and text.isprintable():
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    dumped = yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=True)
    return dumped.strip()
