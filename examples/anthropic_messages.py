"""A streamed message with the anthropic package: only base_url differs."""

import os

from anthropic import Anthropic

client = Anthropic(
    base_url=os.environ.get("ROUTEUR_URL", "http://127.0.0.1:8080"),
    api_key=os.environ.get("ROUTEUR_KEY", "any"),
)
with client.messages.stream(
    model=os.environ.get("MODEL", "echo"),
    max_tokens=1024,
    messages=[{"role": "user", "content": "Say hello in three languages."}],
) as stream:
    for text in stream.text_stream:
        print(text, end="", flush=True)
print()
