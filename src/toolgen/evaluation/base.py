"""What is left of the base's own ability in a checkpoint, beside the untouched base.

Three measures: perplexity on text that no stage reads, how often the likeliest next token is the untouched base's, and plain
questions with known answers. The prose is `prose.txt`: the beginnings of "Alice's Adventures in Wonderland" (1865), "Pride and
Prejudice" (1813) and "Moby-Dick" (1851), and of the Gettysburg Address (1863), all in the public domain. The code is that of
some modules of the running Python's standard library, so its version belongs to the result. Bases have seen such texts; what
counts is the ratio. Perplexity is over the whole vocabulary: a tool's token that takes probability from words costs it.
Shapes: T tokens of a window after its first, V rows of the output matrix.
"""

from __future__ import annotations

import inspect
import math
import platform
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.checkpoint import Checkpoint
from toolgen.errors import CheckpointError, UsageError
from toolgen.fetching.opening import open_model, open_tokenizer, reason_of
from toolgen.inference.engine import Engine
from toolgen.inference.passes import Part
from toolgen.inference.requests import FreeText
from toolgen.virtualization import TextEncoder
from toolgen.virtualization.tokenizer import begins_with_bos, find_end_marker

MODULES = ("textwrap", "heapq", "shlex", "fractions")
MODULE_CHARACTERS = 3000
"""Of each module's source, from its first function on: what stands before is mostly prose."""
WINDOW = 256
"""Tokens that are read at once; each but the first of them is predicted."""
ANSWER_TOKENS = 40

QUESTIONS: Mapping[str, str] = {
    "What is the capital of France?": "Paris",
    "What is the capital of Italy?": "Rome",
    "How many days are in a week?": "seven|7",
    "What is 2 + 2?": "four|4",
    "What is the opposite of hot?": "cold|cool",
    "What color is the sky on a clear day?": "blue",
    "Who wrote Romeo and Juliet?": "Shakespeare",
    "What is the largest planet in our solar system?": "Jupiter",
    "Which month comes after March?": "April",
    "What do bees make?": "honey",
    "Which star does the Earth go around?": "sun",
    "How many legs does a spider have?": "eight|8",
}
"""Questions, and a pattern of what an answer must hold as a word."""


@dataclass(frozen=True, kw_only=True)
class TextFigures:
    """Of one kind of text: tokens predicted, perplexity of the checkpoint and of the untouched base, and the share of places
    where both think the same token likeliest."""

    tokens: int
    perplexity: float
    base_perplexity: float
    agreement: float

    @property
    def ratio(self) -> float:
        """How many times the base's perplexity it is."""
        return self.perplexity / self.base_perplexity


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One question, what both answered, and whether that is right."""

    question: str
    answer: str
    right: bool
    base_answer: str
    base_right: bool


@dataclass(frozen=True, kw_only=True)
class BaseResult:
    """What is left of a base. `python` is the version whose library is the code."""

    texts: Mapping[str, TextFigures]
    questions: tuple[Answered, ...]
    python: str

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of a result."""
        texts = {name: {**asdict(one), "ratio": one.ratio} for name, one in self.texts.items()}
        return {
            "kind": "base",
            "texts": texts,
            "questions": [asdict(one) for one in self.questions],
            "python": self.python,
        }


def evaluate_base(
    checkpoint: Checkpoint,
    base: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    *,
    more: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> BaseResult:
    """Compares a checkpoint with the untouched base that it was made from: its model, and its tokenizer with a chat template.
    `more` are further texts by name. UsageError for another base, whose tokens differ, and for a text of fewer than two tokens
    or with the name of another."""
    own, other = _Voice.of_checkpoint(checkpoint), _Voice.of_base(*base)
    with own.engine, other.engine:
        texts = _texts(more or {})
        ids = {name: other.encoder.encode_each([text])[0] for name, text in texts.items()}
        if any(own.encoder.encode_each([text])[0] != ids[name] for name, text in texts.items()):
            raise UsageError(
                "the checkpoint and the base cut texts into other tokens; give the base that it was made from"
            )
        if short := [name for name, tokens in ids.items() if len(tokens) < 2]:
            raise UsageError(
                f"{short[0]} is too short to be measured: it has {len(ids[short[0]])} tokens, two are needed"
            )
        windows = [(name, window) for name, tokens in ids.items() for window in other.windows(tokens)]
        found: dict[str, list[tuple[int, float, float, int]]] = {name: [] for name in texts}
        total = len(windows) + len(QUESTIONS)
        for done, (name, window) in enumerate(windows, start=1):
            found[name].append(_compared(own, other, window))
            if on_progress:
                on_progress(done, total)
        answers = []
        for done, (question, pattern) in enumerate(QUESTIONS.items(), start=len(windows) + 1):
            said = [voice.answer(question) for voice in (own, other)]
            right = [re.search(rf"\b({pattern})\b", one, re.IGNORECASE) is not None for one in said]
            answers.append(
                Answered(question=question, answer=said[0], right=right[0], base_answer=said[1], base_right=right[1])
            )
            if on_progress:
                on_progress(done, total)
    figures = {name: _figures(parts) for name, parts in found.items()}
    return BaseResult(texts=figures, questions=tuple(answers), python=platform.python_version())


def _texts(more: Mapping[str, str]) -> dict[str, str]:
    own = {"prose": prose(), "code": code()}
    if taken := sorted(own.keys() & more.keys()):
        raise UsageError(f"{taken[0]} is the name of a text that is measured anyway; give yours another")
    return {**own, **more}


def open_base(folder: Path, device: torch.device | str = "cpu") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The untouched base in a folder. CheckpointError where it cannot be opened."""
    try:
        return open_model(folder, dtype=torch.float32).eval().to(device), open_tokenizer(folder)
    except Exception as error:  # damaged files raise whatever the library that reads them raises
        raise CheckpointError(f"{folder} cannot be opened as a base: {reason_of(error)}") from error


def prose() -> str:
    """The English prose."""
    return resources.files("toolgen.evaluation").joinpath("prose.txt").read_text(encoding="utf-8")


def code() -> str:
    """Parts of the standard library."""
    sources = (inspect.getsource(import_module(name)) for name in MODULES)
    return "\n\n".join(source[max(source.find("\ndef "), 0) :][:MODULE_CHARACTERS] for source in sources)


class _Voice:
    """A model that is asked, in its own form of a conversation."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Callable[[str], Sequence[int]],
        stops: Collection[int],
        never: Sequence[int],
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._prompt, self._stops, self._never = prompt, stops, never
        self.encoder = TextEncoder(tokenizer)

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint) -> _Voice:
        """It writes text; what it would rather call is not asked."""

        def prompt(question: str) -> Sequence[int]:
            return checkpoint.protocol.prompt([{"role": "user", "content": question}])

        stops = {find_end_marker(checkpoint.tokenizer)}
        return cls(checkpoint.model, checkpoint.tokenizer, prompt, stops, checkpoint.vocabulary.action_token_ids)

    @classmethod
    def of_base(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> _Voice:
        """An instruction-tuned base, by its own chat template."""
        if tokenizer.chat_template is None:
            raise UsageError("the base has no chat template; questions need an instruction-tuned one")
        encoder = TextEncoder(tokenizer)
        ends: Any = model.generation_config.eos_token_id if model.generation_config else None
        stops = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
        return cls(model, tokenizer, lambda text: encoder.encode_chat([{"role": "user", "content": text}]), stops, ())

    @cached_property
    def engine(self) -> Engine:
        """Makes the passes, with the model's own weights."""
        return Engine(self._model, weights="full", pass_tokens=WINDOW, prefix_mebibytes=0)

    def windows(self, ids: Sequence[int]) -> Iterator[list[int]]:
        """A text in windows, each after the token of the beginning where the model expects it."""
        start = [self._tokenizer.bos_token_id] if begins_with_bos(self._tokenizer) else []
        for first in range(0, len(ids), WINDOW):
            window = [*start, *ids[first : first + WINDOW]]
            if len(window) > 1:  # the only one of them would have no token before it
                yield window

    def log_probabilities(self, window: Sequence[int]) -> torch.Tensor:
        """Of every next token, after each but the last (T, V)."""
        (logits_TV,) = self.engine.run([Part(ids=window[:-1], keep=len(window) - 1)])
        return logits_TV.float().log_softmax(-1)

    def answer(self, question: str) -> str:
        """The likeliest answer, token by token."""
        request = FreeText(self._prompt(question), ANSWER_TOKENS, self._stops, never=self._never)
        written = self.engine.submit(request).result()
        return str(self._tokenizer.decode(written, skip_special_tokens=True)).strip()


def _compared(own: _Voice, other: _Voice, window: Sequence[int]) -> tuple[int, float, float, int]:
    """Tokens predicted, both sums of negative log-probabilities, and how many likeliest tokens are the same."""
    targets_T = torch.tensor(window[1:])
    made = [voice.log_probabilities(window).cpu() for voice in (own, other)]
    own_loss, other_loss = (-float(one.gather(1, targets_T[:, None]).sum(dtype=torch.float64)) for one in made)
    return len(targets_T), own_loss, other_loss, int((made[0].argmax(1) == made[1].argmax(1)).sum())


def _figures(parts: Sequence[tuple[int, float, float, int]]) -> TextFigures:
    tokens, own, other, same = (sum(values) for values in zip(*parts, strict=True))
    return TextFigures(
        tokens=int(tokens),
        perplexity=math.exp(own / tokens),
        base_perplexity=math.exp(other / tokens),
        agreement=same / tokens,
    )
