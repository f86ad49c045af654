"""In: chat messages.
Out: what a language model answers: one behind an OpenAI-compatible endpoint here, a local one in `inference/local_writer.py`.
"""

from toolgen.llm.endpoint import EndpointWriter
from toolgen.llm.protocol import ChatMessage, TextWriter

__all__ = ["ChatMessage", "EndpointWriter", "TextWriter"]
