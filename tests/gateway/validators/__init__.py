"""State machines that check what Courier writes to clients, one for each format."""

from dataclasses import dataclass, field


@dataclass
class Answer:
    """What a stream told its client, as far as every format can tell it."""

    text: str = ""
    thinking: str = ""
    #: Each with `name`, `arguments` (parsed) and `id`.
    tool_calls: list = field(default_factory=list)
    #: stop, length, tool_calls or content_filter.
    finish: str = ""
    #: Fields of TokenUsage that the format can tell, those that are not zero.
    usage: dict = field(default_factory=dict)
    complete: bool = False
