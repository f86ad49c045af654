"""The ToolBench importer: each of its layouts in a tiny form, damaged ones, and the published samples."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from toolgen.datasets.folder import Dataset
from toolgen.datasets.messages import actions_of
from toolgen.datasets.toolbench import import_toolbench
from toolgen.datasets.toolbench_runs import function_name, normal_name, parameter_name
from toolgen.datasets.trajectory import Trajectory, TurnOutcome
from toolgen.datasets.validate import validate_dataset
from toolgen.errors import DatasetError


def api(tool: str, name: str, category: str = "Food", **more: Any) -> dict[str, Any]:
    required = [{"name": "id", "type": "STRING", "description": "which", "default": ""}]
    record = {"category_name": category, "tool_name": tool, "api_name": name, "api_description": f"{name} of {tool}"}
    return record | {"required_parameters": required, "optional_parameters": [], "method": "GET"} | more


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def queries_of(dataset: Dataset) -> dict[str, Any]:
    return {query.id: query for split in dataset.queries.values() for query in split}


def trajectories_of(dataset: Dataset) -> list[Trajectory]:
    return [one for split in dataset.trajectories.values() for one in split]


INSTRUCTIONS: list[dict[str, Any]] = [
    {
        "query": " Find soup! ",
        "query_id": 7,
        "api_list": [api("My Food", "Find"), api("My Food", "Find", "Sport"), api("Other", "List")],
        "relevant APIs": [["My Food", "Find"], ["Other", "List"], ["Other", "List"]],
    },
    {"query": "Who?", "query_id": 8, "api_list": [api("Other", "List")], "relevant APIs": [["Other", "Gone"]]},
    {"query": "Open", "query_id": 9},
    {"query_id": 10},
]
FUNCTIONS = [
    {
        "name": "find_for_my_food",
        "description": 'This is the subfunction for tool "my_food", you can use this tool.The description of this '
        'function is: "Find of My Food"',
        "parameters": {"type": "object", "properties": {"is_id": {"type": "string"}}, "required": ["is_id"]},
    },
    {
        "name": "cook_for_my_food",
        "description": 'This is the subfunction for tool "my_food", you can use this tool.The description of this '
        'function is: "Cooks "well"."',
        "parameters": {
            "type": "object",
            "properties": {"dish": {"type": "string", "example_value": "soup"}},
            "required": ["dish"],
            "optional": [],
        },
    },
    {"name": "Finish", "description": "Ends.", "parameters": {"type": "object", "properties": {}}},
]
FINAL = json.dumps({"return_type": "give_answer", "final_answer": "Soup it is."})


def message(name: str, arguments: str, thought: str | None = None) -> dict[str, Any]:
    return {"role": "assistant", "content": thought, "function_call": {"name": name, "arguments": arguments}}


SEARCH = {
    "win": True,
    "answer_generation": {
        "query": "Find soup!",
        "final_answer": FINAL,
        "function": FUNCTIONS,
        "train_messages": [
            [{"role": "system", "content": "an earlier list"}],
            [
                {"role": "system", "content": "You are AutoGPT"},
                {"role": "user", "content": "Find soup!\nBegin!"},
                message("find_for_my_food", '{"is_id": "s"}', "First I look."),
                {"role": "function", "name": "find_for_my_food", "content": '{"response": "found"}'},
                {"role": "user", "content": "This is not the first time you try this task, ..."},
                message("my_food", "{}"),
                {"role": "function", "name": "my_food", "content": "No such function name"},
                message("cook_for_my_food", "{broken"),
                {"role": "function", "name": "cook_for_my_food", "content": "arguments?"},
                {"role": "assistant", "content": "I think aloud."},
                message("Finish", FINAL),
            ],
        ],
    },
}


def evaluated(query: str, *messages: tuple[str, Any], final: str = FINAL) -> dict[str, Any]:
    nodes: list[Any] = []
    for role, content in reversed([("system", ""), ("user", query[:10]), *messages]):
        nodes = [{"role": role, "message": content, "next": nodes}]
    return {"query": query, "available_tools": FUNCTIONS, "answer": {"answer_details": nodes, "final_answer": final}}


def test_requests_with_their_apis(tmp_path: Path) -> None:
    dataset = import_toolbench(put(tmp_path / "G1_query.json", INSTRUCTIONS))
    assert dataset.catalog.ids == ("My Food&&Find", "My Food&&Find#2", "Other&&List")
    assert [tool.category for tool in dataset.catalog] == ["Food", "Sport", "Food"]
    (query,) = queries_of(dataset).values()
    assert (query.id, query.text, query.tools) == ("G1_query-7", "Find soup!", ("My Food&&Find", "Other&&List"))
    assert {(loss.name, loss.reason) for loss in dataset.reports[0].losses} == {
        ("request G1_query-8", "its relevant API \"['Other', 'Gone']\" is not in its api_list"),
        ("request G1_query-9", "it states no relevant APIs"),
        ("request G1_query-10", "expected an object with a 'query'"),
    }


def test_the_folders_of_tools_and_of_their_responses(tmp_path: Path) -> None:
    apis = [{"name": "Find", "description": "d", "required_parameters": [], "optional_parameters": []}, 3]
    put(tmp_path / "toolenv/tools/Food_Drink/my_food.json", {"tool_name": "My Food", "api_list": apis})
    responses = {"api_list": [{"name": "Find", "schema": {"n": "int"}}]}
    put(tmp_path / "toolenv/response_examples/Food_Drink/my_food.json", responses)
    dataset = import_toolbench(tmp_path)
    (tool,) = dataset.catalog
    assert (tool.id, tool.category) == ("My Food&&Find", "Food_Drink")
    assert tool.returns == {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert [loss.reason for loss in dataset.reports[0].losses] == ["expected an API, got int"]


def tool_line(name: str, *apis: Any, category: str = "Food") -> dict[str, Any]:
    return {"category": category, "tool_name": name, "api_list": list(apis)}


@pytest.mark.parametrize("name", ["tools.jsonl", "tools.jsonl.gz"])
def test_tools_one_a_line_say_what_tools_in_files_of_their_own_do(tmp_path: Path, name: str) -> None:
    apis = [{"name": "Find", "description": "d"}, {"name": "Cook", "description": "e"}]
    put(tmp_path / "files/toolenv/tools/Food/my_food.json", {"tool_name": "My Food", "api_list": apis})
    lines = json.dumps(tool_line("My Food", *apis)) + "\n"
    (tmp_path / name).write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())
    assert list(import_toolbench(tmp_path / name).catalog) == list(import_toolbench(tmp_path / "files").catalog)


def test_a_line_that_is_no_tool_costs_no_other(tmp_path: Path) -> None:
    good = json.dumps(tool_line("My Food", {"name": "Find"}, {"name": " "}))
    put(tmp_path / "tools.jsonl", "\n".join(['{"api_list": []}', "{broken", "3", good]))
    dataset = import_toolbench(tmp_path)
    assert dataset.catalog.ids == ("My Food&&Find",)
    assert [loss.name for loss in dataset.reports[0].losses] == [
        "tools.jsonl, line 1",
        "tools.jsonl, line 2",
        "tools.jsonl, line 3",
        "API",
    ]


def test_apis_of_one_name_are_all_kept_and_requests_mean_the_first(tmp_path: Path) -> None:
    twins = [{"name": "Find", "description": text} for text in ("by name", "by name", "by place")]
    put(tmp_path / "tools.jsonl", json.dumps(tool_line("My Food", *twins, {"name": "Find ", "description": "again"})))
    put(tmp_path / "instruction/G1_query.json", INSTRUCTIONS[:1])
    dataset = import_toolbench(tmp_path)
    own = [tool for tool in dataset.catalog if (tool.provider, tool.category) == ("My Food", "Food")]
    assert [tool.description for tool in own] == ["Find of My Food", "by name", "by place", "again"]
    assert len(dataset.catalog) == 6 and len({tool.id for tool in dataset.catalog}) == 6
    (query,) = queries_of(dataset).values()
    assert query.tools[0] == own[0].id == "My Food&&Find"


def test_retrieval_files_keep_their_splits(tmp_path: Path) -> None:
    quoted = '"' + json.dumps(api("B", "b")).replace('"', '""') + '"'
    put(tmp_path / "G1/corpus.tsv", f"docid\tdocument_content\n0\t{json.dumps(api('A', 'a'))}\n1\t{quoted}\n")
    put(tmp_path / "G1/train.query.txt", "".join(f"{n}\ttext {n}\n" for n in range(60)))
    put(tmp_path / "G1/qrels.train.tsv", "".join(f"{n}\t0\t{n % 2}\t1\n" for n in range(59)))
    put(tmp_path / "G1/test.query.txt", "90\ttest text\n91\tlost")
    put(tmp_path / "G1/qrels.test.tsv", "90\t0\t1\t1\n90\t0\t0\t0\n91\t0\t5\t1\n")
    dataset = import_toolbench(tmp_path)
    assert [query.tools for query in dataset.queries["test"]] == [("B&&b",)]
    assert len(dataset.queries["train"]) + len(dataset.queries["dev"]) == 59 and dataset.queries["dev"]
    assert {loss.reason for loss in dataset.reports[0].losses} == {
        "no document is judged relevant to it",
        "a relevant document is not in the corpus",
    }


def test_a_run_of_the_search_goes_with_its_request(tmp_path: Path) -> None:
    put(tmp_path / "instruction/G1_query.json", INSTRUCTIONS[:1])
    put(tmp_path / "answer/G1_answer/7_search.json", SEARCH)
    dataset = import_toolbench(tmp_path)
    (trajectory,) = trajectories_of(dataset)
    assert trajectory.query == "G1_query-7" and trajectory.id == "G1_answer-7_search"
    assert [list(actions_of(one)) for one in trajectory.messages if one["role"] == "assistant"] == [
        [("My Food&&Find", {"id": "s"})],
        [("finish", {"answer": "Soup it is."})],
    ]
    assert trajectory.messages[1]["content"] == "First I look."
    assert trajectory.messages[2]["content"] == '{"response": "found"}'
    assert trajectory.outcome.turns == (TurnOutcome(status="finished", answer="Soup it is."),)
    assert sum("left out" in note for note in dataset.reports[0].notes) == 2
    assert "my_food&&cook" in dataset.catalog  # only the run describes it
    assert dataset.catalog.get("my_food&&cook").description == 'Cooks "well".'
    assert dataset.catalog.get("my_food&&cook").properties["dish"]["examples"] == ["soup"]
    assert len([note for note in dataset.reports[0].notes if "left out" in note]) == 2
    assert not validate_dataset(dataset).errors


def test_runs_in_the_form_of_toolevals_files(tmp_path: Path) -> None:
    whole = str({"name": "find_for_my_food", "arguments": '{"is_id": "it\'s"}', "response": '{"ok": 1}'})
    runs = {
        "1": evaluated("Find soup!", ("assistant", "Look."), ("tool", whole), ("tool", "{'name': 'Finish', 'arg")),
        "2": evaluated("Cut", ("tool", whole[:-6])),
        "3": evaluated("Cut earlier", ("tool", whole[:50])),
        "4": evaluated("Nothing", final=""),
        "5": {"query": "x", "answer": {}},
        "6": evaluated("Gives up", ("tool", whole), final='{"return_type": "give_up_and_restart"}'),
    }
    dataset = import_toolbench(put(tmp_path / "G1.json", runs))
    found = {one.id: one for one in trajectories_of(dataset)}
    assert set(found) == {"G1-1", "G1-2", "G1-6"}
    assert [list(actions_of(one)) for one in found["G1-1"].messages if one["role"] == "assistant"] == [
        [("my_food&&find", {"is_id": "it's"})],
        [("finish", {"answer": "Soup it is."})],
    ]
    assert found["G1-1"].messages[1]["content"] == "Look."
    assert found["G1-2"].messages[2]["content"].startswith('{"ok')
    assert found["G1-6"].outcome.status == "gave_up"
    assert queries_of(dataset)["G1-1"].category == "trajectory"
    assert queries_of(dataset)["G1-1"].tools == ("my_food&&find",)
    assert {loss.name for loss in dataset.reports[0].losses} == {"run G1-3", "run G1-4", "run G1-5"}


def test_the_names_of_functions_are_spelled_as_toolbench_does() -> None:
    assert normal_name("Reqres - don't change!!") == "reqres_don_t_change"
    assert normal_name("123 Go") == "get_123_go" and normal_name("") == ""
    assert parameter_name("ID") == "is_id"
    assert function_name("My Tool", "Search/by name") == "search_by_name_for_my_tool"
    assert len(function_name("t" * 60, "a" * 60)) == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ('{"api_list": [', "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("3", "expected a list or an object, got int"),
        ('{"a": 1}', "in none of ToolBench's forms"),
        ('{"api_list": [{"schema": 3}]}', "in none of ToolBench's forms"),
        ("\udcff\x00", "cannot read|not JSON"),
    ],
)
def test_a_file_that_is_none_is_a_loss_and_the_others_are_read(tmp_path: Path, content: str, message: str) -> None:
    put(tmp_path / "a.json", INSTRUCTIONS[:1])
    (tmp_path / "b.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    dataset = import_toolbench(tmp_path)
    assert len(dataset.catalog) == 3
    (loss,) = dataset.reports[0].losses
    assert loss.name == "b.json" and re.search(message, loss.reason)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"query": "x", "api_list": 3}, "should be lists"),
        ({"query": "x", "api_list": INSTRUCTIONS[0]["api_list"], "relevant APIs": True}, "should be lists"),
        ({"query": ["x"]}, "expected an object with a 'query'"),
        (None, "expected an object with a 'query'"),
    ],
)
def test_a_malformed_request_costs_no_other(tmp_path: Path, record: Any, reason: str) -> None:
    put(tmp_path / "a.json", INSTRUCTIONS[:1])
    before = import_toolbench(tmp_path)
    put(tmp_path / "a.json", [*INSTRUCTIONS[:1], record])
    after = import_toolbench(tmp_path)
    assert (after.catalog.ids, after.queries) == (before.catalog.ids, before.queries)
    (loss,) = after.reports[0].losses
    assert loss.name == "request a-2" and reason in loss.reason


def test_a_folder_without_any_file_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no file of ToolBench"):
        import_toolbench(tmp_path)


def test_the_published_requests_of_stabletoolbench(shared_data: Path) -> None:
    dataset = import_toolbench(shared_data / "stabletoolbench" / "test_instruction")
    assert (len(dataset.catalog), len(queries_of(dataset)), dataset.reports[0].losses) == (1_684, 474, ())
    assert {split: len(found) for split, found in dataset.queries.items()} == {"train": 323, "dev": 46, "test": 105}
    assert not validate_dataset(dataset).errors


def test_the_published_catalog_holds_every_api_and_answers_every_request(shared_data: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_data / "stabletoolbench" / "test_instruction", tmp_path / "test_instruction")
    tools = shared_data / "toolbench-toolenv" / "tools.jsonl.gz"
    listed = [json.loads(line) for line in gzip.decompress(tools.read_bytes()).decode().split("\n") if line]
    shutil.copy(tools, tmp_path)
    dataset = import_toolbench(tmp_path)
    # 73 APIs of 55 tools that this copy of ToolBench lacks, or names otherwise, are described by the requests alone.
    assert len(dataset.catalog) == sum(len(tool["api_list"]) for tool in listed) + 73 == 47_097 + 73
    assert (len(queries_of(dataset)), dataset.reports[0].losses) == (474, ())


def test_the_published_runs(shared_data: Path) -> None:
    toolbench = import_toolbench(shared_data / "toolbench")
    # Of 15 runs of the search two ended without an answer, two requests name no API, and seven files are examples of responses.
    assert len(trajectories_of(toolbench)) == 13
    assert len(toolbench.reports[0].losses) == 11
    assert not validate_dataset(toolbench).errors
    stable = import_toolbench(shared_data / "stabletoolbench" / "trajectories")
    # 300 runs whose messages are cut to 100 characters in these files: about half lose the end of some call's arguments.
    lost = [loss for loss in stable.reports[0].losses if loss.name.startswith("run ")]
    assert len(trajectories_of(stable)) + len(lost) == 300
    assert len(trajectories_of(stable)) == 152
    assert not validate_dataset(stable).errors
