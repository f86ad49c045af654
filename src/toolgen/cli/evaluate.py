"""`toolgen evaluate`: how well tools are found, and tasks carried out, on a dataset's test requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from toolgen.cli.agent_policies import (
    AddedOption,
    AgentDeclineRateOption,
    AloneOption,
    PolicyChoice,
    PolicyOption,
    PromptLlmOption,
    PromptRetrieverOption,
    RetriesOption,
    SearchOption,
    ThoughtOption,
    TopOption,
)
from toolgen.cli.console import IS_FIRST_PROCESS, MAX_SEED, JsonOption, emit, message, progress
from toolgen.cli.evaluate_base import base
from toolgen.cli.evaluate_judge import judge
from toolgen.cli.outputs import file_output
from toolgen.cli.searching import (
    AddOption,
    BaseRetrieverOption,
    BeamOption,
    BonusOption,
    DeclineRateOption,
    EncoderOption,
    EndpointOption,
    LlmOption,
    ModelOption,
    RetrieverOption,
    SetsOption,
    given_llm,
    open_retriever,
    origin_of,
)
from toolgen.datasets import Dataset, load_dataset
from toolgen.datasets.splits import Split
from toolgen.errors import UsageError
from toolgen.evaluation import AgentResult, RetrievalResult, evaluate_retrieval
from toolgen.evaluation.agent import KINDS, AgentEvaluation, evaluate_agent
from toolgen.evaluation.declining import Declining
from toolgen.evaluation.retrieval import Candidates
from toolgen.evaluation.tables import shown
from toolgen.fetching import fetch_dataset
from toolgen.retrieval.parallel import check_one_process

DatasetArgument = Annotated[Path, typer.Argument(metavar="DATASET", help="The dataset folder with the requests.")]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="RESULT", help="Where to write the result with every record.")
]
SplitOption = Annotated[Split, typer.Option("--split", help="Whose requests.")]
CandidatesOption = Annotated[
    Candidates,
    typer.Option(
        "--candidates",
        help="What is ranked: the whole catalog (multi-domain), or only tools that requests of the split need (in-domain).",
    ),
]
KindsOption = Annotated[
    list[str] | None,
    typer.Option("--kind", help="single_turn, multi_turn or irrelevance; may be repeated. By default all."),
]
LimitsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="N|KIND=N",
        help="So many tasks of each kind, or of one kind, drawn by seed; may be repeated: --limit 50 --limit multi_turn=5.",
    ),
]
GivenToolsOption = Annotated[
    bool, typer.Option("--given-tools", help="Hand the model the right tools, to measure its arguments alone.")
]
ConcurrencyOption = Annotated[
    int,
    typer.Option(
        "--concurrency", min=1, metavar="N", help="Run N tasks concurrently; they share a local model's passes."
    ),
]
BfclOption = Annotated[
    Path | None,
    typer.Option("--bfcl", metavar="PATH", help="The BFCL package for multi-turn tasks; by default fetched."),
]

SHOWN_METRICS = {"ndcg@1": "NDCG@1", "ndcg@5": "NDCG@5", "recall@5": "recall@5", "comp@5": "COMP@5"}
SHOWN_GROUPS = ("all", "asked", "unasked")


def register(app: typer.Typer) -> None:
    """Adds `evaluate retrieval`, `evaluate agent`, `evaluate judge` and `evaluate base`."""
    group = typer.Typer(no_args_is_help=True)
    group.command(
        "retrieval", epilog="Example: toolgen evaluate retrieval CKPT DATASET --retriever generative -o generative.json"
    )(retrieval)
    group.command("agent", epilog="Example: toolgen evaluate agent CKPT DATASET --limit 50 -o agent.json")(agent)
    group.command(
        "judge", epilog="Example: toolgen evaluate judge agent.json --against truth.json --endpoint URL --model NAME"
    )(judge)
    group.command("base", epilog="Example: toolgen evaluate base CKPT -o base.json")(base)
    app.add_typer(
        group,
        name="evaluate",
        help="Measure retrieval or agent runs on a dataset, with intervals, or a base.",
    )


def retrieval(
    folder: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint, or a dataset (bm25 or dense).")],
    dataset: DatasetArgument,
    retriever: RetrieverOption = None,
    add: AddOption = None,
    unasked_bonus: BonusOption = 0.0,
    sets: SetsOption = False,
    encoder: EncoderOption = None,
    llm: LlmOption = None,
    endpoint: EndpointOption = None,
    model: ModelOption = None,
    base_retriever: BaseRetrieverOption = None,
    beam: BeamOption = None,
    decline_rate: DeclineRateOption = None,
    candidates: CandidatesOption = "catalog",
    split: SplitOption = "test",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first requests of the split.")] = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank the whole catalog for every test request and report NDCG, recall and COMP with 95% intervals.

    Groups: asked (a training request asks for every needed tool), unasked, number of tools, words of the request, category.
    Where the split has requests that no tool answers: how well they are told from the others.
    """
    file_output(output, folder, dataset)
    requests = load_dataset(dataset)
    with progress("indexing tools") as on_index:
        finder = open_retriever(
            folder,
            retriever,
            add=add,
            unasked_bonus=unasked_bonus,
            sets=sets,
            encoder=encoder,
            llm=given_llm(llm, endpoint, model),
            base_retriever=base_retriever,
            beam=beam,
            decline_rate=decline_rate,
            dataset=requests,
            on_progress=on_index,
        )
        finder.index(requests.catalog)
    with progress(f"searching with {finder.name}") as on_progress:
        result = evaluate_retrieval(
            finder,
            requests,
            split,
            candidates=candidates,
            limit=limit,
            config=origin_of(folder),
            indexed=True,
            on_progress=on_progress,
        )
    if output and IS_FIRST_PROCESS:
        result.save(output)
        message(f"wrote {output}")
    emit(_retrieval_json(result), as_json, lambda: _retrieval_table(result))


def agent(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint, or a dataset for other policies.")],
    dataset: DatasetArgument,
    policy: PolicyOption = "generative",
    retriever: PromptRetrieverOption = "bm25",
    add: AddedOption = None,
    alone: AloneOption = False,
    decline_rate: AgentDeclineRateOption = None,
    top: TopOption = 5,
    thought: ThoughtOption = "off",
    llm: PromptLlmOption = None,
    endpoint: EndpointOption = None,
    model: ModelOption = None,
    retries: RetriesOption = 0,
    search: SearchOption = "chain",
    split: SplitOption = "test",
    kinds: KindsOption = None,
    limits: LimitsOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=MAX_SEED, help="Seed of that draw.")] = 0,
    given_tools: GivenToolsOption = False,
    concurrency: ConcurrencyOption = 1,
    bfcl: BfclOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a model carry out test tasks and score each by its benchmark's rules, with 95% intervals.

    The paper's settings are its three policies: tools generated, tools of the ground truth in the prompt, retrieved ones there.
    """
    check_one_process("evaluate agent")
    file_output(output, checkpoint, dataset)
    chosen = PolicyChoice(
        name=policy,
        retriever=retriever,
        add=add or (),
        alone=alone,
        decline_rate=decline_rate,
        top=top,
        thought=thought,
        llm=llm,
        endpoint=endpoint,
        model=model,
    )
    config = AgentEvaluation(
        split=split,
        kinds=kinds or [kind for kind in KINDS if policy != "ground-truth" or kind != "irrelevance"],
        limit_per_kind=_limits(limits or (), KINDS),
        seed=seed,
        given_tools=given_tools,
        retries=retries,
        search=search,
    )
    tasks = load_dataset(dataset)
    packages = _packages(tasks, config, {"bfcl": bfcl} if bfcl else {})
    result = _carried_out(chosen, checkpoint, tasks, config, packages, concurrency)
    if output:
        result.save(output)
        message(f"wrote {output}")
    emit(result.figures(), as_json, lambda: _agent_table(result))


def _carried_out(
    chosen: PolicyChoice,
    checkpoint: Path,
    tasks: Dataset,
    config: AgentEvaluation,
    packages: Mapping[str, Path],
    concurrency: int,
) -> AgentResult:
    """The result, which says where the checkpoint came from and what a thought might take."""
    with progress("carrying out tasks") as on_progress:
        opened = chosen.open(checkpoint, tasks)
        title = chosen.title(opened, config.given_tools)
        result = evaluate_agent(
            opened, tasks, config, packages=packages, name=title, concurrency=concurrency, on_progress=on_progress
        )
    resolved = {**result.provenance.config, **origin_of(checkpoint), "thought": chosen.thought}
    return replace(result, provenance=replace(result.provenance, config=resolved))


def _limits(texts: Sequence[str], kinds: Sequence[str]) -> dict[str, int] | None:
    """`50` or `multi_turn=5` to the most tasks of each kind; a kind's own limit wins. None: no limit."""
    general: int | None = None
    own: dict[str, int] = {}
    for text in texts:
        kind, _, number = text.rpartition("=")
        if not number.isdecimal() or int(number) < 1 or (kind and kind not in kinds):
            raise UsageError(
                f"--limit {text}: expected a number above 0, or KIND=N with KIND one of {', '.join(kinds)}"
            )
        if kind:
            own[kind] = int(number)
        else:
            general = int(number)
    return {**(dict.fromkeys(kinds, general) if general else {}), **own} or None


def _packages(dataset: Dataset, config: AgentEvaluation, given: Mapping[str, Path]) -> dict[str, Path]:
    """The packages without which tasks of these kinds cannot be carried out; what is not given is fetched. UsageError for one
    that is given and no task needs."""
    tasks = dataset.all_tasks(config.split)
    needed = {task.package for task in tasks if task.package and task.kind in config.kinds}
    for name in given.keys() - needed:
        raise UsageError(
            f"--{name} is for tasks of {name}, and none of these is one; here it would change nothing, so leave it out"
        )
    return {name: given.get(name) or fetch_dataset(name, on_message=message) for name in sorted(needed)}


def _retrieval_json(result: RetrievalResult) -> dict[str, Any]:
    record = result.to_dict()
    del record["records"]
    return record


def _retrieval_table(result: RetrievalResult) -> Group:
    table = Table(title=f"{result.retriever}, split {result.split}", title_justify="left", box=None, pad_edge=False)
    for name in ("requests", "", *SHOWN_METRICS.values()):
        table.add_column(name, justify="left" if name == "requests" else "right")
    for group in SHOWN_GROUPS:
        if metrics := result.metrics.get(group):
            count = next(iter(metrics.values())).count
            table.add_row(group, str(count), *(shown(metrics[name]) for name in SHOWN_METRICS if name in metrics))
    lines = [_declining_line(result.declining)] if result.declining else []
    if result.sound_declining:
        lines.append(f"without those whose label is known to be wrong, {_declining_line(result.sound_declining)}")
    return Group(table, *lines)


def _declining_line(found: Declining) -> str:
    declined = ", ".join(f"{share:.1%}" for share in found.declined)
    return (
        f"declining, by {found.sign}: area under the ROC curve {shown(found.auc)} over {found.answerable:,} answerable and "
        f"{found.unanswerable:,} unanswerable requests, of which {declined} are declined"
    )


def _agent_table(result: AgentResult) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("tasks", "metric", "value"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for kind, groups in result.metrics.items():
        for group in ("all", "sound"):
            title = kind.replace("_", " ") + " (sound labels)" * (group == "sound")
            for name, interval in groups.get(group, {}).items():
                table.add_row(Text(title), Text(name.replace("_", " ")), shown(interval))
    for part, values in (("validity", result.validity.to_dict()), ("effort", asdict(result.effort))):
        for name, value in values.items():
            table.add_row(Text(part), Text(name.replace("_", " ")), f"{value:,.4g}")
    return table
