"""Forms, cut in all places."""

from __future__ import annotations

import aiohttp
import pytest

from routeur.errors import ClientError
from routeur.multipart import Form, boundary

FORM = (
    b"a preamble\r\n"
    b"--b0und\r\n"
    b'Content-Disposition: form-data; name="file"; filename="; name=\\"model\\".wav"\r\n'
    b"Content-Type: audio/wav\r\n"
    b"\r\n"
    b'RIFF\r\n--b0un\r\n\r\nContent-Disposition: form-data; name="model"\r\n\r\nno\r\n--\r\n'
    b"--b0und  \r\n"
    b"content-disposition:form-data;name=model\r\n"
    b"\r\n"
    b"whisper-1\r\n"
    b"--b0und\r\n"
    b'Content-Disposition: form-data; name="language"\r\n'
    b"\r\n"
    b"\r\n"
    b"--b0und--\r\nan epilogue"
)


def fed(data: bytes, size: int, name: bytes = b"b0und") -> Form:
    form = Form(name)
    for at in range(0, len(data), size):
        form.feed(data[at : at + size])
    return form


def part(value: bytes, header: bytes = b'Content-Disposition: form-data; name="model"') -> bytes:
    return b"--b0und\r\n" + header + b"\r\n\r\n" + value + b"\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_any_chunking(size: int) -> None:
    form = fed(FORM, size)
    form.end()
    assert (form.model, form.done) == ("whisper-1", True)
    assert FORM[slice(*form.span)] == b"whisper-1"


def test_every_split() -> None:
    for at in range(len(FORM)):
        form = Form(b"b0und")
        form.feed(FORM[:at])
        form.feed(FORM[at:])
        assert (form.model, form.done) == ("whisper-1", True)
        assert FORM[slice(*form.span)] == b"whisper-1"


def test_model_is_known_as_soon_as_its_part_is_whole() -> None:
    end = FORM.index(b"whisper-1\r\n--b0und") + len(b"whisper-1\r\n--b0und")
    form = Form(b"b0und")
    form.feed(FORM[: end - 1])
    assert form.model is None
    form.feed(FORM[end - 1 : end])
    assert form.model == "whisper-1"
    assert not form.done


class Sink:
    """Takes what a client would write."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, chunk: bytes) -> None:
        self.data += chunk


async def test_a_real_clients_form() -> None:
    data = aiohttp.FormData()
    data.add_field("file", b"\r\n--" * 1000, filename="a.mp3", content_type="audio/mpeg")
    data.add_field("model", "gpt-4o-transcribe")
    writer = data()
    sent = Sink()
    await writer.write(sent)  # type: ignore[arg-type]

    form = Form.of(writer.headers["Content-Type"])
    form.feed(bytes(sent.data))
    assert (form.model, form.done) == ("gpt-4o-transcribe", True)


def test_memory_is_constant() -> None:
    form = Form(b"b0und")
    form.feed(part(b"", b'Content-Disposition: form-data; name="file"')[:-2])
    for _ in range(100):
        form.feed(b"x\r\n--b0" * 10_000)
        assert len(form._buffer) < 20
    form.feed(b"\r\n" + part(b"late") + b"--b0und--")
    assert (form.model, form.done) == ("late", True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (part(b"a") + part(b"b") + b"--b0und--", "more than once"),
        (part(b"") + b"--b0und--", "is empty"),
        (part(b"  ") + b"--b0und--", "is empty"),
        (part(b"\xff") + b"--b0und--", "not UTF-8"),
        (part(b"x" * 600), "longer than 512"),
        (b"--b0und\r\n" + b"A: " + b"x" * 20_000, "longer than 16384"),
        (b"--b0und--\r\n", "does not end where it should"),
        (b"--b0undX\r\n", "does not end where it should"),
        (b"--b0und\nContent-Disposition: form-data; name=model\n\nx\n--b0und--", "does not end"),
        (b"--b0und\r\n\r\nno headers\r\n--b0und--", "Content-Disposition"),
        (part(b"x", b"Content-Type: text/plain"), "Content-Disposition"),
        (part(b"x", b"Content-Disposition: form-data; filename=x"), "one name"),
        (part(b"x", b"Content-Disposition: form-data; name=a; name=model"), "one name"),
        (part(b"x", b"Content-Disposition: form-data; name=a\r\nX: y\r\n" * 2), "one name"),
        (part(b"x", b"Content-Disposition: form-data; name=a\r\n" * 2 + b"A: b"), "one name"),
        (part(b"", b"Content-Disposition: form-data; name=a") * 1001, "more than 1000 parts"),
    ],
)
@pytest.mark.parametrize("size", [1, 100_000])
def test_broken_forms(data: bytes, message: str, size: int) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        fed(data, size)
    assert caught.value.status == 400


def test_unfinished() -> None:
    form = fed(FORM[:-20], 50)
    with pytest.raises(ClientError, match="ends before its closing boundary"):
        form.end()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data;charset=utf-8; Boundary="a b:c"', b"a b:c"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA; x=y",
            b"----WebKitFormBoundary7MA",
        ),
        ("multipart/form-data; boundary=" + "x" * 70, b"x" * 70),
    ],
)
def test_boundary(header: str, expected: bytes) -> None:
    assert boundary(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "application/json",
        "multipart/mixed; boundary=abc",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a "',
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=é",
    ],
)
def test_wrong_boundaries(header: str) -> None:
    with pytest.raises(ClientError):
        boundary(header)
