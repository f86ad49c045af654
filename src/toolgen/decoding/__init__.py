"""In: a checkpoint and a sequence of tokens.
Out: the next legal action (a tool token, finish, no_tool) and its arguments, valid under the tool's JSON Schema.
"""

from toolgen.decoding.decoder import Arguments, DecodingOptions, ToolChoice, ToolDecoder
from toolgen.decoding.sampling import Sampling
from toolgen.inference.session import ContextFullError, Forward, Session

__all__ = [
    "Arguments",
    "ContextFullError",
    "DecodingOptions",
    "Forward",
    "Sampling",
    "Session",
    "ToolChoice",
    "ToolDecoder",
]
