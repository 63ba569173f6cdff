"""Values as the scripts get them, and as a Redis keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec

from routeur.store.accounts import Account, end
from routeur.store.base import (
    BUCKETS,
    Admitted,
    Balance,
    Charge,
    Entry,
    Kept,
    Key,
    Refused,
    Reservation,
    Reset,
    Seen,
)
from routeur.store.ledger import OUTPUT, TOKENS

MOST = 1 << 53  # Lua's numbers are whole until here
WIDTH = TOKENS + len(BUCKETS)  # of a row of sums
OUTPUT_AT = TOKENS + OUTPUT + 1  # in such a row, as Lua counts

_encode = msgspec.json.Encoder().encode
_numbers = msgspec.msgpack.Decoder(list[int]).decode
_key = msgspec.json.Decoder(Key).decode


def key_record(key: Key) -> bytes:
    """JSON, after what is asked most often."""
    return (b"1" if key.disabled else b"0") + _encode(key)


def key_of(record: bytes) -> Key:
    return _key(record[1:])


def with_balance(record: bytes, account: bytes, wall: bytes) -> tuple[Key, Balance]:
    it = Account(*_numbers(account))
    it.roll(float(wall))
    return key_of(record), it.balance()


def reservation(asked: Reservation) -> bytes:
    """Raises OverflowError for numbers that Lua does not have."""
    _whole((asked.micro, asked.input, asked.output))
    numbers = asked.micro, asked.input, asked.output, asked.attempt
    names = asked.provider, asked.model
    return _encode((asked.id, asked.key or False, *numbers, *names, asked.wants, asked.ended))


def admission(answer: Sequence[Any]) -> Admitted | Refused:
    verdict, *more = answer
    if verdict == b"yes":
        return Admitted(*[int(each) if each else None for each in more])
    what = more[0].decode()
    match what:
        case "key":
            return Refused("key")
        case "parallel":
            return Refused("parallel", more[1] / 1000)
        case "budget":
            micro, reset, day, week, month, wall = more[1:]
            ends = end(cast(Reset, reset.decode()), (day, week, month)) if reset else None
            again = None if ends is None else ends - float(wall)
            return Refused("budget", again, int(micro))
    name = more[2].decode() if len(more) > 2 else None
    return Refused(what, more[1] / 1000, name=name)


def settlements(entries: Sequence[Entry]) -> list[bytes]:
    """All of them, then the trace of each. Raises OverflowError as `reservation` does."""
    calls: list[Any] = []
    traces: list[bytes] = []
    for entry in entries:
        done = entry.settlement
        charges = [(each.provider, each.model, each.attempt, _row(each)) for each in done.charges]
        numbers = done.ended_at, done.reserved
        calls.append((place(entry.owner, entry.seq), done.id, done.key, *numbers, charges))
        traces.append(trace(done.key, done.trace) if done.trace else b"")
    return [_encode(calls), *traces]


def _row(charge: Charge) -> tuple[int, ...]:
    unpriced = charge.requests if charge.micro is None else 0
    row = charge.requests, unpriced, charge.micro or 0, *charge.tokens
    _whole(row)
    return row


def _whole(numbers: Iterable[int]) -> None:
    if any(abs(each) > MOST for each in numbers):
        raise OverflowError("a number is too large for the store")


def place(owner: str, seq: int) -> str:
    """A number in an owner's spool, so that the order of text is that of numbers."""
    return f"{owner}\0{seq + MOST:017}"


def places(owner: str, before: int) -> tuple[str, str]:
    """All places of an owner below a number, as ZRANGEBYLEX wants them."""
    return f"[{owner}\0", f"({place(owner, before)}"


def seen(some: Sequence[Seen]) -> bytes:
    return _encode([(each.id, each.micro, each.output) for each in some])


def trace(key: str, trace: str) -> bytes:
    owner = key.encode()
    return b"%d %b%b" % (len(owner), owner, trace.encode())


def trace_of(packed: bytes) -> tuple[str, str]:
    """A call's key and its trace."""
    size, _, rest = packed.partition(b" ")
    return rest[: int(size)].decode(), rest[int(size) :].decode()


def row(packed: bytes) -> list[int]:
    return _numbers(packed)


def pairs(answer: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(answer[::2], answer[1::2], strict=True)


def value_of(packed: bytes) -> tuple[bytes, int]:
    version, _, value = packed.partition(b" ")
    return value, int(version)


def kept_of(id: str, about: bytes | None, body: bytes | None) -> Kept | None:
    if about is None or body is None:
        return None
    version, _, at, owner = about.split(b" ", 3)
    return Kept(id, owner.decode(), float(at), body, int(version))
