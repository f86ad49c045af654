"""Batches: what a step trains on, drawn and tokenized; the n-th batch depends on the seed and n alone.

A PyTorch dataset, so that several processes can draw ahead. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from torch.utils.data import Dataset as TorchDataset

from toolgen.catalog.text import brief, document, spaced_words
from toolgen.catalog.tool import Tool
from toolgen.inference.row_maker import documentation_prompt
from toolgen.training.pretraining.config import PretrainConfig
from toolgen.training.pretraining.conversations import Conversations
from toolgen.training.pretraining.corpus import Corpus
from toolgen.training.pretraining.episodes import Episode, Episodes
from toolgen.training.pretraining.slots import Conversation, Slots
from toolgen.virtualization.vocabulary import ACTIONS

WORDS = 1000
"""Characters of a request, and of a documentation, whose words the teacher counts."""


@dataclass(frozen=True)
class Batch:
    """One step: an episode with the prompts of its tools and requests, the words that the teacher counts, and which tools keep
    their bag; conversations, the places of their tools by id, and the prompts of these; and replayed texts."""

    episode: Episode
    documents: list[list[int]]
    requests: list[list[int]]
    words: list[list[int]]
    has_bag: list[bool]
    conversations: list[Conversation]
    called: Mapping[str, int]
    called_documents: list[list[int]]
    replayed: list[list[int]]


class Batches(TorchDataset[Batch]):
    """`replayed` are texts that the untouched base wrote."""

    def __init__(
        self,
        corpus: Corpus,
        episodes: Episodes,
        slots: Slots,
        replayed: Sequence[Sequence[int]],
        config: PretrainConfig,
    ) -> None:
        self._corpus, self._episodes, self._slots = corpus, episodes, slots
        self._replayed, self._config = replayed, config
        self._told = [Conversations(one, config.join, config.vary) for one in corpus.catalogs]
        self._telling = {number: told.weight for number, told in enumerate(self._told) if len(told)}

    def __len__(self) -> int:
        return self._config.steps

    def __getitem__(self, number: int) -> Batch:
        random, config = Random(f"{self._config.seed}/batch/{number}"), self._config
        episode = self._episodes.draw(number)
        conversations, called = self._conversations(random)
        return Batch(
            episode=episode,
            documents=[self.document(self._brief(self._corpus.tools[place], random)) for place in episode.tools],
            requests=[self.request(text) for text in episode.texts],
            words=self.words(episode.texts),
            has_bag=[random.random() >= config.bags_dropped for _ in episode.tools],
            conversations=conversations,
            called=called,
            called_documents=[self.document(brief(self._corpus.tools[place])) for place in called.values()],
            replayed=[list(random.choice(self._replayed)) for _ in range(config.replayed if self._replayed else 0)],
        )

    def document(self, text: str) -> list[int]:
        """The prompt after which a row's hidden state is read."""
        return documentation_prompt(text, self._slots.protocol, max_tokens=self._config.document_tokens)

    def request(self, text: str) -> list[int]:
        """The prompt after which a tool is chosen."""
        return self._slots.protocol.prompt([{"role": "user", "content": text}], max_tokens=self._config.request_tokens)

    def words(self, texts: Sequence[str]) -> list[list[int]]:
        """The words of texts as token ids."""
        spaced = [spaced_words(text[:WORDS]) for text in texts]
        return self._slots.protocol.encoder.encode_each(spaced)

    def tool_words(self) -> list[list[int]]:
        """The words of all tools of the corpus."""
        return self.words([document(tool) for tool in self._corpus.tools])

    def _brief(self, tool: Tool, random: Random) -> str:
        draw, dropped = random.random(), self._config.views_dropped / 2
        return brief(tool, described=draw >= dropped, listed=not dropped <= draw < 2 * dropped)

    def _conversations(self, random: Random) -> tuple[list[Conversation], dict[str, int]]:
        """Some conversations and the places of their tools. Ids are those of one catalog each; the catalog's number keeps them
        apart."""
        found: list[Conversation] = []
        called: dict[str, int] = {}
        count = self._config.conversations if self._telling else 0
        for number in random.choices([*self._telling], [*self._telling.values()], k=count):
            told = self._told[number].drawn(random.randrange(len(self._told[number])), random)
            start, catalog = self._corpus.offsets[number], self._corpus.catalogs[number]
            talk = self._slots.render(told, catalog.by_id, self._config.conversation_tokens, self._config.token_weights)
            names = {i: name if name in ACTIONS else f"{number}/{name}" for i, name in talk.names.items()}
            called |= {
                names[i]: start + catalog.positions[name] for i, name in talk.names.items() if name not in ACTIONS
            }
            if talk.written:
                found.append(Conversation(talk.ids, names, talk.written))
        return found, called
