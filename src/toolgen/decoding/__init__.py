"""In: a checkpoint and a sequence of tokens.
Out: the next legal action (a tool token, finish, no_tool) and its arguments, valid under the tool's JSON Schema.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolgen.decoding.decoder import Arguments, DecodingOptions, ToolChoice, ToolDecoder
    from toolgen.inference.sampling import Sampling
    from toolgen.inference.session import ContextFullError, Session
else:
    from toolgen._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "toolgen.decoding.decoder": "Arguments DecodingOptions ToolChoice ToolDecoder",
            "toolgen.inference.sampling": "Sampling",
            "toolgen.inference.session": "ContextFullError Session",
        },
    )

__all__ = [
    "Arguments",
    "ContextFullError",
    "DecodingOptions",
    "Sampling",
    "Session",
    "ToolChoice",
    "ToolDecoder",
]
