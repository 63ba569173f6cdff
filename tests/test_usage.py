"""Prices: exact, never under-billed, and reserved for the dearest case."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routeur.dialects.base import Usage
from routeur.dialects.loose import HIGHEST
from routeur.usage import BUCKETS, Price, ceiling, cost, micro, most_output

GPT = Price(input=2.5, cache_read=1.25, output=10)
LONG = replace(GPT, over={200_000: Price(input=5, output=15), 500_000: Price(input=7)})
CLAUDE = Price(input=3, cache_read=0.3, cache_write=3.75, cache_write_1h=6, output=15)
FREE = Price(input=0, output=0)

INPUT = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_in", "image_in")
OUTPUT = ("output", "reasoning", "audio_out", "image_out")


@pytest.mark.parametrize(
    ("usage", "price", "expected"),
    [
        (Usage(), GPT, 0),
        (Usage(input=1_000_000), GPT, 2_500_000),
        (Usage(input=1, output=1), GPT, 13),  # 12.5, rounded up
        (Usage(input=1000, cache_read=3000, output=500), GPT, 11_250),
        (Usage(output=100, reasoning=900), GPT, 10_000),  # reasoning: as output
        (Usage(cache_write_1h=100), CLAUDE, 600),
        (Usage(cache_write_1h=100), replace(CLAUDE, cache_write_1h=None), 375),
        (Usage(input=5, output=5), FREE, 0),
        (Usage(cache_write=1), GPT, None),
        (Usage(input=5), Price(output=1), None),
        (Usage(input=5), None, None),
        (Usage(), None, None),
    ],
)
def test_micro(usage: Usage, price: Price | None, expected: int | None) -> None:
    assert micro(usage, price) == expected


def test_sums_are_exact() -> None:
    """As floats, a tenth and a fifth are more than three tenths, and would cost a micro-dollar."""
    price = Price(input=0.1, cache_read=0.2, output=0)

    assert micro(Usage(input=10, cache_read=10), price) == 3
    assert cost(Usage(input=10, cache_read=10), price) == 0.000003


def test_a_price_finer_than_we_count_is_rounded_up() -> None:
    assert micro(Usage(input=1), Price(input=1e-9)) == 1
    assert micro(Usage(input=10**6), Price(input=1.0000001)) == 1_000_001


def test_an_absurd_price_is_a_price() -> None:
    assert micro(Usage(output=HIGHEST), Price(output=1e6)) == HIGHEST * 10**6


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(input=200_000, output=10), 500_100),
        (Usage(input=200_001, output=10), 1_000_155),
        (Usage(input=100_000, cache_read=100_001, output=10), 500_000 + 125_002 + 150),
        (Usage(input=500_001), 3_500_007),
        (Usage(input=500_001, output=1), 3_500_017),  # left out there: as below
    ],
)
def test_long_prompts_cost_more(usage: Usage, expected: int) -> None:
    """All of input counts, and the price is that of all of the request."""
    assert micro(usage, LONG) == expected


def test_reasoning_in_a_tier_costs_what_output_costs_there() -> None:
    price = Price(input=1, output=2, reasoning=3, over={100: Price(input=1, output=20)})

    assert micro(Usage(input=101, reasoning=1), price) == 121
    assert micro(Usage(input=100, reasoning=1), price) == 103


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (None, 12_500),
        ("default", 12_500),
        ("auto", 12_500),
        ("scale", 12_500),
        (["flex"], 12_500),
        ("flex", 11_250),
        ("priority", None),
    ],
)
def test_other_speeds(service: object, expected: int | None) -> None:
    """What is left out there costs what it costs elsewhere; dearer ones are unknown if not said."""
    price = replace(GPT, services={"flex": Price(input=1.25)})

    assert micro(Usage(input=1000, output=1000), price.at(service)) == expected


def test_ceiling() -> None:
    assert ceiling(GPT, 1000, 100) == 3500
    assert ceiling(GPT, 1000, 100, n=3) == 5500
    assert ceiling(CLAUDE, 1000, 100) == 3750 + 1500
    assert ceiling(CLAUDE, 1000, 100, also=["cache_write_1h"]) == 6000 + 1500
    assert ceiling(LONG, 200_001, 100) == 1_000_005 + 1500
    assert ceiling(FREE, 1000, 100) == 0
    assert ceiling(Price(input=1, output=2, reasoning=8), 0, 100) == 800


def test_a_ceiling_needs_its_prices() -> None:
    assert ceiling(None, 1, 1) is None
    assert ceiling(Price(input=1), 1, 1) is None
    assert ceiling(Price(output=1), 1, 1) is None
    assert ceiling(GPT, 1, 1, also=["audio_in"]) is None


def test_most_output() -> None:
    assert most_output(GPT, 3500, 1000) == 100
    assert most_output(GPT, 3499, 1000) == 99
    assert most_output(GPT, 2499, 1000) == 0
    assert most_output(GPT, 5500, 1000, n=3) == 100
    assert most_output(GPT, -1, 0) == 0
    assert most_output(FREE, 0, 1000) == HIGHEST
    assert most_output(None, 10, 1) == 0


# ---- whatever the prices

usd = st.none() | st.floats(0, 1000) | st.sampled_from([0.0, 0.1, 0.2, 0.3, 1e-7, 2.5, 75.0])
flat = st.builds(Price, **dict.fromkeys(BUCKETS, usd))
sizes = st.sampled_from([10, 100, 200])
prices = st.builds(
    Price,
    **dict.fromkeys(BUCKETS, usd) | dict.fromkeys(["input", "output"], st.floats(0, 1000)),
    over=st.dictionaries(sizes, flat, max_size=3),
)


@st.composite
def parts(draw: Any, names: tuple[str, ...], most: int) -> dict[str, int]:
    """Tokens in some of these buckets, `most` in all of them together."""
    found = {}
    for name in draw(st.permutations(names)):
        found[name] = draw(st.integers(0, most))
        most -= found[name]
    return found


@settings(max_examples=300, deadline=None)
@given(prices, st.integers(0, 300), st.integers(0, 300), st.integers(1, 4), st.data())
def test_no_usage_costs_more_than_its_ceiling(
    price: Price, input: int, output: int, n: int, data: Any
) -> None:
    also = data.draw(st.lists(st.sampled_from(INPUT[3:]), unique=True))
    usage = Usage(
        **data.draw(parts((*INPUT[:3], *also), input)), **data.draw(parts(OUTPUT, n * output))
    )
    most, spent = ceiling(price, input, output, n=n, also=also), micro(usage, price)

    if most is None:
        assert any(price.usd(bucket) is None for bucket in also)
    elif spent is not None:
        assert 0 <= spent <= most


@settings(max_examples=200, deadline=None)
@given(prices, st.integers(0, 300), st.integers(0, 10**6), st.integers(1, 4))
def test_most_output_fits_and_one_more_does_not(
    price: Price, input: int, left: int, n: int
) -> None:
    fits = most_output(price, left, input, n=n)
    bare = ceiling(price, input, 0, n=n)
    assert bare is not None

    if bare > left:
        assert fits == 0
    else:
        most = ceiling(price, input, fits, n=n)
        more = ceiling(price, input, fits + 1, n=n)
        assert most is not None and more is not None
        assert most <= left
        assert more > left or fits == HIGHEST


@settings(max_examples=200, deadline=None)
@given(flat, st.builds(Usage, **dict.fromkeys(BUCKETS, st.integers(0, HIGHEST))))
def test_never_under_billed(price: Price, usage: Usage) -> None:
    """Against fractions, of the decimals that the prices were given in."""
    each = [(getattr(usage, bucket), price.usd(bucket)) for bucket in BUCKETS]
    spent = micro(usage, price)

    if any(tokens and price is None for tokens, price in each):
        assert spent is None
    else:
        true = sum(tokens * Fraction(repr(usd)) for tokens, usd in each if tokens and usd)
        assert spent is not None
        assert true <= spent < true + 1 + sum(tokens for tokens, _ in each) * Fraction(1, 10**6)
