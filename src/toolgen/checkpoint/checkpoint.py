"""Checkpoint: model, tokenizer, vocabulary and catalog in one folder.

The folder is an ordinary Hugging Face model folder, which `AutoModelForCausalLM` and `AutoTokenizer` open without toolgen, and
the files of `layout`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import views
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import changes
from toolgen.checkpoint.calibration import Calibration
from toolgen.checkpoint.card import write_card
from toolgen.checkpoint.changes import Made
from toolgen.checkpoint.layout import (
    CATALOG,
    FORMAT,
    METADATA,
    METRICS,
    OWN,
    ROW_MAKER,
    ROW_MAP,
    TEXT_STATES,
    StageRecord,
    keeps_documentation_rows,
    read_metadata,
    read_metrics,
    row_maker_shapes,
    trains_rows,
)
from toolgen.checkpoint.tensors import load_tensors, non_finite
from toolgen.datasets.messages import NO_TOOL
from toolgen.errors import CatalogError, CheckpointError, UsageError
from toolgen.fetching.opening import open_model, open_tokenizer, reason_of, without_progress_bars
from toolgen.files import check_replaceable, new_folder, sha256_of, write_json, write_records
from toolgen.foreign.typed import typed
from toolgen.virtualization import (
    Indexing,
    Initialization,
    PromptProtocol,
    TextEncoder,
    ToolVocabulary,
    add_tool_tokens,
    check_architecture,
    document_vectors,
    find_end_marker,
    initialize_rows,
    output_rows,
    resize_rows,
    spell,
)
from toolgen.virtualization.protocol import RESPONSE_TEMPLATE, chat_template
from toolgen.virtualization.tokenizer import begins_with_bos, check_sequences
from toolgen.virtualization.vocabulary import ACTIONS

if TYPE_CHECKING:
    from toolgen.retrieval.generative import GenerativeRetriever

ACTION_TEXTS = ("finish the task and answer", "no tool fits this request")


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """One result of a search: the id of a tool, or "no_tool", and its probability among all tools and "no_tool"."""

    rank: int
    tool: str
    probability: float

    @property
    def is_no_tool(self) -> bool:
        """Whether this is the result that no tool fits."""
        return self.tool == NO_TOOL


@dataclass
class Checkpoint:
    """A model that knows a catalog.

        checkpoint = Checkpoint.load("model-3")
        checkpoint.search("will it rain in Oslo?", k=5)

    `stages` is its history, one record a stage with its resolved configuration; `metrics`
    its training curve, one record a step over all stages; `tool_sets` the tools that training requests asked for together,
    `asked_tools` all that any of them asked for.

    `made` are the tools whose rows were made after the last training, and of what; `changed` those that changed after it.
    `row_maker` are the tensors by which the base makes rows of documentation, if it has learned that. Found since the last
    training, if at all: `row_map`, the tensors by which training has moved such rows, and `text_states` (S, D), what the model
    makes of some texts; `calibrations`, how sure rankings are, by the name of the retriever."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    catalog: Catalog
    vocabulary: ToolVocabulary
    base: str
    stages: tuple[StageRecord, ...] = ()
    metrics: list[dict[str, Any]] = field(default_factory=list)
    tool_sets: tuple[tuple[str, ...], ...] = ()
    asked_tools: frozenset[str] = frozenset()
    made: Mapping[str, Made] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    row_maker: Mapping[str, torch.Tensor] | None = None
    row_map: Mapping[str, torch.Tensor] | None = None
    text_states: torch.Tensor | None = None
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    @cached_property
    def protocol(self) -> PromptProtocol:
        """Renders conversations for this model."""
        return PromptProtocol(self.tokenizer, self.vocabulary, self.catalog)

    @property
    def metadata(self) -> dict[str, Any]:
        """The content of `toolgen.json`."""
        return {
            "format": FORMAT,
            "base": self.base,
            "catalog_hash": self.catalog.content_hash,
            "vocabulary": self.vocabulary.to_dict(),
            "stages": [record.to_dict() for record in self.stages],
            "tool_sets": [[self.catalog.position(tool) for tool in one] for one in self.tool_sets],
            "asked_tools": sorted(map(self.catalog.position, self.asked_tools)),
            "made": dict(self.made),
            "changed": sorted(self.changed),
            "calibrations": {name: one.to_dict() for name, one in self.calibrations.items()},
        }

    @property
    def is_taught(self) -> bool:
        """Whether training requests, or conversations, have taught the model this catalog's tools."""
        taught = any(one.examples.get(kind) for one in self.stages for kind in ("requests", "trajectories"))
        return taught or bool(self.asked_tools)

    def search(self, text: str, k: int = 5) -> list[SearchResult]:
        """The k likeliest results for a request, best first: tools, and "no_tool" where it ranks among them. The probabilities
        are those of what the model chooses if it has to name a tool or decline; over all tools and "no_tool" they sum to one.

        For many requests at once, or a part of the tools, take a `GenerativeRetriever(checkpoint)`.
        """
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"search takes one request, a text that is not empty; got {text!r:.60}")
        ranking = self._retriever.search([text], k)[0].with_no_tool(k)
        return [
            SearchResult(rank=rank, tool=tool, probability=probability)
            for rank, (tool, probability) in enumerate(zip(ranking.tools, ranking.scores, strict=True), start=1)
        ]

    @cached_property
    def _retriever(self) -> GenerativeRetriever:
        # Against the order of the packages, as for `with_tools`: nobody should have to know the retriever for a search.
        from toolgen.retrieval.generative import GenerativeRetriever

        return GenerativeRetriever(self)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_retriever"}  # it has threads

    def row_origin(self, tool_id: str) -> str:
        """What a tool's row was last made from: "trained", "requests" (in closed form) or "documentation" alone."""
        return row_origin(tool_id, self.made, [record.to_dict() for record in self.stages])

    @property
    def keeps_documentation_rows(self) -> bool:
        """Whether its rows are those that `toolgen index` made with a base that has learned to. In further training they had
        better stay, unless requests ask for every tool (`resolve_config`)."""
        return keeps_documentation_rows(self.metadata, has_row_maker=self.row_maker is not None)

    @property
    def rows_moved(self) -> bool:
        """Whether the rows of its tools are no longer what the model makes of their documentation: training has moved them, or
        the layers that read it."""
        return any(
            record.config.get("rows") != "made" if record.stage == "index" else record.stage != "tools"
            for record in self.stages
        )

    @property
    def is_tied(self) -> bool:
        """Whether the input and the output matrix are one."""
        return self.model.get_input_embeddings().weight is output_rows(self.model)

    def with_tools(self, tools: Sequence[Tool]) -> Checkpoint:
        """The checkpoint with more tools, whose rows come from their documentation by forward passes; the others keep theirs.
        The model is changed in place: go on with what is returned. See `toolgen.inference.late_tools`."""
        from toolgen.inference.late_tools import add_tools

        return add_tools(self, tools)

    def without_tools(self, tool_ids: Collection[str]) -> Checkpoint:
        """The checkpoint without some of its tools, which are then never chosen. The model is changed in place: go on with what
        is returned."""
        from toolgen.inference.late_tools import remove_tools

        return remove_tools(self, tool_ids)

    @property
    def action_rows(self) -> torch.Tensor:
        """Output rows of finish, no_tool and all tokens of tools, a view."""
        ids = self.vocabulary.action_token_ids
        return output_rows(self.model)[ids.start : ids.stop]

    @property
    def tool_rows(self) -> torch.Tensor:
        """Output rows of the tools (N, D) in catalog order, under atomic indexing: a view, until tools were added and removed
        so that they stand in another order."""
        rows, places = self.action_rows[len(ACTIONS) :], self.vocabulary.rows
        return rows[: len(places)] if isinstance(places, range) else rows[places]

    def tool_vectors(self) -> torch.Tensor:
        """One vector a tool in catalog order (N, D): its output row, or the mean of those of its tokens."""
        if self.vocabulary.is_atomic:
            return self.tool_rows
        rows = output_rows(self.model)
        return torch.stack([rows[list(sequence)].mean(0) for sequence in self.vocabulary.sequences])

    def to(self, device: str | torch.device | None = None) -> Checkpoint:
        """The checkpoint itself, its model on `device`; without one where `load` would put it."""
        self.model.to(device_of(device))
        return self

    @property
    def context_length(self) -> int:
        """Tokens that the model can read at once."""
        return int(getattr(self.model.config, "max_position_embeddings", None) or 1 << 30)

    def save(self, path: str | Path) -> None:
        """Writes the folder; an existing checkpoint there is replaced only once the new one is whole, and what else stands in
        its folder stays. CheckpointError for weights that are no numbers."""
        target = Path(path)
        check_replaceable(target, METADATA, "checkpoint")
        _check_finite(self.model, f"{target} was not written")
        with new_folder(target, OWN) as folder:
            with without_progress_bars():
                self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            self.catalog.save(folder / CATALOG)
            write_records(folder / METRICS, self.metrics)
            states = None if self.text_states is None else {"states": self.text_states}
            for name, tensors in ((ROW_MAKER, self.row_maker), (ROW_MAP, self.row_map), (TEXT_STATES, states)):
                if tensors is not None:
                    save_file(dict(tensors), folder / name)
            write_json(folder / METADATA, {**self.metadata, "catalog_sha256": sha256_of(folder / CATALOG)})
            write_card(self, folder)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        catalog: Catalog | None = None,
    ) -> Checkpoint:
        """Opens a folder and checks it: format, catalog hash, vocabulary against the tokenizer and the matrices.

        The model goes to `device`, by default a GPU (CUDA) if there is one, and is in `dtype`, by default float32. `catalog`
        is one that is in memory already, a dataset's: if it is this checkpoint's, it is not read a second time, which saves
        0.4 GiB with 125,000 tools. Raises CheckpointError with what differs.
        """
        folder, place = Path(path), device_of(device)
        metadata = read_metadata(folder)
        if catalog is None or catalog.content_hash != metadata["catalog_hash"]:
            catalog = _open_catalog(folder, metadata)
        if catalog.content_hash != metadata["catalog_hash"]:
            raise CheckpointError(
                f"{folder / CATALOG} is not the catalog that this checkpoint was made with "
                f"(hash {catalog.content_hash[:12]}, expected {metadata['catalog_hash'][:12]}); restore it or virtualize again"
            )
        vocabulary = ToolVocabulary.from_dict(metadata["vocabulary"], catalog.ids)
        stages = typed(tuple[StageRecord, ...], metadata["stages"])
        model, tokenizer = _open(folder, dtype or torch.float32, place)
        checkpoint = cls(model.eval(), tokenizer, catalog, vocabulary, metadata["base"], stages)
        checkpoint.metrics = read_metrics(folder / METRICS)
        checkpoint.tool_sets = tuple(_tools(folder, "tool_sets", one, catalog) for one in metadata["tool_sets"])
        checkpoint.asked_tools = frozenset(_tools(folder, "asked_tools", metadata["asked_tools"], catalog))
        checkpoint.made, checkpoint.changed = dict(metadata["made"]), frozenset(metadata["changed"])
        shapes = _shapes(output_rows(model).shape[1])
        checkpoint.row_maker, checkpoint.row_map, states = (
            load_tensors(folder / name, shapes[name]) if (folder / name).is_file() else None for name in shapes
        )
        checkpoint.text_states = states["states"] if states else None
        checkpoint.calibrations = typed(dict[str, Calibration], metadata.get("calibrations", {}))
        checkpoint._check(folder)
        return checkpoint

    def _check(self, folder: Path) -> None:
        ids = self.vocabulary.action_token_ids
        found: Sequence[int] = self.tokenizer.convert_tokens_to_ids(list(self.vocabulary.all_tokens))
        wrong = [
            token for token, want, have in zip(self.vocabulary.all_tokens, ids, found, strict=True) if want != have
        ]
        if wrong:
            raise CheckpointError(f"{folder}: {len(wrong)} tokens have other ids in the tokenizer, first {wrong[0]!r}")
        if not self.vocabulary.is_atomic:
            check_sequences(self.tokenizer, self.vocabulary)
        rows = output_rows(self.model).shape[0]
        if rows < ids.stop:
            raise CheckpointError(f"{folder}: the model has {rows} rows, the vocabulary needs {ids.stop}")

    @classmethod
    def create(
        cls,
        base: str | Path,
        catalog: Catalog,
        *,
        indexing: Indexing = "atomic",
        tool_sets: Sequence[Sequence[str]] = (),
        initialization: Initialization = "documentation",
        seed: int = 0,
        spare: int = 0,
    ) -> Checkpoint:
        """Virtualizes a catalog into a base model (a Hugging Face folder): new tokens, new rows, our chat template.
        CheckpointError for a base that toolgen cannot run.

        `tool_sets`: the tools (ids) that training requests ask for together, which indexing by `codes` pulls together. `spare`:
        how many tokens to add for tools that come later.
        """
        if not (Path(base) / "config.json").is_file():
            raise CheckpointError(
                f"{base} is not a model folder (config.json is missing); get one with `toolgen fetch base`"
            )
        model, tokenizer = _open(Path(base), torch.float32)
        return cls.from_model(
            model,
            tokenizer,
            catalog,
            base=str(base),
            indexing=indexing,
            tool_sets=tool_sets,
            initialization=initialization,
            seed=seed,
            spare=spare,
        )

    @classmethod
    def from_model(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        catalog: Catalog,
        *,
        base: str,
        indexing: Indexing = "atomic",
        tool_sets: Sequence[Sequence[str]] = (),
        initialization: Initialization = "documentation",
        seed: int = 0,
        spare: int = 0,
    ) -> Checkpoint:
        """As `create`, with a model and tokenizer in memory; both are changed, unless the model is refused."""
        if not len(catalog):
            raise UsageError("the catalog is empty; a checkpoint needs at least one tool")
        check_architecture(model)
        documentation = [views(tool) for tool in catalog]
        spelling = spell(
            indexing,
            catalog,
            vectors=lambda: document_vectors(model, tokenizer, documentation),
            encode=lambda texts: TextEncoder(tokenizer).encode_each(texts),
            tool_sets=[[catalog.position(tool) for tool in one] for one in tool_sets],
            seed=seed,
        )
        vocabulary = add_tool_tokens(tokenizer, catalog, spelling)
        tokenizer.chat_template = chat_template(bos=begins_with_bos(tokenizer))
        if vocabulary.is_atomic:  # it reads one token as the name
            tokenizer.response_template = dict(RESPONSE_TEMPLATE)
        resize_rows(model, len(tokenizer))
        texts = [*({"name": text} for text in ACTION_TEXTS), *documentation]
        initialize_rows(model, tokenizer, vocabulary, texts, method=initialization, seed=seed)
        _end_turns(model, tokenizer)
        made = cls(model.eval(), tokenizer, catalog, vocabulary, base)
        return changes.with_spare_tokens(made, spare) if spare else made


def row_origin(tool_id: str, made: Mapping[str, Made], stages: Sequence[Mapping[str, Any]]) -> str:
    """See `Checkpoint.row_origin`; from `toolgen.json` alone."""
    return made.get(tool_id) or ("trained" if any(map(trains_rows, stages)) else "documentation")


def _open(
    folder: Path, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a Hugging Face folder. CheckpointError where they cannot be read or weights are missing, which
    transformers would fill with random ones."""
    try:
        tokenizer = open_tokenizer(folder)
        model, found = open_model(folder, dtype=dtype, output_loading_info=True)
        model.to(device)
    except Exception as error:  # damaged files raise whatever the library that reads them raises, Exception itself too
        raise CheckpointError(f"{folder}: the model or tokenizer cannot be loaded: {reason_of(error)}") from error
    if missing := sorted(found["missing_keys"]):
        raise CheckpointError(
            f"{folder}: {len(missing)} weights are missing, for instance {missing[0]}; get the model again"
        )
    if (layers := getattr(model.config.get_text_config(), "num_hidden_layers", 1)) < 1:
        raise CheckpointError(f"{folder}: its config.json says {layers} layers; get the model again")
    _check_finite(model, f"{folder} cannot be used")
    return model, tokenizer


def device_of(wanted: str | torch.device | None = None) -> torch.device:
    """The device that was asked for; without a wish the GPU of this process, or the CPU."""
    if wanted is None:
        number = int(os.environ.get("LOCAL_RANK", "0")) % max(1, torch.cuda.device_count())
        wanted = f"cuda:{number}" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.empty(0, device=wanted)
        found.cpu()  # which "meta" refuses: it holds no values
        return found.device
    except (RuntimeError, AssertionError, TypeError) as error:  # PyTorch built without CUDA asserts
        reason = (str(error).splitlines() or [""])[0]
        raise UsageError(
            f'cannot use the device {wanted!r}: {reason}; give "cpu", or none for the best there is'
        ) from error


def _check_finite(model: PreTrainedModel, consequence: str) -> None:
    if name := non_finite(model.named_parameters()):
        raise CheckpointError(
            f"{consequence}: the weights {name} hold NaN or infinity; train it again, from a sound checkpoint"
        )


def _shapes(width: int) -> dict[str, dict[str, tuple[int | None, ...]]]:
    """What the files beside the model hold, for rows of this width."""
    return {
        ROW_MAKER: row_maker_shapes(width),
        ROW_MAP: {"center": (width,), "map": (2 * width + 1, width)},
        TEXT_STATES: {"states": (None, width)},
    }


def _open_catalog(folder: Path, metadata: Mapping[str, Any]) -> Catalog:
    """A file that is still as it was written is sound, and its tools are parsed when they are asked for."""
    path = folder / CATALOG
    try:
        if path.is_file() and sha256_of(path) == metadata.get("catalog_sha256"):
            return Catalog.open(path, metadata["catalog_hash"])
        return Catalog.load(path)
    except CatalogError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def _end_turns(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Plain `generate` stops where our turns end, whatever the base's own end token was."""
    end = find_end_marker(tokenizer)
    if model.generation_config is not None:
        model.generation_config.eos_token_id = end
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def _tools(folder: Path, key: str, positions: Sequence[int], catalog: Catalog) -> tuple[str, ...]:
    """The tools at these places of the catalog."""
    if any(not 0 <= position < len(catalog) for position in positions):
        raise CheckpointError(f"{folder / METADATA} is damaged: its {key} are no places in the catalog")
    ids = catalog.ids
    return tuple(ids[position] for position in positions)
