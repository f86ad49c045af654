"""In: a Catalog and a base language model.
Out: the same model with new tokens for the tools, its tokenizer, and the ToolVocabulary that maps both ways.

`architecture` says which models can be one; `indexing` decides how a tool is written, by default as exactly one token (ToolGen,
arXiv 2410.03439, section 3.2); `vocabulary` numbers the tokens, `tokenizer` adds them and proves that they round-trip,
`text_encoder` keeps foreign text from becoming one of them,
`embeddings` gives their rows first values, `protocol` renders conversations with them.
"""

from typing import TYPE_CHECKING

from toolgen.virtualization.options import INDEXINGS, INITIALIZATIONS, Indexing, Initialization

if TYPE_CHECKING:
    from toolgen.virtualization.architecture import check_architecture
    from toolgen.virtualization.embeddings import (
        DocumentBags,
        Words,
        document_vectors,
        initialize_rows,
        output_rows,
        resize_rows,
    )
    from toolgen.virtualization.indexing import spell
    from toolgen.virtualization.protocol import PromptProtocol
    from toolgen.virtualization.text_encoder import TextEncoder
    from toolgen.virtualization.tokenizer import add_spare_tokens, add_tool_tokens, find_end_marker
    from toolgen.virtualization.vocabulary import ToolVocabulary
else:
    from toolgen._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "toolgen.virtualization.architecture": "check_architecture",
            "toolgen.virtualization.embeddings": "DocumentBags Words document_vectors initialize_rows output_rows resize_rows",
            "toolgen.virtualization.indexing": "spell",
            "toolgen.virtualization.protocol": "PromptProtocol",
            "toolgen.virtualization.text_encoder": "TextEncoder",
            "toolgen.virtualization.tokenizer": "add_spare_tokens add_tool_tokens find_end_marker",
            "toolgen.virtualization.vocabulary": "ToolVocabulary",
        },
    )

__all__ = [
    "INDEXINGS",
    "INITIALIZATIONS",
    "DocumentBags",
    "Indexing",
    "Initialization",
    "PromptProtocol",
    "TextEncoder",
    "ToolVocabulary",
    "Words",
    "add_spare_tokens",
    "add_tool_tokens",
    "check_architecture",
    "document_vectors",
    "find_end_marker",
    "initialize_rows",
    "output_rows",
    "resize_rows",
    "spell",
]
