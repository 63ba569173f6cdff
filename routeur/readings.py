"""What the pages of a running server say, and what has changed between two looks at them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import TypeVar

import msgspec

DIPS = 3  # looks at lower counters, after which they are taken to have begun anew

_SAMPLE = re.compile(r"(routeur_[a-z_]+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')

Counts = Mapping[str, float]  # by status
Buckets = Mapping[float, float]  # by a bound in seconds: how many took at most that
Samples = Mapping[str, list[tuple[dict[str, str], float]]]  # by metric: labels and values
K = TypeVar("K")


# ---- one look


class Ban(msgspec.Struct, frozen=True):
    """Why, and for how many seconds more; None: for good."""

    origin: str
    reason: str
    seconds_left: float | None


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Requests and tokens of the last minute; a limit below 0 is none."""

    is_banned: bool
    current_rpm: int
    current_tpm: int
    limit_rpm: int
    limit_tpm: int


class CredentialLoad(Load, frozen=True, kw_only=True):
    type: str
    is_fallback: bool


class ModelLoad(Load, frozen=True, kw_only=True):
    """Of a credential with one model: also for how many seconds its provider wants to be left
    alone, and its errors by status since the server's processes started.
    """

    credential: str
    model: str
    ban: Ban | None = None
    resting: float = 0.0
    error_code_counts: dict[str, int] = {}


class Health(msgspec.Struct, frozen=True):
    """The page `/health`."""

    credentials_available: int
    total_credentials: int
    credentials: dict[str, CredentialLoad]
    models: dict[str, ModelLoad]


class _Readiness(msgspec.Struct, frozen=True):
    status: str


class _Told(msgspec.Struct, frozen=True):
    message: str


class _Refusal(msgspec.Struct, frozen=True):
    error: _Told


@dataclass(frozen=True, slots=True)
class Look:
    """The pages at a moment of the monotonic clock. What is counted is so since the server's
    processes started: one that is replaced takes its figures along. Times are in seconds.
    """

    at: float
    ready: str
    health: Health
    requests: Counts
    tokens: float
    cost_usd: float
    inflight: float
    lag: float
    duration: Buckets
    first_token: Buckets


def read(at: float, readiness: bytes, health: bytes, metrics: bytes) -> Look:
    """The bodies of the three pages, seen `at` this moment; raises ValueError where they are
    something else.
    """
    samples = parse(metrics.decode())
    if "routeur_inflight" not in samples:
        raise ValueError("/metrics does not name routeur_inflight")
    return Look(
        at=at,
        ready=msgspec.json.decode(readiness, type=_Readiness).status,
        health=msgspec.json.decode(health, type=Health),
        requests=_sums(samples, "routeur_requests_total", "status"),
        tokens=_total(samples, "routeur_tokens_total"),
        cost_usd=_total(samples, "routeur_cost_usd_total"),
        inflight=_total(samples, "routeur_inflight"),
        lag=_total(samples, "routeur_event_loop_lag_seconds"),
        duration=_buckets(samples, "routeur_request_duration_seconds"),
        first_token=_buckets(samples, "routeur_time_to_first_token_seconds"),
    )


def refusal(body: bytes) -> str:
    """Why a page is refused, if routeur says so; else nothing."""
    try:
        return msgspec.json.decode(body, type=_Refusal).error.message
    except (ValueError, RecursionError):
        return ""


def parse(text: str) -> Samples:
    """What is routeur's in Prometheus' text format; the rest of it is passed over."""
    samples: defaultdict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
    for line in text.split("\n"):
        found = _SAMPLE.fullmatch(line)
        if found is None:
            continue
        name, labels, number = found.groups()
        value = float(number)
        if not isfinite(value):
            raise ValueError(f"/metrics says that {name} is {number}")
        samples[name].append((dict(_LABEL.findall(labels or "")), value))
    return samples


def _sums(samples: Samples, name: str, label: str) -> dict[str, float]:
    """The sum for each value of a label."""
    sums: defaultdict[str, float] = defaultdict(float)
    for labels, value in samples.get(name, ()):
        sums[labels.get(label, "")] += value
    return dict(sums)


def _total(samples: Samples, name: str) -> float:
    return sum(value for _, value in samples.get(name, ()))


def _buckets(samples: Samples, histogram: str) -> Buckets:
    return {
        float(bound): count for bound, count in _sums(samples, f"{histogram}_bucket", "le").items()
    }


# ---- between two looks


@dataclass(frozen=True, slots=True)
class Interval:
    """What was added in so many seconds; `errors` by credential and model as `/health` names
    them, and by status.
    """

    seconds: float
    requests: Counts
    tokens: float
    duration: Buckets
    first_token: Buckets
    errors: Mapping[str, Counts]


def between(before: Look, after: Look) -> Interval | None:
    """None where a counter has fallen: the server began anew, or a worker did not tell its
    figures.
    """
    requests = _added(before.requests, after.requests)
    duration = _added(before.duration, after.duration)
    first_token = _added(before.first_token, after.first_token)
    tokens = after.tokens - before.tokens
    if requests is None or duration is None or first_token is None or tokens < 0:
        return None
    seconds = after.at - before.at
    return Interval(seconds, requests, tokens, duration, first_token, _new_errors(before, after))


def _added(before: Mapping[K, float], after: Mapping[K, float]) -> dict[K, float] | None:
    added = {key: after.get(key, 0.0) - before.get(key, 0.0) for key in {**before, **after}}
    return None if any(each < 0 for each in added.values()) else added


def _new_errors(before: Look, after: Look) -> dict[str, Counts]:
    known = before.health.models
    errors: dict[str, Counts] = {}
    for name, model in after.health.models.items():
        counted = known[name].error_code_counts if name in known else {}
        added = _added(counted, model.error_code_counts) or {}
        errors[name] = {status: count for status, count in added.items() if count}
    return errors


class Course:
    """Looks, one after the other.

    A worker that does not tell its figures in time makes all counters fall for one look, and jump
    at the next: what has changed is then taken from the last look before that.
    """

    def __init__(self, first: Look) -> None:
        self._base = first
        self._dips = 0

    def then(self, look: Look) -> Interval | None:
        """What has changed with this look, if that can be said."""
        interval = between(self._base, look)
        self._dips = 0 if interval else self._dips + 1
        if interval or self._dips >= DIPS:
            self._base = look
            self._dips = 0
        return interval


# ---- quantiles


@dataclass(frozen=True, slots=True)
class Bound:
    """What buckets say of a quantile, in seconds: it is at most `le`, or greater than `gt`."""

    le: float | None = None
    gt: float | None = None


def quantile(buckets: Buckets, share: float) -> Bound | None:
    """The bucket that a share of the observations (0 to 1) ends in; None where there are none.

    It does not say where in the bucket: that would be a guess.
    """
    count = buckets.get(inf, 0.0)
    if count <= 0:
        return None
    bounds = sorted(bound for bound in buckets if bound != inf)
    for bound in bounds:
        if buckets[bound] >= share * count:
            return Bound(le=bound)
    return Bound(gt=bounds[-1]) if bounds else None
