"""Whose key it is, in whatever way it comes, and what is local enough to do without one."""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routeur import keys
from routeur.errors import ClientError, ConfigError, Forbidden, Unauthorized
from routeur.keys import (
    OPEN,
    OPEN_INFERENCE,
    SECRET_FILE,
    Keys,
    Kind,
    Throttle,
    digest,
    label,
    mint,
)
from routeur.providers import Secret
from routeur.store.base import Key, KeyChanges
from routeur.store.memory import MemoryStore
from tests.stores import NOON, Hands

MASTER, MANAGE = Secret("m" * 20), Secret("g" * 20)


@pytest.mark.parametrize(
    ("carried", "query", "key"),
    [
        ([], "", None),
        ([], "alt=sse", None),
        ([b"Bearer k"], "", b"k"),
        ([b"bEARER   k "], "", b"k"),
        ([b"k"], "", b"k"),
        ([b" k"], "", b"k"),
        ([], "key=k", b"k"),
        ([], "alt=sse&key=k", b"k"),
        ([], "key=a%2Fb+c", b"a/b c"),
        ([], "monkey=k", None),
        ([b"Bearer "], "", None),
        ([b""], "", None),
        ([b"Bearer k", b"k"], "key=k", b"k"),
    ],
)
def test_presented(carried: list[bytes], query: str, key: bytes | None) -> None:
    assert keys.presented(carried, query) == key


@pytest.mark.parametrize(
    ("carried", "query"),
    [
        ([b"Bearer a", b"b"], ""),
        ([b"Bearer a", b"Bearer b"], ""),
        ([b"a"], "key=b"),
        ([], "key=a&key=b"),
    ],
)
def test_two_different_keys(carried: list[bytes], query: str) -> None:
    with pytest.raises(ClientError, match="two different keys"):
        keys.presented(carried, query)


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("", ""),
        ("alt=sse", "alt=sse"),
        ("key=k", ""),
        ("key=k&alt=sse", "alt=sse"),
        ("a=%2f&key=k&b=+", "a=%2f&b=+"),
        ("%6bey=k&a=b", "a=b"),
        ("keys=a&monkey=b&KEY=c", "keys=a&monkey=b&KEY=c"),
    ],
)
def test_query_without_the_key(query: str, kept: str) -> None:
    assert keys.without_key(query) == kept


@pytest.mark.parametrize(
    ("master", "management", "given", "caller"),
    [
        (None, None, None, (None, True, True)),
        (None, None, b"any", (None, True, True)),
        (None, MANAGE, None, (None, True, False)),
        (None, MANAGE, b"any", (None, True, False)),
        (None, MANAGE, b"g" * 20, ("management", False, True)),
        (MASTER, None, b"m" * 20, ("master", True, True)),
        (MASTER, MANAGE, b"m" * 20, ("master", True, False)),
        (MASTER, MANAGE, b"g" * 20, ("management", False, True)),
    ],
)
def test_identify(
    master: Secret | None, management: Secret | None, given: bytes | None, caller: tuple[Any, ...]
) -> None:
    found = Keys(master, management).identify(given)
    assert (found.name, found.infers, found.manages) == caller


@pytest.mark.parametrize("given", [None, b"", b"m", b"m" * 19, b"m" * 21, b"M" * 20, b"\xff"])
def test_wrong(given: bytes | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        Keys(MASTER, MANAGE).identify(given)
    assert "m" * 20 not in caught.value.message
    assert caught.value.status == 401


def test_open() -> None:
    assert Keys(None, None).open
    assert Keys(None, MANAGE).open
    assert not Keys(MASTER, None).open
    assert OPEN.manages
    assert not OPEN_INFERENCE.manages


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that are known, wherever the right one stands."""
    compared = []

    def compare(known: bytes, given: bytes) -> bool:
        compared.append(known)
        return hmac_compare(known, given)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    known = Keys(MASTER, MANAGE)
    for given in (b"m" * 20, b"g" * 20):
        known.identify(given)
    with pytest.raises(Unauthorized):
        known.identify(b"wrong")
    assert compared == [b"m" * 20, b"g" * 20] * 3


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.8.9.1:1",
        "[::1]",
        "[::1]:8080",
        "app.localhost:80",
        "",
    ],
)
def test_local_hosts(host: str) -> None:
    keys.require_local(host, None)
    if host:
        keys.require_local("localhost", f"http://{host}")


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "example.org:8080",
        "localhost.example.org",
        "notlocalhost",
        "127.0.0.1.nip.io",
        "127.0.0.1.example.org:80",
        "10.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::2]:80",
        "[fe80::1]",
        "[::1].example.org",
        "[::1]x",
        "::1x",
        ":80",
        "localhost@example.org",
        "user:pw@localhost",
        "example.org#@localhost",
    ],
)
def test_foreign_hosts(host: str) -> None:
    with pytest.raises(Forbidden, match="localhost"):
        keys.require_local(host, None)
    with pytest.raises(Forbidden, match="website"):
        keys.require_local("localhost", f"http://{host}")


@pytest.mark.parametrize("origin", ["null", "", "file://", "http://[", "localhost", "x:localhost"])
def test_odd_origins(origin: str) -> None:
    with pytest.raises(Forbidden):
        keys.require_local("localhost", origin)


# ---- virtual keys

SECRET = b"s" * 32
LIVE, MANAGES = "rtr_live_" + "a" * 32, "rtr_mgmt_" + "b" * 32


def virtual(text: str = LIVE, name: str = "alice", **known: Any) -> Key:
    kind: Kind = "management" if text.startswith("rtr_mgmt_") else "regular"
    return Key(digest(SECRET, text), name, label(text), kind, **known)


def keys_with(
    *virtual: Key, master: Secret | None = MASTER, management: Secret | None = None
) -> Keys:
    known = Keys(master, management, SECRET, Hands())
    known.update(KeyChanges(1, virtual, ()))
    return known


def refusal(known: Keys, presented: bytes) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        known.identify(presented)
    assert presented.decode() not in caught.value.message
    return caught.value.status, caught.value.code


def test_a_virtual_key_infers() -> None:
    caller = keys_with(virtual(rpm=5)).identify(LIVE.encode())

    assert (caller.name, caller.infers, caller.manages) == ("alice", True, False)
    assert caller.id == digest(SECRET, LIVE)
    assert caller.key == virtual(rpm=5)
    assert caller.limited
    assert not keys_with(virtual()).identify(LIVE.encode()).limited


def test_a_management_key_only_manages() -> None:
    """And the master key manages all the same: only the configuration's key takes that away."""
    known = keys_with(virtual(MANAGES))
    caller = known.identify(MANAGES.encode())

    assert (caller.infers, caller.manages, caller.limited) == (False, True, False)
    assert known.identify(b"m" * 20).manages


def test_what_others_are_called() -> None:
    known = Keys(MASTER, MANAGE)
    assert known.identify(b"m" * 20).id == "master"
    assert known.identify(b"g" * 20).id == "management"
    assert Keys(None, None).identify(b"any").id == ""
    assert not known.identify(b"m" * 20).limited


@pytest.mark.parametrize("master", [MASTER, None])
def test_what_is_refused(master: Secret | None) -> None:
    """While routeur is open, too."""
    off, late = "rtr_live_" + "c" * 32, "rtr_live_" + "d" * 32
    known = keys_with(
        virtual(), virtual(off, disabled=True), virtual(late, expires_at=NOON), master=master
    )

    assert refusal(known, off.encode()) == (403, "key_disabled")
    assert refusal(known, late.encode()) == (403, "key_expired")
    assert refusal(known, LIVE.encode()[:-1]) == (401, "invalid_api_key")
    assert refusal(known, LIVE.encode() + b"a") == (401, "invalid_api_key")
    assert refusal(known, MANAGES.encode()) == (401, "invalid_api_key")


def test_a_key_expires_while_it_is_known() -> None:
    clock = Hands()
    known = Keys(MASTER, None, SECRET, clock)
    known.update(KeyChanges(1, (virtual(expires_at=NOON + 10),), ()))
    clock.go(9.9)
    assert known.identify(LIVE.encode()).name == "alice"
    clock.go(0.1)
    assert refusal(known, LIVE.encode()) == (403, "key_expired")


def test_changes() -> None:
    known = keys_with(virtual())
    assert known.since == 1
    known.update(KeyChanges(2, (virtual(disabled=True),), ()))
    assert refusal(known, LIVE.encode()) == (403, "key_disabled")
    known.update(KeyChanges(3, (virtual(name="bob"),), ("unknown",)))
    assert known.identify(LIVE.encode()).name == "bob"
    known.update(KeyChanges(4, (), (virtual().hash,)))
    assert refusal(known, LIVE.encode()) == (401, "invalid_api_key")
    assert known.since == 4


def test_late_news_undo_nothing() -> None:
    known = keys_with()
    known.update(KeyChanges(5, (virtual(disabled=True),), ()))
    known.update(KeyChanges(4, (virtual(),), ()))

    assert refusal(known, LIVE.encode()) == (403, "key_disabled")
    assert known.since == 5


def test_another_configuration_keeps_virtual_keys() -> None:
    known = keys_with(virtual())
    known.configure(None, MANAGE)

    assert known.open
    assert known.identify(LIVE.encode()).name == "alice"
    assert known.identify(b"m" * 20) == OPEN_INFERENCE


def test_odd_bytes_are_wrong_keys() -> None:
    known = keys_with(virtual())
    for given in (b"", b"\xff\xfe", b"\x00", b"a" * 100_000, "rtr_live_é".encode()):
        with pytest.raises(Unauthorized):
            known.identify(given)


def test_wrong_keys_cost_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """One hash and all comparisons, whatever they look like."""
    done: list[str] = []

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            done.append(name)
            return real(*arguments)

        return called

    known = keys_with(virtual(), management=MANAGE)
    for name in ("digest", "compare_digest"):
        monkeypatch.setattr(hmac, name, counting(name, getattr(hmac, name)))
    for given in (b"", b"x", b"m" * 19, LIVE[:-1].encode(), b"rtr_live_", b"y" * 5000):
        done.clear()
        with pytest.raises(Unauthorized):
            known.identify(given)
        assert sorted(done) == ["compare_digest", "compare_digest", "digest"]


def test_mint() -> None:
    made = {mint("regular") for _ in range(200)} | {mint("management") for _ in range(200)}

    assert len(made) == 400
    assert {key[:9] for key in made} == {"rtr_live_", "rtr_mgmt_"}
    for key in made:
        assert len(key) == 9 + 32  # of 6 bits
        assert key.isascii() and key.replace("-", "_").isidentifier()


def test_what_is_kept_of_a_key() -> None:
    assert digest(SECRET, "key") == hmac.new(SECRET, b"key", hashlib.sha256).hexdigest()
    assert digest(b"t" * 32, "key") != digest(SECRET, "key")
    assert label("rtr_live_abcdefghij") == "rtr_live_ab…ij"
    with pytest.raises(ValueError, match="need a secret"):
        digest(b"", "key")
    with pytest.raises(ValueError, match="need a secret"):
        Keys(None, None).update(KeyChanges(1, (virtual(),), ()))


# ---- the secret


def secret_of(folder: Path) -> bytes:
    return keys.read_secret(None, f"sqlite:{folder}/routeur.db")


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    first = secret_of(tmp_path)

    assert secret_of(tmp_path) == first
    assert len(first) == 64
    assert [each.name for each in tmp_path.iterdir()] == [SECRET_FILE]
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the database, else in the working directory; for a store in memory nowhere."""
    monkeypatch.chdir(tmp_path)
    assert keys.read_secret(None, "memory:") != keys.read_secret(None, "memory:")
    assert not any(tmp_path.iterdir())
    found = keys.read_secret(None, "redis://127.0.0.1:6379/0")
    assert (tmp_path / SECRET_FILE).read_bytes().strip() == found
    assert keys.read_secret(None, "sqlite:routeur.db") == found


def test_a_configured_secret_wins(tmp_path: Path) -> None:
    for store in (f"sqlite:{tmp_path}/routeur.db", "memory:"):
        assert keys.read_secret(Secret("s" * 16), store) == b"s" * 16
    assert not any(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"auth\.secret: has 15 characters"):
        keys.read_secret(Secret("s" * 15), "memory:")


def test_many_processes_make_one_secret(tmp_path: Path) -> None:
    found: set[bytes] = set()
    barrier = threading.Barrier(8)

    def begin() -> None:
        barrier.wait()
        found.add(secret_of(tmp_path))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(found) == 1
    assert [each.name for each in tmp_path.iterdir()] == [SECRET_FILE]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_secret_that_others_can_read(tmp_path: Path, mode: int) -> None:
    secret_of(tmp_path)
    (tmp_path / SECRET_FILE).chmod(mode)
    with pytest.raises(ConfigError, match=r"others can read .* chmod 600"):
        secret_of(tmp_path)


@pytest.mark.parametrize("text", ["", "\n", "short", " " * 64, "x" * 15 + "\n"])
def test_a_secret_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / SECRET_FILE
    file.touch(0o600)
    file.write_text(text)
    with pytest.raises(ConfigError, match="characters; expected a random secret") as caught:
        secret_of(tmp_path)
    assert not text.strip() or text.strip() not in str(caught.value)
    assert file.read_text() == text


def test_no_place_for_a_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"store: .+/missing is no directory; make it first"):
        secret_of(tmp_path / "missing")
    (tmp_path / SECRET_FILE).symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="No such file"):
        secret_of(tmp_path)
    (tmp_path / SECRET_FILE).unlink()
    os.mkfifo(tmp_path / SECRET_FILE, 0o600)
    with pytest.raises(ConfigError, match="expected a file"):
        secret_of(tmp_path)


async def test_keys_of_another_secret_are_noticed() -> None:
    """A store without keys takes a server's new secret, but no command's."""
    store = MemoryStore("a")
    await keys.require_same_secret(store, SECRET)
    await keys.require_same_secret(store, SECRET, starting=False)
    with pytest.raises(ConfigError, match="another secret"):
        await keys.require_same_secret(store, b"t" * 32, starting=False)
    await keys.require_same_secret(store, b"t" * 32)
    await store.add_key(virtual(disabled=True))
    with pytest.raises(ConfigError, match="another secret"):
        await keys.require_same_secret(store, SECRET)
    await keys.require_same_secret(store, b"t" * 32)
    (value, _) = (await store.values("auth.secret"))["auth.secret"]
    assert SECRET not in value and b"t" * 8 not in value


# ---- whoever tries keys


def test_an_address_that_tries_many_keys_waits() -> None:
    throttle = Throttle()
    assert [throttle.failed("10.0.0.1", 100.0 + n) for n in range(10)] == [None] * 10
    assert throttle.failed("10.0.0.1", 110.0) == 50.0
    assert throttle.failed("10.0.0.1", 159.0) == 1.0
    assert throttle.failed("10.0.0.2", 159.0) is None
    assert throttle.failed("10.0.0.1", 160.0) is None
    assert throttle.failed("10.0.0.1", 160.0) == 1.0


def test_few_wrong_keys_never_wait() -> None:
    throttle = Throttle()
    assert not any(throttle.failed("10.0.0.1", 6.01 * n) for n in range(1000))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("", "", True),
        ("a socket", "a socket", True),
    ],
)
def test_who_is_one_address(one: str, other: str, same: bool) -> None:
    throttle = Throttle()
    for _ in range(10):
        throttle.failed(one, 1.0)
    assert (throttle.failed(other, 1.0) is not None) == same


def test_the_throttle_forgets() -> None:
    """Whoever has many addresses costs no more memory, and the latest are kept."""
    throttle = Throttle()
    for n in range(keys.ADDRESSES + 100):
        throttle.failed(f"10.0.{n >> 8}.{n & 255}", 1.0)
        throttle.failed("10.9.9.9", 1.0)
    assert len(throttle._failures) == keys.ADDRESSES
    assert throttle.failed("10.9.9.9", 1.0) is not None
