"""Embeddings for `echo`: unit vectors that depend on nothing but the text."""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from hashlib import shake_256

DIMENSIONS = 16
MOST_DIMENSIONS = 4096


def vector(text: str, size: int) -> list[float]:
    """A vector of length 1 with `size` dimensions, always the same for a text."""
    digest = shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * size)
    values = [number + 0.5 for number in struct.unpack(f"<{size}h", digest)]
    length = math.hypot(*values)
    return [value / length for value in values]


def pack(values: list[float]) -> str:
    """A vector as `encoding_format: base64` wants it: 32-bit floats, little-endian."""
    return b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def is_size(size: object) -> bool:
    """Whether it can be a vector's number of dimensions."""
    return isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= MOST_DIMENSIONS


def wrong_size(name: str) -> str:
    """What to say when it cannot."""
    return f"`{name}` must be a number from 1 to {MOST_DIMENSIONS}"
