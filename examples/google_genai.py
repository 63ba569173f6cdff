"""A streamed answer with the google-genai package: only base_url differs."""

import os

from google import genai
from google.genai import types

client = genai.Client(
    api_key=os.environ.get("ROUTEUR_KEY", "any"),
    http_options=types.HttpOptions(base_url=os.environ.get("ROUTEUR_URL", "http://127.0.0.1:8080")),
)
for chunk in client.models.generate_content_stream(
    model=os.environ.get("MODEL", "echo"),
    contents="Say hello in three languages.",
):
    print(chunk.text or "", end="", flush=True)
print()
