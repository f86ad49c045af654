"""Re-Invoke: a language model writes requests for every tool beforehand, and reads the intents out of a user's request.

Chen et al., "Re-Invoke: Tool Invocation Rewriting for Zero-Shot Tool Retrieval" (EMNLP 2024 Findings, arXiv 2408.01875),
which trains nothing. Knows no particular model or encoder: a `LanguageModel` and a retriever are handed in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.tool import Tool, canonical_json
from toolgen.datasets.written import STYLES, drafts_by_model, listed, prompt_for
from toolgen.llm import ChatMessage, LanguageModel
from toolgen.retrieval.protocol import Ranking, Retriever, count_of, described, placed_ranking, texts_of

MAX_INTENTS = 5  # a small model may go on listing; the paper names no limit
INTENT_TOKENS = 160  # of an answer

_TASK = (
    "List what the user of a request wants done: one intent a line, each understandable without the others. Leave out "
    "what is only background. Most requests have one intent."
)
_EXAMPLES = (
    (
        "I'm flying to Lima on Friday to see my family. Will it rain there, and can you wake me at 6?",
        "weather forecast for Lima on Friday\nset an alarm for 6 o'clock",
    ),
    ("My French is poor and I leave for Lyon soon, so help me to practise it.", "practise speaking French"),
)
_COPIES = frozenset(line for _, answer in _EXAMPLES for line in answer.splitlines())
_LABEL = re.compile(r"^(?:intents?|request)\s*\d*\s*:\s*", re.IGNORECASE)


class ReInvokeRetriever:
    """Every tool is indexed several times: its document alone, and its document with one synthetic request each.

    `base` ranks these views for each intent of the request; a tool stands where its best view stands. Over the intents
    the best place of a tool counts and, at the same place, the score that `base` gave (the paper's multi-view ranking).
    Two things differ from the paper: it averages the vectors of a tool's views, which needs vectors, whereas the best
    view can be told from any retriever's ranking; and the requests are those of `datasets.written`, half of them short.

    `base` must be able to index any catalog (not the generative retriever). What the model wrote for `per_tool` requests
    a tool is kept in the folder `cache`, by the tool's content: only new and changed tools are asked for, and an
    interrupted `index` resumes. A request whose intents cannot be read is searched for as it is.

        retriever = ReInvokeRetriever(BM25Retriever(), llm, cache=Path("written"))
    """

    name, unit = "re-invoke", "1 / place"

    def __init__(
        self,
        base: Retriever,
        llm: LanguageModel,
        *,
        cache: Path,
        per_tool: int = 10,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.parts: tuple[Retriever, ...] = (base,)
        self.llm, self.cache, self.on_progress = llm, cache, on_progress
        self.per_tool, self.seed = per_tool, seed
        self._positions: dict[str, int] = {}
        self._most_views = 1

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {
            "model": self.llm.name,
            "per_tool": self.per_tool,
            "seed": self.seed,
            "max_intents": MAX_INTENTS,
            "base": described(self.parts[0]),
        }

    def index(self, catalog: Catalog) -> None:
        """Has the missing requests written and lets the base index the views of all tools."""
        requests = self._requests(catalog[:])
        self._most_views = 1 + max(map(len, requests.values()), default=0)
        self._positions = {tool_id: position for position, tool_id in enumerate(catalog.ids)}
        self.parts[0].index(Catalog(view for tool in catalog for view in _views(tool, requests.get(tool.id, ()))))

    def _requests(self, tools: Sequence[Tool]) -> dict[str, list[str]]:
        """Tool id to at most `per_tool` requests; a tool without a readable one is left out."""
        work = self.cache / f"re-invoke-{self._settings_hash()}.jsonl"
        requests: dict[str, list[str]] = {}
        drafts = drafts_by_model(tools, self.llm, self.per_tool, self.seed, work, self.on_progress, spare=1)
        for draft in drafts:
            requests.setdefault(draft.tool, []).append(draft.text)
        return {tool_id: list(dict.fromkeys(texts))[: self.per_tool] for tool_id, texts in requests.items()}

    def _settings_hash(self) -> str:
        """Names everything that the answers depend on except the tool, the wording of the prompts included."""
        sample = Tool(id="sample", provider="", name="sample")
        prompts = [prompt_for(sample, style, self.per_tool) for style in STYLES]
        settings = canonical_json([self.llm.name, self.per_tool, self.seed, prompts])
        return hashlib.sha256(settings.encode()).hexdigest()[:16]

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query; a score is 1 / place."""
        k, intents = count_of(k), self._intents(texts_of(queries))
        # The first k tools have all their better views among the first k * views, so nothing is missed.
        found = iter(self.parts[0].search([text for texts in intents for text in texts], k * self._most_views))
        return [self._merge(list(islice(found, len(texts))), k) for texts in intents]

    def _intents(self, queries: Sequence[str]) -> list[list[str]]:
        """The intents of each query, at least one; an empty query is not shown to the model."""
        asked = [query for query in queries if query.strip()]
        if not asked:
            return [[query] for query in queries]
        answers = self.llm.write([intent_prompt(query) for query in asked], max_tokens=INTENT_TOKENS, temperature=0.0)
        read = iter([parse_intents(answer) for answer in answers])
        return [(next(read) if query.strip() else []) or [query] for query in queries]

    def _merge(self, rankings: Sequence[Ranking], k: int) -> Ranking:
        best: dict[str, tuple[int, float]] = {}  # place and negated score: the lower the better
        for ranking in rankings:
            scores: dict[str, float] = {}
            for view, score in zip(ranking.tools, ranking.scores, strict=True):
                scores.setdefault(_tool_of(view), score)
            for place, (tool_id, score) in enumerate(islice(scores.items(), k), start=1):
                best[tool_id] = min(best.get(tool_id, (place, -score)), (place, -score))
        return placed_ranking(sorted(best, key=lambda tool_id: (best[tool_id], self._positions[tool_id]))[:k])


def intent_prompt(query: str) -> list[ChatMessage]:
    """The conversation that asks for the intents of a request."""
    shown: list[ChatMessage] = []
    for request, answer in _EXAMPLES:
        shown += [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
    return [{"role": "system", "content": _TASK}, *shown, {"role": "user", "content": query}]


def parse_intents(answer: str) -> list[str]:
    """The first intents in an answer; what introduces a list, has no letter or copies the prompt is none."""
    texts = (_LABEL.sub("", text) for text in listed(answer) if not text.endswith(":"))
    intents = dict.fromkeys(text for text in texts if any(map(str.isalpha, text)) and text not in _COPIES)
    return list(intents)[:MAX_INTENTS]


def _views(tool: Tool, requests: Sequence[str]) -> Iterator[Tool]:
    """The tool alone and once with each request, as tools of their own. A request stands after the description, not after
    the parameters, where an encoder might cut it off."""
    for number, request in enumerate(("", *requests)):
        yield replace(tool, id=f"{tool.id}#{number}", description=f"{tool.description}\n{request}")


def _tool_of(view: str) -> str:
    return view.rpartition("#")[0]
