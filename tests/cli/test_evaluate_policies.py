"""`toolgen evaluate agent --policy ...`: the paper's settings with any model behind an endpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from toolgen.catalog import Catalog, Tool
from toolgen.cli.agent_policies import THOUGHT_TOKENS, thought_tokens
from toolgen.datasets import Call, Dataset, Query, save_dataset
from toolgen.errors import UsageError
from toolgen.testing import tiny_checkpoint

from ..llm.test_endpoint import server

pytest.importorskip("openai", reason="needs the extra 'llm'")

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    Tool(id="sky&&rain", provider="sky", name="rain", description="Will it rain in a city?", parameters=SCHEMA),
    Tool(id="sky&&snow", provider="sky", name="snow", description="How much snow lies in a city?", parameters=SCHEMA),
    Tool(id="bank&&pay", provider="bank", name="pay", description="Send money to a person.", parameters=SCHEMA),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    calls = (Call(tool="sky&&snow", arguments={"city": "Oslo"}),)
    queries = (
        Query(id="snow", text="Will it rain or does snow lie in Oslo?", tools=("sky&&snow",), calls=calls),
        Query(id="sing", text="Sing a song", tools=(), calls=()),
    )
    made = Dataset(name="d", version="1", source="", licence="", catalog=Catalog(TOOLS), queries={"test": queries})
    save_dataset(made, tmp_path / "data")
    return tmp_path / "data"


def answering(request: dict[str, Any]) -> dict[str, Any]:
    """Calls the last tool that it is shown, then says so; without a tool it declines."""
    system, *rest = request["messages"]
    shown = [json.loads(line) for line in system["content"].splitlines() if line.startswith('{"name"')]
    call = {"name": shown[-1]["name"], "arguments": {"city": "Oslo"}} if shown else {"name": "no_tool", "arguments": {}}
    done = rest[-1]["content"].startswith("Result:")
    message = {"role": "assistant", "content": "Done." if done else json.dumps(call)}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "1", "object": "chat.completion", "created": 0, "model": request["model"], "choices": [choice]}


def test_the_tools_in_the_prompt_are_those_of_the_ground_truth_or_the_first_of_a_retriever(
    toolgen: Callable[..., Result], dataset: Path, tmp_path: Path
) -> None:
    common = ["evaluate", "agent", dataset, dataset, "--model", "small", "--json"]
    with server(answering) as (url, seen):
        truth = toolgen(*common, "--endpoint", url, "--policy", "ground-truth", "-o", tmp_path / "truth.json")
        assert truth.exit_code == 0, truth.output
        assert "sky&&snow" in seen[0]["messages"][0]["content"] and "rain" not in seen[0]["messages"][0]["content"]
        found = toolgen(*common, "--endpoint", url, "--policy", "retrieved", "--top", 2)
    figures = json.loads(truth.stdout)
    assert figures["name"] == "ground truth in the prompt of small"
    assert figures["metrics"]["single_turn"]["all"]["exact_match"]["mean"] == 1 and len(figures["metrics"]) == 1
    assert (figures["validity"]["executed"], figures["validity"]["failed"]) == (1, 0)
    assert figures["effort"]["prompt_tokens"] > figures["effort"]["tokens"] > 0
    record = json.loads((tmp_path / "truth.json").read_text())["records"][0]
    assert record["trajectory"]["outcome"]["answer"] == "Done."
    retrieved = json.loads(found.stdout)
    assert retrieved["name"] == "bm25, 2 tools in the prompt of small"
    assert {*retrieved["metrics"]} == {"single_turn", "irrelevance"}


def test_an_experiment_shows_policies_side_by_side_and_their_difference_on_the_same_tasks(
    toolgen: Callable[..., Result], dataset: Path, tmp_path: Path
) -> None:
    with server(answering) as (url, seen):
        said = f"endpoint: '{url}', model: small"
        agents = {
            "truth": f"policy: ground-truth, {said}",
            "found": f"policy: retrieved, top: 1, retriever: bm25, {said}",
        }
        rows = "".join(f"  {name}: {{{keys}}}\n" for name, keys in agents.items())
        file = tmp_path / "e.yaml"
        file.write_text(
            f"output: {tmp_path / 'out'}\ndatasets: {{d: {dataset}}}\nagents:\n{rows}against: truth\nlimits: [5]\n"
        )
        result = toolgen("experiment", file)
        assert result.exit_code == 0, result.output
        asked = len(seen)
        assert toolgen("experiment", file).stdout == result.stdout and len(seen) == asked  # nothing is done twice
    table = result.stdout.splitlines()
    assert table[0] == "## d, split test" and "### single turn" in table and "### irrelevance" in table
    header, *lines = (line.strip("| ").split(" | ") for line in table[table.index("### single turn") :] if "|" in line)
    cells = [dict(zip(header, line, strict=False)) for line in lines]
    (own,) = (row for row in cells if row["tasks"] == "all (1)" and row["agent"] == "truth")
    (other,) = (row for row in cells if row["tasks"] == "all" and row["agent"] == "found")
    assert own["exact match"] == "100.0 (100.0–100.0)" and other["exact match"] == "**−100.0** (−100.0 to −100.0)"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bfcl", "."], "--bfcl is for tasks of bfcl, and none of these is one"),
        (["--policy", "retrieved"], "needs a language model: --llm BASE, or --endpoint URL and --model NAME"),
        ([], "is a dataset; an agent needs a trained checkpoint folder"),
    ],
)
def test_options_that_do_not_fit_together_are_one_line(
    toolgen: Callable[..., Result], dataset: Path, options: list[str], said: str
) -> None:
    result = toolgen("evaluate", "agent", dataset, dataset, *options)
    assert result.exit_code == 2 and said in " ".join(result.output.split())


@pytest.mark.parametrize(("said", "tokens"), [("off", 0), ("on", THOUGHT_TOKENS), ("1", 1), ("120", 120)])
def test_a_thought_may_take_the_tokens_that_it_is_given(said: str, tokens: int) -> None:
    assert thought_tokens(said) == tokens


@pytest.mark.parametrize("said", ["0", "-1", "yes", "1.5", "\u0663", "9" * 40, ""])
def test_any_other_thought_is_refused(said: str) -> None:
    with pytest.raises(UsageError, match="expected off, on, or a number of tokens above 0"):
        thought_tokens(said)


def test_what_thoughts_took_is_told(toolgen: Callable[..., Result], dataset: Path, tmp_path: Path) -> None:
    tiny_checkpoint(catalog=Catalog(TOOLS)).save(tmp_path / "agent")
    efforts = {}
    for said in ("off", "3"):
        result = toolgen("evaluate", "agent", tmp_path / "agent", dataset, "--limit", 1, "--thought", said, "--json")
        assert result.exit_code == 0, result.output
        efforts[said] = json.loads(result.stdout)["effort"]
    assert efforts["off"]["thought_tokens"] == 0 < efforts["3"]["thought_tokens"] <= 3 * efforts["3"]["steps"]
    assert efforts["3"]["thought_tokens"] < efforts["3"]["tokens"]
