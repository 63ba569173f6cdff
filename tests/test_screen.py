"""What `routeur top` tells, and its lines."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from routeur.overview import Row, Spread, as_json, lasting, overview
from routeur.readings import Bound, between, read
from routeur.screen import Lost
from routeur.screen import render as lines_of
from tests.clients import HOME
from tests.looks import BAN, credential, health, look, metrics, model

LOST = Lost("no answer within 5 s", "12:03:04")
BANNED = "banned: status 401, 3 times since the last success, 56s left"
EVIL = "a\x1b[2J\x07\x9b\u202eb\nc"


def row(state: dict[str, Any], name: str) -> Row:
    found = overview("here", look(state=state), None)
    return {each.name: each for each in found.credentials}[name]


def text(lines: Any) -> str:
    return "\n".join(line.text for line in lines)


# ── credentials


@pytest.mark.parametrize(
    ("found", "models", "state"),
    [
        ({}, [], "ok"),
        ({"is_banned": True}, [], "banned"),
        ({}, [{"resting": 61.5}, {}], "1 of 2 models rest, 1m 2s left"),
        (
            {"is_banned": True},
            [{"is_banned": True, "ban": BAN}, {"is_banned": True, "ban": BAN}],
            "banned: status 401, 42s left",
        ),
        (
            {},
            [
                {"is_banned": True, "ban": BAN},
                {},
                {
                    "is_banned": True,
                    "ban": {"origin": "admin", "reason": "no", "seconds_left": None},
                },
            ],
            "2 of 3 models banned by an operator: no",
        ),
    ],
)
def test_state(found: dict[str, Any], models: list[dict[str, Any]], state: str) -> None:
    shown = [model(str(number), "a", **each) for number, each in enumerate(models)]

    assert row(health(*shown, a=credential(**found)), "a").state == state


def test_banned_ones_first_then_the_busiest() -> None:
    state = health(
        quiet=credential(),
        busy=credential(current_rpm=9),
        out=credential(is_banned=True),
        busier=credential(current_rpm=10),
    )
    found = overview("here", look(state=state), None).credentials

    assert [each.name for each in found] == ["out", "busier", "busy", "quiet"]


def test_errors_of_a_credential_are_those_of_its_models() -> None:
    failing = [model(name, "a", error_code_counts={"429": 2, "503": 1}) for name in "xy"]
    found = row(health(*failing, a=credential(), b=credential()), "a")

    assert found.errors == {"429": 4, "503": 2}
    assert row(health(*failing, a=credential(), b=credential()), "b").errors == {}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1s"), (60, "1m 0s"), (3599.5, "1h 0m"), (90061, "1d 1h")],
)
def test_lasting(seconds: float, said: str) -> None:
    assert lasting(seconds) == said


def test_json_is_ascii_and_has_models_if_asked() -> None:
    state = health(model("gpt-4o", "a"), a=credential(type=EVIL))
    shown = overview("here", look(state=state), between(look(), look(1.0)))
    plain, more = (as_json(shown, models=asked) for asked in (False, True))

    assert all(" " <= sign <= "~" or sign == "\n" for sign in plain + more)
    assert json.loads(plain)["credentials"][0]["type"] == EVIL
    assert "models" not in json.loads(plain)["credentials"][0]
    assert json.loads(more)["credentials"][0]["models"][0]["name"] == "gpt-4o"
    assert json.loads(plain)["interval_seconds"] == 1.0


# ── lines


def busy() -> Any:
    """What the manual shows."""

    def facts(name: str, type: str, rpm: int, tpm: int, **more: Any) -> Row:
        known = {"is_fallback": False, "is_banned": False, "state": "ok", "new_errors": {}}
        known |= {"limit_rpm": None, "limit_tpm": None}
        return Row(name, type, rpm=rpm, tpm=tpm, **known | more)

    shown = overview("http://127.0.0.1:8080", look(), between(look(), look(0.995)))
    return replace(
        shown,
        credentials_available=2,
        total_credentials=3,
        inflight=31,
        requests=103_211,
        tokens=96_301_772,
        tokens_last_minute=1_032_118,
        cost_usd=214.09334,
        event_loop_lag_seconds=0.0018,
        requests_per_second=48.24,
        tokens_per_second=18_203.6,
        interval_requests={"200": 46, "429": 2},
        error_share=2 / 48,
        duration=Spread(48, Bound(le=1.0), Bound(le=10.0)),
        first_token=Spread(41, Bound(le=0.25), Bound(le=0.75)),
        credentials=(
            facts(
                "azure.us",
                "openai",
                12,
                1204,
                errors={"401": 12},
                is_banned=True,
                state=BANNED,
            ),
            facts(
                "azure.eu",
                "openai",
                580,
                203_118,
                limit_rpm=1000,
                limit_tpm=500_000,
                errors={"429": 31},
                new_errors={"429": 2},
            ),
            facts("anthropic", "anthropic", 2102, 827_796, errors={"529": 4}),
        ),
    )


def test_the_manual_shows_what_it_shows() -> None:
    assert f"\n```\n{text(lines_of(busy()))}\n```\n" in (HOME / "README.md").read_text()


def test_before_there_is_an_interval() -> None:
    said = text(lines_of(overview("here", look(page=metrics((0.1,), 9, s200=2)), None)))

    assert "requests     0 under way, 2 so far\nerrors       -\n" in said
    assert "duration     -\nfirst token  -\n" in said


@pytest.mark.parametrize("width", [0, 1, 10, 40, 79, 200])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 9, 12, 50])
@pytest.mark.parametrize("lost", [None, LOST])
def test_it_fits(width: int, height: int, lost: Lost | None) -> None:
    shown = lines_of(busy(), width=width, height=height, lost=lost)

    assert max(len(line.text) for line in shown) <= width
    assert len(shown) <= height
    assert len(shown) == height or height > 12


def test_a_low_screen_has_credentials() -> None:
    rows = busy().credentials * 5
    shown = lines_of(replace(busy(), credentials=rows), height=10)

    heads = ["routeur", "requests", "errors", "tokens", "", "CREDENTIAL", "azure.us"]
    assert [line.text.split(" ")[0] for line in shown[:7]] == heads
    assert shown[-1].text == "… 12 more lines"
    assert [line.text[:5] for line in lines_of(busy(), height=3)] == ["route", "CREDE", "… 3 m"]


def test_a_long_name_gives_way_to_a_state() -> None:
    name = "openai-of-the-department-of-long-names-"
    row = replace(busy().credentials[0], state="banned: status 401, 56s left", errors={})
    rows = tuple(replace(row, name=name + end) for end in ("east", "west"))
    lines = lines_of(replace(busy(), credentials=rows), width=79)[-2:]

    assert [line.text.split(" ")[0][-5:] for line in lines] == ["-east", "-west"]
    assert all(line.text.endswith("  banned: status 401, 56s left") for line in lines)
    assert all(line.text.startswith("openai-of-") and "…" in line.text for line in lines)


def test_what_a_narrow_screen_has_of_the_manual() -> None:
    shown = [line.text for line in lines_of(busy(), width=79)][-3:]

    assert shown == [
        "azure.us  openai             12              1,204  401x12    banned: …56s left",
        "azure.eu  openai    580 / 1,000  203,118 / 500,000  429x…+2)  ok",
        "anth…pic  anth…pic        2,102            827,796  529x4     ok",
    ]


def test_a_cost_that_nobody_knows_is_not_zero() -> None:
    """A price of 0 looks as none does."""
    unused, unpriced = (overview("here", look(page=metrics(tokens=n)), None) for n in (0, 9))

    assert "\ncost         $0.0000 so far" in text(lines_of(unused))
    assert "\ncost         unknown: no call so far had a price\n" in text(lines_of(unpriced))
    assert json.loads(as_json(unpriced, models=False))["cost_usd"] is None
    assert json.loads(as_json(unused, models=False))["cost_usd"] == 0.0


def test_nothing_that_a_server_says_is_obeyed() -> None:
    evil = model(EVIL, EVIL, current_rpm=1, error_code_counts={EVIL: 1}, is_banned=True)
    evil["ban"] = BAN | {"reason": EVIL}
    state = health(evil, **{EVIL: credential(type=EVIL)})
    page = metrics(s200=1) + b'routeur_requests_total{status="4\x1b\x07\xc2\x9b"} 7\n'
    found = read(1.0, json.dumps({"status": EVIL}).encode(), json.dumps(state).encode(), page)
    shown = lines_of(overview("here", found, between(look(), found)), models=True)

    assert len(shown) == 12
    assert all(line.text.isprintable() for line in shown)
    assert "x7" in text(shown)


def test_models_that_have_something_to_tell() -> None:
    names = [model(name, "a") for name in ("x", "y", "z")]
    names[1]["current_tpm"] = 5
    shown = overview("here", look(state=health(*names, a=credential())), None)

    assert text(lines_of(shown, models=True)).splitlines()[-3:] == [
        "a           openai    0    0  -       ok",
        "  y                   0    5  -       ok",
        "2 idle models not shown",
    ]


def test_colours_say_what_matters() -> None:
    found = {line.text.split(" ")[0]: line.style for line in lines_of(busy())}

    assert (found["azure.us"], found["azure.eu"], found["anthropic"]) == ("bad", "warn", "")


def test_old_figures_are_marked_as_old() -> None:
    title, since, *rest = lines_of(busy(), lost=LOST)

    assert title.painted().startswith("\x1b[31mrouteur at http")
    assert title.text.endswith(": no answer within 5 s")
    assert since.text == "trying again; what stands below is as of 12:03:04"
    assert {line.style for line in rest} == {"old"}
    assert lines_of(busy(), lost=replace(LOST, closed=True))[0].style == "warn"
