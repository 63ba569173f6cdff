"""Where the clouds put a dialect's calls: hosts, and the paths that hold a model's name.

Source of truth: the vendors' SDKs (botocore, anthropic, google-genai, openai), and recordings.
"""

from __future__ import annotations

from urllib.parse import quote

CLAUDE = "claude"  # how the names of Anthropic's models begin on Vertex AI

_REGIONS = ("us", "eu")  # Vertex AI's locations that are several regions
# Vertex AI's names of versions: its v1 lacks fields that v1beta has elsewhere.
_VERSIONS = {"v1beta": "v1beta1", "v1alpha": "v1beta1"}
# Azure's old paths that name a deployment; in others it stands in the body.
_DEPLOYED = frozenset(
    "/completions /chat/completions /embeddings /audio/transcriptions /audio/translations"
    " /audio/speech /images/generations /images/edits".split()
)


def bedrock_url(region: str) -> str:
    """Where a region's Bedrock answers."""
    return f"https://bedrock-runtime.{region}.amazonaws.com"


def bedrock_path(model: str, *, stream: bool) -> str:
    """Converse; `model` may be an ARN, whose `:` and `/` are encoded as botocore does."""
    return f"/model/{quote(model, safe='-._~')}/converse{'-stream' if stream else ''}"


def vertex_url(location: str) -> str:
    """`global` and those of several regions have hosts of their own."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def publisher(model: str) -> tuple[str, str]:
    """Whose model it is on Vertex AI, and its bare name: `google/gemini-3-pro` says it itself."""
    owner, _, name = model.rpartition("/")
    return owner or ("anthropic" if model.startswith(CLAUDE) else "google"), name


def gemini_on_vertex(
    project: str, location: str, model: str, verb: str, version: str = "v1"
) -> str:
    """`verb` is generateContent and the like; `version` that of the path that the client asked."""
    version = _VERSIONS.get(version, version)
    return f"/{version}{_model_on_vertex(project, location, model)}:{verb}"


def claude_on_vertex(project: str, location: str, model: str, *, stream: bool) -> str:
    """The path of a Messages request."""
    verb = "streamRawPredict" if stream else "rawPredict"
    return f"/v1{_model_on_vertex(project, location, model)}:{verb}"


def count_tokens_on_vertex(project: str, location: str) -> str:
    """The path that counts a Messages request's tokens; its model stands in the body."""
    return f"/v1{_model_on_vertex(project, location, 'anthropic/count-tokens')}:rawPredict"


def _model_on_vertex(project: str, location: str, model: str) -> str:
    owner, name = publisher(model)
    place = f"/projects/{project}/locations/{location}/publishers/{quote(owner, safe='')}"
    return f"{place}/models/{quote(name, safe='@')}"


def azure_path(path: str, deployment: str) -> str:
    """Azure OpenAI's old path for one of OpenAI's (`/v1/chat/completions`, the `/v1` optional)."""
    path = path.removeprefix("/v1")
    if path in _DEPLOYED:
        return f"/openai/deployments/{quote(deployment, safe='')}{path}"
    return f"/openai{path}"


def azure_query(query: str, api_version: str) -> str:
    """The query with the version that old paths want, unless the client names one."""
    if any(part.startswith("api-version=") for part in query.split("&")):
        return query
    version = f"api-version={quote(api_version, safe='')}"
    return f"{query}&{version}" if query else version
