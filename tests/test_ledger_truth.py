"""Calls of every kind, with every fault: the ledger says what the provider says it has sent."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from routeur.dialects.base import Usage
from routeur.store.base import BUCKETS, Settlement, Span
from routeur.usage import Price
from routeur.usage import micro as cost_of
from tests.billing import FAULTS, FORMS, WORD, Biller, Order, Sent
from tests.conftest import Client, MakeRouter
from tests.fake import PATIENCE
from tests.running import Given
from tests.virtual import AUTH, MASTER, bearer, give

AT_ONCE = 24
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
DOORS = ("chat", "responses", "anthropic", "gemini")
MODELS = {"openai": "gpt-4o", "anthropic": "claude-x", "google": "gemini-x"}
PRICES = {  # whole micro-dollars a token, all of them different
    "openai": {"input": 2, "cache_read": 1, "output": 8, "reasoning": 9},
    "anthropic": {"input": 3, "cache_read": 1, "cache_write": 4, "output": 15},
    "google": {"input": 5, "cache_read": 2, "output": 20, "reasoning": 21},
}
TARGETS = [f"{name}/{model}" for name, model in MODELS.items()]
ALIASES = {"any": TARGETS, "fallback": TARGETS[::-1]}
NEVER = 1 << 30  # bytes after which a client leaves


@dataclass(frozen=True)
class Case:
    """One call: where it comes in, whom it asks for, whose it is, and when its client leaves."""

    number: int
    door: str
    model: str
    streams: bool
    key: int
    leaves_at: int  # bytes
    leaves_after: float | None  # seconds

    @property
    def id(self) -> str:
        return f"case-{self.number:06}"

    @property
    def stays(self) -> bool:
        return self.leaves_at == NEVER and self.leaves_after is None

    def request(self, secret: str) -> bytes:
        path, doc = asked(self.door, self.model, f"{self.id} {WORD * 9}", streams=self.streams)
        body = json.dumps(doc).encode()
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in bearer(secret).items()]
        lines += [f"X-Request-Id: {self.id}", f"Content-Length: {len(body)}", "Connection: close"]
        return "\r\n".join([*lines, "", ""]).encode() + body


def asked(door: str, model: str, text: str, *, streams: bool) -> tuple[str, dict[str, Any]]:
    """Path and body of a request in a dialect."""
    said = [{"role": "user", "content": text}]
    streaming = {"stream": True} if streams else {}
    match door:
        case "chat":
            doc = {"model": model, "messages": said, "max_tokens": 500, **streaming}
            if text.split()[0][-1] in "02468":
                doc["stream_options"] = {"include_usage": True}
            return CHAT, doc if streams else {**doc, "stream_options": None}
        case "responses":
            doc = {"model": model, "input": text, "max_output_tokens": 500, "store": False}
            return RESPONSES, doc | streaming
        case "anthropic":
            return MESSAGES, {"model": model, "max_tokens": 500, "messages": said, **streaming}
    verb = "streamGenerateContent?alt=sse" if streams else "generateContent"
    parts = {"role": "user", "parts": [{"text": text}]}
    doc = {"contents": [parts], "generationConfig": {"maxOutputTokens": 500}}
    return f"/v1beta/models/{model}:{verb}", doc


def thought_up(count: int, chance: random.Random) -> tuple[list[Case], dict[int, Order]]:
    """Cases, and what the provider does with each."""
    cases, orders = [], {}
    for number in range(count):
        model = chance.choice([*MODELS.values(), "any", "fallback", "raced"])
        leaves_at, leaves_after = NEVER, None
        match chance.randrange(10):
            case 0:
                leaves_at = chance.randint(1, 4000)
            case 1:
                leaves_after = chance.uniform(0, 0.1)
        door, streams = chance.choice(DOORS), chance.random() < 0.6
        case = Case(number, door, model, streams, chance.randrange(4), leaves_at, leaves_after)
        deeds = []
        while chance.random() < 0.4:
            deeds.append(chance.choice(FAULTS))
        if model == "raced":
            deeds.append(chance.choice(["slow", "whole"]))
        cases.append(case)
        orders[number] = Order(chance.choice(FORMS), deeds)
    return cases, orders


# ---- clients


@dataclass
class Heard:
    """What a client got: the status, None for no answer; `whole`: to its end."""

    status: int | None = None
    whole: bool = False
    trace: str | None = None
    words: int = 0


async def call(router: Client, case: Case, secret: str) -> Heard:
    reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
    writer.write(case.request(secret))
    got = bytearray()
    try:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(case.leaves_after):
                while len(got) < case.leaves_at and (data := await reader.read(4096)):
                    got += data
    finally:
        writer.transport.abort()
    return heard(bytes(got))


def heard(raw: bytes) -> Heard:
    start, found, body = raw.partition(b"\r\n\r\n")
    if not found:
        return Heard()
    lines = start.lower().split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines[1:])
    if headers.get(b"transfer-encoding") == b"chunked":
        whole = body.endswith(b"0\r\n\r\n")
    else:
        whole = len(body) == int(headers.get(b"content-length", b"-1"))
    trace = headers[b"x-routeur-trace-id"].decode()
    return Heard(int(lines[0].split()[1]), whole, trace, body.count(WORD.encode()))


# ---- what the books say


Trace = dict[str, Any]  # as `GET /v1/traces/{id}` shows it


async def by_case(
    router: Client, settlements: list[Settlement]
) -> dict[int, tuple[Settlement, Trace]]:
    """Each call once, with what the store keeps of it."""
    found: dict[int, tuple[Settlement, Trace]] = {}
    for each in settlements:
        trace = await router.router.books.trace(each.id)
        assert trace is not None
        number = int(trace["request_id"].removeprefix("case-"))
        assert number not in found, "booked twice"
        found[number] = each, trace
    assert len({each.id for each in settlements}) == len(settlements)
    return found


def price(provider: str) -> Price:
    return Price(**PRICES[provider])


def exact(case: Case, trace: Trace, sent: list[Sent], got: Heard) -> Sent | None:
    """The provider's answer that the client's is, where all of it was delivered for sure."""
    theirs = [each for each in sent if each.provider == trace["provider"]]
    if not theirs or trace["status_code"] >= 400 or not (got.whole and case.stays):
        return None
    return theirs[-1] if theirs[-1].deed in ("whole", "slow") else None


def check_answer(case: Case, done: Settlement, trace: Trace, sent: list[Sent], got: Heard):
    """The last charge is the answer's, and is true."""
    answer = done.charges[-1] if done.charges else None
    if trace["usage"] is None:
        assert not answer or answer.micro in (0, None)
        return
    assert answer is not None
    assert answer.tokens == tuple(trace["usage"][name] for name in BUCKETS)
    usage = Usage(*answer.tokens)
    assert answer.micro == cost_of(usage, price(answer.provider))
    assert min(answer.tokens) >= 0
    delivered = exact(case, trace, sent, got)
    if delivered is not None and delivered.usage is not None:
        assert usage == delivered.usage
        assert not trace["estimated"]
        return
    most = max((each.body for each in sent), default=0)
    words = max((each.words for each in sent), default=0)
    if delivered is not None and delivered.form == "absurd":
        assert max(answer.tokens) <= 10**9
        return
    known = max((each.usage.input_total for each in sent if each.usage), default=0)
    spent = max((each.usage.output_total for each in sent if each.usage), default=0)
    assert usage.input_total <= max(most, known)
    assert usage.output_total <= max(len(WORD) * words, spent)
    if delivered is not None:  # whole, but without figures
        assert trace["estimated"]
        assert usage.input_total >= len(case.request("")) // 40
        assert not case.streams or usage.output_total >= delivered.words // 2


def check_failed(done: Settlement, sent: list[Sent]):
    """What attempts have cost that were not the answer."""
    for charge in done.charges[:-1]:
        theirs = [each for each in sent if each.provider == charge.provider]
        assert theirs, "a charge of somebody who was not asked"
        assert charge.requests == 0
        most = max(each.usage.input_total if each.usage else each.body for each in theirs)
        words = max(each.usage.output_total if each.usage else each.words for each in theirs)
        usage = Usage(*charge.tokens)
        assert usage.input_total <= most + theirs[0].body
        assert usage.output_total <= len(WORD) * words
        assert charge.micro == cost_of(usage, price(charge.provider))


def check_paid(done: Settlement, sent: list[Sent]):
    """Who has answered has to be paid; of what breaks off nothing may have been read yet."""
    answered = [each for each in sent if each.deed in ("whole", "slow")]
    assert sum(any(charge.tokens) for charge in done.charges) >= len(answered)


async def check_sums(router: Client, settlements: list[Settlement], keys: list[Given]):
    """Reports and balances are the sums of all charges, to the token."""
    store = router.router.books.store
    rows: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * (2 + len(BUCKETS)))
    spent: Counter[str] = Counter()
    for done in settlements:
        for charge in done.charges:
            row = rows[charge.provider, charge.model]
            new = [charge.requests, charge.micro or 0, *charge.tokens]
            row[:] = [a + b for a, b in zip(row, new, strict=True)]
            spent[done.key] += charge.micro or 0
    used = await store.used(Span(0, 1 << 40))
    found = {(e.provider, e.model): [e.requests, e.micro, *e.tokens] for e in used}
    assert found == {name: row for name, row in rows.items() if any(row)}
    for given in keys:
        known = await store.key(given.hash)
        assert known is not None
        balance = known[1]
        assert (balance.usage, balance.reserved, balance.parallel) == (spent[given.hash], 0, 0)


# ---- one after the other


@pytest.fixture
async def biller() -> AsyncIterator[list[Biller]]:
    made: list[Biller] = []
    yield made
    for each in made:
        await each.stop()


async def over(router: Client) -> None:
    """Until nothing is under way, and everything is booked."""
    async with asyncio.timeout(PATIENCE):
        while router.router.metrics.inflight:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await router.router.books.books._idle.wait()


def note(router: Client, settlements: list[Settlement]) -> None:
    """Notes what is booked."""
    books = router.router.books.books
    book = books.book

    def noted(done: Settlement) -> None:
        if done.charges or done.trace:  # else it gives back what a late rival has reserved
            settlements.append(done)
        book(done)

    books.book = noted  # type: ignore[method-assign]


async def router_of(make_router: MakeRouter, biller: Biller, folder: Path) -> Client:
    def models(name: str) -> dict[str, Any]:
        return {"models": {MODELS[name]: {"price": PRICES[name]}}}

    providers: dict[str, Any] = {
        "openai": {"base_url": f"{biller.url}/v1", **models("openai")},
        "anthropic": {"base_url": biller.url, **models("anthropic")},
        "google": {"base_url": biller.url, **models("google")},
    }
    return await make_router(
        auth=AUTH | {"secret": "secret-of-the-ledger-tests"},
        store=f"sqlite:{folder}/routeur.db",
        providers=providers,
        aliases=ALIASES | {"fast": None},
        rules=[
            {"name": "r", "match": {"model": "raced"}, "to": TARGETS, "hedge": "30ms"},
            {"name": "p", "match": {"model": "patient"}, "to": [TARGETS[1]], "hedge": "1s"}
            | {"retries": 1},
        ],
        retries={"attempts": 3, "budget": 1.0},
        ban={"after": 1_000_000},
        log={"level": "warning"},
    )


SEED = 20260105


@pytest.mark.parametrize(
    ("count", "seed"), [(300, SEED), pytest.param(5000, None, marks=pytest.mark.full)]
)
async def test_the_ledger_is_true(
    make_router: MakeRouter, biller: list[Biller], tmp_path: Path, count: int, seed: int | None
) -> None:
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    print("seed", seed)
    cases, orders = thought_up(count, random.Random(seed))
    provider = Biller(orders, seed)
    biller.append(provider)
    await provider.start()
    router = await router_of(make_router, provider, tmp_path)
    keys = [
        Given(secret, key.hash)
        for secret, key in [
            await give(router, "free"),
            await give(router, "rich", limit=10**12, tpm=10**12, rpm=10**6, max_parallel=1000),
            await give(router, "counted", rpm=10**6, tpm=10**12),
        ]
    ]
    secrets = [*[given.secret for given in keys], MASTER]
    settlements: list[Settlement] = []
    note(router, settlements)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case) -> Heard:
        async with turns:
            return await call(router, case, secrets[case.key])

    answers = await asyncio.gather(*map(one, cases))
    await over(router)

    found = await by_case(router, settlements)
    wrong: list[AssertionError] = []
    for case, got in zip(cases, answers, strict=True):
        sent = provider.sent.get(case.number, [])
        if case.number not in found:
            assert not sent and got.status is None and not case.stays, case
            continue
        done, trace = found[case.number]
        try:
            assert got.trace in (None, done.id)
            assert done.key == (keys[case.key].hash if case.key < 3 else "master")
            asked = [each for each in trace["attempts"] if each["status"]]
            again = sum(each.deed == "reset" for each in sent)  # once more on a new connection
            assert len(asked) <= len(sent) <= len(trace["attempts"]) + again
            check_answer(case, done, trace, sent, got)
            check_failed(done, sent)
            if case.model != "raced":  # there it may have been cut off unread
                check_paid(done, sent)
            assert trace["key"] == done.key
        except AssertionError as error:
            wrong.append(error)
            print(case, orders[case.number], got, done, trace, *sent, "", sep="\n")
    assert not wrong
    await check_sums(router, settlements, keys)
    assert sum(map(len, provider.sent.values())) == len(provider.requests)
    assert not router.router.books.treasury.open
    assert provider.anomalies == []


# ---- one at a time


async def alone(
    make_router: MakeRouter,
    biller: list[Biller],
    folder: Path,
    order: Order,
    case: Case,
    asked: int = 0,
) -> tuple[Settlement, Trace, Biller]:
    """One call of nobody else's, in the books. Its client leaves when so many were `asked`."""
    provider = Biller({case.number: order}, SEED)
    biller.append(provider)
    await provider.start()
    router = await router_of(make_router, provider, folder)
    settlements: list[Settlement] = []
    note(router, settlements)
    calling = asyncio.create_task(call(router, case, MASTER))
    if asked:
        async with asyncio.timeout(PATIENCE):
            while sum(map(len, provider.sent.values())) < asked:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        calling.cancel()
    await asyncio.wait([calling])
    await over(router)
    ((done, trace),) = (await by_case(router, settlements)).values()
    return done, trace, provider


def case_of(door: str, model: str) -> Case:
    return Case(0, door, model, False, 3, NEVER, None)


WAYS = [(door, model) for door in DOORS for model in MODELS.values()]


@pytest.mark.parametrize(("door", "model"), WAYS)
async def test_whole_answers_without_figures(
    make_router: MakeRouter, biller: list[Biller], tmp_path: Path, door: str, model: str
) -> None:
    """Their text is counted, copied or translated."""
    case, order = case_of(door, model), Order("absent")
    _, trace, provider = await alone(make_router, biller, tmp_path, order, case)
    ((sent,),) = provider.sent.values()
    assert trace["estimated"]
    assert sent.words // 2 <= trace["usage"]["output"] <= sent.words * len(WORD)


@pytest.mark.parametrize("model", MODELS.values())
async def test_a_figure_that_cannot_be(
    make_router: MakeRouter, biller: list[Biller], tmp_path: Path, model: str
) -> None:
    """What goes in is absurd: it is estimated, and the trace says so."""
    case, order = case_of("chat", model), Order("half absurd")
    _, trace, provider = await alone(make_router, biller, tmp_path, order, case)
    ((sent,),) = provider.sent.values()
    assert trace["estimated"]
    assert 5 <= trace["usage"]["input_total"] <= sent.body


async def test_a_race_that_nobody_waits_for(
    make_router: MakeRouter, biller: list[Biller], tmp_path: Path
) -> None:
    """Each provider that was asked is charged for, at its own prices."""
    case, order = case_of("chat", "raced"), Order("plain", ["never"] * 3)
    done, _, provider = await alone(make_router, biller, tmp_path, order, case, asked=2)
    ((*sent,),) = provider.sent.values()
    assert len(sent) > 1
    assert {each.provider for each in done.charges} == {each.provider for each in sent}
    for charge in done.charges:
        assert charge.micro == cost_of(Usage(*charge.tokens), price(charge.provider))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("deed", "asked"), [("never", 1), ("closed", 0)])
async def test_who_was_asked_alone_is_charged_for(
    make_router: MakeRouter, biller: list[Biller], tmp_path: Path, deed: str, asked: int, door: str
) -> None:
    """Whether a rival was to come, or the rest of the answer."""
    case, order = case_of(door, "patient"), Order("plain", [deed])
    done, _, provider = await alone(make_router, biller, tmp_path, order, case, asked)
    assert sum(map(len, provider.sent.values())) == 1
    assert sum(charge.micro or 0 for charge in done.charges) > 0
