"""Replay: what the model writes before a stage, so that the stage leaves what has nothing to do with tools as it was.

Texts are read once before the first step, and at each of their tokens the model's distribution over words is what the stage
should leave there (learning without forgetting, arXiv 1606.09282). Tools are no words: so it also learns that plain text names
none. `replay.jsonl` holds the texts, written by SmolLM2-135M-Instruct (Apache-2.0) as `benchmarks/replayed_texts.py` says; they
are read in any base's own tokens.
Shapes: T tokens of a text after its first, W words.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

from toolgen.training.examples import TrainingExample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from toolgen.checkpoint import Checkpoint
    from toolgen.datasets import Dataset
    from toolgen.training.config import StageConfig

WINDOW = 256
"""Tokens of a replayed text: some of what was written, one after another, so that later places are there, too."""
KEPT = 64
"""Likeliest words of a place whose probabilities are kept."""
AT_ONCE = 4
"""Texts that share a pass."""


def replay(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """As many texts as the stage will draw, each to the distributions over words that the model has now."""
    from toolgen.checkpoint.checkpoint import device_of
    from toolgen.inference.passes import Part, Runner
    from toolgen.inference.weights import quick_reading

    del dataset
    share = config.shares.get("replay", 0.0) / (sum(config.shares.values()) or 1)
    drawn = config.steps * config.batch_size * share
    (ids,) = checkpoint.protocol.encoder.encode_each([_written()])
    window = min(WINDOW, checkpoint.context_length)
    texts = [ids[start : start + window] for start in range(0, len(ids) - 1, window)][: round(drawn) + 1]
    model, words = checkpoint.model, (0, checkpoint.vocabulary.new_token_ids.start)
    if model.device.type == "cpu" and not config.shard_trunk:  # where training takes it anyway
        model.to(device_of())
    runner, examples = Runner(model, weights="full"), []
    with quick_reading(model):
        for start in range(0, len(texts), AT_ONCE):
            part = texts[start : start + AT_ONCE]
            made = runner.run([Part(ids=ids[:-1], keep=len(ids) - 1, rows=words) for ids in part])
            examples += [replayed(ids, logits_TW) for ids, logits_TW in zip(part, made, strict=True)]
    return examples


def replayed(ids: Sequence[int], logits_TW: Tensor) -> TrainingExample:
    """A text whose words follow each other by these logits. What the kept words lack goes to the token that follows if it is
    none of them: in texts that the model wrote itself that is right on the average."""
    kept = logits_TW.float().log_softmax(-1).topk(min(KEPT, logits_TW.shape[1]))
    targets = []
    for following, tokens, weights in zip(ids[1:], kept.indices.tolist(), kept.values.exp().tolist(), strict=True):
        target = dict(zip(tokens, weights, strict=True))
        target.setdefault(following, 1.0)
        targets.append((tuple(target), tuple(target.values())))
    return TrainingExample(tuple(ids), text=tuple(range(len(ids) - 1)), text_targets=tuple(targets))


def _written() -> str:
    lines = resources.files("toolgen.training").joinpath("replay.jsonl").read_text(encoding="utf-8").splitlines()
    return "\n\n".join(json.loads(line)["text"] for line in lines)
