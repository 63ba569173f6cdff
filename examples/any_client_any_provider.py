"""The openai package asks OpenAI, Claude and Gemini through routeur: only the model's name differs.

OPENAI_API_KEY=… ANTHROPIC_API_KEY=… GEMINI_API_KEY=… routeur
MODEL="gpt-4o-mini claude-haiku-4-5 gemini-2.5-flash" python any_client_any_provider.py
"""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("ROUTEUR_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("ROUTEUR_KEY", "any"),
)
for model in os.environ.get("MODEL", "echo").split():
    answer = client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": "Say hello in three languages."}],
        seed=1,  # Claude knows no seed: it is dropped, and the answer says so
    )
    dropped = answer.headers.get("X-Routeur-Trace-Dropped", "nothing")
    print(f"{model}: {answer.parse().choices[0].message.content} ({dropped} was dropped)")
