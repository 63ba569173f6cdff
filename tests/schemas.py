"""The providers' own descriptions of their APIs, to hold bodies against."""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.recording import spec as description

ANTHROPIC = "anthropic-openapi-sdk-0.100.json"
OPENAI = "openai-openapi-sdk-3.3.1.yml"


@cache
def _components(spec: str) -> Any:
    return _as_schema(description(spec)["components"])


def _as_schema(value: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: `nullable` is a type; YAML's 9e18 is read as a string."""
    if isinstance(value, list):
        return [_as_schema(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: _as_schema(each) for name, each in value.items()}
    for name in ("minimum", "maximum"):
        if isinstance(found.get(name), str):
            found[name] = float(found[name])
    if found.get("nullable") is True:
        return {"anyOf": [found, {"type": "null"}]}
    return found


@cache
def _validator(spec: str, component: str) -> Draft202012Validator:
    reference = {"$ref": f"#/components/schemas/{component}"}
    return Draft202012Validator({"components": _components(spec), **reference})


def breaks(spec: str, component: str, value: Any) -> list[str]:
    """What is wrong with a body, each with its path; nothing if it is as described."""
    return [
        f"{error.json_path}: {error.message[:300]}"
        for error in _validator(spec, component).iter_errors(value)
    ]
