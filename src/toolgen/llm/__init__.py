"""In: chat messages.
Out: what a language model answers: one behind an OpenAI-compatible endpoint here, a local one in `inference/local_model.py`.
"""

from toolgen.llm.endpoint import EndpointModel
from toolgen.llm.protocol import ChatMessage, LanguageModel

__all__ = ["ChatMessage", "EndpointModel", "LanguageModel"]
