"""Keys and values are those that were written, through growth and cropping; beginnings come back whole, within a budget."""

from __future__ import annotations

import torch
from torch import Tensor

from toolgen.inference.cache import BLOCK, LEAST, KeyValues, PrefixCache

LAYERS = (0, 1)


def values_of(layer: int, start: int, stop: int) -> Tensor:
    """Different ones for each layer and place (1, 2 heads, tokens, 3)."""
    places = torch.arange(start, stop, dtype=torch.float32)
    return (1000 * layer + places)[None, None, :, None].expand(1, 2, -1, 3)


def grow(cache: KeyValues, count: int, token: int = 0) -> None:
    start = len(cache)
    for layer in LAYERS:
        keys, values = cache.update(
            values_of(layer, start, start + count), -values_of(layer, start, start + count), layer
        )
        assert torch.equal(keys, -values) and keys.shape[2] == start + count
    cache.commit([token + place for place in range(start, start + count)], range(start, start + count))


def holds(cache: KeyValues, length: int) -> bool:
    return len(cache) == length and all(
        torch.equal(keys, values_of(layer, 0, length)) and torch.equal(values, -values_of(layer, 0, length))
        for layer, (keys, values) in cache.layers()
    )


def test_what_was_written_is_there_after_growth_and_cropping() -> None:
    cache = KeyValues()
    for count in (3, 1, LEAST, 1, 5 * LEAST):
        grow(cache, count)
    assert holds(cache, 6 * LEAST + 5)
    cache.crop(10)
    assert holds(cache, 10) and cache.ids == cache.places == [*range(10)]
    grow(cache, 7)
    assert holds(cache, 17)


def test_what_is_not_committed_has_not_happened() -> None:
    cache = KeyValues()
    grow(cache, 5)
    cache.update(values_of(0, 90, 99), values_of(0, 90, 99), 0)
    assert holds(cache, 5)
    grow(cache, 2)
    assert holds(cache, 7)


def test_the_longest_known_beginning_is_found_in_whole_blocks() -> None:
    prefixes, cache = PrefixCache(10**9), KeyValues()
    grow(cache, 3 * BLOCK + 5)
    prefixes.keep(cache)
    for length, expected in ((BLOCK, 0), (BLOCK + 1, 1), (3 * BLOCK, 2), (5 * BLOCK, 3)):
        other = KeyValues()
        assert prefixes.fill(other, [*range(length)]) == expected * BLOCK
        assert holds(other, expected * BLOCK)
    assert prefixes.fill(KeyValues(), [*range(BLOCK), 7, *range(BLOCK + 1, 3 * BLOCK)]) == BLOCK
    assert prefixes.fill(KeyValues(), [7, *range(1, 3 * BLOCK)]) == 0


def test_a_cache_that_ends_inside_a_block_stays_as_it_is() -> None:
    prefixes, cache, begun = PrefixCache(10**9), KeyValues(), KeyValues()
    grow(cache, 3 * BLOCK)
    prefixes.keep(cache)
    grow(begun, BLOCK - 2)
    assert prefixes.fill(begun, [*range(3 * BLOCK)]) == BLOCK - 2
    assert holds(begun, BLOCK - 2)
    grow(begun, 2)
    assert prefixes.fill(begun, [*range(3 * BLOCK)]) == 2 * BLOCK
    assert holds(begun, 2 * BLOCK)


def test_who_takes_a_beginning_does_not_change_it_for_others() -> None:
    prefixes, cache = PrefixCache(10**9), KeyValues()
    grow(cache, BLOCK)
    prefixes.keep(cache)
    taken = KeyValues()
    prefixes.fill(taken, [*range(2 * BLOCK)])
    for _, (keys, values) in (*taken.layers(), *cache.layers()):
        keys.zero_()
        values.zero_()
    again = KeyValues()
    prefixes.fill(again, [*range(2 * BLOCK)])
    assert holds(again, BLOCK)


def test_the_blocks_used_longest_ago_go_first_and_the_size_is_bounded() -> None:
    size = 2 * len(LAYERS) * 2 * BLOCK * 3 * 4
    prefixes = PrefixCache(3 * size)
    for token in range(6):
        cache = KeyValues()
        grow(cache, BLOCK, token)
        prefixes.keep(cache)
        prefixes.keep(cache)  # what is known is not taken twice
        assert prefixes.size == min(token + 1, 3) * size
        assert prefixes.fill(KeyValues(), [*range(BLOCK + 1)]) == BLOCK  # the first one is used again and again
    found = [prefixes.fill(KeyValues(), [*range(token, token + BLOCK + 1)]) for token in range(6)]
    assert found == [BLOCK, 0, 0, 0, BLOCK, BLOCK]
