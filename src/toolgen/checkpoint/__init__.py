"""In: weights, tokenizer, vocabulary and catalog.
Out: one folder that holds them, and Checkpoint, which opens it.

`layout` says what such a folder and those beside it are made of, and needs no torch; `checkpoint` reads and writes it.
"""

from typing import TYPE_CHECKING

from toolgen.checkpoint.layout import StageRecord, is_checkpoint, read_metadata

if TYPE_CHECKING:
    from toolgen.checkpoint.checkpoint import Checkpoint, SearchResult
else:
    from toolgen._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, {"toolgen.checkpoint.checkpoint": "Checkpoint SearchResult"})

__all__ = ["Checkpoint", "SearchResult", "StageRecord", "is_checkpoint", "read_metadata"]
