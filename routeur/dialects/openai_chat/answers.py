"""Answers of Chat Completions: the names under which translators find them."""

from routeur.dialects.openai_chat.errors import read_error, write_error
from routeur.dialects.openai_chat.reader import EventReader
from routeur.dialects.openai_chat.whole import read_response, write_response
from routeur.dialects.openai_chat.writer import EventWriter
from routeur.dialects.sse import Frames

STREAM_TYPE = "text/event-stream"

__all__ = [
    "STREAM_TYPE",
    "EventReader",
    "EventWriter",
    "Frames",
    "read_error",
    "read_response",
    "write_error",
    "write_response",
]
