"""A terminal while it is ours: no cursor, no echo, every key at once. It gets back as it was."""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

# Another screen than the shell's, without a cursor, and without a second line for what is too wide.
_TAKE = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_GIVE_BACK = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_ASSUMED = (80, 24)  # columns and lines of a terminal that does not know


class Terminal:
    """Of two descriptors: what is written to, and where keys come from, if that is a terminal."""

    def __init__(self, screen: int, keys: int, encoding: str) -> None:
        self._screen = screen
        self.keys = keys if os.isatty(keys) else None
        self._encoding = encoding
        self._before: list[Any] | None = None
        self._taken = False

    def __enter__(self) -> Terminal:
        try:
            self.take()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()

    def take(self) -> None:
        """Begin; also again, after `suspend`."""
        if self._taken:
            return
        self._taken = True
        if self.keys is not None:
            self._before = termios.tcgetattr(self.keys)
            tty.setcbreak(self.keys)
            ours = termios.tcgetattr(self.keys)
            ours[0] &= ~termios.IXON  # Ctrl-S would make us wait, for ever if need be
            termios.tcsetattr(self.keys, termios.TCSADRAIN, ours)
        self._write(_TAKE)

    def suspend(self) -> None:
        """Stop the process, as Ctrl-Z asks for. Who continues it may do so behind the scenes: the
        terminal is only taken again by `take`.
        """
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        columns, lines = os.get_terminal_size(self._screen)
        return columns or _ASSUMED[0], lines or _ASSUMED[1]

    def draw(self, lines: Sequence[str]) -> None:
        """Show these, and nothing else. A terminal that takes nothing at present is passed over: it
        gets the next ones.
        """
        if self._taken and select.select([], [self._screen], [], 0)[1]:
            text = f"{_END_OF_LINE}\r\n".join(lines)
            self._write(f"{_HOME}{text}{_END_OF_LINE}{_END_OF_SCREEN}")

    def _give_back(self) -> None:
        """As far as it can be: a terminal may be gone."""
        if not self._taken:
            return
        self._taken = False
        with suppress(OSError):
            self._write(_GIVE_BACK)
        if self.keys is not None and self._before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.keys, termios.TCSADRAIN, self._before)

    def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        while data:
            try:
                data = data[os.write(self._screen, data) :]
            except BlockingIOError:  # another program has made it so
                select.select([], [self._screen], [])
