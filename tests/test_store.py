"""What every store does, whichever it is."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from routeur.store import make
from routeur.store.base import NOTHING, Admitted, Balance, Refused, Seen, Span
from routeur.store.memory import Memory, MemoryStore
from routeur.store.redis import RedisStore
from routeur.store.sqlite import SqliteStore
from tests.stores import (
    CENT,
    DAY,
    HOUR,
    NOON,
    Hands,
    MakeStore,
    asks,
    charge,
    done,
    key,
    tokens,
)

ALL_TIME = Span(0, 2 * NOON)


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def make_store(request, clock, tmp_path):
    memory, opened = Memory(), []
    if request.param == "redis":
        server = request.getfixturevalue("redis_server")
        server.say("FLUSHALL")

    async def make(owner: str = "a"):
        if request.param == "memory":
            store = MemoryStore(owner, memory=memory, clock=clock)
        elif request.param == "redis":
            store = RedisStore(owner, server.url, clock=clock)
        else:
            store = SqliteStore(owner, tmp_path / "routeur.db", clock=clock)
        await store.open()
        opened.append(store)
        return store

    yield make
    for store in opened:
        await store.close()


@pytest.fixture
async def store(make_store: MakeStore):
    return await make_store()


async def balance(store, hash="k"):
    found = await store.key(hash)
    assert found is not None
    return found[1]


# ---- keys


async def test_a_key_is_kept_as_it_is(store):
    whole = key(
        "h",
        name="Team Ä",
        kind="management",
        disabled=True,
        limit=5 * CENT,
        limit_reset="weekly",
        allowed_providers=("openai", "anthropic"),
        allowed_models=(),
        rpm=1,
        tpm=2,
        max_parallel=3,
        created_at=4,
        updated_at=5,
        expires_at=6,
    )

    assert await store.add_key(whole)
    assert await store.key("h") == (whole, Balance())
    assert await store.key("other") is None


async def test_two_keys_have_two_hashes(store):
    assert await store.add_key(key("h"))
    assert not await store.add_key(key("h", name="again"))

    assert (await store.key("h"))[0].name == "h"


async def test_keys_are_listed_by_page(store):
    for number in range(7):
        await store.add_key(key(f"h{number}", disabled=number == 2))

    async def names(offset, size, include_disabled):
        found = await store.keys(offset, size, include_disabled=include_disabled)
        return [each.hash for each, _ in found]

    assert await names(0, 3, True) == ["h0", "h1", "h2"]
    assert await names(0, 3, False) == ["h0", "h1", "h3"]
    assert await names(3, 100, False) == ["h4", "h5", "h6"]
    assert await names(7, 3, True) == []


async def test_changes_of_a_key(store):
    await store.add_key(key("h", limit=1, allowed_models=("a",)))
    changed = await store.change_key("h", {"limit": None, "disabled": True, "updated_at": 9})

    assert changed == key("h", disabled=True, allowed_models=("a",), updated_at=9)
    assert (await store.key("h"))[0] == changed
    assert await store.change_key("other", {"limit": 1}) is None


async def test_a_key_that_is_removed_is_gone(store):
    await store.add_key(key("h"))

    assert await store.remove_key("h")
    assert not await store.remove_key("h")
    assert await store.key("h") is None
    assert await store.keys(0, 10, include_disabled=True) == []


async def test_everybody_learns_of_changes(make_store):
    here, there = await make_store("a"), await make_store("b")
    await here.add_key(key("x"))
    await here.add_key(key("y"))
    first = await there.key_changes(0)
    assert {each.hash for each in first.keys} == {"x", "y"}
    assert (await there.key_changes(first.version)).keys == ()

    await here.change_key("x", {"disabled": True})
    await here.remove_key("y")
    await here.add_key(key("z"))
    await here.reserve(asks("c", "z"))
    second = await there.key_changes(first.version)
    assert {each.hash: each.disabled for each in second.keys} == {"x": True, "z": False}
    assert second.gone == ("y",)

    await here.settle([done("c", key="z")])
    third = await there.key_changes(second.version)
    assert (third.version, third.keys, third.gone) == (second.version, (), ())


async def test_a_key_that_was_gone_and_is_there_again(make_store):
    here, there = await make_store("a"), await make_store("b")
    await here.add_key(key("x"))
    await here.remove_key("x")
    await here.add_key(key("x"))

    changes = await there.key_changes(0)
    assert ([each.hash for each in changes.keys], changes.gone) == (["x"], ())


# ---- budgets


async def test_reserved_then_spent(store):
    await store.add_key(key(limit=10 * CENT))

    assert await store.reserve(asks("c", micro=4 * CENT)) == Admitted(micro=6 * CENT)
    assert await balance(store) == Balance(reserved=4 * CENT, parallel=1)
    await store.settle([done("c", charge(3 * CENT))])
    assert await balance(store) == Balance(*[3 * CENT] * 4)


async def test_what_does_not_fit_is_refused(store):
    await store.add_key(key(limit=10 * CENT))
    await store.reserve(asks("c", micro=4 * CENT))

    assert await store.reserve(asks("d", micro=6 * CENT + 1)) == Refused("budget", micro=6 * CENT)
    assert await store.reserve(asks("d", micro=6 * CENT)) == Admitted(micro=0)
    assert await store.reserve(asks("e", micro=1)) == Refused("budget", micro=0)
    assert await store.reserve(asks("e", micro=0)) == Admitted(micro=0)


async def test_the_same_attempt_twice_is_one(store):
    await store.add_key(key(limit=10 * CENT, rpm=5, max_parallel=1))

    for _ in range(3):
        admitted = await store.reserve(asks("c", wants=(("account", 10, -1),)))
        assert admitted == Admitted(requests=4, micro=9 * CENT)
    assert await balance(store) == Balance(reserved=CENT, parallel=1)
    await store.settle([done("c")])
    for number in range(9):
        again = await store.reserve(asks(f"d{number}", None, wants=(("account", 10, -1),)))
        assert again == Admitted()


async def test_another_attempt_replaces_what_a_call_holds(store):
    """It is no second call: neither of max_parallel nor of rpm."""
    await store.add_key(key(limit=10 * CENT, rpm=1, max_parallel=1))
    await store.reserve(asks("c", micro=4 * CENT))

    assert await store.reserve(asks("c", micro=9 * CENT, attempt=2)) == Admitted(0, None, CENT)
    refused = await store.reserve(asks("c", micro=11 * CENT, attempt=3))
    assert refused == Refused("budget", micro=10 * CENT)
    assert (await balance(store)).reserved == 9 * CENT
    assert await store.reserve(asks("c", micro=CENT, attempt=3)) == Admitted(0, None, 9 * CENT)
    await store.settle([done("c", charge(1, attempt=1), charge(2, attempt=3))])
    assert await balance(store) == Balance(3, 3, 3, 3)


async def test_what_exceeds_its_reservation_is_booked_in_full(store):
    await store.add_key(key(limit=10 * CENT))
    await store.reserve(asks("c", micro=9 * CENT))
    await store.settle([done("c", charge(12 * CENT))])

    assert (await balance(store)).usage == 12 * CENT
    assert await store.reserve(asks("d", micro=0)) == Refused("budget", micro=0)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("daily", 12 * HOUR), ("weekly", 6.5 * DAY), ("monthly", 26.5 * DAY), (None, None)],
)
async def test_budgets_begin_anew(store, clock, reset, seconds):
    """At 00:00 UTC, on Mondays, on the 1st: it is Monday, 5 January, noon."""
    await store.add_key(key(limit=CENT, limit_reset=reset))
    await store.reserve(asks("c"))
    await store.settle([done("c")])

    assert await store.reserve(asks("d")) == Refused("budget", seconds, 0)
    clock.go((seconds or 400 * DAY) - 1)
    assert isinstance(await store.reserve(asks("d")), Refused)
    clock.go(1)
    assert isinstance(await store.reserve(asks("d")), Admitted if reset else Refused)
    assert (await balance(store)).usage == CENT


async def test_what_is_reserved_stays_so_over_midnight(store, clock):
    await store.add_key(key(limit=CENT, limit_reset="daily"))
    await store.reserve(asks("c"))
    clock.go(DAY)

    assert isinstance(await store.reserve(asks("d")), Refused)
    await store.settle([done("c", charge(CENT - 1))])
    assert await store.reserve(asks("d", micro=1)) == Admitted(micro=0)


@pytest.mark.parametrize("reset", ["daily", "weekly", "monthly"])
async def test_a_clock_that_jumps_opens_no_window_again(store, clock, reset):
    await store.add_key(key(limit=CENT, limit_reset=reset))
    await store.reserve(asks("c"))
    await store.settle([done("c")])
    for jump in (-1, -DAY, -40 * DAY, 41 * DAY):
        clock.unix += jump
        refused = await store.reserve(asks("d"))
        assert isinstance(refused, Refused)
        assert refused.retry_after > 0
    clock.unix += 1 + 31 * DAY
    assert isinstance(await store.reserve(asks("d")), Admitted)


async def test_changes_hold_at_once(make_store):
    here, there = await make_store("a"), await make_store("b")
    await here.add_key(key(limit=CENT))
    await here.reserve(asks("c"))
    await there.change_key("k", {"limit": 2 * CENT})
    assert isinstance(await here.reserve(asks("d")), Admitted)
    await there.change_key("k", {"limit": CENT})
    assert await here.reserve(asks("e")) == Refused("budget", micro=0)
    await here.change_key("k", {"limit": None, "disabled": True})
    assert await here.reserve(asks("e")) == Refused("key")
    await here.remove_key("k")
    assert await there.reserve(asks("e")) == Refused("key")
    await there.settle([done("c"), done("d")])


async def test_a_key_that_has_expired(store, clock):
    await store.add_key(key(expires_at=NOON + 10))
    clock.go(9)
    assert await store.reserve(asks("c")) == Admitted()
    clock.go(1)
    assert await store.reserve(asks("d")) == Refused("key")


@pytest.mark.parametrize("owners", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 37, 200])
async def test_exactly_as_many_as_it_covers(make_store, owners, count):
    stores = [await make_store(f"o{number}") for number in range(owners)]
    await stores[0].add_key(key(limit=count * CENT + CENT - 1))

    async def call(number):
        store = stores[number % owners]
        admitted = isinstance(await store.reserve(asks(f"c{number}")), Admitted)
        if admitted:
            await asyncio.sleep(0)
            await store.settle([done(f"c{number}", seq=number)])
        return admitted

    assert sum(await asyncio.gather(*map(call, range(200)))) == count
    assert await balance(stores[0]) == Balance(*[count * CENT] * 4)


# ---- requests, tokens, calls at a time


async def test_requests_a_minute(store, clock):
    await store.add_key(key(rpm=2))
    assert await store.reserve(asks("c")) == Admitted(requests=1)
    clock.go(20)
    assert await store.reserve(asks("d")) == Admitted(requests=0)
    await store.settle([done("c"), done("d")])

    assert await store.reserve(asks("e")) == Refused("rpm", 40.0)
    clock.go(39.9)
    assert isinstance(await store.reserve(asks("e")), Refused)
    clock.go(0.1)
    assert await store.reserve(asks("e")) == Admitted(requests=0)


async def test_tokens_a_minute(store, clock):
    """Estimated for calls under way, then as they were used."""
    await store.add_key(key(tpm=250))
    assert await store.reserve(asks("c")) == Admitted(tokens=150)
    clock.go(1)
    assert await store.reserve(asks("d")) == Admitted(tokens=50)
    assert await store.reserve(asks("e")) == Refused("tpm", 59.0)
    await store.settle([done("c", charge(tokens=tokens(input=10, output=20, cache_read=5)))])
    assert await store.reserve(asks("e", output=105)) == Admitted(tokens=0)
    clock.go(59)
    assert await store.reserve(asks("f", input=0, output=35)) == Admitted(tokens=0)


async def test_calls_at_a_time(store):
    await store.add_key(key(max_parallel=2))
    await store.reserve(asks("c"))
    await store.reserve(asks("d"))

    assert await store.reserve(asks("e")) == Refused("parallel", 1.0)
    await store.settle([done("d")])
    assert isinstance(await store.reserve(asks("e")), Admitted)


async def test_all_limits_or_none(store, clock):
    await store.add_key(key(limit=10 * CENT, rpm=5, tpm=1000, max_parallel=5))
    wants = (("account", 5, -1), ("account:model", 1, -1))
    first = await store.reserve(asks("c", wants=wants))
    clock.go(10)

    assert first == Admitted(4, 900, 9 * CENT)
    assert await store.reserve(asks("d", wants=wants)) == Refused("rpm", 50.0, name="account:model")
    assert await store.reserve(asks("d", micro=11 * CENT)) == Refused("budget", micro=9 * CENT)
    assert await balance(store) == Balance(reserved=CENT, parallel=1)
    assert await store.reserve(asks("d", wants=wants[:1])) == Admitted(3, 800, 8 * CENT)
    for number in range(3):
        assert await store.reserve(asks(f"n{number}", None, wants=wants[:1])) == Admitted()
    assert await store.reserve(asks("n", None, wants=wants)) == Refused("rpm", 50.0, name="account")


async def test_another_attempt_takes_from_another_credential(store):
    await store.reserve(asks("c", None, wants=(("one", -1, 150),)))
    assert (await store.reserve(asks("d", None, wants=(("one", -1, 150),)))).name == "one"
    wants = (("two", -1, 150),)
    await store.reserve(asks("c", None, attempt=2, wants=wants, ended=((1, 20),)))

    assert isinstance(await store.reserve(asks("d", None, wants=(("one", -1, 120),))), Admitted)
    assert await store.reserve(asks("e", None, wants=wants)) == Refused("tpm", 60.0, name="two")
    used = charge(tokens=tokens(output=50), attempt=2)
    await store.settle([done("c", charge(tokens=tokens(input=20), requests=0), used, key="")])
    assert isinstance(await store.reserve(asks("e", None, wants=wants)), Admitted)


async def test_windows_are_of_all_owners(make_store):
    here, there = await make_store("a"), await make_store("b")
    await here.add_key(key(rpm=3))
    for number in range(4):
        for store in (here, there):
            result = await store.reserve(asks(f"{store.owner}{number}"))
            assert isinstance(result, Admitted) == (2 * number + (store is there) < 3)


async def test_a_clock_that_is_set_moves_no_sliding_window(store, clock):
    await store.add_key(key(rpm=1))
    await store.reserve(asks("c"))
    clock.unix += 10 * DAY
    assert await store.reserve(asks("d")) == Refused("rpm", 60.0)
    clock.unix -= 20 * DAY
    clock.go(60)
    assert isinstance(await store.reserve(asks("d")), Admitted)


async def test_nobody_waits_any_more(store):
    """Whoever is cancelled while it asks has nothing reserved."""
    await store.add_key(key(limit=CENT, rpm=1, max_parallel=1))
    wants = (("account", 1, -1),)
    for number in range(3):
        asking = asyncio.create_task(store.reserve(asks(f"c{number}", wants=wants)))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        if not asking.cancelled():  # it was answered before
            await store.settle([done(f"c{number}")])
            return
        await store.beat(0)  # goes the same way, so that it comes after the answer,
        await asyncio.sleep(0)
        await store.beat(0)  # and this one after what came of that

    assert await store.reserve(asks("d", wants=wants)) == Admitted(0, None, 0)


# ---- after a call


async def test_booked_once(store):
    await store.add_key(key(limit=10 * CENT))
    await store.reserve(asks("c"))
    entry = done("c", trace="{}")
    await store.settle([entry, entry])
    await store.settle([entry, done("x", reserved=False)])

    assert await balance(store) == Balance(*[2 * CENT] * 4)
    assert [each.requests for each in await store.used(ALL_TIME)] == [2]


async def test_calls_that_reserved_nothing(store):
    await store.add_key(key())
    await store.settle(
        [
            done("c", reserved=False),
            done("d", charge(2), key="master", reserved=False),
            done("e", charge(3), key="", reserved=False),
        ]
    )

    assert await balance(store) == Balance(*[CENT] * 4)
    assert [each.micro for each in await store.used(ALL_TIME)] == [CENT + 5]
    assert [each.micro for each in await store.used(Span(0, 2 * NOON, key="master"))] == [2]


async def test_a_key_that_is_removed_during_a_call(store):
    await store.add_key(key(limit=CENT, rpm=1))
    await store.reserve(asks("c"))
    await store.remove_key("k")
    await store.settle([done("c")])

    assert [each.micro for each in await store.used(ALL_TIME)] == [CENT]


async def test_many_at_once(store):
    await store.settle([done(f"c{n}", reserved=False, trace=f"[{n}]") for n in range(300)])

    assert [each.requests for each in await store.used(ALL_TIME)] == [300]
    assert await store.trace("c299") == ("k", "[299]")


# ---- owners that end


async def test_what_a_dead_process_held_is_settled(make_store, clock):
    here, dead = await make_store("a"), await make_store("b")
    await here.add_key(key(limit=10 * CENT, max_parallel=2))
    await dead.reserve(asks("c", micro=4 * CENT))
    await dead.reserve(asks("d", micro=3 * CENT))
    await dead.beat(0, [Seen("d", CENT, 7), Seen("gone", 1, 1)])
    clock.go(29)
    await here.beat(0)
    assert await here.expire(30) == 0
    clock.go(2)

    assert await here.expire(30) == 2
    assert await here.expire(30) == 0
    assert await balance(here) == Balance(*[5 * CENT] * 4)
    (used,) = await here.used(ALL_TIME)
    assert (used.requests, used.input_tokens, used.output_tokens) == (2, 20, 97)


async def test_a_restart_need_not_wait(make_store):
    dead = await make_store("b")
    await dead.add_key(key(limit=10 * CENT))
    await dead.reserve(asks("c"))
    new = await make_store("c")

    assert await new.leave("b") == 1
    assert await new.leave("b") == 0
    assert await balance(new) == Balance(*[CENT] * 4)


async def test_who_was_taken_for_dead_settles_after_all(make_store, clock):
    here, slow = await make_store("a"), await make_store("b")
    await here.add_key(key(limit=10 * CENT, limit_reset="daily"))
    await slow.reserve(asks("c", micro=4 * CENT))
    clock.go(60)
    assert await here.expire(30) == 1
    await slow.settle([done("c", charge(CENT, tokens=tokens(input=3)), owner="b")])

    assert await balance(here) == Balance(*[CENT] * 4)
    (used,) = await here.used(ALL_TIME)
    assert (used.requests, used.micro, used.input_tokens, used.output_tokens) == (1, CENT, 3, 0)


async def test_corrected_on_another_day(make_store, clock):
    """Which may be spent already: the call stays one of the day that had room for it."""
    here, slow = await make_store("a"), await make_store("b")
    await here.add_key(key(limit_reset="daily", limit=10 * CENT))
    await slow.reserve(asks("c", micro=4 * CENT))
    clock.go(60)
    await here.expire(30)
    clock.go(DAY)
    await here.reserve(asks("d", micro=10 * CENT))
    await here.settle([done("d", charge(10 * CENT), at=NOON + DAY)])
    await slow.settle([done("c", charge(3 * CENT), owner="b", at=NOON + DAY)])

    assert await balance(here) == Balance(*[CENT * each for each in (13, 10, 13, 13)])


async def test_nobody_ends_itself(store, clock):
    await store.add_key(key(limit=CENT))
    await store.reserve(asks("c"))
    clock.go(1000)

    assert await store.expire(30) == 0


async def test_who_was_taken_for_dead_twice(make_store, clock):
    """It came back for another attempt in between, which is all that counts in the end."""
    here, slow = await make_store("a"), await make_store("b")
    await here.add_key(key(limit=10 * CENT, limit_reset="daily"))
    for attempt, days in ((1, 1), (2, 0)):
        await slow.reserve(asks("c", micro=4 * CENT, attempt=attempt))
        clock.go(31)
        assert await here.expire(30) == 1
        assert (await balance(here)).usage == 4 * CENT
        clock.go(days * DAY)
    await slow.settle([done("c", charge(CENT), owner="b")])

    assert await balance(here) == Balance(CENT, 0, *[CENT] * 2)
    assert [used.micro for used in await here.used(ALL_TIME)] == [CENT]


async def test_who_was_taken_for_dead_has_done_nothing(make_store, clock):
    """It was never asked: the call ends without a charge."""
    here, slow = await make_store("a"), await make_store("b")
    await here.add_key(key(limit=10 * CENT))
    await slow.reserve(asks("c", micro=4 * CENT))
    clock.go(31)
    assert await here.expire(30) == 1
    entry = done("c", owner="b")
    nothing = msgspec.structs.replace(entry.settlement, charges=())
    await slow.settle([msgspec.structs.replace(entry, settlement=nothing)])

    assert await balance(await make_store("d")) == Balance()


async def test_what_has_left_the_spool_is_forgotten(store):
    """An entry whose number is below what the spool still has cannot come again."""
    entries = [done(f"c{n}", seq=n, reserved=False) for n in range(5)]
    await store.settle(entries)
    await store.beat(3)
    await store.settle(entries[3:])

    assert [each.requests for each in await store.used(ALL_TIME)] == [5]


# ---- traces and usage


async def test_traces_belong_to_somebody(store):
    await store.settle([done("c", trace='{"a":"ä"}', reserved=False)])

    assert await store.trace("c") == ("k", '{"a":"ä"}')
    assert await store.trace("c", "k") == ("k", '{"a":"ä"}')
    assert await store.trace("c", "other") is None
    assert await store.trace("d") is None


async def test_traces_are_forgotten_by_count_and_by_age(store):
    entries = [done(f"c{n}", at=NOON + n, trace="{}", reserved=False) for n in range(10)]
    await store.settle(entries)

    async def left():
        return [n for n in range(10) if await store.trace(f"c{n}")]

    assert await store.prune(NOON, 10, 100) == 0
    assert await store.prune(NOON, 8, 1) == 1
    assert await store.prune(NOON, 8, 100) == 1
    assert await left() == [*range(2, 10)]
    assert await store.prune(NOON + 5, 100, 100) == 3
    assert await left() == [*range(5, 10)]


USED = (
    charge(1, provider="x", model="m", tokens=tokens(input=1, cache_read=2, output=4)),
    charge(10, provider="x", model="n", tokens=tokens(reasoning=8)),
    charge(None, provider="y", model="m", tokens=tokens(image_in=16, audio_out=32), requests=0),
)
TIMES = (NOON - 1, NOON, NOON + DAY, NOON + 27 * DAY)


async def spend(store):
    for hash in ("j", "k"):
        calls = [done(f"{hash}{at}", *USED, key=hash, at=at, reserved=False) for at in TIMES]
        await store.settle(calls)


async def test_usage_by_model(store):
    await spend(store)
    found = {(used.provider, used.model): used for used in await store.used(ALL_TIME)}

    assert [*found] == [("x", "m"), ("x", "n"), ("y", "m")]
    assert found["x", "m"].tokens == tokens(input=8, cache_read=16, output=32)
    assert (found["x", "m"].input_tokens, found["x", "m"].output_tokens) == (24, 32)
    assert (found["x", "n"].requests, found["x", "n"].micro, found["x", "n"].unpriced) == (8, 80, 0)
    assert (found["y", "m"].requests, found["y", "m"].micro) == (0, 0)
    assert (found["y", "m"].input_tokens, found["y", "m"].output_tokens) == (128, 256)


@pytest.mark.parametrize(
    ("asked", "requests"),
    [
        ({}, [8, 8, 0]),
        ({"provider": "x"}, [8, 8]),
        ({"model": "m"}, [8, 0]),
        ({"provider": "x", "model": "n"}, [8]),
        ({"key": "k"}, [4, 4, 0]),
        ({"key": "nobody"}, []),
        ({"start": NOON}, [6, 6, 0]),
        ({"start": NOON + HOUR - 1}, [6, 6, 0]),  # whole hours
        ({"end": NOON}, [2, 2, 0]),
        ({"start": NOON + 5, "end": NOON + DAY + 5, "key": "j"}, [2, 2, 0]),
        ({"start": NOON + HOUR, "end": NOON + DAY}, []),
    ],
)
async def test_usage_of_some(store, asked, requests):
    await spend(store)
    span = Span(**({"start": 0, "end": 2 * NOON} | asked))

    assert [used.requests for used in await store.used(span)] == requests
    assert sum(used.requests for used in await store.timeline(span, "hourly")) == sum(requests)


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [
        (
            "hourly",
            [
                (NOON - HOUR, 4),
                (NOON, 4),
                (NOON + DAY, 4),
                (NOON + 27 * DAY, 4),
            ],
        ),
        ("daily", [(NOON - DAY // 2, 8), (NOON + DAY // 2, 4), (NOON + 26.5 * DAY, 4)]),
        ("monthly", [(NOON - 4.5 * DAY, 12), (NOON + 26.5 * DAY, 4)]),
    ],
)
async def test_usage_over_time(store, granularity, expected):
    await spend(store)
    found = await store.timeline(ALL_TIME, granularity)

    assert [(used.start, used.requests) for used in found] == expected
    assert sum(used.micro for used in found) == 88
    assert all(used.tokens != NOTHING for used in found)


# ---- small things


async def test_values_and_their_versions(make_store):
    here, there = await make_store("a"), await make_store("b")
    first = await here.put("ban/x", b"1")
    await here.put("other", b"2")

    assert await there.values("ban/") == {"ban/x": (b"1", first)}
    assert await there.put("ban/x", b"3", first + 100) is None
    second = await there.put("ban/x", b"3", first)
    assert second > first
    assert await here.put("ban/y", b"4", 0) is not None
    assert await here.put("ban/y", b"5", 0) is None
    await here.put("ban/y", None)
    assert await here.values("ban/") == {"ban/x": (b"3", second)}


def test_addresses():
    assert isinstance(make("memory:", "a"), MemoryStore)
    assert isinstance(make("sqlite:some/file.db", "a"), SqliteStore)
    with pytest.raises(ValueError, match="unknown kind of store 'mysql': expected one of memory:…"):
        make("mysql:x", "a")
    assert isinstance(make("redis://127.0.0.1:6379/0", "a"), RedisStore)
    assert isinstance(make("rediss://:secret@redis.example/1", "a"), RedisStore)
