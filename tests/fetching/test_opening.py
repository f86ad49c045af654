"""Model folders are data: code that lies in one is never run, whatever is typed, and the advice is our own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolgen.checkpoint import Checkpoint
from toolgen.errors import ToolgenError
from toolgen.fetching.opening import OWN_CODE, open_encoder
from toolgen.inference.local_model import LocalModel
from toolgen.planning.shape import ModelShape
from toolgen.testing import tiny_catalog, tiny_checkpoint, tiny_encoder

OPENED: dict[str, Callable[[Path], Any]] = {
    "checkpoint": Checkpoint.load,
    "base": lambda folder: Checkpoint.create(folder, tiny_catalog()),
    "plan": ModelShape.read,
    "writer": lambda folder: LocalModel(folder).write([[{"role": "user", "content": "hi"}]], max_tokens=2),
    "encoder": open_encoder,
}


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A checkpoint of an architecture that only the code beside it knows; the code leaves a file behind when it runs."""
    folder = tmp_path / "planted"
    tiny_checkpoint().save(folder)
    (folder / "planted.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'it-ran')!r}).touch()\n")
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "planted.Config", "AutoModel": "planted.Model", "AutoModelForCausalLM": "planted.Model"}
    config |= {"model_type": "planted", "architectures": ["Planted"], "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {
        "tokenizer_class": "Planted",
        "auto_map": {"AutoTokenizer": ["planted.Tokenizer", "planted.Tokenizer"]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("opened", OPENED)
def test_code_in_a_model_folder_does_not_run(
    planted: Path, tmp_path: Path, opened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    if opened == "encoder":
        pytest.importorskip("sentence_transformers")
    with pytest.raises(ToolgenError) as caught:
        OPENED[opened](planted)
    assert OWN_CODE in str(caught.value) and "trust_remote_code" not in str(caught.value)
    assert not (tmp_path / "it-ran").exists()


def test_a_yes_on_stdin_runs_nothing_either(planted: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "toolgen", "search", str(planted), "weather"]
    done = subprocess.run(command, input="y\ny\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1 and OWN_CODE in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout
    assert not (tmp_path / "it-ran").exists()


def test_weights_in_a_pickle_are_not_read(tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "ckpt")
    (tmp_path / "ckpt" / "model.safetensors").rename(tmp_path / "ckpt" / "pytorch_model.bin")
    with pytest.raises(ToolgenError, match=r"cannot be loaded: .*safetensors"):
        Checkpoint.load(tmp_path / "ckpt")


def test_an_encoder_whose_module_is_foreign_code_is_refused(planted: Path, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "planted.Model"}]
    (planted / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ToolgenError) as caught:
        open_encoder(planted)
    assert OWN_CODE in str(caught.value)
    assert not (tmp_path / "it-ran").exists()


def test_a_text_that_holds_a_special_token_of_an_encoder_has_only_its_letters(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    tokenizer = open_encoder(tiny_encoder(tmp_path)).tokenizer
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    assert special
    for token in tokenizer.all_special_tokens:
        ids = tokenizer([f"a {token} b"], add_special_tokens=False)["input_ids"][0]
        assert special.isdisjoint(ids), token
