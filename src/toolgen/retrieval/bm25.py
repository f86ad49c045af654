"""BM25 over the tools' documents: the lexical baseline.

Knows words, no model. Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), in the
form of Lucene, computed by `bm25s`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolgen.catalog.catalog import Catalog, garbage_collection_paused
from toolgen.catalog.text import document
from toolgen.catalog.words import words
from toolgen.errors import OutputError, UsageError
from toolgen.files import new_folder
from toolgen.retrieval.protocol import Ranking, count_of, texts_of, top_ranking

CACHED_FROM = 5_000  # tools; fewer are indexed sooner than a folder of files is worth
# Texts whose words are part of an index's name, so that other rules for words mean another index: documents, and this one.
_SAMPLES, _SAMPLE = 16, "Straße des 17. Juni, cafe\u0301, 東京の天気, สวัสดีครับ, हिन्दी"
_REPORTED_EVERY = 1_000


class BM25Retriever:
    """BM25 over `catalog.text.document`, the text that every baseline indexes.

    k1 sets how soon repetitions of a word stop counting, b how much long documents are held back. The defaults were
    the best of a grid on the development splits of four datasets (`benchmarks/bm25_settings.py`). A tool without a word of the
    request scores 0 and is not ranked. With `relative` a score is the share of the best one that a tool has for the request,
    for sums: how high BM25 scores depends on the catalog and the request's length. `cache` is a folder that keeps the index
    of a large catalog; a folder that cannot be written is not used.

        retriever = BM25Retriever()
        retriever.index(catalog)
        retriever.search(["what is the weather in Oslo?"], k=5)
    """

    left_out = 0.0
    """See `Scorer`."""

    def __init__(
        self,
        *,
        k1: float = 1.5,
        b: float = 0.6,
        relative: bool = False,
        cache: Path | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.name = "bm25"
        self.unit = "share of the best BM25 score" if relative else "BM25 score"
        self.k1, self.b, self.relative, self.cache, self.on_progress = k1, b, relative, cache, on_progress
        self._ids: tuple[str, ...] | None = None
        self._index: Any = None

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {"form": "lucene", "k1": self.k1, "b": self.b, **({"relative": True} if self.relative else {})}

    def index(self, catalog: Catalog) -> None:
        """Counts the words of every tool's document, or takes the index from the cache."""
        folder = self._cache_folder(catalog)
        index = _read_index(folder, len(catalog)) if folder else None
        if index is None:
            index = self._count(catalog)
            if folder and index is not None:
                _write_index(index, folder)
        self._ids, self._index = catalog.ids, index

    @garbage_collection_paused()
    def _count(self, catalog: Catalog) -> Any:
        """The index; None for a catalog without words."""
        # Here and not above: the import looks for accelerators and takes a third of a second.
        import bm25s

        terms = []
        for done, tool in enumerate(catalog, start=1):
            terms.append(words(document(tool)))
            if self.on_progress and (done % _REPORTED_EVERY == 0 or done == len(catalog)):
                self.on_progress(done, len(catalog))
        if not any(terms):
            return None
        index = bm25s.BM25(k1=self.k1, b=self.b, method="lucene")
        index.index(terms, show_progress=False)
        return index

    def _cache_folder(self, catalog: Catalog) -> Path | None:
        """Named by all that the index depends on: tools, settings, the library's version, the rules for words."""
        if self.cache is None or len(catalog) < CACHED_FROM:
            return None
        sample = [words(_SAMPLE), *(words(document(tool)) for tool in catalog[:: len(catalog) // _SAMPLES])]
        identity = [catalog.content_hash, self.k1, self.b, version("bm25s"), sample]
        return self.cache / f"bm25-{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}"

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query, of those that have a word of it."""
        count, rankings = count_of(k), []
        for query in texts_of(queries):
            scores_N = self._scores(query)
            rankings.append(top_ranking(self._indexed, scores_N, min(count, int((scores_N > 0).sum()))))
        return rankings

    def score_all(self, queries: Sequence[str]) -> npt.NDArray[np.float32]:
        """See `Scorer`."""
        texts = texts_of(queries)
        scores_QN = np.empty((len(texts), len(self._indexed)), dtype=np.float32)
        for scores_N, query in zip(scores_QN, texts, strict=True):
            scores_N[:] = self._scores(query)
        return scores_QN

    @property
    def _indexed(self) -> tuple[str, ...]:
        if self._ids is None:
            raise UsageError("BM25Retriever.search was called before index(catalog)")
        return self._ids

    def _scores(self, query: str) -> npt.NDArray[np.float32]:
        """The scores of all tools (N)."""
        known = self._index.get_tokens_ids(words(query)) if self._index is not None else ()
        if not len(known):
            return np.zeros(len(self._indexed), dtype=np.float32)
        scores_N: npt.NDArray[np.float32] = self._index.get_scores_from_ids(known)
        return scores_N / scores_N.max() if self.relative else scores_N


def _read_index(folder: Path, tools: int) -> Any:
    """The cached index, or None if there is none that can be used."""
    if not folder.is_dir():
        return None
    import bm25s

    try:
        index = bm25s.BM25.load(str(folder), load_corpus=False, mmap=True)
    except Exception:  # a damaged file can make the library raise anything; the index is then rebuilt
        return None
    return index if index.scores.get("num_docs") == tools else None


def _write_index(index: Any, folder: Path) -> None:
    """Keeps the index if the folder can be written. Other indexes there are of older tools and go."""
    with suppress(OutputError), new_folder(folder) as new:
        index.save(str(new), show_progress=False)
        for old in folder.parent.glob("bm25-*"):
            shutil.rmtree(old, ignore_errors=True)
