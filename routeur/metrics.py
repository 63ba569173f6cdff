"""What `/metrics` shows: plain numbers while calls run, written out by prometheus-client.

Labels come from the configuration only; a name that a client invented counts as `other`, so the
number of series cannot grow with what clients send.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import attrgetter, sub
from typing import Any

from msgspec.structs import astuple
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from routeur.call import Call, ended_well
from routeur.dialects.base import Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # what every Prometheus reads

# Upper bounds in seconds: from an embedding to a long reasoning answer; from a local model's first
# token to a cold one's; and what a proxy itself may take.
ANSWER = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0)
OWN = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)

HISTOGRAMS = {
    "routeur_request_duration_seconds": ("From the request's head to the answer's end.", ANSWER),
    "routeur_time_to_first_token_seconds": (
        "From the request's head to the first content of a stream.",
        FIRST_TOKEN,
    ),
    "routeur_overhead_seconds": ("In routeur, before the request went to the provider.", OWN),
    "routeur_chunk_delay_seconds": ("From a chunk's arrival to its sending; sampled.", OWN),
}
KINDS = Usage.__struct_fields__
OUTCOMES = ("ok", "rate_limited", "auth", "rejected", "server_error", "failed", "abandoned")
ABORTERS = ("client", "upstream", "routeur")
DIALECTS = frozenset(("openai", "anthropic", "gemini", "raw"))

REMEMBERED = 4096  # ways to name a counter

_labels = attrgetter("provider", "model", "dialect", "status")
_started, _ended, _cost = map(attrgetter, ("started", "ended", "cost_usd"))
_attempts, _usage = map(attrgetter, ("attempts", "usage"))
_result = attrgetter("status", "error")
_LAG_EVERY = 0.5  # seconds between two looks at the event loop
_LAG_LOOKS = 20

Labels = tuple[str, str, str, str]


class Histogram:
    """Counts per bucket (the last one is without a bound) and the sum, in seconds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: Sequence[float]) -> None:
        for slot, count in Counter(map(bisect_left, repeat(self.bounds), seconds)).items():
            self.counts[slot] += count
        self.sum += sum(seconds)


class Metrics:
    """What one process counted.

    `known` maps each provider to the model names that may be labels, `credentials` are the names of
    the configured ones. Each call is `started` and `finished`, and counted when it is over.
    """

    def __init__(
        self, known: Mapping[str, Collection[str]], credentials: Collection[str] = ()
    ) -> None:
        self._requests: dict[Labels, list[int]] = {}
        self._bound: dict[tuple[str | None, str | None, str, int], list[int]] = {}
        self._histograms = {name: Histogram(bounds) for name, (_, bounds) in HISTOGRAMS.items()}
        self._duration = self._histograms["routeur_request_duration_seconds"].observe
        self._first_token = self._histograms["routeur_time_to_first_token_seconds"].observe
        self._overhead = self._histograms["routeur_overhead_seconds"].observe
        self._delay = self._histograms["routeur_chunk_delay_seconds"].observe
        self._tokens = [0] * len(KINDS)
        self._attempts = dict.fromkeys(OUTCOMES, 0)
        self._aborts = dict.fromkeys(ABORTERS, 0)
        self._cost = 0.0
        self._lags: deque[float] = deque(maxlen=_LAG_LOOKS)
        self._look: asyncio.TimerHandle | None = None
        self.inflight = 0
        self.configure(known, credentials)

    def configure(
        self, known: Mapping[str, Collection[str]], credentials: Collection[str] = ()
    ) -> None:
        """Take labels from another configuration from now on; what was counted stays."""
        self._known = {provider: frozenset(models) for provider, models in known.items()}
        self._credentials = tuple(credentials)
        self._bound.clear()

    def started(self) -> None:
        self.inflight += 1

    def finished(self) -> None:
        self.inflight -= 1

    def count(self, calls: Sequence[Call]) -> None:
        """Count calls that are over, with everything that became of them.

        Many at once: the loops are then those of the standard library, in C.
        """
        for facts, count in Counter(map(_labels, calls)).items():
            (self._bound.get(facts) or self._bind(facts))[0] += count
        self._duration([*map(sub, map(_ended, calls), map(_started, calls))])
        self._first_token([c.first_token - c.started for c in calls if c.first_token])
        self._overhead(
            [c.sent - c.started if len(c.attempts) == 1 else c.overhead for c in calls if c.sent]
        )
        attempts = [*chain.from_iterable(map(_attempts, calls))]
        for (status, error), count in Counter(map(_result, attempts)).items():
            self._attempts[outcome(status, ended_well(error))] += count
        for by in [c.aborted_by for c in calls if c.aborted_by and c.stream]:
            self._aborts[by] += 1
        usages = [*filter(None, map(_usage, chain(calls, attempts)))]
        if usages:
            self._tokens = [*map(sum, zip(self._tokens, *map(astuple, usages), strict=True))]
        self._cost += sum(filter(None, map(_cost, calls)))

    def refused(self, dialect: str, status: int) -> None:
        """Count a request that did not become a call, as for want of a valid key."""
        facts = (None, None, dialect, status)
        (self._bound.get(facts) or self._bind(facts))[0] += 1

    def chunk_delay(self, seconds: float) -> None:
        """Count a sampled chunk."""
        self._delay([seconds])

    def _bind(self, facts: tuple[str | None, str | None, str, int]) -> list[int]:
        """The counter of a call's labels; what clients invent is not remembered for ever."""
        provider, model, dialect, status = facts
        labels = (
            _known_or_other(provider, self._known),
            _known_or_other(model, self._known.get(provider or "", ())),
            dialect if dialect in DIALECTS else "other",
            str(status) if 100 <= status < 600 else "other",
        )
        counter = self._requests.setdefault(labels, [0])
        if len(self._bound) >= REMEMBERED:
            self._bound.clear()
        self._bound[facts] = counter
        return counter

    def start(self) -> None:
        """Begin to watch how late the event loop is; inside a running loop."""
        loop = asyncio.get_running_loop()
        due = loop.time() + _LAG_EVERY

        def look() -> None:
            nonlocal due
            now = loop.time()
            self._lags.append(max(0.0, now - due))
            due = now + _LAG_EVERY
            self._look = loop.call_at(due, look)

        self._look = loop.call_at(due, look)

    def stop(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def snapshot(self, banned: Collection[str] = ()) -> dict[str, Any]:
        """The numbers of this process, as JSON can carry them to the one that shows them.

        `banned` are the credentials that are, for all their models.
        """
        return {
            "requests": [[*labels, counter[0]] for labels, counter in self._requests.items()],
            "histograms": {
                name: {"counts": list(histogram.counts), "sum": histogram.sum}
                for name, histogram in self._histograms.items()
            },
            "tokens": dict(zip(KINDS, self._tokens, strict=True)),
            "attempts": dict(self._attempts),
            "aborts": dict(self._aborts),
            "cost_usd": self._cost,
            "inflight": self.inflight,
            "lag": max(self._lags, default=0.0),
            "banned": {name: int(name in banned) for name in self._credentials},
        }


def _known_or_other(name: str | None, known: Collection[str]) -> str:
    if name is None:
        return "none"
    return name if name in known else "other"


def outcome(status: int, well: bool) -> str:
    """What an attempt is counted as, one of OUTCOMES; `well` says that it ended without an error.

    `failed` brought no usable answer, `abandoned` was given up before any.
    """
    if not well and status < 400:
        return "failed"
    if 0 < status < 400:
        return "ok"
    if status == 429:
        return "rate_limited"
    if status in (401, 402, 403):
        return "auth"
    if status >= 500:
        return "server_error"
    return "rejected" if status else "abandoned"


def merge(snapshots: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One snapshot of several processes: sums, but of lag and bans the worst."""
    total = Metrics({}).snapshot()
    requests: dict[Labels, int] = {}
    for snapshot in snapshots:
        for provider, model, dialect, status, count in snapshot["requests"]:
            labels = (provider, model, dialect, status)
            requests[labels] = requests.get(labels, 0) + count
        for name, histogram in snapshot["histograms"].items():
            into = total["histograms"][name]
            into["counts"] = [
                a + b for a, b in zip(into["counts"], histogram["counts"], strict=True)
            ]
            into["sum"] += histogram["sum"]
        for group in ("tokens", "attempts", "aborts"):
            for label, count in snapshot[group].items():
                total[group][label] += count
        total["cost_usd"] += snapshot["cost_usd"]
        total["inflight"] += snapshot["inflight"]
        total["lag"] = max(total["lag"], snapshot["lag"])
        for name, banned in snapshot["banned"].items():
            total["banned"][name] = max(total["banned"].get(name, 0), banned)
    total["requests"] = [[*labels, count] for labels, count in requests.items()]
    return total


class Figures:
    """What several workers have counted, each known by a number: no counter goes back when one dies
    or is late, which Prometheus would take for a new beginning of them all.
    """

    def __init__(self) -> None:
        self._living: dict[int, Mapping[str, Any]] = {}
        self._ended = Metrics({}).snapshot()

    def note(self, worker: int, snapshot: Mapping[str, Any]) -> None:
        """A worker's snapshot, instead of the one that was noted before."""
        self._living[worker] = snapshot

    def gone(self, worker: int) -> None:
        """A worker has died: what it has counted stays, and nothing of it is under way."""
        if (last := self._living.pop(worker, None)) is not None:
            self._ended = merge([self._ended, {**last, "inflight": 0, "lag": 0.0, "banned": {}}])

    def sum(self) -> dict[str, Any]:
        """One snapshot of them all."""
        return merge([self._ended, *self._living.values()])


def render(snapshot: Mapping[str, Any]) -> tuple[bytes, str]:
    """A snapshot in Prometheus' text format, and its content type."""
    registry = CollectorRegistry()
    registry.register(_Families(snapshot))
    return generate_latest(registry), CONTENT_TYPE


class _Families(Collector):
    """A snapshot as prometheus-client wants to see it."""

    def __init__(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        shot = self._snapshot
        requests = CounterMetricFamily(
            "routeur_requests_total",
            "Requests answered, by who answered.",
            labels=("provider", "model", "dialect", "status"),
        )
        for *labels, count in shot["requests"]:
            requests.add_metric(labels, count)
        yield requests
        for name, (text, bounds) in HISTOGRAMS.items():
            yield _histogram(name, text, bounds, shot["histograms"][name])
        yield GaugeMetricFamily("routeur_inflight", "Requests under way.", value=shot["inflight"])
        yield _counter("routeur_tokens_total", "Tokens.", "kind", shot["tokens"])
        yield CounterMetricFamily(
            "routeur_cost_usd_total", "Cost in USD, where prices are known.", value=shot["cost_usd"]
        )
        yield _counter(
            "routeur_attempts_total", "Requests to providers.", "outcome", shot["attempts"]
        )
        yield _counter(
            "routeur_stream_aborts_total",
            "Streams that ended before their end, by who ended them.",
            "by",
            shot["aborts"],
        )
        banned = GaugeMetricFamily(
            "routeur_credential_banned",
            "1 while it is banned for all its models.",
            labels=("credential",),
        )
        for name, value in shot["banned"].items():
            banned.add_metric((name,), value)
        yield banned
        yield GaugeMetricFamily(
            "routeur_event_loop_lag_seconds",
            "How late the event loop was, at worst, in the last 10 seconds.",
            value=shot["lag"],
        )


def _counter(name: str, text: str, label: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, count in counts.items():
        family.add_metric((value,), count)
    return family


def _histogram(
    name: str, text: str, bounds: tuple[float, ...], data: Mapping[str, Any]
) -> HistogramMetricFamily:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*bounds, "+Inf"), data["counts"], strict=True):
        total += count
        buckets.append((str(bound), total))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=data["sum"])
