"""OpenAI's Agents SDK, Instructor, and the `llm` command."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import instructor
import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from pydantic import BaseModel
from scen import API_KEY, ASK_JSON, ASK_WEATHER, BASE_URL, EXTRA_BODY, MODEL, main, scenario

set_tracing_disabled(True)
LLM_MODEL = """\
- model_id: courier
  model_name: {model}
  api_base: {url}
  api_key_name: courier
"""


class Person(BaseModel):
    name: str
    age: int


def client():
    return openai.AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)


async def with_tool(model):
    asked = []

    @function_tool
    def get_weather(city: str) -> str:
        """Current weather of a city."""
        asked.append(city)
        return f"21C in {city}"

    settings = ModelSettings(max_tokens=100, extra_body=EXTRA_BODY or None)
    agent = Agent("weather", tools=[get_weather], model=model, model_settings=settings)
    done = await Runner.run(agent, ASK_WEATHER, max_turns=3)
    assert asked
    assert done.final_output
    streamed = Runner.run_streamed(agent, ASK_WEATHER, max_turns=3)
    assert [event.type async for event in streamed.stream_events()]
    assert streamed.final_output


@scenario
async def openai_agents_chat():
    await with_tool(OpenAIChatCompletionsModel(MODEL, client()))


@scenario
async def openai_agents_responses():
    await with_tool(OpenAIResponsesModel(MODEL, client()))


def extracted(mode):
    made = instructor.from_openai(openai.OpenAI(base_url=BASE_URL, api_key=API_KEY), mode=mode)
    person = made.chat.completions.create(
        model=MODEL,
        response_model=Person,
        max_retries=0,
        messages=[{"role": "user", "content": ASK_JSON}],
        max_tokens=120,
        extra_body=EXTRA_BODY,
    )
    assert person.name


@scenario
def instructor_tools():
    extracted(instructor.Mode.TOOLS)


@scenario
def instructor_json():
    extracted(instructor.Mode.JSON)


@scenario
def llm_command():
    with tempfile.TemporaryDirectory() as home:
        models = Path(home) / "extra-openai-models.yaml"
        models.write_text(LLM_MODEL.format(model=MODEL, url=BASE_URL))
        told = {**os.environ, "LLM_USER_PATH": home}
        for how in ([], ["--no-stream"]):
            command = [Path(sys.executable).parent / "llm", "-m", "courier", "--key", API_KEY, *how]
            done = subprocess.run(
                [*command, "Say hello."], env=told, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr[-300:]
            assert done.stdout.strip()


if __name__ == "__main__":
    main()
