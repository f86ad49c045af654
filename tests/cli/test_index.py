"""`toolgen index`: from sources to a checkpoint that can be searched, whole or not there at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pytest import MonkeyPatch
from tests.cli.conftest import Invoke
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from toolgen.checkpoint import Checkpoint, StageRecord, is_checkpoint
from toolgen.cli import index as command
from toolgen.errors import FetchError
from toolgen.fetching import parts
from toolgen.inference import row_maker
from toolgen.inference.passes import last_states
from toolgen.inference.row_maker import RowMaker
from toolgen.testing import tiny_catalog
from toolgen.training import cold_start

PETS = '''
def feed(cat: str) -> str:
    """Feed the cat of a neighbor."""

def walk(dog: str, minutes: int = 10) -> str:
    """Walk a dog in the park."""
'''


@pytest.fixture(autouse=True)
def no_encoder(monkeypatch: MonkeyPatch) -> None:
    """The sentence encoder is fetched; without it the teacher is BM25."""
    monkeypatch.setattr(command, "find_spec", lambda name: None)


@pytest.fixture
def pets(tmp_path: Path) -> str:
    (tmp_path / "pets.py").write_text(PETS)
    return f"python:{tmp_path / 'pets.py'}"


@pytest.fixture
def reading_base(base_folder: Path, tmp_path: Path) -> Path:
    """A base that makes rows of documentation."""
    base = tmp_path / "base"
    shutil.copytree(base_folder, base)
    RowMaker(AutoConfig.from_pretrained(base).hidden_size).save(base)
    return base


def test_sources_and_datasets_become_a_checkpoint_that_is_searched(
    toolgen: Invoke, base_folder: Path, dataset_folder: Path, pets: str, tmp_path: Path
) -> None:
    output = tmp_path / "ckpt"
    result = toolgen("index", pets, dataset_folder, "--base", base_folder, "-o", output, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["tools"], told["spare_tokens"]) == (len(tiny_catalog()) + 2, 64)
    assert {*told["found"]} == {"made", "fitted", "both"} and told["found"][told["rows"]] == max(told["found"].values())
    loaded = Checkpoint.load(output)
    assert loaded.stages[-1].stage == "index" and loaded.row_origin("pets&&walk") == "documentation"
    text = "walk a dog in the park"
    default, alone, added = (
        json.loads(toolgen("search", output, text, "--json", *options).stdout)
        for options in ((), ("--retriever", "generative"), ("--add", "bm25"))
    )
    assert default == added and "pets&&walk" in {*default["tools"]} - {*alone["tools"]}
    assert 0 < default["confidence"] < 1 and {*loaded.calibrations} == {"generative+bm25"}
    assert (default["retriever"], alone["retriever"]) == ("generative+bm25", "generative")
    trained = replace(loaded, stages=(*loaded.stages, StageRecord(stage="retrieval")))
    trained.save(tmp_path / "trained")
    assert json.loads(toolgen("search", tmp_path / "trained", text, "--json").stdout) == alone
    assert toolgen("tools", "add", output, pets, "--prefix", "other.").exit_code == 0


def test_notes_of_the_sources_are_told_and_in_the_answer(toolgen: Invoke, base_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text(
        '{"openapi": "3.1.0", "info": {"title": "T"}, "paths": {"/x/{id}": {"get": {"operationId": "get"}}}}'
    )
    source = f"openapi:{tmp_path / 'api.json'}"
    made = toolgen("index", source, "--base", base_folder, "--no-fit", "-o", tmp_path / "ckpt", "--json")
    assert made.exit_code == 0 and "note: api.json GET /x/{id}: the path's 'id' is not declared" in made.stderr
    (report,) = json.loads(made.stdout)["reports"]
    assert (report["loaded"], report["lost"], len(report["notes"])) == (1, 0, 1)


def test_an_index_that_was_stopped_goes_on_with_the_next_tool(
    toolgen: Invoke, reading_base: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("TOOLGEN_CACHE", str(cache))
    monkeypatch.setattr(parts, "PART", 4)
    read: list[int] = []

    def states(model: PreTrainedModel, prompts: Sequence[Sequence[int]]) -> Tensor:
        read.append(len(prompts))
        if sum(read) > most:
            raise KeyboardInterrupt
        return last_states(model, prompts)

    monkeypatch.setattr(row_maker, "last_states", states)
    most, arguments = 8, ("index", dataset_folder, "--base", reading_base, "-o", tmp_path / "ckpt")
    assert toolgen(*arguments).exit_code == 130
    assert not (tmp_path / "ckpt").exists() and len([*cache.rglob("*.npy")]) == 2
    read.clear()
    most = 99
    assert toolgen(*arguments).exit_code == 0
    assert sum(read) == len(tiny_catalog()) - 8 and not [*cache.rglob("*.npy")]


def test_searches_add_what_the_index_says(
    toolgen: Invoke,
    reading_base: Path,
    cached_encoder: Path,
    pets: str,
    tmp_path: Path,
    monkeypatch: MonkeyPatch,
) -> None:
    found = {}
    for name, options in {"alone": ("--add", "bm25"), "both": ()}.items():
        with monkeypatch.context() as patch:
            patch.setattr(command, "find_spec", lambda name: True)
            patch.setattr(command, "resolve_base", lambda name, on_message: cached_encoder)
            patch.setattr("toolgen.fetching.resolve_base", lambda name: cached_encoder)
            patch.setenv("TOOLGEN_CACHE", str(tmp_path / "cache"))
            made = toolgen("index", pets, "--base", reading_base, "-o", tmp_path / name, *options)
            assert made.exit_code == 0, made.stderr
            found[name] = json.loads(toolgen("search", tmp_path / name, "walk a dog", "--json").stdout)
    assert [found[name]["retriever"] for name in found] == ["generative+bm25", "generative+bm25+dense"]
    assert all(0 < one["confidence"] < 1 for one in found.values())  # each is calibrated for its own sum
    assert found["both"]["tools"][0] == "pets&&walk"


@pytest.mark.parametrize(
    ("spec", "says"), [(None, "is not installed (toolgen[dense])"), (True, "no network; searches add BM25 alone")]
)
def test_without_the_encoder_searches_add_bm25_and_it_is_said(
    toolgen: Invoke, reading_base: Path, pets: str, tmp_path: Path, monkeypatch: MonkeyPatch, spec: object, says: str
) -> None:
    def fail(name: str, on_message: object) -> Path:
        raise FetchError("no network")

    monkeypatch.setattr(command, "find_spec", lambda name: spec)
    monkeypatch.setattr(command, "resolve_base", fail)
    made = toolgen("index", pets, "--base", reading_base, "-o", tmp_path / "ckpt")
    assert made.exit_code == 0 and says in " ".join(made.stderr.split())
    found = json.loads(toolgen("search", tmp_path / "ckpt", "walk a dog", "--json").stdout)
    assert found["retriever"] == "generative+bm25"


def test_what_is_added_needs_the_catalog_alone(toolgen: Invoke, reading_base: Path, pets: str, tmp_path: Path) -> None:
    refused = toolgen("index", pets, "--base", reading_base, "-o", tmp_path / "ckpt", "--add", "bm26")
    assert refused.exit_code == 2 and "can add bm25 and dense; did you mean 'bm25'?" in " ".join(refused.stderr.split())


def test_a_large_catalog_or_no_fit_leaves_the_rows_of_documentation(
    toolgen: Invoke, base_folder: Path, pets: str, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    plain = toolgen("index", pets, "--base", base_folder, "-o", tmp_path / "plain", "--no-fit", "--json")
    monkeypatch.setattr(cold_start, "MOST_TOOLS", 1)
    large = toolgen("index", pets, "--base", base_folder, "-o", tmp_path / "large", "--json")
    assert json.loads(plain.stdout)["rows"] == json.loads(large.stdout)["rows"] == "made"
    assert "more than 1 tools" in " ".join(large.stderr.split())


def test_bags_of_words_do_not_outvote_bm25(toolgen: Invoke, base_folder: Path, pets: str, tmp_path: Path) -> None:
    assert toolgen("index", pets, "--base", base_folder, "-o", tmp_path / "ckpt", "--no-fit").exit_code == 0
    found = json.loads(toolgen("search", tmp_path / "ckpt", "walk a dog in the park", "--json").stdout)
    assert (found["retriever"], found["tools"][0]) == ("bm25", "pets&&walk")


def test_what_is_there_is_replaced_only_when_asked(
    toolgen: Invoke, base_folder: Path, pets: str, tmp_path: Path
) -> None:
    arguments = ("index", pets, "--base", base_folder, "-o", tmp_path / "ckpt", "--no-fit")
    assert toolgen(*arguments).exit_code == 0
    refused = toolgen(*arguments)
    assert refused.exit_code == 2 and "--overwrite to replace it" in " ".join(refused.stderr.split())
    assert toolgen(*arguments, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"source": "python:nothing.py"}, "no tool could be loaded"),
        ({"source": "thing"}, "unknown source"),
        ({"base": "nowhere"}, "nowhere"),
    ],
)
def test_a_failure_writes_nothing(
    toolgen: Invoke, base_folder: Path, pets: str, tmp_path: Path, change: dict[str, str], says: str
) -> None:
    source, base = change.get("source", pets), change.get("base", str(base_folder))
    result = toolgen("index", source, "--base", base, "-o", tmp_path / "ckpt")
    assert result.exit_code in (1, 2) and says in " ".join(result.stderr.split())
    assert not is_checkpoint(tmp_path / "ckpt") and not (tmp_path / "ckpt").exists()
