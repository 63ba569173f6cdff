"""What a connection hands an answer to: `reply.py` copies it, `relay.py` gives it out."""

from __future__ import annotations

from typing import Protocol

from routeur.errors import UpstreamError
from routeur.heads import Head


class Receiver(Protocol):
    """Where an answer goes. After `ended` or `failed` a connection never calls it again."""

    pieces: list[bytes]  # what has come of the body, without transfer framing
    watching: bool

    @property
    def decoded(self) -> bool:
        """Whether `write` takes bytes without transfer framing."""

    @property
    def gone(self) -> bool:
        """Whether nobody is left to write to."""

    def head(self, head: Head, whole: bool) -> bytes:
        """The head has come; `whole`: and all of the body, which is in `pieces`.

        Returns what to write before the body; raises UpstreamError to refuse.
        """

    def takes(self, head: Head, answer: bytes) -> bool:
        """An answer has come at once: `answer` is its body as it came, `pieces` what is in it. True
        if it is the receiver's from now on, of which nothing more is told but that it has ended;
        false: it is handed over step by step.
        """

    def ending(self) -> None:
        """The block that is written next is the last: nothing comes between."""

    def write(self, data: bytes, /) -> object:
        """A block of the body, in the turn of the loop in which it came; raises UpstreamError to
        refuse.
        """

    def look(self) -> None:
        """Called after a block has been written, as long as `watching`."""

    def gather(self) -> None:
        """Called now and then, so that `pieces` does not grow without end."""

    def ended(self) -> None:
        """The answer is complete."""

    def failed(self, error: UpstreamError) -> None:
        """The answer will not come, or not to its end."""
