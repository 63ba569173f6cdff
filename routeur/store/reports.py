"""Hours, days and months of usage, and rows of sums as values."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Sequence

from routeur.store.accounts import DAY
from routeur.store.base import Granularity, Span, Used
from routeur.store.ledger import HOUR, MICRO, REQUESTS, TOKENS, UNPRICED


def hours(span: Span) -> tuple[int, int]:
    """The first hour that a span touches, and the first one after it, in Unix seconds."""
    return span.start // HOUR * HOUR, -(-span.end // HOUR) * HOUR


def begin(hour: int, granularity: Granularity) -> int:
    """When the hour, day or month begins that an hour is in."""
    match granularity:
        case "hourly":
            return hour
        case "daily":
            return hour // DAY * DAY
        case "monthly":
            date = time.gmtime(hour)
            return timegm((date.tm_year, date.tm_mon, 1, 0, 0, 0))


def used(row: Sequence[int], provider: str = "", model: str = "", start: int = 0) -> Used:
    """From sums in the order in which ledgers have them."""
    tokens = tuple(row[TOKENS:])
    return Used(row[REQUESTS], row[UNPRICED], row[MICRO], tokens, provider, model, start)
