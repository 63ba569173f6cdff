"""Which target and credential a conversation stays with, so that prompt caches keep warm.

What is known is kept in memory and never waited for. Processes agree in two ways. Where several
would do, a conversation's own order (`order`, rendezvous hashing) is the same everywhere. What was
chosen is told to the others now and then, in a batch of bytes that any carrier will do for: the
bus between workers, a value in the store between machines. One that has not heard yet chooses anew,
which costs one cold prompt and nothing else.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

import msgspec

from routeur.auto import Target
from routeur.conversation import ID_SIZE, Conversation

SIZE = 65_536  # conversations; some 20 MB
TTL = 360.0  # seconds: the usual prompt cache lives for five minutes after its last use
BATCH = 4096  # of the latest choices, told at a time

_SEEDS = 2**64


@dataclass(frozen=True, slots=True)
class Binding:
    """Who has a conversation: a target, and the credential that was asked."""

    target: Target
    credential: str


class _Batch(msgspec.Struct, array_like=True, gc=False):
    """What goes to other processes: `at` in Unix seconds, ids one behind the other.

    `rows` are provider, model, credential; `whose` the row of each id.
    """

    at: float
    rows: list[tuple[str, str, str]]
    whose: list[int]
    ids: bytes


_decode = msgspec.msgpack.Decoder(_Batch).decode


@dataclass(frozen=True, slots=True)
class Stay:
    """Targets in the order in which a conversation asks them.

    `credential` is whom to ask at the first one; `why` says for people what was decided, "" where
    nothing was known.
    """

    targets: tuple[Target, ...]
    credential: str | None = None
    why: str = ""


class Stickiness:
    """The conversations of late, by id. `now` is seconds on any clock that never goes back.

    With `tells`, what is chosen is remembered for `outgoing`.
    """

    def __init__(self, size: int = SIZE, ttl: float = TTL, *, tells: bool = False) -> None:
        self._size = size
        self._ttl = ttl
        self.tells = tells
        self._known: OrderedDict[bytes, tuple[Binding, float]] = OrderedDict()
        self._untold: OrderedDict[bytes, Binding] = OrderedDict()
        self._bindings: dict[Binding, Binding] = {}
        self._heard: dict[Target, float] = {}  # until when others' conversations may be there

    def __len__(self) -> int:
        return len(self._known)

    def find(self, id: bytes, now: float) -> Binding | None:
        """Who has this conversation, if somebody does still."""
        found = self._known.get(id)
        if found is None:
            return None
        if found[1] <= now:
            del self._known[id]
            return None
        return found[0]

    def keep(self, id: bytes, binding: Binding, now: float) -> None:
        """It was asked and answered: the conversation is its own from now on."""
        if not id:
            return
        self._put(id, binding, now)
        if self.tells:
            self._untold[id] = binding
            self._untold.move_to_end(id)
            if len(self._untold) > BATCH:
                self._untold.popitem(last=False)

    def leave(self, id: bytes, binding: Binding) -> None:
        """It failed: the conversation is nobody's, unless it has somebody else already.

        Others are not told: they hear who has it next.
        """
        found = self._known.get(id)
        if found is not None and found[0] == binding:
            del self._known[id]

    def heard(self, targets: frozenset[Target], now: float) -> bool:
        """Whether conversations may be at one of them of which other processes have told."""
        return any(self._heard[each] > now for each in self._heard.keys() & targets)

    def outgoing(self, wall: float) -> bytes | None:
        """What was chosen since the last time, for other processes; None: nothing.

        `wall` is Unix seconds, by which they see that it is not of yesterday.
        """
        if not self._untold:
            return None
        untold, self._untold = self._untold, OrderedDict()
        rows: dict[tuple[str, str, str], int] = {}
        whose = []
        for binding in untold.values():
            row = binding.target.provider, binding.target.model, binding.credential
            whose.append(rows.setdefault(row, len(rows)))
        return msgspec.msgpack.encode(_Batch(wall, list(rows), whose, b"".join(untold)))

    def learn(self, raw: bytes, now: float, wall: float) -> int:
        """Take in what another process has chosen, each batch once; returns how much that was.

        What is damaged or too old is nothing.
        """
        try:
            batch = _decode(raw)
        except msgspec.DecodeError:
            return 0
        if abs(wall - batch.at) >= self._ttl or len(batch.ids) != ID_SIZE * len(batch.whose):
            return 0
        bindings = [
            Binding(Target(provider, model), credential)
            for provider, model, credential in batch.rows
        ]
        if len(self._heard) >= BATCH:
            self._heard.clear()
        for binding in bindings:
            self._heard[binding.target] = now + self._ttl
        learnt = 0
        for place, row in enumerate(islice(batch.whose, BATCH)):
            if 0 <= row < len(bindings):
                id = batch.ids[place * ID_SIZE : (place + 1) * ID_SIZE]
                self._put(id, bindings[row], now)
                learnt += 1
        return learnt

    def _put(self, id: bytes, binding: Binding, now: float) -> None:
        known = self._known
        known[id] = self._one(binding), now + self._ttl
        known.move_to_end(id)
        if len(known) > self._size:
            known.popitem(last=False)

    def _one(self, binding: Binding) -> Binding:
        """The one object for all equal bindings, of which there are few."""
        if len(self._bindings) >= BATCH:
            self._bindings.clear()
        return self._bindings.setdefault(binding, binding)


def made_at(raw: bytes) -> float:
    """When a batch was made, in Unix seconds; 0.0 for what is none."""
    try:
        return _decode(raw).at
    except msgspec.DecodeError:
        return 0.0


def stay(
    targets: tuple[Target, ...],
    binding: Binding | None,
    conversation: Conversation,
    unfit: Callable[[Target], str],
) -> Stay:
    """Targets with the conversation's own first, as far as it may stay there.

    `targets` are those that can serve the request, best first. One that is not among them is left,
    but not within a loop of tools or with signed reasoning: then only if `unfit` says why it cannot
    be asked at all (not configured, not allowed, of another dialect), "" if it can.
    """
    if binding is None:
        return Stay(targets)
    target = binding.target
    held = "within a tool loop" if conversation.loop else "with signed reasoning"
    if target in targets:
        place = targets.index(target)
        rest = targets[:place] + targets[place + 1 :]
        return Stay((target, *rest), binding.credential, f"stays with {target}")
    if not conversation.held:
        return Stay(targets, None, f"leaves {target}, which cannot take this request")
    if why := unfit(target):
        return Stay(targets, None, f"leaves {target} {held}, as it {why}")
    return Stay((target, *targets), binding.credential, f"stays with {target} {held}")


def order(id: bytes, weights: Mapping[str, float] | Iterable[str]) -> list[str]:
    """Names in a conversation's own order, the same in all processes; those of more weight are
    oftener before others. A name that goes or comes leaves the others' order as it is.
    """
    given = weights if isinstance(weights, Mapping) else dict.fromkeys(weights, 1.0)
    return sorted(given, key=lambda name: _distance(id, name, given[name]))


def _distance(id: bytes, name: str, weight: float) -> float:
    """Weighted rendezvous hashing: who is nearest has it."""
    if weight <= 0:
        return math.inf
    drawn = blake2b(name.encode(), digest_size=8, key=id).digest()
    return -math.log((int.from_bytes(drawn, "big") + 1) / (_SEEDS + 1)) / weight
