"""In: a Catalog, document vectors of its tools, and the base's tokenizer where names are spelled.
Out: a Spelling: the new tokens, and the text of each tool in them.

Five ways to write a tool. `atomic`: one new token (ToolGen, arXiv 2410.03439, section 3.2), which is one row a tool. The others
share tokens, so that the vocabulary does not grow with the catalog: `numeric` and `hierarchical` digits (the same section; the
tree of clusters is DSI's, arXiv 2202.06991), `semantic` the words of the name, `codes` two learned ones (ToolWeaver, arXiv
2601.21947). Every spelling is free of prefixes, so that a sequence of tokens ends where its tool is named. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolgen.catalog.catalog import Catalog
from toolgen.virtualization.indexing.atomic import atomic
from toolgen.virtualization.indexing.codes import codes
from toolgen.virtualization.indexing.hierarchical import hierarchical
from toolgen.virtualization.indexing.kmeans import Matrix
from toolgen.virtualization.indexing.numeric import numeric
from toolgen.virtualization.indexing.semantic import Encode, semantic
from toolgen.virtualization.indexing.size import Size, expected_size
from toolgen.virtualization.indexing.spelling import Spelling, digits
from toolgen.virtualization.options import Indexing

__all__ = ["Encode", "Matrix", "Size", "Spelling", "atomic", "expected_size", "spell"]


def spell(
    indexing: Indexing,
    catalog: Catalog,
    *,
    vectors: Callable[[], Matrix],
    encode: Encode,
    tool_sets: Sequence[Sequence[int]] = (),
    seed: int = 0,
) -> Spelling:
    """How this indexing writes the tools of a catalog of N tools.

    `vectors` makes their document vectors (N, D), where they are needed; `encode` gives the base's sub-tokens of texts;
    `tool_sets` are the tools, by place in the catalog, that training requests ask for together (`codes` alone uses them).
    """
    match indexing:
        case "atomic":
            return atomic(catalog)
        case "numeric":
            return digits("numeric", numeric(len(catalog)))
        case "hierarchical":
            return digits("hierarchical", hierarchical(vectors(), seed=seed))
        case "semantic":
            return semantic(catalog, encode)
        case "codes":
            return digits("codes", codes(vectors(), tool_sets, seed=seed))
