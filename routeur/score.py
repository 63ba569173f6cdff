"""How good targets are: scores by strategy, and who is asked first.

A score is from 0 to 1. Times, speeds and prices compare with the best of those there are to choose
from: 1 is as good, 0 ten times worse, and twice as slow loses as much as twice as dear. What is not
known counts as the mean of what is known of the others, but where the price alone decides: there it
comes last. Errors lower everything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10
from operator import attrgetter
from typing import Any, Literal

from routeur.auto import Target
from routeur.board import Board, Record
from routeur.stickiness import order
from routeur.usage import BUCKETS, Price

Strategy = Literal["balanced", "latency", "throughput", "price", "quality"]

EXPLORED = 0.04  # of the choices go to a cold target, if it might be the best
EQUAL = 0.02  # scores that are so near (as a share of the best) are told apart by load
FRESH = 0.25  # seconds for which an order of few targets holds
SHAKEN = 0.01  # the same after a failure
MANY = 50  # targets, of which an order holds twice as long, as it costs more

_INPUT, _READ, _OUTPUT = map(BUCKETS.index, ("input", "cache_read", "output"))
_PICO = 10**12  # what prices' rates are in
_USUAL_OUTPUT = 400  # tokens, where nobody knows
_NEUTRAL = 0.5  # where a part is known of nobody
_MAGNITUDES = 12  # of requests, each four times the one before; larger ones count as the last
_KEPT = 32  # orders, by the magnitudes of requests
_HASHED = 16  # targets that are put into a conversation's own order; of more two are drawn by it
_LITTLE = 0.01  # of the mean, added to all: what is free is not infinitely better


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts for `balanced`."""

    latency: float = 0.4
    price: float = 0.4
    quality: float = 0.2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target that may be chosen, and what the configuration says of it.

    `quality` is any figure that grows with it, None unknown.
    """

    target: Target
    price: Price | None = None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request's tokens: those of its prompt, and the most that may come out (0: not said)."""

    input: int
    output: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """A target's score and its parts, all from 0 to 1; None is unknown.

    `hope` is the score if what was measured too seldom were the best there is. `cost` is in USD.
    """

    target: Target
    total: float
    latency: float | None
    throughput: float | None
    price: float | None
    quality: float | None
    trust: float
    cold: bool
    hope: float
    cost: float | None

    def shown(self) -> dict[str, Any]:
        """For traces and dry runs."""
        parts = ("latency", "throughput", "price", "quality")
        return {
            "target": str(self.target),
            "score": round(self.total, 4),
            **{part: _rounded(getattr(self, part)) for part in parts},
            "trust": round(self.trust, 4),
            "cold": self.cold,
            "estimated_cost_usd": self.cost,
        }


target_of: Callable[[Score], Target] = attrgetter("target")  # of hundreds, quickly


@dataclass(frozen=True, slots=True)
class Picked:
    """Targets in the order to ask them, and why the first one is that."""

    targets: tuple[Target, ...]
    why: str


def rate(
    candidates: Sequence[Candidate],
    board: Board,
    strategy: Strategy,
    ask: Ask,
    now: float,
    weights: Weights = Weights(),
) -> tuple[Score, ...]:
    """The candidates' scores, best first; of equal ones in the order given."""
    records = [board.record(each.target) for each in candidates]
    costs = _costs(candidates, records, ask)
    parts = {
        "latency": _less([record.first_token.value for record in records]),
        "throughput": _more([record.rate.value for record in records]),
        "price": _less(costs),
        "quality": _share([each.quality for each in candidates]),
    }
    shares = _shares(strategy, weights)
    means = {name: _mean(parts[name]) for name in shares}
    if strategy == "price":
        means["price"] = 0.0  # nobody gets to know it by asking, and it may be any
    scores = []
    for place, (each, record) in enumerate(zip(candidates, records, strict=True)):
        own = {name: found[place] for name, found in parts.items()}
        trust, cold = record.trust(now), record.cold(now)
        known = {name: own[name] for name in shares}
        hopes = known | {name: 1.0 for name in ("latency", "throughput") if name in known and cold}
        total = trust * _sum(known, means, shares)
        hope = trust * _sum(hopes, means, shares)
        scores.append(
            Score(each.target, total, **own, trust=trust, cold=cold, hope=hope, cost=costs[place])
        )
    scores.sort(key=lambda score: -score.total)
    return tuple(scores)


def pick(
    scores: Sequence[Score],
    load: Callable[[Target], float],
    random: Callable[[], float],
    id: bytes = b"",
) -> Picked:
    """The order in which to ask targets whose scores are given, best first; there is one at least.

    `load` says how busy a target is, `random` draws from [0, 1). The conversation `id` decides
    which of equal ones are compared, so that other processes compare the same.
    """
    best = scores[0]
    first, why = best.target, "has the best score"
    cold = _promising(scores) if random() < EXPLORED else ()
    equal = _equal(scores)
    if cold:
        first, why = cold[int(random() * len(cold))], "is tried, as little is known of it"
    elif equal > 1:
        one, other = _two(scores[:equal], random, id)
        first = other if load(other) < load(one) else one
        why = f"is the less busy of two whose scores are near ({one}, {other})"
    targets = tuple(map(target_of, scores))
    if first is not targets[0]:
        place = targets.index(first)
        targets = (first, *targets[:place], *targets[place + 1 :])
    return Picked(targets, why)


class Ranking:
    """Candidates in order, worked out anew a few times a second and not for each request: what a
    request costs does not grow with them.
    """

    __slots__ = ("_board", "_candidates", "_known", "_strategy", "_weights")

    def __init__(
        self,
        board: Board,
        candidates: Iterable[Candidate],
        strategy: Strategy = "balanced",
        weights: Weights = Weights(),
    ) -> None:
        self._board = board
        self._candidates = tuple(candidates)
        self._strategy = strategy
        self._weights = weights
        # By the magnitude of a request: when it was made, after how many failures.
        self._known: dict[tuple[int, int], tuple[float, int, tuple[Score, ...]]] = {}

    def scores(
        self, ask: Ask, now: float, among: Collection[Target] | None = None
    ) -> tuple[Score, ...]:
        """Best first; of those `among` them, where that is given."""
        size = _magnitude(ask.input), _magnitude(ask.output)
        known = self._known.get(size)
        if known is None or now - known[0] >= self._lasts(known[1]):
            found = rate(self._candidates, self._board, self._strategy, ask, now, self._weights)
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[size] = now, self._board.failures, found
        if among is None:
            return known[2]
        return tuple(score for score in known[2] if score.target in among)

    def _lasts(self, failures: int) -> float:
        base = FRESH if failures == self._board.failures else SHAKEN
        return base * (1 + len(self._candidates) / MANY)


def _costs(
    candidates: Sequence[Candidate], records: Sequence[Record], ask: Ask
) -> list[float | None]:
    """What the request is expected to cost (USD), with as much of it cached as usual there."""
    cached = _mean([record.cached.value for record in records], 0.0)
    usual = _mean([record.output.value for record in records], _USUAL_OUTPUT)
    found = []
    for each, record in zip(candidates, records, strict=True):
        share = cached if record.cached.value is None else record.cached.value
        out = usual if record.output.value is None else record.output.value
        if ask.output:
            out = min(out, ask.output)
        found.append(_cost(each.price, ask.input, share, out))
    return found


def _cost(price: Price | None, input: int, cached: float, output: float) -> float | None:
    """USD; None where a price is unknown. What has no price when cached costs as any input."""
    if price is None:
        return None
    rates = price.rates(input)
    fresh, read, out = rates[_INPUT], rates[_READ], rates[_OUTPUT]
    if fresh is None or out is None:
        return None
    each = fresh if read is None else fresh + cached * (read - fresh)
    return (input * each + output * out) / _PICO


def _shares(strategy: Strategy, weights: Weights) -> Mapping[str, float]:
    """How much each part counts; together 1."""
    if strategy != "balanced":
        return {strategy: 1.0}
    given = {"latency": weights.latency, "price": weights.price, "quality": weights.quality}
    total = sum(given.values())
    if total <= 0:
        return {name: 1 / len(given) for name in given}
    return {name: weight / total for name, weight in given.items()}


def _sum(
    parts: Mapping[str, float | None], means: Mapping[str, float], shares: Mapping[str, float]
) -> float:
    total = 0.0
    for name, share in shares.items():
        part = parts[name]
        total += share * (means[name] if part is None else part)
    return total


def _less(values: Sequence[float | None]) -> list[float | None]:
    """1 for the least of them, 0 for what is ten times as much."""
    known = [value for value in values if value is not None]
    little = _LITTLE * sum(known) / len(known) if known else 0.0
    least = min(known, default=0.0) + little
    return [_near(least, None if value is None else value + little) for value in values]


def _more(values: Sequence[float | None]) -> list[float | None]:
    """1 for the most of them, 0 for a tenth of it."""
    most = max((value for value in values if value is not None), default=0.0)
    return [_near(value, most) for value in values]


def _share(values: Sequence[float | None]) -> list[float | None]:
    """Each as a share of the most."""
    most = max((value for value in values if value is not None), default=0.0)
    return [None if value is None else max(0.0, value / most) if most else 1.0 for value in values]


def _near(less: float | None, more: float | None) -> float | None:
    """1 for the same, 0 for ten times as much."""
    if less is None or more is None:
        return None
    if more <= 0:
        return 1.0
    return max(0.0, 1 + log10(less / more)) if less > 0 else 0.0


def _mean(values: Sequence[float | None], otherwise: float = _NEUTRAL) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else otherwise


def _promising(scores: Sequence[Score]) -> list[Target]:
    """Cold ones that might be as good as the best."""
    best = scores[0].total
    return [score.target for score in scores if score.cold and score.hope >= best]


def _equal(scores: Sequence[Score]) -> int:
    """How many have scores as good as the best: they stand first."""
    enough = scores[0].total * (1 - EQUAL)
    return bisect_right(scores, -enough, key=lambda score: -score.total)


def _two(scores: Sequence[Score], random: Callable[[], float], id: bytes) -> tuple[Target, Target]:
    """Two different ones: the conversation's own, or any."""
    many = len(scores)
    if id and many <= _HASHED:
        by_name = {str(score.target): score.target for score in scores}
        one, other, *_ = order(id, list(by_name))
        return by_name[one], by_name[other]
    if id:
        half = len(id) // 2
        first = int.from_bytes(id[:half], "big") % many
        second = int.from_bytes(id[half:], "big") % (many - 1)
    else:
        first, second = int(random() * many), int(random() * (many - 1))
    return scores[first].target, scores[second + (second >= first)].target


def _magnitude(tokens: int) -> int:
    return min((tokens.bit_length() + 1) // 2, _MAGNITUDES)


def _rounded(part: float | None) -> float | None:
    return None if part is None else round(part, 4)
