"""Writes a request for a vendor that speaks Anthropic's format."""

from __future__ import annotations

from gateway.canonical import ChatRequest, Reasoning, ResponseFormat, Tool, ToolCall
from gateway.dialects.anthropic_messages import generations
from gateway.dialects.anthropic_messages.generations import BUDGETS, LEAST_BUDGET
from gateway.dialects.anthropic_messages.schema import closed_schema, is_open
from gateway.dialects.anthropic_messages.upstream_turns import cache_control, system_of, turns_of
from gateway.dialects.base import Destination, Drops, Json

#: The bound of an answer, which the format requires, where neither the client nor the model's
#: capabilities say one. With a budget for thinking, that much on top of it.
USUAL_MAX_TOKENS = 8192
#: A tool that is called with the answer, where the answer must be JSON and the model cannot be
#: held to that. Readers make its input the text that it is.
ANSWER_TOOL = "courier_json_answer"
_ANSWER = "Answer with this tool, and with nothing else: its input is your answer."
_CHOICES = {"auto": "auto", "required": "any", "named": "tool", "none": "none"}


def write_request(request: ChatRequest, to: Destination, drops: Drops) -> Json:
    """The body to send."""
    return _Writing(request, to, drops).body()


class _Writing:
    """One request, being written."""

    def __init__(self, request: ChatRequest, to: Destination, drops: Drops) -> None:
        self._request = request
        self._to = to
        self._model = to.upstream_model
        self._drops = drops

    def body(self) -> Json:
        request, drops = self._request, self._drops
        self._note_what_has_no_place()
        body: Json = {"model": self._model, "messages": turns_of(request.messages, drops)}
        system = system_of(request.messages, drops)
        body |= {"system": system} if system else {}
        body |= self._tools()
        body |= self._answer_form(body)
        body["max_tokens"] = request.max_tokens or self._usual_max_tokens()
        body |= self._thinking(body)
        body |= self._sampling(body)
        stop = self._stop()
        body |= {"stop_sequences": stop} if stop else {}
        body |= {"metadata": {"user_id": request.user}} if request.user else {}
        body |= {"stream": True} if request.stream else {}
        return body

    def _note_what_has_no_place(self) -> None:
        request = self._request
        told = {
            "n": request.n > 1,
            "seed": request.seed is not None,
            "presence_penalty": request.presence_penalty,
            "frequency_penalty": request.frequency_penalty,
            "logprobs": request.logprobs,
            "top_logprobs": request.top_logprobs,
            "logit_bias": request.logit_bias,
        }
        for name, is_told in told.items():
            if is_told:
                self._drops.note(name)

    # Tools

    def _tools(self) -> Json:
        request = self._request
        if not request.tools:
            return self._tools_of_the_past()
        body: Json = {"tools": [self._tool(tool) for tool in request.tools]}
        choice = request.tool_choice
        if choice is not None:
            body["tool_choice"] = {"type": _CHOICES[choice.mode]}
            if choice.mode == "named":
                body["tool_choice"]["name"] = choice.name
        if request.parallel_tools is False and (choice is None or choice.mode != "none"):
            body.setdefault("tool_choice", {"type": "auto"})["disable_parallel_tool_use"] = True
        return body

    def _tools_of_the_past(self) -> Json:
        """Tools that were called must be told of, also when none is offered any longer."""
        parts = [part for message in self._request.messages for part in message.parts]
        names = dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall))
        if not names:
            return {}
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
        return {"tools": tools, "tool_choice": {"type": "none"}}

    def _tool(self, tool: Tool) -> Json:
        if tool.strict:
            # Its schemas know less than others', and its number of strict tools is bounded: a
            # request that other vendors take would be refused.
            self._drops.note("strict")
        written: Json = {"name": tool.name}
        written |= {"description": tool.description} if tool.description else {}
        written["input_schema"] = {"type": "object", **tool.parameters}
        written |= {"cache_control": cache_control(tool.cache)} if tool.cache else {}
        return written

    # The form of the answer

    def _answer_form(self, body: Json) -> Json:
        form = self._request.response_format
        if form is None:
            return {}
        if self._has_structured_outputs(form):
            schema = {"type": "json_schema", "schema": closed_schema(form.schema)}
            return {"output_config": {"format": schema}}
        if self._to.capabilities.tools is False:
            self._drops.note("response_format")
            return {}
        return self._answer_by_tool(body)

    def _has_structured_outputs(self, form: ResponseFormat) -> bool:
        """Whether the model can be held to this form."""
        known = self._to.capabilities.json_schema
        if known is None:
            known = generations.has_structured_outputs(self._model)
        return known and form.kind == "json_schema" and not is_open(form.schema)

    def _answer_by_tool(self, body: Json) -> Json:
        form, tools = self._request.response_format, body.get("tools", [])
        assert form is not None  # noqa: S101  # for the type checker
        schema = {"type": "object", **form.schema}
        description = f"{form.description} {_ANSWER}".strip()
        answer = {"name": ANSWER_TOOL, "description": description, "input_schema": schema}
        if not self._request.tools:
            return {
                "tools": [*tools, answer],
                "tool_choice": {"type": "tool", "name": ANSWER_TOOL},
            }
        choice = body.get("tool_choice", {"type": "auto"})
        if choice["type"] == "auto":
            choice = {**choice, "type": "any"}
        return {"tools": [*tools, answer], "tool_choice": choice}

    # Thinking

    def _usual_max_tokens(self) -> int:
        limit = self._to.capabilities.output_limit
        if limit:
            return limit
        reasoning = self._request.reasoning
        budget = self._budget(reasoning) if reasoning and reasoning.enabled else 0
        return USUAL_MAX_TOKENS + budget

    def _budget(self, reasoning: Reasoning) -> int:
        wanted = reasoning.budget_tokens or BUDGETS.get(reasoning.effort, 0)
        return max(wanted, LEAST_BUDGET) if wanted else 0

    def _thinking(self, body: Json) -> Json:
        reasoning = self._request.reasoning
        if reasoning is None:
            return {}
        if not reasoning.enabled:
            return {"thinking": {"type": "disabled"}}
        if body.get("tool_choice", {}).get("type") in {"any", "tool"}:
            # The two exclude each other, and what must be called was asked for more clearly.
            self._drops.note("reasoning_effort")
            return {}
        if generations.thinks_adaptively(self._model):
            return self._adaptive(reasoning, body)
        return self._budgeted(reasoning, body)

    def _adaptive(self, reasoning: Reasoning, body: Json) -> Json:
        display = "summarized" if reasoning.shown else "omitted"
        thinking = {"thinking": {"type": "adaptive", "display": display}}
        told = reasoning.effort or _effort_of(reasoning.budget_tokens)
        effort = generations.effort_for(self._model, told)
        if not effort:
            return thinking
        return {**thinking, "output_config": {**body.get("output_config", {}), "effort": effort}}

    def _budgeted(self, reasoning: Reasoning, body: Json) -> Json:
        budget = self._budget(reasoning) or BUDGETS["medium"]
        # A fifth at least is left for the answer, and the format wants less than all.
        budget = min(budget, max(body["max_tokens"] * 4 // 5, LEAST_BUDGET))
        if budget >= body["max_tokens"] or self._goes_on_without_thoughts(body):
            self._drops.note("reasoning_effort")
            return {}
        return {"thinking": {"type": "enabled", "budget_tokens": budget}}

    def _goes_on_without_thoughts(self, body: Json) -> bool:
        """Whether the model is in the middle of using tools, and its thoughts are lost.

        Anthropic refuses to let it think on then. Most formats cannot bring signatures back.
        """
        *before, last = body["messages"]
        if last["content"][0]["type"] != "tool_result" or not before:
            return False
        return before[-1]["content"][0]["type"] not in {"thinking", "redacted_thinking"}

    # Sampling

    def _sampling(self, body: Json) -> Json:
        return generations.sampling(self._request, self._model, _thinks(body), self._drops)

    def _stop(self) -> list[str]:
        fit = [stop for stop in self._request.stop if stop.strip()]
        if fit != self._request.stop:
            # The format has no place for white space alone.
            self._drops.note("stop")
        return fit


def _thinks(body: Json) -> bool:
    return "thinking" in body and body["thinking"]["type"] != "disabled"


def _effort_of(budget: int) -> str:
    """The effort whose budget is nearest to this one, from below; empty for none."""
    reached = [effort for effort, least in BUDGETS.items() if least <= max(budget, LEAST_BUDGET)]
    return reached[-1] if budget else ""
