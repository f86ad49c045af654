"""In: requests in plain language (and a Catalog to search).
Out: Ranking, tool ids best first; every method behind the one protocol Retriever.

The baselines need no torch to import; the generative retriever loads it when it is made.
"""

from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.retrieval.dense import DenseRetriever
from toolgen.retrieval.fusion import FusionRetriever
from toolgen.retrieval.protocol import Ranking, Retriever
from toolgen.retrieval.registry import RETRIEVERS, make_retriever

__all__ = [
    "RETRIEVERS",
    "BM25Retriever",
    "DenseRetriever",
    "FusionRetriever",
    "Ranking",
    "Retriever",
    "make_retriever",
]
