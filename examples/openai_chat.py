"""A streamed chat with the openai package: only base_url differs."""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("ROUTEUR_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("ROUTEUR_KEY", "any"),
)
stream = client.chat.completions.create(
    model=os.environ.get("MODEL", "echo"),
    messages=[{"role": "user", "content": "Say hello in three languages."}],
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
