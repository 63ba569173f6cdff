"""Tables for people: columns as wide as they have to be, or as a terminal lets them be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Sequence

GAP = "  "
NARROWEST = 8  # characters of a column that is cut
MORE = "…"


def terminal() -> int | None:
    """Characters in a line of stdout; None where it is no terminal: then nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    cut: Sequence[int] = (),
    width: int | None = None,
) -> str:
    """Lines of text. Columns of `right` are numbers; those of `cut` may lose their ends, the first
    one first, so that a line has at most `width` characters.
    """
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    if width is not None:
        _narrow(widths, cut, width - len(GAP) * (len(head) - 1))
    return "\n".join(
        GAP.join(
            _cell(text, size, i in right)
            for i, (text, size) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _narrow(widths: list[int], cut: Sequence[int], room: int) -> None:
    """Take from columns what they have too much of together."""
    for i in cut:
        spare = max(widths[i] - NARROWEST, 0)
        widths[i] -= min(spare, max(sum(widths) - room, 0))


def _cell(text: str, width: int, right: bool) -> str:
    if len(text) > width:
        text = text[: width - len(MORE)] + MORE
    return text.rjust(width) if right else text.ljust(width)
