"""Keys and values: what a sequence's layers keep of the tokens that they have read.

Knows token ids and tensors; no model and no scheduling.
Shapes: as everywhere in transformers, (1, heads, tokens, size).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

LEAST = 64
"""Tokens that a new buffer has room for; it doubles when it is full."""
BLOCK = 32
"""Tokens of a block of `PrefixCache`."""


class KeyValues:
    """The cache of one growing sequence. `ids` are the tokens whose keys and values are whole, `places` where they stand in the
    sequence (branches of a tree share places). A pass writes behind them and `commit`s; until then it has not happened."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.places: list[int] = []
        self.stored = 0
        """Blocks of the beginning that a `PrefixCache` has had."""
        self._buffers: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Writes new keys and values of a layer behind the others; returns all of the layer, without a copy."""
        stop = len(self.ids) + keys.shape[2]
        known = self._buffers.get(layer)
        if known is None or known[0].shape[2] < stop:
            known = self._buffers[layer] = self._grown(known, keys, stop), self._grown(known, values, stop, 1)
        for buffer, new in zip(known, (keys, values), strict=True):
            buffer[:, :, len(self.ids) : stop] = new
        return known[0][:, :, :stop], known[1][:, :, :stop]

    def _grown(self, known: tuple[Tensor, Tensor] | None, new: Tensor, stop: int, which: int = 0) -> Tensor:
        room = max(LEAST, stop, 2 * known[0].shape[2] if known else 0)
        buffer = new.new_empty((*new.shape[:2], room, new.shape[3]))
        if known is not None:
            buffer[:, :, : len(self.ids)] = known[which][:, :, : len(self.ids)]
        return buffer

    def commit(self, ids: Sequence[int], places: Sequence[int]) -> None:
        """The tokens that a pass has written are now part of the sequence."""
        self.ids += ids
        self.places += places

    def crop(self, length: int) -> None:
        """Forgets what stands behind the first `length` tokens."""
        del self.ids[length:], self.places[length:]
        self.stored = min(self.stored, length // BLOCK)

    def layers(self) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
        """Layers with the keys and values of all tokens."""
        for layer, both in self._buffers.items():
            yield layer, (both[0][:, :, : len(self.ids)], both[1][:, :, : len(self.ids)])


Block = dict[int, tuple[Tensor, Tensor]]


class PrefixCache:
    """Beginnings that sequences have had, in blocks of BLOCK tokens, at most `budget` bytes; those used longest ago go first.
    A block belongs to all tokens up to its end. What is taken is copied, so a sequence never sees another's changes."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()
        self.size = 0
        self.found = 0
        """Tokens that did not have to be read again."""

    def clear(self) -> None:
        """Forgets all beginnings: the weights that they were read with have changed."""
        self._blocks.clear()
        self.size = 0

    def fill(self, cache: KeyValues, ids: Sequence[int]) -> int:
        """Puts what is known of the beginning of `ids` into a cache that holds nothing else; returns how many tokens it then
        holds. The last token is never among them. A cache that ends inside a block stays as it is: blocks do not fit behind."""
        before = len(cache)
        if before % BLOCK:
            return before
        for key, end in _keys(ids[:-1]):
            if end <= before:
                continue
            block = self._blocks.get(key)
            if block is None:
                break
            self._blocks.move_to_end(key)
            for layer, (keys, values) in block.items():
                cache.update(keys, values, layer)
            cache.commit(ids[end - BLOCK : end], range(end - BLOCK, end))
        cache.stored = len(cache) // BLOCK
        self.found += len(cache) - before
        return len(cache)

    def next_key(self, cache: KeyValues, ids: Sequence[int]) -> bytes | None:
        """What the next block of `ids` behind a cache would be known by; None if there is none, or nothing is kept."""
        end = len(cache) + BLOCK
        if not self._budget or len(cache) % BLOCK or end > len(ids):
            return None
        return next(key for key, place in _keys(ids[:end]) if place == end)

    def keep(self, cache: KeyValues) -> None:
        """Takes the whole blocks of a sequence that it has not had."""
        if len(cache) // BLOCK <= cache.stored or not self._budget:
            return
        for number, (key, end) in enumerate(_keys(cache.ids)):
            if number >= cache.stored and key not in self._blocks:
                block = {
                    layer: (keys[:, :, end - BLOCK : end].clone(), values[:, :, end - BLOCK : end].clone())
                    for layer, (keys, values) in cache.layers()
                }
                self._blocks[key] = block
                self.size += _size(block)
        cache.stored = len(cache) // BLOCK
        while self.size > self._budget:
            self.size -= _size(self._blocks.popitem(last=False)[1])


def _keys(ids: Sequence[int]) -> Iterator[tuple[bytes, int]]:
    """For each whole block: a key of all ids up to its end, and that end."""
    digest = hashlib.blake2b(digest_size=16)
    for end in range(BLOCK, len(ids) + 1, BLOCK):
        digest.update(np.asarray(ids[end - BLOCK : end], dtype=np.int64).tobytes())
        yield digest.digest(), end


def _size(block: Block) -> int:
    return sum(keys.nbytes + values.nbytes for keys, values in block.values())
