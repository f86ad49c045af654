"""In vLLM: a logits processor that leaves a request no other token than one that names a tool, `finish` or `no_tool`.

    vllm serve CKPT --logprobs-mode processed_logprobs --logits-processors toolgen.serving.vllm_tokens:ActionTokens

A request asks for it with `"vllm_xargs": {"toolgen_choose": 1}` and `"max_tokens": 1`; `processed_logprobs` are those of what
is left. vLLM's own `allowed_token_ids` takes at most 1,024. For the model runner V2 of vLLM 0.33; loaded in its front end too,
so it imports little.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor

from toolgen.catalog import Catalog
from toolgen.checkpoint.layout import CATALOG, read_metadata
from toolgen.virtualization.vocabulary import ACTIONS, ToolVocabulary

if TYPE_CHECKING:
    import torch
    from vllm.config import VllmConfig
    from vllm.sampling_params import SamplingParams
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcRequestState

SWITCH = "toolgen_choose"


class ActionTokens(LogitsProcessor):  # type: ignore[misc]  # vLLM is not installed here
    """Only where tools are one token each."""

    def __init__(self, vllm_config: VllmConfig, req_states: LogitsProcRequestState) -> None:
        import torch

        vocabulary = vocabulary_of(Path(vllm_config.model_config.model))
        legal = [vocabulary.token_id(name) for name in (*ACTIONS, *vocabulary.tool_ids)]
        self._illegal_V = torch.ones(req_states.vocab_size, dtype=torch.bool, device=req_states.device)
        self._illegal_V[legal] = False
        self._asked = torch.zeros(req_states.max_num_reqs, dtype=torch.bool)  # by slot
        self._asked_there = self._asked.to(req_states.device, copy=True)

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """ValueError for a request that would write more than the choice."""
        if _asks(sampling_params) and sampling_params.max_tokens != 1:
            raise ValueError(f"{SWITCH} is for the choice of a tool, which is one token; set max_tokens to 1")

    def add_request(self, req_idx: int, sampling_params: SamplingParams) -> bool:
        """Whether the request in this slot asks for it."""
        self._asked[req_idx] = _asks(sampling_params)
        return bool(self._asked[req_idx])

    def apply_staged_writes(self) -> None:
        """Tells the device who asks."""
        self._asked_there.copy_(self._asked)

    def apply(self, logits: torch.Tensor, ctx: LogitsContext) -> torch.Tensor:
        """Forbids all other tokens, in place."""
        asked = self._asked_there[ctx.expanded_idx_mapping]
        return logits.masked_fill_(asked[:, None] & self._illegal_V, float("-inf"))


def vocabulary_of(folder: Path) -> ToolVocabulary:
    """The tokens of a checkpoint, without its weights."""
    return ToolVocabulary.from_dict(read_metadata(folder)["vocabulary"], Catalog.load(folder / CATALOG).ids)


def _asks(sampling_params: SamplingParams) -> bool:
    return bool((sampling_params.extra_args or {}).get(SWITCH))
