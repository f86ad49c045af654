"""In: a Catalog and a base language model.
Out: the same model with one new token per tool, its tokenizer, and the ToolVocabulary that maps both ways.

`vocabulary` numbers the tokens, `tokenizer` adds them and proves that they round-trip, `embeddings` gives their rows
first values, `protocol` renders conversations with them. Atomic indexing (ToolGen, arXiv 2410.03439, section 3.2):
every tool is exactly one token.
"""

from toolgen.virtualization.embeddings import INITIALIZATIONS, Initialization, initialize_rows, output_rows, resize_rows
from toolgen.virtualization.protocol import PromptProtocol
from toolgen.virtualization.tokenizer import add_tool_tokens, find_end_marker
from toolgen.virtualization.vocabulary import FINISH_SCHEMA, ToolVocabulary

__all__ = [
    "FINISH_SCHEMA",
    "INITIALIZATIONS",
    "Initialization",
    "PromptProtocol",
    "ToolVocabulary",
    "add_tool_tokens",
    "find_end_marker",
    "initialize_rows",
    "output_rows",
    "resize_rows",
]
