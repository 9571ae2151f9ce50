"""LlamaIndex: its OpenAI-like and Anthropic models, and its embeddings."""

from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from scen import (
    ANTHROPIC_BASE_URL,
    ANTHROPIC_MODEL,
    API_KEY,
    ASK_JSON,
    ASK_WEATHER,
    BASE_URL,
    EMBED_MODEL,
    EXTRA_BODY,
    MODEL,
    main,
    need,
    png_data_url,
    scenario,
)

HELLO = [ChatMessage(role="user", content="Say hello.")]


class Person(BaseModel):
    name: str
    age: int


def get_weather(city: str) -> str:
    """Current weather of a city."""
    return f"21C in {city}"


TOOL = FunctionTool.from_defaults(get_weather)


def oai(**more):
    return OpenAILike(
        model=MODEL, api_base=BASE_URL, api_key=API_KEY, is_chat_model=True, max_retries=0,
        is_function_calling_model=True, max_tokens=100, additional_kwargs=
        {"extra_body": EXTRA_BODY} if EXTRA_BODY else {}, **more,
    )  # fmt: skip


def claude():
    return Anthropic(
        model=ANTHROPIC_MODEL, base_url=ANTHROPIC_BASE_URL, api_key=API_KEY, max_retries=0,
        max_tokens=100,
    )  # fmt: skip


@scenario
def openai_chat():
    assert oai().chat(HELLO).message.content


@scenario
def openai_stream():
    assert [r.delta for r in oai().stream_chat(HELLO) if r.delta]


@scenario
async def openai_async_stream():
    assert [r.delta async for r in await oai().astream_chat(HELLO) if r.delta]


@scenario
def openai_tool():
    answer = oai().chat_with_tools([TOOL], user_msg=ASK_WEATHER)
    calls = oai().get_tool_calls_from_response(answer)
    assert calls[0].tool_name == "get_weather" and calls[0].tool_kwargs["city"]


@scenario
def openai_structured():
    program = LLMTextCompletionProgram.from_defaults(
        output_cls=Person, prompt_template_str=ASK_JSON, llm=oai()
    )
    assert program().name


@scenario
def openai_image():
    blocks = [TextBlock(text="Which color?"), ImageBlock(url=png_data_url())]
    assert oai().chat([ChatMessage(role="user", blocks=blocks)]).message.content


@scenario
def openai_embeddings():
    model = OpenAIEmbedding(
        model_name=need(EMBED_MODEL, "EMBED_MODEL"), api_base=BASE_URL, api_key=API_KEY
    )
    assert len(model.get_text_embedding_batch(["a cat", "a dog"])) == 2


@scenario
def anthropic_chat():
    assert claude().chat(HELLO).message.content


@scenario
def anthropic_stream():
    assert [r.delta for r in claude().stream_chat(HELLO) if r.delta]


if __name__ == "__main__":
    main()
