"""Vectors: those of `echo`, which depend on nothing but the text, and how OpenAI writes them."""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Iterable
from hashlib import shake_256

from routeur.dialects.base import Json

DIMENSIONS = 16
MOST_DIMENSIONS = 4096


def vector(text: str, size: int) -> list[float]:
    """A vector of length 1 with `size` dimensions, always the same for a text."""
    digest = shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * size)
    values = [number + 0.5 for number in struct.unpack(f"<{size}h", digest)]
    return unit(values)


def unit(values: list[float]) -> list[float]:
    """The vector with a length of 1."""
    length = math.hypot(*values)
    return [value / length for value in values] if length else values


def openai_body(vectors: Iterable[list[float]], model: str, count: int, *, packed: bool) -> Json:
    """An answer of /v1/embeddings; `count` in tokens, `packed`: in base64."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": n, "embedding": pack(each) if packed else each}
            for n, each in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


def pack(values: list[float]) -> str:
    """A vector as `encoding_format: base64` wants it: 32-bit floats, little-endian."""
    return b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


def is_size(size: object) -> bool:
    """Whether it can be a vector's number of dimensions."""
    return isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= MOST_DIMENSIONS


def wrong_size(name: str) -> str:
    """What to say when it cannot."""
    return f"`{name}` must be a number from 1 to {MOST_DIMENSIONS}"
