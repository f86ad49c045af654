"""TrainingExample: token ids, and what should follow at which of them. Knows no model and no stage.

A *target set* is one or more token ids of which each is right: several relevant tools of one request are one set, not
several examples that contradict each other. Its loss is the cross-entropy against the uniform distribution over the set.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

from toolgen.errors import UsageError

Item = TypeVar("Item")

Target = tuple[tuple[int, ...], tuple[float, ...]]
"""Token ids and their probabilities."""


@dataclass(frozen=True)
class TrainingExample:
    """`choices` and `text` are supervised positions: after reading `ids[: position + 1]` the model should write one of
    the tokens (`choices`: a tool; `text`: exactly the next token of the example). With `among_asked` its choices
    are compared only with asked tools; see `StageConfig.negatives`. `weights` are the target
    probabilities of each choice's tokens, summing to one; without them a choice's tokens are equally right. `text_weights` say
    what each position of `text` weighs; without them all weigh the same. `text_targets` are distributions of what follows each
    position of `text`, instead of its next token. `request` is the text that asks for tools, which a
    teacher reads; see `teacher.py`."""

    ids: tuple[int, ...]
    choices: tuple[tuple[int, tuple[int, ...]], ...] = ()
    text: tuple[int, ...] = ()
    among_asked: bool = False
    weights: tuple[tuple[float, ...], ...] = ()
    text_weights: tuple[float, ...] = ()
    text_targets: tuple[Target, ...] = ()
    request: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def text_weight(self) -> float:
        """What all its text weighs."""
        return sum(self.text_weights) if self.text_weights else len(self.text)


@dataclass(frozen=True)
class LazyExamples(Sequence[TrainingExample], Generic[Item]):
    """Examples that are made when they are drawn: a short run sees a thousandth of 125,000 documentations, and to
    tokenize all of them would take longer than the run. `targets` are the token ids that some example chooses."""

    items: Sequence[Item]
    make: Callable[[Item], TrainingExample]
    targets: frozenset[int]

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, place: int) -> TrainingExample: ...

    @overload
    def __getitem__(self, place: slice) -> list[TrainingExample]: ...

    def __getitem__(self, place: int | slice) -> TrainingExample | list[TrainingExample]:
        if isinstance(place, slice):
            return [self.make(item) for item in self.items[place]]
        return self.make(self.items[place])


@dataclass(frozen=True)
class VariedExamples(Sequence[TrainingExample]):
    """Examples of which some are others in each epoch: `vary` makes the one at a place for an epoch, None for the usual one.
    As a sequence it holds the usual ones."""

    usual: Sequence[TrainingExample]
    vary: Callable[[int, int], TrainingExample | None]

    def __len__(self) -> int:
        return len(self.usual)

    @overload
    def __getitem__(self, place: int) -> TrainingExample: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[TrainingExample]: ...

    def __getitem__(self, place: int | slice) -> TrainingExample | Sequence[TrainingExample]:
        return self.usual[place]

    def drawn(self, place: int, epoch: int) -> TrainingExample:
        """The example at a place in an epoch."""
        return self.vary(place, epoch) or self.usual[place]


def targets_of(examples: Sequence[TrainingExample]) -> frozenset[int]:
    """The token ids that some of the examples chooses."""
    if isinstance(examples, LazyExamples):
        return examples.targets
    return frozenset(token for example in examples for _, tokens in example.choices for token in tokens)


def choice_example(
    prompt: Sequence[int], tokens: Sequence[int], *, among_asked: bool = False, request: str = ""
) -> TrainingExample:
    """A prompt after which each of `tokens` is right."""
    return TrainingExample(
        tuple(prompt), choices=((len(prompt) - 1, tuple(tokens)),), among_asked=among_asked, request=request
    )


def sequence_example(
    prompt: Sequence[int], sequence: Sequence[int], *, among_asked: bool = False, request: str = ""
) -> TrainingExample:
    """A prompt after which the tokens of `sequence` are right, each a choice behind those before it (teacher forcing)."""
    choices = tuple((len(prompt) - 1 + place, (token,)) for place, token in enumerate(sequence))
    return TrainingExample((*prompt, *sequence[:-1]), choices=choices, among_asked=among_asked, request=request)


def conversation_example(
    ids: Sequence[int], weights: Sequence[float], choice_ids: range, *, among_asked: bool = False
) -> TrainingExample:
    """A whole conversation with loss where it weighs something: tool tokens are choices, all else is text."""
    written = [i for i in range(1, len(ids)) if weights[i]]
    text = [i for i in written if ids[i] not in choice_ids]
    is_even = all(weights[i] == 1 for i in text)
    return TrainingExample(
        ids=tuple(ids),
        choices=tuple((i - 1, (ids[i],)) for i in written if ids[i] in choice_ids),
        text=tuple(i - 1 for i in text),
        text_weights=() if is_even else tuple(weights[i] for i in text),
        among_asked=among_asked,
    )


def batches(
    sources: Mapping[str, Sequence[TrainingExample]], shares: Mapping[str, float], *, batch_size: int, seed: int
) -> Iterator[list[TrainingExample]]:
    """Endless batches that draw from the named sources in the given shares.

    Each source is walked in a new random order every epoch; an empty one leaves its share to the others. The sequence
    depends on the arguments alone: a resumed run skips what it has seen and continues as if it had not stopped.
    """
    used = _used(sources, shares)
    if not used:
        raise UsageError("there is nothing to train on: every source of examples is empty or has no share")
    walks = {name: _walk(sources[name], f"{seed}/{name}") for name in used}
    names, weights = list(used), list(used.values())
    chooser = random.Random(f"{seed}/mixture")
    while True:
        yield [next(walks[name]) for name in chooser.choices(names, weights, k=batch_size)]


def repeats(sources: Mapping[str, Sequence[TrainingExample]], shares: Mapping[str, float], drawn: int) -> bool:
    """Whether some source is walked more than once, on the average, when so many examples are drawn."""
    used = _used(sources, shares)
    return any(drawn * share / sum(used.values()) > len(sources[name]) for name, share in used.items())


def _used(sources: Mapping[str, Sequence[TrainingExample]], shares: Mapping[str, float]) -> dict[str, float]:
    """The shares of the sources that have examples."""
    return {name: share for name, share in shares.items() if share > 0 and sources[name]}


def _walk(source: Sequence[TrainingExample], seed: str) -> Iterator[TrainingExample]:
    for epoch, place in shuffled(len(source), seed):
        yield source.drawn(place, epoch) if isinstance(source, VariedExamples) else source[place]


def shuffled(count: int, seed: str) -> Iterator[tuple[int, int]]:
    """Epoch and place of so many items, without end, in a new random order each epoch."""
    chooser, order = random.Random(seed), list(range(count))
    for epoch in itertools.count():
        chooser.shuffle(order)
        yield from ((epoch, place) for place in order)
