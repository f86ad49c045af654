"""The stages of training, each one value: what it learns from, with which settings and loss, and what follows.

A new stage is one more value in `STAGES`: the command line, the plan and the tests take it from there. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolgen.errors import UsageError
from toolgen.training import sources
from toolgen.training.config import TOKEN_WEIGHTS
from toolgen.training.examples import TrainingExample
from toolgen.training.loss import Loss, set_cross_entropy
from toolgen.training.replay import replay
from toolgen.training.sources import Source

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.datasets import Dataset
    from toolgen.training.config import StageConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """`sources` are the examples that it may mix, by name; `defaults` what it changes of `StageConfig`'s.

    `where_rows_stay` are further differences where the rows of tools are better left as `toolgen index` made them
    (`Checkpoint.keeps_documentation_rows`), because no request asks for some of them: what the layers learn from requests then
    helps these, too.
    `help` is the text of its command, `follow_up` the next command, with `{output}` and `{dataset}` to be filled in.
    `supervised_share` is the share of an example's tokens whose next token has a loss, which the plan counts with.
    `learns_requests`: the checkpoint remembers for which tools the training requests asked. `writes_text`: what generates
    with the result writes text, never a tool in the midst of it.
    """

    name: str
    help: str
    follow_up: str
    sources: Mapping[str, Source]
    defaults: Mapping[str, Any]
    where_rows_stay: Mapping[str, Any] = field(default_factory=dict)
    loss: Loss = set_cross_entropy
    supervised_share: float = 0.03
    learns_requests: bool = False
    writes_text: bool = False

    def examples(
        self, checkpoint: Checkpoint, dataset: Dataset, config: StageConfig
    ) -> dict[str, Sequence[TrainingExample]]:
        """The sources that `config.shares` asks for; UsageError for a name that the stage does not know."""
        if unknown := config.shares.keys() - self.sources.keys():
            raise UsageError(
                f"the {self.name} stage has no source {sorted(unknown)[0]!r}; it has {', '.join(self.sources)}"
            )
        wanted = [name for name, share in config.shares.items() if share > 0]
        return {name: self.sources[name](checkpoint, dataset, config) for name in wanted}


_DOCUMENTATION: Mapping[str, Source] = {
    **{view: sources.view_source(view) for view in ("document", "name", "description", "parameters")},
    "keywords": sources.keywords,
    "short": sources.short,
    "synthetic": sources.synthetic,
}
_REQUESTS: Mapping[str, Source] = {
    "requests": sources.requests,
    "shortened": sources.shortened,
    "joined": sources.joined,
    "abstentions": sources.abstentions,
}

MEMORIZATION = Stage(
    name="memorization",
    help="""Stage 1, tool memorization: each tool's documentation to its token, and back.

    It needs no requests, only the catalog. Source: ToolGen, arXiv 2410.03439, section 3.3.""",
    follow_up="toolgen train retrieval {output} {dataset} -o CKPT",
    sources={**_DOCUMENTATION, "recall": sources.recall},
    defaults={
        "steps": 16,
        "row_learning_rate": 1e-4,
        "shares": {"description": 0.4, "keywords": 0.4, "name": 0.2},
    },
)

RETRIEVAL = Stage(
    name="retrieval",
    help="""Stage 2, retrieval training: each request to the tools that answer it.

    Several tools of one request are one target set. It reads the train split. Source: ToolGen, section 3.4.""",
    follow_up="toolgen train agent {output} {dataset} -o CKPT",
    sources={**_REQUESTS, **_DOCUMENTATION, "replay": replay},
    defaults={
        "steps": 126,
        "batch_size": 32,
        "learning_rate": 4e-4,
        "row_learning_rate": 3e-4,
        "shares": {"requests": 0.6, "abstentions": 0.05, "description": 0.15, "keywords": 0.2, "replay": 0.02},
        "blend": 0.75,
    },
    where_rows_stay={"row_learning_rate": 0.0, "blend": 1.0},
    supervised_share=0.1,
    learns_requests=True,
)

AGENT = Stage(
    name="agent",
    help="""Stage 3, end-to-end agent tuning: whole trajectories of token, arguments, result and answer.

    The loss is on what the assistant writes. It reads the trajectories of the train split. Source: ToolGen, section
    3.5.""",
    follow_up="toolgen evaluate retrieval {output} {dataset} -o RESULT",
    sources={"trajectories": sources.trajectories, **_REQUESTS, **_DOCUMENTATION, "replay": replay},
    # Short rehearsals of finding tools cost little beside the trajectories; without them, and without the blend, the agent
    # stage unlearns it.
    defaults={
        "steps": 40,
        "batch_size": 32,
        "learning_rate": 4e-4,
        "row_learning_rate": 1e-4,
        "warmup": 0.15,
        "max_tokens": 320,
        "shares": {
            "trajectories": 0.5,
            "requests": 0.15,
            "abstentions": 0.05,
            "description": 0.1,
            "keywords": 0.2,
            "replay": 0.02,
        },
        "blend": 0.6,
        "token_weights": TOKEN_WEIGHTS,
    },
    where_rows_stay={"row_learning_rate": 0.0},
    supervised_share=0.35,
)

WRITER = Stage(
    name="writer",
    help="""Train a writer: from a tool's documentation to a request for it.

    It learns from the train split, in whose style it then writes for `toolgen catalog queries --by llm --base CKPT2`. Source:
    doc2query, arXiv 1904.08375.""",
    follow_up="toolgen catalog queries {dataset} --by llm --base {output} -o DATASET2",
    sources={"asking": sources.asking},
    # All tools are negatives, so that it does not answer a documentation with a tool, which memorization taught it.
    defaults={
        "steps": 25,
        "batch_size": 32,
        "row_learning_rate": 1e-4,
        "max_tokens": 224,
        "shares": {"asking": 1.0},
        "negatives": "all",
    },
    supervised_share=0.2,
    writes_text=True,
)

STAGES: Mapping[str, Stage] = {stage.name: stage for stage in (MEMORIZATION, RETRIEVAL, AGENT, WRITER)}
"""All stages by name, in the order in which they are shown."""

PAPER_STAGES = (MEMORIZATION, RETRIEVAL, AGENT)
"""Those that follow each other, from a virtualized base to an agent (ToolGen, arXiv 2410.03439, section 3)."""
