"""Request bodies: what is refused, and what is changed in place."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routeur import body
from routeur.errors import ClientError
from tests.recording import everything, hostile

CASES = hostile("json-parsing")["cases"]
REQUESTS = [each.request for each in everything() if each.request[:1] == b"{"]


def text_of(case: dict[str, Any]) -> bytes:
    if "repeat" in case:
        repeat = case["repeat"]
        return (repeat["unit"] * repeat["times"] + repeat["then"]).encode()  # type: ignore[no-any-return]
    text: str | None = case.get("text")
    return text.encode() if text is not None else b64decode(case["base64"])


def refusal(raw: bytes) -> ClientError:
    with pytest.raises(ClientError) as caught:
        body.parse(raw)
    assert caught.value.status == 400
    return caught.value


def test_all_of_the_suite_is_there() -> None:
    assert len(CASES) == 318


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_json_parsing(case: dict[str, Any]) -> None:
    """What has to be refused is, what has to be accepted is if it is an object."""
    raw = text_of(case)
    if case["expect"] == "reject":
        assert refusal(raw).code == "invalid_json"
    elif case["expect"] == "accept":
        if raw.strip().startswith(b"{"):
            assert body.parse(raw) == orjson.loads(raw)
        else:
            assert refusal(raw).code == "invalid_request"
    else:
        try:
            assert isinstance(body.parse(raw), dict)
        except ClientError as error:
            assert error.status == 400


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b'{"a": 1,\n  "b": NaN}', "line 2, column 8"),
        (b'{"a": Infinity}', "line 1, column 7"),
        (b'{\n"a": "x\xff"}', "not UTF-8 at line 2, column 8"),
        (b"", "line 1, column 1"),
        (b'\xef\xbb\xbf{"model": "x"}', "line 1, column 1"),
        (b'{"a": "\\ud800"}', "line 1"),
        (b'{"a": 1}}', "line 1, column 9"),
        (b'{"a": "\x01"}', "line 1"),
    ],
)
def test_positions(raw: bytes, where: str) -> None:
    error = refusal(raw)
    assert error.code == "invalid_json"
    assert where in error.message


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"1", b"true"])
def test_not_an_object(raw: bytes) -> None:
    assert refusal(raw).message == "the body must be a JSON object, as in {...}"


@pytest.mark.parametrize("name", body.ONCE)
def test_duplicates_are_refused(name: str) -> None:
    escaped = "".join(f"\\u{ord(letter):04X}" for letter in name)
    for other in (name, escaped, escaped[:6] + name[1:], name[:-1] + escaped[-6:]):
        raw = f'{{"{name}": 1, "x": "{{", "{other}" : 2}}'.encode()
        assert refusal(raw).param == name
    assert refusal(f'{{"{escaped}": 1, "{escaped}": 2}}'.encode()).param == name


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model": "model", "messages": [{"model": 1, "stream": 2}], "stream": true}',
        b'{"model": "m", "messages": [{"content": "\\"model\\": \\"x\\", \\u006dodel"}]}',
        b'{"temperature": 1, "temperature": 2, "model": "m"}',  # nothing depends on it
        b'{"tools": [{"n": {"n": 1}}], "n": 1}',
    ],
)
def test_what_only_looks_like_duplicates(raw: bytes) -> None:
    assert body.parse(raw) == orjson.loads(raw)


@pytest.mark.parametrize("unit", ["[]", '{"a":}'])
def test_depth(unit: str) -> None:
    opening, closing = unit[:-1], unit[-1]

    def nested(depth: int) -> bytes:
        text = opening * (depth - 1) + "1" + closing * (depth - 1)
        return f'{{"a":{text}, "b": "]]]]\\"{{{{["}}'.encode()

    assert body.parse(nested(body.DEPTH))
    assert "deeper than 128" in refusal(nested(body.DEPTH + 1)).message


def test_strings_neither_nest_nor_hide_nesting() -> None:
    wide = {"a": [{"b": ["[[[", "{\\"]}] * 100, "c": "\\\\[" * 500}
    assert body.parse(orjson.dumps(wide)) == wide
    hidden = b'{"a":' + b'["]",' * 200 + b"1" + b"]" * 200 + b"}"
    assert "deeper" in refusal(hidden).message
    dropped = b'{"a":' + b"[" * 200 + b"]" * 200 + b', "a": 1}'
    assert "deeper" in refusal(dropped).message


def test_model() -> None:
    assert body.require_model({"model": "gpt-4o"}) == "gpt-4o"
    for wrong, message in [
        ({}, "the body has no `model`: name one, or `auto`"),
        ({"model": None}, "the body has no `model`: name one, or `auto`"),
        ({"model": 4}, "`model` must be a string, not a number"),
        ({"model": ["a"]}, "`model` must be a string, not a list"),
        ({"model": True}, "`model` must be a string, not a boolean"),
        ({"model": ""}, "`model` is empty: name one, or `auto`"),
        ({"model": " \n"}, "`model` is empty: name one, or `auto`"),
        ({"model": "x" * 513}, "`model` is longer than 512 characters"),
    ]:
        with pytest.raises(ClientError) as caught:
            body.require_model(wrong)
        assert (caught.value.message, caught.value.param) == (message, "model")


def test_stream() -> None:
    assert body.wants_stream({"stream": True}) is True
    assert [body.wants_stream(doc) for doc in ({}, {"stream": None}, {"stream": False})] == [
        False,
        False,
        False,
    ]
    for wrong in ("true", 1, 0, [], {}):
        with pytest.raises(ClientError, match="`stream` must be true or false"):
            body.wants_stream({"stream": wrong})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"{}", b'{"model":"m"}'),
        (b" { } ", b' {"model":"m" } '),
        (b'{"input": {"model": "x"}}', b'{"model":"m","input": {"model": "x"}}'),
    ],
)
def test_add_model(raw: bytes, expected: bytes) -> None:
    assert body.add_model(raw, "m") == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            b'{ "model" : "fast",  "stream":true, "new_field": [1] }',
            b'{ "model" : "new",  "stream":true, "new_field": [1] }',
        ),
        (b'{"a": 1.0, "model":\n"f\\"ast"}', b'{"a": 1.0, "model":\n"new"}'),
        (b'{"x": {"model": "a"}, "model": "b"}', b'{"x": {"model": "a"}, "model": "new"}'),
        (b'{"role": "model", "model": "b"}', b'{"role": "model", "model": "new"}'),
        (
            b'{"s": "\\"model\\": \\"a\\"", "model": "b"}',
            b'{"s": "\\"model\\": \\"a\\"", "model": "new"}',
        ),
        (b'{"\\u006dodel": "b", "y": "model"}', b'{"\\u006dodel": "new", "y": "model"}'),
        (
            b'{"n": 12345678901234567890123, "model": "b"}',
            b'{"n": 12345678901234567890123, "model": "new"}',
        ),
        ('{"é": "ü", "model": "日本"}'.encode(), '{"é": "ü", "model": "new"}'.encode()),
    ],
)
def test_replace_model(raw: bytes, expected: bytes) -> None:
    assert body.parse(raw)
    assert body.replace_model(raw, "new") == expected


def test_replaced_names_are_escaped() -> None:
    assert body.replace_model(b'{"model": "a"}', 'b"\n') == b'{"model": "b\\"\\n"}'


@pytest.mark.parametrize("raw", REQUESTS)
def test_recorded_requests(raw: bytes) -> None:
    """Every one is accepted; another model changes nothing else."""
    doc = body.parse(raw)
    assert [name for name, _, _ in body.members(raw)] == list(doc)
    if "model" in doc:
        changed = body.replace_model(raw, "another")
        assert body.parse(changed) == {**doc, "model": "another"}
        assert body.replace_model(changed, doc["model"]) == raw


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text() | st.just("model"), JSON, max_size=6), st.booleans())
def test_members_are_where_they_say(doc: dict[str, Any], indent: bool) -> None:
    try:
        raw = orjson.dumps(doc, option=orjson.OPT_INDENT_2 if indent else None)
    except TypeError:  # lone surrogates
        return
    assert body.parse(raw) == doc
    found = {name: orjson.loads(raw[start:end]) for name, start, end in body.members(raw)}
    assert found == doc


PDF = b64encode(b"%PDF-1.7 a document").decode()
PNG = b64encode(b"\x89PNG\r\n\x1a\n more").decode()
TEXT = b64encode(b"a plain text").decode()


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"file_data": PDF, "filename": "x.txt"}, "application/pdf"),
        ({"file_data": PNG}, "image/png"),
        ({"filename": "notes.TXT", "file_data": TEXT}, "text/plain"),
        ({"file_data": TEXT, "filename": "table.csv"}, "text/csv"),
        ({"file_data": TEXT, "filename": "what.ever"}, "application/pdf"),
        ({"file_data": TEXT}, "application/pdf"),
    ],
)
def test_bare_files_become_data_urls(part: dict[str, str], kind: str) -> None:
    doc = {"model": "m", "messages": [{"content": [{"type": "file", "file": part}]}]}
    found = orjson.loads(body.with_data_urls(orjson.dumps(doc)))
    expected = {**part, "file_data": f"data:{kind};base64,{part['file_data']}"}
    assert found["messages"][0]["content"][0]["file"] == expected


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model": "m"}',
        b'{"file_data": "data:application/pdf;base64,JVBERi0xLjc="}',
        b'{"file_data": "https://example.com/a.pdf"}',
        b'{"file_data": "not base64 at all"}',
        b'{"file_data": null}',
        b'{"properties": {"file_data": {"type": "string"}}}',
        b'{"text": "\\"file_data\\": \\"JVBERi0xLjc=\\""}',
    ],
)
def test_other_files_stay(raw: bytes) -> None:
    assert body.with_data_urls(raw) == raw


def test_two_files_and_escaped_slashes() -> None:
    raw = b'{"a": {"file_data" : "JVBERi0x\\/LjcK"}, "b": [{"file_data":"iVBORw0KGgo="}], "c": 1.0}'
    assert body.with_data_urls(raw) == (
        b'{"a": {"file_data" : "data:application/pdf;base64,JVBERi0x\\/LjcK"},'
        b' "b": [{"file_data":"data:image/png;base64,iVBORw0KGgo="}], "c": 1.0}'
    )


def test_more_lists_than_any_conversation_has():
    """Reading each of them takes memory and time that everybody else waits for."""
    with pytest.raises(ClientError, match="lists and objects"):
        body.parse(b'{"model":"x","a":[' + b"[]," * body.NESTED + b"[]]}")


def test_another_model_is_left_alone():
    """The name may be spelled with an escape, and a plain one may stand elsewhere."""
    raw = b'{"mod\\u0065l":"fast","metadata":{"model":"keep"}}'
    assert body.replace_model(raw, "m") == b'{"mod\\u0065l":"m","metadata":{"model":"keep"}}'
