"""OpenAI's Agents SDK: an agent with a tool that runs on Claude."""

from __future__ import annotations

from typing import Any

import agents
import openai
import orjson
import pytest

from tests.conftest import ANY_NAME, MakeRouter
from tests.fake import Upstream


def message(kind: str, **block: Any) -> bytes:
    stop = "tool_use" if kind == "tool_use" else "end_turn"
    told = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    usage = {"input_tokens": 3, "output_tokens": 4}
    content = [{"type": kind, **block}]
    return orjson.dumps({**told, "content": content, "stop_reason": stop, "usage": usage})


@pytest.fixture(autouse=True)
def silent() -> None:
    """It would tell OpenAI of what it does."""
    agents.set_tracing_disabled(True)


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "history"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_three_turns_with_a_tool(
    make_router: MakeRouter, upstream: Upstream, stored: bool, stream: bool
) -> None:
    """Going on from the response before, or with all that was said."""
    client = await make_router(providers=ANY_NAME)

    @agents.function_tool
    def weather(city: str) -> str:
        return f"sunny in {city}"

    async def run(agent: Any, given: Any, before: str | None) -> Any:
        more = {"previous_response_id": before, "auto_previous_response_id": stored}
        if not stream:
            return await agents.Runner.run(agent, given, **more)
        running = agents.Runner.run_streamed(agent, given, **more)
        async for _ in running.stream_events():
            pass
        return running

    async with openai.AsyncOpenAI(base_url=f"{client.url}/v1", api_key="x", max_retries=0) as ai:
        model = agents.OpenAIResponsesModel(model="anthropic/claude-x", openai_client=ai)
        agent = agents.Agent(name="a", instructions="Be brief", tools=[weather], model=model)
        before, history = None, []
        for number in range(3):
            city = {"city": "Rome"}
            upstream.answers(message("tool_use", id=f"toolu_{number}", name="weather", input=city))
            upstream.answers(message("text", text=f"Sunny {number}"))
            asked = {"role": "user", "content": f"Weather? {number}"}
            ran = await run(agent, [asked] if stored else [*history, asked], before)
            assert ran.final_output == f"Sunny {number}"
            before, history = ran.last_response_id if stored else None, ran.to_input_list()

    assert len(orjson.loads(upstream.request.body)["messages"]) == 11
    assert upstream.request.body.count(b"sunny in Rome") == 3
