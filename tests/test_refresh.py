"""Values that expire: one fetch for all who wait, renewed behind the back of requests."""

from __future__ import annotations

import asyncio
import threading

import pytest

from routeur import refresh
from routeur.errors import UpstreamError
from routeur.refresh import Lease, Refreshed


class Source:
    """Leases 1, 2, 3, … at what time it likes; fails while `error` is set, waits at a closed gate.

    Each value is renewed after 60 seconds, and good for 100.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.fetched = 0
        self.error: Exception | None = None
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self) -> Lease[int]:
        self.threads.add(threading.get_ident())
        self.gate.wait(5)
        self.fetched += 1
        if self.error is not None:
            raise self.error
        return Lease(self.fetched, self.now + 60, self.now + 100)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(refresh, "PAUSE", 0.0)
    return Source()


@pytest.fixture
def value(source: Source) -> Refreshed[int]:
    return Refreshed(source.fetch, "the source", lambda: source.now)


async def settled(value: Refreshed[int]) -> None:
    """Waits for a fetch in the background."""
    if value._fetching is not None:
        await value._fetching


async def test_fetched_once_in_a_thread(source: Source, value: Refreshed[int]) -> None:
    assert [await value.get() for _ in range(3)] == [1, 1, 1]
    assert threading.get_ident() not in source.threads


async def test_all_wait_for_one_fetch(source: Source, value: Refreshed[int]) -> None:
    source.gate.clear()
    waiting = [asyncio.create_task(value.get()) for _ in range(20)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    source.gate.set()

    assert await asyncio.gather(*waiting) == [1] * 20


async def test_renewed_in_the_background(source: Source, value: Refreshed[int]) -> None:
    """Nobody waits as long as the old value is good."""
    await value.get()
    source.now += 60
    source.gate.clear()
    assert [await value.get(), await value.get()] == [1, 1]
    source.gate.set()
    await settled(value)

    assert await value.get() == 2


async def test_expired(source: Source, value: Refreshed[int]) -> None:
    await value.get()
    source.now += 100

    assert await asyncio.gather(*(value.get() for _ in range(5))) == [2] * 5


async def test_who_gives_up_leaves_it_to_the_others(source: Source, value: Refreshed[int]) -> None:
    source.gate.clear()
    first, second = (asyncio.create_task(value.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    source.gate.set()

    assert first.cancelled()
    assert await second == 1


async def test_failure(source: Source, value: Refreshed[int]) -> None:
    source.error = OSError("secret place")
    with pytest.raises(UpstreamError) as caught:
        await value.get()

    assert caught.value.message == (
        "routeur could not get credentials for the provider from the source: OSError"
    )
    assert (caught.value.code, caught.value.status) == ("upstream_auth_error", 502)
    assert caught.value.__cause__ is source.error
    source.error = None
    assert await value.get() == 2


async def test_failure_while_the_old_value_is_good(source: Source, value: Refreshed[int]) -> None:
    await value.get()
    source.error = OSError()
    source.now += 70
    for _ in range(3):
        assert await value.get() == 1
        await settled(value)
    assert source.fetched == 4

    source.now += 30
    with pytest.raises(UpstreamError):
        await value.get()


async def test_pause_after_a_failure(
    source: Source, value: Refreshed[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "PAUSE", 60.0)
    source.error = OSError()
    for _ in range(3):
        with pytest.raises(UpstreamError, match="OSError"):
            await value.get()

    assert source.fetched == 1


async def test_given_too_late(source: Source, value: Refreshed[int]) -> None:
    """What has expired when it comes is not used."""
    late = Refreshed(lambda: Lease(1, source.now - 9, source.now - 5), "X", lambda: source.now)
    with pytest.raises(UpstreamError, match="from X: what it gave has expired"):
        await late.get()


async def test_no_answer(
    source: Source, value: Refreshed[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "WAIT", 0.01)
    source.gate.clear()
    with pytest.raises(UpstreamError, match="it did not answer in time"):
        await value.get()
    source.gate.set()
    await settled(value)

    assert await value.get() == 1
