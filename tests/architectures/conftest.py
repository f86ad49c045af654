"""Each working family virtualized once, and beside it the same weights as plain transformers opens them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from toolgen.checkpoint import Checkpoint
from toolgen.testing import tiny_catalog
from toolgen.virtualization import Indexing

from .families import WORKING, Family


@dataclass(frozen=True, eq=False)
class Built:
    """A family as a checkpoint, not to be changed, and `plain`: its saved folder opened by transformers alone."""

    family: Family
    checkpoint: Checkpoint
    plain: PreTrainedModel

    def fresh(self) -> Checkpoint:
        """A copy that can be trained."""
        return copy.deepcopy(self.checkpoint)


def virtualized(family: Family, indexing: Indexing = "atomic") -> Checkpoint:
    tokenizer = family.tokenizer()
    model = family.model(len(tokenizer))
    return Checkpoint.from_model(model, tokenizer, tiny_catalog(), base=family.name, indexing=indexing)


def opened(folder: Path) -> PreTrainedModel:
    """As a user without toolgen opens it, with the attention that transformers takes for it."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder)
    return model.eval()


@torch.no_grad()
def plain_logits(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """The scores after each token (T, V), from one pass over them all without a cache."""
    logits: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    return logits


@pytest.fixture(scope="session", params=WORKING, ids=lambda family: family.name)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    checkpoint = virtualized(request.param)
    folder = tmp_path_factory.mktemp("architecture") / "checkpoint"
    checkpoint.save(folder)
    yield Built(request.param, checkpoint, opened(folder))
