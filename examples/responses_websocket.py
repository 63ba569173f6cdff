"""A conversation over one WebSocket, with the openai package: pip install 'openai[realtime]'

Each turn goes on from the one before, whoever answers.
"""

import os

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("ROUTEUR_URL", "http://127.0.0.1:8080") + "/v1",
    api_key=os.environ.get("ROUTEUR_KEY", "any"),
)
model = os.environ.get("MODEL", "echo")
previous: dict[str, str] = {}

with client.responses.connect() as connection:
    for question in ("Say hello in three languages.", "And in a fourth?"):
        connection.response.create(model=model, input=question, **previous)
        for event in connection:
            if event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
            elif event.type == "error":
                raise SystemExit(event.error.message)
            elif event.type == "response.completed":
                previous = {"previous_response_id": event.response.id}
                break
        print()
