"""Claude's body on Vertex AI: the model out, the version in, and not one other byte changed."""

from __future__ import annotations

import json

import pytest

from routeur.body import parse
from routeur.rawpredict import count_for_vertex, for_vertex
from tests.recording import HERE

V = '"anthropic_version":"vertex-2023-10-16"'


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ('{"model":"claude-x"}', f"{{{V}}}"),
        ('{"model":"c","stream":true}', f'{{{V},"stream":true}}'),
        (
            ' {\n "a" : 1e0 ,\t"model" : "c" , "n":[1,  2]} ',
            f' {{\n "a" : 1e0 ,\t{V} , "n":[1,  2]}} ',
        ),
        ('{"a":{"model":"b"},"model":"c"}', f'{{"a":{{"model":"b"}},{V}}}'),
        ('{"a":"\\"model\\":\\"b\\"","model":"c"}', f'{{"a":"\\"model\\":\\"b\\"",{V}}}'),
        ('{"a":"model","model":"c\\"d"}', f'{{"a":"model",{V}}}'),
        ('{"a":"\\u0061","m\\u006fdel" : "c"}', f'{{"a":"\\u0061",{V}}}'),
        ('{"a":"anthropic_version","model":"c"}', f'{{"a":"anthropic_version",{V}}}'),
        # the client knows already
        (f'{{"model":"c" , {V}}}', f"{{ {V}}}"),
        (f'{{{V} , "model":"c"}}', f"{{{V} }}"),
        (f'{{{V}, "model":"c", "b":2}}', f'{{{V},  "b":2}}'),
        (
            '{"model":"c","anthropic\\u005fversion":"v"}',
            '{"anthropic\\u005fversion":"v"}',
        ),
    ],
)
def test_messages(raw: str, wanted: str) -> None:
    doc = parse(raw.encode())
    found = for_vertex(raw.encode())

    assert found == wanted.encode()
    doc.pop("model")
    assert parse(found) == {"anthropic_version": "vertex-2023-10-16", **doc}


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (' { "model":"c"}', f' {{{V}, "model":"c"}}'),
        (f'{{"model":"c",{V}}}', f'{{"model":"c",{V}}}'),
    ],
)
def test_count_tokens(raw: str, wanted: str) -> None:
    assert count_for_vertex(raw.encode()) == wanted.encode()


@pytest.mark.parametrize("name", ["simple", "simple_streaming", "tool", "tool_streaming"])
def test_as_recorded(name: str) -> None:
    """The same members that a recorded client sent there, `stream` among them."""
    start = "fantasy__TestGoogleCommon-vertex-claude-3-7-sonnet"
    file = HERE / "vertex" / f"{start}-{name}.json"
    for exchange in json.loads(file.read_text())["exchanges"]:
        sent = json.loads(exchange["request"]["text"])
        plain = {"model": "claude-3-7-sonnet", **sent}
        del plain["anthropic_version"]

        assert json.loads(for_vertex(json.dumps(plain).encode())) == sent
        assert sent.get("stream", False) is name.endswith("streaming")
