"""How credentials are doing, as JSON and as a page."""

import re
from html.parser import HTMLParser

from routeur.call import Attempt, Call
from routeur.dialects.base import Usage
from routeur.health import PAGE_POLICY, Rates, health, page
from routeur.providers import Credential, Model, Provider

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
        attempts=[Attempt(*attempt) for attempt in attempts],
        ended=ended,
        usage=Usage(input=tokens) if tokens else None,
    )


def test_shape():
    credentials = (
        Credential("azure.eu", "azure", "http://127.0.0.1", weight=2, rpm=600, tpm=200000),
        Credential("azure.us", "azure", "http://127.0.0.1", fallback=True),
    )
    providers = configured(provider("azure", *credentials, models=["gpt-4o"]))
    rates = Rates(providers)
    rates.count(
        [call(("azure/gpt-4o", "azure.eu", 503), ("azure/gpt-4o", "azure.us", 200), tokens=12)]
    )

    status, report = health(providers, rates, now=110.0)

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
                "current_rpm": 1,
                "current_tpm": 0,
                "error_code_counts": {"503": 1},
            },
            "azure.us:gpt-4o": {
                "credential": "azure.us",
                "model": "gpt-4o",
                "is_banned": False,
                "current_rpm": 1,
                "current_tpm": 12,
                "error_code_counts": {},
            },
        },
    }


def test_nobody_left_is_503():
    status, report = health({}, Rates({}))

    assert (status, report["status"]) == (503, "unhealthy")


def test_a_minute_is_a_minute():
    providers = configured(provider("openai", models=["gpt-4o"]))
    rates = Rates(providers)
    for second in range(120):
        rates.count([call(("openai/gpt-4o", "openai", 200), ended=1000.0 + second, tokens=10)])

    def current(now):
        _, report = health(providers, rates, now)
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

    _, report = health(providers, rates, now=9999.0)

    assert report["models"]["openai:gpt-4o"]["error_code_counts"] == {"429": 2, "503": 1}


def test_invented_models_count_together(monkeypatch):
    monkeypatch.setattr("routeur.health.REMEMBERED", 100)
    providers = configured(provider("vllm", any_name=True))
    rates = Rates(providers)
    for number in range(500):
        rates.count([call((f"vllm/invention-{number}", "vllm", 404))])

    _, report = health(providers, rates, now=100.0)

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

    _, report = health(providers, rates, now=100.0)

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


def a_page(*providers, calls=(), **more):
    providers = configured(*providers)
    rates = Rates(providers)
    for each in calls:
        rates.count([each])
    _, report = health(providers, rates, now=100.0)
    return page(report, **{"inflight": 3, "uptime": 3725.0} | more)


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


def test_page_of_a_ban():
    _, report = health(configured(provider("a"), provider("b")), Rates({}), now=0.0)
    report["credentials"]["a"]["is_banned"] = True
    report |= {"credentials_available": 1, "credentials_banned": 1}
    html = page(report, inflight=0, uptime=0)

    assert "degraded" in html
    assert "banned</b>" in html
