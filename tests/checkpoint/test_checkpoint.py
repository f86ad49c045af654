"""Checkpoint folders: ordinary Hugging Face folders, whole or not there at all, and honest about what they hold."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from toolgen.catalog import Catalog, Tool
from toolgen.checkpoint import Checkpoint, StageRecord, is_checkpoint
from toolgen.checkpoint import checkpoint as checkpoint_module
from toolgen.checkpoint.layout import CATALOG, METADATA, OWN
from toolgen.errors import CheckpointError, OutputError, UsageError
from toolgen.testing import (
    ARCHITECTURES,
    TOKENIZER_KINDS,
    Architecture,
    TokenizerKind,
    tiny_base,
    tiny_catalog,
    tiny_checkpoint,
    tiny_model,
    tiny_tokenizer,
)
from toolgen.virtualization import output_rows

architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
ties = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "whole"
    tiny_checkpoint().save(folder)
    return folder


@pytest.fixture
def saved(pristine: Path, tmp_path: Path) -> Path:
    """A checkpoint folder to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "checkpoint"))


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=torch.tensor([[1, 2, 3, 300, 5]])).logits
    return found


@pytest.mark.parametrize(
    ("stages", "taught"),
    [
        ((), False),
        ((StageRecord(stage="index", examples={"texts": 4, "requests": 0}), StageRecord(stage="memorization")), False),
        ((StageRecord(stage="index"), StageRecord(stage="agent", examples={"trajectories": 3})), True),
        ((StageRecord(stage="retrieval", examples={"requests": 2}),), True),
    ],
)
def test_a_checkpoint_knows_whether_requests_have_taught_it(stages: tuple[StageRecord, ...], taught: bool) -> None:
    assert dataclasses.replace(tiny_checkpoint(), stages=stages).is_taught == taught


@architectures
@ties
def test_a_checkpoint_comes_back_as_it_was_saved(architecture: Architecture, tied: bool, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied)
    checkpoint.stages = (StageRecord(stage="memorization", config={"steps": 3}),)
    checkpoint.metrics.append({"stage": "memorization", "step": 1, "loss": 0.5})
    checkpoint.save(tmp_path / "checkpoint")
    loaded = Checkpoint.load(tmp_path / "checkpoint")
    assert (loaded.metadata, loaded.metrics) == (checkpoint.metadata, checkpoint.metrics)
    assert loaded.catalog == checkpoint.catalog and loaded.vocabulary == checkpoint.vocabulary
    assert (loaded.model.get_input_embeddings().weight is output_rows(loaded.model)) is tied
    assert torch.equal(logits(loaded.model), logits(checkpoint.model))
    assert not loaded.model.training
    messages = [{"role": "user", "content": "taxi 🚕 < please"}]
    assert loaded.protocol.prompt(messages) == checkpoint.protocol.prompt(messages)


@pytest.mark.parametrize("kind", TOKENIZER_KINDS)
def test_the_vocabulary_survives_under_every_tokenizer(kind: TokenizerKind, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tokenizer=kind, chatml=False)
    checkpoint.save(tmp_path / "checkpoint")
    assert Checkpoint.load(tmp_path / "checkpoint").vocabulary == checkpoint.vocabulary


def test_trained_rows_of_an_untied_model_stay_apart_in_both_matrices(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(architecture="qwen2", tied=False)
    with torch.no_grad():
        checkpoint.tool_rows.add_(1)
    checkpoint.save(tmp_path / "checkpoint")
    loaded = Checkpoint.load(tmp_path / "checkpoint")
    ids = [*loaded.vocabulary.tool_token_ids]
    assert torch.equal(loaded.tool_rows, checkpoint.tool_rows)
    assert not torch.equal(loaded.tool_rows, loaded.model.get_input_embeddings().weight[ids])


FOREIGN = """
import sys
try:
    import toolgen
except ImportError:
    pass
else:
    sys.exit("toolgen must not be importable here")
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
messages = [{"role": "user", "content": "What time is it?"}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
output = model.generate(**inputs, max_new_tokens=4, do_sample=False)
assert output.shape[1] > inputs["input_ids"].shape[1]
assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
print(tokenizer.decode(tokenizer.convert_tokens_to_ids("<<clock&&now>>")))
"""


def test_plain_transformers_opens_it_and_generates_where_toolgen_is_not_installed(saved: Path) -> None:
    # -S -I would hide the environment's packages too, so toolgen alone is blocked.
    block = "import sys; sys.modules['toolgen'] = None\n"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", block + FOREIGN, str(saved)], capture_output=True, text=True, env=environment, cwd=saved
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "<<clock&&now>>"


def edit_metadata(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        change(metadata)
        (folder / METADATA).write_text(json.dumps(metadata), encoding="utf-8")

    return damage


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def swap_two_tokens(metadata: dict[str, Any]) -> None:
    tokens = metadata["vocabulary"]["tokens"]
    tokens["mail&&send"], tokens["mail&&search"] = tokens["mail&&search"], tokens["mail&&send"]


def halve_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_a_weight(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["model.norm.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def shrink_embeddings(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:-3].clone()
    save_file(weights, path, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["vocab_size"] -= 3
    (folder / "config.json").write_text(json.dumps(config))


def change_the_catalog(folder: Path) -> None:
    Catalog([*tiny_catalog()][:-1]).save(folder / CATALOG)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit_metadata(lambda m: m.update(format=99)), "checkpoint format 99; this toolgen reads 1"),
        (
            edit_metadata(lambda m: m.update(stages=[{"stage": "x", "texts": 3}])),
            r"is damaged: stages\.0\.texts: Unexpected keyword",
        ),
        (edit_metadata(lambda m: m.pop("vocabulary")), "is damaged: vocabulary: Field required"),
        (edit_metadata(lambda m: m["vocabulary"].pop("first_id")), "the vocabulary is damaged"),
        (edit_metadata(swap_two_tokens), "2 tokens have other ids in the tokenizer, first '<<mail&&search>>'"),
        (edit_metadata(lambda m: m["vocabulary"].update(first_id=7)), "15 tokens have other ids in the tokenizer"),
        (
            edit_metadata(lambda m: m["vocabulary"]["tokens"].pop("clock&&now")),
            r"1 tools without a token \['clock&&now'\]",
        ),
        (write(METADATA, b"{"), "not JSON"),
        (write(METADATA, b"[]"), "should hold an object; it holds a list"),
        (remove(METADATA), "is not a toolgen checkpoint .*toolgen index"),
        (change_the_catalog, "is not the catalog that this checkpoint was made with"),
        (write(CATALOG, b"not json\n"), "line 1: not a tool record"),
        (remove(CATALOG), "cannot read the catalog"),
        (halve_weights, "cannot be loaded"),
        (drop_a_weight, "1 weights are missing, for instance model.norm.weight"),
        (shrink_embeddings, "the model has .* rows, the vocabulary needs"),
        (remove("model.safetensors"), "cannot be loaded"),
        (remove("config.json"), "cannot be loaded"),
        (remove("tokenizer.json"), "cannot be loaded|other ids in the tokenizer"),
        (write("tokenizer.json", b"{}"), "cannot be loaded"),
    ],
)
def test_a_damaged_folder_is_one_clear_line(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(CheckpointError, match=message) as caught:
        Checkpoint.load(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value) or "vocabulary" in str(caught.value)


def test_a_catalog_that_is_as_it_was_written_or_in_memory_is_not_parsed(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Checkpoint.load(saved)
    monkeypatch.setattr(Catalog, "load", lambda path: pytest.fail("every tool was parsed"))
    assert Checkpoint.load(saved).catalog == before.catalog
    assert Checkpoint.load(saved, catalog=before.catalog).catalog is before.catalog
    other = Catalog(before.catalog[:-1])
    assert Checkpoint.load(saved, catalog=other).catalog == before.catalog


def test_what_was_asked_for_is_kept(saved: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint.load(saved)
    assert checkpoint.tool_sets == () and checkpoint.asked_tools == frozenset()
    checkpoint.tool_sets = (checkpoint.catalog.ids[:2], checkpoint.catalog.ids[1:4])
    checkpoint.asked_tools = frozenset(checkpoint.catalog.ids[:4])
    checkpoint.save(tmp_path / "again")
    again = Checkpoint.load(tmp_path / "again")
    assert (again.tool_sets, again.asked_tools) == (checkpoint.tool_sets, checkpoint.asked_tools)
    edit_metadata(lambda m: m.update(asked_tools=[99]))(tmp_path / "again")
    with pytest.raises(CheckpointError, match="asked_tools are no places in the catalog"):
        Checkpoint.load(tmp_path / "again")
    edit_metadata(lambda m: m.update(tool_sets=[[0, 99]]))(tmp_path / "again")
    with pytest.raises(CheckpointError, match="tool_sets are no places in the catalog"):
        Checkpoint.load(tmp_path / "again")


def test_a_folder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a toolgen checkpoint"):
        Checkpoint.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), SafetensorError("I/O error"), KeyboardInterrupt()]
)
def test_an_interrupted_save_leaves_the_old_checkpoint_and_nothing_else(
    saved: Path, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    checkpoint = Checkpoint.load(saved)

    def fail(folder: Path) -> None:
        (folder / "config.json").write_text("half")
        raise failure

    monkeypatch.setattr(checkpoint.model, "save_pretrained", fail)
    with pytest.raises(KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else OutputError):
        checkpoint.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_saving_replaces_a_checkpoint_or_an_empty_folder(saved: Path, tmp_path: Path) -> None:
    other = tiny_checkpoint(seed=1)
    (tmp_path / "empty").mkdir()
    for folder in (saved, tmp_path / "empty", tmp_path / "new" / "deep"):
        other.save(folder)
        assert is_checkpoint(folder)
        assert torch.equal(Checkpoint.load(folder).tool_rows, other.tool_rows)


def test_saving_leaves_what_is_not_of_a_checkpoint_and_nothing_of_the_older_one(saved: Path) -> None:
    for name in (
        ".git/HEAD",
        "results/bfcl.json",
        "NOTES.txt",
        "model-00001-of-00002.safetensors",
        ".eval_results/x.yaml",
    ):
        (saved / name).parent.mkdir(exist_ok=True)
        (saved / name).write_text("some")
    names = {path.name for path in saved.iterdir()}
    Checkpoint.load(saved).save(saved)
    assert names - {path.name for path in saved.iterdir()} == {"model-00001-of-00002.safetensors", ".eval_results"}
    assert {(saved / name).read_text() for name in (".git/HEAD", "results/bfcl.json", "NOTES.txt")} == {"some"}
    assert {path.name for path in saved.iterdir() if not any(path.match(name) for name in OWN)} == {
        ".git",
        "results",
        "NOTES.txt",
    }


def test_saving_over_something_else_is_refused(tmp_path: Path) -> None:
    folder, file = tmp_path / "thesis", tmp_path / "file"
    folder.mkdir()
    (folder / "chapter").write_text("years")
    file.write_text("text")
    for path in (folder, file):
        with pytest.raises(UsageError, match="exists and is no checkpoint; give another output folder"):
            tiny_checkpoint().save(path)
    assert (folder / "chapter").read_text() == "years"


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        tiny_checkpoint().save(tmp_path / "file" / "checkpoint")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)])
def test_files_can_be_read_by_whom_the_umask_allows(
    tmp_path: Path, umask: int, file_mode: int, folder_mode: int
) -> None:
    before = os.umask(umask)
    try:
        tiny_checkpoint().save(tmp_path / "checkpoint")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "checkpoint").stat().st_mode) == folder_mode
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "checkpoint").iterdir()} == {file_mode}


def test_a_base_folder_becomes_a_checkpoint(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", architecture="qwen2", tied=False, chatml=False)
    checkpoint = Checkpoint.create(base, tiny_catalog())
    assert checkpoint.metadata["base"] == str(base)
    assert checkpoint.tool_rows.shape == (len(tiny_catalog()), 32)
    assert checkpoint.tokenizer.chat_template and checkpoint.tokenizer.response_template


def test_a_checkpoint_is_no_base(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="the base already has 15 of the tokens"):
        Checkpoint.create(saved, tiny_catalog())


def test_a_base_that_is_no_model_folder_is_one_clear_line_and_no_download(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a model folder"):
        Checkpoint.create("someone/some-model", tiny_catalog())
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="cannot be loaded") as caught:
        Checkpoint.create(tmp_path, tiny_catalog())
    assert "\n" not in str(caught.value)


def test_an_empty_catalog_is_refused() -> None:
    with pytest.raises(UsageError, match="the catalog is empty"):
        tiny_checkpoint(catalog=Catalog())


def test_the_order_of_the_catalog_changes_row_numbers_only() -> None:
    tools = [Tool(id=name, provider="p", name=name, description=f"does {name}") for name in ("walk", "sing", "dance")]

    def rows(order: list[Tool]) -> dict[str, list[float]]:
        tokenizer = tiny_tokenizer()
        model = tiny_model(rows=len(tokenizer))
        checkpoint = Checkpoint.from_model(model, tokenizer, Catalog(order), base="tiny")
        return dict(zip(checkpoint.vocabulary.tool_ids, checkpoint.tool_rows.tolist(), strict=True))

    first, second = rows(tools), rows(tools[::-1])
    for name in first:
        assert first[name] == pytest.approx(second[name])


def test_a_search_gives_probabilities_of_tools_and_of_no_tool_as_the_whole_model_does(saved: Path) -> None:
    checkpoint = Checkpoint.load(saved)
    names = [*checkpoint.catalog.ids, "no_tool"]
    prompt = checkpoint.protocol.prompt([{"role": "user", "content": "a taxi"}])
    with torch.inference_mode():
        scores = checkpoint.model(input_ids=torch.tensor([prompt])).logits[0, -1]
    shares = scores[[checkpoint.vocabulary.token_id(name) for name in names]].double().softmax(0).tolist()
    expected = sorted(zip(shares, names, strict=True), reverse=True)
    found = checkpoint.search("a taxi", k=len(names))
    assert [result.tool for result in found] == [name for _, name in expected]
    assert [result.rank for result in found] == [*range(1, len(names) + 1)]
    assert [result.probability for result in found] == pytest.approx([share for share, _ in expected], abs=1e-5)
    assert [result.tool for result in found if result.is_no_tool] == ["no_tool"]
    assert checkpoint.search("a taxi") == found[:5] and checkpoint.search("a taxi", k=10**6) == found


@pytest.mark.parametrize("text", ["", " \n", None, ["a taxi"], b"a taxi"])
def test_what_is_no_request_is_said(saved: Path, text: Any) -> None:
    with pytest.raises(UsageError, match="search takes one request, a text that is not empty; got "):
        Checkpoint.load(saved).search(text)


def test_a_search_sees_weights_that_changed_and_leaves_the_checkpoint_to_be_copied(saved: Path) -> None:
    checkpoint = Checkpoint.load(saved)
    before = checkpoint.search("a taxi", k=99)
    other = copy.deepcopy(checkpoint)
    with torch.no_grad():
        other.tool_rows.neg_()
    tools = [result.tool for result in other.search("a taxi", k=99) if not result.is_no_tool]
    assert tools == [result.tool for result in reversed(before) if not result.is_no_tool]
    with torch.no_grad():
        checkpoint.tool_rows.neg_()
    assert [result.tool for result in checkpoint.search("a taxi", k=99) if not result.is_no_tool] == tools


def test_the_device_and_the_type_of_numbers_can_be_chosen(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint.load(saved, device="cpu", dtype=torch.bfloat16)
    assert (checkpoint.model.device.type, checkpoint.model.dtype) == ("cpu", torch.bfloat16)
    assert len(checkpoint.search("a taxi", k=3)) == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Checkpoint.load(saved).model.device.type == "cpu"
    assert Checkpoint.load(saved).model.dtype == torch.float32


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "meta", 1.5])
def test_a_device_that_is_not_there_is_one_clear_line(saved: Path, device: Any) -> None:
    with pytest.raises(UsageError, match=f'cannot use the device {device!r}: .*; give "cpu"') as caught:
        Checkpoint.load(saved, device=device)
    assert "\n" not in str(caught.value)


def test_by_default_the_gpu_of_the_process_is_taken(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def empty(_size: int, *, device: Any) -> torch.Tensor:
        asked.append(device)
        return torch.zeros(0)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch, "empty", empty)
    for rank in ("", "3", "5"):  # the last with more processes than GPUs
        monkeypatch.setenv("LOCAL_RANK", rank) if rank else monkeypatch.delenv("LOCAL_RANK", raising=False)
        assert checkpoint_module.device_of(None).type == "cpu"
    assert asked == ["cuda:0", "cuda:3", "cuda:1"]


def test_a_model_that_does_not_fit_onto_its_device_is_one_clear_line(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_model: Any, _device: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")

    monkeypatch.setattr(PreTrainedModel, "to", full)
    with pytest.raises(CheckpointError, match=r"cannot be loaded: CUDA out of memory\. Tried to allocate 2"):
        Checkpoint.load(saved)
