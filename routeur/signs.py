"""What a request may use, told from its bytes alone: rather too much than too little.

Most requests use nothing special and are small. To see that costs a microsecond; to go through all
that a body says costs as much for each of its parts.
"""

from __future__ import annotations

import re

# What stands in every body that uses it, in any of the formats.
_SIGNS = (
    (b"image", "image"),
    (b"audio", "audio"),
    (b"file", "file"),
    (b"document", "file"),
    (b"nline", "file"),  # inlineData, inline_data; a picture's has its type beside it
    (b"tools", "tools"),
    (b"functions", "tools"),
    (b"mcp_servers", "tools"),
    (b"json", "json"),
    (b"chema", "json"),
    (b"output_", "json"),
    (b"reasoning", "reasoning"),
    (b"hinking", "reasoning"),
)
_ALL = frozenset(word for _, word in _SIGNS)
# An escape of a letter, a slash or an underscore, with which a word can be spelled in another way.
_SPELLED = re.compile(rb"\\u00(?:6[1-9a-fA-F]|7[0-9aA]|[45][0-9a-fA-F]|2[fF])")


def may_use(raw: bytes) -> frozenset[str]:
    """Of `image file audio tools json reasoning`, all that a body uses, and maybe more."""
    if b"\\u00" in raw and _SPELLED.search(raw):
        return _ALL
    return frozenset([word for sign, word in _SIGNS if sign in raw])
