"""Tools that come, change and go when a checkpoint stands: their rows take forward passes, no gradient.

A new row is what `virtualize` would have made of the documentation: by the row maker if the base has one, else a bag of words.
Where training or a fit has moved the rows of the other tools, it is moved as theirs were (`row_map`). A changed tool's row
moves by what its new documentation makes less what the old one made, so that what was trained stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from toolgen.catalog.text import views
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import Checkpoint, StageRecord
from toolgen.checkpoint.changes import (
    Rows,
    check_definitions,
    check_known,
    check_new,
    with_changed_tools,
    with_tools,
    without_tools,
)
from toolgen.checkpoint.checkpoint import ACTION_TEXTS
from toolgen.inference.row_maker import RowMaker, bags_of, make_rows
from toolgen.inference.row_map import KNOWN, find_row_map, mapped, statement_states
from toolgen.virtualization import late_rows, output_rows

COMPARED = 4096
"""Tools of the catalog, evenly spread, that say how rare a word is: reading 125,000 for one new tool would take a minute."""

OnProgress = Callable[[int, int], None]


def add_tools(checkpoint: Checkpoint, tools: Sequence[Tool], on_progress: OnProgress | None = None) -> Checkpoint:
    """The checkpoint, changed in place, with more tools; all others keep their token ids, rows and scores.

    CatalogError for a tool that it has or whose schema is broken, UsageError where tools are several tokens; nothing was
    changed then.
    """
    check_new(checkpoint, tools)
    checkpoint = with_row_map(checkpoint, on_progress)
    rows = rows_of(checkpoint, tools, on_progress)
    return _recorded(with_tools(checkpoint, tools, rows), "added", len(tools))


def update_tools(checkpoint: Checkpoint, tools: Sequence[Tool], on_progress: OnProgress | None = None) -> Checkpoint:
    """The checkpoint, changed in place, with new definitions of tools that it has, by id. Definitions that are as before cost
    nothing. UsageError for a tool that it does not have, CatalogError for a broken schema."""
    check_known(checkpoint, [tool.id for tool in tools])
    check_definitions(tools)
    differing = [tool for tool in tools if tool.content_hash != checkpoint.catalog.get(tool.id).content_hash]
    if not differing:
        return checkpoint
    old = [checkpoint.catalog.get(tool.id) for tool in differing]
    read = [i for i, (one, other) in enumerate(zip(old, differing, strict=True)) if views(one) != views(other)]
    moved = Rows(*(torch.zeros(len(differing), checkpoint.model.config.hidden_size) for _ in range(2)))
    if read:
        checkpoint = with_row_map(checkpoint, on_progress)
        before, after = (rows_of(checkpoint, [tools_[i] for i in read], on_progress) for tools_ in (old, differing))
        for sums, first, second in zip(moved, before, after, strict=True):
            sums[read] = second - first
    return _recorded(with_changed_tools(checkpoint, differing, moved), "updated", len(differing))


def remove_tools(checkpoint: Checkpoint, tool_ids: Collection[str]) -> Checkpoint:
    """The checkpoint, changed in place, without some of its tools. UsageError for one that it does not have, or for all."""
    return _recorded(without_tools(checkpoint, tool_ids), "removed", len({*tool_ids}))


def rows_of(checkpoint: Checkpoint, tools: Sequence[Tool], on_progress: OnProgress | None = None) -> Rows:
    """The rows that a checkpoint makes of the documentation of tools, which need not be its own."""
    made = _made(checkpoint, tools, on_progress)
    if not checkpoint.rows_moved:
        return made
    row_map = with_row_map(checkpoint, on_progress).row_map
    assert row_map is not None
    moved_ND = mapped(
        row_map, statement_states(checkpoint, tools), bags_of(checkpoint, tools, _others(checkpoint, tools))
    )
    outputs_ND = made.outputs_ND + moved_ND
    return Rows(outputs_ND if checkpoint.is_tied else made.inputs_ND, outputs_ND)


def with_row_map(checkpoint: Checkpoint, on_progress: OnProgress | None = None) -> Checkpoint:
    """The checkpoint with the map by which the rows of its tools have moved; itself if they have not, or it has the map."""
    if checkpoint.row_map is not None or not checkpoint.rows_moved:
        return checkpoint
    tools = checkpoint.catalog[:: -(-len(checkpoint.catalog) // KNOWN)]
    return moved_by(checkpoint, tools, statement_states(checkpoint, tools, on_progress))


def moved_by(checkpoint: Checkpoint, tools: Sequence[Tool], states_ND: Tensor) -> Checkpoint:
    """The checkpoint with the map by which the rows of these tools have moved; `states_ND` as from `statement_states`."""
    now_ND = output_rows(checkpoint.model)[[checkpoint.vocabulary.token_id(tool.id) for tool in tools]].float().cpu()
    bags_ND = bags_of(checkpoint, tools, _others(checkpoint, tools))
    return replace(checkpoint, row_map=find_row_map(states_ND, bags_ND, now_ND - _made(checkpoint, tools).outputs_ND))


def _others(checkpoint: Checkpoint, tools: Sequence[Tool]) -> list[dict[str, str]]:
    """The documentation of some other tools of the catalog."""
    own = {tool.id for tool in tools}
    some = checkpoint.catalog[:: -(-len(checkpoint.catalog) // COMPARED)]
    return [views(tool) for tool in some if tool.id not in own]


@torch.no_grad()
def _made(checkpoint: Checkpoint, tools: Sequence[Tool], on_progress: OnProgress | None = None) -> Rows:
    """The rows that `virtualize` would have made."""
    others = _others(checkpoint, tools)
    if checkpoint.row_maker is not None:
        maker = RowMaker.of(checkpoint.row_maker)
        rows_ND = make_rows(checkpoint, maker, tools, others=others, on_progress=on_progress)
        return Rows(rows_ND, rows_ND)
    texts = [views(tool) for tool in tools]
    known = [*({"name": text} for text in ACTION_TEXTS), *others]
    return Rows(*late_rows(checkpoint.model, checkpoint.tokenizer, checkpoint.vocabulary, texts, known))


def _recorded(checkpoint: Checkpoint, what: str, count: int) -> Checkpoint:
    entry = StageRecord(stage="tools", examples={what: count})
    return replace(checkpoint, stages=(*checkpoint.stages, entry))
