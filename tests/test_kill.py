"""`kill -9` under load: what a client has got to its end is in the ledger, once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from routeur.store.windows import Window
from tests.fake import HOLD, Part, Request, Upstream, chunked, whole
from tests.program import PATIENCE, Program
from tests.running import Fleet, Given, chat, completion, configured, office, serving, start, tokens

CLIENTS = 16
MOST = 120  # answers before a kill
PROMPT = tokens(chat())
FRAME = b'data: {"choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":9}}\n\n' % PROMPT
LAST = FRAME * 4 + USAGE + b"data: [DONE]\n\n"
REST = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST)


class Provider(Upstream):
    """Answers whole or in pieces; now and then it does not come to the end."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def _next(self, request: Request) -> list[Part]:
        if json.loads(request.body).get("stream"):
            if self._chance.random() < 0.05:
                return [chunked(FRAME * 4, end=b""), HOLD]
            return [chunked(FRAME * 5, end=b""), 0.002, REST]
        return [whole(completion(PROMPT, 9))]


@pytest.fixture
def seed() -> int:
    return random.SystemRandom().randrange(1 << 32)


@dataclass
class Load:
    """Clients of one routeur. `finished` are the traces of answers that came to their end."""

    fleet: Fleet
    keys: list[Given]
    chance: random.Random
    finished: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    sent: int = 0

    async def client(self) -> None:
        """Asks until nobody answers."""
        with suppress(aiohttp.ClientError, ConnectionError):
            while True:
                given, streamed = self.chance.choice(self.keys), self.chance.random() < 0.5
                self.sent += 1
                status, headers, _ = await self.fleet.ask(
                    given, chat(stream=True) if streamed else chat()
                )
                assert status == 200
                self.finished.add(headers["X-Routeur-Trace-Id"])

    async def until_killed(self, program: Program) -> None:
        """In the midst of it all, after so many answers."""
        clients = [asyncio.create_task(self.client()) for _ in range(CLIENTS)]
        enough = len(self.finished) + self.chance.randint(1, MOST)
        async with asyncio.timeout(PATIENCE):
            while len(self.finished) < enough:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        program.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(program.ended)
        await asyncio.gather(*clients)


def check(path: Path, load: Load) -> None:
    """The books after a restart, before anybody has asked for anything."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        traced = {id for (id,) in db.execute("SELECT id FROM traces")}
        load.missing |= load.finished - traced
        answered = db.execute("SELECT COUNT(*) FROM traces WHERE provider <> ''").fetchone()[0]
        settled = db.execute("SELECT COUNT(*) FROM expired").fetchone()[0]
        sums = "SELECT TOTAL(requests), TOTAL(micro) FROM totals"
        booked, micro = db.execute(sums).fetchone()
        assert booked == answered + settled
        assert db.execute("SELECT * FROM reservations").fetchall() == []
        accounts = db.execute("SELECT hash, usage, reserved, parallel FROM accounts").fetchall()
        assert sum(usage for _, usage, _, _ in accounts) == micro
        for hash, usage, reserved, parallel in accounts:
            of_key = "SELECT TOTAL(micro) FROM usage WHERE key = ?"
            assert (reserved, parallel) == (0, 0)
            assert db.execute(of_key, (hash,)).fetchone()[0] == usage
        now = int(time.monotonic() * 1000)
        for slots, last in db.execute("SELECT slots, last FROM windows"):
            window = Window.unpacked(slots, now)
            assert 0 < window.requests <= load.sent
            assert 0 <= window.tokens <= load.sent * (PROMPT + 40)
            assert last <= now


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider(random.Random(1))
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.full)])
async def test_killed_under_load(tmp_path: Path, kills: int, seed: int, provider: Provider) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    address = f"sqlite:{tmp_path}/routeur.db"
    config = configured(provider, address)
    async with office(address) as fleet:
        keys = [
            await fleet.give("free"),
            await fleet.give("limited", limit=10**12, rpm=10**9, tpm=10**12, max_parallel=1000),
        ]
        load = Load(fleet, keys, chance)
        program = start(tmp_path, config)
        try:
            for _ in range(kills):
                await serving(fleet, program)
                await load.until_killed(program)
                program = start(tmp_path, config)
                await serving(fleet, program)
                check(tmp_path / "routeur.db", load)
        finally:
            await asyncio.to_thread(program.kill)
        print(len(load.finished), "finished of", load.sent, "missing", load.missing)
