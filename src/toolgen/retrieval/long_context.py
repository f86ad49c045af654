"""Long-context prompting: a language model reads a list of tools and chooses. A sanity row beside the real methods.

Not the whole catalog: tens of thousands of tools fit no prompt, so the model only reorders what a cheap retriever found, and
a tool that this retriever misses stays missed. Knows no particular model: a `LanguageModel` is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import numbered
from toolgen.llm import ChatMessage, LanguageModel
from toolgen.retrieval.protocol import Ranking, Retriever, described, placed_ranking

_TASK = "Choose tools for a user's request. Answer only with the numbers of the tools that help, best first: 3, 7."
_EXAMPLE = """Tools:
1. send_mail: Sends a message to a person.
2. current_weather: Returns the weather of a city at this moment.
3. sum: Adds numbers.
4. get_forecast: Returns the weather of the coming days in a city.

Request: Will I need an umbrella in Lima tomorrow?"""
_EXAMPLE_ANSWER = "4, 2"
_NUMBER = re.compile(r"\b\d{1,6}\b")  # not the 2 of get_v2
_TOKENS_A_NUMBER = 4


class LongContextRetriever:
    """The first `candidates` tools of `base` are listed by name and description; those whose numbers the model answers come
    first in its order, then all others in the order of the base.

    The list takes at most `budget` characters, an equal share for each tool. An answer without a number of the list leaves
    the order of the base, as does an empty request, for which the model is not asked. A score is 1 / place.
    """

    name = "long-context"

    def __init__(self, base: Retriever, llm: LanguageModel, *, candidates: int = 20, budget: int = 4000) -> None:
        self.base, self.llm, self.candidates, self.budget = base, llm, candidates, budget
        self._catalog = Catalog()

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {
            "model": self.llm.name,
            "candidates": self.candidates,
            "budget": self.budget,
            "base": described(self.base),
        }

    def index(self, catalog: Catalog) -> None:
        """Lets the base index the catalog."""
        self.base.index(catalog)
        self._catalog = catalog

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query; beyond the candidates they are the base's."""
        rankings = [list(ranking.tools) for ranking in self.base.search(queries, max(k, self.candidates))]
        asked = [i for i, query in enumerate(queries) if query.strip() and rankings[i]]
        if asked:
            prompts = [self._prompt(queries[i], rankings[i]) for i in asked]
            answers = self.llm.write(prompts, max_tokens=_TOKENS_A_NUMBER * self.candidates, temperature=0.0)
            for i, answer in zip(asked, answers, strict=True):
                listed = rankings[i][: self.candidates]
                chosen = [listed[number - 1] for number in parse_numbers(answer, len(listed))]
                rankings[i] = list(dict.fromkeys([*chosen, *rankings[i]]))
        return [placed_ranking(tools[:k]) for tools in rankings]

    def _prompt(self, query: str, tools: Sequence[str]) -> list[ChatMessage]:
        listed = [self._catalog.get(tool_id) for tool_id in tools[: self.candidates]]
        return choice_prompt(query, numbered(listed, self.budget))


def choice_prompt(query: str, tools: str) -> list[ChatMessage]:
    """The conversation that asks for the numbers of the listed tools that help."""
    return [
        {"role": "system", "content": _TASK},
        {"role": "user", "content": _EXAMPLE},
        {"role": "assistant", "content": _EXAMPLE_ANSWER},
        {"role": "user", "content": f"Tools:\n{tools}\n\nRequest: {query}"},
    ]


def parse_numbers(answer: str, count: int) -> list[int]:
    """The numbers from 1 to `count` in an answer, in its order, each once."""
    numbers = (int(number) for number in _NUMBER.findall(answer))
    return list(dict.fromkeys(number for number in numbers if 1 <= number <= count))
