"""Plans: sizes counted as the model has them, figures near those of real runs, and advice that is enough."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaConfig
from typer.testing import CliRunner

from toolgen.cli.app import make_app
from toolgen.errors import InputError
from toolgen.planning import Machine, ModelShape, Workload, plan, preference_cost, reinforcement_cost
from toolgen.planning.cost import THOUGHT_TOKENS, StageCost, memory_gib
from toolgen.reinforcement import resolve_preference, resolve_reinforcement
from toolgen.testing import ARCHITECTURES, Architecture, tiny_checkpoint
from toolgen.training import PAPER_STAGES, STAGES, resolve_config
from toolgen.training.stages import AGENT, RETRIEVAL

SMOLLM = ModelShape(
    name="SmolLM2-135M",
    layers=30,
    hidden=576,
    intermediate=1536,
    vocabulary=49_152,
    tied=True,
    layer_parameters=106_202_880,
    other_parameters=576,
)
BFCL = Workload(
    tools=1_415,
    tokens={
        "requests": 42.0,
        "abstentions": 42.0,
        "description": 28.0,
        "keywords": 17.0,
        "name": 17.0,
        "trajectories": 208.0,
        "replay": 256.0,
    },
    prompt_tokens=42.0,
)
CONFIGS = {stage: resolve_config(stage) for stage in PAPER_STAGES}
# Two Emerald Rapids cores, 24 November 2026; tokens, seconds and the largest process of `make quickstart`.
MEASURED: dict[str, tuple[int, float]] = {
    "memorization": (22_660, 54.0),
    "retrieval": (141_730, 333),
    "agent": (152_728, 390),
}
MEASURED_GFLOPS, MEASURED_PEAK_GIB = 317.0, 3.1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_sizes_are_those_of_the_model(tmp_path: Path, architecture: Architecture, tied: bool) -> None:
    checkpoint = tiny_checkpoint(architecture=architecture, tied=tied, chatml=architecture != "gpt2")
    checkpoint.save(tmp_path / "model")
    for place in (tmp_path / "model", tmp_path / "model" / "config.json"):
        shape = ModelShape.read(place)
        assert shape.parameters(0) == sum(parameter.numel() for parameter in checkpoint.model.parameters())
        assert (shape.tied, shape.matrices) == (tied, 1 if tied else 2)
        assert shape.layers == checkpoint.model.config.num_hidden_layers
        assert shape.layer_parameters > 0
        assert shape.parameters(10) - shape.parameters(0) == 10 * shape.hidden * shape.matrices


def test_a_file_that_is_no_configuration_is_one_clear_line(tmp_path: Path) -> None:
    for content in ("{}", "no JSON"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(InputError, match="expected the configuration of a causal language model"):
            ModelShape.read(tmp_path / "config.json")


def test_a_plan_is_near_the_quickstart_that_was_measured() -> None:
    without = {
        stage: config.model_copy(update={"shares": {**config.shares, "replay": 0.0}})
        for stage, config in CONFIGS.items()
    }  # as it was then
    made = plan(SMOLLM, BFCL, without, Machine(memory_gib=23.5, gflops=MEASURED_GFLOPS))
    for stage in made.stages:
        tokens, seconds = MEASURED[stage.stage]
        assert stage.tokens == pytest.approx(tokens, rel=0.05)
        assert stage.seconds == pytest.approx(seconds, rel=0.1)
    assert max(stage.memory_gib for stage in made.stages) == pytest.approx(MEASURED_PEAK_GIB, rel=0.15)
    assert made.fits and made.parameters == 106_202_880 + 576 + (49_152 + 1_415) * 576


def test_more_tools_layers_and_processes_cost_what_they_should() -> None:
    machine = Machine(memory_gib=100, gflops=300)
    stage = RETRIEVAL
    small = plan(SMOLLM, BFCL, CONFIGS, machine).stages[1]
    many = plan(SMOLLM, replace(BFCL, tools=125_200), CONFIGS, machine).stages[1]
    whole = plan(SMOLLM, BFCL, {stage: resolve_config(stage, None, ["frozen_share=0"])}, machine).stages[0]
    two = plan(SMOLLM, BFCL, CONFIGS, replace(machine, processes=2)).stages[1]
    assert many.memory_gib > small.memory_gib + 1 and many.seconds > small.seconds
    assert whole.seconds == pytest.approx(1.5 * small.seconds, rel=0.05)  # measured: 1.51
    assert small.seconds > two.seconds > small.seconds / 2
    untied = replace(SMOLLM, tied=False)
    assert memory_gib(stage, untied, replace(BFCL, tools=125_200), CONFIGS[stage]) > many.memory_gib + 0.5


def test_a_plan_is_near_the_large_vocabulary_that_was_measured() -> None:
    made = plan(SMOLLM, replace(BFCL, tools=125_200), CONFIGS, Machine(memory_gib=23.5, gflops=MEASURED_GFLOPS))
    memorization, retrieval, _ = made.stages
    assert memorization.memory_gib == pytest.approx(5.09, rel=0.12)
    assert retrieval.memory_gib == pytest.approx(5.11, rel=0.12)
    assert retrieval.tokens_per_second == pytest.approx(381, rel=0.1)
    assert made.search_gib == pytest.approx(1.78, rel=0.12)


LLAMA_2 = {
    "7B": (32, 4096, 11_008, 32),
    "13B": (40, 5120, 13_824, 40),
    "34B": (48, 8192, 22_016, 8),
    "70B": (80, 8192, 28_672, 8),
}
"""Layers, hidden and intermediate size, key-value heads."""


@pytest.fixture(scope="module")
def llama_2(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ModelShape]:
    """The shapes that Meta published (arXiv 2307.09288; 34B: arXiv 2308.12950)."""
    folder = tmp_path_factory.mktemp("llama-2")
    for size, (layers, hidden, intermediate, heads) in LLAMA_2.items():
        LlamaConfig(
            num_hidden_layers=layers,
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_attention_heads=hidden // 128,
            num_key_value_heads=heads,
            vocab_size=32_000,
            tie_word_embeddings=False,
        ).save_pretrained(folder / size)
    return {size: ModelShape.read(folder / size / "config.json") for size in LLAMA_2}


def full_tuning(
    shape: ModelShape, machine: Machine, *, batch: int, steps: int = 100, micro_batch: int = 4096
) -> StageCost:
    """Every layer, on conversations of 4,096 tokens."""
    settings = [
        "frozen_share=0",
        "blend=1",
        f"batch_size={batch}",
        f"steps={steps}",
        f"micro_batch_tokens={micro_batch}",
    ]
    config = resolve_config(AGENT, None, settings).model_copy(update={"shares": {"trajectories": 1.0}})
    workload = Workload(tools=1, tokens={"trajectories": 4096.0})
    return plan(shape, workload, {AGENT: config}, machine).stages[0]


# Supervised fine-tuning on H100s (NVIDIA NeMo 24.12, performance summary): GPUs, TFLOP/s and tokens/s of each.
@pytest.mark.parametrize(
    ("size", "gpus", "tflops", "rate"), [("7B", 8, 673, 16_891), ("13B", 8, 787, 10_176), ("70B", 16, 749, 1_816)]
)
def test_a_plan_told_the_rate_of_products_is_near_published_fine_tuning(
    llama_2: Mapping[str, ModelShape], size: str, gpus: int, tflops: float, rate: float
) -> None:
    machine = Machine(memory_gib=80, gflops=tflops * 1e3, processes=gpus, utilization=1)
    assert full_tuning(llama_2[size], machine, batch=32).tokens_per_second == pytest.approx(gpus * rate, rel=0.1)


# Pretraining of Llama 2 on 2 * 10^12 tokens (arXiv 2307.09288, table 2): hours of an A100, all at one share of its peak.
@pytest.mark.parametrize(("size", "hours"), [("7B", 184_320), ("13B", 368_640), ("34B", 1_038_336), ("70B", 1_720_320)])
def test_a_plan_scales_with_the_size_as_published_pretraining_does(
    llama_2: Mapping[str, ModelShape], size: str, hours: float
) -> None:
    machine = Machine(memory_gib=80, gflops=312e3, utilization=0.38)
    cost = full_tuning(llama_2[size], machine, batch=1000, steps=2 * 10**12 // (1000 * 4096))
    assert cost.seconds / 3600 == pytest.approx(hours, rel=0.15)


def test_a_model_in_training_takes_the_published_16_bytes_a_parameter(llama_2: Mapping[str, ModelShape]) -> None:
    """ZeRO, arXiv 1910.02054, section 3.1: parameters, gradients and optimizer of mixed-precision Adam."""
    shape = llama_2["7B"]
    cost = full_tuning(shape, Machine(memory_gib=80, gflops=312e3), batch=32, micro_batch=16)
    assert cost.memory_gib * 2**30 == pytest.approx(16 * shape.parameters(0), rel=0.05)
    assert not cost.fits


@pytest.mark.parametrize("memory", [5.0, 4.5, 4.1, 3.8])
def test_the_advice_is_enough(memory: float) -> None:
    machine = Machine(memory_gib=memory, gflops=300)
    workload = replace(BFCL, tools=125_200)
    for stage in plan(SMOLLM, workload, CONFIGS, machine).stages:
        if stage.fits:
            assert not stage.advice
            continue
        assert stage.advice.startswith("set ")
        settings = stage.advice.removeprefix("set ").split(", ")
        changed = {STAGES[stage.stage]: resolve_config(STAGES[stage.stage], None, settings)}
        assert plan(SMOLLM, workload, changed, machine).fits


def test_what_never_fits_is_said() -> None:
    made = plan(SMOLLM, BFCL, CONFIGS, Machine(memory_gib=0.9, gflops=300))
    assert not made.fits
    assert all("even with every layer frozen" in stage.advice for stage in made.stages)


def reinforcement(*settings: str, processes: int = 1, gflops: float = 300) -> StageCost:
    machine = Machine(memory_gib=100, gflops=gflops, processes=processes)
    return reinforcement_cost(SMOLLM, BFCL, resolve_reinforcement(None, settings), machine)


def test_reinforcement_costs_its_rollouts_and_what_is_learned_from_them() -> None:
    usual, eight = reinforcement(), reinforcement(processes=8)
    config = resolve_reinforcement()
    assert usual.tokens == config.steps * config.batch_size * config.group_size * 208
    assert reinforcement("group_size=16").tokens == 2 * usual.tokens
    assert usual.seconds / 8 < eight.seconds < usual.seconds / 4, "the optimizer's steps are not shared"
    assert usual.seconds < reinforcement("updates=3").seconds < 3 * usual.seconds
    assert reinforcement("kl_weight=0").seconds < usual.seconds
    assert reinforcement("kl_weight=0").memory_gib < usual.memory_gib - 0.2, "no copy of the trained half"
    assert reinforcement("concurrency=1").seconds > 1.5 * usual.seconds, "a pass for each token"
    refused = reinforcement_cost(SMOLLM, BFCL, config, Machine(memory_gib=1, gflops=300))
    assert not refused.fits and "kl_weight=0" in refused.advice


def preference(*settings: str) -> StageCost:
    return preference_cost(SMOLLM, BFCL, resolve_preference(None, settings), Machine(memory_gib=100, gflops=300))


def test_pairs_cost_their_passes_and_no_rollout() -> None:
    usual, config = preference(), resolve_preference()
    assert usual.tokens == config.steps * config.batch_size * 2 * 208
    assert preference("batch_size=32").tokens == 2 * usual.tokens
    same = f"steps={config.steps}", f"batch_size={config.batch_size}", "group_size=2"
    assert usual.seconds < reinforcement(*same).seconds, "which draws these tokens first"
    assert preference("frozen_share=0").memory_gib > usual.memory_gib + 1
    tight = preference_cost(SMOLLM, BFCL, config, Machine(memory_gib=1, gflops=300))
    assert not tight.fits and "frozen_share" in tight.advice


def test_thoughts_are_counted() -> None:
    plain, thoughtful = (
        plan(
            SMOLLM, BFCL, {AGENT: resolve_config(AGENT, None, [f"thoughts={share}"])}, Machine(memory_gib=8, gflops=300)
        )
        for share in (0, 1)
    )
    config = resolve_config(AGENT)
    share = config.shares["trajectories"] / sum(config.shares.values())
    more = thoughtful.stages[0].tokens - plain.stages[0].tokens
    assert more == pytest.approx(config.steps * config.batch_size * share * THOUGHT_TOKENS, abs=2)
    assert reinforcement("thought_tokens=64").seconds > 1.5 * reinforcement().seconds


def test_the_command(tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "model")
    command = ["plan", "--tools", "1000", "--base", str(tmp_path / "model"), "--gflops", "100", "--memory", "8"]
    found = CliRunner().invoke(make_app(), [*command, "--set", "agent.steps=7", "--set", "seed=3", "--json"])
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert [stage["steps"] for stage in answer["stages"]] == [
        *(16, 126, 7),
        resolve_preference().steps,
        resolve_reinforcement().steps,
    ]
    assert answer["tools"] == 1000 and answer["fits"]
    refused = CliRunner().invoke(make_app(), [*command[:-1], "0.1"])
    assert refused.exit_code == 1 and "does not fit" in " ".join(refused.output.split())
    for wrong in (["plan"], ["plan", str(tmp_path), "--tools", "3"]):
        assert CliRunner().invoke(make_app(), wrong).exit_code == 2


def test_shared_tokens_need_fewer_rows_and_a_search_more_passes(tmp_path: Path) -> None:
    shape = {"hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536, "vocab_size": 49_152}
    LlamaConfig(**shape, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True).save_pretrained(
        tmp_path / "model"
    )
    command = [
        "plan",
        "--tools",
        "100000",
        "--base",
        str(tmp_path / "model"),
        "--gflops",
        "100",
        "--memory",
        "8",
        "--json",
    ]
    plans = {}
    for indexing in ("atomic", "numeric", "hierarchical", "semantic", "codes"):
        found = CliRunner().invoke(make_app(), [*command, "--indexing", indexing])
        assert found.exit_code == 0, found.output
        plans[indexing] = json.loads(found.stdout)
    atomic = plans.pop("atomic")
    for made in plans.values():
        assert made["parameters"] < atomic["parameters"] and made["checkpoint_gib"] < atomic["checkpoint_gib"]
        assert made["search_ms"] > atomic["search_ms"]
        assert made["stages"][1]["tokens"] > atomic["stages"][1]["tokens"]
        assert made["stages"][1]["memory_gib"] < atomic["stages"][1]["memory_gib"]
