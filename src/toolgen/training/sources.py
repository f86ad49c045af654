"""Where each stage's training examples come from: documentation, requests and trajectories, rendered by the protocol.

Every function gives one source; `stages.py` says which of them a stage may mix. Source of the stages: ToolGen,
arXiv 2410.03439, section 3; of the views and of recall from token to documentation: TInR, arXiv 2604.10788.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from toolgen.catalog.text import views
from toolgen.catalog.tool import Definition, Tool
from toolgen.catalog.words import TellingWords, content_words
from toolgen.datasets import Dataset, Query
from toolgen.datasets.messages import NO_TOOL
from toolgen.datasets.rewritten import Shortener
from toolgen.datasets.task import Task
from toolgen.datasets.thoughts import with_thoughts
from toolgen.datasets.trajectory import Message, Trajectory
from toolgen.datasets.written import documentation_turn
from toolgen.training.examples import (
    LazyExamples,
    TrainingExample,
    VariedExamples,
    choice_example,
    conversation_example,
    sequence_example,
)
from toolgen.training.joining import JOINED, Partners, calls_in, is_joinable, join_requests, join_texts
from toolgen.training.renaming import renamed_conversation
from toolgen.training.token_weights import parts_of
from toolgen.training.varying import SEVERAL_VALUES, OtherValues

if TYPE_CHECKING:
    from toolgen.checkpoint import Checkpoint
    from toolgen.training.config import StageConfig

KEYWORDS = (5, 14)
"""Fewest and most words of one `keywords` example."""
KEYWORD_SAMPLES = 3
"""`keywords` examples a tool."""
SHORT_WORDS = 4
"""Most words of one `short` example; they are drawn among twice as many of the tool's most telling ones."""
SHORT_SAMPLES = 4
"""`short` examples a tool, and `shortened` examples a request, each drawn again."""

Source = Callable[["Checkpoint", Dataset, "StageConfig"], Sequence[TrainingExample]]


class _Request(NamedTuple):
    """What becomes an example that asks for tools."""

    text: str
    tools: tuple[str, ...]
    among_asked: bool = False


class _Keywords(NamedTuple):
    """The n-th sample of a tool's words. Its id alone: a large catalog reads a tool when it is asked for."""

    tool_id: str
    sample: int


class _Window(NamedTuple):
    """What is shown of a conversation (its id), in which some tools are defined otherwise, with or without thoughts by rules.
    Its messages from `new` on are taught."""

    conversation: str
    definitions: tuple[Definition, ...]
    messages: Sequence[Message]
    new: int = 0
    has_thoughts: bool = False


_Weighed = tuple[list[int], list[float]]


def view_source(view: str) -> Source:
    """One view of a tool's documentation (`document`, `name`, `description`, `parameters`) to its token."""

    def examples(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
        del dataset
        texts = ((tool.id, views(tool).get(view)) for tool in checkpoint.catalog)
        return _requests(checkpoint, config, (_Request(text, (tool_id,)) for tool_id, text in texts if text))

    return examples


def keywords(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """Some of the words of a tool's documentation, in order, to its token: what short and vague requests look like, for
    unasked tools as well."""
    del dataset

    def make(item: _Keywords) -> TrainingExample:
        words = _documentation_words(checkpoint.catalog.get(item.tool_id))
        chooser = random.Random(f"{config.seed}/{item.tool_id}")
        for _ in range(item.sample + 1):
            count = min(len(words), chooser.randint(*KEYWORDS))
            kept = sorted(chooser.sample(range(len(words)), count))
        return _example(checkpoint, config, _Request(" ".join(words[i] for i in kept), (item.tool_id,)))

    return _samples(checkpoint, KEYWORD_SAMPLES, make)


def short(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """One to SHORT_WORDS of the words of a tool's name and description that tell it apart from the others, in order, to its
    token: requests as people type them into a search box (ToolSense, arXiv 2606.12451)."""
    del dataset
    telling = TellingWords(checkpoint.catalog)

    def make(item: _Keywords) -> TrainingExample:
        tool = checkpoint.catalog.get(item.tool_id)
        found = content_words(f"{_spaced_name(tool)} {tool.description}") or [tool.name]
        chooser = random.Random(f"{config.seed}/{item.tool_id}/{item.sample}")
        best = telling.places(found)[: 2 * SHORT_WORDS] or [0]
        kept = chooser.sample(best, min(len(best), chooser.randint(1, SHORT_WORDS)))
        return _example(checkpoint, config, _Request(" ".join(found[i] for i in sorted(kept)), (item.tool_id,)))

    return _samples(checkpoint, SHORT_SAMPLES, make)


def _samples(
    checkpoint: Checkpoint, count: int, make: Callable[[_Keywords], TrainingExample]
) -> Sequence[TrainingExample]:
    """`count` samples of the words of each tool, to its token."""
    items = [_Keywords(tool_id, sample) for tool_id in checkpoint.catalog.ids for sample in range(count)]
    return LazyExamples(items, make, frozenset(chain.from_iterable(checkpoint.vocabulary.sequences)))


def recall(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """A tool's token to its documentation, in the turns in which the agent will read it."""
    del dataset
    protocol, header = checkpoint.protocol, checkpoint.protocol.prompt([])

    def make(tool_id: str) -> TrainingExample:
        named, body = [*header, *checkpoint.vocabulary.sequence(tool_id)], protocol.after_tool(tool_id)
        ids = [*named, *body][: config.max_tokens]
        written = range(len(named), min(len(ids), len(named) + len(body) - len(header)))
        return TrainingExample(tuple(ids), text=tuple(i - 1 for i in written))

    return LazyExamples(checkpoint.catalog.ids, make, frozenset())


def requests(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """Requests of the training split to the set of their tools; where a tool is several tokens, to each of them. Multi-turn
    tasks are left out: their first turn does not ask for all the tools that the task needs. Synthetic requests are a source of
    their own."""
    return _requests(
        checkpoint, config, (_Request(query.text, query.tools, among_asked=True) for query in _asked(dataset))
    )


def shortened(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """A few words of each request of `requests` (see `datasets.rewritten.Shortener.some`) to the set of its tools."""
    shortener = Shortener(checkpoint.catalog)
    shorter = (
        _Request(
            shortener.some(query.text, random.Random(f"{config.seed}/{query.id}/{sample}")),
            query.tools,
            among_asked=True,
        )
        for query in _asked(dataset)
        for sample in range(SHORT_SAMPLES)
    )
    return _requests(checkpoint, config, shorter)


def joined(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """Two or three requests for other tools each, users' and synthetic ones, as one text to the set of all their tools: what
    asks for several tools is rare, and for unasked tools there is none. One that shares a tool with those
    before it is left out. As many as there are requests."""
    asked, chooser = dataset.searches("train"), random.Random(config.seed)
    return _requests(checkpoint, config, (_join(query, asked, chooser) for query in asked))


def _join(query: Query, others: Sequence[Query], chooser: random.Random) -> _Request:
    queries, tools = [query], [*query.tools]
    for other in chooser.sample(others, min(len(others), chooser.randint(*JOINED) - 1)):
        if {*other.tools}.isdisjoint(tools):
            queries.append(other)
            tools += other.tools
    text = join_texts([one.text for one in queries], chooser)
    return _Request(text, tuple(tools), among_asked=not any(one.is_synthetic for one in queries))


def asking(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """A tool's documentation to a training request for it alone, as doc2query learns it (arXiv 1904.08375): one of each tool's
    requests by seed, so that a tool that many ask for is not all that is learned. Too long conversations are left out."""
    protocol, chooser = checkpoint.protocol, random.Random(config.seed)
    asked: dict[str, list[str]] = {}
    for query in _asked(dataset):
        if len(query.tools) == 1:
            asked.setdefault(query.tools[0], []).append(query.text)
    examples = []
    for tool_id, texts in asked.items():
        turns = [
            documentation_turn(dataset.catalog.get(tool_id)),
            {"role": "assistant", "content": chooser.choice(texts)},
        ]
        ids, mask = protocol.supervised(turns)
        if len(ids) <= config.max_tokens:
            examples.append(conversation_example(ids, mask, checkpoint.vocabulary.action_token_ids))
    return examples


def synthetic(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """Requests made from documentation (`toolgen catalog queries`) to their tools."""
    asked = (query for query in dataset.searches("train") if query.is_synthetic)
    return _requests(checkpoint, config, (_Request(query.text, query.tools) for query in asked))


def abstentions(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """Requests that no tool fits, to `no_tool`; not those where that is known to be wrong, nor those whose very text is
    elsewhere a request that has tools."""
    answered = {query.text for query in dataset.searches("train")}
    asked = (query for query in dataset.queries["train"] if not query.tools and not query.faults)
    texts = (query.text for query in asked if query.text not in answered)
    return _requests(checkpoint, config, (_Request(text, (NO_TOOL,), among_asked=True) for text in texts))


def trajectories(checkpoint: Checkpoint, dataset: Dataset, config: StageConfig) -> Sequence[TrainingExample]:
    """Whole conversations of the training split with loss on what the assistant writes. One that is longer than `max_tokens` is
    several examples, each what a run would show of it by then, with loss on what is new. Left out is what would teach
    something wrong: expected calls that contradict their tool or fail, and tasks in which a tool is held back, which the
    prompt does not tell. Abstentions are a source of their own. A share of them, `thoughts`, has thoughts by rules; others in
    each epoch, a share, `rename`, has random names, and of those of one request a share, `vary`, has other values, and a share,
    `join`, is joined with others."""
    tasks = {task.id: task for task in dataset.all_tasks("train")}
    shown, usual = [], []
    for trajectory in dataset.trajectories["train"]:
        task = tasks.get(trajectory.query)
        status = trajectory.outcome.status
        if task is None or task.faults or any(turn.held_back for turn in task.turns):
            continue
        if status == "error" or (status == "declined" and task.no_tool_fits):
            continue
        whole = _whole(checkpoint, config, trajectory, task)
        for window, (ids, weights) in _windows(checkpoint, config, whole):
            if example := _taught(checkpoint, config, ids, weights):
                shown.append(window)
                usual.append(example)
    if not config.rename and not config.join and not config.vary:
        return usual
    others = _Others(checkpoint, config, shown)

    def vary(place: int, epoch: int) -> TrainingExample | None:
        window, seed = shown[place], f"{config.seed}/{epoch}/{shown[place].conversation}"
        names = seed if random.Random(seed).random() < config.rename else ""
        for other in others.drawn(window, seed):
            weighed = _weighed(checkpoint, config, other, names)
            if len(weighed[0]) <= config.max_tokens:
                return _taught(checkpoint, config, *weighed)
        return _taught(checkpoint, config, *_weighed(checkpoint, config, window, names)) if names else None

    return VariedExamples(usual, vary)


class _Others:
    """What stands for a conversation in an epoch: itself with other values, joined with others, or for several values."""

    def __init__(self, checkpoint: Checkpoint, config: StageConfig, windows: Sequence[_Window]) -> None:
        parts = Counter(window.conversation for window in windows)
        whole = (window for window in windows if parts[window.conversation] == 1 and not window.has_thoughts)
        joinable = [window for window in whole if is_joinable(window.messages)]
        self._config, self._catalog = config, checkpoint.catalog
        self._joinable = {window.conversation for window in joinable}
        self._all = joinable
        self._partners = Partners([window.messages for window in joinable])
        self._values = OtherValues(
            (one.messages, self._catalog.redefined(one.definitions)) for one in joinable if config.vary
        )

    def drawn(self, window: _Window, seed: str) -> Iterator[_Window]:
        """Those to take in its place; the first that is short enough."""
        if window.conversation not in self._joinable:
            return
        catalog, other = self._catalog.redefined(window.definitions), window
        chooser = random.Random(f"{seed}/vary")
        if chooser.random() < self._config.vary and (
            messages := self._values.varied(window.messages, catalog, chooser)
        ):
            other = window._replace(messages=messages)
        joiner = random.Random(f"{seed}/join")
        if joiner.random() < self._config.join:
            if chooser.random() < self._config.vary * SEVERAL_VALUES:
                messages = self._values.for_several(window.messages, catalog, chooser)
                longer = window._replace(messages=messages) if messages else None
            else:
                longer = self._joined(other, joiner)
            if longer:
                yield longer
        if other is not window:
            yield other

    def _joined(self, window: _Window, joiner: random.Random) -> _Window | None:
        """A window and one or two others as one conversation; None if those that were drawn do not fit."""
        places = self._partners.drawn(calls_in(window.messages), joiner)
        if places is None:
            return None
        parts, meant = [window, *(self._all[place] for place in places)], _meant(window)
        for other in parts[1:]:
            if any(meant.setdefault(tool, definition) != definition for tool, definition in _meant(other).items()):
                return None
        messages = join_requests([part.messages for part in parts], joiner)
        definitions = tuple(definition for definition in meant.values() if definition is not None)
        return _Window("+".join(part.conversation for part in parts), definitions, messages)


def _meant(window: _Window) -> dict[str, Definition | None]:
    """The definition that a conversation means by each tool that it calls or defines; None: the catalog's."""
    called: dict[str, Definition | None] = {tool: None for tool, _ in calls_in(window.messages)}
    return called | {one.tool: one for one in window.definitions}


def _whole(checkpoint: Checkpoint, config: StageConfig, trajectory: Trajectory, task: Task) -> _Window:
    """All of a conversation, with thoughts if it is among those that have some."""
    if random.Random(f"{config.seed}/thoughts/{trajectory.id}").random() >= config.thoughts:
        return _Window(trajectory.id, task.definitions, trajectory.messages)
    messages = with_thoughts(trajectory.messages, checkpoint.catalog.redefined(task.definitions))
    return _Window(trajectory.id, task.definitions, messages, has_thoughts=True)


def _windows(checkpoint: Checkpoint, config: StageConfig, whole: _Window) -> Iterator[tuple[_Window, _Weighed]]:
    """A conversation whole, or window by window if it is longer than `max_tokens`."""
    weighed = _weighed(checkpoint, config, whole)
    if len(weighed[0]) <= config.max_tokens:
        yield whole, weighed
        return
    protocol = checkpoint.protocol.redefined(whole.definitions)
    for messages, new in protocol.windows(whole.messages, config.max_tokens):
        window = whole._replace(messages=messages, new=new)
        yield window, _weighed(checkpoint, config, window)


def _weighed(checkpoint: Checkpoint, config: StageConfig, window: _Window, names: str = "") -> _Weighed:
    """The token ids of a window and their weights; with random names by the seed `names`."""
    catalog, messages = checkpoint.catalog.redefined(window.definitions), window.messages
    if names:
        messages, tools = renamed_conversation(messages, catalog, names)
        catalog = catalog.replaced(one.tool for one in tools.values())
        if window.has_thoughts:
            messages = with_thoughts(messages, catalog)
    weigh = partial(parts_of, weights=config.token_weights)
    return checkpoint.protocol.showing(catalog).weighed(messages, window.new, weigh)


def _taught(
    checkpoint: Checkpoint, config: StageConfig, ids: Sequence[int], weights: Sequence[float]
) -> TrainingExample | None:
    """An example of at most `max_tokens`: what is longer even so, a single turn, loses its end. None where nothing is left to
    learn."""
    ids, weights = ids[: config.max_tokens], weights[: config.max_tokens]
    if not any(weights):
        return None
    return conversation_example(ids, weights, checkpoint.vocabulary.action_token_ids, among_asked=True)


def _documentation_words(tool: Tool) -> list[str]:
    """Name, description and descriptions of the parameters as words; types and other formalities are left out."""
    described = (
        str(schema.get("description", "")) for schema in tool.properties.values() if isinstance(schema, Mapping)
    )
    return " ".join((_spaced_name(tool), tool.description, *described)).split()


def _spaced_name(tool: Tool) -> str:
    return re.sub(r"[_.]", " ", views(tool)["name"])


def _asked(dataset: Dataset) -> list[Query]:
    """The single-turn training requests with tools that users made."""
    return [query for query in dataset.searches("train") if not query.is_synthetic]


def _requests(checkpoint: Checkpoint, config: StageConfig, items: Iterable[_Request]) -> Sequence[TrainingExample]:
    """An example a request; where a tool is several tokens, one for each of its tools, as in the paper: behind the first token
    several tools cannot be one target set."""
    items, vocabulary = list(items), checkpoint.vocabulary
    if not vocabulary.is_atomic:
        items = [item._replace(tools=(tool,)) for item in items for tool in item.tools]
    targets = frozenset(token for item in items for tool in item.tools for token in vocabulary.sequence(tool))
    return LazyExamples(items, lambda item: _example(checkpoint, config, item), targets)


def _example(checkpoint: Checkpoint, config: StageConfig, item: _Request) -> TrainingExample:
    vocabulary = checkpoint.vocabulary
    prompt = checkpoint.protocol.prompt([{"role": "user", "content": item.text}], max_tokens=config.max_tokens)
    request = "" if item.tools == (NO_TOOL,) else item.text
    if len(item.tools) == 1:
        return sequence_example(
            prompt, vocabulary.sequence(item.tools[0]), among_asked=item.among_asked, request=request
        )
    tokens = [vocabulary.token_id(tool) for tool in item.tools]
    return choice_example(prompt, tokens, among_asked=item.among_asked, request=request)
