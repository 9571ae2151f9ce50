"""A provider for certifications: it has every trait, but for those that a test breaks."""

import json

from tests.fakes.upstream import DONE, JSON, Answer, Pause, chunk, error_body, frame, usage_chunk

JSON_ANSWER = '{"city": "Paris", "inhabitants": 2100000, "is_capital": true}'
TOKEN = {"token": "Hello", "logprob": -0.1, "bytes": None, "top_logprobs": []}


class Provider:
    """What answers; `broken` are the traits that it does not have."""

    def __init__(self, *broken):
        self.broken = frozenset(broken)

    def __call__(self, request):
        body = request.json
        if request.path.endswith("/embeddings"):
            return self.embedded(body)
        if body["model"] == "courier-certification-no-such-model":
            return self.refused()
        if body.get("temperature") == 99:
            return self.whole(body)
        if self.is_busy(body):
            return self.busy()
        return self.streamed(body) if body.get("stream") else self.whole(body)

    def has(self, trait):
        return trait not in self.broken

    def refused(self):
        if self.has("error_shape"):
            return Answer((error_body("No such model.", code="model_not_found"),), status=404)
        return Answer((error_body("Oops."),), status=500)

    def is_busy(self, body):
        return body.get("max_tokens") == 1

    def busy(self):
        headers = {"retry-after": "2"} if self.has("retry_after") else {}
        return Answer((error_body("Too many."),), status=429, headers=headers)

    def message(self, body):
        """The message that answers, and why it ends."""
        if "tools" in body:
            both = "both" in body["messages"][0]["content"]
            trait = "parallel_tools" if both else "tools"
            cities = ["Paris", "Rome"] if both else ["Paris"]
            calls = [self.call(number, city) for number, city in enumerate(cities)]
            return {"content": None, "tool_calls": calls if self.has(trait) else calls[:0]}, "stop"
        if "response_format" in body:
            return {"content": JSON_ANSWER if self.has("json_schema") else "Paris."}, "stop"
        if isinstance(body["messages"][0]["content"], list):
            return {"content": "Red." if self.has("vision") else "Blue."}, "stop"
        if "stop" in body:
            return {"content": "1 2 3 4 " if self.has("stop") else "1 2 3 4 5 6"}, "stop"
        if body["max_tokens"] == 16:
            return {"content": "one"}, "length" if self.has("output_bound") else "stop"
        shown = {"reasoning_content": "Well."} if self.has("reasoning") else {}
        return {"content": "Hello.", **shown}, "stop"

    def call(self, number, city):
        function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
        return {"index": number, "id": f"call-{number}", "type": "function", "function": function}

    def usage(self, body):
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        if "reasoning_effort" in body and self.has("reasoning"):
            usage["completion_tokens_details"] = {"reasoning_tokens": 2}
        return usage

    def whole(self, body):
        message, reason = self.message(body)
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
        if body.get("logprobs") and self.has("logprobs"):
            choice["logprobs"] = {"content": [TOKEN]}
        answer = {"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]}
        if self.has("usage"):
            answer["usage"] = self.usage(body)
        return Answer((json.dumps(answer).encode(),), headers={"content-type": JSON})

    def streamed(self, body):
        # Time enough to cancel what is long.
        parts = [chunk("Hello"), Pause(body["max_tokens"] / 2000), chunk(" there.")]
        if "tools" in body:
            parts = [chunk("")] + [self.delta(each) for each in self.pieces()]
        elif body["max_tokens"] == 512 and not self.has("cancel"):
            parts = [b"".join([chunk("Hello there."), chunk(finish="stop"), usage_chunk(), DONE])]
            return Answer(tuple(parts))
        parts += [chunk(finish="stop")]
        parts += [usage_chunk()] if self.has("stream_usage") else []
        return Answer((*parts, DONE))

    def pieces(self):
        arguments = ['{"city": ', '"Paris"}' if self.has("stream_tools") else "Paris"]
        yield {"index": 0, "id": "call-0", "function": {"name": "get_weather", "arguments": ""}}
        for piece in arguments:
            yield {"index": 0, "function": {"arguments": piece}}

    def delta(self, call):
        choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
        return frame({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})

    def embedded(self, body):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [[1.0, 0.0] if "tax" in text else [0.0, 1.0] for text in texts]
        if not self.has("embeddings_order"):
            vectors.sort()
        data = [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ]
        answer = {"object": "list", "data": data, "model": "m"}
        if self.has("embeddings"):
            answer["usage"] = {"prompt_tokens": 3, "total_tokens": 3}
        return Answer((json.dumps(answer).encode(),))
