"""What calls have used, in the management API: one call, sums, and sums over time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from routeur.call import rfc3339
from routeur.desk import Asked, Desk, Json, moment
from routeur.errors import ClientError, Forbidden, NotFound, did_you_mean
from routeur.store.base import Granularity, Span, Used

SPAN = ("start_time", "end_time", "provider_id", "model", "key_id")
DAYS = 30  # that a report is about if nothing else is said
DAY = 86400

GRANULARITIES: tuple[Granularity, ...] = get_args(Granularity)


# ---- handlers


async def summary(desk: Desk, asked: Asked) -> Json:
    return summed(await desk.store.used(_span(desk, asked)))


async def timeseries(desk: Desk, asked: Asked) -> Json:
    wanted = asked.query.get("granularity", "daily")
    if wanted not in GRANULARITIES:
        near = did_you_mean(wanted, GRANULARITIES)
        raise ClientError(
            f"`granularity` must be hourly, daily or monthly{near}", param="granularity"
        )
    rows = await desk.store.timeline(_span(desk, asked), wanted)
    return {"data_points": [point(row) for row in rows]}


async def generation(desk: Desk, asked: Asked) -> Json:
    id = asked.query.get("id")
    if not id:
        raise ClientError("`id` is missing: the answer's X-Routeur-Trace-Id", param="id")
    trace = await desk.trace(id)
    mine = trace is not None and (trace["key"] or "") == asked.caller.id
    if trace is None or not (mine or asked.caller.manages):
        raise NotFound("no such generation: only the latest are kept, for the key that made it")
    return {
        "data": {
            "id": id,
            "model": trace["model"],
            "provider": trace["provider"],
            "created_at": trace["started_at"],
            "latency_ms": trace["latency_ms"],
            "usage": _usage(trace["usage"], trace["cost_usd"]),
        }
    }


def _usage(tokens: dict[str, int] | None, cost: float | None) -> Json | None:
    if tokens is None:
        return None
    return {
        "prompt_tokens": tokens["input_total"],
        "completion_tokens": tokens["output_total"],
        "total_tokens": tokens["input_total"] + tokens["output_total"],
        "cost": cost,
        "prompt_tokens_details": {
            "cached_tokens": tokens["cache_read"],
            "cache_write_tokens": tokens["cache_write"] + tokens["cache_write_1h"],
        },
        "completion_tokens_details": {"reasoning_tokens": tokens["reasoning"]},
    }


def _span(desk: Desk, asked: Asked) -> Span:
    """Which calls a request is about: of keys that do not manage, their own."""
    query, caller = asked.query, asked.caller
    now = int(desk.clock.wall())
    end = moment(query["end_time"], "end_time") if "end_time" in query else now + 1
    start = moment(query["start_time"], "start_time") if "start_time" in query else end - DAYS * DAY
    if start >= end:
        raise ClientError("`start_time` must be before `end_time`", param="start_time")
    key = query.get("key_id")
    if not caller.manages:
        if key not in (None, caller.id):
            raise Forbidden("this key sees its own figures alone: leave out `key_id`")
        key = caller.id
    return Span(max(0, start), end, query.get("provider_id"), query.get("model"), key)


# ---- sums


def summed(rows: list[Used]) -> Json:
    """What was used, by provider and by model of it."""
    total = figures(rows)
    by_provider: dict[str, list[Used]] = {}
    for row in rows:
        by_provider.setdefault(row.provider, []).append(row)
    return {
        "total_requests": total["requests"],
        "total_input_tokens": total["input_tokens"],
        "total_output_tokens": total["output_tokens"],
        "total_tokens": total["input_tokens"] + total["output_tokens"],
        "estimated_cost_usd": total["estimated_cost_usd"],
        "unpriced_requests": total["unpriced_requests"],
        "by_provider": [
            {"provider_id": name, **figures(some)} for name, some in by_provider.items()
        ],
        "by_model": [
            {"provider_id": row.provider, "model": row.model, **figures([row])} for row in rows
        ],
    }


def point(row: Used) -> Json:
    """One stretch of time."""
    return {"timestamp": rfc3339(row.start), **figures([row])}


def figures(rows: Iterable[Used]) -> Json:
    """Their sum. The cost is that of the priced calls: null where no call has a known price."""
    requests = unpriced = micro = tokens_in = tokens_out = 0
    for row in rows:
        requests += row.requests
        unpriced += row.unpriced
        micro += row.micro
        tokens_in += row.input_tokens
        tokens_out += row.output_tokens
    unknown = unpriced and unpriced >= requests and not micro
    return {
        "requests": requests,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "estimated_cost_usd": None if unknown else micro / 1e6,
        "unpriced_requests": unpriced,
    }
