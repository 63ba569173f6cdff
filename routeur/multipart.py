"""Forms (multipart/form-data, RFC 7578): finds the field `model` as bytes come by."""

from __future__ import annotations

import re
from collections.abc import Callable

from routeur.errors import ClientError

BOUNDARY_LENGTH = 70  # RFC 2046, 5.1.1
MODEL_LENGTH = 512  # bytes
HEADERS_LENGTH = 16 * 1024  # bytes of one part's headers
PARTS = 1000

_TYPE = re.compile(r"multipart/form-data\s*(?:;|$)", re.IGNORECASE)
_BOUNDARY = re.compile(r""";\s*boundary\s*=\s*(?:"([^"]*)"|([^\s;"]*))\s*(?=;|$)""", re.IGNORECASE)
_ALLOWED = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]*[0-9A-Za-z'()+_,\-./:=?]")
_DISPOSITION = re.compile(
    rb"(?:^|\r\n)content-disposition[ \t]*:[ \t]*form-data[ \t]*(;[^\r\n]*)?", re.IGNORECASE
)
# Each parameter whole, so that nothing within a quoted file name looks like one.
_PARAMETER = re.compile(rb';[ \t]*([^=;\s]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')
_PADDING = re.compile(rb"[ \t]*")


class Form:
    """A form as it comes by, in constant memory.

    Once `model` is known, `span` is where its bytes are in the whole body. `done` says that the
    closing boundary has come. What is broken raises ClientError.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_delimiter",
        "_in_model",
        "_parts",
        "_step",
        "done",
        "model",
        "span",
    )

    def __init__(self, boundary: bytes) -> None:
        self.model: str | None = None
        self.span = (0, 0)
        self.done = False
        self._delimiter = b"\r\n--" + boundary
        # the first boundary may stand at the very start: as if an empty line preceded it
        self._buffer = b"\r\n"
        self._at = -2  # where the buffer begins in the body
        self._in_model = False
        self._parts = 0
        self._step: Callable[[], bool] = self._content

    @classmethod
    def of(cls, content_type: str) -> Form:
        """The form that a Content-Type header announces."""
        return cls(boundary(content_type))

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body, cut anywhere."""
        if self.done:
            return
        self._buffer += chunk
        while not self.done and self._step():
            pass

    def end(self) -> None:
        """The body is over; raises ClientError if the form is not."""
        if not self.done:
            raise ClientError("the form ends before its closing boundary")

    def _content(self) -> bool:
        """Within a part (or what precedes the first one): look for the next boundary."""
        found = self._buffer.find(self._delimiter)
        if found < 0:
            if self._in_model:
                self._check_length(len(self._buffer) - len(self._delimiter))
            else:  # keep what may be the beginning of a boundary
                self._drop(len(self._buffer) - len(self._delimiter) + 1)
            return False
        if self._in_model:
            self._found(self._buffer[:found])
        self._drop(found + len(self._delimiter))
        self._step = self._after_boundary
        return True

    def _after_boundary(self) -> bool:
        """After a boundary: `--` ends the form, an empty rest of the line begins a part."""
        if self._buffer.startswith(b"--") and self._parts:
            self.done = True
            self._buffer = b""
            return False
        match = _PADDING.match(self._buffer)
        rest = self._buffer[match.end() if match else 0 :]
        if rest.startswith(b"\r\n"):
            self._parts += 1
            if self._parts > PARTS:
                raise ClientError(f"the form has more than {PARTS} parts")
            self._drop(len(self._buffer) - len(rest))  # the line's end stays: headers may be none
            self._step = self._headers
            return True
        if rest in (b"", b"\r", b"-") and len(self._buffer) < BOUNDARY_LENGTH:
            return False
        raise ClientError("the form is broken: a boundary's line does not end where it should")

    def _headers(self) -> bool:
        """At a part's headers: read its name."""
        end = self._buffer.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._buffer)) > HEADERS_LENGTH:
            raise ClientError(
                f"the headers of a form's part are longer than {HEADERS_LENGTH} bytes"
            )
        if end < 0:
            return False
        self._in_model = _name(self._buffer[:end]) == b"model"
        self._drop(end + 4)
        self._step = self._content
        return True

    def _found(self, value: bytes) -> None:
        self._check_length(len(value))
        if self.model is not None:
            raise ClientError("the form has `model` more than once", param="model")
        try:
            model = value.decode()
        except UnicodeDecodeError:
            raise ClientError("the form's `model` is not UTF-8", param="model") from None
        if not model.strip():
            raise ClientError("the form's `model` is empty", param="model")
        self.model = model
        self.span = (self._at, self._at + len(value))
        self._in_model = False

    def _check_length(self, length: int) -> None:
        if length > MODEL_LENGTH:
            raise ClientError(
                f"the form's `model` is longer than {MODEL_LENGTH} bytes", param="model"
            )

    def _drop(self, count: int) -> None:
        if count > 0:
            self._buffer = self._buffer[count:]
            self._at += count


def boundary(content_type: str) -> bytes:
    """The boundary that a Content-Type header names; raises ClientError."""
    if not _TYPE.match(content_type.strip()):
        raise ClientError("the Content-Type of a form must be multipart/form-data")
    found = _BOUNDARY.findall(content_type)
    if len(found) != 1:
        raise ClientError("the Content-Type of a form must name one boundary")
    value: str = found[0][0] or found[0][1]
    if not _ALLOWED.fullmatch(value) or len(value) > BOUNDARY_LENGTH:
        raise ClientError(
            f"a form's boundary must be 1 to {BOUNDARY_LENGTH} characters of those in RFC 2046"
        )
    return value.encode("ascii")


def _name(headers: bytes) -> bytes:
    """The field that a part's headers name."""
    found = _DISPOSITION.findall(headers)
    parameters: list[tuple[bytes, bytes, bytes]] = (
        _PARAMETER.findall(found[0]) if len(found) == 1 else []
    )
    names = [quoted or plain for name, quoted, plain in parameters if name.lower() == b"name"]
    if len(names) != 1:
        raise ClientError("each part of a form needs one Content-Disposition with one name")
    return names[0]
