"""Settings of accounts at clouds with an identity of their own: Bedrock and Vertex AI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from routeur.config_values import file, key_of, secret
from routeur.credentials import not_installed
from routeur.dialects.clouds import bedrock_url, vertex_url
from routeur.providers import Aws, Google, Secret
from routeur.yamlfile import Read, Section, Value, Wrong, text

T = TypeVar("T")

# Each says how to identify an account at AWS, and so excludes the others.
_KINDS = ("api_key", "profile", "access_key_id")
_BESIDE = {
    "access_key_id": "secret_access_key",
    "secret_access_key": "access_key_id",
    "session_token": "access_key_id",
}
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)


def from_environment(dialect: str, environ: Mapping[str, str]) -> Aws | Google | None:
    """What the usual variables say of an account; None for providers that are no such cloud."""
    if dialect == "bedrock":
        return Aws(environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "")
    if dialect == "vertex":
        return Google(
            environ.get("GOOGLE_CLOUD_PROJECT", ""), environ.get("GOOGLE_CLOUD_LOCATION", "")
        )
    return None


def key_in(dialect: str, environ: Mapping[str, str]) -> str | None:
    """A key that AWS's usual chain takes before all else."""
    return environ.get("AWS_BEARER_TOKEN_BEDROCK") or None if dialect == "bedrock" else None


def read_cloud(cloud: Aws | Google, section: Section) -> tuple[Aws | Google, tuple[str, ...]]:
    """An account's settings, what is left out as in `cloud`; and variables that are not set."""
    if isinstance(cloud, Google):
        return _google(cloud, section), ()
    waits = dict.fromkeys(each for name in _BESIDE for each in section.unset(name))
    return _aws(cloud, section), tuple(waits)


def replaces_key(cloud: Aws | Google, section: Section) -> bool:
    """Whether a section says how to identify its account without the key it would inherit."""
    return isinstance(cloud, Aws) and any(_given(section, name) for name in _KINDS[1:])


def address(cloud: Aws | Google | None) -> str:
    """The cloud's own base URL; nothing for other providers."""
    if isinstance(cloud, Aws):
        return bedrock_url(cloud.region)
    return vertex_url(cloud.location) if cloud else ""


def problem(cloud: Aws | Google, key: Secret | None, base_url: str, section: Section) -> str:
    """What keeps an account from being used, or nothing."""
    if isinstance(cloud, Google):
        for name, found in (("project", cloud.project), ("location", cloud.location)):
            if not found and not _given(section, name):
                return f"expected a {name}, or GOOGLE_CLOUD_{name.upper()} in the environment"
        return not_installed(cloud)
    if not (cloud.region or (key and base_url) or _given(section, "region")):
        return "expected a region, or AWS_REGION in the environment"
    return "" if key else not_installed(cloud)


def _aws(base: Aws, section: Section) -> Aws:
    given = [name for name in _KINDS if _given(section, name)]
    if given:  # nothing of another account's identity is inherited
        base = Aws(base.region)
    if len(given) > 1:
        section.finding(given[1], f"expected {given[0]} or {given[1]}, not both")
    for name, other in _BESIDE.items():
        if section.has(name) and not section.has(other):
            section.finding(name, f"expected {other} beside it")
    return Aws(
        region=section.get("region", _like(_REGION, "a region such as us-east-1"), base.region),
        profile=section.get("profile", text, base.profile),
        access_key_id=_unless_unset(section, "access_key_id", _id, base.access_key_id),
        secret_access_key=_unless_unset(
            section, "secret_access_key", secret, base.secret_access_key
        ),
        session_token=_unless_unset(section, "session_token", secret, base.session_token),
    )


def _google(base: Google, section: Section) -> Google:
    if _given(section, "api_key"):
        section.finding("api_key", "Vertex AI takes credentials_file, or Google's usual chain")
    where = _like(_NAME, "a location such as europe-west4")
    return Google(
        project=section.get("project", _like(_NAME, "a project's id"), base.project),
        location=section.get("location", where, base.location),
        credentials_file=section.get("credentials_file", file, base.credentials_file),
    )


def _given(section: Section, name: str) -> bool:
    """Whether a setting is there and not empty, be its variable set or not."""
    return section.at(name) is not None or bool(section.unset(name))


def _unless_unset(section: Section, name: str, read: Read[T], base: T | None) -> T | None:
    return None if section.unset(name) else section.get(name, read, base)


def _like(pattern: re.Pattern[str], what: str) -> Read[str]:
    def read(value: Value) -> str:
        found = text(value)
        if not pattern.fullmatch(found):
            raise Wrong(f'expected {what}, found "{found}"')
        return found

    return read


def _id(value: Value) -> str:
    return key_of(text(value)).reveal()
