"""Prices, and what tokens cost: exactly, in integers.

A bucket of `Usage` never counts what another one counts: what was read from a cache is not also
input, reasoning is not also output. Prices have the buckets' names, in USD per million tokens:
that is also micro-dollars per token. Sums are made in pico-dollars, which are whole numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Decimal
from operator import mul
from typing import Any

from msgspec.structs import astuple

from routeur.dialects.base import Usage
from routeur.dialects.loose import HIGHEST

BUCKETS = Usage.__struct_fields__
SERVICES = ("batch", "flex", "priority", "fast")  # speeds that may have prices of their own

_MICRO = 10**6  # pico-dollars
_USD = 10**12
_INPUT = ("input", "cache_read", "cache_write")  # what any prompt may come to
_OUTPUT = ("output", "reasoning", "audio_out", "image_out")
_FALLBACK = {"reasoning": "output", "cache_write_1h": "cache_write"}
_DEARER = frozenset(["priority", "fast"])  # speeds that cost more than the ordinary one

# Pico-dollars per token by bucket, None where the price is unknown.
Rates = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; None is unknown, never free.

    `over` are the prices of prompts of more than so many tokens, all of input counted: the whole
    request then costs that. `services` are those of other speeds (`batch`, `priority`). What
    such a price leaves out costs as it does here.
    """

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
    over: Mapping[int, Price] = field(default_factory=dict, hash=False)
    services: Mapping[str, Price] = field(default_factory=dict, hash=False)
    #: From how many tokens on, and what each costs then; the longest prompts first.
    _steps: tuple[tuple[int, Rates], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        def settle(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        settle("over", {size: each.completed(self) for size, each in self.over.items()})
        settle("services", {word: each.completed(self) for word, each in self.services.items()})
        steps = [(size + 1, _rates(each)) for size, each in self.over.items()]
        steps.sort(key=lambda step: -step[0])
        settle("_steps", (*steps, (0, _rates(self))))

    def completed(self, base: Price) -> Price:
        """With what a price of which this is a part says where this does not."""
        found: dict[str, Any] = {bucket: self.usd(bucket) for bucket in BUCKETS}
        missing = [bucket for bucket, each in found.items() if each is None]
        return replace(self, **found | {bucket: base.usd(bucket) for bucket in missing})

    def usd(self, bucket: str) -> float | None:
        """What a million tokens in a bucket cost, before a prompt is long."""
        each: float | None = getattr(self, bucket)
        if each is None and bucket in _FALLBACK:
            each = getattr(self, _FALLBACK[bucket])
        return each

    def rates(self, prompt: int) -> Rates:
        """What each token costs of a request with a prompt of so many tokens."""
        return self._steps[-1][1] if len(self._steps) == 1 else next(self._reached(prompt))

    def at(self, service: object) -> Price | None:
        """The price at a speed. Where it has none of its own, that is the ordinary one, which is
        not known to be enough for `priority` and `fast`: then None.
        """
        if not isinstance(service, str):
            return self
        return self.services.get(service) or (None if service in _DEARER else self)

    def dearest(self, prompt: int, buckets: Collection[str]) -> int:
        """The most that a token in one of these costs, with prompts of up to so many tokens."""
        places = [BUCKETS.index(bucket) for bucket in buckets]
        rates = [step[place] for step in self._reached(prompt) for place in places]
        return max((rate for rate in rates if rate is not None), default=0)

    def _reached(self, prompt: int) -> Iterator[Rates]:
        """The rates of the step that a prompt reaches, and of those below."""
        return (rates for size, rates in self._steps if prompt >= size)


def _rates(price: Price) -> Rates:
    return tuple(map(_pico, map(price.usd, BUCKETS)))


def _pico(usd: float | None) -> int | None:
    """The price of one token. The shortest decimal that reads as a float counts: 0.1 is a tenth."""
    if usd is None:
        return None
    return int((Decimal(repr(usd)) * _MICRO).to_integral_value(ROUND_CEILING))


def _sum(usage: Usage, price: Price | None) -> int | None:
    """Pico-dollars, or None when a bucket with tokens in it has no known price."""
    if price is None:
        return None
    rates = price.rates(usage.input_total)
    total = 0
    if None not in rates:
        total = sum(map(mul, astuple(usage), rates))
        return total
    for tokens, rate in zip(astuple(usage), rates, strict=True):
        if tokens:
            if rate is None:
                return None
            total += tokens * rate
    return total


def bill(usage: Usage, price: Price | None) -> tuple[float, int] | tuple[None, None]:
    """Both `cost` and `micro`."""
    total = _sum(usage, price)
    return (None, None) if total is None else (total / _USD, -(-total // _MICRO))


def cost(usage: Usage, price: Price | None) -> float | None:
    """USD, or None when a bucket with tokens in it has no known price."""
    total = _sum(usage, price)
    return None if total is None else total / _USD


def micro(usage: Usage, price: Price | None) -> int | None:
    """Micro-dollars, rounded up; None when a bucket with tokens in it has no known price."""
    total = _sum(usage, price)
    return None if total is None else -(-total // _MICRO)


def ceiling(
    price: Price | None, input: int, output: int, *, n: int = 1, also: Collection[str] = ()
) -> int | None:
    """The most micro-dollars that a prompt of `input` tokens and `n` answers of `output` cost.

    `also` are buckets that only some requests fill: `cache_write_1h`, `audio_in`, `image_in`.
    None: the price of plain input or output (if there is any), or of one of those, is unknown. No
    usage within these bounds, and of these buckets, costs more.
    """
    rates = _dearest(price, input, also, spoken=output > 0)
    return None if rates is None else -(-(input * rates[0] + n * output * rates[1]) // _MICRO)


def most_output(
    price: Price | None, left: int, input: int, *, n: int = 1, also: Collection[str] = ()
) -> int:
    """The most tokens that each of `n` answers may have so that the ceiling is `left` at most.

    `left` is in micro-dollars. 0 where not even the prompt fits, or a price is unknown.
    """
    rates = _dearest(price, input, also)
    if rates is None or (rest := left * _MICRO - input * rates[0]) < 0:
        return 0
    return min(rest // (n * rates[1]), HIGHEST) if rates[1] else HIGHEST


def _dearest(
    price: Price | None, prompt: int, also: Collection[str], *, spoken: bool = True
) -> tuple[int, int] | None:
    """Pico-dollars for a token in and for one out, at most. `spoken`: tokens do come out."""
    needed = ("input", "output", *also) if spoken else ("input", *also)
    if price is None or not _known(price.rates(prompt), needed):
        return None
    dear_in = price.dearest(prompt, (*_INPUT, *also))
    return dear_in, price.dearest(prompt, _OUTPUT)


def _known(rates: Rates, buckets: Collection[str]) -> bool:
    return all(rates[BUCKETS.index(bucket)] is not None for bucket in buckets)
