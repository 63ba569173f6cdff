"""Tokens in disjoint buckets, prices and cost.

A bucket never counts what another one counts: what was read from a cache is not also input,
reasoning is not also output. Prices have the buckets' names, in USD per million tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from routeur.dialects.base import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; None is unknown, never free."""

    input: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    output: float | None = None
    reasoning: float | None = None
    audio_in: float | None = None
    audio_out: float | None = None
    image_in: float | None = None
    image_out: float | None = None


_FALLBACK = {"reasoning": "output", "cache_write_1h": "cache_write"}


def cost(usage: Usage, price: Price | None) -> float | None:
    """USD, or None when a bucket with tokens in it has no known price."""
    if price is None:
        return None
    total = 0.0
    for field in fields(Usage):
        tokens = getattr(usage, field.name)
        if tokens:
            each = getattr(price, field.name)
            if each is None and field.name in _FALLBACK:
                each = getattr(price, _FALLBACK[field.name])
            if each is None:
                return None
            total += tokens * each
    return total / 1e6
