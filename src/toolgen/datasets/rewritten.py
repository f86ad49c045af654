"""Other wordings of a dataset's requests: how much of a method's skill is left when people say less.

ToolSense (arXiv 2606.12451) found that methods which store tools in a model's parameters collapse on short requests. A variant
keeps ids, tools and catalog, so that it can be compared with the full requests one by one; its words are chosen without
a look at which tool is relevant. Knows no particular model: a `LanguageModel` is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Literal

from toolgen.catalog.tool import Tool
from toolgen.catalog.words import TellingWords, content_words
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Query, Rewritten
from toolgen.datasets.written import ask_in_parts, listed
from toolgen.llm import ChatMessage, LanguageModel

How = Literal["keyword", "short", "vague"]

SHORT = 6  # content words of a short request, at most
VAGUE_TOKENS = 24  # of an answer

_TASK = (
    "Rewrite the request of a user as somebody in a hurry would type it into a search box: 2 to 8 words, vague, no names, no "
    "numbers, no details. Answer with the rewritten request only."
)
_EXAMPLES: Mapping[str, str] = {
    "I'm flying to Lima on Friday to see my family. Will it rain there over the weekend?": "weather for my trip",
    "Please send 250 dollars to Anna Meyer and write 'rent for May' as a note.": "pay my friend back",
    "What is the area of a circle with a radius of 7.5 cm?": "how big is my circle",
}


class Shortener:
    """Shorter requests by rules, from the words that a request has in common with the catalog."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._telling = TellingWords(tools)

    def keyword(self, text: str) -> str:
        """The most telling word (see `TellingWords`, also for ties); where the catalog has none, the first content word."""
        found = content_words(text)
        return found[(self._telling.places(found) or [0])[0]] if found else text

    def short(self, text: str) -> str:
        """The most telling words, filled up with the first other content words to SHORT, in the order of the request."""
        found = content_words(text)
        order = dict.fromkeys([*self._telling.places(found), *range(len(found))])
        return " ".join(found[i] for i in sorted([*order][:SHORT])) or text

    def some(self, text: str, random: Random) -> str:
        """One to SHORT words that the catalog knows, drawn at random, in the order of the request: the short requests of
        training. Where the catalog has none, as `short`."""
        found = content_words(text)
        places = self._telling.places(found)
        if not places:
            return self.short(text)
        kept = random.sample(places, min(len(places), random.randint(1, SHORT)))
        return " ".join(found[i] for i in sorted(kept))


def rewritten_by_rule(dataset: Dataset, split: str, how: How) -> Dataset:
    """The dataset with the requests of a split made `keyword` or `short`."""
    shortener = Shortener(dataset.catalog)
    shorten = shortener.keyword if how == "keyword" else shortener.short
    return _with_texts(
        dataset, split, how, {query.id: (shorten(query.text), "rules") for query in dataset.searches(split)}
    )


def rewritten_by_model(
    dataset: Dataset,
    split: str,
    llm: LanguageModel,
    work: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """The dataset with the requests of a split made `vague` by a language model, greedily. Where its answer is no vaguer
    request (empty, no shorter, a copy of the prompt), the request is made `short` by rules and says so. Answers are kept in
    `work` as they come, and an interrupted run resumes there."""
    queries = dataset.searches(split)
    answers = ask_in_parts(
        [query.id for query in queries],
        lambda place: [vague_prompt(queries[place].text)],
        llm,
        work,
        {"model": llm.name, "how": "vague", "split": split, "dataset": dataset.name},
        max_tokens=VAGUE_TOKENS,
        temperature=0.0,
        on_progress=on_progress,
    )
    shortener = Shortener(dataset.catalog)
    texts: dict[str, tuple[str, str]] = {}
    for query, (answer,) in zip(queries, answers, strict=True):
        text = parse_vague(answer, query.text)
        texts[query.id] = (text, llm.name) if text else (shortener.short(query.text), "rules")
    return _with_texts(dataset, split, "vague", texts)


def vague_prompt(text: str) -> list[ChatMessage]:
    """The conversation that asks for a vaguer wording of a request."""
    shown: list[ChatMessage] = []
    for request, answer in _EXAMPLES.items():
        shown += [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
    return [{"role": "system", "content": _TASK}, *shown, {"role": "user", "content": text}]


def parse_vague(answer: str, original: str) -> str | None:
    """The vaguer request of an answer: its first line. None if that has no letter, is not shorter than the original or
    copies the prompt."""
    text = next(iter(listed(answer)), "")
    shorter = len(text.split()) < len(original.split()) or len(text) < len(original)
    return text if any(map(str.isalpha, text)) and shorter and text not in _EXAMPLES.values() else None


def _with_texts(dataset: Dataset, split: str, how: str, texts: Mapping[str, tuple[str, str]]) -> Dataset:
    """The dataset with only the requests of a split that got a text and an author; calls, tasks and trajectories of that
    split hold values that the new texts no longer name, and are left out."""
    queries = tuple(_with_text(query, how, *texts[query.id]) for query in dataset.queries[split] if query.id in texts)
    return replace(
        dataset,
        name=f"{dataset.name}-{how}",
        queries={**dataset.queries, split: queries},
        tasks={**dataset.tasks, split: ()},
        trajectories={**dataset.trajectories, split: ()},
    )


def _with_text(query: Query, how: str, text: str, by: str) -> Query:
    return replace(query, text=text, calls=None, faults=(), origin=Rewritten(how=how, by=by, original=query.text))
