"""Long-context prompting: a language model reads a list of tools and chooses. A sanity row beside the real methods.

Not the whole catalog: tens of thousands of tools fit no prompt, so the model only reorders what a cheap retriever found, and
a tool that this retriever misses stays missed. Knows no particular model: a `LanguageModel` is handed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import numbered
from toolgen.llm import ChatMessage, LanguageModel
from toolgen.retrieval.protocol import Ranking, Retriever, count_of, described, placed_ranking, texts_of

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
    """The first `candidates` tools of `base` are listed by name and description, filled up in the order of the catalog where it
    finds fewer. Those whose numbers the model answers come first in its order, then what else the base found in its order.

    The list takes at most `budget` characters, an equal share for each tool. An answer without a number of the list leaves
    the order of the base, as does an empty request, for which the model is not asked. A score is 1 / place.
    """

    name, unit = "long-context", "1 / place"

    def __init__(self, base: Retriever, llm: LanguageModel, *, candidates: int = 20, budget: int = 4000) -> None:
        self.parts: tuple[Retriever, ...] = (base,)
        self.llm, self.candidates, self.budget = llm, candidates, budget
        self._catalog = Catalog()

    @property
    def config(self) -> dict[str, Any]:
        """What a result file records of this retriever."""
        return {
            "model": self.llm.name,
            "candidates": self.candidates,
            "budget": self.budget,
            "base": described(self.parts[0]),
        }

    def index(self, catalog: Catalog) -> None:
        """Lets the base index the catalog."""
        self.parts[0].index(catalog)
        self._catalog = catalog

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """The best k tools for each query; beyond the candidates they are the base's."""
        queries, depth = texts_of(queries), max(count_of(k), self.candidates)
        rankings = [ranking.tools for ranking in self.parts[0].search(queries, depth)]
        asked = {i: self._candidates(rankings[i]) for i, query in enumerate(queries) if query.strip()}
        if asked and len(self._catalog):
            prompts = [self._prompt(queries[i], listed) for i, listed in asked.items()]
            answers = self.llm.write(prompts, max_tokens=_TOKENS_A_NUMBER * self.candidates, temperature=0.0)
            for (i, listed), answer in zip(asked.items(), answers, strict=True):
                chosen = [listed[number - 1] for number in parse_numbers(answer, len(listed))]
                rankings[i] = tuple(dict.fromkeys([*chosen, *rankings[i]]))
        return [placed_ranking(tools[:k]) for tools in rankings]

    def _candidates(self, found: Sequence[str]) -> list[str]:
        seen = {*found}
        others = (tool_id for tool_id in self._catalog.ids if tool_id not in seen)
        return list(islice(chain(found, others), self.candidates))

    def _prompt(self, query: str, tools: Sequence[str]) -> list[ChatMessage]:
        return choice_prompt(query, numbered([*map(self._catalog.get, tools)], self.budget))


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
