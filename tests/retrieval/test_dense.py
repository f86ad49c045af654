"""Dense retrieval: cosine by hand, the cached matrix, and the real encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pytest import MonkeyPatch

from toolgen.catalog import Catalog
from toolgen.catalog.text import document
from toolgen.errors import InputError, UsageError
from toolgen.fetching import parts
from toolgen.retrieval import DenseRetriever

if TYPE_CHECKING:
    from tests.retrieval.conftest import BagOfWordsEncoder


def test_scores_are_cosines(dense: DenseRetriever, encoder: BagOfWordsEncoder, catalog: Catalog) -> None:
    dense.index(catalog)
    ranking = dense.search(["weather of a city"], len(catalog))[0]
    query = encoder.encode(["weather of a city"])[0]
    expected = {tool.id: float(encoder.encode([document(tool)])[0] @ query) for tool in catalog}
    assert [expected[tool] for tool in ranking.tools] == pytest.approx(ranking.scores, abs=1e-5)
    assert ranking.tools[0] == max(expected, key=lambda tool: expected[tool])


def test_the_document_matrix_is_encoded_once_for_a_catalog(
    dense: DenseRetriever, encoder: BagOfWordsEncoder, catalog: Catalog, tmp_path: Path
) -> None:
    dense.cache = tmp_path / "cache"
    dense.index(catalog)
    first = dense.search(["weather"], 6)
    encoder.encoded.clear()
    again = DenseRetriever(dense.model, cache=dense.cache)
    again.index(catalog)
    assert encoder.encoded == []
    assert again.search(["weather"], 6) == first


def test_an_encoding_that_was_stopped_goes_on_and_leaves_only_the_matrix(
    dense: DenseRetriever, encoder: BagOfWordsEncoder, catalog: Catalog, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", 2)
    dense.cache = tmp_path / "cache"

    def stop(done: int, _of: int) -> None:
        if done > 3:
            raise KeyboardInterrupt

    dense.on_progress = stop
    with pytest.raises(KeyboardInterrupt):
        dense.index(catalog)
    encoder.encoded.clear()
    dense.on_progress = None
    dense.index(catalog)
    assert len(encoder.encoded) == len(catalog) - 2
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".npy"]


def test_another_catalog_or_encoder_has_its_own_matrix(
    dense: DenseRetriever, encoder: BagOfWordsEncoder, catalog: Catalog, tmp_path: Path
) -> None:
    dense.cache = tmp_path / "cache"
    dense.index(catalog)
    encoder.encoded.clear()
    DenseRetriever(dense.model, cache=dense.cache).index(Catalog(reversed(catalog)))
    assert len(encoder.encoded) == len(catalog)
    (dense.model / "config.json").write_text('{"other": true}', encoding="utf-8")
    encoder.encoded.clear()
    DenseRetriever(dense.model, cache=dense.cache).index(catalog)
    assert len(encoder.encoded) == len(catalog)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_indexed_again_it_encodes_only_what_is_new(
    dense: DenseRetriever, encoder: BagOfWordsEncoder, catalog: Catalog
) -> None:
    tools = list(catalog)
    whole = DenseRetriever(dense.model)
    whole.index(Catalog(tools))
    dense.index(Catalog(tools[:-2]))
    encoder.encoded.clear()
    dense.index(Catalog([*tools[3:], *tools[:1]]))  # some gone, some new, in another order
    assert encoder.encoded == [document(tool) for tool in tools[-2:]]
    dense.index(Catalog([tools[0], *tools[3:]]))
    assert len(encoder.encoded) == 2
    whole.index(Catalog([tools[0], *tools[3:]]))
    assert dense.search(["weather of a city"], 9) == whole.search(["weather of a city"], 9)


@pytest.mark.parametrize("damage", [b"", b"not a matrix", b"\x93NUMPY"])
def test_a_damaged_cache_is_made_anew(dense: DenseRetriever, catalog: Catalog, tmp_path: Path, damage: bytes) -> None:
    dense.cache = tmp_path / "cache"
    dense.index(catalog)
    file = next((tmp_path / "cache").iterdir())
    whole = file.read_bytes()
    file.write_bytes(damage)
    DenseRetriever(dense.model, cache=dense.cache).index(catalog)
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(
    dense: DenseRetriever, catalog: Catalog, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be", encoding="utf-8")
    dense.cache = blocked
    dense.index(catalog)
    assert dense.search(["weather"], 1)[0].tools


def test_progress_reaches_the_number_of_tools(dense: DenseRetriever, catalog: Catalog) -> None:
    seen: list[tuple[int, int]] = []
    dense.on_progress = lambda done, total: seen.append((done, total))
    dense.index(catalog)
    assert seen[-1] == (len(catalog), len(catalog))


def test_a_folder_without_a_model_is_named(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(InputError, match=r"no config\.json"):
        DenseRetriever(tmp_path / "nowhere", cache=tmp_path).index(catalog)


def test_searching_before_indexing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="before index"):
        DenseRetriever(tmp_path).search(["weather"], 5)


@pytest.fixture(scope="module")
def minilm(cached_encoder: Path) -> Iterator[DenseRetriever]:
    pytest.importorskip("sentence_transformers")
    yield DenseRetriever(cached_encoder)


@pytest.mark.weights
def test_the_real_encoder_understands_other_words(minilm: DenseRetriever, catalog: Catalog) -> None:
    minilm.index(catalog)
    found = minilm.search(["how hot will it be tomorrow", "swap dollars for euros"], 2)
    assert "demo&&get_forecast" in found[0].tools
    assert found[1].tools[0] == "demo&&convert_currency"
    assert all(np.diff(ranking.scores) <= 0 for ranking in found)
