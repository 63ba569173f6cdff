"""What `routeur top` shows: lines of text that fit a terminal, and their colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from routeur.columns import GAP, MORE, table
from routeur.overview import OK, Overview, Row, Spread, errors
from routeur.readings import Bound

HEAD = ("CREDENTIAL", "TYPE", "RPM", "TPM", "ERRORS", "STATE")
_NUMBERS = (2, 3)
# Columns, and to how many characters they are shortened, one after the other, where room is short.
_GIVEN_UP = ((0, 12), (5, 36), (1, 8), (4, 8), (0, 8), (5, 8))
_COLOURS = {"title": "1", "good": "32", "warn": "33", "bad": "31", "old": "2"}


@dataclass(frozen=True, slots=True)
class Line:
    """One of the screen; `style` is a name in _COLOURS, or nothing."""

    text: str
    style: str = ""

    def painted(self) -> str:
        colour = _COLOURS.get(self.style)
        return f"\x1b[{colour}m{self.text}\x1b[0m" if colour else self.text


@dataclass(frozen=True, slots=True)
class Lost:
    """Why nothing is known but what was at the time `as_of`. `closed`: connections are not taken,
    as by a server that drains.
    """

    why: str
    as_of: str
    closed: bool = False


def printable(text: str) -> str:
    """Text without what a terminal would obey, or what changes the direction of writing."""
    return "".join([each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text])


def render(
    shown: Overview,
    *,
    models: bool = False,
    width: int | None = None,
    height: int | None = None,
    lost: Lost | None = None,
) -> list[Line]:
    """At most `height` lines of at most `width` characters; None: as many as there are.

    `lost` says that the figures are old. Whatever the server said is made harmless here.
    """
    title = _lost(shown, lost) if lost else [_title(shown)]
    figures = [Line(text) for text in _figures(shown)]
    credentials = [*_credentials(shown.credentials, models, width)]
    if height is not None:
        figures = figures[: _room(height - len(title), len(credentials))]
    lines = [*figures, *([Line("")] if figures else []), *credentials]
    if lost:
        lines = [Line(line.text, "old") for line in lines]
    lines = [*title, *lines]
    if height is not None and len(lines) > height:
        left = len(lines) - height + 1
        lines = [*lines[: height - 1], Line(f"{MORE} {left} more lines")]
    return [Line(printable(line.text)[:width], line.style) for line in lines]


def _room(height: int, credentials: int) -> int:
    """How many lines of figures there may be, so that half of all are left for the credentials."""
    return max(height - 1 - min(credentials, height // 2 + 1), 0)


def _lost(shown: Overview, lost: Lost) -> list[Line]:
    return [
        Line(f"routeur at {shown.server}: {lost.why}", "warn" if lost.closed else "bad"),
        Line(f"trying again; what stands below is as of {lost.as_of}"),
    ]


def _title(shown: Overview) -> Line:
    available, total = shown.credentials_available, shown.total_credentials
    text = f"{shown.ready}, {available} of {total} credentials available"
    well = shown.ready == "ready" and available == total
    style = "good" if well else "warn" if available else "bad"
    return Line(f"routeur at {shown.server}: {text}", style)


# ---- figures of the whole


def _figures(shown: Overview) -> Iterator[str]:
    """The most important first: a low screen shows only these."""
    rate, tokens = _rate(shown.requests_per_second), _rate(shown.tokens_per_second)
    yield f"requests     {rate}{shown.inflight:,} under way, {shown.requests:,} so far"
    yield f"errors       {_errors(shown)}"
    used = shown.tokens_last_minute
    yield f"tokens       {tokens}{used:,} in the last minute, {shown.tokens:,} so far"
    yield f"duration     {_spread(shown.duration, 'answer')}"
    yield f"first token  {_spread(shown.first_token, 'stream')}"
    yield f"cost         {_cost(shown.cost_usd)}"
    yield f"event loop   at most {_time(shown.event_loop_lag_seconds)} late in the last 10 s"


def _cost(usd: float | None) -> str:
    if usd is None:
        return "unknown: no call so far had a price"
    return f"${usd:,.4f} so far, where prices are known"


def _rate(value: float | None) -> str:
    """The begin of a line; nothing before there is an interval."""
    if value is None:
        return ""
    return f"{value:,.1f}/s, " if value < 100 else f"{value:,.0f}/s, "


def _errors(shown: Overview) -> str:
    if shown.error_share is None:
        return "-"
    total = sum(shown.interval_requests.values())
    found = errors(shown.interval_requests)
    told = f" ({_counts(found)})" if found else ""
    return f"{shown.error_share:.1%} of {total:,}{told}"


def _spread(spread: Spread, unit: str) -> str:
    if not spread.count:
        return "-"
    of = f"{spread.count:,} {unit}{'s' * (spread.count != 1)}"
    return f"p50 {_bound(spread.p50)}, p95 {_bound(spread.p95)}, of {of}"


def _bound(bound: Bound | None) -> str:
    if bound is None:
        return "-"
    if bound.le is not None:
        return f"<= {_time(bound.le)}"
    return f"> {_time(bound.gt or 0.0)}"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds:.4g} s"


# ---- credentials


def _credentials(rows: Sequence[Row], models: bool, width: int | None) -> Iterator[Line]:
    listed = [*_with_models(rows)] if models else [(row.name, row) for row in rows]
    cells = [HEAD, *(_cells(name, row) for name, row in listed)]
    if width is not None:
        cells = _narrowed(cells, width)
    head, *lines = table(cells[0], cells[1:], right=_NUMBERS).split("\n")
    yield Line(head, "title")
    for text, (_, row) in zip(lines, listed, strict=True):
        yield Line(text, _style(row))
    idle = sum(model.is_idle for row in rows for model in row.models) if models else 0
    if idle:
        yield Line(f"{idle:,} idle model{'s' * (idle != 1)} not shown")


def _narrowed(lines: Sequence[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """The cells of a table that has at most so many characters in a line, if that can be."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    room = width - len(GAP) * (len(widths) - 1)
    for column, least in _GIVEN_UP:
        spare = max(widths[column] - least, 0)
        widths[column] -= min(spare, max(sum(widths) - room, 0))
    return [tuple(map(_short, line, widths)) for line in lines]


def _short(text: str, size: int) -> str:
    """Without its middle, if need be: names often differ at their ends."""
    if len(text) <= size:
        return text
    end = (size - len(MORE)) // 2
    return text[: size - len(MORE) - end] + MORE + text[len(text) - end :]


def _with_models(rows: Sequence[Row]) -> Iterator[tuple[str, Row]]:
    for row in rows:
        yield row.name, row
        for model in row.models:
            if not model.is_idle:
                yield f"  {model.name}", model


def _cells(name: str, row: Row) -> tuple[str, ...]:
    role = ", fallback" if row.is_fallback else ""
    return (
        printable(name),
        printable(row.type + role),
        _of(row.rpm, row.limit_rpm),
        _of(row.tpm, row.limit_tpm),
        printable(_errors_of(row)),
        printable(row.state),
    )


def _of(current: int, limit: int | None) -> str:
    return f"{current:,}" if limit is None else f"{current:,} / {limit:,}"


def _errors_of(row: Row) -> str:
    new = f" (+{sum(row.new_errors.values()):,})" if row.new_errors else ""
    return (_counts(row.errors) or "-") + new


def _counts(counts: Mapping[str, int]) -> str:
    """Each status, and how often there was one."""
    return " ".join(f"{status}x{count:,}" for status, count in counts.items())


def _style(row: Row) -> str:
    if row.is_banned:
        return "bad"
    return "warn" if row.new_errors or row.is_full or row.state != OK else ""
