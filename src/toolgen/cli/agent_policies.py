"""Which policy `toolgen evaluate agent` measures, as options. Knows no evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from toolgen.agent.acting import ADDED, DECLINE_RATE
from toolgen.agent.loop import Search
from toolgen.cli.console import progress
from toolgen.cli.searching import decline_rate_option, given_llm, has_weights, open_retriever
from toolgen.datasets import Dataset, Task
from toolgen.errors import UsageError
from toolgen.retrieval import LOGIT_SCALES, Retriever

if TYPE_CHECKING:
    from toolgen.agent import GenerativePolicy, PromptedPolicy
    from toolgen.agent.prompted import Listing

THOUGHT_TOKENS = 64
"""Of a thought, at most, unless something else is said."""

PolicyName = Literal["generative", "ground-truth", "retrieved"]
PolicyOption = Annotated[
    PolicyName,
    typer.Option(
        "--policy",
        help="Who acts: the checkpoint's model (generative), or a language model (--llm, or --endpoint and --model) with tools "
        "in its prompt, those of the ground truth or the first of --retriever.",
    ),
]
PromptRetrieverOption = Annotated[
    str,
    typer.Option(
        "--retriever", metavar="NAME", help="With --policy retrieved: bm25, dense, generative or another one."
    ),
]
AddedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--add",
        metavar="NAME",
        help="Add the logits of this retriever to the model's where it chooses a tool for a request: "
        f"{', '.join(name for name in LOGIT_SCALES if name != 'generative')}; may be repeated. By default {ADDED}, where each "
        "tool is one token, and for an index that nothing has trained what its searches add.",
    ),
]
AgentDeclineRateOption = Annotated[
    float | None,
    decline_rate_option(
        "Decline a first request where the choice of its tool is too unsure: at most this share of those that a tool "
        f"answers. By default {DECLINE_RATE} for an index that nothing has trained, else 0: the model alone declines."
    ),
]
AloneOption = Annotated[
    bool,
    typer.Option("--alone", help="The model alone: nothing is added, and no optional argument is left out as unsaid."),
]
TopOption = Annotated[
    int, typer.Option("--top", min=1, metavar="K", help="With --policy retrieved: how many tools are in the prompt.")
]
ThoughtOption = Annotated[
    str,
    typer.Option(
        "--thought",
        metavar="off|on|N",
        help=f"Let the model write a thought before each action: on (at most {THOUGHT_TOKENS} tokens), or at most N tokens.",
    ),
]
RetriesOption = Annotated[
    int, typer.Option("--retries", min=0, metavar="N", help="Ask again, drawing, where the model gives up.")
]
SearchOption = Annotated[
    Search,
    typer.Option(
        "--search",
        help="chain: each action follows the last one. dfs (depth first): an action that fails is undone and another tried.",
    ),
]
PromptLlmOption = Annotated[
    str | None,
    typer.Option("--llm", metavar="BASE", help="The language model: a base to fetch or a local model folder."),
]


def thought_tokens(text: str) -> int:
    """Tokens that a thought may take, by what `--thought` says; UsageError for anything else."""
    if text in ("off", "on"):
        return THOUGHT_TOKENS if text == "on" else 0
    if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0 and len(text) < 9):
        raise UsageError(f"--thought {text}: expected off, on, or a number of tokens above 0")
    return int(text)


@dataclass(frozen=True, kw_only=True)
class PolicyChoice:
    """What the options say."""

    name: PolicyName
    retriever: str
    add: Sequence[str]
    alone: bool
    decline_rate: float | None
    top: int
    thought: str
    llm: str | None
    endpoint: str | None
    model: str | None

    def title(self, policy: GenerativePolicy | PromptedPolicy, given_tools: bool) -> str:
        """What the result of the opened policy is called."""
        if self.name == "generative":
            added = getattr(policy, "added", None)
            return "agent, tools given" if given_tools else f"agent + {added.name}" if added else "agent"
        tools = "ground truth" if self.name == "ground-truth" else f"{self.retriever}, {self.top} tools"
        return f"{tools} in the prompt of {self.model or Path(str(self.llm)).name}"

    def open(self, folder: Path, dataset: Dataset) -> GenerativePolicy | PromptedPolicy:
        """The policy. UsageError where it lacks what it needs."""
        from toolgen.agent import PromptedPolicy, acting_policy, ground_truth
        from toolgen.checkpoint import Checkpoint
        from toolgen.decoding import DecodingOptions

        if self.name == "generative":
            if not has_weights(folder):
                raise UsageError(f"{folder} is a dataset; an agent needs a trained checkpoint folder")
            options = DecodingOptions(thought_tokens=thought_tokens(self.thought))
            model = Checkpoint.load(folder, catalog=dataset.catalog)
            return acting_policy(model, self.add, alone=self.alone, decline_rate=self.decline_rate, options=options)
        llm = given_llm(self.llm, self.endpoint, self.model)
        if llm is None:
            raise UsageError(
                f"--policy {self.name} needs a language model: --llm BASE, or --endpoint URL and --model NAME"
            )
        listing = ground_truth if self.name == "ground-truth" else self._retrieved(folder, dataset)
        if not has_weights(folder):
            return PromptedPolicy(llm, dataset.catalog, listing)
        return PromptedPolicy(llm, dataset.catalog, listing, count=_counter(folder))

    def _retrieved(self, folder: Path, dataset: Dataset) -> Listing:
        with progress("indexing tools") as on_progress:
            finder = open_retriever(folder, self.retriever, dataset=dataset, on_progress=on_progress)
            finder.index(dataset.catalog)
        return _first(finder, self.top)


def _first(finder: Retriever, top: int) -> Listing:
    one_at_a_time = Lock()

    def listing(_task: Task | None, request: str) -> Sequence[str]:
        with one_at_a_time:
            return finder.search([request], top)[0].tools

    return listing


def _counter(folder: Path) -> Callable[[str], int]:
    """Counts in the tokens of the checkpoint, so that all policies are told in the same ones."""
    from toolgen.fetching.opening import open_tokenizer

    tokenizer = open_tokenizer(folder)
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
