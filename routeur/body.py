"""JSON request bodies: strictly read, and changed only in place.

Provider and router must not understand a body differently, so what is ambiguous is refused: broken
UTF-8, NaN, extreme depth, and duplicates of the members on which routing and limits depend.
"""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import Any

import orjson

from routeur.errors import ClientError

DEPTH = 128
NESTED = 200_000  # lists and objects in one body: the longest conversations have some thousands
MODEL_LENGTH = 512  # characters; longer names are no names

# Routing, limits and prices depend on these: a provider may take another one of two than we do.
ONCE = ("model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens", "n")

_QUOTED = {name: b'"%s"' % name.encode() for name in ONCE}
# An escape of a letter or underscore, with which a name can be spelled in another way.
_SPELLED = re.compile(rb"\\u00(?:6[1-9a-fA-F]|7[0-9aA]|5[fF])")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_NAME = re.compile(_STRING)
_SPACE = re.compile(r"[ \t\n\r]*")
_MODEL = re.compile(rb'"model"[ \t\n\r]*:[ \t\n\r]*(' + _STRING + rb")")
_MODEL_FIRST = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*" + _MODEL.pattern)
_NOT_NESTING = bytes(set(range(256)) - set(b'"[]{}'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
# Values are skipped, not read: numbers stay text, however long they are.
_SKIP = JSONDecoder(parse_int=str, parse_float=str)

_FILE_DATA = re.compile(rb'"file_data"[ \t\n\r]*:[ \t\n\r]*"')
# Some write slashes as `\/`.
_BASE64 = re.compile(rb'[A-Za-z0-9+/_\\-]{8,}=*(?:"|\Z)')
_FILENAME = re.compile(rb'"filename"[ \t\n\r]*:[ \t\n\r]*"[^"]*\.([A-Za-z0-9]+)"')
_NEAR = 1024  # bytes around a file in which its name is looked for
_MAGIC = {  # how files of a type begin, in base64
    b"JVBERi": b"application/pdf",
    b"iVBORw": b"image/png",
    b"/9j/": b"image/jpeg",
    b"R0lGOD": b"image/gif",
}
_TYPES = {  # by ending, for what has no such beginning
    b"txt": b"text/plain",
    b"md": b"text/markdown",
    b"csv": b"text/csv",
    b"html": b"text/html",
    b"json": b"application/json",
    b"xml": b"application/xml",
    b"doc": b"application/msword",
    b"docx": b"application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    b"xlsx": b"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    b"pptx": b"application/vnd.openxmlformats-officedocument.presentationml.presentation",
}


def parse(raw: bytes) -> dict[str, Any]:
    """The body's object; raises ClientError where it is none, or may be understood in two ways."""
    nested = raw.count(b"[") + raw.count(b"{")
    if nested > NESTED:  # each becomes an object: reading them would stop everybody else
        raise ClientError(f"the body has more than {NESTED} lists and objects")
    try:
        doc = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _not_json(raw, error) from None
    if nested > DEPTH and _deeper(raw, DEPTH):
        raise ClientError(f"the body is nested deeper than {DEPTH} levels")
    if type(doc) is not dict:
        raise ClientError("the body must be a JSON object, as in {...}")
    if b"\\" in raw and b"\\u00" in raw and _SPELLED.search(raw):
        _refuse_duplicates(raw)
    else:
        for name in doc:
            if name in _QUOTED and raw.count(_QUOTED[name]) > 1:
                _refuse_duplicates(raw)
                break
    return doc


def require_model(doc: dict[str, Any]) -> str:
    """The body's `model`, or the first of its `models`; raises ClientError where there is none."""
    model = doc.get("model")
    if model is None and "model" not in doc:
        model = _first(doc.get("models"))
    if type(model) is str and len(model) <= MODEL_LENGTH and model.strip():
        return model
    if model is None:
        message = "the body has no `model`: name one, or `auto`"
    elif type(model) is not str:
        message = f"`model` must be a string, not {_kind(model)}"
    elif len(model) > MODEL_LENGTH:
        message = f"`model` is longer than {MODEL_LENGTH} characters"
    else:
        message = "`model` is empty: name one, or `auto`"
    raise ClientError(message, param="model")


def _first(models: Any) -> Any:
    """Of OpenRouter's `models`, each of which is to be tried, the one that is tried first."""
    return models[0] if isinstance(models, list) and models else None


def wants_stream(doc: dict[str, Any]) -> bool:
    """The body's `stream`; raises ClientError where it is neither true, false nor null."""
    stream = doc.get("stream")
    if stream is None:
        return False
    if type(stream) is not bool:
        raise ClientError(f"`stream` must be true or false, not {_kind(stream)}", param="stream")
    return stream


def members(raw: bytes) -> list[tuple[str, int, int]]:
    """The top-level members of a valid object: name, and where its value starts and ends in `raw`.

    Exact, duplicates included, but several times slower than `parse`.
    """
    text = raw.decode("latin-1")  # one character a byte, so that positions are those in `raw`
    found: list[tuple[str, int, int]] = []
    position = _after_space(text, _after_space(text, 0) + 1)
    while text[position] != "}":
        name = _NAME.match(raw, position)
        assert name is not None  # `raw` is valid
        start = _after_space(text, _after_space(text, name.end()) + 1)
        end = _SKIP.raw_decode(text, start)[1]
        found.append((orjson.loads(name[0]), start, end))
        position = _after_space(text, end)
        if text[position] == ",":
            position = _after_space(text, position + 1)
    return found


def replace_model(raw: bytes, new: str) -> bytes:
    """The body with another `model`; every other byte stays. `raw` has passed `parse`."""
    start, end = _model_span(raw)
    return b"".join((raw[:start], orjson.dumps(new), raw[end:]))


def add_model(raw: bytes, name: str) -> bytes:
    """A body that has no `model`, with one; every other byte stays. `raw` has passed `parse`."""
    start = raw.index(b"{") + 1
    comma = b"" if raw[start:].lstrip().startswith(b"}") else b","
    return b"".join((raw[:start], b'"model":', orjson.dumps(name), comma, raw[start:]))


def with_data_urls(raw: bytes) -> bytes:
    """The body with `file_data` of bare base64 made data URLs; every other byte stays."""
    if b'"file_data"' not in raw:
        return raw
    parts: list[bytes] = []
    done = 0
    for match in _FILE_DATA.finditer(raw):
        start = match.end()
        if _BASE64.match(raw, start, start + 64):  # a data URL has a colon before that
            parts += (
                raw[done:start],
                b"data:",
                _type_of_file(raw, match.start(), start),
                b";base64,",
            )
            done = start
    return b"".join((*parts, raw[done:]))


def _not_json(raw: bytes, error: orjson.JSONDecodeError) -> ClientError:
    """What is wrong with a body, and where."""
    line, column, what = error.lineno, error.colno, error.msg
    try:
        raw.decode()
    except UnicodeDecodeError as broken:
        before = raw[: broken.start]
        line, column = before.count(b"\n") + 1, broken.start - before.rfind(b"\n")
        what = "not UTF-8"
    return ClientError(
        f"the body is not JSON: {what} at line {line}, column {column}", code="invalid_json"
    )


def _deeper(raw: bytes, depth: int) -> bool:
    """Whether valid JSON is nested deeper: each round takes away one level from within."""
    bare = raw
    if b"\\" in raw:
        bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    bare = bare.translate(_ONE_KIND, _NOT_NESTING).replace(b'""', b"")
    if b'"' in bare:  # strings with brackets in them
        bare = b"".join(bare.split(b'"')[::2])
    for _ in range(depth):
        bare = bare.replace(b"[]", b"")
        if not bare:
            return False
    return True


def _refuse_duplicates(raw: bytes) -> None:
    seen = set()
    for name, _, _ in members(raw):
        if name in _QUOTED and name in seen:
            raise ClientError(f"the body has `{name}` more than once", param=name)
        seen.add(name)


def _model_span(raw: bytes) -> tuple[int, int]:
    if match := _MODEL_FIRST.match(raw):
        return match.span(1)
    plain = raw.count(b'"model"') == 1 and b"\\u00" not in raw
    if plain and (match := _MODEL.search(raw)):
        return match.span(1)
    return next((start, end) for name, start, end in members(raw) if name == "model")


def _type_of_file(raw: bytes, before: int, start: int) -> bytes:
    """The media type of a file from how it begins, or the name beside it; most are PDFs."""
    for magic, kind in _MAGIC.items():
        if raw.startswith(magic, start):
            return kind
    end = raw.find(b'"', start)
    left = raw[max(0, before - _NEAR) : before].rpartition(b"{")[2]
    right = raw[end : end + _NEAR].partition(b"}")[0]
    name = _FILENAME.search(left) or _FILENAME.search(right)
    return _TYPES.get(name[1].lower(), b"application/pdf") if name else b"application/pdf"


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None  # it matches nothing, too
    return match.end()


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"
