"""Everything that runs a model gives on a CUDA device what it gives on the CPU: on an emulated one (`emulated_device.py`); with
the variable TOOLGEN_TEST_CARD on the machine's own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from tests.emulated_device import CUDA, emulated_cuda
from tests.reinforcement.conftest import dataset as house
from tests.reinforcement.conftest import tiny_config
from tests.training.pretraining.conftest import config as pretrain_config
from tests.training.pretraining.conftest import corpus as pretrain_corpus
from tests.training.pretraining.conftest import embed

from toolgen.catalog import Catalog
from toolgen.checkpoint import Checkpoint
from toolgen.decoding import DecodingOptions, Sampling, ToolDecoder
from toolgen.errors import UsageError
from toolgen.evaluation import base
from toolgen.fetching.opening import open_encoder
from toolgen.inference.engine import Engine
from toolgen.inference.late_tools import add_tools, remove_tools, update_tools, with_row_map
from toolgen.inference.machine import native_bf16
from toolgen.inference.row_maker import RowMaker, write_rows
from toolgen.reinforcement.run import reinforce
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import (
    tiny_base,
    tiny_catalog,
    tiny_checkpoint,
    tiny_dataset,
    tiny_encoder,
    tiny_model,
    tiny_tokenizer,
)
from toolgen.training import STAGES, StageConfig, encoder, loop
from toolgen.training.cold_start import fit_documentation
from toolgen.training.distillation import distill
from toolgen.training.pretraining.run import pretrain
from toolgen.training.run import run_stage

pytestmark = pytest.mark.filterwarnings("ignore:.*CUDA:UserWarning")
QUERIES = [query.text for query in tiny_dataset().queries["test"]][:4]
TOOLS = tuple(tiny_catalog())
TINY: dict[str, Any] = {"steps": 3, "batch_size": 8, "max_tokens": 320, "save_minutes": 1e-6, "precision": "fp32"}


REAL = bool(os.environ.get("TOOLGEN_TEST_CARD"))


@pytest.fixture(autouse=True)
def hidden() -> Iterator[None]:
    """Commands find a real card only where they are meant to."""
    with pytest.MonkeyPatch.context() as patch:
        if REAL:
            assert torch.cuda.is_available(), "TOOLGEN_TEST_CARD is set, and PyTorch sees no CUDA card"
            patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@contextmanager
def on_cuda() -> Iterator[None]:
    """Commands find the device and take it."""
    if REAL:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: True)
            yield
        PartialState._reset_state()
        return
    made = loop.opened_accelerator

    def opened(*args: Any, **settings: Any) -> Any:
        accelerator = made(*args, **settings)
        accelerator.state.device = PartialState._shared_state["device"] = CUDA
        return accelerator

    with pytest.MonkeyPatch.context() as patch, emulated_cuda(patch):
        patch.setattr(loop, "opened_accelerator", opened)
        yield
    PartialState._reset_state()


@pytest.fixture
def cuda() -> Iterator[None]:
    with on_cuda():
        yield


def made_by(fixture: Any) -> Any:
    """What a fixture without arguments makes."""
    return fixture.__wrapped__()


def scores(checkpoint: Checkpoint) -> np.ndarray:
    return GenerativeRetriever(checkpoint).score_all(QUERIES)


def opinions(texts: Sequence[str]) -> np.ndarray:
    return np.random.default_rng(len(texts)).normal(size=(len(texts), len(TOOLS)))


def test_tensors_on_two_devices_are_refused_as_on_a_card(cuda: None) -> None:
    there = torch.ones(3, device=CUDA)
    for refused in (lambda: there + torch.ones(3), lambda: torch.ones(3) * there.sum(), lambda: there.numpy()):
        with pytest.raises((RuntimeError, TypeError)):
            refused()
    assert (there * torch.tensor(2.0)).cpu().tolist() == [2.0] * 3
    assert there.device == CUDA and there[torch.tensor([0])].tolist() == [1.0]


@pytest.mark.parametrize("settings", [{}, {"tied": False}, {"indexing": "codes"}, {"architecture": "gpt2"}])
def test_searches_find_the_same(settings: dict[str, Any], cuda: None) -> None:
    np.testing.assert_allclose(
        scores(tiny_checkpoint(**settings).to("cuda:0")), scores(tiny_checkpoint(**settings)), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("initialization", ["documentation", "name", "random"])
def test_a_model_that_is_there_takes_a_catalog_in(initialization: Any, cuda: None) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model(rows=len(tokenizer)).to(CUDA)
    made = Checkpoint.from_model(model, tokenizer, tiny_catalog(), base="tiny", initialization=initialization)
    assert made.tool_rows.device == CUDA
    torch.testing.assert_close(made.tool_rows.detach().cpu(), tiny_checkpoint(initialization=initialization).tool_rows)


def changed(checkpoint: Checkpoint) -> Checkpoint:
    """With a tool more, one that is defined anew, and one less."""
    checkpoint = add_tools(checkpoint, [TOOLS[-1]])
    checkpoint = update_tools(checkpoint, [replace(TOOLS[0], description="Feeds the cat of a neighbor")])
    return remove_tools(checkpoint, [TOOLS[1].id])


@pytest.mark.parametrize("has_maker", [False, True])
def test_tools_come_change_and_go(has_maker: bool, cuda: None) -> None:
    found = []
    for device in ("cpu", "cuda:0"):
        checkpoint = tiny_checkpoint(catalog=Catalog(TOOLS[:-1])).to(device)
        if has_maker:
            torch.manual_seed(0)
            write_rows(checkpoint, RowMaker(checkpoint.model.config.hidden_size))
        found.append(scores(changed(checkpoint)))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-4)


def test_rows_are_fitted_and_distilled(cuda: None) -> None:
    found = []
    for device in ("cpu", "cuda:0"):
        checkpoint = fit_documentation(tiny_checkpoint().to(device), opinions)
        states = GenerativeRetriever(checkpoint).hidden_states
        found.append(scores(with_row_map(distill(checkpoint, QUERIES, states, opinions))))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, top_p=0.9, top_k=5)])
def test_calls_are_decoded(sampling: Sampling, cuda: None) -> None:
    found = []
    for device in ("cpu", "cuda:0"):
        decoder = ToolDecoder(tiny_checkpoint().to(device), DecodingOptions(sampling=sampling))
        session = decoder.session(likeliest=3, on_draw=lambda draw: None)
        session.sync(decoder.protocol.prompt([{"role": "user", "content": QUERIES[0]}]))
        tool = decoder.choose(session, added_N=np.arange(len(TOOLS), dtype=np.float64)).tool
        decoder.begin_call(session, tool)
        found.append((tool, decoder.arguments(session, tool, tokens=6).text, decoder.text(session)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("memorization", {"tied": False}),
        ("retrieval", {"architecture": "gpt2"}),
        ("agent", {}),
    ],
)
def test_stages_train_the_same_rows(stage: str, settings: dict[str, Any], tmp_path: Path) -> None:
    config = StageConfig(**{**STAGES[stage].defaults, **TINY})
    expected = run_stage(
        STAGES[stage], tiny_checkpoint(**settings), tiny_dataset(), config, tmp_path / "here"
    ).tool_rows
    with on_cuda():
        trained = run_stage(STAGES[stage], tiny_checkpoint(**settings), tiny_dataset(), config, tmp_path / "there")
        assert trained.tool_rows.device == CUDA
        found = Checkpoint.load(tmp_path / "there", device="cpu").tool_rows
        assert torch.equal(found, trained.tool_rows.cpu())
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-4)


def test_a_stopped_training_resumes_and_keeps_states_of_frozen_layers(cuda: None, tmp_path: Path) -> None:
    def stop(record: Any) -> None:
        if record["step"] == 6:
            raise KeyboardInterrupt

    config = StageConfig(**{**STAGES["retrieval"].defaults, **TINY, "steps": 8, "batch_size": 24})
    made = []
    for name, interrupts in (("whole", [None]), ("parts", [stop, None])):
        for on_step in interrupts:
            try:
                made.append(
                    run_stage(
                        STAGES["retrieval"], tiny_checkpoint(), tiny_dataset(), config, tmp_path / name, on_step=on_step
                    )
                )
            except KeyboardInterrupt:
                assert on_step is stop
    torch.testing.assert_close(made[0].tool_rows.cpu(), made[1].tool_rows.cpu(), rtol=1e-3, atol=1e-5)


def test_reinforcement_learns(cuda: None, tmp_path: Path) -> None:
    world = made_by(house)
    config = tiny_config(steps=2, updates=2, kl_weight=0.1)
    trained = reinforce(tiny_checkpoint(catalog=world.catalog), world, config, tmp_path / "out")
    assert trained.tool_rows.device == CUDA and len(trained.metrics) == 2


@pytest.mark.parametrize("frozen_share", [0.0, 0.5])
def test_a_base_is_pretrained(frozen_share: float, cuda: None, tmp_path: Path) -> None:
    config = made_by(pretrain_config).model_copy(update={"precision": "fp32", "steps": 2, "frozen_share": frozen_share})
    pretrain(tiny_base(tmp_path / "base"), made_by(pretrain_corpus), embed, config, tmp_path / "out")
    assert (tmp_path / "out" / "row_maker.safetensors").is_file()


def test_an_encoder_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sentence_transformers")
    config = encoder.EncoderConfig(epochs=1, batch_size=8)
    folder, opened = tiny_encoder(tmp_path / "base"), open_encoder
    losses: list[list[float]] = [[], []]

    def train(name: str, curve: list[float]) -> None:
        encoder.train_encoder(
            folder, tiny_dataset(), tmp_path / name, config, on_step=lambda step: curve.append(step["loss"])
        )

    train("here", losses[0])
    with on_cuda():
        monkeypatch.setattr(encoder, "open_encoder", lambda folder: opened(folder).to(CUDA))
        train("there", losses[1])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2, atol=1e-4)


def test_a_checkpoint_is_compared_with_its_base(cuda: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prose", "code"):
        monkeypatch.setattr(base, name, lambda: "Call me Ishmael. Some years ago, never mind how long precisely.")
    monkeypatch.setattr(base, "QUESTIONS", {"What do bees make?": "honey"})
    monkeypatch.setattr(base, "ANSWER_TOKENS", 4)
    folder = tiny_base(tmp_path / "base", max_position_embeddings=1024)
    model, tokenizer = base.open_base(folder, CUDA)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}assistant:"
    result = base.evaluate_base(Checkpoint.create(folder, tiny_catalog()).to("cuda:0"), (model, tokenizer))
    assert result.texts["prose"].ratio >= 1 - 1e-6


def test_packed_weights_off_the_cpu_are_refused_in_one_line(cuda: None) -> None:
    model = tiny_checkpoint().to("cuda:0").model
    assert Engine(model).weights == "full"
    for weights in ("half", "int8"):
        with pytest.raises(UsageError, match=f"weights '{weights}' are for models on a CPU, and this one is on cuda"):
            Engine(model, weights=weights)


def test_bf16_is_taken_where_the_device_of_the_model_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert not native_bf16(CUDA), "a card before Ampere emulates it"
    assert asked == [False]
    native_bf16(torch.device("cpu"))
    assert asked == [False], "a model on the CPU does not ask the card"
