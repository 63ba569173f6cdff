"""How credentials are doing, as JSON and as a page."""

import json
import math
import re
from html.parser import HTMLParser

from routeur import health
from routeur.bans import Ban
from routeur.call import Attempt, Call
from routeur.dialects.base import Usage
from routeur.health import PAGE_POLICY, Rates
from routeur.outages import Outages
from routeur.providers import Credential, CredentialModel, Model, Provider
from tests.standings import credential, standings

EVIL = "<script>alert('\"')</script>"


def provider(name, *credentials, models=(), **more):
    return Provider(
        name=name,
        dialect="openai",
        credentials=credentials or (Credential(name, name, "http://127.0.0.1"),),
        models={each: Model(each, each) for each in models},
        **more,
    )


def configured(*providers):
    return {each.name: each for each in providers}


def call(*attempts, ended=100.0, tokens=0):
    """A call of attempts `(target, credential, status)`."""
    return Call(
        attempts=[Attempt(target, name, status=status) for target, name, status in attempts],
        ended=ended,
        usage=Usage(input=tokens) if tokens else None,
    )


def report_of(providers, rates, now=100.0, *, bans=(), standings=()):
    """Status and report; `now` on the clock of calls, bans and standings at their own 1000."""
    return health.health(providers, rates.snapshot(now), Outages(bans, standings, 1000.0))


def a_ban(credential="openai", model="gpt-4o", **more):
    known = {"origin": "routeur", "reason": "status 503", "error_code": 503, "since": 0.0}
    known |= {"until": 30.0, "ends": 1030.0}
    return Ban(credential, model, **known | more)


def test_shape():
    credentials = (
        Credential("azure.eu", "azure", "http://127.0.0.1", weight=2, rpm=600, tpm=200000),
        Credential(
            "azure.us",
            "azure",
            "http://127.0.0.1",
            fallback=True,
            models={"gpt-4o": CredentialModel(rpm=60)},
        ),
    )
    providers = configured(provider("azure", *credentials, models=["gpt-4o"]))
    rates = Rates(providers)
    rates.count(
        [call(("azure/gpt-4o", "azure.eu", 503), ("azure/gpt-4o", "azure.us", 200), tokens=12)]
    )

    status, report = report_of(providers, rates, 110.0)

    assert status == 200
    assert report == {
        "status": "healthy",
        "credentials_available": 2,
        "credentials_banned": 0,
        "total_credentials": 2,
        "credentials": {
            "azure.eu": {
                "type": "openai",
                "is_fallback": False,
                "is_banned": False,
                "weight": 2,
                "current_rpm": 1,
                "current_tpm": 0,
                "limit_rpm": 600,
                "limit_tpm": 200000,
            },
            "azure.us": {
                "type": "openai",
                "is_fallback": True,
                "is_banned": False,
                "weight": 1,
                "current_rpm": 1,
                "current_tpm": 12,
                "limit_rpm": -1,
                "limit_tpm": -1,
            },
        },
        "models": {
            "azure.eu:gpt-4o": {
                "credential": "azure.eu",
                "model": "gpt-4o",
                "is_banned": False,
                "ban": None,
                "resting": 0.0,
                "current_rpm": 1,
                "current_tpm": 0,
                "limit_rpm": -1,
                "limit_tpm": -1,
                "error_code_counts": {"503": 1},
            },
            "azure.us:gpt-4o": {
                "credential": "azure.us",
                "model": "gpt-4o",
                "is_banned": False,
                "ban": None,
                "resting": 0.0,
                "current_rpm": 1,
                "current_tpm": 12,
                "limit_rpm": 60,
                "limit_tpm": -1,
                "error_code_counts": {},
            },
        },
    }


def test_nobody_left_is_503():
    status, report = report_of({}, Rates({}))

    assert (status, report["status"]) == (503, "unhealthy")


def test_workers_are_added_up():
    providers = configured(provider("openai", models=["gpt-4o"]))
    shots = []
    for status in (503, 200, 503):
        rates = Rates(providers)
        rates.count([call(("openai/gpt-4o", "openai", status), tokens=5)])
        shots += json.loads(json.dumps(rates.snapshot(100.0)))

    _, report = health.health(providers, shots, Outages((), (), 0.0))

    model = report["models"]["openai:gpt-4o"]
    assert (model["current_rpm"], model["current_tpm"]) == (3, 15)
    assert model["error_code_counts"] == {"503": 2}
    assert report["credentials"]["openai"]["current_rpm"] == 3


def test_a_ban_of_one_model():
    providers = configured(provider("openai", models=["gpt-4o", "gpt-5"]))
    status, report = report_of(providers, Rates(providers), bans=[a_ban()])

    assert (status, report["credentials_banned"]) == (200, 0)
    assert not report["credentials"]["openai"]["is_banned"]
    assert not report["models"]["openai:gpt-5"]["is_banned"]
    assert report["models"]["openai:gpt-4o"]["ban"] == {
        "origin": "routeur",
        "reason": "status 503",
        "error_code": 503,
        "seconds_left": 30.0,
    }


def test_a_ban_of_every_model():
    """One by one or all together: the credential is banned, and with the last one health is bad."""
    providers = configured(provider("openai", models=["gpt-4o", "gpt-5"]))
    for bans in (
        [a_ban(), a_ban(model="gpt-5")],
        [a_ban(model="*", origin="admin", until=None, ends=math.inf)],
    ):
        status, report = report_of(providers, Rates(providers), bans=bans)

        assert (status, report["status"]) == (503, "unhealthy")
        assert (report["credentials_banned"], report["credentials_available"]) == (1, 0)
        assert report["credentials"]["openai"]["is_banned"]
        assert all(model["is_banned"] for model in report["models"].values())
    assert report["models"]["openai:gpt-5"]["ban"]["seconds_left"] is None


def test_a_model_that_rests():
    made = standings(credential("p"))
    (standing,) = made.group("p", "gpt-4o").members
    made.rest(standing, 20.0, 1000.0)
    providers = configured(provider("p", models=["gpt-4o"]))
    status, report = report_of(providers, Rates(providers), standings=made.known())

    assert status == 200
    assert report["models"]["p:gpt-4o"]["resting"] == 20.0
    assert not report["models"]["p:gpt-4o"]["is_banned"]


def test_a_minute_is_a_minute():
    providers = configured(provider("openai", models=["gpt-4o"]))
    rates = Rates(providers)
    for second in range(120):
        rates.count([call(("openai/gpt-4o", "openai", 200), ended=1000.0 + second, tokens=10)])

    def current(now):
        _, report = report_of(providers, rates, now)
        return tuple(
            report["credentials"]["openai"][name] for name in ("current_rpm", "current_tpm")
        )

    assert current(1119.9) == (60, 600)
    assert current(1149.0) == (30, 300)
    assert current(1179.0) == (0, 0)


def test_errors_outlive_the_minute():
    providers = configured(provider("openai", models=["gpt-4o"]))
    rates = Rates(providers)
    for status in (429, 503, 429, 200):
        rates.count([call(("openai/gpt-4o", "openai", status))])

    _, report = report_of(providers, rates, 9999.0)

    assert report["models"]["openai:gpt-4o"]["error_code_counts"] == {"429": 2, "503": 1}


def test_invented_models_count_together(monkeypatch):
    monkeypatch.setattr("routeur.health.REMEMBERED", 100)
    providers = configured(provider("vllm", any_name=True))
    rates = Rates(providers)
    for number in range(500):
        rates.count([call((f"vllm/invention-{number}", "vllm", 404))])

    _, report = report_of(providers, rates, 100.0)

    assert list(report["models"]) == ["vllm:other"]
    assert report["models"]["vllm:other"]["error_code_counts"] == {"404": 500}
    assert report["credentials"]["vllm"]["current_rpm"] == 500
    assert len(rates._bound) <= 100


def test_another_configuration():
    rates = Rates(configured(provider("openai", models=["gpt-4o"])))
    rates.count([call(("openai/gpt-4o", "openai", 200))])
    providers = configured(provider("openai", models=["gpt-5"]))
    rates.configure(providers)
    for model in ("gpt-4o", "gpt-5"):
        rates.count([call((f"openai/{model}", "openai", 200))])

    _, report = report_of(providers, rates, 100.0)

    assert {name: model["current_rpm"] for name, model in report["models"].items()} == {
        "openai:gpt-5": 1,
        "openai:other": 1,
    }


class Elements(HTMLParser):
    """The tags of a page in order, and all its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def a_page(*providers, calls=(), bans=(), **more):
    providers = configured(*providers)
    rates = Rates(providers)
    for each in calls:
        rates.count([each])
    _, report = report_of(providers, rates, bans=bans)
    outages = Outages(bans, (), 1000.0)
    return health.page(report, outages, **{"inflight": 3, "uptime": 3725.0} | more)


def test_page_shows_what_health_says():
    html = a_page(
        provider("openai", models=["gpt-4o", "o9"]),
        calls=[call(("openai/gpt-4o", "openai", 429), tokens=1234567)],
    )
    elements = Elements(html)
    text = re.sub(r"\s+", " ", elements.text)

    assert not elements.open
    for shown in ("healthy", "gpt-4o", "1 234 567", "429 × 1", "1h 2m", "1 idle model", "o9"):  # noqa: RUF001 - as the page has it
        assert shown in text


def test_page_escapes_everything():
    html = a_page(
        provider(EVIL, models=[EVIL, EVIL + "2"]),
        calls=[call((f"{EVIL}/{EVIL}", EVIL, 500))],
    )

    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_page_loads_nothing():
    """No script, style attribute or address of another host: the policy forbids them."""
    html = a_page(provider("openai", Credential("openai", "openai", "http://x", rpm=1)))

    for tag, attributes in Elements(html).tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "base", "form")
        assert not {"style", "src", "onload", "onclick"} & set(attributes)
        assert attributes.get("href", "/").startswith("/")
    assert not re.search(r"url\(|@import|https?:", html)
    assert PAGE_POLICY.startswith("default-src 'none'; style-src 'sha256-")


def test_page_of_nothing():
    html = a_page()

    assert "unhealthy" in html
    assert "No provider is on" in html


def text_of(html):
    return re.sub(r"\s+", " ", Elements(html.replace("</td>", " </td>")).text)


def test_page_of_bans():
    """Who, what, why and for how long; whose it is, if an operator's."""
    bans = [
        a_ban("a", "gpt-4o", ends=1059.5),
        a_ban("b", "*", origin="admin", reason="out of money", until=None, ends=math.inf, since=1),
    ]
    html = a_page(provider("a", models=["gpt-4o", "x"]), provider("b"), bans=bans)
    text = text_of(html)

    assert "degraded" in text
    assert "a gpt-4o status 503 1m 0s left" in text
    assert "all models out of money operator until it is lifted" in text
    assert "available \u00b7 1 ban" in text
    assert not Elements(html).open


def test_page_escapes_reasons():
    html = a_page(provider(EVIL, models=[EVIL]), bans=[a_ban(EVIL, EVIL, reason=EVIL)])

    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 3


def test_page_of_very_many_bans():
    bans = [a_ban("a", f"invention-{n}") for n in range(1000)]
    html = a_page(provider("a"), bans=bans)

    assert html.count("invention-") == health.SHOWN_BANS
    assert "and 950 more" in text_of(html)


def test_page_without_bans():
    assert "Bans" not in a_page(provider("a"))
