"""pydantic-ai: OpenAI's chat and Responses, Anthropic and Google models."""

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from scen import (
    ANTHROPIC_BASE_URL,
    ANTHROPIC_MODEL,
    API_KEY,
    ASK_JSON,
    ASK_WEATHER,
    BAD_KEY,
    BASE_URL,
    EXTRA_BODY,
    GEMINI_BASE_URL,
    GEMINI_MODEL,
    MODEL,
    main,
    need,
    png_data_url,
    scenario,
)

SETTINGS = {"max_tokens": 100, **({"extra_body": EXTRA_BODY} if EXTRA_BODY else {})}


class Person(BaseModel):
    name: str
    age: int


def chat(key=API_KEY):
    return OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key=key))


def responses():
    return OpenAIResponsesModel(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key=API_KEY))


def claude():
    provider = AnthropicProvider(base_url=ANTHROPIC_BASE_URL, api_key=API_KEY)
    return AnthropicModel(ANTHROPIC_MODEL, provider=provider)


def google():
    url = need(GEMINI_BASE_URL, "GEMINI_BASE_URL")
    return GoogleModel(GEMINI_MODEL, provider=GoogleProvider(base_url=url, api_key=API_KEY))


def agent(model, **more):
    return Agent(model, model_settings=SETTINGS, retries=0, **more)


async def says(model):
    r = await agent(model, instructions="Be brief.").run("Say hello.")
    assert r.output and r.usage.output_tokens


async def streams(model):
    async with agent(model).run_stream("Say hello.") as r:
        assert "".join([t async for t in r.stream_text(delta=True)])


async def uses_tool(model):
    asked = []
    a = agent(model)

    @a.tool_plain
    def get_weather(city: str) -> str:
        """Current weather of a city."""
        asked.append(city)
        return f"21C in {city}"

    r = await a.run(ASK_WEATHER)
    assert asked and r.output


def both(name, model):
    for what in (says, streams, uses_tool):

        async def run(what=what):
            await what(model())

        run.__name__ = f"{name}_{what.__name__}"
        scenario(run)


both("chat", chat)
both("responses", responses)
both("anthropic", claude)
both("google", google)


@scenario
async def chat_native_output():
    assert (await agent(chat(), output_type=NativeOutput(Person)).run(ASK_JSON)).output.name


@scenario
async def chat_image():
    import base64

    data = base64.b64decode(png_data_url().split(",", 1)[1])
    image = BinaryContent(data=data, media_type="image/png")
    assert (await agent(chat()).run(["Which color?", image])).output


@scenario
async def chat_bad_key():
    try:
        await agent(chat(BAD_KEY)).run("Say hello.")
    except ModelHTTPError as e:
        assert e.status_code == 401, e.status_code
        return
    raise AssertionError("no ModelHTTPError")


if __name__ == "__main__":
    main()
