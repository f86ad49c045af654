"""Catalogs that change: a tool gets a token and a row, changes, or loses both; every other tool keeps its own, bit for bit.

Where the rows come from is not known here: `toolgen.inference.late_tools` makes them by forward passes. The model and tokenizer
are changed in place, so the checkpoint that was given is not to be used afterwards; on an error nothing was changed.
Shapes: N tools, D hidden size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.naming import assign_tokens
from toolgen.catalog.overview import catalog_errors
from toolgen.catalog.tool import Tool
from toolgen.errors import CatalogError, UsageError, nearest
from toolgen.virtualization import ToolVocabulary, add_spare_tokens, output_rows, resize_rows
from toolgen.virtualization.tokenizer import is_spare

if TYPE_CHECKING:
    from toolgen.checkpoint.checkpoint import Checkpoint

SPARE = 64
"""Tokens that are added at once for tools that come later; the tokenizer and the matrices grow only when they are used up."""

Made = Literal["documentation", "requests"]


class Rows(NamedTuple):
    """Rows of tools for the input and the output matrix, on the CPU; the same where the two are tied."""

    inputs_ND: Tensor
    outputs_ND: Tensor


@torch.no_grad()
def with_spare_tokens(checkpoint: Checkpoint, count: int) -> Checkpoint:
    """The checkpoint with `count` more tokens that no tool has yet. CheckpointError where tools are several tokens."""
    vocabulary = add_spare_tokens(checkpoint.tokenizer, checkpoint.vocabulary, count)
    resize_rows(checkpoint.model, len(checkpoint.tokenizer))
    _clear(checkpoint, vocabulary.action_token_ids[-count:])
    _suppress_free(checkpoint, vocabulary)
    return replace(checkpoint, vocabulary=vocabulary)


@torch.no_grad()
def with_tools(checkpoint: Checkpoint, tools: Sequence[Tool], rows: Rows) -> Checkpoint:
    """The checkpoint with more tools at the end of its catalog. See `check_new` for the errors."""
    check_new(checkpoint, tools)
    wanted = assign_tokens(Catalog(tools))
    named = {*checkpoint.vocabulary.free_tokens} & {*wanted.values()}
    needed = len(tools) - len(named) - sum(map(is_spare, checkpoint.vocabulary.free_tokens))
    if needed > 0:
        checkpoint = with_spare_tokens(checkpoint, needed + SPARE)
    spare = filter(is_spare, checkpoint.vocabulary.free_tokens)
    tokens = [wanted[tool.id] if wanted[tool.id] in named else next(spare) for tool in tools]
    grown = seen_with(checkpoint, tools, tokens)
    write_new_rows(checkpoint, [grown.vocabulary.token_id(tool.id) for tool in tools], rows)
    _suppress_free(checkpoint, grown.vocabulary)
    return replace(
        grown,
        made={**checkpoint.made, **{tool.id: "documentation" for tool in tools}},
    )


def seen_with(checkpoint: Checkpoint, tools: Sequence[Tool], tokens: Sequence[str]) -> Checkpoint:
    """The checkpoint as it is with more tools, which have these of its free tokens; nothing is changed by it."""
    vocabulary = replace(
        checkpoint.vocabulary,
        tool_ids=(*checkpoint.vocabulary.tool_ids, *(tool.id for tool in tools)),
        tokens=(*checkpoint.vocabulary.tokens, *tokens),
    )
    return replace(checkpoint, vocabulary=vocabulary, catalog=checkpoint.catalog.extended(tools))


@torch.no_grad()
def write_new_rows(checkpoint: Checkpoint, token_ids: Sequence[int], rows: Rows) -> None:
    """Gives tokens that had no tool their rows."""
    _write(checkpoint, token_ids, rows)
    bias: Tensor | None = getattr(checkpoint.model.get_output_embeddings(), "bias", None)
    if bias is not None:
        bias[list(token_ids)] = bias[: checkpoint.vocabulary.new_token_ids.start].mean()


@torch.no_grad()
def with_changed_tools(checkpoint: Checkpoint, tools: Sequence[Tool], moved: Rows) -> Checkpoint:
    """The checkpoint with other definitions of tools that it has. `moved` is added to their rows: what their new documentation
    makes of them less what the old one did, so that what training made of a row stays."""
    check_known(checkpoint, [tool.id for tool in tools])
    check_definitions(tools)
    ids = [checkpoint.vocabulary.token_id(tool.id) for tool in tools]
    inputs, outputs = _matrices(checkpoint)
    kept = Rows(inputs[ids].float().cpu(), outputs[ids].float().cpu())
    _write(checkpoint, ids, Rows(kept.inputs_ND + moved.inputs_ND, kept.outputs_ND + moved.outputs_ND))
    return replace(
        checkpoint,
        catalog=checkpoint.catalog.replaced(tools),
        changed=checkpoint.changed | {tool.id for tool in tools if checkpoint.row_origin(tool.id) == "trained"},
    )


@torch.no_grad()
def without_tools(checkpoint: Checkpoint, tool_ids: Collection[str]) -> Checkpoint:
    """The checkpoint without some of its tools. Their tokens stay in the tokenizer, name nothing and are never chosen; a tool
    of the same name that comes later gets its token back."""
    check_known(checkpoint, tool_ids)
    gone, vocabulary = frozenset(tool_ids), checkpoint.vocabulary
    if not vocabulary.is_atomic:
        raise UsageError(f"tools of {vocabulary.indexing} indexing share their rows; virtualize the other tools again")
    if len(gone) == len(vocabulary):
        raise UsageError("these are all tools of the checkpoint; it needs at least one")
    left = [place for place, tool in enumerate(vocabulary.tool_ids) if tool not in gone]
    kept = replace(
        vocabulary,
        tool_ids=tuple(vocabulary.tool_ids[place] for place in left),
        tokens=tuple(vocabulary.tokens[place] for place in left),
    )
    _clear(checkpoint, [vocabulary.token_id(tool) for tool in gone])
    _suppress_free(checkpoint, kept)
    sets = ([tool for tool in one if tool not in gone] for one in checkpoint.tool_sets)
    return replace(
        checkpoint,
        vocabulary=kept,
        catalog=Catalog(tool for tool in checkpoint.catalog if tool.id not in gone),
        tool_sets=tuple(dict.fromkeys(tuple(one) for one in sets if len(one) > 1)),
        asked_tools=checkpoint.asked_tools - gone,
        made={tool: made for tool, made in checkpoint.made.items() if tool not in gone},
        changed=checkpoint.changed - gone,
    )


def check_new(checkpoint: Checkpoint, tools: Sequence[Tool]) -> None:
    """CatalogError for a tool that the checkpoint has, that comes twice, or whose schema is broken; UsageError for no tool, and
    where tools are several tokens."""
    if not checkpoint.vocabulary.is_atomic:
        raise UsageError(
            f"tools of {checkpoint.vocabulary.indexing} indexing share their rows, so none can be added; virtualize the whole "
            "catalog again, or use --indexing atomic"
        )
    if not tools:
        raise UsageError("there is no tool to add")
    if known := [tool.id for tool in tools if tool.id in checkpoint.catalog]:
        raise CatalogError(
            f"{len(known)} of {len(tools)} tools are in the checkpoint already, for instance {known[0]!r}; change them with "
            "`toolgen tools update`, give `--prefix` if they are another service's, or leave them out"
        )
    check_definitions(tools)


def check_definitions(tools: Sequence[Tool]) -> None:
    """CatalogError for an id that comes twice, or a schema that is broken."""
    if faults := catalog_errors(Catalog(tools)):
        raise CatalogError(f"{faults[0]}" + f" (and {len(faults) - 1} more faults)" * (len(faults) > 1))


def check_known(checkpoint: Checkpoint, tool_ids: Iterable[str]) -> None:
    """UsageError for no tool, or for one that the checkpoint does not have."""
    ids = list(tool_ids)
    if not ids:
        raise UsageError("no tool was named")
    if unknown := [tool for tool in ids if tool not in checkpoint.catalog]:
        raise UsageError(
            f"{len(unknown)} of {len(ids)} tools are not in the checkpoint, for instance {unknown[0]!r}"
            f"{nearest(unknown[0], checkpoint.catalog.ids)}"
        )


def _matrices(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    return checkpoint.model.get_input_embeddings().weight, output_rows(checkpoint.model)


def _write(checkpoint: Checkpoint, token_ids: Sequence[int], rows: Rows) -> None:
    inputs, outputs = _matrices(checkpoint)
    outputs[list(token_ids)] = rows.outputs_ND.to(outputs)
    if inputs is not outputs:
        inputs[list(token_ids)] = rows.inputs_ND.to(inputs)


def _clear(checkpoint: Checkpoint, token_ids: Iterable[int]) -> None:
    """Rows of no tool are zero."""
    ids = list(token_ids)
    for matrix in _matrices(checkpoint):
        matrix[ids] = 0


def _suppress_free(checkpoint: Checkpoint, vocabulary: ToolVocabulary) -> None:
    """Plain `generate` does not write the tokens of no tool either."""
    settings = checkpoint.model.generation_config
    if settings is not None:
        others = {*(settings.suppress_tokens or ())} - {*vocabulary.tool_token_ids}
        settings.suppress_tokens = sorted(others | {*vocabulary.free_token_ids}) or None
