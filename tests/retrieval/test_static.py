"""The static encoder: its algebra against other ways to compute it, and what it makes of a small encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolgen.catalog import Catalog
from toolgen.retrieval import Resources, make_retriever
from toolgen.retrieval.dense import DenseRetriever, load_encoder
from toolgen.retrieval.static import SIF, Matrix, distilled, principal, weighted
from toolgen.testing import tiny_encoder


def test_the_principal_directions_are_those_of_a_singular_value_decomposition() -> None:
    spread_VH = np.random.default_rng(0).normal(size=(50, 8)) * np.arange(1, 9)
    vectors_VH: Matrix = spread_VH.astype(np.float32)
    centred_VH = vectors_VH - vectors_VH.mean(axis=0)
    left, values, _ = np.linalg.svd(centred_VH, full_matrices=False)
    assert np.abs(principal(vectors_VH, 3)) == pytest.approx(np.abs(left * values)[:, :3], abs=1e-3)
    assert principal(vectors_VH, 100).shape == (50, 8)


def test_frequent_pieces_are_held_back() -> None:
    lengths = weighted(np.ones((1000, 1), dtype=np.float32))[:, 0]
    total = sum(1 / place for place in range(2, 1002))
    assert lengths[0] == pytest.approx(SIF / (SIF + 1 / 2 / total)) and lengths[999] == pytest.approx(
        SIF / (SIF + 1 / 1001 / total)
    )
    assert (np.diff(lengths) > 0).all()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    return tiny_encoder(tmp_path_factory.mktemp("encoder"))


def test_a_text_is_the_mean_of_its_pieces_and_special_ones_are_none(encoder: Path, tmp_path: Path) -> None:
    static = load_encoder(distilled(encoder, tmp_path))
    table = static[0].embedding.weight.detach().numpy()
    tokenizer = load_encoder(encoder).tokenizer
    assert len(table) == len(tokenizer) and not table[tokenizer.all_special_ids].any()
    text = "weather forecast for a city"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    mean = table[ids].mean(axis=0)
    assert static.encode([text])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)


def test_a_piece_is_the_mean_of_what_the_encoder_makes_of_it_alone(encoder: Path, tmp_path: Path) -> None:
    """Up to centring and rotation: distances between pieces of one weight stay."""
    whole, table = (
        load_encoder(encoder),
        load_encoder(distilled(encoder, tmp_path))[0].embedding.weight.detach().numpy(),
    )
    pieces = sorted(i for i in whole.tokenizer.get_vocab().values() if i not in whole.tokenizer.all_special_ids)
    weights = weighted(np.ones((len(pieces), 1), dtype=np.float32))
    rows = table[pieces] / weights
    texts = whole.tokenizer.convert_ids_to_tokens(pieces[-2:])
    alone = [whole.encode(text, output_value="token_embeddings", convert_to_numpy=False).mean(dim=0) for text in texts]
    expected = float((alone[0] - alone[1]).norm())
    assert float(np.linalg.norm(rows[-2] - rows[-1])) == pytest.approx(expected, rel=1e-3)


def test_it_is_distilled_once_and_ranks_like_any_dense_retriever(
    encoder: Path, catalog: Catalog, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    resources = Resources(dense_model=encoder, cache=tmp_path, on_progress=lambda *done: seen.append(done))
    retriever = make_retriever("static", resources)
    assert isinstance(retriever, DenseRetriever) and retriever.name == "static"
    assert seen[-1][0] == seen[-1][1] > 100
    seen.clear()
    make_retriever("static", resources)
    assert not seen and len(list(tmp_path.iterdir())) == 1
    retriever.index(catalog)
    assert sorted(retriever.search(["weather of a city"], len(catalog))[0].tools) == sorted(catalog.ids)
