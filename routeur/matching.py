"""Which rules hold for a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate

from routeur.auto import Candidates, Facts, Target
from routeur.providers import Provider, Timeouts


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must be like; what is left out always holds.

    `model`, `key` and `path` are globs of which one must fit; `headers` maps lower-case names to
    globs, all of which must fit; of `has` all must be used; `tokens_gt` and `tokens_lt` bound the
    estimated prompt.
    """

    model: tuple[str, ...] = ()
    has: frozenset[str] = frozenset()
    tokens_gt: int | None = None
    tokens_lt: int | None = None
    stream: bool | None = None
    key: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: targets to try in this order (`to`) or by weights (`split`), or neither.

    Without targets the alias's own are taken. `commit`, `keepalive` and `hedge` (seconds),
    `timeouts`, `retries` (attempts) and `statuses` (that justify another one) replace the
    provider's and the general settings for calls it decides.
    """

    name: str
    match: Match
    priority: int = 0
    to: tuple[Target, ...] = ()
    split: tuple[tuple[Target, int], ...] = ()
    sort: str | None = None
    strategy: str | None = None
    commit: str | None = None
    keepalive: float | None = None
    hedge: float | None = None
    timeouts: Timeouts | None = None
    retries: int | None = None
    statuses: frozenset[int] | None = None


Glob = Callable[[str], object]


def _glob(patterns: Collection[str]) -> Glob:
    """Whether a word fits one of these patterns, case mattering."""
    if all(map(literal, patterns)):
        return frozenset(patterns).__contains__
    return re.compile("|".join(map(translate, patterns))).match


def literal(pattern: str) -> bool:
    return not any(sign in pattern for sign in "*?[")


class Row:
    """A rule with its globs compiled and its place in the table."""

    __slots__ = ("candidates", "headers", "key", "model", "path", "rank", "rule")

    def __init__(self, rank: int, rule: Rule, providers: Mapping[str, Provider]) -> None:
        match = rule.match
        targets = rule.to or tuple(target for target, _ in rule.split)
        self.rank = rank
        self.rule = rule
        self.candidates = Candidates(targets, providers) if targets else None
        self.model = _glob(match.model) if match.model else None
        self.key = _glob(match.key) if match.key else None
        self.path = _glob(match.path) if match.path else None
        self.headers = [(name, _glob([value])) for name, value in match.headers.items()]


def matches(row: Row, facts: Facts) -> bool:
    """Whether all of a rule's conditions hold, its model aside; the costly ones are asked last."""
    match = row.rule.match
    if match.stream is not None and match.stream != facts.stream:
        return False
    if row.key and (facts.key is None or not row.key(facts.key)):
        return False
    if row.path and not row.path(facts.path):
        return False
    for name, fits in row.headers:
        value = facts.headers.get(name)
        if value is None or not fits(value):
            return False
    if match.has and not match.has <= facts.has():
        return False
    if match.tokens_gt is not None and not facts.tokens() > match.tokens_gt:
        return False
    return match.tokens_lt is None or facts.tokens() < match.tokens_lt


class Rows:
    """The rules that one name may meet, filed so that a request looks at few of them.

    A rule that wants literal keys, a literal header or literal paths is looked at only if the
    request has them: a table with a rule per customer costs no more than one with a rule.
    """

    __slots__ = ("_filed", "_headers", "_loose")

    def __init__(self, rows: Iterable[Row]) -> None:
        self._filed: dict[tuple[str, str | None], list[Row]] = {}
        self._loose: list[Row] = []
        for row in rows:
            places = _places(row.rule.match)
            for place in places:
                self._filed.setdefault(place, []).append(row)
            if not places:
                self._loose.append(row)
        self._headers = tuple({kind for kind, _ in self._filed} - {"key:", "path:"})

    def __bool__(self) -> bool:
        return bool(self._filed or self._loose)

    def matching(self, facts: Facts) -> Iterator[Row]:
        """Those whose conditions hold, in the table's order."""
        rows = self._loose
        if self._filed:
            file = self._filed.get
            rows = [*rows, *file(("key:", facts.key), ()), *file(("path:", facts.path), ())]
            for name in self._headers:
                rows += file((name, facts.headers.get(name)), ())
            rows.sort(key=lambda row: row.rank)
        return (row for row in rows if matches(row, facts))


def _places(match: Match) -> list[tuple[str, str | None]]:
    """Where to file a rule: by its keys, a header or its paths, if literal; [] if nothing is.

    The colon keeps the kinds apart from names of headers.
    """
    if match.key and all(map(literal, match.key)):
        return [("key:", key) for key in dict.fromkeys(match.key)]
    for name, value in match.headers.items():
        if literal(value):
            return [(name, value)]
    if match.path and all(map(literal, match.path)):
        return [("path:", path) for path in dict.fromkeys(match.path)]
    return []
