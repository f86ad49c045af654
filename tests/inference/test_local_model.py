"""A local model folder that answers conversations."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

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
    together = LocalModel(folder, concurrency=3).write(PROMPTS, max_tokens=6, temperature=0)
    alone = [LocalModel(folder).write([prompt], max_tokens=6, temperature=0)[0] for prompt in PROMPTS]
    assert together == alone
    assert len(set(together)) > 1


def test_answers_are_those_of_transformers(folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).float()
    for prompt, answer in zip(PROMPTS, LocalModel(folder).write(PROMPTS, max_tokens=8, temperature=0), strict=True):
        given = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        ids = model.generate(**given, max_new_tokens=8, do_sample=False, pad_token_id=0)[
            0, given["input_ids"].shape[1] :
        ]
        assert answer == tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_what_is_asked_several_times_is_read_once_and_answered_each_time(folder: Path) -> None:
    writer = LocalModel(folder, concurrency=6)
    long = [{"role": "user", "content": "weather in Oslo, please, and soon, " * 8}]
    together = writer.write([long] * 6, max_tokens=6, temperature=0)
    assert len(set(together)) == 1
    found = writer._loaded.engine.prefixes.found
    assert found and found % 5 == 0 and found // 5 > 50  # tokens that five of the six did not read
    drawn = writer.write([long] * 6, max_tokens=8, temperature=1.0)
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
