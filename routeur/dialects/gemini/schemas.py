"""Schemas: Gemini's own subset of OpenAPI as JSON Schema, and JSON Schema as Gemini takes it.

Source of truth: `Schema` in content.proto, and what it says of responseJsonSchema. Requests are
written with JSON Schema only (parametersJsonSchema, responseJsonSchema), which knows $ref,
additionalProperties, anyOf and lists of types.
"""

from __future__ import annotations

from routeur.dialects.base import Json
from routeur.dialects.gemini.wire import camel

_TYPES = ("", "string", "number", "integer", "boolean", "array", "object", "null")
# Written as strings, as protocol buffers write 64 bits.
_COUNTS = frozenset("minItems maxItems minLength maxLength minProperties maxProperties".split())
_DEFINITIONS = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_INNER = frozenset(("items", "additionalProperties", "not", "contains"))
_LISTS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))
# What a schema may say that still takes no arguments.
_NOTHING = frozenset("type properties required additionalProperties title $schema".split())


def to_json_schema(schema: Json) -> Json:
    """A `parameters` or `responseSchema` as JSON Schema."""
    found: Json = {}
    nullable = False
    for name, value in camel(schema).items():
        match name:
            case "type":
                if kind := _type(value):
                    found["type"] = kind
            case "nullable":
                nullable = value is True
            case "properties" | "defs" if isinstance(value, dict):
                found["$defs" if name == "defs" else name] = _each(value)
            case "items" | "additionalProperties" if isinstance(value, dict):
                found[name] = to_json_schema(value)
            case "anyOf" | "prefixItems" if isinstance(value, list):
                found[name] = [_inner(each) for each in value]
            case "ref":
                found["$ref"] = str(value).replace("#/defs/", "#/$defs/")
            case "example":
                found["examples"] = [value]
            case "format" if value == "enum":
                pass  # Google's word for a string that has an `enum`
            case _:
                found[name] = int(value) if name in _COUNTS and _is_digits(value) else value
    _put_in_order(found)
    return _nullable(found) if nullable else found


def is_empty(schema: Json | None) -> bool:
    """Whether a tool takes no arguments."""
    if not schema:
        return True
    if not schema.keys() <= _NOTHING or schema.get("type", "object") != "object":
        return False
    return not schema.get("properties") and not schema.get("additionalProperties")


def adapted(schema: Json) -> Json:
    """A JSON Schema of other APIs in the words that Gemini knows.

    Beside a $ref nothing may stand; `const` and a lone `allOf` have no words of their own.
    """
    found = _adapted(schema)
    found.pop("$schema", None)
    return found


def _adapted(schema: Json) -> Json:
    found: Json = {}
    for name, value in schema.items():
        if name in _DEFINITIONS and isinstance(value, dict):
            found[name] = {key: _if_schema(each) for key, each in value.items()}
        elif name in _INNER:
            found[name] = _if_schema(value)
        elif name in _LISTS and isinstance(value, list):
            name = (
                "anyOf" if name == "allOf" and len(value) == 1 and "anyOf" not in schema else name
            )
            found[name] = [_if_schema(each) for each in value]
        elif name == "const":
            found |= _const(value)
        else:
            found[name] = value
    if "$ref" in found and any(name[0:1] != "$" for name in found) and "anyOf" not in found:
        found["anyOf"] = [{"$ref": found.pop("$ref")}]
    return found


def _const(value: object) -> Json:
    """An enum of one, where Gemini takes that; else only the type is left of it."""
    if isinstance(value, str):
        return {"type": "string", "enum": [value]}
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int | float):
        return {"type": "number" if isinstance(value, float) else "integer", "enum": [value]}
    return {"type": "null"} if value is None else {}


def _if_schema(value: object) -> object:
    return _adapted(value) if isinstance(value, dict) else value


def _each(schemas: Json) -> Json:
    return {name: _inner(each) for name, each in schemas.items()}


def _inner(value: object) -> object:
    return to_json_schema(value) if isinstance(value, dict) else value


def _type(value: object) -> object:
    if type(value) is int:
        return _TYPES[value] if 0 <= value < len(_TYPES) else ""
    if not isinstance(value, str):
        return value
    return "" if value == "TYPE_UNSPECIFIED" else value.lower()


def _is_digits(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isdigit()


def _put_in_order(schema: Json) -> None:
    """`propertyOrdering` becomes the order in which the properties stand."""
    ordering = schema.pop("propertyOrdering", None)
    properties = schema.get("properties")
    if isinstance(ordering, list) and isinstance(properties, dict):
        first = {name: properties[name] for name in map(str, ordering) if name in properties}
        schema["properties"] = {**first, **properties}


def _nullable(schema: Json) -> Json:
    if isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    if isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    if isinstance(schema.get("enum"), list):
        schema["enum"] = [*schema["enum"], None]
    return schema
