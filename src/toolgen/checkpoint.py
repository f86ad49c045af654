"""Checkpoint: model, tokenizer, vocabulary and catalog in one folder.

The folder is an ordinary Hugging Face model folder, which `AutoModelForCausalLM` and `AutoTokenizer` open without toolgen,
plus `toolgen.json` (format, indexing, vocabulary, catalog hash, base, history of stages) and `catalog.jsonl`. It is
written under a temporary name and renamed: an interrupted save leaves no half checkpoint.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import views
from toolgen.errors import CheckpointError, UsageError
from toolgen.virtualization import (
    Initialization,
    PromptProtocol,
    ToolVocabulary,
    add_tool_tokens,
    initialize_rows,
    output_rows,
    resize_rows,
)
from toolgen.virtualization.protocol import RESPONSE_TEMPLATE, chat_template
from toolgen.virtualization.vocabulary import ACTIONS

FORMAT = 1
METADATA, CATALOG = "toolgen.json", "catalog.jsonl"
ACTION_TEXTS = ("finish the task and answer", "no tool fits this request")


@dataclass
class Checkpoint:
    """A model that knows a catalog. `stages` is its history: one record a stage with its resolved configuration."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    catalog: Catalog
    vocabulary: ToolVocabulary
    base: str
    stages: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def protocol(self) -> PromptProtocol:
        """Renders conversations for this model."""
        return PromptProtocol(self.tokenizer, self.vocabulary, self.catalog)

    @property
    def metadata(self) -> dict[str, Any]:
        """The content of `toolgen.json`."""
        return {
            "format": FORMAT,
            "indexing": "atomic",
            "base": self.base,
            "catalog_hash": self.catalog.content_hash,
            "vocabulary": self.vocabulary.to_dict(),
            "stages": self.stages,
        }

    @property
    def action_rows(self) -> torch.Tensor:
        """Output rows of finish, no_tool and every tool, a view of shape (2 + N, D)."""
        ids = self.vocabulary.action_token_ids
        return output_rows(self.model)[ids.start : ids.stop]

    @property
    def tool_rows(self) -> torch.Tensor:
        """Output rows of the tools alone in catalog order, a view of shape (N, D)."""
        return self.action_rows[len(ACTIONS) :]

    def save(self, path: str | Path) -> None:
        """Writes the folder; an existing checkpoint there is replaced only once the new one is whole."""
        target = Path(path)
        if target.exists() and not (target / METADATA).exists() and any(target.iterdir()):
            raise UsageError(f"{target} exists and is not a checkpoint; give another output folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)
            self.catalog.save(temporary / CATALOG)
            (temporary / METADATA).write_text(json.dumps(self.metadata, ensure_ascii=False, indent=1), encoding="utf-8")
            replace_folder(temporary, target)
        except OSError as error:
            raise CheckpointError(f"cannot write the checkpoint {target}: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def load(cls, path: str | Path, *, dtype: torch.dtype = torch.float32) -> Checkpoint:
        """Opens a folder and checks it: format, catalog hash, vocabulary against the tokenizer and the matrices.

        Raises CheckpointError with what differs.
        """
        folder = Path(path)
        metadata = read_metadata(folder)
        catalog = Catalog.load(folder / CATALOG)
        if catalog.content_hash != metadata["catalog_hash"]:
            raise CheckpointError(
                f"{folder / CATALOG} is not the catalog that this checkpoint was made with "
                f"(hash {catalog.content_hash[:12]}, expected {metadata['catalog_hash'][:12]}); restore it or virtualize anew"
            )
        vocabulary = ToolVocabulary.from_dict(metadata["vocabulary"], catalog.ids)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: the model or tokenizer cannot be loaded: {error}") from error
        checkpoint = cls(model.eval(), tokenizer, catalog, vocabulary, metadata["base"], list(metadata["stages"]))
        checkpoint._check(folder)
        return checkpoint

    def _check(self, folder: Path) -> None:
        ids = self.vocabulary.action_token_ids
        found: Sequence[int] = self.tokenizer.convert_tokens_to_ids(list(self.vocabulary.all_tokens))
        wrong = [token for token, want, have in zip(self.vocabulary.all_tokens, ids, found, strict=True) if want != have]
        if wrong:
            raise CheckpointError(f"{folder}: {len(wrong)} tokens have other ids in the tokenizer, first {wrong[0]!r}")
        rows = output_rows(self.model).shape[0]
        if rows < ids.stop:
            raise CheckpointError(f"{folder}: the model has {rows} rows, the vocabulary needs {ids.stop}")

    @classmethod
    def create(
        cls, base: str | Path, catalog: Catalog, *, initialization: Initialization = "name", seed: int = 0
    ) -> Checkpoint:
        """Virtualizes a catalog into a base model (a Hugging Face folder): new tokens, new rows, our chat template."""
        try:
            tokenizer = AutoTokenizer.from_pretrained(base)
            model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{base} is not a causal language model folder: {error}") from error
        return cls.from_model(model, tokenizer, catalog, base=str(base), initialization=initialization, seed=seed)

    @classmethod
    def from_model(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        catalog: Catalog,
        *,
        base: str,
        initialization: Initialization = "name",
        seed: int = 0,
    ) -> Checkpoint:
        """As `create`, with a model and tokenizer in memory; both are changed."""
        if not len(catalog):
            raise UsageError("the catalog is empty; a checkpoint needs at least one tool")
        vocabulary = add_tool_tokens(tokenizer, catalog)
        tokenizer.chat_template = chat_template()
        tokenizer.response_template = dict(RESPONSE_TEMPLATE)
        resize_rows(model, len(tokenizer))
        key = "description" if initialization == "description" else "name"
        texts = [*ACTION_TEXTS, *(_initial_text(views(tool), key) for tool in catalog)]
        initialize_rows(model, tokenizer, vocabulary, texts, method=initialization, seed=seed)
        _end_turns(model, tokenizer)
        return cls(model.eval(), tokenizer, catalog, vocabulary, base)


def _initial_text(view: Mapping[str, str], key: str) -> str:
    """Identifiers as words: `get_current_weather` shares its tokens with a request only as three words."""
    words = view["name"].replace("_", " ").replace(".", " ")
    return f"{words} {view.get('description', '')}" if key == "description" else words


def _end_turns(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Plain `generate` stops where our turns end, whatever the base's own end token was."""
    from toolgen.virtualization import find_end_marker

    end = find_end_marker(tokenizer)
    if model.generation_config is not None:
        model.generation_config.eos_token_id = end
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def read_metadata(folder: Path) -> dict[str, Any]:
    """`toolgen.json` of a checkpoint, its format checked; needs no weights."""
    try:
        metadata: dict[str, Any] = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} is not a toolgen checkpoint ({METADATA} is missing); make one with `toolgen virtualize`"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / METADATA} cannot be read: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{folder} has checkpoint format {metadata.get('format')!r}; this toolgen reads {FORMAT}")
    return metadata


def is_checkpoint(path: str | Path) -> bool:
    """Whether a folder claims to be a checkpoint."""
    return (Path(path) / METADATA).is_file()


def replace_folder(new: Path, target: Path) -> None:
    """Puts `new` in the place of `target`; at every moment one of the two is whole on disk."""
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    try:
        if target.exists():
            target.rename(old / "replaced")
        new.rename(target)
    finally:
        shutil.rmtree(old, ignore_errors=True)
