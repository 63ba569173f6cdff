"""An entry of LiteLLM's `model_list`: who answers, with which account, as which model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from routeur.litellm.given import Given
from routeur.litellm.prices import about
from routeur.litellm.tables import BARE, KINDS, PARAMS, SAME, Kind
from routeur.presets import presets

ALL = "*"
TIMES = {
    "first_byte": "until an answer begins; there is no limit on the whole",
    "idle": "between two chunks",
}

_REGION = re.compile(r"(us-gov|[a-z]{2})-[a-z]+-\d")
_ROUTES = re.compile(r"(converse_like|converse|invoke|nova|llama|deepseek_r1)/")
_AZURE_VERSION = "${AZURE_API_VERSION:-2025-02-01-preview}"


@dataclass(slots=True)
class Deployment:
    """What LiteLLM calls so. `shape` are settings of a provider here, `account` those that each
    of its credentials may have, `model` those of a model; `local` is the model's name there.
    """

    place: str
    name: str
    kind: str
    id: str
    shape: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    weight: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    order: float = 1.0
    key: str = ""
    times: int = 1  # how often it stands in the file
    comments: list[str] = field(default_factory=list)
    provider: str = ""
    local: str = ""

    @property
    def tier(self) -> tuple[float, bool]:
        """Who is asked first; a weight of 0 means: only when nobody else can be."""
        return self.order, self.weight == 0


def read_deployments(entry: Given, credentials: Mapping[str, Given]) -> list[Deployment]:
    """The deployments of an entry: several where it names several organizations."""
    name = entry.text("model_name")
    given = _with_credential(entry, credentials)
    model = given.text("model")
    if not name or not model:
        entry.finding("model_name" if not name else "litellm_params.model", "expected a name")
        return []
    if re.search(r"[?\[]", name):
        entry.finding("model_name", "left out: ? and [ make a pattern of a name here")
        return []
    kind, id = _kind(model, given)
    if kind == ALL:
        entry.raw("model_info")
        made = [Deployment(entry.path, name, ALL, ALL)]
    elif not kind:
        why = f'"{model}" is of no provider that is known here: left out; give it an api_base'
        given.finding("model", why)
        return []
    else:
        made = _made(entry, given, name, SAME.get(kind, kind), id or name)
    if made:  # else there is nothing more to say of it
        given.close(PARAMS, "not sent: routeur adds nothing to a client's request")
        entry.close({})
    return made


def _with_credential(entry: Given, credentials: Mapping[str, Given]) -> Given:
    """`litellm_params`, and what the credential has that they name."""
    params = entry.section("litellm_params")
    wanted = params.text("litellm_credential_name")
    if wanted is None:
        return params
    shared = credentials.get(wanted)
    if shared is None:
        params.finding("litellm_credential_name", f'credential_list has no "{wanted}"')
        return params
    places = {name: f"{shared.path}.{name}" for name in shared.values if name not in params.values}
    merged = Given({**shared.values, **params.values}, params.path, params.findings, places)
    merged.raw("litellm_credential_name")
    return merged


def _kind(model: str, given: Given) -> tuple[str, str]:
    """LiteLLM's name of the provider, and the model's name there; nothing where nobody knows."""
    custom = given.text("custom_llm_provider")
    head, slash, tail = model.partition("/")
    if custom in KINDS:
        return custom or "", tail if slash and head == custom else model
    if slash and head in KINDS:
        return head, tail
    if model == ALL:
        return ("openai", ALL) if given.values.get("api_base") else (ALL, ALL)
    if not slash:
        for start, kind in BARE:
            if re.match(start, model):
                return kind, model
    if given.values.get("api_base") or given.values.get("base_url"):
        given.finding("model", "taken for a server that speaks OpenAI's dialect: check it")
        return "openai", model
    return "", model


def _made(entry: Given, given: Given, name: str, kind: str, id: str) -> list[Deployment]:
    one = Deployment(entry.path, name, kind, id)
    address = given.text("api_base") or given.text("base_url") or ""
    given.raw("base_url")
    if not _address(one, given, address):
        return []
    _timeouts(one, given)
    _headers(one, given)
    _limits(one, entry, given)
    info = entry.section("model_info")
    one.key = info.text("id") or ""
    one.model, base = about(given, info, one.shape.get("preset") or "", one.id)
    if base:
        one.comments.append(f"{name}: prices and sizes are those of {base}, of today")
    if info.values.get("mode") == "responses":
        one.shape["speak"] = "responses"
    organizations = given.names("organization")
    return [_within(one, organization) for organization in organizations] or [one]


def _within(one: Deployment, organization: str) -> Deployment:
    headers = {**one.shape.get("headers", {}), "OpenAI-Organization": organization}
    return replace(one, shape={**one.shape, "headers": headers})


# ---- where it is, and who we are there


def _address(one: Deployment, given: Given, address: str) -> bool:
    """Fill in shape and account; False where the deployment cannot be served."""
    if address and not re.match(r"https?://|\$\{", address):
        given.finding("api_base", f'left out: "{address}" is no URL')
        return False
    address = address.rstrip("/")
    match one.kind:
        case "azure":
            return _azure(one, given, address)
        case "azure_ai":
            return _azure_ai(one, given, address)
        case "bedrock":
            return _bedrock(one, given, address)
        case "vertex_ai":
            return _vertex(one, given, address)
    return _plain(one, given, address)


def _plain(one: Deployment, given: Given, address: str) -> bool:
    known = KINDS[one.kind]
    key = given.key("api_key")
    if one.kind == "ollama":
        address = address or "${OLLAMA_API_BASE:-http://127.0.0.1:11434}"
        address = address.removesuffix("/v1") + "/v1"
        one.comments.append("Ollama's own API is not spoken: this is the one that is like OpenAI's")
    foreign = one.kind == "openai" and _foreign(address)
    if known.preset and not foreign:
        one.shape["preset"] = known.preset
        if address and address != presets()[known.preset].base_url:
            one.account["base_url"] = re.sub(r"/v1/messages$|/v1beta$", "", address)
        key = key or _usual(known)
    else:
        one.shape["dialect"] = "openai"
        if not (address or known.address):
            given.finding("api_base", "left out: expected the server's address")
            return False
        one.account["base_url"] = address or known.address
        if one.kind != "openai" and not foreign:
            one.shape["responses"] = False
        if not key and foreign:
            given.finding("api_key", "none is sent; LiteLLM would send OPENAI_API_KEY")
        else:
            key = key or _usual(known)
    if one.kind == "fireworks_ai" and "/" not in one.id and one.id != ALL:
        one.id = f"accounts/fireworks/models/{one.id}"
    if key:
        one.account["api_key"] = key
    return True


def _usual(known: Kind) -> str:
    """The variable that LiteLLM takes a key from; nothing where there are several."""
    keys = known.keys or (presets()[known.preset].keys() if known.preset else ())
    return f"${{{keys[0]}}}" if len(keys) == 1 else ""


def _foreign(address: str) -> bool:
    return bool(address) and not address.startswith("https://api.openai.com")


def _azure(one: Deployment, given: Given, address: str) -> bool:
    """Old paths, with a version; or the new ones below /openai/v1, which need none."""
    one.id = re.sub(r"^(o_series|gpt5_series|responses)/", "", one.id)
    version = given.text("api_version")
    one.shape["preset"] = "azure"
    if address.endswith("/openai/v1"):
        one.account["base_url"] = address
        one.shape["auth"] = "api-key"
    else:
        if version is None:
            given.finding("api_version", f"none is given: {_AZURE_VERSION} is written")
        elif re.fullmatch(r"\$\{AZURE_API_VERSION\}", version):
            version = _AZURE_VERSION
        one.account["base_url"] = re.sub(r"/openai(/.*)?$", "", address) or "${AZURE_API_BASE}"
        one.shape["api_version"] = version or _AZURE_VERSION
    token = given.key("azure_ad_token")
    key = given.key("api_key")
    if token and not key:
        one.shape["auth"] = "bearer"
        given.finding("azure_ad_token", "sent as it is: nothing renews it here")
    one.account["api_key"] = key or token or "${AZURE_API_KEY}"
    return True


def _azure_ai(one: Deployment, given: Given, address: str) -> bool:
    address = re.sub(r"/(models|openai|anthropic|chat)(/.*)?$", "", address)
    address = address or "${AZURE_AI_API_BASE}"
    given.raw("api_version")
    claude = one.id.startswith("claude")
    one.shape["dialect"] = "anthropic" if claude else "openai"
    if claude:
        address += "/anthropic"
    elif "services.ai.azure.com" in address or address.startswith("${"):
        address += "/openai/v1"
        one.shape["auth"] = "api-key"
    one.account |= {
        "base_url": address,
        "api_key": given.key("api_key") or "${AZURE_AI_API_KEY}",
    }
    one.comments.append("from azure_ai: check that the address is right")
    given.finding("api_base", f"became {address}: check it")
    return True


def _bedrock(one: Deployment, given: Given, address: str) -> bool:
    region = given.text("aws_region_name") or given.text("region_name")
    one.id = _ROUTES.sub("", one.id, count=1)
    head, slash, tail = one.id.partition("/")
    if slash and _REGION.fullmatch(head):
        region, one.id = region or head, tail
    if one.id.startswith(("agent", "agentcore")) or re.search(r"embed|rerank|stability", one.id):
        given.finding("model", "left out: Bedrock is asked by Converse here, and for nothing else")
        return False
    if not region:
        region = "${AWS_REGION_NAME:-us-west-2}"
        given.finding("aws_region_name", f"none is given: {region} is written")
    one.shape["dialect"] = "bedrock"
    one.account["region"] = region
    address = given.text("aws_bedrock_runtime_endpoint") or address
    if address:
        one.account["base_url"] = address
    for theirs, ours in (
        ("api_key", "api_key"),
        ("aws_profile_name", "profile"),
        ("aws_access_key_id", "access_key_id"),
        ("aws_secret_access_key", "secret_access_key"),
        ("aws_session_token", "session_token"),
    ):
        found = given.text(theirs) if ours == "profile" else given.key(theirs)
        if found:
            one.account[ours] = found
    if "api_key" not in one.account:
        one.comments.append("requests are signed: pip install 'routeur[bedrock]'")
    return True


def _vertex(one: Deployment, given: Given, address: str) -> bool:
    project = given.text("vertex_project") or given.text("vertex_ai_project")
    location = given.text("vertex_location") or given.text("vertex_ai_location")
    location = location or given.text("region_name")
    if not re.match(r"(gemini|claude|text-embedding|\*)", one.id):
        given.finding("model", "left out: on Vertex AI only Gemini and Claude are spoken to")
        return False
    one.shape["preset"] = "vertex"
    one.account["project"] = project or "${VERTEXAI_PROJECT}"
    one.account["location"] = location or "${VERTEXAI_LOCATION:-us-central1}"
    if address:
        one.account["base_url"] = address
    found = given.values.get("vertex_credentials")
    if isinstance(found, dict) or str(found or "").lstrip().startswith("{"):
        given.raw("vertex_credentials")
        given.finding("vertex_credentials", "put them into a file, and name it: credentials_file")
    elif path := given.text("vertex_credentials"):
        one.account["credentials_file"] = path
        if path.startswith("${"):
            why = "it must hold the name of a file, not its contents"
            given.finding("vertex_credentials", f"became credentials_file: {why}")
    one.comments.append("needs the extra: pip install 'routeur[vertex]'")
    return True


# ---- how it is asked


def _timeouts(one: Deployment, given: Given) -> None:
    limits = timeouts(given.number("timeout"), given.number("stream_timeout"))
    if limits:
        one.shape["timeouts"] = limits
    for name, ours in (("timeout", "first_byte"), ("stream_timeout", "idle")):
        if ours in limits:
            given.finding(name, f"became timeouts.{ours}: {TIMES[ours]}")


def timeouts(whole: float | None, stream: float | None) -> dict[str, str]:
    """LiteLLM's two in the words here: there is no limit on the whole of an answer."""
    found = {"first_byte": whole, "idle": stream}
    return {name: duration(value) for name, value in found.items() if value}


def duration(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{max(seconds * 1000, 1):.0f}ms"


def _headers(one: Deployment, given: Given) -> None:
    found: dict[str, str] = {}
    for name in ("headers", "extra_headers"):
        section = given.section(name)
        for header in section.values:
            secret = re.search("auth|key|token|secret", header, re.IGNORECASE)
            value = section.key(header) if secret else section.text(header)
            if value:
                found[header] = value
    if found:
        one.shape["headers"] = found


def _limits(one: Deployment, entry: Given, given: Given) -> None:
    rates = (
        (given.whole("rpm"), entry.whole("rpm")),
        (given.whole("tpm"), entry.whole("tpm")),
    )
    one.rpm, one.tpm = (inner or outer or None for inner, outer in rates)
    one.weight = given.number("weight")
    order = given.number("order")
    one.order = 1.0 if order is None else order
