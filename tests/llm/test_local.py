"""A local model folder that answers conversations."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgen.errors import LanguageModelError
from toolgen.llm import LocalWriter
from toolgen.testing import tiny_base, tiny_checkpoint

PROMPTS = [[{"role": "user", "content": text}] for text in ("a taxi", "weather in Oslo, please, and soon", "b")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llm") / "tiny"
    tiny_checkpoint().save(path)
    return path


def test_greedy_answers_do_not_depend_on_what_is_asked_together(folder: Path) -> None:
    together = LocalWriter(folder, batch_size=3).write(PROMPTS, max_tokens=6, temperature=0)
    alone = [LocalWriter(folder).write([prompt], max_tokens=6, temperature=0)[0] for prompt in PROMPTS]
    assert together == alone
    assert len(set(together)) > 1


def test_the_seed_decides_sampled_answers(folder: Path) -> None:
    writer = LocalWriter(folder)
    first, same, other = (writer.write(PROMPTS, max_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert first == same != other


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="cannot open the language model") as caught:
        LocalWriter(tmp_path).write(PROMPTS, max_tokens=3)
    assert "\n" not in str(caught.value)


def test_a_base_that_was_never_taught_to_chat_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="has no chat template; take an instruction-tuned one"):
        LocalWriter(tiny_base(tmp_path / "base")).write(PROMPTS, max_tokens=3)
