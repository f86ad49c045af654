"""What the parts of a conversation's text weigh."""

from __future__ import annotations

import pytest

from toolgen.datasets.messages import actions_of
from toolgen.testing import tiny_checkpoint, tiny_dataset
from toolgen.training import StageConfig
from toolgen.training.config import Kind
from toolgen.training.sources import trajectories
from toolgen.training.token_weights import parts_of
from toolgen.virtualization import INDEXINGS, Indexing

WEIGHTS: dict[Kind, float] = {"structure": 0.1, "key": 0.5, "value": 2, "stop": 3, "answer": 0.25, "text": 1}


def weighed(*pieces: str) -> list[tuple[str, float]]:
    """What each part says, and its weight; the pieces stand one behind the other."""
    text = "".join(pieces)
    places: list[tuple[int, str]] = []
    for piece in pieces:
        places.append((sum(len(one) for _, one in places), piece))
    return [(text[start:stop], weight) for start, stop, weight in parts_of(places, WEIGHTS)]


def test_arguments_have_keys_values_and_structure_and_end_in_a_stop() -> None:
    found = weighed("<<a&&b>>", '{"x": "é, \\"y\\": 1", "n": [1.5, true]}', "<<c>>", "{}<|im_end|>")
    assert [(text, weight) for text, weight in found if text and weight != 0.1] == [
        ("<<a&&b>>", 1),
        ('"x"', 0.5),
        ('"é, \\"y\\": 1"', 2),
        ('"n"', 0.5),
        ("1.5", 2),
        ("true", 2),
        ("<<c>>", 1),
        ("<|im_end|>", 3),
    ]
    assert "".join(text for text, _ in found) == ('<<a&&b>>{"x": "é, \\"y\\": 1", "n": [1.5, true]}<<c>>{}<|im_end|>')


def test_the_frame_of_finish_is_structure_and_its_words_an_answer() -> None:
    found = weighed("I see.<<finish>>", '{"answer": "Done."}<|im_end|>')
    assert found[:2] == [("I see.", 1), ("<<finish>>", 1)] and ('"Done."', 0.25) in found and ('"answer"', 0.1) in found
    assert found[-1] == ("<|im_end|>", 3)


def test_words_that_are_no_arguments_are_text_even_if_they_look_like_them() -> None:
    assert weighed('{"x": 1}<|im_end|>') == [('{"x": 1}', 1), ("<|im_end|>", 3)]
    assert weighed("Hello.<|im_end|>") == [("Hello.", 1), ("<|im_end|>", 3)]


def test_a_tool_of_several_tokens_is_one_name() -> None:
    found = weighed("I see.<<0>><<12>>", '{"x": 1}<|im_end|>')
    assert found[:2] == [("I see.", 1), ("<<0>><<12>>", 1)] and ('"x"', 0.5) in found


@pytest.mark.parametrize("indexing", INDEXINGS)
def test_under_every_indexing_a_tool_is_learned_whatever_text_weighs(indexing: Indexing) -> None:
    checkpoint, dataset = tiny_checkpoint(indexing=indexing), tiny_dataset()
    nothing = StageConfig(max_tokens=512, token_weights=dict.fromkeys(WEIGHTS, 0.0))
    (trajectory, *_), (example, *_) = dataset.trajectories["train"], trajectories(checkpoint, dataset, nothing)
    learned = {*(place for place, _ in example.choices), *example.text}
    names = [name for message in trajectory.messages for name, _ in actions_of(message)]
    expected = [token for name in names for token in checkpoint.vocabulary.sequence(name)]
    assert [example.ids[place + 1] for place in sorted(learned)] == expected
