"""The training sets by name: how each is read, its licence, and what may be done with what was trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from toolgen.datasets.training_sets import (
    api_bank,
    catalogs,
    dialogues,
    function_sets,
    hammerbench,
    intents,
    sequences,
    star,
)
from toolgen.datasets.training_sets.reading import LoadedSet

Share = Literal["ship", "measure"]


@dataclass(frozen=True)
class TrainingSet:
    """How a set is read.

    `share` says what its licence allows for weights that were trained on it: "ship" (with its licence and source named) or
    "measure" (not to be given away). `declines_everything`: what is declined in it is nothing for a tool at all, not
    only nothing for those that were offered.
    """

    load: Callable[[Path], LoadedSet]
    licence: str
    source: str
    share: Share = "ship"
    declines_everything: bool = False


TRAINING_SETS: Mapping[str, TrainingSet] = {
    "shortcutsbench-toolllm": TrainingSet(sequences.load_shortcutsbench, "Apache-2.0", "EachSheep/ShortcutsBench"),
    "hammerbench": TrainingSet(hammerbench.load, "Apache-2.0", "MadeAgents/HammerBench"),
    "api-bank": TrainingSet(api_bank.load, "MIT", "AlibabaResearch/DAMO-ConvAI"),
    "xlam-sample-qwenstar": TrainingSet(function_sets.load_xlam, "CC-BY-4.0", "Qwen-Applications/STAR"),
    "glaive-v2-sample": TrainingSet(function_sets.load_glaive, "Apache-2.0", "juicyzhou/tool-use-finetune"),
    "toolrl-rlla-sft": TrainingSet(function_sets.load_toolrl, "Apache-2.0 AND CC-BY-4.0", "qiancheng0/ToolRL"),
    "seq-apiblend": TrainingSet(sequences.load_seq_apiblend, "CDLA-Permissive-2.0 AND CC0-1.0", "ShishirPatil/gorilla"),
    "t-eval": TrainingSet(sequences.load_t_eval, "Apache-2.0", "open-compass/T-Eval"),
    "toolverifier": TrainingSet(sequences.load_toolverifier, "CC0-1.0", "facebookresearch/ToolVerifier"),
    "profsynapse-obsidian": TrainingSet(dialogues.load_obsidian, "MIT", "ProfSynapse/Toolset-Training"),
    "tooluniverse": TrainingSet(catalogs.load_tooluniverse, "Apache-2.0", "PyPI tooluniverse"),
    "rasa-star": TrainingSet(star.load, "MIT", "RasaHQ/STAR", declines_everything=True),
    "taskmaster4-coffee": TrainingSet(dialogues.load_taskmaster4, "CC-BY-4.0", "google-research-datasets/Taskmaster"),
    "tau-bench": TrainingSet(dialogues.load_tau_bench, "MIT", "sierra-research/tau-bench"),
    "snips": TrainingSet(intents.load_snips, "CC0-1.0", "sonos/nlu-benchmark"),
    "hwu64": TrainingSet(intents.load_hwu64, "CC-BY-4.0", "xliuhw/NLU-Evaluation-Data"),
    "clinc150": TrainingSet(intents.load_clinc150, "CC-BY-3.0", "clinc/oos-eval", declines_everything=True),
    "in3": TrainingSet(intents.load_in3, "Apache-2.0", "OpenBMB/Tell_Me_More"),
    "toucan-mcp-servers": TrainingSet(catalogs.load_toucan, "MIT", "TheAgentArk/Toucan"),
    "docker-mcp-registry": TrainingSet(catalogs.load_docker, "MIT", "docker/mcp-registry"),
}
