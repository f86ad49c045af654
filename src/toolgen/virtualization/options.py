"""What can be chosen when a catalog is virtualized, by name."""

from __future__ import annotations

from typing import Literal, get_args

Indexing = Literal["atomic", "numeric", "hierarchical", "semantic", "codes"]
"""How a tool is written in tokens; `indexing` says what each is."""
INDEXINGS: tuple[Indexing, ...] = get_args(Indexing)

Initialization = Literal["documentation", "name", "random"]
"""What a new row begins as; `embeddings` says what each is."""
INITIALIZATIONS: tuple[Initialization, ...] = get_args(Initialization)
