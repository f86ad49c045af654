"""IterFeedback: a language model looks at what was found, says what is wrong with it and rewrites the request.

Xu et al., "Enhancing Tool Retrieval with Iterative Feedback from Large Language Models" (EMNLP 2024 Findings, arXiv
2406.17465). Knows no particular model or retriever: both are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import numbered
from toolgen.llm import ChatMessage, LanguageModel
from toolgen.retrieval.protocol import Ranking, Retriever, count_of, described, texts_of, unit_of

FEEDBACK_TOKENS = 160  # of an answer
SHOWN = 10  # tools
BUDGET = 2000  # characters of their list

_TASK = (
    "You help a search for tools. You see what a user requests, what was searched for and which tools were found. Answer "
    "in two lines. Feedback: what the user wants, and what is missing or wrong among the found tools. Request: what to "
    "search for instead, naming everything the user wants and the kind of tool that does it; N/A if the found tools fit."
)
_EXAMPLE = """Request: Is this a good week to repaint my fence?
Searched for: Is this a good week to repaint my fence?
Found:
1. mix_colours: Mixes two colours of paint.
2. fence_length: Returns how much fence a garden needs."""
_EXAMPLE_REQUEST = "weather forecast of the coming days, for painting outdoors"
_EXAMPLE_ANSWER = f"""Feedback: The user needs dry days to paint outdoors; no found tool knows the weather.
Request: {_EXAMPLE_REQUEST}"""

# `Request: text`, `**Refined request:** text`, `2. New request: text`
_REQUEST = re.compile(r"^[\W\d_]*(?:\w+ )?request[*\s]*[:：][*\s]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
_FITS = re.compile(r"(?:n\s*/?\s*a|none|unchanged)\W*", re.IGNORECASE)


class IterFeedbackRetriever:
    """`rounds` times: `base` retrieves, the model sees the first SHOWN tools and rewrites the request. The ranking is
    the base's for the last request, with its scores.

    The paper's inference, with its three steps of feedback (comprehension, assessment, refinement) in one answer; its
    training of the retriever on refined requests is left out, so any base will do. As in the paper the model may end the
    rounds early by N/A. So does an answer that cannot be read or changes nothing: the model is asked greedily and would
    repeat itself.
    """

    name = "iterfeedback"

    def __init__(self, base: Retriever, llm: LanguageModel, *, rounds: int = 3) -> None:
        self.parts: tuple[Retriever, ...] = (base,)
        self.llm, self.rounds = llm, rounds
        self.unit = unit_of(base)
        self._catalog = Catalog()

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {
            "model": self.llm.name,
            "rounds": self.rounds,
            "shown": SHOWN,
            "budget": BUDGET,
            "base": described(self.parts[0]),
        }

    def index(self, catalog: Catalog) -> None:
        """Lets the base index the catalog."""
        self.parts[0].index(catalog)
        self._catalog = catalog

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query as it reads after the rounds."""
        queries = texts_of(queries)
        texts, depth = [*queries], max(count_of(k), SHOWN)
        rankings = self.parts[0].search(texts, depth)
        pending = [i for i, query in enumerate(queries) if query.strip()] if len(self._catalog) else []
        for _ in range(self.rounds):
            refined = self._refined(pending, queries, texts, rankings)
            if not refined:
                break
            found = self.parts[0].search([*refined.values()], depth)
            for (i, text), ranking in zip(refined.items(), found, strict=True):
                texts[i], rankings[i] = text, ranking
            pending = [*refined]
        return [ranking.first(k) for ranking in rankings]

    def _refined(
        self, pending: Sequence[int], queries: Sequence[str], texts: Sequence[str], rankings: Sequence[Ranking]
    ) -> dict[int, str]:
        """What to search for next, for those of the pending queries that the model changes."""
        if not pending:
            return {}
        prompts = [self._prompt(queries[i], texts[i], rankings[i]) for i in pending]
        answers = self.llm.write(prompts, max_tokens=FEEDBACK_TOKENS, temperature=0.0)
        refined = {i: parse_refined(answer) for i, answer in zip(pending, answers, strict=True)}
        return {i: text for i, text in refined.items() if text and text != texts[i]}

    def _prompt(self, query: str, text: str, ranking: Ranking) -> list[ChatMessage]:
        tools = [self._catalog.get(tool_id) for tool_id in ranking.tools[:SHOWN]]
        return feedback_prompt(query, text, numbered(tools, BUDGET) or "nothing")


def feedback_prompt(query: str, text: str, found: str) -> list[ChatMessage]:
    """The conversation that asks for feedback on the tools `found` when the user's `query` was searched for as `text`."""
    return [
        {"role": "system", "content": _TASK},
        {"role": "user", "content": _EXAMPLE},
        {"role": "assistant", "content": _EXAMPLE_ANSWER},
        {"role": "user", "content": f"Request: {query}\nSearched for: {text}\nFound:\n{found}"},
    ]


def parse_refined(answer: str) -> str | None:
    """The refined request of an answer: what follows its last `Request:`. None if there is none, if the model says N/A or
    copies the prompt."""
    found = _REQUEST.findall(answer)
    text = " ".join(found[-1].split()).strip("\"'`* ") if found else ""
    return None if not text or _FITS.fullmatch(text) or text == _EXAMPLE_REQUEST else text
