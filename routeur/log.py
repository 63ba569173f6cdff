"""One line per finished call, and one per thing that an operator should know, on stderr.

Lines are gathered and written together a moment later, so that a call costs no system call. No log
line can break a call: when nobody reads them, they are dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import re
import select
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any, TextIO

import orjson

from routeur.call import Call, rfc3339

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
GATHER = 0.1  # seconds that a line may wait for others
AT_ONCE = 500  # lines that are written without waiting
BACKLOG = 1 << 20  # bytes kept for a reader that does not keep up; what comes then is dropped
PIECE = 4096  # bytes for which a pipe that takes any has room (PIPE_BUF on Linux)
REPEAT = 10.0  # seconds between two lines of the same counted name

# What a terminal or a log viewer would obey: C0 and C1 controls, line and paragraph separators, and
# what changes the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = {"dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_LEVEL_COLOURS = {"debug": "dim", "info": "green", "warning": "yellow", "error": "red"}

Line = dict[str, Any]


class Log:
    """Writes to `stream` what is at least `level`, as `json`, `pretty` or `auto`.

    `auto` is `pretty` on a terminal and `json` elsewhere. Only a terminal sees colours, and only
    while NO_COLOR is not set.
    """

    def __init__(self, stream: TextIO, level: str = "info", format: str = "auto") -> None:
        self._terminal = _is_terminal(stream)
        self._out = _Output(stream)
        self._waiting: list[Call | Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self._counted: dict[str, _Counted] = {}
        self.configure(level, format)

    def configure(self, level: str, format: str) -> None:
        """Another level and format from now on."""
        self._level = LEVELS[level]
        self._pretty = format == "pretty" or (format == "auto" and self._terminal)
        self._coloured = self._terminal and not os.environ.get("NO_COLOR")

    def finished(self, *calls: Call) -> None:
        """Log calls: as `info`, or as a `warning` if routeur or a provider failed (5xx)."""
        if self._level <= LEVELS["info"]:
            self._waiting += calls
        elif self._level <= LEVELS["warning"]:
            self._waiting += [call for call in calls if call.status >= 500]
        if self._waiting and (self._timer is None or len(self._waiting) >= AT_ONCE):
            self._flush_soon()

    def event(self, level: str, event: str, message: str, **fields: Any) -> None:
        """Log anything else, at once: `event` is a word to search for, `message` is for people."""
        if LEVELS[level] >= self._level:
            line = {"ts": rfc3339(time.time()), "level": level, "event": event, "message": message}
            self._waiting.append(line | fields)
            self.flush()

    def counted(self, name: str, message: str, **fields: Any) -> None:
        """Log what may happen often as a `warning` with a count, once per 10 seconds and name."""
        counted = self._counted.get(name)
        if counted is not None:
            counted.more(message, fields)
            return
        self.event("warning", name, message, count=1, **fields)
        loop = _running_loop()
        if loop is not None:
            self._counted[name] = _Counted(loop.call_later(REPEAT, self._recount, name))

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._waiting = self._waiting, []
        write = self._pretty_line if self._pretty else json_line
        self._out.write("".join(map(write, lines)))
        if self._out.pending:
            self._flush_soon()

    def close(self) -> None:
        """Write what is left; nothing is timed any more afterwards."""
        for name, counted in self._counted.items():
            counted.timer.cancel()
            self._report(name, counted)
        self._counted.clear()
        self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush_soon(self) -> None:
        loop = _running_loop()
        if loop is None or len(self._waiting) >= AT_ONCE:
            if self._waiting:
                self.flush()
        else:
            self._timer = loop.call_later(GATHER, self.flush)

    def _recount(self, name: str) -> None:
        counted = self._counted.pop(name)
        if counted.count:
            self._report(name, counted)
            timer = asyncio.get_running_loop().call_later(REPEAT, self._recount, name)
            self._counted[name] = _Counted(timer)

    def _report(self, name: str, counted: _Counted) -> None:
        if counted.count:
            self.event("warning", name, counted.message, count=counted.count, **counted.fields)

    def _pretty_line(self, line: Call | Line) -> str:
        paint = _paint if self._coloured else _plain
        return pretty_call(line, paint) if isinstance(line, Call) else pretty_event(line, paint)


class _Counted:
    """How often something happened since its last line."""

    __slots__ = ("count", "fields", "message", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.count = 0
        self.message = ""
        self.fields: Mapping[str, Any] = {}

    def more(self, message: str, fields: Mapping[str, Any]) -> None:
        self.count += 1
        self.message = message
        self.fields = fields


class _Output:
    """Writes text to a stream; never raises, and never waits for a reader. Past the stream's own
    buffer, which breaks with it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fd: int | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._fd = stream.fileno()
            self._room = select.poll()
            self._room.register(self._fd, select.POLLOUT)
        self.pending = b""

    def write(self, text: str) -> None:
        if self._fd is None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
                self._stream.flush()
            return
        if len(self.pending) < BACKLOG:
            self.pending += text.encode("utf-8", "backslashreplace")
        data, sent = self.pending, 0
        try:
            # Not by O_NONBLOCK, which all who share this pipe or terminal would have, too. Whole
            # lines where they fit keep those of several workers apart. Where there is no room the
            # reader is slow: the rest goes with the next lines.
            while sent < len(data) and self._room.poll(0):
                end = data.rfind(b"\n", sent, sent + PIECE) + 1 or sent + PIECE
                sent += os.write(self._fd, data[sent:end])
        except BlockingIOError:
            pass
        except OSError:
            sent = len(data)
        self.pending = data[sent:]


def json_line(line: Call | Line) -> str:
    """One JSON object and a newline."""
    return _call_line(line) if isinstance(line, Call) else _json(line) + "\n"


def _json(facts: Line) -> str:
    try:
        text = orjson.dumps(facts, default=str).decode()
    except orjson.JSONEncodeError:  # text that is no UTF-8, from a path or a header
        facts = {key: _printable(value) for key, value in facts.items()}
        text = orjson.dumps(facts, default=str).decode()
    if text.isascii() and "\x7f" not in text:  # nothing left to escape, as most often
        return text
    return _CONTROLS.sub(_escaped, text)


def _call_line(call: Call) -> str:
    """A call's line. Most of it is the same for many calls: only the rest is written anew."""
    usage, started, ended, first_byte = call.usage, call.started, call.ended, call.first_byte
    cost = call.cost_usd
    took = ended - started
    return _CALL % (
        rfc3339(call.started_at + max(0.0, took)),
        _alike(len(call.attempts), *_said(call)),
        call.id,
        call.request_id,
        "%.3f" % (took * 1e3) if ended else "null",
        "%.3f" % ((first_byte - started) * 1e3) if first_byte else "null",
        usage.input_total if usage else "null",
        usage.output_total if usage else "null",
        "null" if cost is None else cost,
    )


# What is text of it is our own, or a request id that has been looked at (`headers.sane_id`).
_CALL = (
    '{"ts":"%s",%s,"id":"%s","request_id":"%s","latency_ms":%s,"first_byte_ms":%s,'
    '"input_tokens":%s,"output_tokens":%s,"cost_usd":%s}\n'
)
_ALIKE = (
    "path method dialect requested_model provider credential model reason status stream estimated"
    " key aborted_by error"
).split()
_said = attrgetter(*_ALIKE)


@lru_cache(maxsize=256)
def _alike(attempts: int, path: str, *said: Any) -> str:
    """The members of a line that calls have in common, for the values of _ALIKE."""
    facts = dict(zip(_ALIKE, (_without_query(path), *said), strict=True))
    level = "warning" if facts["status"] >= 500 else "info"
    return _json({"level": level, "event": "call", **facts, "attempts": attempts})[1:-1]


Paint = Callable[[str, str], str]


def pretty_call(call: Call, paint: Paint) -> str:
    """One aligned line: when, status, how long, what was asked, who answered, and what it took."""
    status = str(call.status or "---")
    colour = {"2": "green", "3": "cyan", "4": "yellow"}.get(status[0], "red")
    asked = f"{_printable(call.method)} {_printable(_without_query(call.path))}"
    notes = [_target(call)]
    if call.usage is not None:
        sign = "~" if call.estimated else ""
        notes.append(f"{sign}{call.usage.input_total} in, {sign}{call.usage.output_total} out")
    if call.cost_usd is not None:
        notes.append(f"${call.cost_usd:.6f}".rstrip("0").rstrip("."))
    if len(call.attempts) > 1:
        notes.append(f"{len(call.attempts)} attempts")
    if call.aborted_by:
        notes.append(paint(f"broken off by {call.aborted_by}", "yellow"))
    if call.error:
        notes.append(paint(_printable(call.error), "red"))
    return (
        f"{paint(_clock(_ended_at(call)), 'dim')} {paint(status, colour)} "
        f"{_took(call.ms(call.ended)):>7}  {asked:<29}  {'  '.join(filter(None, notes))}\n"
    )


def pretty_event(line: Line, paint: Paint) -> str:
    """When, how bad, what happened, and the facts as `name=value`."""
    rest = [
        f"{name}={_printable(value)}"
        for name, value in line.items()
        if name not in ("ts", "level", "event", "message")
    ]
    clock = _clock(datetime.fromisoformat(line["ts"]).timestamp())
    level = paint(f"{line['level']:<7}", _LEVEL_COLOURS[line["level"]])
    facts = paint("  " + " ".join(rest), "dim") if rest else ""
    return f"{paint(clock, 'dim')} {level} {_printable(line['message'])}{facts}\n"


def _target(call: Call) -> str:
    asked = _printable(call.requested_model or "")
    if call.provider is None:
        return asked
    target = "/".join(_printable(name) for name in (call.provider, call.model) if name)
    return target if asked in ("", target, call.model) else f"{asked} → {target}"


def _took(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{ms:.1f}ms" if ms < 1000 else f"{ms / 1000:.2f}s"


def _ended_at(call: Call) -> float:
    return call.started_at + max(0.0, call.ended - call.started)


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")  # the operator's own time


def _without_query(path: str) -> str:
    return path.partition("?")[0]  # it may hold a key


def _printable(value: Any) -> str:
    return _CONTROLS.sub(_escaped, str(value))


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def _plain(text: str, colour: str) -> str:
    return text


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (ValueError, AttributeError):  # closed, or no stream at all
        return False


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Counting(logging.Handler):
    """Each record becomes a counted line: which logger, what, where; never the client's bytes."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.counted(record.name, str(record.msg).partition(" from ")[0], **_cause(record))


def _cause(record: logging.LogRecord) -> dict[str, str]:
    """An exception's type and where it was raised; its text may hold anything."""
    if not record.exc_info or record.exc_info[1] is None:
        return {}
    error = record.exc_info[1]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return {"error": type(error).__name__}
    file = os.path.basename(trace.tb_frame.f_code.co_filename)
    return {"error": type(error).__name__, "at": f"{file}:{trace.tb_lineno}"}


def quiet_loop(log: Log) -> None:
    """Turn the running loop's tracebacks of connections that it cannot accept, thousands a second,
    into counted lines.
    """

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            text = "too many files are open, so new connections wait: raise ulimit -n"
            log.counted("connections", text)
        else:
            loop.default_exception_handler(context)

    asyncio.get_running_loop().set_exception_handler(handle)


def quiet_aiohttp(log: Log) -> Callable[[], None]:
    """Turn aiohttp's tracebacks (one per malformed request) into counted lines.

    Returns what undoes it.
    """
    logger = logging.getLogger("aiohttp")
    before = logger.propagate, logger.level
    handler = _Counting(log)
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)

    def undo() -> None:
        logger.removeHandler(handler)
        logger.propagate = before[0]
        logger.setLevel(before[1])

    return undo
