"""A language model in a local folder, by transformers' own `generate`. Knows no prompt."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from toolgen.errors import LanguageModelError
from toolgen.llm.protocol import ChatMessage


class LocalModel:
    """Any Hugging Face model folder with a chat template; loaded at the first use, on a GPU if there is one.

    Conversations of like length are answered together, `batch_size` at a time; one that is asked several times among them is
    read once. LanguageModelError names a folder that cannot be opened.
    """

    def __init__(self, folder: Path, *, batch_size: int = 32) -> None:
        self.name = Path(folder).name
        self._folder, self._batch_size = Path(folder), batch_size

    def write(
        self, prompts: Sequence[Sequence[ChatMessage]], *, max_tokens: int, temperature: float = 0.7, seed: int = 0
    ) -> list[str]:
        """See `LanguageModel`. The answers depend on the seed and on which conversations are given together."""
        import torch

        model, tokenizer = self._loaded
        texts = [
            tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
            for prompt in prompts
        ]
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        answers = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        torch.manual_seed(seed)
        for start in range(0, len(order), self._batch_size):
            part = order[start : start + self._batch_size]
            distinct = list(dict.fromkeys(texts[i] for i in part))
            rows = torch.tensor([distinct.index(texts[i]) for i in part], device=model.device)
            batch = tokenizer(distinct, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
            ids, mask = batch["input_ids"], batch["attention_mask"]
            with torch.inference_mode():
                read = model(
                    input_ids=ids[:, :-1],
                    attention_mask=mask[:, :-1],
                    position_ids=(mask[:, :-1].cumsum(1) - 1).clamp_min(0),
                    logits_to_keep=1,
                ).past_key_values
                read.batch_select_indices(rows)
                written = model.generate(
                    input_ids=ids[rows],
                    attention_mask=mask[rows],
                    past_key_values=read,
                    max_new_tokens=max_tokens,
                    pad_token_id=tokenizer.pad_token_id,
                    **sampling,
                )
            new = written[:, ids.shape[1] :]
            for i, text in zip(part, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
                answers[i] = text.strip()
        return answers

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, padding_side="left")
            model = AutoModelForCausalLM.from_pretrained(self._folder, dtype="auto")
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise LanguageModelError(f"cannot open the language model {self._folder}: {reason}") from error
        if tokenizer.chat_template is None:
            raise LanguageModelError(
                f"the language model {self._folder} has no chat template; take an instruction-tuned one"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        # A bf16 model on a processor that only emulates bf16 would be several times slower.
        model = model.to("cuda") if torch.cuda.is_available() else model.float()
        return model.eval(), tokenizer
