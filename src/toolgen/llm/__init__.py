"""In: chat messages.
Out: what a language model answers: any local one, the embedded base among them, or one behind an OpenAI-compatible endpoint.
"""

from toolgen.llm.endpoint import EndpointWriter
from toolgen.llm.local import LocalWriter
from toolgen.llm.protocol import ChatMessage, TextWriter

__all__ = ["ChatMessage", "EndpointWriter", "LocalWriter", "TextWriter"]
