"""First values of the new rows, in the input and in the output matrix, tied or not.

Two ways, and a control. `name` is the paper's: the mean of the embeddings of the name's sub-tokens. `documentation` says
more: a bag of the words of the whole documentation, so that a tool which no request ever asks for still starts where
its words are, and the model learns one thing for all tools (text to the bag of its words) instead of an arbitrary
vector for each. Without any training, ranking by such bags finds half of BFCL's tools first; `docs/experiments.md` has
the figures. Turn markers that the base lacks start as its own tokens of a text's beginning and end. Rows are not trained here;
see `toolgen.training`.
Shapes: V base vocabulary, D hidden size, N tools (or actions and tools), R new rows, P uses of a token by one of N.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen.catalog.text import spaced_words
from toolgen.virtualization.options import Initialization
from toolgen.virtualization.text_encoder import TextEncoder
from toolgen.virtualization.vocabulary import ACTIONS, TURN_END, TURN_START, ToolVocabulary

VIEW_WEIGHTS: Mapping[str, float] = {"name": 2.0, "description": 1.0, "parameters": 0.5}
"""Weight of a word by the view of the documentation it stands in; chosen on BFCL's development split."""

AT_ONCE = 4096
"""Texts for one call of the tokenizer: a call for each took most of the time of 125,000 tools, one for all 2 GiB."""

Views = Mapping[str, str]


class Bags(NamedTuple):
    """The sub-tokens of N texts, each once in a text, and their weights: P of both, one text after another."""

    ids_P: Tensor
    weights_P: Tensor
    lengths_N: Tensor

    def last(self, count: int) -> Bags:
        """The bags of the last texts alone."""
        lengths_N = self.lengths_N[len(self.lengths_N) - count :]
        start = len(self.ids_P) - int(lengths_N.sum())
        return Bags(self.ids_P[start:], self.weights_P[start:], lengths_N)


class Words:
    """The base's rows as bags take them up: as they are, or whitened, that is centred, decorrelated (ZCA) and of length 1.
    Different words become nearly orthogonal then, so the product of two bags counts the words they share, while related words
    stay closer than unrelated ones."""

    def __init__(self, base_VD: Tensor, *, whiten: bool = True) -> None:
        self._base_VD = base_VD
        self._whitening = _whitening(base_VD) if whiten else None

    def __len__(self) -> int:
        return len(self._base_VD)

    def rows(self, chosen: Tensor | slice) -> Tensor:
        """Some of them, float32."""
        rows_ND = self._base_VD[chosen].float().cpu()
        if self._whitening is None:
            return rows_ND
        mean_D, map_DD = self._whitening
        return torch.nn.functional.normalize((rows_ND - mean_D).double() @ map_DD).float()

    @cached_property
    def mean_D(self) -> Tensor:
        """What stands for a text without a known word."""
        mean_D: Tensor = self.rows(slice(None)).mean(0)
        return mean_D


class DocumentBags:
    """Makes bags of words of documentations, as `initialize_rows` weighs them, with rows of words that stay as they are: what
    depends on these and on `others` alone is found once. `others` are documentations that only say how rare a word is."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, others: Sequence[Views] = ()) -> None:
        self._encoder = TextEncoder(tokenizer)
        self._seen, self._seen_V = len(others), _read(self._encoder, others).ids_P.bincount()

    def bags(self, texts: Sequence[Views]) -> Bags:
        """The bag of each text."""
        bags = _read(self._encoder, texts)
        counts_V = bags.ids_P.bincount(minlength=len(self._seen_V))
        counts_V[: len(self._seen_V)] += self._seen_V
        rarity_V = torch.log((self._seen + len(texts) + 1) / (counts_V + 0.5)).clamp_min(0)
        return bags._replace(weights_P=bags.weights_P * rarity_V[bags.ids_P])

    def directions(self, words: Words, texts: Sequence[Views], others: Sequence[Views] = ()) -> Tensor:
        """The bag of each text as a vector of length 1 (N, D); `others` are further documentations for this once."""
        return torch.nn.functional.normalize(_sums(words, self.bags([*others, *texts]).last(len(texts))))


def resize_rows(model: PreTrainedModel, length: int) -> None:
    """Grows both matrices to `length` rows; keeps them where the base is padded beyond it.

    Without `mean_resizing`, which costs 22 s for 50,000 rows that are overwritten anyway.
    """
    if model.get_input_embeddings().weight.shape[0] < length:
        model.resize_token_embeddings(length, mean_resizing=False)


def output_rows(model: PreTrainedModel) -> torch.nn.Parameter:
    """The output matrix (V + R, D); the input matrix itself where the two are tied."""
    head = model.get_output_embeddings()
    weight: torch.nn.Parameter = (model.get_input_embeddings() if head is None else head).weight
    return weight


@torch.no_grad()
def initialize_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vocabulary: ToolVocabulary,
    texts: Sequence[Views],
    *,
    method: Initialization = "documentation",
    seed: int = 0,
) -> None:
    """Writes the rows of all new tokens; `texts[i]` holds the views of the i-th action or tool (actions first).

    A token that tools share starts as the mean of their directions. Every row of actions and tools gets the mean length of the
    base's own rows, so that no tool starts out mute. Output rows of an untied model come from the *output* rows of the same
    words. Where the output matrix has a bias, that of a tool is the mean of the base's, whatever a padded base had there.
    """
    base, start, stop = vocabulary.new_token_ids.start, vocabulary.first_id, vocabulary.new_token_ids.stop
    likes = _likes(tokenizer, vocabulary)
    generator = torch.Generator().manual_seed(seed)
    bags = DocumentBags(tokenizer).bags(texts) if method == "documentation" else _names(TextEncoder(tokenizer), texts)
    for weight in {id(matrix): matrix for matrix in (model.get_input_embeddings().weight, output_rows(model))}.values():
        base_VD = weight[:base].float().cpu()
        if method == "random":
            rows = torch.randn((stop - start, base_VD.shape[1]), generator=generator)
        else:
            rows = _shared_rows(_sums(Words(base_VD, whiten=method == "documentation"), bags), vocabulary)
        rows *= base_VD.norm(dim=1).mean() / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)
        weight[start:stop] = rows.to(weight.dtype)
        for marker, like in likes.items():
            weight[marker] = base_VD.mean(0) if like is None else weight[like]
    bias: Tensor | None = getattr(model.get_output_embeddings(), "bias", None)
    if bias is not None:
        bias[base:stop] = bias[:base].mean()
        for marker, like in likes.items():
            bias[marker] = bias[:base].mean() if like is None else bias[like]


def _likes(tokenizer: PreTrainedTokenizerBase, vocabulary: ToolVocabulary) -> Mapping[int, int | None]:
    """Token id of each turn marker that the base lacks, and of the base's own token that it starts as: the one that begins a
    text (BOS), else the one that ends it (EOS); None where the base has neither."""
    bos, eos = (
        token_id if token_id is not None and token_id < vocabulary.new_token_ids.start else None
        for token_id in (tokenizer.bos_token_id, tokenizer.eos_token_id)
    )
    starts = {TURN_START: eos if bos is None else bos, TURN_END: bos if eos is None else eos}
    return {token_id: starts[marker] for marker, token_id in vocabulary.marker_token_ids.items()}


@torch.no_grad()
def document_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[Views]
) -> npt.NDArray[np.float32]:
    """The bag of each documentation as a vector of length 1 (N, D), by which indexings know what tools are alike; no second
    model is needed. The model's tokens are all its base's."""
    words = Words(model.get_input_embeddings().weight[: len(tokenizer)])
    return np.asarray(DocumentBags(tokenizer).directions(words, texts))


def _shared_rows(named_ND: Tensor, vocabulary: ToolVocabulary) -> Tensor:
    """From a row for each action and tool to one for each new token (R, D): the mean direction of those that use it."""
    if vocabulary.is_atomic:
        return named_ND
    named_ND = torch.nn.functional.normalize(named_ND)
    sequences = [vocabulary.sequence(name) for name in (*ACTIONS, *vocabulary.tool_ids)]
    pairs = [(token, i) for i, sequence in enumerate(sequences) for token in {*sequence}]
    own = [(token - vocabulary.first_id, i) for token, i in pairs if token >= vocabulary.first_id]
    rows_P, named_P = torch.tensor(own).T
    summed = torch.zeros(len(vocabulary.action_token_ids), named_ND.shape[1])
    return summed.index_add(0, rows_P, named_ND[named_P])  # the caller sets the length


def _names(encoder: TextEncoder, texts: Sequence[Views]) -> Bags:
    """Sub-tokens of each name and how often they occur."""
    return _joined(Counter(ids) for part in _parts(texts) for ids in _word_ids(encoder, part, "name"))


def _read(encoder: TextEncoder, texts: Sequence[Views]) -> Bags:
    """Sub-tokens of each documentation, each with the weight of the best view that it stands in."""
    seen = (zip(*(_word_ids(encoder, part, view) for view in VIEW_WEIGHTS), strict=True) for part in _parts(texts))
    return _joined(_best_view(views) for views in chain.from_iterable(seen))


def _best_view(seen: Sequence[Sequence[int]]) -> dict[int, float]:
    """Sub-token to the highest weight of the views that hold it; `seen` holds those of each view."""
    best: dict[int, float] = {}
    for ids, weight in zip(seen, VIEW_WEIGHTS.values(), strict=True):
        best |= {token_id: max(best.get(token_id, 0.0), weight) for token_id in ids}
    return best


def _joined(bags: Iterable[Mapping[int, float]]) -> Bags:
    ids, weights, lengths = array("q"), array("d"), array("q")
    for bag in bags:
        ids.extend(bag)
        weights.extend(bag.values())
        lengths.append(len(bag))
    return Bags(
        torch.tensor(ids, dtype=torch.int64),
        torch.tensor(weights, dtype=torch.float64),
        torch.tensor(lengths, dtype=torch.int64),
    )


def _parts(texts: Sequence[Views]) -> Iterator[Sequence[Views]]:
    return (texts[start : start + AT_ONCE] for start in range(0, len(texts), AT_ONCE))


def _word_ids(encoder: TextEncoder, texts: Sequence[Views], view: str) -> list[list[int]]:
    """Sub-tokens of the words of one view of each text."""
    return encoder.encode_each([spaced_words(views.get(view, "")) for views in texts])


def _whitening(base_VD: Tensor) -> tuple[Tensor, Tensor]:
    """The mean that is taken off rows, and the map that decorrelates them then (double)."""
    base_VD = base_VD.float().cpu()
    mean_D = base_VD.mean(0)
    centred_VD = (base_VD - mean_D).double()
    variances, axes = torch.linalg.eigh(centred_VD.T @ centred_VD / (len(base_VD) - 1))
    scales = variances.clamp_min(1e-6 * float(variances.max())).rsqrt()
    return mean_D, (axes * scales) @ axes.T


def _sums(words: Words, bags: Bags) -> Tensor:
    """The weighted sum of the words of each text (N, D); the mean of all words where none is known. Few of the base's words
    are used, so only these are looked up."""
    known_P = bags.ids_P < len(words)
    owners_P = torch.arange(len(bags.lengths_N)).repeat_interleave(bags.lengths_N)
    lengths_N = owners_P[known_P].bincount(minlength=len(bags.lengths_N))
    used = bags.ids_P[known_P].bincount().nonzero()[:, 0]
    sums_ND: Tensor = torch.nn.functional.embedding_bag(
        torch.searchsorted(used, bags.ids_P[known_P]),
        words.rows(used),
        lengths_N.cumsum(0) - lengths_N,
        mode="sum",
        per_sample_weights=bags.weights_P[known_P].float(),
    )
    if not lengths_N.all():
        sums_ND[lengths_N == 0] = words.mean_D
    return sums_ND
