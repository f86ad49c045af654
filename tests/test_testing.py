"""The fakes: small, varied, repeatable, and as valid as the real things."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import toolgen.testing
from toolgen.catalog.naming import token_collisions
from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.datasets import load_dataset
from toolgen.datasets.folder import save_dataset
from toolgen.errors import UsageError
from toolgen.testing import (
    ARCHITECTURES,
    TOKENIZER_KINDS,
    Architecture,
    TokenizerKind,
    tiny_base,
    tiny_catalog,
    tiny_checkpoint,
    tiny_dataset,
    tiny_model,
    tiny_tokenizer,
)
from toolgen.virtualization import output_rows


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, toolgen.testing as t; t.tiny_dataset(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_every_public_name_is_there() -> None:
    from toolgen.agent import ScriptedPolicy

    for name in toolgen.testing.__all__:
        assert getattr(toolgen.testing, name)
    assert toolgen.testing.ScriptedPolicy is ScriptedPolicy
    with pytest.raises(AttributeError, match="has no attribute 'tiny_elephant'"):
        toolgen.testing.tiny_elephant  # noqa: B018


def test_the_catalog_holds_what_real_catalogs_trip_over() -> None:
    catalog = tiny_catalog()
    names = [tool.name for tool in catalog]
    assert max(map(len, names)) > 64
    assert sum(not name.isascii() for name in names) >= 3
    assert len(token_collisions(catalog)) == 1
    assert any(not tool.properties for tool in catalog)
    assert any("items" in schema for tool in catalog for schema in tool.properties.values())
    for tool in catalog:
        check_schema(tool.parameters)
    assert catalog.content_hash == tiny_catalog().content_hash


def test_the_dataset_asks_for_every_tool_and_its_calls_are_valid(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    for queries in dataset.queries.values():
        assert {tool for query in queries for tool in query.tools} == set(dataset.catalog.ids)
        assert any(not query.tools for query in queries) and any(len(query.tools) == 2 for query in queries)
        for call in (call for query in queries for call in query.calls or ()):
            assert not schema_errors(dict(call.arguments), dataset.catalog.get(call.tool).parameters)
    texts = [query.text for queries in dataset.queries.values() for query in queries]
    assert len(texts) == len(set(texts))
    save_dataset(dataset, tmp_path / "tiny")
    assert load_dataset(tmp_path / "tiny") == dataset


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
@pytest.mark.parametrize("chatml", [True, False], ids=["chatml", "plain"])
def test_a_tokenizer_knows_every_letter_of_the_catalog(kind: TokenizerKind, chatml: bool) -> None:
    tokenizer = tiny_tokenizer(kind, chatml=chatml)
    assert ("<|im_start|>" in tokenizer.get_vocab()) is chatml
    for tool in tiny_catalog():
        assert tokenizer.unk_token_id not in tokenizer(tool.description, add_special_tokens=False)["input_ids"]


def test_the_byte_level_tokenizer_is_the_same_each_time_and_loses_nothing() -> None:
    assert tiny_tokenizer().get_vocab() == tiny_tokenizer().get_vocab()
    text = 'Ærø 🚕\n\t{"a": [1, "天"]}'
    assert tiny_tokenizer().decode(tiny_tokenizer()(text)["input_ids"]) == text


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_model_is_small_repeatable_and_tied_as_asked(architecture: Architecture, tied: bool) -> None:
    random_state = torch.random.get_rng_state()
    model, again, other = (tiny_model(architecture, tied=tied, seed=seed) for seed in (0, 0, 1))
    assert sum(parameter.numel() for parameter in model.parameters()) < 100_000
    assert torch.equal(output_rows(model), output_rows(again))
    assert not torch.equal(output_rows(model), output_rows(other))
    assert (output_rows(model) is model.get_input_embeddings().weight) is tied
    assert torch.equal(torch.random.get_rng_state(), random_state)


def test_settings_reach_the_architecture() -> None:
    assert tiny_model("gpt2", num_hidden_layers=3).config.num_hidden_layers == 3
    assert tiny_checkpoint(max_position_embeddings=64).context_length == 64


def test_a_base_is_an_ordinary_folder(tmp_path: Path) -> None:
    folder = tiny_base(tmp_path / "base", architecture="qwen2", tied=False, tokenizer="unigram", extra_rows=9)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert output_rows(model).shape[0] == len(tokenizer) + 9


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UsageError, match="no tiny tokenizer 'morse'; kinds are bpe, wordpiece, unigram"):
        tiny_tokenizer(cast(TokenizerKind, "morse"))
    with pytest.raises(UsageError, match="no tiny 'abacus' model; architectures are llama, qwen2, gpt2"):
        tiny_model(cast(Architecture, "abacus"))
