"""Runs a pretraining: datasets and a base in, a base that has learned to learn tools out; resumed where it was stopped.

The result is an ordinary model folder with `row_maker.safetensors` beside the weights; `difference.safetensors` holds what was
changed, small enough to be shipped, and `pretraining.json` what it was trained on.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from toolgen import files
from toolgen.catalog.text import document, views
from toolgen.catalog.tool import canonical_json
from toolgen.checkpoint.checkpoint import device_of
from toolgen.checkpoint.layout import MARKERS, METRICS, RUN, STATE, weights_of, work_folder
from toolgen.checkpoint.tensors import non_finite
from toolgen.errors import DivergenceError, UsageError
from toolgen.fetching.opening import open_model, open_tokenizer, without_progress_bars
from toolgen.fetching.shipped import DIFFERENCE
from toolgen.inference.machine import native_bf16, tune_allocator
from toolgen.inference.row_maker import RowMaker
from toolgen.training.loop import check_finite, deferred_interrupt, fingerprint_in
from toolgen.training.pretraining.batches import Batch, Batches
from toolgen.training.pretraining.config import PretrainConfig
from toolgen.training.pretraining.corpus import Corpus, TrainingCatalog
from toolgen.training.pretraining.episodes import Episodes, neighbors
from toolgen.training.pretraining.low_rank import add, factors_of, put_back
from toolgen.training.pretraining.model import Pretrainer
from toolgen.training.pretraining.slots import Slots
from toolgen.training.pretraining.teacher import Embed, Teacher
from toolgen.training.saving import (
    Progress,
    StateWriter,
    other_run,
    put_curve_back,
    resume,
    tensors_of,
    trained_parameters,
)
from toolgen.virtualization import document_vectors

FINAL_RATE = 0.05
"""Of the learning rate, at the end of its cosine."""

OnStep = Callable[[Mapping[str, Any]], None]


def pretrain(
    base: Path,
    corpus: Corpus,
    embed: Embed,
    config: PretrainConfig,
    output: Path,
    *,
    start: Path | None = None,
    record: Mapping[str, Any] | None = None,
    restart: bool = False,
    on_step: OnStep | None = None,
    on_message: Callable[[str], None] = lambda _text: None,
) -> None:
    """Trains the base on the corpus and writes `output`. `embed` is the teacher's encoder; `start` is a folder whose difference
    and row maker, of an earlier run from the same base, this one begins with; `record` goes into `pretraining.json`.

    Stopped and repeated with the same corpus and settings it goes on from its last state (KeyboardInterrupt after that was
    saved), unless `restart`. UsageError for a state of another run, or a corpus without requests.
    """
    if not any(one.tools for catalog in corpus.catalogs for one in catalog.requests):
        raise UsageError("no request of these datasets asks for a tool; make some with `toolgen catalog queries`")
    run = _Run(base, corpus, embed, config, work_folder(output), start, restart, on_message)
    run.go(on_step)
    run.write(output, record or {})


class _Run:
    """Model, data and optimizer of one run, and its place."""

    def __init__(
        self,
        base: Path,
        corpus: Corpus,
        embed: Embed,
        config: PretrainConfig,
        work: Path,
        start: Path | None,
        restart: bool,
        on_message: Callable[[str], None],
    ) -> None:
        self._config, self._work, self._corpus, self._source = config, work, corpus, base
        self._open_work(base, start, restart)
        tune_allocator()
        torch.manual_seed(config.seed)
        self._tokenizer: PreTrainedTokenizerBase = open_tokenizer(base)
        self._device = device_of()
        self._base, self._model = (self._opened(base) for _ in range(2))
        on_message(f"embedding {len(corpus.tools):,} tools")
        with torch.autocast(self._device.type, torch.bfloat16, enabled=native_bf16(self._device)):
            vectors_NE = embed([document(tool) for tool in corpus.tools])
        near = [neighbors(vectors_NE[start:stop]) for start, stop in _ranges(corpus.offsets)]
        bags = [
            torch.from_numpy(document_vectors(self._base, self._tokenizer, [views(tool) for tool in catalog.tools]))
            for catalog in corpus.catalogs
        ]
        self._bags_ND = torch.cat(bags).to(self._device)
        slots = Slots.of(self._tokenizer)
        episodes = Episodes(corpus, near, config.shape, config.seed)
        on_message(f"the untouched base writes {config.replay_texts:,} texts")
        self._batches = Batches(corpus, episodes, slots, self._written(slots), config)
        self._teacher = Teacher(
            embed, torch.from_numpy(vectors_NE).to(self._device), self._batches.tool_words(), len(slots.tokenizer)
        )
        frozen = int(config.frozen_share * self._model.config.num_hidden_layers)
        self._pretrainer = Pretrainer(self._model, config.rank, config.pass_tokens, frozen)
        if start is None:
            self._pretrainer.set_scale([self._batches.request(text) for text in episodes.draw(0).texts[:64]])
        else:
            put_back(self._pretrainer.trunk, load_file(start / DIFFERENCE))
            known = RowMaker.load(start, self._model.config.hidden_size)
            self._pretrainer.maker.load_state_dict(known.state_dict())
        self._optimizer = torch.optim.AdamW(
            [
                {"params": self._pretrainer.factors, "lr": config.learning_rate, "weight_decay": 0.01},
                {
                    "params": list(self._pretrainer.maker.parameters()),
                    "lr": config.row_learning_rate,
                    "weight_decay": 0.0,
                },
            ],
            betas=(0.9, 0.98),
        )
        self._trained = trained_parameters(self._pretrainer)
        self._writer = StateWriter(work / STATE, in_place=True)
        progress = resume(work / STATE, self._trained, self._optimizer)
        put_curve_back(work / STATE, work / METRICS)
        self._step, self._tokens, self._seconds = progress.step, progress.tokens, progress.seconds

    def _opened(self, folder: Path) -> PreTrainedModel:
        wanted = self._config.precision
        half = wanted == "bf16" or (wanted == "auto" and native_bf16(self._device))
        dtype = torch.bfloat16 if half else torch.float32
        return _load(folder, dtype).to(self._device).eval().requires_grad_(False)

    def go(self, on_step: OnStep | None) -> None:
        """Steps until the end or an interrupt, which is honoured between two steps."""
        started = saved = time.monotonic()
        before = self._seconds
        left = Subset(self._batches, range(self._step, self._config.steps))
        loader = DataLoader(left, batch_size=None, num_workers=self._config.workers, collate_fn=lambda one: one)
        with self._writer, deferred_interrupt() as interrupted:
            for batch in loader:
                values = self._train(batch)
                self._step += 1
                self._tokens += int(values.pop("batch_tokens"))
                self._seconds = before + time.monotonic() - started
                line = {"stage": "pretraining", "step": self._step, **values, "tokens": self._tokens}
                line["seconds"] = round(self._seconds, 2)
                files.append_record(self._work / METRICS, line)
                if on_step:
                    on_step(line)
                if interrupted() or time.monotonic() - saved > 60 * self._config.save_minutes:
                    self._save()
                    saved = time.monotonic()
                if stopped := interrupted():
                    raise stopped

    def _train(self, batch: Batch) -> dict[str, float]:
        config, pretrainer = self._config, self._pretrainer
        places = torch.tensor(batch.episode.tools, device=self._device)
        bags_ND = self._bags_ND[places] * torch.tensor(batch.has_bag, device=self._device)[:, None]
        soft_QN = self._teacher.logits(batch.episode.texts, batch.words, batch.episode.tools)
        loss, right = pretrainer.choice(
            batch.episode, batch.documents, batch.requests, bags_ND, soft_QN, config.teacher_share
        )
        values = {"choice_loss": loss, "top_1": right}
        if batch.conversations:
            values["call_loss"] = pretrainer.calls(batch.conversations, self._rows(batch), config.call_weight)
        if batch.replayed:
            values["divergence"] = pretrainer.replay(batch.replayed, self._base, config.replay_weight)
        pretrainer.settle()
        norm = torch.nn.utils.clip_grad_norm_(pretrainer.factors, config.clip)
        total = (
            loss + config.call_weight * values.get("call_loss", 0) + config.replay_weight * values.get("divergence", 0)
        )
        measured = {"loss": total, "gradient_norm": float(norm)}
        check_finite(self._step + 1, measured)
        rate = self._rate(self._step)
        for group, peak in zip(
            self._optimizer.param_groups, (config.learning_rate, config.row_learning_rate), strict=True
        ):
            group["lr"] = peak * rate
        values["learning_rate"] = config.learning_rate * rate
        self._optimizer.step()
        self._optimizer.zero_grad()
        read = (*batch.documents, *batch.requests, *batch.replayed, *(one.ids for one in batch.conversations))
        return {**measured, **values, "batch_tokens": sum(map(len, read))}

    @torch.no_grad()
    def _rows(self, batch: Batch) -> dict[str, Tensor]:
        """The rows of the tools in conversations, without a graph."""
        if not batch.called:
            return {}
        places = torch.tensor(list(batch.called.values()), device=self._device)
        rows_ND = self._pretrainer.maker(self._pretrainer.encode(batch.called_documents), self._bags_ND[places])
        return dict(zip(batch.called, rows_ND, strict=True))

    def _rate(self, step: int) -> float:
        """Share of the peak learning rate: a linear warm-up, then a cosine."""
        warm = max(1, round(self._config.warmup * self._config.steps))
        if step < warm:
            return (step + 1) / warm
        place = (step - warm) / max(1, self._config.steps - warm)
        return FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * min(1.0, place))) / 2

    def _written(self, slots: Slots, at_once: int = 512) -> list[list[int]]:
        """What the untouched base writes: answers to requests of the corpus, and texts from their beginnings."""
        texts = [one.text for catalog in self._corpus.catalogs for one in catalog.requests]
        count = min(self._config.replay_texts, len(texts))
        chosen = [texts[i] for i in torch.randperm(len(texts))[:count].tolist()]
        prompts = [slots.protocol.prompt([{"role": "user", "content": text}], max_tokens=96) for text in chosen]
        # Every other one goes on from the first words of the text itself, without a turn.
        words = slots.protocol.encoder.encode_each(chosen[::2])
        prompts[::2] = [ids[:4] or [slots.protocol.end_id] for ids in words]
        prompts.sort(key=len)
        found: list[list[int]] = []
        for start in range(0, len(prompts), at_once):
            part = prompts[start : start + at_once]
            found += continued(self._base, part, self._config.replay_tokens, slots.protocol.end_id)
        return found

    def _open_work(self, base: Path, start: Path | None, restart: bool) -> None:
        fingerprint = {
            "base": [base.name, weights_of(base)],
            "start": start and files.sha256_of(start / DIFFERENCE),
            "settings": self._config.model_dump(exclude={"workers", "save_minutes", "pass_tokens"}),
            "catalogs": [[one.name, _digest(one)] for one in self._corpus.catalogs],
        }
        path = self._work / RUN
        if restart:
            shutil.rmtree(self._work, ignore_errors=True)
        elif (self._work / STATE).exists() and (found := fingerprint_in(path)) != fingerprint:
            raise UsageError(other_run(self._work, found, fingerprint))
        with files.named_failure(self._work):
            self._work.mkdir(parents=True, exist_ok=True)
        files.write_json(path, fingerprint)

    def _save(self) -> None:
        progress = Progress(self._step, self._tokens, self._seconds)
        self._writer.start(tensors_of(self._trained, self._optimizer), progress, self._work / METRICS)
        self._writer.finish()

    def write(self, output: Path, record: Mapping[str, Any]) -> None:
        """Writes the trained base and removes the state; DivergenceError for weights that are no numbers."""
        factors = {name: value.half().cpu().contiguous() for name, value in factors_of(self._pretrainer.trunk).items()}
        if name := non_finite([*factors.items(), *self._pretrainer.maker.named_parameters()]):
            raise DivergenceError(self._step, f"{name} holds NaN or infinity")
        with files.new_folder(output) as folder:
            save_file(factors, folder / DIFFERENCE)
            # The shipped difference is rounded; the folder holds what it gives.
            model = _load(self._source, torch.float32)
            add(model.base_model, factors)
            with without_progress_bars():
                model.save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)
            self._pretrainer.maker.save(folder)
            metrics = (self._work / METRICS).read_text(encoding="utf-8")
            (folder / METRICS).write_text(metrics, encoding="utf-8")
            catalogs = [
                {"name": one.name, "tools": len(one.tools), "requests": len(one.requests), "weight": one.weight}
                for one in self._corpus.catalogs
            ]
            made_by = {"settings": self._config.model_dump(), "catalogs": catalogs, "tokens": self._tokens}
            files.write_json(folder / MARKERS["pretrained base"], {**record, **made_by})
        shutil.rmtree(self._work)


def _load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    model: PreTrainedModel = open_model(folder, dtype=dtype)
    return model


def _digest(catalog: TrainingCatalog) -> str:
    """Identity of what is drawn from a catalog."""
    tools = [tool.content_hash for tool in catalog.tools]
    text = canonical_json([tools, catalog.requests, catalog.conversations, catalog.weight])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ranges(offsets: Sequence[int]) -> list[tuple[int, int]]:
    return list(pairwise(offsets))


@torch.inference_mode()
def continued(
    model: PreTrainedModel, texts: Sequence[Sequence[int]], tokens: int, end_id: int, **sampling: float
) -> list[list[int]]:
    """Token ids of texts with at most so many more that the model draws behind each, up to `end_id`; all at once. `sampling`
    are further settings of `generate`."""
    width = max(map(len, texts))
    written = model.generate(
        input_ids=torch.tensor([[0] * (width - len(one)) + [*one] for one in texts], device=model.device),
        attention_mask=torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in texts], device=model.device),
        max_new_tokens=tokens,
        do_sample=True,
        top_k=0,
        eos_token_id=end_id,
        pad_token_id=0,
        **sampling,
    )
    rows = written[:, width:].tolist()
    ends = (row.index(end_id) + 1 if end_id in row else tokens for row in rows)
    return [[*text, *row[:end]] for text, row, end in zip(texts, rows, ends, strict=True)]
