"""Which rules hold for a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from itertools import chain

from routeur.auto import Candidates, Facts, Target
from routeur.providers import Provider, Timeouts


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must be like; what is left out always holds.

    `model`, `key` and `path` are globs of which one must fit; `headers` maps lower-case names to
    globs, all of which must fit; of `has` all must be used; `tokens_gt` and `tokens_lt` bound the
    estimated prompt. `difficulty` are words of which a classifier says one.
    """

    model: tuple[str, ...] = ()
    has: frozenset[str] = frozenset()
    tokens_gt: int | None = None
    tokens_lt: int | None = None
    stream: bool | None = None
    key: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    difficulty: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table: targets to try in this order (`to`) or by weights (`split`), or neither.

    Without targets the alias's own are taken, or if it `chooses` those of `auto`. `strategy`
    chooses among them by their scores, `sort` only puts them in that order. `commit`, `keepalive`
    and `hedge` (seconds), `timeouts`, `retries` (attempts) and `statuses` (that justify another
    one) replace the provider's and the general settings for calls it decides.
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
    chooses: bool = False


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

    __slots__ = ("candidates", "headers", "key", "model", "path", "rank", "rule", "unconditional")

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
        self.unconditional = match == Match(model=match.model)


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
    if match.tokens_lt is not None and not facts.tokens() < match.tokens_lt:
        return False
    return not match.difficulty or facts.difficulty() in match.difficulty


class Rows:
    """The rules that one name may meet, filed so that a request looks at few of them.

    A rule that wants certain keys, a header or paths is looked at only if the request has them, be
    they literal or patterns: a table with a rule per customer costs no more than one with a rule.
    """

    __slots__ = ("_filed", "_fitting", "_kinds", "_loose", "_patterned")

    def __init__(self, rows: Iterable[Row]) -> None:
        self._filed: dict[tuple[str, str], list[Row]] = {}
        self._patterned: dict[str, list[tuple[Glob, Row]]] = {}
        self._fitting: dict[tuple[str, str], list[Row]] = {}  # of patterns, by what was seen
        self._loose: list[Row] = []
        for row in rows:
            if places := _places(row.rule.match):
                for place in places:
                    self._filed.setdefault(place, []).append(row)
            elif pattern := _pattern(row):
                kind, fits = pattern
                self._patterned.setdefault(kind, []).append((fits, row))
            else:
                self._loose.append(row)
        self._kinds = tuple({kind for kind, _ in self._filed} | self._patterned.keys())

    def __bool__(self) -> bool:
        return bool(self._kinds or self._loose)

    def __iter__(self) -> Iterator[Row]:
        """All of them."""
        patterned = ([row for _, row in rows] for rows in self._patterned.values())
        return chain(self._loose, *self._filed.values(), *patterned)

    def matching(self, facts: Facts) -> Iterator[Row]:
        """Those whose conditions hold, in the table's order."""
        rows = self._loose
        if self._kinds:
            rows = [*rows]
            for kind in self._kinds:
                value = _value(kind, facts)
                if value is not None:
                    rows += self._filed.get((kind, value), ())
                    rows += self._fits(kind, value)
            rows.sort(key=lambda row: row.rank)
        return (row for row in rows if matches(row, facts))

    def _fits(self, kind: str, value: str) -> Sequence[Row]:
        """Those with a pattern that this value fits; remembered, as most values come again."""
        patterned = self._patterned.get(kind)
        if patterned is None:
            return ()
        found = self._fitting.get((kind, value))
        if found is None:
            found = [row for fits, row in patterned if fits(value)]
            if len(self._fitting) >= _REMEMBERED:
                self._fitting.clear()
            if len(value) <= _LONGEST:
                self._fitting[kind, value] = found
        return found


# Where rules are filed that want certain keys or paths; others are filed by the name of a header.
# The colon keeps the kinds apart.
_KEY, _PATH = "key:", "path:"
_REMEMBERED = 1024  # values that were seen: clients invent some of them
_LONGEST = 512  # characters of one


def _value(kind: str, facts: Facts) -> str | None:
    if kind == _KEY:
        return facts.key
    return facts.path if kind == _PATH else facts.headers.get(kind)


def _places(match: Match) -> list[tuple[str, str]]:
    """Where to file a rule: by its keys, a header or its paths, if literal; [] if nothing is."""
    if match.key and all(map(literal, match.key)):
        return [(_KEY, key) for key in dict.fromkeys(match.key)]
    for name, value in match.headers.items():
        if literal(value):
            return [(name, value)]
    if match.path and all(map(literal, match.path)):
        return [(_PATH, path) for path in dict.fromkeys(match.path)]
    return []


def _pattern(row: Row) -> tuple[str, Glob] | None:
    """By what to look for a rule of which nothing is literal."""
    if row.key:
        return _KEY, row.key
    if row.headers:
        return row.headers[0]
    return (_PATH, row.path) if row.path else None
