"""Who is out, by what operators, routeur and other workers say."""

from __future__ import annotations

import math
from typing import Any

from routeur.bans import Ban
from routeur.outages import Outages, latest
from routeur.providers import Credential, CredentialModel, Model, Provider
from tests.standings import standings


def ban(model: str, ends: float = 60.0, **more: Any) -> Ban:
    known = {"origin": "routeur", "reason": "status 503", "error_code": 503, "since": 0.0}
    return Ban("p", model, **{**known, "until": ends, **more}, ends=ends)


def provider(*models: str, **more: Any) -> Provider:
    named = {name: Model(name, name) for name in models}
    return Provider("p", "openai", (Credential("p", "p", "http://h"),), models=named, **more)


def out(provider: Provider, *bans: Ban, asked: tuple[str, ...] = ()) -> bool:
    made = standings()
    for model in asked:
        made.group("p", model)
    return Outages(bans, made.known(), 0.0).out(provider, provider.credentials[0])


def test_all_that_it_lists() -> None:
    assert out(provider("a", "b"), ban("a"), ban("b"))
    assert not out(provider("a", "b"), ban("a"), asked=("a",))


def test_every_model() -> None:
    assert out(provider("a", "b"), ban("*"))


def test_all_that_it_was_asked_for() -> None:
    """Where the configuration names no model."""
    assert out(provider(any_name=True), ban("a"), asked=("a",))
    assert not out(provider(any_name=True), ban("a"), asked=("a", "b"))
    assert out(provider("a", "b", catalogued=True), ban("a"), asked=("a",))


def test_nothing_listed_and_nothing_asked() -> None:
    assert not out(provider(any_name=True))


def test_a_model_that_a_credential_does_not_serve_does_not_count() -> None:
    shares = {"b": CredentialModel(weight=0)}
    named = {name: Model(name, name) for name in "ab"}
    serving = Provider(
        "p", "openai", (Credential("p", "p", "http://h", models=shares),), models=named
    )

    assert out(serving, ban("a"))


def test_the_longest_ban_is_shown() -> None:
    short, long = ban("a", 60.0), ban("*", math.inf, origin="admin", until=None)
    outages = Outages([short, long], (), 0.0)

    assert outages.ban("p", "a") is long
    assert outages.ban("p", "b") is long
    assert outages.ban("q", "a") is None
    assert (outages.left(short), outages.left(long)) == (60.0, None)


def test_what_several_workers_say_counts_once() -> None:
    """Their clocks differ a little; what is over is left out."""
    said = [ban("a", 60.0), ban("a", 60.2), ban("b", 10.0), ban("a", 70.0, origin="admin")]

    assert [(each.model, each.origin, each.ends) for each in latest(said, 20.0)] == [
        ("a", "routeur", 60.2),
        ("a", "admin", 70.0),
    ]
