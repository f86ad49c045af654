"""A local model folder that answers conversations."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolgen.errors import LanguageModelError
from toolgen.inference.local_model import LocalModel
from toolgen.testing import tiny_base, tiny_checkpoint

PROMPTS = [[{"role": "user", "content": text}] for text in ("a taxi", "weather in Oslo, please, and soon", "b")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llm") / "tiny"
    tiny_checkpoint().save(path)
    return path


def test_greedy_answers_do_not_depend_on_what_is_asked_together(folder: Path) -> None:
    together = LocalModel(folder, batch_size=3).write(PROMPTS, max_tokens=6, temperature=0)
    alone = [LocalModel(folder).write([prompt], max_tokens=6, temperature=0)[0] for prompt in PROMPTS]
    assert together == alone
    assert len(set(together)) > 1


def test_what_is_asked_several_times_is_read_once_and_answered_each_time(folder: Path) -> None:
    model = LocalModel(folder, batch_size=6)
    asked = [PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[0], PROMPTS[1]]
    loaded, _ = model._loaded
    read: list[int] = []
    hook = loaded.register_forward_pre_hook(
        lambda _module, _args, given: read.append(given["input_ids"].numel()) if len(given["input_ids"]) else None,
        with_kwargs=True,
    )
    together = model.write(asked, max_tokens=6, temperature=0)
    hook.remove()
    longest = read[0] // 2  # the first pass reads two conversations
    assert sum(read) <= 2 * longest + len(asked) * 6
    assert together == [LocalModel(folder).write([prompt], max_tokens=6, temperature=0)[0] for prompt in asked]
    drawn = model.write([PROMPTS[0]] * 6, max_tokens=8, temperature=1.0)
    assert len(set(drawn)) > 1


def test_the_seed_decides_sampled_answers(folder: Path) -> None:
    model = LocalModel(folder)
    first, same, other = (model.write(PROMPTS, max_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert first == same != other


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="cannot open the language model") as caught:
        LocalModel(tmp_path).write(PROMPTS, max_tokens=3)
    assert "\n" not in str(caught.value)


def test_a_base_that_was_never_taught_to_chat_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="has no chat template; take an instruction-tuned one"):
        LocalModel(tiny_base(tmp_path / "base")).write(PROMPTS, max_tokens=3)
