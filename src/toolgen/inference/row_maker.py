"""RowMaker: the row of a tool from its documentation, without training on its catalog.

    row = s · normalize(W · h + b · bag)

h is the model's hidden state after a short documentation, where it would answer, and bag the sum of the documentation's words
(`virtualization/embeddings.py`), both of length 1. The map W and the numbers b and s are learned once, with the base
(`toolgen.training.pretraining`), and are kept in its folder.
Shapes: N tools or prompts, U different prompts, D hidden size, A actions (finish, no_tool).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from toolgen.catalog.text import brief, views
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import Checkpoint
from toolgen.checkpoint.layout import ROW_MAKER, row_maker_shapes
from toolgen.checkpoint.tensors import load_tensors
from toolgen.datasets.messages import DOCUMENTATION
from toolgen.errors import UsageError
from toolgen.fetching.parts import Matrix, computed_in_parts
from toolgen.inference.attention import share_passes
from toolgen.inference.passes import last_states
from toolgen.inference.weights import quick_reading
from toolgen.virtualization import DocumentBags, PromptProtocol, Words, output_rows
from toolgen.virtualization.vocabulary import ACTIONS

PASS_TOKENS = 2048
"""Tokens of one pass over documentation."""


class RowMaker(nn.Module):
    """One linear map, two numbers, and the rows of the actions, which have no documentation."""

    def __init__(self, hidden_size: int, actions: int = 2) -> None:
        super().__init__()
        self.map_DD = nn.Parameter(torch.eye(hidden_size))
        self.bag_weight = nn.Parameter(torch.tensor(1.0))
        self.log_scale = nn.Parameter(torch.tensor(0.0))
        self.actions_AD = nn.Parameter(0.02 * torch.randn(actions, hidden_size))

    def forward(self, states_ND: Tensor, bags_ND: Tensor) -> Tensor:
        """The rows (N, D), float32."""
        mapped_ND = functional.normalize(states_ND.float(), dim=-1) @ self.map_DD.T
        return self.log_scale.exp() * functional.normalize(mapped_ND + self.bag_weight * bags_ND.float(), dim=-1)

    def save(self, folder: Path) -> None:
        """Writes `row_maker.safetensors` into a base's folder."""
        save_file({name: value.detach().float().cpu() for name, value in self.state_dict().items()}, folder / ROW_MAKER)

    @classmethod
    def load(cls, folder: Path, hidden_size: int) -> RowMaker:
        """CheckpointError where the file does not fit a model of this size."""
        return cls.of(load_tensors(folder / ROW_MAKER, row_maker_shapes(hidden_size)))

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> RowMaker:
        """The row maker with these values, as a checkpoint carries them."""
        maker = cls(len(tensors["map_DD"]), len(tensors["actions_AD"]))
        maker.load_state_dict(dict(tensors))
        return maker


def has_row_maker(folder: Path) -> bool:
    """Whether a base has learned to make rows."""
    return (folder / ROW_MAKER).is_file()


def documentation_prompt(text: str, protocol: PromptProtocol, *, max_tokens: int | None = None) -> list[int]:
    """The token ids after which h is read, of a documentation such as `catalog.text.brief` gives."""
    return protocol.prompt([{"role": DOCUMENTATION, "content": text}], max_tokens=max_tokens)


@torch.inference_mode()
def make_rows(
    checkpoint: Checkpoint,
    maker: RowMaker,
    tools: Sequence[Tool],
    bags_ND: Tensor,
    on_progress: Callable[[int, int], None] | None = None,
    parts: Path | None = None,
) -> Tensor:
    """The rows of tools (N, D), by passes over their documentation alone; `bags_ND` are their bags of words, of length 1.
    `parts`: see `states_after`.

    `on_progress` hears how many tools are done, and of how many.
    """
    prompts = [documentation_prompt(brief(tool), checkpoint.protocol) for tool in tools]
    rows_ND: Tensor = maker(states_after(checkpoint, prompts, on_progress, parts), bags_ND)
    return rows_ND


@torch.no_grad()
def bags_of(checkpoint: Checkpoint, tools: Sequence[Tool], others: Sequence[Mapping[str, str]] = ()) -> Tensor:
    """The bags of words of tools, of length 1 (N, D). `others` are the views of further tools, which say how rare a word is."""
    words = Words(checkpoint.model.get_input_embeddings().weight[: checkpoint.vocabulary.new_token_ids.start])
    return DocumentBags(checkpoint.tokenizer, others).directions(words, [*map(views, tools)])


@torch.inference_mode()
def states_after(
    checkpoint: Checkpoint,
    prompts: Sequence[Sequence[int]],
    on_progress: Callable[[int, int], None] | None = None,
    parts: Path | None = None,
) -> Tensor:
    """The hidden state after each prompt (N, D), each prompt read once. `on_progress` hears how many are done, and of how
    many. What is done is kept in the folder `parts`, which stands for the model, so that a reading that was stopped goes on."""
    model = checkpoint.model
    share_passes(model)
    different = sorted(dict.fromkeys(map(tuple, prompts)), key=len)
    places = {prompt: place for place, prompt in enumerate(different)}

    def compute(part: range) -> Matrix:
        states_PD = torch.empty(len(part), model.config.hidden_size)
        for start, stop in _passes(different, part):
            with quick_reading(model):
                states_PD[start - part.start : stop - part.start] = (
                    last_states(model, different[start:stop]).float().cpu()
                )
            if on_progress:
                on_progress(stop, len(different))
        return states_PD.numpy()

    states_UD = torch.from_numpy(computed_in_parts([str(prompt) for prompt in different], compute, parts))
    return states_UD[[places[tuple(prompt)] for prompt in prompts]]


@torch.no_grad()
def write_rows(
    checkpoint: Checkpoint,
    maker: RowMaker,
    on_progress: Callable[[int, int], None] | None = None,
    parts: Path | None = None,
) -> None:
    """Gives every tool of a checkpoint the row that `maker` makes, and the actions theirs; the checkpoint then carries the
    maker for tools that come later. `parts`: see `states_after`.

    UsageError where tools are several tokens, whose rows they share.
    """
    if not checkpoint.vocabulary.is_atomic:
        raise UsageError("rows are made from documentation under atomic indexing only; leave --indexing out")
    bags_ND = bags_of(checkpoint, checkpoint.catalog[:])
    rows_ND = make_rows(checkpoint, maker, checkpoint.catalog[:], bags_ND, on_progress, parts)
    made = torch.cat([maker.actions_AD.detach(), rows_ND])
    ids = [checkpoint.vocabulary.token_id(name) for name in (*ACTIONS, *checkpoint.vocabulary.tool_ids)]
    for matrix in _matrices(checkpoint.model):
        matrix[ids] = made.to(matrix)
    checkpoint.row_maker = {name: value.detach().float().cpu() for name, value in maker.state_dict().items()}


def _matrices(model: PreTrainedModel) -> Iterator[nn.Parameter]:
    """The input and the output matrix, once where they are one."""
    inputs, outputs = model.get_input_embeddings().weight, output_rows(model)
    yield inputs
    if outputs is not inputs:
        yield outputs


def _passes(prompts: Sequence[Sequence[int]], part: range) -> Iterator[tuple[int, int]]:
    """Beginnings and ends of what one pass takes, of some prompts that stand by length."""
    start, tokens = part.start, 0
    for place in part:
        if place > start and tokens + len(prompts[place]) > PASS_TOKENS:
            yield start, place
            start, tokens = place, 0
        tokens += len(prompts[place])
    if part:
        yield start, part.stop
