"""Dense retrieval: one vector a document, one a request, cosine similarity.

Knows a sentence encoder and texts, no tool token. Reimers and Gurevych, "Sentence-BERT" (2019); the encoder is any
`sentence-transformers` model, by default MiniLM (all-MiniLM-L6-v2, 384 numbers a text, 256 word pieces).
Shapes: N tools, Q queries, D the width of the encoder.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import document
from toolgen.errors import OutputError, UsageError
from toolgen.fetching.cache import ORIGIN_FILE
from toolgen.fetching.opening import check_encoder, open_encoder
from toolgen.fetching.parts import Matrix, computed_in_parts, read_matrix
from toolgen.files import new_file
from toolgen.retrieval.protocol import Ranking, count_of, texts_of, top_ranking

_CHUNK = 64  # documents encoded between two reports of progress
_BATCH = 16  # of them in one pass


class DenseRetriever:
    """Cosine similarity over `catalog.text.document`, the text that every baseline indexes.

    `model` is a sentence-transformers folder. With `cache` (a folder) the document matrix is computed once for each
    pair of documents and weights, and one that is stopped goes on where it was; a cache that cannot be written only costs the
    time to encode again.
    The product is exact: no approximate index pays below about a million tools.
    """

    unit = "cosine similarity"

    def __init__(
        self,
        model: Path | str,
        *,
        name: str = "dense",
        cache: Path | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.name = name
        self.model, self.cache, self.on_progress = Path(model), cache, on_progress
        self._ids: tuple[str, ...] = ()
        self._documents_ND: Matrix | None = None
        self._rows: dict[bytes, int] = {}  # of a document's text, by its hash
        self._encoder: Any = None

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {"encoder": encoder_hash(self.model), "similarity": "cosine"}

    def index(self, catalog: Catalog) -> None:
        """Encodes every tool's document, or takes the matrix from the cache. Indexed again, it encodes what it did not know."""
        texts = [document(tool) for tool in catalog]
        names = [hashlib.sha256(text.encode()).digest() for text in texts]
        documents_ND = self._known_and_new(texts, names) if self._rows else self._cached(texts)
        self._ids, self._documents_ND = catalog.ids, documents_ND
        self._rows = {name: row for row, name in enumerate(names)}

    def _known_and_new(self, texts: Sequence[str], names: Sequence[bytes]) -> Matrix:
        assert self._documents_ND is not None
        rows = np.array([self._rows.get(name, -1) for name in names], dtype=np.int64)
        documents_ND = self._documents_ND[rows]  # a copy; the last row where a text is new
        new = np.flatnonzero(rows < 0).tolist()
        if new:
            documents_ND[new] = self.embed([texts[place] for place in new], self.on_progress)
        return documents_ND

    def _cached(self, texts: Sequence[str]) -> Matrix:
        file = self._cache_file(texts)
        documents_ND = read_matrix(file, rows=len(texts)) if file else None
        if documents_ND is None:
            parts = file.with_suffix(".parts") if file else None
            documents_ND = self.embed(texts, self.on_progress, parts)
            if file:
                with suppress(OutputError), new_file(file) as stream:
                    np.save(stream, documents_ND)
            if parts:
                shutil.rmtree(parts, ignore_errors=True)
        return documents_ND

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query by cosine similarity."""
        count = count_of(k)
        return [top_ranking(self._ids, scores_N, count) for scores_N in self.score_all(queries)]

    def score_all(self, queries: Sequence[str]) -> Matrix:
        """The cosines of every tool; see `Scorer`."""
        if self._documents_ND is None:
            raise UsageError("DenseRetriever.search was called before index(catalog)")
        texts = texts_of(queries)
        if not texts or not self._ids:
            return np.zeros((len(texts), len(self._ids)), dtype=np.float32)
        scores_QN: Matrix = self.embed(texts) @ self._documents_ND.T
        return scores_QN

    def embed(
        self,
        texts: Sequence[str],
        on_progress: Callable[[int, int], None] | None = None,
        parts: Path | None = None,
    ) -> Matrix:
        """Unit vectors, one a text. (len(texts), D) What is done is kept in the folder `parts`."""
        encoder = self._load()
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        # Texts of like length go together: padding is computed too. The order is restored below.
        order = np.argsort([len(text) for text in texts], kind="stable")
        ordered = [texts[position] for position in order]

        def compute(part: range) -> Matrix:
            chunks = []
            for start in part[::_CHUNK]:
                chunk = ordered[start : min(start + _CHUNK, part.stop)]
                encoded_ND = encoder.encode(
                    chunk, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
                )
                chunks.append(encoded_ND.astype(np.float32))
                if on_progress:
                    on_progress(start + len(chunk), len(texts))
            return np.concatenate(chunks)

        vectors = computed_in_parts(ordered, compute, parts)
        restored = np.empty_like(vectors)
        restored[order] = vectors
        return restored

    def _load(self) -> Any:
        if self._encoder is None:
            self._encoder = open_encoder(self.model)
        return self._encoder

    def _cache_file(self, texts: Sequence[str]) -> Path | None:
        if self.cache is None:
            return None
        digest = hashlib.sha256(encoder_hash(self.model).encode())
        for text in texts:
            # The length keeps two catalogs apart whose documents only differ in where one ends.
            digest.update(f"{len(text)}:{text}".encode())
        return self.cache / f"documents-{digest.hexdigest()[:32]}.npy"


def encoder_hash(folder: Path) -> str:
    """Identity of an encoder by content: configuration and weights, 16 hex digits."""
    check_encoder(folder)
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".json", ".safetensors", ".bin", ".txt"} and file.name != ORIGIN_FILE:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
