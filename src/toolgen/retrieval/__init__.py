"""In: requests in plain language (and a Catalog to search).
Out: Ranking, tool ids best first; every method behind the one protocol Retriever.

The baselines need no torch to import; the generative retriever loads it when it is made.
"""

from toolgen.retrieval.bm25 import BM25Retriever
from toolgen.retrieval.confidence import ConfidentRetriever, calibrate
from toolgen.retrieval.dense import DenseRetriever
from toolgen.retrieval.iter_feedback import IterFeedbackRetriever
from toolgen.retrieval.long_context import LongContextRetriever
from toolgen.retrieval.protocol import Ranking, Retriever
from toolgen.retrieval.re_invoke import ReInvokeRetriever
from toolgen.retrieval.registry import LOGIT_SCALES, RETRIEVERS, Resources, RetrieverSpec, make_retriever, make_sum
from toolgen.retrieval.summed import SumRetriever
from toolgen.retrieval.tool_sets import ToolSetRetriever

__all__ = [
    "LOGIT_SCALES",
    "RETRIEVERS",
    "BM25Retriever",
    "ConfidentRetriever",
    "DenseRetriever",
    "IterFeedbackRetriever",
    "LongContextRetriever",
    "Ranking",
    "ReInvokeRetriever",
    "Resources",
    "Retriever",
    "RetrieverSpec",
    "SumRetriever",
    "ToolSetRetriever",
    "calibrate",
    "make_retriever",
    "make_sum",
]
