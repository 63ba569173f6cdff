"""What `routeur top` tells of a running server: its figures, and those of each credential."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, inf

from routeur.readings import (
    Ban,
    Bound,
    Buckets,
    Counts,
    CredentialLoad,
    Health,
    Interval,
    Look,
    ModelLoad,
    quantile,
)

OK = "ok"


@dataclass(frozen=True, slots=True)
class Spread:
    """How long so many of them took."""

    count: int
    p50: Bound | None
    p95: Bound | None


@dataclass(frozen=True, slots=True)
class Row:
    """A credential, or one of its models.

    `state` is in words. Errors by status are those since the server's processes started, and the
    new ones among them; a limit of None is none.
    """

    name: str
    type: str
    is_fallback: bool
    is_banned: bool
    state: str
    rpm: int
    limit_rpm: int | None
    tpm: int
    limit_tpm: int | None
    errors: Mapping[str, int]
    new_errors: Mapping[str, int]
    models: tuple[Row, ...] = ()

    @property
    def is_idle(self) -> bool:
        return not (self.rpm or self.tpm or self.errors) and self.state == OK

    @property
    def is_full(self) -> bool:
        """Whether a limit is reached."""
        return _reached(self.rpm, self.limit_rpm) or _reached(self.tpm, self.limit_tpm)


@dataclass(frozen=True, slots=True)
class Overview:
    """Of the whole server. Sums are those since its processes started.

    What is of the last interval is None, or empty, where there is none. `tokens_last_minute` is
    what the credentials have used, `error_share` that of answers with a status of 400 or more.
    `cost_usd` is None where tokens were counted, and nothing had a price.
    """

    server: str
    ready: str
    credentials_available: int
    total_credentials: int
    inflight: int
    requests: int
    tokens: int
    tokens_last_minute: int
    cost_usd: float | None
    event_loop_lag_seconds: float
    interval_seconds: float | None
    requests_per_second: float | None
    tokens_per_second: float | None
    interval_requests: Mapping[str, int]
    error_share: float | None
    duration: Spread
    first_token: Spread
    credentials: tuple[Row, ...]


def overview(server: str, look: Look, interval: Interval | None) -> Overview:
    """All of it; the credentials in the order of `rows`."""
    health = look.health
    requests = _whole(interval.requests) if interval else {}
    return Overview(
        server=server,
        ready=look.ready,
        credentials_available=health.credentials_available,
        total_credentials=health.total_credentials,
        inflight=round(look.inflight),
        requests=round(sum(look.requests.values())),
        tokens=round(look.tokens),
        tokens_last_minute=sum(each.current_tpm for each in health.credentials.values()),
        cost_usd=_cost(look),
        event_loop_lag_seconds=look.lag,
        interval_seconds=interval.seconds if interval else None,
        requests_per_second=sum(requests.values()) / interval.seconds if interval else None,
        tokens_per_second=interval.tokens / interval.seconds if interval else None,
        interval_requests=requests,
        error_share=error_share(requests),
        duration=_spread(interval.duration if interval else {}),
        first_token=_spread(interval.first_token if interval else {}),
        credentials=rows(health, interval.errors if interval else {}),
    )


def _cost(look: Look) -> float | None:
    """None where it is not known: a price of nothing looks the same as no price."""
    return look.cost_usd if look.cost_usd or not look.tokens else None


def error_share(requests: Mapping[str, int]) -> float | None:
    """Of requests by status; None where there are none."""
    total = sum(requests.values())
    return sum(errors(requests).values()) / total if total else None


def errors(requests: Mapping[str, int]) -> dict[str, int]:
    """Those by a status of 400 or more, or by none that is known."""
    return {status: count for status, count in requests.items() if status >= "4"}


def _whole(counts: Mapping[str, float]) -> dict[str, int]:
    return {status: round(count) for status, count in sorted(counts.items()) if count}


def _spread(buckets: Buckets) -> Spread:
    count = buckets.get(inf, 0.0)
    return Spread(round(count), quantile(buckets, 0.5), quantile(buckets, 0.95))


def as_json(shown: Overview, *, models: bool) -> str:
    """One object, in ASCII whatever the server said; with the models of each credential, too."""
    facts = asdict(shown)
    for row in facts["credentials"]:
        if not models:
            del row["models"]
            continue
        for model in row["models"]:
            del model["type"], model["is_fallback"], model["models"]
    return json.dumps(facts, indent=2)


# ---- credentials


def rows(health: Health, new_errors: Mapping[str, Counts]) -> tuple[Row, ...]:
    """The credentials: banned ones first, then by requests, else in the server's order."""
    loads: defaultdict[str, list[ModelLoad]] = defaultdict(list)
    models: defaultdict[str, list[Row]] = defaultdict(list)
    for name, load in health.models.items():
        loads[load.credential].append(load)
        models[load.credential].append(_model(load, new_errors.get(name, {})))
    return _notable(
        _credential(name, load, loads[name], models[name])
        for name, load in health.credentials.items()
    )


def _notable(found: Iterable[Row]) -> tuple[Row, ...]:
    return tuple(sorted(found, key=lambda row: (not row.is_banned, -row.rpm)))


def _credential(
    name: str, load: CredentialLoad, loads: Sequence[ModelLoad], models: Sequence[Row]
) -> Row:
    return Row(
        name=name,
        type=load.type,
        is_fallback=load.is_fallback,
        is_banned=load.is_banned,
        state=_state_of_all(load, loads),
        rpm=load.current_rpm,
        limit_rpm=_limit(load.limit_rpm),
        tpm=load.current_tpm,
        limit_tpm=_limit(load.limit_tpm),
        errors=_sum([row.errors for row in models]),
        new_errors=_sum([row.new_errors for row in models]),
        models=_notable(models),
    )


def _model(load: ModelLoad, new_errors: Counts) -> Row:
    return Row(
        name=load.model,
        type="",
        is_fallback=False,
        is_banned=load.is_banned,
        state=_state(load),
        rpm=load.current_rpm,
        limit_rpm=_limit(load.limit_rpm),
        tpm=load.current_tpm,
        limit_tpm=_limit(load.limit_tpm),
        errors=load.error_code_counts,
        new_errors=_whole(new_errors),
    )


def _limit(given: int) -> int | None:
    return given if given > 0 else None


def _reached(current: int, limit: int | None) -> bool:
    return limit is not None and current >= limit


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))


def _state(load: ModelLoad) -> str:
    """Whether a credential is asked for a model, and why not."""
    if load.ban is not None:
        return _banned(load.ban)
    if load.is_banned:
        return "banned"
    return f"rests, {lasting(load.resting)} left" if load.resting else OK


def _state_of_all(load: CredentialLoad, models: Sequence[ModelLoad]) -> str:
    """The same for all its models; where several are banned, why the one is that is longest."""
    bans = [model.ban for model in models if model.ban is not None]
    if bans:
        said = _banned(max(bans, key=_left))
        return said if load.is_banned else f"{len(bans)} of {len(models)} models {said}"
    if load.is_banned:
        return "banned"
    resting = [model.resting for model in models if model.resting]
    if resting:
        return f"{len(resting)} of {len(models)} models rest, {lasting(max(resting))} left"
    return OK


def _left(ban: Ban) -> float:
    return inf if ban.seconds_left is None else ban.seconds_left


def _banned(ban: Ban) -> str:
    by = " by an operator" if ban.origin == "admin" else ""
    until = "" if ban.seconds_left is None else f", {lasting(ban.seconds_left)} left"
    return f"banned{by}: {ban.reason}{until}"


def lasting(seconds: float) -> str:
    """A time in its two largest units: `42s`, `3m 5s`, `2d 4h`."""
    minutes, rest = divmod(ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s" if minutes else f"{rest}s"
