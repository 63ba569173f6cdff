"""What a call may use: reserved in the store before each attempt, settled when the call ends.

A call of a key without limits reserves nothing, unless the store keeps the limits of credentials.
"""

from __future__ import annotations

import math
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from routeur.calibration import Calibration
from routeur.call import Call
from routeur.dialects.base import Usage
from routeur.dialects.loose import either, members
from routeur.errors import ClientError, Forbidden, LimitExceeded, PaymentRequired, RouteurError
from routeur.facts import Facts
from routeur.providers import Model
from routeur.standing import Standing
from routeur.store.base import (
    Admitted,
    Key,
    Refused,
    Reservation,
    Seen,
    Settlement,
    StoreUnavailable,
)
from routeur.store.books import Books
from routeur.usage import Price, ceiling, micro, most_output

if TYPE_CHECKING:
    from routeur.passage import Passage

FREE = frozenset(["count"])  # purposes of requests for which nobody charges
FREE_PATHS = frozenset(["/v1/responses/input_tokens"])
WITHOUT_OUTPUT = frozenset(["embeddings"])  # and of those whose answers have no tokens
BY_UNIT = ("/v1/images", "/v1/audio", "/v1/videos")
MODERATIONS = "/v1/moderations"
ATTACHED = frozenset(["image", "file", "audio"])
BYTES_PER_TOKEN = 8  # of a JSON body, at most
MANY = 1_000_000_000  # tokens; nobody is answered with more
FOR_AN_HOUR = re.compile(rb'"(?:1|\\u0031)(?:h|\\u0068)"')  # how long a cache is to keep a prompt
# What a provider keeps, and reads before what it is asked: nothing here says how long that is.
KEPT_THERE = {
    "openai_responses": ("previous_response_id", "conversation", "prompt"),
    "gemini": ("cachedContent", "cached_content"),
}
DEAREST = 10**15 + 1  # micro-dollars; no limit is as high
MOST = 10**18  # of a number that a request says: what is more is not more expensive
DIGITS = 32  # of such a number
OUTPUT_NAMES = {  # what the APIs call the most tokens of an answer
    "openai_chat": ("max_tokens", "max_completion_tokens"),
    "openai_responses": ("max_output_tokens",),
    "anthropic": ("max_tokens",),
}


@dataclass(frozen=True, slots=True)
class Terms:
    """What is configured under `limits`.

    `assumed_output` are the tokens of a model whose limit is unknown. `unpriced` lets keys with a
    money limit use what has no price, `offline` lets limited keys pass while the store does not
    work.
    """

    assumed_output: int = 4096
    unpriced: bool = False
    offline: bool = False


class Treasury:
    """What calls need that reserve, and those that do just now.

    `shares`: the store keeps the limits of credentials as well, for several machines.
    """

    def __init__(self, books: Books, terms: Terms, *, shares: bool) -> None:
        self.books = books
        self.terms = terms
        self.shares = shares
        self.calibration = Calibration()
        self.open: dict[str, Spending] = {}

    def seen(self) -> list[Seen]:
        """What the calls under way have cost so far."""
        return [seen for each in [*self.open.values()] if (seen := each.seen())]


@dataclass(frozen=True, slots=True)
class Need:
    """The most that one attempt uses: tokens, and micro-dollars; in these are `unseen` tokens that
    only the provider has.
    """

    input: int
    output: int
    micro: int
    unseen: int = 0


class Unaffordable(ClientError):
    """The key's budget does not cover an attempt at this target; another one may be cheaper."""


class OverBudget(Unaffordable, PaymentRequired):
    """What it may cost is more than is left."""


class Unpriced(Unaffordable, Forbidden):
    """Nobody knows what it costs."""

    code = "price_unknown"


class Spending:
    """What one call reserves. `key` is the caller's, None for one without limits."""

    def __init__(self, treasury: Treasury, key: Key | None, facts: Facts, call: Call) -> None:
        self._treasury = treasury
        self._key = key
        self._facts = facts
        self._call = call
        self.output: int | None = None  # tokens that are reserved for an answer, if that is money
        self._number = 0  # of the last attempt that was reserved
        self._most: dict[int, int] = {}  # micro-dollars that attempts may cost
        self._made: dict[int, Passage] = {}

    # ---- before an attempt

    async def reserve(self, model: Model, standing: Standing) -> float | None:
        """Reserve what an attempt may use; the seconds for which its credential is full, or None.

        Raises Unaffordable where another target may be cheaper, and what holds for all of them:
        Forbidden and LimitExceeded of the key, StoreUnavailable.
        """
        need = self._need(model, standing)
        treasury, call = self._treasury, self._call
        call.reserved = True
        treasury.open[call.id] = self
        try:
            found = await treasury.books.reserve(self._reservation(need, standing))
        except StoreUnavailable:
            if treasury.terms.offline or self._key is None:  # its credential is counted here, too
                return None
            raise
        finally:
            if call.told:
                self._give_back()
        if isinstance(found, Refused):
            if found.name is not None:
                return found.retry_after or 0.0
            raise self._refusal(found, model, need)
        self._number += 1
        self._most[self._number] = need.micro
        if self._key is not None and self._key.limit is not None:
            self.output = need.output
        call.remaining = found.requests, found.tokens
        return None

    def _give_back(self) -> None:
        """Meanwhile another attempt has answered, and the call is booked: it holds nothing more."""
        call, at = self._call, time.time()
        self._treasury.open.pop(call.id, None)
        self._treasury.books.book(
            Settlement(call.id, call.key or "", at, at, call.status, (), reserved=True)
        )

    async def again(self, model: Model, standing: Standing, prompt: int) -> None:
        """Reserve for another answer on a connection that lasts, with a prompt of so many tokens;
        those before are booked already.

        Raises OverBudget, Unpriced and Forbidden. A store that does not work stops nobody.
        """
        need = self._need_of_socket(model, standing, prompt)
        try:
            await self._hold(replace(need, micro=0), standing)  # else what is held would be enough
            found = await self._hold(need, standing)
        except StoreUnavailable:
            return
        if isinstance(found, Refused):
            raise self._refusal(found, model, need)
        self._most = dict.fromkeys(self._made, need.micro)

    async def _hold(self, need: Need, standing: Standing) -> Admitted | Refused:
        """Hold this, and nothing else."""
        self._number += 1
        asked = Reservation(
            self._call.id,
            self._key.hash if self._key else None,
            need.micro,
            need.input,
            need.output,
            attempt=self._number,
            provider=standing.credential.provider,
            model=standing.model,
        )
        return await self._treasury.books.reserve(asked)

    def makes(self, passage: Passage) -> None:
        """This is the attempt that was reserved last."""
        passage.attempt.number = self._number
        self._made[self._number] = passage

    def _reservation(self, need: Need, standing: Standing) -> Reservation:
        """All that the call holds with this attempt: what others cost or may cost counts, too."""
        return Reservation(
            self._call.id,
            self._key.hash if self._key else None,
            sum(map(self._cost, self._most)) + need.micro,
            need.input,
            need.output,
            standing.wants if self._treasury.shares else (),
            self._number + 1,
            standing.credential.provider,
            standing.model,
            tuple((at, self._tokens(at)) for at in self._most if self._is_over(at)),
        )

    def _need(self, model: Model, standing: Standing) -> Need:
        facts, key, treasury = self._facts, self._key, self._treasury
        raw = facts.as_is or facts.route.path == "*"
        if facts.purpose in FREE or facts.route.path in FREE_PATHS:
            return Need(0, 0, 0)
        if not (facts.route.creates or raw or _by_unit(facts)):
            return Need(0, 0, 0)
        if facts.lasts:
            return self._need_of_socket(model, standing, 0)
        name = _name(standing)
        input = treasury.calibration.input(name, facts.tokens()) if facts.doc else 0
        asked, n = _asked_output(facts), _answers(facts)
        if key is None or key.limit is None:
            usual = asked or treasury.calibration.usual_output(name)
            return Need(input, min(usual * n, MANY), 0)
        input = max(input, _least(facts))
        output = asked or _longest(model, input) or treasury.terms.assumed_output
        if facts.purpose in WITHOUT_OUTPUT or facts.route.path == MODERATIONS:
            output = 0
        unseen = _unseen(facts, model, input + output)
        cost, by_token = None, facts.doc and not raw and not _by_unit(facts)
        if by_token:
            cost = ceiling(_price(model, facts), input + unseen, output, n=n, also=_dear(facts))
        if cost is None and not treasury.terms.unpriced:
            raise self._unpriced(name if by_token else "")
        return Need(input, min(output * n, MANY), min(cost or 0, DEAREST), unseen)

    def _need_of_socket(self, model: Model, standing: Standing, prompt: int) -> Need:
        """That of one answer on a connection: what it may say, of which sound is the dearest, after
        a conversation of so many tokens.
        """
        key, terms = self._key, self._treasury.terms
        output = _longest(model, prompt) or terms.assumed_output
        if key is None or key.limit is None:
            return Need(prompt, 0, 0)
        sound = ["audio_in"] if model.price and model.price.usd("audio_in") is not None else []
        cost = ceiling(model.price, prompt, output, also=sound)
        if cost is None and not terms.unpriced:
            raise self._unpriced(_name(standing))
        return Need(prompt, output, cost or 0)

    def _unpriced(self, name: str) -> Unpriced:
        """`name` is the model's whose price is unknown; nothing: it is not sold by the token."""
        if not name:
            return Unpriced(
                "what a request to this path costs is not known here, and this key has a money"
                " limit: use a key without one, or set limits.unpriced: allow"
            )
        return Unpriced(
            f"{name} has no known price here, and this key has a money limit: set the model's"
            " price, or limits.unpriced: allow"
        )

    def _refusal(self, found: Refused, model: Model, need: Need) -> RouteurError:
        wait = found.retry_after
        match found.what:
            case "key":
                return Forbidden("this key is disabled, expired or gone", code="key_disabled")
            case "budget":
                return self._too_dear(found, model, need)
            case "parallel":
                assert self._key is not None
                message = f"this key may have {self._key.max_parallel} calls at the same time"
            case "rpm":
                assert self._key is not None
                self._call.remaining = 0, None
                message = f"this key may make {self._key.rpm} requests a minute"
            case "tpm":
                assert self._key is not None
                message = f"this key may use {self._key.tpm} tokens a minute"
        return LimitExceeded(f"{message}: try again later", retry_after=wait)

    def _too_dear(self, found: Refused, model: Model, need: Need) -> OverBudget:
        left = found.micro or 0
        message = (
            f"this request may cost ${need.micro / 1e6:.6f}, and the key's limit leaves"
            f" ${left / 1e6:.6f}"
        )
        fits = 0
        if need.output and not self._facts.lasts:
            n, also = _answers(self._facts), _dear(self._facts)
            prompt = need.input + need.unseen
            fits = most_output(_price(model, self._facts), left, prompt, n=n, also=also)
        if fits > 0:
            message += f": max_tokens of at most {fits} would fit"
        return OverBudget(message, retry_after=None if fits > 0 else found.retry_after)

    # ---- what attempts have used

    def _is_over(self, number: int) -> bool:
        passage = self._made.get(number)
        return passage is None or passage.booked

    def _usage(self, number: int) -> Usage | None:
        passage = self._made.get(number)
        return None if passage is None else passage.attempt.usage

    def _tokens(self, number: int) -> int:
        usage = self._usage(number)
        return 0 if usage is None else usage.total

    def _cost(self, number: int) -> int:
        """Micro-dollars that an attempt has cost, or may while it is under way."""
        if not self._is_over(number):
            return self._most[number]
        passage, usage = self._made.get(number), self._usage(number)
        if passage is None or usage is None:
            return 0
        spent = micro(usage, passage.price)
        return self._most[number] if spent is None else spent

    def most(self, number: int) -> int | None:
        """Micro-dollars that were reserved for an attempt, if it had a price."""
        return self._most.get(number) or None

    def learn(self, number: int, usage: Usage) -> None:
        """The answer is over, and said this: estimates of its model get better."""
        passage = self._made.get(number)
        if passage is not None and self._facts.purpose not in FREE:
            name = _name(passage.place.standing)
            seen = usage.input_total, usage.output_total
            self._treasury.calibration.observe(name, self._facts.tokens(), *seen)

    def seen(self) -> Seen | None:
        """What has come so far of the answer that the client gets."""
        for passage in self._made.values():
            if passage.started and not passage.booked:
                usage = passage.so_far()
                spent = None if usage is None else micro(usage, passage.price)
                if usage is not None and spent is not None:
                    others = sum(self._cost(at) for at in self._most if self._is_over(at))
                    return Seen(self._call.id, spent + others, usage.output_total)
        return None


def _least(facts: Facts) -> int:
    """Tokens that a body of text has at least, whatever of it the estimate leaves out, as schemas.

    What is attached is in base64, of which the size says little.
    """
    attached = not ATTACHED.isdisjoint(facts.has())
    return 0 if attached else len(facts.raw) // BYTES_PER_TOKEN


def _unseen(facts: Facts, model: Model, seen: int) -> int:
    """Tokens that may stand before a prompt: as many as the model takes, if that is known."""
    names = KEPT_THERE.get(facts.format or "", ())
    if model.context is None or not any(facts.doc.get(name) for name in names):
        return 0
    return max(model.context - seen, 0)


def _longest(model: Model, input: int) -> int:
    """The most tokens that a model answers with, 0: unknown."""
    output = model.output or 0
    return output if model.context is None else min(output, max(model.context - input, 1))


def _price(model: Model, facts: Facts) -> Price | None:
    """What the model costs at the speed that the request asks for."""
    return model.price.at(facts.service()) if model.price else None


def _name(standing: Standing) -> str:
    return f"{standing.credential.provider}/{standing.model}"


def _by_unit(facts: Facts) -> bool:
    """Whether answers are sold by the picture, second or letter."""
    path, posted = facts.route.path, facts.method == "POST"
    return posted and (path.startswith(BY_UNIT) or (facts.format == "gemini" and not facts.purpose))


def _asked_output(facts: Facts) -> int:
    """The most tokens that an answer may have, as the request says to its API; 0: it does not.

    What another API calls so, a provider does not heed.
    """
    doc = facts.doc
    if facts.format == "gemini":
        config = members(either(doc, "generationConfig", "generation_config"))
        given = [either(config, "maxOutputTokens", "max_output_tokens")]
    else:
        given = [doc.get(name) for name in OUTPUT_NAMES.get(facts.format or "", ())]
    return max(map(_number, given), default=0)


def _number(value: object) -> int:
    """A number above 0, also in words that strict providers refuse and others read (`"8"`, 8.0);
    0: it is none.
    """
    if isinstance(value, str) and len(value) <= DIGITS:
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return math.ceil(min(value, MOST))


def _answers(facts: Facts) -> int:
    """How many answers one request asks for."""
    doc = facts.doc
    config = members(either(doc, "generationConfig", "generation_config"))
    asked = doc.get("n"), doc.get("best_of"), either(config, "candidateCount", "candidate_count")
    several = max(1, *map(_number, asked))
    prompts = doc.get("prompt")
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int):
        several *= len(prompts)
    return several


def _dear(facts: Facts) -> list[str]:
    """Buckets that may be filled because the request asks for it."""
    found = []
    raw = facts.raw
    if (b"cache_control" in raw or b"\\u00" in raw) and FOR_AN_HOUR.search(raw):
        found.append("cache_write_1h")
    if "audio" in facts.has():
        found.append("audio_in")
    return found
