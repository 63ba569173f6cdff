"""Accounts at Bedrock, Vertex AI and Azure's old paths, as router.yaml says them."""

# ruff: noqa: E501 (a table reads better with one case a line)

from __future__ import annotations

from pathlib import Path

import pytest

from routeur import credentials
from routeur.config import Config, parse
from routeur.errors import ConfigError
from routeur.providers import Aws, Credential, Google, Provider, Secret

BEDROCK = "https://bedrock-runtime.eu-central-1.amazonaws.com"


def configured(settings: str, environ: dict[str, str] | None = None) -> Config:
    return parse(f"providers: {{p: {{{settings}}}}}", "r.yaml", environ or {})


def one(settings: str, environ: dict[str, str] | None = None) -> Provider:
    return configured(settings, environ).providers["p"]


def only(settings: str, environ: dict[str, str] | None = None) -> Credential:
    (found,) = one(settings, environ).credentials
    return found


@pytest.mark.parametrize(
    ("settings", "environ", "key", "cloud"),
    [
        ("", {}, None, Aws("eu-central-1")),
        ("api_key: k", {}, "k", Aws("eu-central-1")),
        ("profile: dev", {}, None, Aws("eu-central-1", "dev")),
        ("access_key_id: A, secret_access_key: s", {}, None, Aws("eu-central-1", None, "A", Secret("s"))),
        ("access_key_id: A, secret_access_key: s, session_token: t", {}, None, Aws("eu-central-1", None, "A", Secret("s"), Secret("t"))),
        ("access_key_id: A, secret_access_key: s, session_token: '${T:-}'", {}, None, Aws("eu-central-1", None, "A", Secret("s"))),
        ("api_key: '${K:-}', profile: dev", {}, None, Aws("eu-central-1", "dev")),
        # AWS's own variable for such keys; what the file says comes first
        ("", {"AWS_BEARER_TOKEN_BEDROCK": "b"}, "b", Aws("eu-central-1")),
        ("api_key: k", {"AWS_BEARER_TOKEN_BEDROCK": "b"}, "k", Aws("eu-central-1")),
        ("api_key: null", {"AWS_BEARER_TOKEN_BEDROCK": "b"}, None, Aws("eu-central-1")),
        ("profile: dev", {"AWS_BEARER_TOKEN_BEDROCK": "b"}, None, Aws("eu-central-1", "dev")),
    ],
)  # fmt: skip
def test_bedrock(settings: str, environ: dict[str, str], key: str | None, cloud: Aws) -> None:
    found = only(f"dialect: bedrock, region: eu-central-1, {settings}", environ)

    assert found == Credential("p", "p", BEDROCK, Secret(key) if key else None, cloud=cloud)


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_region_of_the_environment(name: str) -> None:
    found = only("dialect: bedrock", {name: "eu-central-1"})
    assert (found.base_url, found.cloud) == (BEDROCK, Aws("eu-central-1"))


def test_base_url_overrides_the_clouds() -> None:
    found = only("dialect: bedrock, api_key: k, base_url: 'http://127.0.0.1:1/'")
    assert found.base_url == "http://127.0.0.1:1"
    found = only("preset: vertex, project: p, location: global, base_url: 'http://127.0.0.1:1'")
    assert found.base_url == "http://127.0.0.1:1"


def test_accounts_inherit_all_but_the_identity_that_they_replace() -> None:
    text = """dialect: bedrock, region: eu-central-1, access_key_id: A, secret_access_key: s,
    credentials: [{name: a}, {name: b, region: us-east-1}, {name: c, profile: dev}, {name: d, api_key: k}]"""
    a, b, c, d = one(text).credentials

    assert a.cloud == Aws("eu-central-1", None, "A", Secret("s"))
    assert b.cloud == Aws("us-east-1", None, "A", Secret("s"))
    assert b.base_url == "https://bedrock-runtime.us-east-1.amazonaws.com"
    assert c.cloud == Aws("eu-central-1", "dev")
    assert (d.cloud, d.api_key) == (Aws("eu-central-1"), Secret("k"))
    (e,) = one(
        f"dialect: bedrock, region: eu-central-1, api_key: {'${K}'}, credentials: [{{name: e, profile: x}}]"
    ).credentials
    assert (e.cloud, e.api_key) == (Aws("eu-central-1", "x"), None)


def test_keys_whose_variables_are_not_set() -> None:
    text = (
        "dialect: bedrock, region: eu-central-1, access_key_id: '${A}', secret_access_key: '${S}'"
    )
    assert configured(text).off == {"p": "A and S are not set"}
    assert configured(text, {"A": "", "S": "s"}).off == {"p": "A is not set"}
    assert only(text, {"A": "a", "S": " s\n"}).cloud == Aws("eu-central-1", None, "a", Secret("s"))


def test_vertex(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.touch()
    provider = one(f"preset: vertex, project: p, location: europe-west4, credentials_file: {file}")

    assert (provider.dialect, provider.preset) == ("gemini", "vertex")
    assert provider.credentials == (
        Credential(
            "p",
            "p",
            "https://europe-west4-aiplatform.googleapis.com",
            cloud=Google("p", "europe-west4", str(file)),
        ),
    )


def test_vertex_of_the_environment() -> None:
    environ = {"GOOGLE_CLOUD_PROJECT": "q", "GOOGLE_CLOUD_LOCATION": "global"}
    assert only("preset: vertex", environ).cloud == Google("q", "global")
    assert only("preset: vertex, project: r", environ).cloud == Google("r", "global")


def test_azures_old_paths() -> None:
    """They take the key in a header of Azure's own."""
    settings = "dialect: openai, base_url: https://r.openai.azure.com, api_key: k"
    assert one(settings).auth == "bearer"
    assert one(f"{settings}, api_version: 2024-10-21").auth == "api-key"
    assert one(f"{settings}, api_version: 2024-10-21, auth: bearer").auth == "bearer"


WRONG = [
    ("dialect: bedrock", "expected a region, or AWS_REGION in the environment"),
    ("dialect: bedrock, api_key: k", "expected a region, or AWS_REGION in the environment"),
    ("dialect: bedrock, base_url: 'http://h'", "expected a region, or AWS_REGION in the environment"),
    ("dialect: bedrock, region: Frankfurt", '.region: expected a region such as us-east-1, found "Frankfurt"'),
    ("dialect: bedrock, region: eu-west-1/x", '.region: expected a region such as us-east-1, found "eu-west-1/x"'),
    ("dialect: bedrock, region: eu-west-1, access_key_id: a", ".access_key_id: expected secret_access_key beside it"),
    ("dialect: bedrock, region: eu-west-1, secret_access_key: a", ".secret_access_key: expected access_key_id beside it"),
    ("dialect: bedrock, region: eu-west-1, profile: p, session_token: a", ".session_token: expected access_key_id beside it"),
    ("dialect: bedrock, region: eu-west-1, profile: p, api_key: a", ".profile: expected api_key or profile, not both"),
    ("dialect: bedrock, region: eu-west-1, access_key_id: a b, secret_access_key: c", ".access_key_id: expected a key of printable ASCII without spaces"),
    ("dialect: bedrock, region: eu-west-1, location: x", '.location: unknown setting "location"'),
    ("dialect: bedrock, credentials: [{name: a}]", ".credentials[0]: expected a region, or AWS_REGION in the environment"),
    ("preset: vertex, location: global", "expected a project, or GOOGLE_CLOUD_PROJECT in the environment"),
    ("preset: vertex, project: p", "expected a location, or GOOGLE_CLOUD_LOCATION in the environment"),
    ("preset: vertex, project: p/q, location: global", '.project: expected a project\'s id, found "p/q"'),
    ("preset: vertex, project: p, location: a b", '.location: expected a location such as europe-west4, found "a b"'),
    ("preset: vertex, project: p, location: global, api_key: k", ".api_key: Vertex AI takes credentials_file, or Google's usual chain"),
    ("preset: vertex, project: p, location: global, credentials_file: /no/file", '.credentials_file: no such file: "/no/file"'),
    ("preset: vertex, project: p, location: global, region: x", '.region: unknown setting "region"'),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "said"), WRONG, ids=[said for _, said in WRONG])
def test_finding(settings: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(settings)

    place = f"r.yaml:1: providers.p{said}" if said[0] == "." else f"r.yaml:1: providers.p: {said}"
    assert [line.split("; did you mean")[0] for line in caught.value.findings] == [place]


@pytest.mark.parametrize(
    ("settings", "missing", "said"),
    [
        ("dialect: bedrock, region: eu-west-1", "botocore.auth", "needs botocore: pip install 'routeur[bedrock]'"),
        ("preset: vertex, project: p, location: global", "google.auth.transport.requests", "needs google-auth: pip install 'routeur[vertex]'"),
    ],
)  # fmt: skip
def test_an_extra_that_is_not_installed(
    settings: str, missing: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        assert name == missing
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(credentials, "import_module", absent)
    with pytest.raises(ConfigError) as caught:
        configured(settings)
    assert caught.value.findings == [f"r.yaml:1: providers.p: {said}"]
    assert only("dialect: bedrock, region: eu-west-1, api_key: k").api_key == Secret("k")
