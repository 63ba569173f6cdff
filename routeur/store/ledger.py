"""What is reserved and what is spent: decided in memory, for stores to keep.

Nothing here waits, so nothing can come in between. A store brings what an operation is about into
the dicts, and afterwards keeps what `changed` names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeVar

from routeur.store.accounts import Account, Periods, end, periods
from routeur.store.base import (
    BUCKETS,
    NOTHING,
    Admitted,
    Charge,
    Key,
    Refused,
    Reservation,
    Seen,
    Settlement,
    Want,
)
from routeur.store.windows import Window

HOUR = 3600  # seconds
SOON = 1.0  # seconds after which a call under way may have ended: nobody knows
OUTPUT = BUCKETS.index("output")
REQUESTS, UNPRICED, MICRO, TOKENS = range(4)  # of a row of sums; the buckets follow

Name = TypeVar("Name")
Group = tuple[int, str, str, str]  # hour in Unix seconds, key, provider, model
Taken = tuple[int, str, int, int]  # attempt, window's name, tokens, when (steady ms)

_micro, _tokens, _requests = map(attrgetter, ("micro", "tokens", "requests"))


@dataclass(slots=True)
class Held:
    """What a call has reserved. `taken` are its places in windows."""

    id: str
    owner: str
    key: str | None
    attempt: int
    micro: int
    input: int
    output: int
    provider: str
    model: str
    taken: list[Taken] = field(default_factory=list)
    seen: tuple[int, int] | None = None  # micro-dollars and output tokens so far


@dataclass(slots=True)
class Expired:
    """What was booked for a call whose process was silent: undone if it is settled after all."""

    group: Group
    windows: Periods
    sums: list[int]


@dataclass(slots=True)
class Changed:
    """What a store has to keep: names of what is new or other, and what is to be added."""

    accounts: set[str] = field(default_factory=set)
    windows: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)  # gone, where the ledger has them no more
    expired: set[str] = field(default_factory=set)
    sums: dict[Group, list[int]] = field(default_factory=dict)


def window_of(key: str) -> str:
    """The name of a key's window: no credential is called so, as it has a space."""
    return f"key {key}"


class Ledger:
    """`wall` is Unix seconds, `now` steady milliseconds, in all methods."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.accounts: dict[str, Account] = {}
        self.windows: dict[str, Window] = {}
        self.held: dict[str, Held] = {}
        self.expired: dict[str, Expired] = {}
        self.changed = Changed()

    def forget(self) -> None:
        """All of it: what is kept elsewhere may be newer."""
        for known in (self.keys, self.accounts, self.windows, self.held, self.expired):
            known.clear()
        self.changed = Changed()

    # ---- before

    def reserve(self, asked: Reservation, owner: str, wall: float, now: int) -> Admitted | Refused:
        held = self.held.get(asked.id)
        key = None
        if asked.key is not None:
            key = self.keys.get(asked.key)
            if key is None or key.disabled or not wall < (key.expires_at or wall + 1):
                return Refused("key")
            self.accounts[key.hash].roll(wall)
        if held is None or held.attempt < asked.attempt:
            refused = self._refused(asked, key, held, wall, now)
            if refused is not None:
                return refused
            self._take(asked, key, held, owner, now)
        return Admitted() if key is None else self._left(key, now)

    def _refused(
        self, asked: Reservation, key: Key | None, held: Held | None, wall: float, now: int
    ) -> Refused | None:
        if key is not None:
            refused = self._over_budget(asked, key, held, wall)
            if refused is None and held is None:
                refused = self._crowded(asked, key, now)
            if refused is not None:
                return refused
        tokens = asked.input + asked.output
        full = [refused for want in asked.wants if (refused := self._full(want, tokens, now))]
        return max(full, key=lambda refused: refused.retry_after or 0, default=None)

    def _over_budget(
        self, asked: Reservation, key: Key, held: Held | None, wall: float
    ) -> Refused | None:
        if key.limit is None:
            return None
        account, reset = self.accounts[key.hash], key.limit_reset
        mine = held.micro if held else 0
        left = key.limit - account.spent(reset) - account.reserved + mine
        if asked.micro <= left or (held and asked.micro <= mine):
            return None
        again = end(reset, account.windows) - wall if reset else None
        return Refused("budget", again, max(left, 0))

    def _crowded(self, asked: Reservation, key: Key, now: int) -> Refused | None:
        if key.max_parallel is not None and self.accounts[key.hash].parallel >= key.max_parallel:
            return Refused("parallel", SOON)
        refused = self._full(_own(key), asked.input + asked.output, now)
        return Refused(refused.what, refused.retry_after) if refused else None

    def _full(self, want: Want, tokens: int, now: int) -> Refused | None:
        name, rpm, tpm = want
        window = self.windows.get(name)
        if window is None:
            return None
        window.forget(now)
        wait = window.wait(rpm, tpm, tokens, now)
        if wait <= 0:
            return None
        by_requests = window.wait(rpm, -1, 0, now) > 0
        return Refused("rpm" if by_requests else "tpm", wait / 1000, name=name)

    def _take(
        self, asked: Reservation, key: Key | None, held: Held | None, owner: str, now: int
    ) -> None:
        if held is None:
            held = Held(asked.id, owner, asked.key, 0, 0, 0, 0, "", "")
            self.held[asked.id] = held
            if key is not None:
                self.accounts[key.hash].parallel += 1
                if key.rpm is not None or key.tpm is not None:
                    self._enter(held, [_own(key)], 0, asked.input + asked.output, now)
        if key is not None:
            self.accounts[key.hash].reserved += asked.micro - held.micro
            self.changed.accounts.add(key.hash)
        for attempt, used in asked.ended:
            self._correct(held, attempt, used)
        held.attempt, held.micro = asked.attempt, asked.micro
        held.input, held.output = asked.input, asked.output
        held.provider, held.model = asked.provider, asked.model
        self._enter(held, asked.wants, asked.attempt, asked.input + asked.output, now)
        self.changed.held.add(held.id)

    def _enter(
        self, held: Held, wants: Sequence[Want], attempt: int, tokens: int, now: int
    ) -> None:
        for name, _, _ in wants:
            window = self.windows.get(name)
            if window is None:
                window = self.windows[name] = Window()
            held.taken.append((attempt, name, tokens, window.add(tokens, now)))
            self.changed.windows.add(name)

    def _left(self, key: Key, now: int) -> Admitted:
        account, micro = self.accounts[key.hash], None
        if key.limit is not None:
            spent = account.spent(key.limit_reset)
            micro = max(key.limit - spent - account.reserved, 0)
        if key.rpm is None and key.tpm is None:
            return Admitted(micro=micro)
        window = self.windows.get(window_of(key.hash)) or Window()
        window.forget(now)
        requests = None if key.rpm is None else max(key.rpm - window.requests, 0)
        tokens = None if key.tpm is None else max(key.tpm - window.tokens, 0)
        return Admitted(requests, tokens, micro)

    # ---- after

    def cancel(self, id: str) -> None:
        """A first attempt was admitted, but nobody waited for that any more."""
        held = self.held.get(id)
        if held is not None and held.attempt == 1:
            self._let_go(held)
            for _, name, tokens, at in held.taken:
                self._move(name, -tokens, at, requests=-1)

    def settle(self, calls: Iterable[Settlement], wall: float) -> None:
        """Book what calls have cost, and end what they held. The caller sees to it: once."""
        groups: dict[Group, list[Charge]] = {}
        for done in calls:
            if done.reserved:
                self._end(done, wall)
            for charge in done.charges:
                group = _group(done.ended_at, done.key, charge.provider, charge.model)
                known = groups.get(group)
                if known is None:
                    groups[group] = [charge]
                else:
                    known.append(charge)
        for group, charges in groups.items():
            self._add(group, _sums(charges), wall)

    def _end(self, done: Settlement, wall: float) -> None:
        held = self.held.get(done.id)
        if held is not None:
            self._let_go(held)
            used = {0: 0} | {charge.attempt: 0 for charge in done.charges}
            for charge in done.charges:
                used[0] += sum(charge.tokens)
                used[charge.attempt] += sum(charge.tokens)
            for attempt in {attempt for attempt, *_ in held.taken}:
                self._correct(held, attempt, used.get(attempt, 0))
        self._undo(done.id, sum(filter(None, map(_micro, done.charges))), wall)

    def end_of(self, owner: str, wall: float) -> int:
        """Settle what a silent owner's calls hold: as seen, or as reserved; returns how many."""
        ended = [held for held in self.held.values() if held.owner == owner]
        for held in ended:
            self._let_go(held)
            micro, output = held.seen or (held.micro, held.output)
            tokens = list(NOTHING)
            tokens[0], tokens[OUTPUT] = held.input, output
            charge = Charge(held.provider, held.model, tuple(tokens), micro)
            group = _group(wall, held.key or "", held.provider, held.model)
            sums = _sums([charge])
            before = self._undo(held.id, micro, wall)  # it came back, and is silent again
            self._add(group, sums, wall)
            account = self.accounts.get(group[1])
            windows = before or (account.windows if account else periods(wall))
            self.expired[held.id] = Expired(group, windows, sums)
            self.changed.expired.add(held.id)
        return len(ended)

    def see(self, seen: Iterable[Seen]) -> None:
        for each in seen:
            held = self.held.get(each.id)
            if held is not None:
                held.seen = each.micro, each.output
                self.changed.held.add(each.id)

    def _let_go(self, held: Held) -> None:
        del self.held[held.id]
        self.changed.held.add(held.id)
        account = self.accounts.get(held.key or "")
        if account is not None:
            account.reserved -= held.micro
            account.parallel -= 1
            self.changed.accounts.add(held.key or "")

    def _undo(self, id: str, instead: int, wall: float) -> Periods | None:
        """Take back what was booked for a silent call, if anything, as so much is booked instead;
        returns the windows that it counts in.
        """
        expired = self.expired.pop(id, None)
        if expired is None:
            return None
        self.changed.expired.add(id)
        account = self.accounts.get(expired.group[1])
        if account is not None:
            account.roll(wall)
            account.take_back(expired.sums[MICRO], expired.windows, instead)
            self.changed.accounts.add(expired.group[1])
        added(self.changed.sums, expired.group, [-each for each in expired.sums])
        return expired.windows

    def _add(self, group: Group, sums: list[int], wall: float) -> None:
        account = self.accounts.get(group[1])
        if account is not None:
            account.roll(wall)
            account.charge(sums[MICRO])
            self.changed.accounts.add(group[1])
        added(self.changed.sums, group, sums)

    def _correct(self, held: Held, attempt: int, used: int) -> None:
        """An attempt is over: its tokens in windows are now those that it has used."""
        for at, (number, name, tokens, when) in enumerate(held.taken):
            if number == attempt:
                self._move(name, used - tokens, when)
                held.taken[at] = number, name, used, when

    def _move(self, name: str, tokens: int, at: int, requests: int = 0) -> None:
        window = self.windows.get(name)
        if window is not None and (tokens or requests):
            window.correct(tokens, at, requests)
            self.changed.windows.add(name)

    def tidy(self, now: int) -> None:
        """Names come and go with the configuration: forget windows in which nothing is counted."""
        for window in self.windows.values():
            window.forget(now)
        self.windows = {name: each for name, each in self.windows.items() if each.slots}


def added(sums: dict[Name, list[int]], name: Name, row: list[int]) -> None:
    """Add a row to the sums of a name."""
    known = sums.get(name)
    sums[name] = row if known is None else [a + b for a, b in zip(known, row, strict=True)]


def _own(key: Key) -> Want:
    rpm = -1 if key.rpm is None else key.rpm
    return window_of(key.hash), rpm, -1 if key.tpm is None else key.tpm


def _group(at: float, key: str, provider: str, model: str) -> Group:
    hour = int(at) // HOUR * HOUR
    return hour, key, provider, model


def _sums(charges: Sequence[Charge]) -> list[int]:
    unpriced = sum([charge.requests for charge in charges if charge.micro is None])
    micro = sum(filter(None, map(_micro, charges)))
    tokens = map(sum, zip(*map(_tokens, charges), strict=True))
    return [sum(map(_requests, charges)), unpriced, micro, *tokens]
