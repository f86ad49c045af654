"""Tools that come, change and go when a checkpoint stands: their rows take forward passes, no gradient.

A new row is what `virtualize` would have made of the documentation: by the row maker if the base has one, else a bag of words.
Where training or a fit has moved the rows of the other tools, it is moved as theirs were (`row_map`). A changed tool's row
moves by what its new documentation makes less what the old one made, so that what was trained stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

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
from toolgen.inference.row_maker import RowMaker, make_rows
from toolgen.inference.row_map import KNOWN, find_row_map, mapped, statement_states
from toolgen.virtualization import DocumentBags, Words, output_rows

COMPARED = 4096
"""Tools of the catalog, evenly spread, that say how rare a word is: reading 125,000 for one new tool would take a minute."""

OnProgress = Callable[[int, int], None]


def add_tools(
    checkpoint: Checkpoint, tools: Sequence[Tool], on_progress: OnProgress | None = None, parts: Path | None = None
) -> Checkpoint:
    """The checkpoint, changed in place, with more tools; all others keep their token ids, rows and scores. `parts`: see
    `row_maker.states_after`.

    CatalogError for a tool that it has or whose schema is broken, UsageError where tools are several tokens; nothing was
    changed then.
    """
    check_new(checkpoint, tools)
    late = LateRows(checkpoint, on_progress=on_progress)
    rows = late.of(tools, on_progress, parts)
    return _recorded(with_tools(late.checkpoint, tools, rows), "added", len(tools))


def update_tools(
    checkpoint: Checkpoint, tools: Sequence[Tool], on_progress: OnProgress | None = None, parts: Path | None = None
) -> Checkpoint:
    """The checkpoint, changed in place, with new definitions of tools that it has, by id. Definitions that are as before cost
    nothing. `parts`: see `row_maker.states_after`. UsageError for a tool that it does not have, CatalogError for a broken
    schema."""
    check_known(checkpoint, [tool.id for tool in tools])
    check_definitions(tools)
    differing = [tool for tool in tools if tool.content_hash != checkpoint.catalog.get(tool.id).content_hash]
    if not differing:
        return checkpoint
    old = [checkpoint.catalog.get(tool.id) for tool in differing]
    read = [i for i, (one, other) in enumerate(zip(old, differing, strict=True)) if views(one) != views(other)]
    moved = Rows(*(torch.zeros(len(differing), checkpoint.model.config.hidden_size) for _ in range(2)))
    if read:
        late = LateRows(checkpoint, [differing[i].id for i in read], on_progress)
        checkpoint = late.checkpoint
        before, after = (late.of([tools_[i] for i in read], on_progress, parts) for tools_ in (old, differing))
        for sums, first, second in zip(moved, before, after, strict=True):
            sums[read] = second - first
    return _recorded(with_changed_tools(checkpoint, differing, moved), "updated", len(differing))


def remove_tools(checkpoint: Checkpoint, tool_ids: Collection[str]) -> Checkpoint:
    """The checkpoint, changed in place, without some of its tools. UsageError for one that it does not have, or for all."""
    return _recorded(without_tools(checkpoint, tool_ids), "removed", len({*tool_ids}))


class LateRows:
    """Makes the rows that a checkpoint gives to the documentation of tools, which need not be its own. What depends on the
    checkpoint alone is found once: it stays as it is meanwhile, but for rows of other tools.

    `without` are tools of the checkpoint that do not say how rare a word is. `checkpoint` is the one that was given, with its
    row map if it needs one.
    """

    def __init__(
        self, checkpoint: Checkpoint, without: Iterable[str] = (), on_progress: OnProgress | None = None
    ) -> None:
        self.checkpoint = with_row_map(checkpoint, on_progress)
        self._documents = _DocumentRows(checkpoint, without)

    @torch.no_grad()
    def of(self, tools: Sequence[Tool], on_progress: OnProgress | None = None, parts: Path | None = None) -> Rows:
        """The rows of tools."""
        bags_ND = self._documents.bags(tools)
        made: Rows = self._documents.rows(tools, bags_ND, on_progress, parts)
        row_map = self.checkpoint.row_map
        if row_map is None or not self.checkpoint.rows_moved:
            return made
        moved_ND = mapped(row_map, statement_states(self.checkpoint, tools, on_progress, parts), bags_ND)
        outputs_ND = made.outputs_ND + moved_ND
        return Rows(outputs_ND if self.checkpoint.is_tied else made.inputs_ND, outputs_ND)


def with_row_map(checkpoint: Checkpoint, on_progress: OnProgress | None = None) -> Checkpoint:
    """The checkpoint with the map by which the rows of its tools have moved; itself if they have not, or it has the map."""
    if checkpoint.row_map is not None or not checkpoint.rows_moved:
        return checkpoint
    tools = checkpoint.catalog[:: -(-len(checkpoint.catalog) // KNOWN)]
    return moved_by(checkpoint, tools, statement_states(checkpoint, tools, on_progress), on_progress)


@torch.no_grad()
def moved_by(
    checkpoint: Checkpoint, tools: Sequence[Tool], states_ND: Tensor, on_progress: OnProgress | None = None
) -> Checkpoint:
    """The checkpoint with the map by which the rows of these tools have moved; `states_ND` as from `statement_states`."""
    now_ND = output_rows(checkpoint.model)[[checkpoint.vocabulary.token_id(tool.id) for tool in tools]].float().cpu()
    documents = _DocumentRows(checkpoint, [tool.id for tool in tools])
    bags_ND = documents.bags(tools)
    made_ND = documents.rows(tools, bags_ND, on_progress).outputs_ND
    return replace(checkpoint, row_map=find_row_map(states_ND, bags_ND, now_ND - made_ND))


class _DocumentRows:
    """The rows that `virtualize` would have made: by the row maker if the checkpoint has one, else bags of words as long as the
    rows of its tools are on the average."""

    @torch.no_grad()
    def __init__(self, checkpoint: Checkpoint, without: Iterable[str]) -> None:
        self._checkpoint, own = checkpoint, {*without}
        some = checkpoint.catalog[:: -(-len(checkpoint.catalog) // COMPARED)]
        self._bags = DocumentBags(checkpoint.tokenizer, [views(tool) for tool in some if tool.id not in own])
        model, base = checkpoint.model, checkpoint.vocabulary.new_token_ids.start
        self._matrices = [model.get_input_embeddings().weight, output_rows(model)][: 1 if checkpoint.is_tied else 2]
        self._words = [Words(matrix[:base]) for matrix in self._matrices[: 1 if checkpoint.row_maker else 2]]

    def bags(self, tools: Sequence[Tool]) -> Tensor:
        """Their bags of words, of length 1 (N, D)."""
        return self._bags.directions(self._words[0], [*map(views, tools)])

    def rows(
        self, tools: Sequence[Tool], bags_ND: Tensor, on_progress: OnProgress | None = None, parts: Path | None = None
    ) -> Rows:
        """Their rows; `bags_ND` as from `bags`."""
        if self._checkpoint.row_maker is not None:
            maker = RowMaker.of(self._checkpoint.row_maker)
            rows_ND = make_rows(self._checkpoint, maker, tools, bags_ND, on_progress, parts)
            return Rows(rows_ND, rows_ND)
        ids = [token_id for (token_id,) in self._checkpoint.vocabulary.sequences]
        actions = [{"name": text} for text in ACTION_TEXTS]
        made = [
            matrix[ids].float().norm(dim=1).mean().cpu() * self._bags.directions(words, [*map(views, tools)], actions)
            for matrix, words in zip(self._matrices, self._words, strict=True)
        ]
        return Rows(made[0], made[-1])


def _recorded(checkpoint: Checkpoint, what: str, count: int) -> Checkpoint:
    entry = StageRecord(stage="tools", examples={what: count})
    return replace(checkpoint, stages=(*checkpoint.stages, entry))
