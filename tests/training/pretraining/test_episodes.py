"""What an episode holds, and that it depends on its number and the seed alone."""

from __future__ import annotations

import numpy as np
from tests.training.pretraining.conftest import embed

from toolgen.catalog.text import document
from toolgen.training.pretraining.corpus import Corpus
from toolgen.training.pretraining.episodes import Episodes, EpisodeShape, neighbors

SHAPE = EpisodeShape(requests=32, groups=4)


def episodes_of(corpus: Corpus, shape: EpisodeShape = SHAPE, seed: int = 0) -> Episodes:
    near = [neighbors(embed([document(tool) for tool in catalog.tools])) for catalog in corpus.catalogs]
    return Episodes(corpus, near, shape, seed)


def test_neighbors_are_those_with_the_largest_cosine_but_never_the_tool_itself() -> None:
    vectors_ND = embed(["aaa", "aab", "zzz", "zzy", "abb"])
    found = neighbors(vectors_ND, 2, at_once=2)
    for i, row in enumerate(found):
        others = [j for j in np.argsort(-(vectors_ND @ vectors_ND[i])) if j != i]
        assert {*row.tolist()} == {*others[:2]}


def test_a_catalog_of_one_tool_has_no_neighbors() -> None:
    assert neighbors(embed(["a"])).shape == (1, 0)


def test_an_episode_depends_on_its_number_and_the_seed_alone(corpus: Corpus) -> None:
    episodes = episodes_of(corpus)
    third = episodes.draw(3)
    episodes.draw(1)
    assert episodes.draw(3) == third
    assert episodes.draw(4) != third
    assert episodes_of(corpus, seed=1).draw(3) != third


def test_targets_are_the_tools_of_the_request(corpus: Corpus) -> None:
    shape = EpisodeShape(requests=64, groups=4, joined=0, declined=0, described=0)
    asked = {one.text: [*one.tools] for one in corpus.catalogs[0].requests}
    episode = episodes_of(corpus, shape).draw(0)
    count = len(corpus.catalogs[0].tools)
    for text, targets in zip(episode.texts, episode.targets, strict=True):
        assert [episode.tools[i] % count for i in targets] == asked[text]


def test_a_joined_request_asks_for_the_tools_of_both(corpus: Corpus) -> None:
    shape = EpisodeShape(requests=64, groups=4, joined=1, declined=0, described=0)
    texts = {one.text: len(one.tools) for one in corpus.catalogs[0].requests}
    episode = episodes_of(corpus, shape).draw(0)
    joined = [
        (text, targets) for text, targets in zip(episode.texts, episode.targets, strict=True) if text not in texts
    ]
    assert joined
    for text, targets in joined:
        parts = [count for known, count in texts.items() if text.startswith(known)]
        assert any(len(targets) > count for count in parts)


def test_a_declined_request_hides_its_own_tools(corpus: Corpus) -> None:
    shape = EpisodeShape(requests=64, groups=4, declined=1)
    episode = episodes_of(corpus, shape).draw(0)
    assert not any(episode.targets)
    asked = len(episode.texts) - sum(not hidden for hidden in episode.hidden)
    assert asked >= 60  # all but those that the corpus has for no tool


def test_look_alikes_stand_beside_the_tools_that_are_asked_for(corpus: Corpus) -> None:
    few = episodes_of(corpus, EpisodeShape(requests=16, groups=1, around=0, look_alikes=0)).draw(0)
    many = episodes_of(corpus, EpisodeShape(requests=16, groups=1, around=0, look_alikes=1)).draw(0)
    assert len(many.tools) > len(few.tools)
