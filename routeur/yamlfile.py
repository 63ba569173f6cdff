"""A YAML file as typed values: every mistake is a finding with its line and path.

A `Section` is a mapping of settings. Each `get` names a setting, how to read it and its default;
names that nobody asked for are findings when the section closes. `${VAR}` and `${VAR:-default}` are
filled in wherever text is read. A setting that is null or empty counts as left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import yaml

from routeur.errors import ConfigError, did_you_mean

T = TypeVar("T")
D = TypeVar("D")

Read = Callable[["Value"], T]

_VARIABLE = re.compile(r"\$\{([^}\n]*)\}")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.ASCII)
# Stand for `${…}` while YAML is parsed, which in `{…}` and `[…]` takes its braces for its own.
_OPEN, _CLOSE = "\ue000", "\ue001"
_SHIELDED = re.compile(f"{_OPEN}(\\d+){_CLOSE}", re.ASCII)

_COLON = "mapping values are not allowed in this context"  # what libyaml says of `a: b:`
_TIMES = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "b": 1} | {
    unit: base**power
    for base, units in ((1000, "kb mb gb tb"), (1024, "kib mib gib tib"))
    for power, unit in enumerate(units.split(), 1)
}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]*)", re.ASCII | re.IGNORECASE)
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Wrong(Exception):
    """A value is not what was expected; becomes a finding at the value's place."""


class File:
    """One text being read, with what was found in it: `findings` are (line, text)."""

    def __init__(self, text: str, name: str, environ: Mapping[str, str]) -> None:
        self.name = name
        self.environ = environ
        self.findings: list[tuple[int, str]] = []
        self._variables: list[str] = []
        self.top = Section(self, None)
        root = self._compose(text)
        if root is not None:
            self.top = Section.of(Value(self, root, _line(root), ""))

    def _compose(self, text: str) -> yaml.Node | None:
        """The tree of nodes; raises ConfigError where the text is not YAML."""
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            return yaml.compose(_VARIABLE.sub(self._shield, text), Loader=loader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            what = ", ".join(part for part in (error.context, error.problem) if part)
            if "cannot start any token" in what and "\t" in text.splitlines()[line - 1]:
                what += "; indent with spaces, not with tabs"
            if what == _COLON:
                what += '; quote what has a colon before a space or its end, as in store: "memory:"'
        except yaml.YAMLError as error:
            line, what = 1, str(error).splitlines()[0]
        raise ConfigError([f"{self.name}:{line}: not YAML: {self.restore(what)}"])

    def _shield(self, match: re.Match[str]) -> str:
        self._variables.append(match[0])
        return f"{_OPEN}{len(self._variables) - 1}{_CLOSE}"

    def restore(self, text: str) -> str:
        """The text as it stands in the file, before variables are filled in."""
        known = self._variables
        return _SHIELDED.sub(lambda m: known[int(m[1])] if int(m[1]) < len(known) else m[0], text)

    def raise_findings(self) -> None:
        """Raise ConfigError with all findings, in the file's order, if there are any."""
        if self.findings:
            ordered = sorted(dict.fromkeys(self.findings), key=lambda finding: finding[0])
            raise ConfigError([text for _, text in ordered])


class Value:
    """A node at its place. `path` is such as `rules[3].to[0]`."""

    __slots__ = ("file", "line", "node", "path")

    def __init__(self, file: File, node: yaml.Node, line: int, path: str) -> None:
        self.file = file
        self.node = node
        self.line = line
        self.path = path

    def place(self) -> str:
        """`router.yaml:12: rules[3].to[0]`."""
        return f"{self.file.name}:{self.line}: {self.path}".removesuffix(": ")

    def finding(self, message: str) -> None:
        self.file.findings.append((self.line, f"{self.place()}: {message}"))

    def read(self, read: Read[T], default: D) -> T | D:
        """The typed value; a finding and the default where it is wrong."""
        try:
            return read(self)
        except Wrong as wrong:
            self.finding(str(wrong))
            return default

    def raw(self) -> str | None:
        """A scalar as it is written, or None."""
        return self.file.restore(self.node.value) if _is(self.node, yaml.ScalarNode) else None

    def unset(self) -> list[str]:
        """Variables without a default that are unset or empty."""
        names = [_NAME.fullmatch(each) for each in _VARIABLE.findall(self.raw() or "")]
        return [n[1] for n in names if n and n[2] is None and not self.file.environ.get(n[1])]

    def empty(self) -> bool:
        """Whether the value counts as left out."""
        if not _is(self.node, yaml.ScalarNode):
            return False
        raw = self.raw()
        return self.node.tag.endswith(":null") or _VARIABLE.sub(self._or_wrong, raw or "") == ""

    def _or_wrong(self, match: re.Match[str]) -> str:
        """A variable's value; what is wrong with it is for `fill` to say."""
        try:
            return self.fill(match)
        except Wrong:
            return match[0]

    def fill(self, match: re.Match[str]) -> str:
        """The value that takes the place of one `${…}`."""
        name = _NAME.fullmatch(match[1])
        if name is None:
            raise Wrong(f'expected ${{NAME}} or ${{NAME:-default}}, found "{match[0]}"')
        value = self.file.environ.get(name[1])
        if name[2] is not None:
            return value or name[2]
        if value is None:
            raise Wrong(self._missing())
        return value

    def _missing(self) -> str:
        """Says of all variables in the value that are not there that they are not."""
        found = [_NAME.fullmatch(each) for each in _VARIABLE.findall(self.raw() or "")]
        unset = [n[1] for n in found if n and n[2] is None and n[1] not in self.file.environ]
        first, several = unset[0], len(set(unset)) > 1
        them, are = ("them", "are") if several else ("it", "is")
        names = " and ".join(dict.fromkeys(unset))
        return f"{names} {are} not set; set {them}, or write ${{{first}:-default}}"

    def entries(self) -> dict[str, Value]:
        """A mapping's values by name; a name that stands twice is a finding."""
        if not isinstance(self.node, yaml.MappingNode):
            raise Wrong(f"expected a mapping, found {self.what()}")
        found: dict[str, Value] = {}
        for key, node in self.node.value:
            name = self.file.restore(key.value) if _is(key, yaml.ScalarNode) else "?"
            path = f"{self.path}.{name}".lstrip(".")
            value = Value(self.file, node, _line(key), path)
            if name in found:
                value.finding(f"stands twice; first in line {found[name].line}")
            else:
                found[name] = value
        return found

    def items(self) -> list[Value]:
        """A list's values; a single value is a list of one."""
        if _is(self.node, yaml.MappingNode):
            raise Wrong(f"expected a list, found {self.what()}")
        if not isinstance(self.node, yaml.SequenceNode):
            return [self]
        return [
            Value(self.file, node, _line(node), f"{self.path}[{index}]")
            for index, node in enumerate(self.node.value)
        ]

    def mappings(self) -> list[Value]:
        """A list's values, all but mappings being findings."""
        items = self.read(Value.items, [])
        for item in items:
            if not item.is_mapping():
                item.finding(f"expected a mapping, found {item.what()}")
        return [item for item in items if item.is_mapping()]

    def is_mapping(self) -> bool:
        return _is(self.node, yaml.MappingNode)

    def what(self) -> str:
        """The value in words, for messages."""
        if _is(self.node, yaml.MappingNode):
            return "a mapping"
        if _is(self.node, yaml.SequenceNode):
            return "a list"
        return f'"{self.raw()}"' if self.raw() else "nothing"


class Section:
    """A mapping of settings that knows which were asked for; closing it reports the others."""

    def __init__(self, file: File, value: Value | None) -> None:
        self.file = file
        self.value = value
        self._entries: dict[str, Value] = {}
        self._known: list[str] = []

    @classmethod
    def of(cls, value: Value) -> Section:
        """The section at a value; empty, and a finding, where that is no mapping."""
        section = cls(value.file, value)
        if not value.empty():
            section._entries = value.read(Value.entries, {})
        return section

    def __enter__(self) -> Section:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            for name, value in self._entries.items():
                if name not in self._known:
                    near = did_you_mean(name, self._known)
                    value.finding(f'unknown setting "{name}"{near}')

    def at(self, name: str) -> Value | None:
        """The value of a setting, None where it is left out."""
        self._known.append(name)
        value = self._entries.get(name)
        return None if value is None or value.empty() else value

    def has(self, name: str) -> bool:
        """Whether a setting is there, be it empty."""
        return name in self._entries

    def unset(self, name: str) -> list[str]:
        """Variables without a default in a setting that are unset or empty."""
        self._known.append(name)
        return self._entries[name].unset() if name in self._entries else []

    def get(self, name: str, read: Read[T], default: D) -> T | D:
        """A setting, or its default where it is left out or wrong."""
        value = self.at(name)
        if value is None:
            return default
        return value.read(read, default)

    def section(self, name: str) -> Section:
        value = self.at(name)
        return Section(self.file, None) if value is None else Section.of(value)

    def entries(self, name: str) -> dict[str, Value]:
        """The values of a mapping whose names the user chose."""
        value = self.at(name)
        return {} if value is None else value.read(Value.entries, {})

    def finding(self, name: str, message: str) -> None:
        """A finding at a setting, or at the section where that is left out."""
        value = self._entries.get(name) or self.value
        if value is None:
            self.file.findings.append((1, f"{self.file.name}:1: {name}: {message}"))
        else:
            value.finding(message)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is(node: yaml.Node, kind: type[yaml.Node]) -> bool:
    return isinstance(node, kind)


def text(value: Value) -> str:
    """Any scalar, with its variables filled in."""
    raw = value.raw()
    if raw is None:
        raise Wrong(f"expected text, found {value.what()}")
    return _VARIABLE.sub(value.fill, raw)


def boolean(value: Value) -> bool:
    got = _WORDS.get(text(value).lower())
    if got is None:
        raise Wrong(f"expected true or false, found {value.what()}")
    return got


def integer(least: int, most: int | None = None) -> Read[int]:
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"

    def read(value: Value) -> int:
        try:
            got = int(text(value))
        except ValueError:
            raise Wrong(f"expected a whole number {bounds}, found {value.what()}") from None
        if got < least or (most is not None and got > most):
            raise Wrong(f"expected a whole number {bounds}, found {got}")
        return got

    return read


def number(least: float, most: float | None = None) -> Read[float]:
    bounds = f"of at least {least:g}" if most is None else f"from {least:g} to {most:g}"

    def read(value: Value) -> float:
        try:
            got = float(text(value))
        except ValueError:
            raise Wrong(f"expected a number {bounds}, found {value.what()}") from None
        if not least <= got < float("inf") or (most is not None and got > most):
            raise Wrong(f"expected a number {bounds}, found {got:g}")
        return got

    return read


def duration(given: str) -> float | None:
    """Seconds of `60s` or `1.5h`, or of a plain number; None: it is neither."""
    return _amount(given, _TIMES)


def _amount(given: str, units: Mapping[str, float]) -> float | None:
    match = _AMOUNT.fullmatch(given)
    unit = units.get(match[2].lower()) if match else None
    return None if match is None or unit is None else float(match[1]) * unit


def seconds(value: Value) -> float:
    """A duration with a unit (ms, s, m, h, d): `keep: 7` may be meant as days. 0 needs none."""
    given = text(value)
    got = duration(given)
    if got is None or (got and not given[-1].isalpha()):
        raise Wrong(f"expected a duration like 800ms, 60s, 5m, 1h or 30d, found {value.what()}")
    return got


def some_seconds(value: Value) -> float:
    """A duration that is not zero."""
    if not (got := seconds(value)):
        raise Wrong(f"expected a duration of more than 0, found {value.what()}")
    return got


def size(value: Value) -> int:
    """Bytes: with a unit (KB is 1000, KiB is 1024), or a plain number."""
    got = _amount(text(value), _SIZES)
    if got is None:
        raise Wrong(f"expected a size like 64KB, 100MB or 1GiB, found {value.what()}")
    return int(got)


def choice(*words: str) -> Read[str]:
    def read(value: Value) -> str:
        got = text(value)
        if got not in words:
            near = did_you_mean(got, words)
            raise Wrong(f'expected {one_of(words)}, found "{got}"{near}')
        return got

    return read


def one_of(words: tuple[str, ...]) -> str:
    """`a, b or c`."""
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def many(read: Read[T]) -> Read[tuple[T, ...]]:
    """A list, or one value alone; wrong items are findings of their own."""

    def read_all(value: Value) -> tuple[T, ...]:
        found: list[T] = []
        for item in value.items():
            try:
                found.append(read(item))
            except Wrong as wrong:
                item.finding(str(wrong))
        return tuple(found)

    return read_all
