"""The mean of checkpoints: weights, history, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from toolgen.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.errors import UsageError
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import tiny_catalog, tiny_checkpoint
from toolgen.training.average import average_checkpoints


@pytest.mark.parametrize("tied", [True, False])
def test_every_weight_is_the_mean_of_all_and_the_history_names_them(tmp_path: Path, tied: bool) -> None:
    folders, parts = [tmp_path / str(seed) for seed in range(3)], []
    sets = [(tiny_catalog().ids[seed : seed + 2],) for seed in (0, 0, 1)]
    for seed, folder in enumerate(folders):
        stages = [{"stage": "memorization", "seed": seed}]
        parts.append(replace(tiny_checkpoint(tied=tied, seed=seed), stages=stages, tool_sets=sets[seed]))
        parts[-1].asked_tools = frozenset(sets[seed][0])
        parts[-1].save(folder)
    made = average_checkpoints(folders)
    weights = [dict(part.model.named_parameters()) for part in parts]
    found = dict(made.model.named_parameters())
    assert found.keys() == weights[0].keys()
    for name, mean in found.items():
        assert_close(mean, torch.stack([one[name] for one in weights]).mean(0))
    assert made.stages == [
        {"stage": "memorization", "seed": 0},
        {
            "stage": "average",
            "with": [{"checkpoint": str(f), "stages": p.stages} for f, p in zip(folders[1:], parts[1:], strict=True)],
        },
    ]
    assert made.tool_sets == (*sets[0], *sets[2])
    assert made.asked_tools == {*sets[0][0], *sets[2][0]}
    made.save(tmp_path / "mean")
    retriever = GenerativeRetriever(Checkpoint.load(tmp_path / "mean"))
    assert len(retriever.search(["the weather"], 3)[0].tools) == 3


def test_what_has_no_mean_is_refused(tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "one")
    replace(tiny_checkpoint(), base="another").save(tmp_path / "base")
    tiny_checkpoint(catalog=Catalog(tiny_catalog()[:5])).save(tmp_path / "catalog")
    tiny_checkpoint(indexing="numeric").save(tmp_path / "numeric")
    for others, reason in (
        ((), "at least two checkpoints; 1 given"),
        (("base",), "has the base another"),
        (("catalog",), "has the catalog"),
        (("numeric",), "has other tokens or weights of other shapes"),
    ):
        with pytest.raises(UsageError, match=reason):
            average_checkpoints([tmp_path / "one", *(tmp_path / name for name in others)])
