"""`auto` against round robin and against each provider alone: 20,000 calls in simulated time.

    python tools/simulate_auto.py [--calls N] [--seed N]

Conversations come at random and have several turns; each turn's prompt is the one before and some
more. Five fake providers differ in speed, price, failures and in how many calls they can serve at
once; all but one read a prompt from their cache if it was there within the last five minutes. One
of them dies for a while. `auto` is routeur's own score and stickiness. Prints a table in Markdown;
its last column weighs p95, cost and quality in hindsight as `balanced` does.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import log10
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))

from routeur.auto import Target
from routeur.board import Board
from routeur.conversation import Conversation
from routeur.dialects.base import Usage
from routeur.score import Ask, Candidate, Ranking, Weights, pick
from routeur.stickiness import Binding, Stickiness, stay
from routeur.usage import Price, cost

CACHED_FOR = 300.0  # seconds
ATTEMPTS = 3
CALLS_A_SECOND = 4.0
TURNS = 8  # of a conversation, in the mean
THINKING = 25.0  # seconds between an answer and the next turn, in the mean
CACHED_FASTER = 0.5  # of the time to the first token goes with reading the prompt


@dataclass
class Provider:
    """`first_token` and `failing` (how long a failure takes) in seconds, `rate` in tokens a second.

    `room` is how many calls it serves at full speed; with twice as many each takes twice as long.
    It is dead from `dies` to `lives`, as shares of the whole time.
    """

    name: str
    first_token: float
    rate: float
    price: Price
    quality: float
    errors: float = 0.01
    caches: bool = True
    failing: float = 0.3
    room: int = 40
    dies: float = 2.0
    lives: float = 2.0
    busy: int = 0
    warm: dict[int, tuple[float, int]] = field(default_factory=dict)  # until, tokens

    @property
    def target(self) -> Target:
        return Target(self.name, "model")

    def cached(self, conversation: int, now: float) -> int:
        until, tokens = self.warm.get(conversation, (0.0, 0))
        return tokens if self.caches and now < until else 0


def providers() -> list[Provider]:
    def price(input: float, output: float) -> Price:
        return Price(input=input, output=output, cache_read=input / 10)

    return [
        Provider("quick", 0.25, 180, price(2.0, 8.0), 0.80, errors=0.005),
        Provider("steady", 0.35, 110, price(0.8, 3.2), 0.85, dies=0.4, lives=0.55),
        Provider("cheap", 0.90, 60, price(0.5, 2.0), 0.70, errors=0.03, room=25),
        Provider("flaky", 0.35, 120, price(0.6, 2.4), 0.80, errors=0.2, failing=1.0),
        Provider("plain", 0.60, 80, price(0.8, 3.2), 0.80, caches=False),
    ]


@dataclass(frozen=True)
class Turn:
    conversation: int
    number: int
    prompt: int  # tokens
    answer: int


@dataclass
class Tally:
    """What came of all calls; `waits` are seconds until the client had its first token."""

    waits: list[float] = field(default_factory=list)
    usd: float = 0.0
    failures: int = 0
    attempts: int = 0
    prompt: int = 0
    cached: int = 0
    served: Counter[str] = field(default_factory=Counter)

    @property
    def calls(self) -> int:
        return len(self.waits) + self.failures

    @property
    def late(self) -> float:
        """The 95th percentile of the waits."""
        return sorted(self.waits)[int(len(self.waits) * 0.95)]

    @property
    def usd_a_call(self) -> float:
        return self.usd / len(self.waits)

    @property
    def quality(self) -> float:
        of = {each.name: each.quality for each in providers()}
        return sum(of[name] * n for name, n in self.served.items()) / len(self.waits)

    def row(self, name: str, hindsight: float) -> str:
        cells = (
            name,
            f"{self.usd:.2f}",
            f"{self.late:.2f} s",
            f"{self.failures} ({self.failures / self.calls:.2%})",
            f"{self.attempts / self.calls:.2f}",
            f"{self.cached / self.prompt:.0%}",
            f"{hindsight:.2f}",
        )
        return f"| {' | '.join(cells)} |"


def hindsight(tally: Tally, all: list[Tally]) -> float:
    """What `balanced` would have made of it: 1 is the best there was in everything."""
    weights = Weights()
    slower = log10(tally.late / min(each.late for each in all))
    dearer = log10(tally.usd_a_call / min(each.usd_a_call for each in all))
    quality = tally.quality / max(each.quality for each in all)
    score = weights.latency * (1 - slower) + weights.price * (1 - dearer)
    return (score + weights.quality * quality) * (1 - tally.failures / tally.calls) ** 2


class Policy(Protocol):
    """Who is asked for a turn, in this order; and what it hears of how that went."""

    def plan(self, turn: Turn, now: float) -> list[Provider]: ...

    def answered(
        self, turn: Turn, provider: Provider, now: float, wait: float, seconds: float, usage: Usage
    ) -> None: ...

    def failed(self, turn: Turn, provider: Provider, now: float) -> None: ...


class Deaf:
    """Learns nothing."""

    def answered(
        self, turn: Turn, provider: Provider, now: float, wait: float, seconds: float, usage: Usage
    ) -> None:
        """Nothing."""

    def failed(self, turn: Turn, provider: Provider, now: float) -> None:
        """Nothing."""


class RoundRobin(Deaf):
    """Each call to the next one, and the others in turn after a failure."""

    def __init__(self, all: list[Provider]) -> None:
        self._all = all
        self._next = itertools.count()

    def plan(self, turn: Turn, now: float) -> list[Provider]:
        first = next(self._next) % len(self._all)
        return self._all[first:] + self._all[:first]


class Alone(Deaf):
    """Always the same one, asked again after a failure."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def plan(self, turn: Turn, now: float) -> list[Provider]:
        return [self._provider] * ATTEMPTS


class Auto:
    """routeur's: the conversation's own target first, else by score."""

    def __init__(self, all: list[Provider], rng: random.Random) -> None:
        self._by_target = {each.target: each for each in all}
        self._board = Board()
        candidates = [Candidate(each.target, each.price, each.quality) for each in all]
        self._ranking = Ranking(self._board, candidates)
        self._sticky = Stickiness()
        self._rng = rng

    def plan(self, turn: Turn, now: float) -> list[Provider]:
        id = turn.conversation.to_bytes(16, "big")
        binding = self._sticky.find(id, now)
        scores = self._ranking.scores(Ask(turn.prompt), now)
        picked = pick(scores, lambda target: self._by_target[target].busy, self._rng.random, id)
        kept = stay(picked.targets, binding, Conversation(id, "simulated"), lambda target: "")
        return [self._by_target[target] for target in kept.targets]

    def answered(
        self, turn: Turn, provider: Provider, now: float, wait: float, seconds: float, usage: Usage
    ) -> None:
        self._board.record(provider.target).answered(now, wait, seconds, usage)
        self._sticky.keep(
            turn.conversation.to_bytes(16, "big"), Binding(provider.target, provider.name), now
        )

    def failed(self, turn: Turn, provider: Provider, now: float) -> None:
        self._board.failed(provider.target, now)
        self._sticky.leave(
            turn.conversation.to_bytes(16, "big"), Binding(provider.target, provider.name)
        )


def turns(calls: int, rng: random.Random) -> Iterator[tuple[float, Turn]]:
    """All turns and when they come, in order: the same for each policy."""
    queue: list[tuple[float, int, Turn]] = []
    number = itertools.count()
    now = 0.0
    for conversation in itertools.count(1):
        if len(queue) >= calls:
            break
        now += rng.expovariate(CALLS_A_SECOND / TURNS)
        at, prompt = now, int(rng.lognormvariate(7.5, 0.8)) + 200
        for turn in range(1 + int(rng.expovariate(1 / (TURNS - 1)))):
            answer = int(rng.lognormvariate(5.5, 0.7)) + 10
            queue.append((at, next(number), Turn(conversation, turn, prompt, answer)))
            prompt += answer + int(rng.lognormvariate(5.0, 1.0))
            at += 2.0 + answer / 100 + rng.expovariate(1 / THINKING)
    heapq.heapify(queue)
    for _ in range(calls):
        at, _, each = heapq.heappop(queue)
        yield at, each


def simulate(schedule: list[tuple[float, Turn]], policy: Policy, rng: random.Random) -> Tally:
    """All calls, each to be answered by whom the policy names."""
    tally = Tally()
    end = schedule[-1][0]
    leaving: list[tuple[float, int, Callable[[], None]]] = []  # what happens later
    number = itertools.count()

    def later(at: float, what: Callable[[], None]) -> None:
        heapq.heappush(leaving, (at, next(number), what))

    for at, turn in schedule:
        while leaving and leaving[0][0] <= at:
            heapq.heappop(leaving)[2]()
        _call(turn, at, end, policy, rng, tally, later)
    while leaving:
        heapq.heappop(leaving)[2]()
    return tally


def _call(
    turn: Turn,
    at: float,
    end: float,
    policy: Policy,
    rng: random.Random,
    tally: Tally,
    later: Callable[[float, Callable[[], None]], None],
) -> None:
    now = at
    for provider in policy.plan(turn, at)[:ATTEMPTS]:
        tally.attempts += 1
        dead = provider.dies <= at / end < provider.lives
        if dead or rng.random() < provider.errors:
            now += provider.failing * rng.uniform(0.5, 1.5)
            policy.failed(turn, provider, at)
            continue
        read = min(provider.cached(turn.conversation, now), turn.prompt)
        slower = max(1.0, provider.busy / provider.room)
        fresh = 1 - CACHED_FASTER * read / turn.prompt
        wait = provider.first_token * fresh * slower * rng.lognormvariate(0.0, 0.3)
        seconds = turn.answer / provider.rate * slower
        usage = Usage(input=turn.prompt - read, cache_read=read, output=turn.answer)
        tally.waits.append(now + wait - at)
        tally.usd += cost(usage, provider.price) or 0.0
        tally.prompt += turn.prompt
        tally.cached += read
        tally.served[provider.name] += 1
        provider.busy += 1
        provider.warm[turn.conversation] = (now + CACHED_FOR, turn.prompt)

        def done(
            provider: Provider = provider,
            over: float = now + wait + seconds,
            wait: float = wait,
            seconds: float = seconds,
            usage: Usage = usage,
        ) -> None:
            provider.busy -= 1
            policy.answered(turn, provider, over, wait, seconds, usage)

        later(now + wait + seconds, done)
        return
    tally.failures += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    schedule = list(turns(given.calls, random.Random(given.seed)))

    def run(make: Callable[[list[Provider]], Policy]) -> Tally:
        return simulate(schedule, make(providers()), random.Random(given.seed))

    tallies = {
        "`auto`": run(lambda all: Auto(all, random.Random(given.seed))),
        "round robin": run(RoundRobin),
    }
    for place, each in enumerate(providers()):
        tallies[f"only {each.name}"] = run(lambda all, place=place: Alone(all[place]))
    print("| | USD | p95 first token | failures | attempts a call | from cache | in hindsight |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, tally in tallies.items():
        print(tally.row(name, hindsight(tally, list(tallies.values()))))
    shares = ", ".join(f"{name} {n}" for name, n in tallies["`auto`"].served.most_common())
    print(f"\n`auto` was served by: {shares}.")


if __name__ == "__main__":
    main()
