"""The quickstart as data: the stand-alone command of each step, what it reads and what it makes. Runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import toolgen
from toolgen.catalog.tool import canonical_json
from toolgen.cli.steps import Graph, Step
from toolgen.cli.virtualize import DEFAULT_BASE
from toolgen.errors import UsageError
from toolgen.fetching import Via, base_names, cache_folder, read_origin
from toolgen.fetching.shipped import shipped_bases
from toolgen.retrieval import RetrieverSpec
from toolgen.retrieval.registry import DENSE_MODEL
from toolgen.training import PAPER_STAGES, resolve_config

GROUPS: Mapping[str, str] = {
    "fetch": "the base model, the sentence encoder and BFCL",
    "catalog": "BFCL's tools and requests as a dataset",
    "index": "one token a tool, its row made of the documentation",
    "retrieval": "stage 2: from requests to tokens",
    "agent": "stage 3: whole tasks",
    "evaluate-retrieval": "finding tools, compared with BM25, a dense retriever and both together",
    "evaluate-agent": "carrying out tasks of the test split",
    "report": "one page with all of it",
}
DATASET, INDEX, RESULTS, REPORT = Path("dataset"), Path("0-index"), Path("results"), Path("report.html")
# What memorization teaches, the base has learned from other catalogs.
TRAINED = {"retrieval": Path("1-retrieval"), "agent": Path("2-agent")}
SETTINGS: Mapping[str, Sequence[str]] = {"retrieval": (), "agent": ("steps=20",)}
FINAL = TRAINED["agent"]
AGENT_RESULT = RESULTS / "agent.json"
AGENT_TASKS = 20
COMPARED = (
    RetrieverSpec(method="bm25"),
    RetrieverSpec(method="dense"),
    RetrieverSpec(method="bm25", add=("dense",)),
    RetrieverSpec(method="generative"),
    RetrieverSpec(method="generative", add=("bm25",)),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done, and with what. `dataset` replaces BFCL; `settings` maps a stage to its `key=value` texts."""

    folder: Path = Path("toolgen-quickstart")
    via: Via = "pypi"
    base: str = DEFAULT_BASE
    dataset: Path | None = None
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    retrievers: Sequence[RetrieverSpec] = COMPARED
    agent_tasks: int = AGENT_TASKS

    def graph(self) -> Graph:
        """Its steps, with what the folder remembers of them."""
        steps = (*self._fetch(), *self._build(), *self._train(), *self._evaluate())
        return Graph(self.folder, steps, GROUPS, title="quickstart", salt=_code_version())

    @property
    def _data(self) -> str | Path:
        """The dataset, as an argument of the commands."""
        return DATASET if self.dataset is None else str(self.dataset)

    @property
    def _data_steps(self) -> tuple[str, ...]:
        return ("catalog",) if self.dataset is None else ()

    def _fetch(self) -> Iterable[Step]:
        wanted = [("base", self.base)] if self.base in base_names() else []
        wanted += [("base", DENSE_MODEL)] if any("dense" in spec.methods for spec in self.retrievers) else []
        wanted += [("dataset", "bfcl")] if self.dataset is None else []
        for kind, name in wanted:
            via = () if name in shipped_bases() else ("--via", self.via)
            yield Step(
                name=f"fetch {name}",
                group="fetch",
                command=("fetch", kind, name, *via),
                output=cache_folder() / kind / name,
                is_present=_is_fetched,
                intermediate=True,
            )

    def _build(self) -> Iterable[Step]:
        if self.dataset is None:
            yield Step(
                name="catalog",
                group="catalog",
                command=("catalog", "build", "bfcl:", "-o", DATASET),
                needs=("fetch bfcl",),
                output=DATASET,
            )
        is_shipped = self.base in shipped_bases()
        yield Step(
            name="index",
            group="index",
            # a base that has not learned to make rows would be fitted to other retrievers first
            command=("index", self._data, "--base", self.base, "-o", INDEX, *(() if is_shipped else ("--no-fit",))),
            needs=(*self._data_steps, *([f"fetch {self.base}"] if self.base in base_names() else [])),
            output=INDEX,
            intermediate=True,
        )

    def _train(self) -> Iterable[Step]:
        before, needed = INDEX, "index"
        for stage in TRAINED:
            texts = (*SETTINGS[stage], *self.settings.get(stage, ()))
            settings = [part for text in texts for part in ("--set", text)]
            yield Step(
                name=stage,
                group=stage,
                command=("train", stage, before, self._data, "-o", TRAINED[stage], *settings),
                needs=(*self._data_steps, needed),
                output=TRAINED[stage],
                intermediate=TRAINED[stage] != FINAL,
            )
            before, needed = TRAINED[stage], stage

    def _evaluate(self) -> Iterable[Step]:
        results = {f"evaluate {spec.name}": RESULTS / f"{spec.name}.json" for spec in self.retrievers}
        for spec in self.retrievers:
            subject = FINAL if "generative" in spec.methods else self._data
            needs = ["agent"] if "generative" in spec.methods else []
            needs += [f"fetch {DENSE_MODEL}"] if "dense" in spec.methods else []
            output = results[f"evaluate {spec.name}"]
            added = [part for name in spec.add for part in ("--add", name)]
            yield Step(
                name=f"evaluate {spec.name}",
                group="evaluate-retrieval",
                command=(
                    "evaluate",
                    "retrieval",
                    subject,
                    self._data,
                    "--retriever",
                    spec.method,
                    *added,
                    "-o",
                    output,
                ),
                needs=(*self._data_steps, *needs),
                output=output,
            )
        # a multi-turn task takes as long as five others
        limit = ("--limit", str(self.agent_tasks), "--limit", f"multi_turn={max(1, self.agent_tasks // 5)}")
        yield Step(
            name="evaluate agent",
            group="evaluate-agent",
            command=("evaluate", "agent", FINAL, self._data, *limit, "-o", AGENT_RESULT),
            needs=(*self._data_steps, *(["fetch bfcl"] if self.dataset is None else []), "agent"),
            output=AGENT_RESULT,
        )
        yield Step(
            name="report",
            group="report",
            command=("report", *results.values(), AGENT_RESULT, "-o", REPORT),
            needs=(*results, "evaluate agent"),
            output=REPORT,
        )


def parse_settings(texts: Iterable[str]) -> dict[str, list[str]]:
    """`STAGE.KEY=VALUE` texts by stage; UsageError for what is none, before anything is trained."""
    settings: dict[str, list[str]] = {}
    for text in texts:
        stage, dot, rest = text.partition(".")
        if stage not in TRAINED or not dot or "=" not in rest:
            raise UsageError(f"--set {text!r}: expected STAGE.KEY=VALUE with a stage of {', '.join(TRAINED)}")
        settings.setdefault(stage, []).append(rest)
    for one in PAPER_STAGES:
        if one.name in TRAINED:
            resolve_config(one, None, settings.get(one.name, ()))
    return settings


def _is_fetched(folder: Path) -> bool:
    return read_origin(folder) is not None


def _code_version() -> str:
    """The version, and the settings of the stages: while toolgen is developed they change under one version."""
    settings = [resolve_config(stage, rows_stay=stay).model_dump() for stage in PAPER_STAGES for stay in (False, True)]
    return canonical_json([toolgen.__version__, settings, SETTINGS])
