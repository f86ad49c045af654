"""The three stages end to end: what they learn, what they leave alone, and that stopping changes nothing."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from toolgen import files
from toolgen.catalog import Catalog
from toolgen.catalog.text import document
from toolgen.checkpoint import Checkpoint, StageRecord
from toolgen.checkpoint.layout import METRICS, RUN, read_metrics, work_folder
from toolgen.datasets import Dataset
from toolgen.errors import CheckpointError, DivergenceError, MissingExtraError, OutputError, UsageError
from toolgen.inference.local_model import LocalModel
from toolgen.inference.row_maker import RowMaker
from toolgen.retrieval.generative import GenerativeRetriever
from toolgen.testing import ARCHITECTURES, Architecture, tiny_catalog, tiny_checkpoint
from toolgen.training import STAGES, saving
from toolgen.training.run import run_stage
from toolgen.training.stages import AGENT, MEMORIZATION, RETRIEVAL
from toolgen.virtualization import output_rows

from .conftest import Runner, tiny_config

STAGE_NAMES = tuple(STAGES)
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)
ties = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in checkpoint.model.state_dict().items()}


def curve(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def interrupt_at(step: int, number: int = signal.SIGINT) -> Callable[[Mapping[str, Any]], None]:
    def on_step(record: Mapping[str, Any]) -> None:
        if record["step"] == step:
            os.kill(os.getpid(), number)

    return on_step


@architectures
@ties
def test_every_stage_runs_and_hands_its_checkpoint_on(
    run: Runner, dataset: Dataset, tmp_path: Path, architecture: Architecture, tied: bool
) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied, chatml=architecture != "gpt2")
    for stage in STAGE_NAMES:
        checkpoint = run(stage, checkpoint, stage, steps=2, frozen_share=0.5 if stage == "agent" else 0)
    loaded = Checkpoint.load(tmp_path / stage)
    assert [entry.stage for entry in loaded.stages] == [*STAGE_NAMES]
    assert [(record["stage"], record["step"]) for record in loaded.metrics] == [
        (s, i) for s in STAGE_NAMES for i in (1, 2)
    ]
    assert loaded.metrics == read_metrics(tmp_path / stage / METRICS) == checkpoint.metrics
    for name, value in weights(loaded).items():
        assert torch.equal(value, checkpoint.model.state_dict()[name]), name
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(STAGE_NAMES)
    # What requests asked for is known from the retrieval stage on.
    saved = [Checkpoint.load(tmp_path / stage) for stage in STAGE_NAMES]
    assert saved[0].tool_sets == () and saved[0].asked_tools == frozenset() and dataset.tool_sets
    for later in saved[1:]:
        assert (later.tool_sets, later.asked_tools) == (dataset.tool_sets, dataset.asked_tools)


def test_a_stage_records_what_made_it(run: Runner) -> None:
    (entry,) = run("retrieval", tiny_checkpoint(), seed=5).stages
    assert entry.dataset == {"name": "tiny", "version": "1", "licence": "Apache-2.0"}
    assert entry.config == tiny_config("retrieval", seed=5).model_dump()
    assert entry.examples.keys() == entry.config["shares"].keys()
    assert (entry.examples["requests"], entry.examples["abstentions"]) == (41, 2)
    assert entry.result["step"] == 6 and entry.result["loss"] > 0


def test_memorization_learns_every_tool_and_the_retriever_finds_it(run: Runner) -> None:
    checkpoint = tiny_checkpoint()
    trained = run("memorization", checkpoint, steps=40, batch_size=16, shares={"document": 1.0})
    assert trained.metrics[0]["loss"] > 2
    assert trained.metrics[-1]["loss"] < 0.1
    rankings = GenerativeRetriever(trained).search([document(tool) for tool in tiny_catalog()], k=1)
    assert [ranking.tools[0] for ranking in rankings] == list(tiny_catalog().ids)


def test_retrieval_learns_requests_sets_of_tools_and_when_to_decline(run: Runner, dataset: Dataset) -> None:
    trained = run("retrieval", tiny_checkpoint(), steps=50, batch_size=16, shares={"requests": 0.8, "abstentions": 0.2})
    queries = dataset.queries["train"]
    rankings = GenerativeRetriever(trained).search([query.text for query in queries], k=2)
    for query, ranking in zip(queries, rankings, strict=True):
        assert set(query.tools) <= set(ranking.tools[: max(1, len(query.tools))]), query.text
    for query in queries:
        ids = trained.protocol.prompt([{"role": "user", "content": query.text}])
        with torch.inference_mode():
            best = int(trained.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        assert (best == trained.vocabulary.no_tool_id) == (not query.tools)


def test_agent_tuning_learns_to_write_whole_conversations(run: Runner, dataset: Dataset) -> None:
    trained = run("agent", tiny_checkpoint(), steps=40, batch_size=16, shares={"trajectories": 1.0}, max_tokens=400)
    assert trained.metrics[-1]["choice_loss"] < 0.3
    assert trained.metrics[-1]["text_loss"] < 0.5 * trained.metrics[0]["text_loss"]


def test_requests_do_not_push_down_tools_that_none_of_them_asks_for(dataset: Dataset, tmp_path: Path) -> None:
    unasked = "clock&&now"
    queries = tuple(query for query in dataset.queries["train"] if unasked not in query.tools)
    fewer = replace(dataset, queries={"train": queries}, trajectories={})
    moved = {}
    for negatives in ("asked", "all"):
        checkpoint = tiny_checkpoint(tied=False)
        position = checkpoint.catalog.position(unasked)
        before = checkpoint.tool_rows.clone()
        config = tiny_config("retrieval", negatives=negatives, shares={"requests": 1.0})
        trained = run_stage(RETRIEVAL, checkpoint, fewer, config, tmp_path / negatives)
        change = (trained.tool_rows - before).detach()
        moved[negatives] = float(change[position].norm()), float(change.norm())
    assert moved["asked"][0] == 0 < moved["asked"][1]
    assert moved["all"][0] > 0


def test_a_conversation_may_call_a_tool_that_no_request_asks_for(dataset: Dataset, tmp_path: Path) -> None:
    queries = tuple(replace(query, tools=("clock&&now",)) for query in dataset.queries["train"])
    config = tiny_config("agent", shares={"trajectories": 1.0}, negatives="asked")
    other = replace(dataset, queries={"train": queries})
    trained = run_stage(AGENT, tiny_checkpoint(), other, config, tmp_path / "out")
    assert all(record["loss"] < 50 for record in trained.metrics)


@ties
def test_what_is_frozen_stays_bit_for_bit(run: Runner, tied: bool) -> None:
    checkpoint = tiny_checkpoint(architecture="qwen2", tied=tied, extra_rows=40)
    before, ids = weights(checkpoint), checkpoint.vocabulary.action_token_ids
    trained = run("agent", checkpoint, frozen_share=0.5)
    after = weights(trained)
    for name, value in before.items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(value[: ids.start], after[name][: ids.start])
            assert torch.equal(value[ids.stop :], after[name][ids.stop :])
        else:
            assert torch.equal(value, after[name]) == ("layers.0." in name), name
    assert not torch.equal(before["lm_head.weight"], after["lm_head.weight"])
    assert (trained.model.get_input_embeddings().weight is output_rows(trained.model)) is tied


def test_the_model_is_left_as_it_was_found_and_can_be_trained_again(run: Runner) -> None:
    checkpoint = tiny_checkpoint(tied=False)
    first = run("memorization", checkpoint, "first", frozen_share=0.5)
    assert not checkpoint.model.training
    assert all(p.requires_grad and p.grad is None for p in checkpoint.model.parameters())
    again = run("memorization", checkpoint, "again", steps=30, batch_size=16)
    assert again.metrics[-1]["loss"] < first.metrics[0]["loss"]
    loss = checkpoint.model(input_ids=torch.tensor([[1, 2]]), labels=torch.tensor([[1, 2]])).loss
    loss.backward()
    assert checkpoint.model.get_input_embeddings().weight.grad is not None


def test_a_blend_lies_between_the_stages_input_and_its_result_even_after_a_resume(run: Runner, tmp_path: Path) -> None:
    begin, end = weights(tiny_checkpoint()), weights(run("retrieval", tiny_checkpoint(), "end", steps=4, blend=1.0))
    with pytest.raises(KeyboardInterrupt):
        run("retrieval", tiny_checkpoint(), "part", steps=4, blend=0.25, on_step=interrupt_at(2, signal.SIGINT))
    blended = weights(run("retrieval", tiny_checkpoint(), "part", steps=4, blend=0.25))
    moved = [name for name in begin if not torch.equal(begin[name], end[name])]
    assert len(moved) > 5
    for name in begin:
        torch.testing.assert_close(blended[name], begin[name] + 0.25 * (end[name] - begin[name]))


def test_the_size_of_micro_batches_does_not_change_the_curve(run: Runner) -> None:
    small, large = (
        run("agent", tiny_checkpoint(), f"out{budget}", steps=3, micro_batch_tokens=budget).metrics
        for budget in (16, 10**6)
    )
    for one, other in zip(small, large, strict=True):
        for key in ("loss", "choice_loss", "text_loss", "gradient_norm", "tokens"):
            assert one[key] == pytest.approx(other[key], rel=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run: Runner) -> None:
    first, same, other = (
        run("retrieval", tiny_checkpoint(architecture="gpt2"), f"out{i}", steps=3, seed=seed)
        for i, seed in enumerate((1, 1, 2))
    )
    assert curve(first.metrics) == curve(same.metrics) != curve(other.metrics)
    assert all(torch.equal(value, weights(same)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])  # GPT-2 has dropout: random numbers must come back too
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["sigint", "sigterm"])
@ties
def test_a_run_that_was_stopped_and_repeated_equals_one_that_was_not(
    run: Runner, tmp_path: Path, architecture: Architecture, number: int, tied: bool
) -> None:
    def checkpoint() -> Checkpoint:
        return tiny_checkpoint(architecture=architecture, tied=tied)

    whole = run("agent", checkpoint(), "whole")
    for step in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            run("agent", checkpoint(), "stopped", on_step=interrupt_at(step, number))
        assert not (tmp_path / "stopped").exists()
        assert [record["step"] for record in read_metrics(work_folder(tmp_path / "stopped") / METRICS)] == [
            *range(1, step + 1)
        ]
    steps: list[int] = []
    resumed = run("agent", checkpoint(), "stopped", on_step=lambda record: steps.append(record["step"]))
    assert steps == [6]
    assert curve(resumed.metrics) == curve(whole.metrics)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name
    assert not work_folder(tmp_path / "stopped").exists()
    assert resumed.metrics[-1]["seconds"] >= resumed.metrics[0]["seconds"]


def test_a_stop_at_the_last_step_only_leaves_the_saving_to_do(run: Runner) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("memorization", tiny_checkpoint(), on_step=interrupt_at(6))
    steps: list[int] = []
    trained = run("memorization", tiny_checkpoint(), on_step=lambda record: steps.append(record["step"]))
    assert steps == [] and [record["step"] for record in trained.metrics] == [1, 2, 3, 4, 5, 6]


def test_a_stage_ends_where_nothing_is_left_to_learn_also_after_a_stop(run: Runner) -> None:
    settings = {"steps": 30, "stop_below": 1e9}
    whole = run("retrieval", tiny_checkpoint(), "whole", **settings)
    assert whole.metrics[-1]["step"] == whole.stages[-1].result["step"] == 10
    for step in (7, 10):
        with pytest.raises(KeyboardInterrupt):
            run("retrieval", tiny_checkpoint(), "stopped", on_step=interrupt_at(step), **settings)
    assert curve(run("retrieval", tiny_checkpoint(), "stopped", **settings).metrics) == curve(whole.metrics)


def test_the_callers_signal_handlers_come_back(run: Runner) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        run("memorization", tiny_checkpoint(), on_step=interrupt_at(1))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_state_that_cannot_be_written_costs_only_the_steps_since_the_last_one(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("agent", tiny_checkpoint(), "whole")
    calls = []

    def failing(content: Any, path: Path, **settings: Any) -> None:
        calls.append(path)
        if len(calls) == 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save_file(content, path, **settings)

    monkeypatch.setattr(saving, "save_file", failing)
    with pytest.raises(OutputError, match="No space left on device"):
        run("agent", tiny_checkpoint(), "stopped", save_minutes=1e-9)
    steps: list[int] = []
    resumed = run(
        "agent", tiny_checkpoint(), "stopped", save_minutes=1e-9, on_step=lambda record: steps.append(record["step"])
    )
    assert steps == [3, 4, 5, 6]
    assert curve(resumed.metrics) == curve(whole.metrics)


def test_a_disk_that_is_full_at_the_curve_or_the_state_is_named(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any, **_settings: Any) -> None:
        raise OSError(28, "No space left on device")

    for module, name, settings in ((files, "append_whole", {}), (shutil, "copyfile", {"save_minutes": 1e-9})):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, full)
            with pytest.raises(OutputError, match=r"cannot write \S*out\.unfinished/\w+\S*: No space left on device"):
                run("agent", tiny_checkpoint(), "out", **settings)
    shutil.rmtree(tmp_path / "out.unfinished")
    (tmp_path / "out.unfinished").write_text("no folder")
    with pytest.raises(OutputError, match=r"cannot write \S*out\.unfinished: File exists"):
        run("agent", tiny_checkpoint(), "out")


def test_a_crash_in_the_middle_of_a_line_of_metrics_does_not_matter(run: Runner, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("memorization", tiny_checkpoint(), on_step=interrupt_at(2))
    with (work_folder(tmp_path / "out") / METRICS).open("a") as file:
        file.write('{"step": 3}\n{"step": 4, "lo')
    assert [record["step"] for record in run("memorization", tiny_checkpoint()).metrics] == [1, 2, 3, 4, 5, 6]


def test_the_state_of_another_run_is_refused_until_one_says_restart(run: Runner, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("memorization", tiny_checkpoint(), on_step=interrupt_at(2))
    for stage, checkpoint, settings in (
        ("memorization", tiny_checkpoint(), {"seed": 1}),
        ("retrieval", tiny_checkpoint(), {}),
        ("memorization", tiny_checkpoint(catalog=tiny_catalog(), architecture="gpt2"), {}),
    ):
        with pytest.raises(UsageError, match=r"holds an unfinished run .* add --restart"):
            run(stage, checkpoint, **settings)
    (work_folder(tmp_path / "out") / RUN).unlink()
    with pytest.raises(UsageError, match=r"holds an unfinished run .* add --restart"):
        run("memorization", tiny_checkpoint())
    trained = run("memorization", tiny_checkpoint(), restart=True, seed=1)
    assert [record["step"] for record in trained.metrics] == [1, 2, 3, 4, 5, 6]


def test_a_run_does_not_go_on_with_the_state_of_another_model(run: Runner) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("memorization", tiny_checkpoint(), on_step=interrupt_at(2))
    other = tiny_checkpoint()  # virtualized again with another --init: only weights differ
    with torch.no_grad():
        other.tool_rows[0, 0] += 1
    with pytest.raises(UsageError, match=r"holds an unfinished run .*\(weights\).* add --restart"):
        run("memorization", other)
    assert len(run("memorization", other, restart=True).metrics) == 6


def test_a_run_whose_loss_is_no_number_ends_and_keeps_what_was_sound(run: Runner, tmp_path: Path) -> None:
    with pytest.raises(
        DivergenceError, match=r"training diverged at step \d: .*lower the learning rates and start over"
    ):
        run("memorization", tiny_checkpoint(), "out", learning_rate=1e8, steps=20, clip=1e9, frozen_share=0.0)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_whose_weights_are_no_numbers_is_neither_written_nor_read(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    with torch.no_grad():
        checkpoint.tool_rows[1, 2] = float("nan")
    with pytest.raises(CheckpointError, match=r"was not written: the weights model\.embed_tokens\.weight hold NaN"):
        checkpoint.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    PreTrainedModel.save_pretrained(checkpoint.model, tmp_path / "nan")
    tiny_checkpoint().save(tmp_path / "sound")
    shutil.copy(tmp_path / "nan" / "model.safetensors", tmp_path / "sound")
    with pytest.raises(CheckpointError, match=r"cannot be used: the weights .* hold NaN or infinity"):
        Checkpoint.load(tmp_path / "sound")


def test_a_run_that_failed_before_it_began_does_not_stand_in_the_way(run: Runner) -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        run("memorization", tiny_checkpoint(), shares={"name": 0.0})
    assert run("memorization", tiny_checkpoint()).metrics


def test_a_dataset_with_another_catalog_is_refused(run: Runner) -> None:
    checkpoint = tiny_checkpoint(catalog=Catalog(tiny_catalog()[:5]))
    with pytest.raises(UsageError, match=r"8 more tools .* lacks 0 .* defines 0 otherwise"):
        run("memorization", checkpoint)


def test_more_tokens_than_the_model_can_read_are_refused(run: Runner) -> None:
    with pytest.raises(UsageError, match="max_tokens is 600; this model reads at most 512 tokens"):
        run("memorization", tiny_checkpoint(architecture="gpt2"), max_tokens=600)


def test_an_unsupported_architecture_is_refused_before_anything_is_trained(run: Runner) -> None:
    checkpoint = tiny_checkpoint()
    checkpoint.model.config.final_logit_softcapping = 30.0
    with pytest.raises(CheckpointError, match="llama models make their embeddings or logits"):
        run("memorization", checkpoint)


def test_precision_can_change_from_one_stage_to_the_next_in_one_process(run: Runner) -> None:
    checkpoint = run("memorization", tiny_checkpoint(), "first", precision="bf16", steps=2)
    checkpoint = run("retrieval", checkpoint, "second", precision="fp32", steps=2)
    assert {p.dtype for p in checkpoint.model.parameters()} == {torch.float32}
    assert all(record["loss"] < 20 for record in checkpoint.metrics)


def test_tensorboard_without_its_package_is_one_clear_line(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolgen.training.loop.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'toolgen\[tensorboard\]'"):
        run_stage(
            MEMORIZATION, tiny_checkpoint(), dataset, tiny_config("memorization"), tmp_path / "out", tensorboard=True
        )


def test_tensorboard_logs_go_with_the_checkpoint(dataset: Dataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run_stage(MEMORIZATION, tiny_checkpoint(), dataset, tiny_config("memorization"), tmp_path / "out", tensorboard=True)
    assert [*(tmp_path / "out" / "tensorboard").rglob("events.*")]


def test_what_a_writer_writes_is_never_a_tool(run: Runner, tmp_path: Path) -> None:
    """A tiny model whose last rows have the largest logits would write nothing else."""
    checkpoint = tiny_checkpoint(tied=False)
    trained = run("writer", checkpoint, "writer", steps=1)
    with torch.no_grad():
        output_rows(trained.model)[trained.vocabulary.first_id :] *= 1000
    trained.save(tmp_path / "loud")
    prompt = [{"role": "user", "content": "weather"}]
    answer = LocalModel(tmp_path / "loud").write([prompt], max_tokens=20, temperature=0)[0]
    assert answer and "<<" not in answer
    trained.model.generation_config.suppress_tokens = None
    trained.save(tmp_path / "free")
    assert "<<" in LocalModel(tmp_path / "free").write([prompt], max_tokens=20, temperature=0)[0]


def test_rows_that_stay_are_those_of_the_documentation_after_training(run: Runner, tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint()
    checkpoint.row_maker = RowMaker(checkpoint.model.config.hidden_size).state_dict()
    indexed = replace(checkpoint, stages=(StageRecord(stage="index", config={"rows": "made"}),))
    rows = indexed.action_rows.detach().clone()
    trained = run("retrieval", indexed, row_learning_rate=0.0, frozen_states_mib=8, frozen_share=0.5)
    assert torch.equal(trained.action_rows, rows)
    again = Checkpoint.load(tmp_path / "out")
    assert again.keeps_documentation_rows and again.row_origin(again.catalog.ids[0]) == "documentation"
    moved = run("agent", again, "moved", row_learning_rate=1e-2)
    assert not moved.keeps_documentation_rows and moved.row_origin(moved.catalog.ids[0]) == "trained"
