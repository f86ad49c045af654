"""Where each stage's training examples come from: documentation, requests and trajectories, rendered by the protocol.

Every function gives one named source; `STAGE_SOURCES` says which of them a stage may mix. Source of the stages: ToolGen,
arXiv 2410.03439, section 3; of the views and of recall from token to documentation: TInR, arXiv 2604.10788.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from toolgen.catalog.text import views
from toolgen.catalog.tool import Tool
from toolgen.checkpoint import Checkpoint
from toolgen.datasets import Dataset, Query
from toolgen.datasets.messages import NO_TOOL
from toolgen.errors import UsageError
from toolgen.training.config import Stage, StageConfig
from toolgen.training.examples import TrainingExample, choice_example, conversation_example

KEYWORDS = (5, 14)
"""Fewest and most words of one `keywords` example."""
KEYWORD_SAMPLES = 3
"""`keywords` examples a tool."""

Source = Callable[[Checkpoint, Dataset, StageConfig], list[TrainingExample]]


def view_source(view: str) -> Source:
    """One view of a tool's documentation (`document`, `name`, `description`, `parameters`) to its token."""

    def examples(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> list[TrainingExample]:
        del dataset
        return [
            _request(checkpoint, text, [tool.id], config)
            for tool in checkpoint.catalog
            if (text := views(tool).get(view))
        ]

    return examples


def keywords(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> list[TrainingExample]:
    """Some of the words of a tool's documentation, in order, to its token: what short and vague requests look like, for
    tools that no training request asks for as well."""
    del dataset
    examples = []
    for tool in checkpoint.catalog:
        words = _documentation_words(tool)
        chooser = random.Random(f"{config.seed}/{tool.id}")
        for _ in range(KEYWORD_SAMPLES):
            count = min(len(words), chooser.randint(*KEYWORDS))
            kept = sorted(chooser.sample(range(len(words)), count))
            examples.append(_request(checkpoint, " ".join(words[i] for i in kept), [tool.id], config))
    return examples


def recall(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> list[TrainingExample]:
    """A tool's token to its documentation, in the turns in which the agent will read it."""
    del dataset
    protocol, header = checkpoint.protocol, checkpoint.protocol.prompt([])
    examples = []
    for tool in checkpoint.catalog:
        body = protocol.after_tool(tool.id)
        ids = [*header, checkpoint.vocabulary.token_id(tool.id), *body][: config.max_tokens]
        written = range(len(header) + 1, min(len(ids), len(header) + 1 + len(body) - len(header)))
        examples.append(TrainingExample(tuple(ids), text=tuple(i - 1 for i in written)))
    return examples


def requests(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> list[TrainingExample]:
    """Requests of the training split to the set of their tools. Multi-turn tasks are left out: their first turn does not
    ask for all the tools that the task needs. Synthetic ones are a source of their own."""
    return [
        _request(checkpoint, query.text, query.tools, config, spares=True)
        for query in _single_turn(dataset)
        if query.tools and not query.is_synthetic
    ]


def synthetic(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> list[TrainingExample]:
    """Requests made from documentation (`toolgen catalog queries`) to their tools."""
    return [
        _request(checkpoint, query.text, query.tools, config)
        for query in _single_turn(dataset)
        if query.tools and query.is_synthetic
    ]


def abstentions(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> list[TrainingExample]:
    """Requests that no tool fits, to `no_tool`; not those whose very text is elsewhere a request that has tools."""
    answered = {query.text for query in _single_turn(dataset) if query.tools}
    return [
        _request(checkpoint, query.text, [NO_TOOL], config, spares=True)
        for query in _single_turn(dataset)
        if not query.tools and query.text not in answered
    ]


def trajectories(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> list[TrainingExample]:
    """Whole conversations of the training split with loss on what the assistant writes. A multi-turn one counts up to its
    longest prefix of whole turns within `max_tokens`; one without such a prefix is left out. So is what would teach
    something wrong: expected calls that contradict their tool or fail, and tasks from which a function was withheld,
    which the prompt does not tell. Abstentions are a source of their own."""
    queries = {query.id: query for query in dataset.queries["train"]}
    examples = []
    for trajectory in dataset.trajectories["train"]:
        query = queries.get(trajectory.query)
        if query is None or not query.tools or query.meta.get("call_errors") or query.meta.get("missed_function"):
            continue
        if trajectory.outcome.get("status") == "error":
            continue
        for messages in _prefixes(list(trajectory.messages)):
            ids, mask = checkpoint.protocol.supervised(messages)
            if len(ids) <= config.max_tokens:
                choice_ids = checkpoint.vocabulary.action_token_ids
                examples.append(conversation_example(ids, mask, choice_ids, spares=True))
                break
    return examples


def _prefixes(messages: list[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The conversation, then ever shorter ones that end before a turn of the user."""
    yield messages
    for position in range(len(messages) - 1, 0, -1):
        if messages[position]["role"] == "user":
            yield messages[:position]


_DOCUMENTATION: Mapping[str, Source] = {
    **{view: view_source(view) for view in ("document", "name", "description", "parameters")},
    "keywords": keywords,
    "synthetic": synthetic,
}
STAGE_SOURCES: Mapping[Stage, Mapping[str, Source]] = {
    "memorization": {
        **_DOCUMENTATION,
        "recall": recall,
    },
    "retrieval": {
        "requests": requests,
        "abstentions": abstentions,
        **_DOCUMENTATION,
    },
    "agent": {"trajectories": trajectories, "requests": requests, "abstentions": abstentions, **_DOCUMENTATION},
}


def stage_examples(
    stage: Stage, checkpoint: Checkpoint, dataset: Dataset, config: StageConfig
) -> dict[str, list[TrainingExample]]:
    """The sources that `config.shares` asks for; UsageError for a name that the stage does not know."""
    known = STAGE_SOURCES[stage]
    if unknown := config.shares.keys() - known.keys():
        raise UsageError(f"the {stage} stage has no source {sorted(unknown)[0]!r}; it has {', '.join(known)}")
    return {name: known[name](checkpoint, dataset, config) for name, share in config.shares.items() if share > 0}


def _documentation_words(tool: Tool) -> list[str]:
    """Name, description and descriptions of the parameters as words; types and other formalities are left out."""
    name = re.sub(r"[_.]", " ", views(tool)["name"])
    described = (
        str(schema.get("description", "")) for schema in tool.properties.values() if isinstance(schema, Mapping)
    )
    return " ".join((name, tool.description, *described)).split()


def _single_turn(dataset: Dataset) -> Iterator[Query]:
    return (query for query in dataset.queries["train"] if "turns" not in query.meta)


def _request(
    checkpoint: Checkpoint,
    text: str,
    tools: list[str] | tuple[str, ...],
    config: StageConfig,
    *,
    spares: bool = False,
) -> TrainingExample:
    prompt = checkpoint.protocol.prompt([{"role": "user", "content": text}], max_tokens=config.max_tokens)
    return choice_example(prompt, [checkpoint.vocabulary.token_id(tool) for tool in tools], spares=spares)
