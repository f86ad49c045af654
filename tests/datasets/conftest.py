"""A BFCL package of a few entries, in the layout of the published one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolgen.datasets.bfcl import CLASS_DOCUMENTS, IRRELEVANCE, MULTI_TURN, SINGLE_TURN


def _function(
    name: str, properties: dict[str, Any], required: list[str], description: str = "Does it."
) -> dict[str, Any]:
    parameters = {"type": "dict", "properties": properties, "required": required}
    return {"name": name, "description": description, "parameters": parameters}


def _entry(identifier: str, text: str, *functions: dict[str, Any], system: str = "") -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": text}]
    return {"id": identifier, "question": [messages], "function": list(functions)}


SQUARE = _function("math.square", {"x": {"type": "integer"}, "digits": {"type": "integer"}}, ["x"])
SQUARE_OF_FLOAT = _function("math.square", {"x": {"type": "float", "description": "Any."}}, ["x"], "Squares a number.")
PAINT = _function(
    "paint",
    {
        "area": {"type": "dict", "properties": {"width": {"type": "integer"}, "note": {"type": "string"}}},
        "colour": {"type": "string", "enum": ["Red", "Blue"]},
        "coats": {"type": "array", "items": {"type": "dict"}},
    },
    ["area"],
)
STRICT = _function("strict", {"n": {"type": "integer"}}, ["n"])

PREAMBLE = "This tool belongs to the Gorilla file system. It is simple, really. Tool description: "
CD = _function("cd", {"folder": {"type": "string"}}, ["folder"], PREAMBLE + "Change the folder.")
TAIL = _function(
    "tail", {"file_name": {"type": "string"}, "lines": {"type": "integer"}}, ["file_name"], PREAMBLE + "End."
)
WC = _function("wc", {"mode": {"type": "string", "description": 'What. [Enum]: ["l", "w"]'}}, [], PREAMBLE + "Count.")


@pytest.fixture
def bfcl_package(tmp_path: Path) -> Path:
    """The folder with `data/` of a tiny BFCL package."""
    root = tmp_path / "package" / "bfcl_eval"
    (tmp_path / "package" / "bfcl_eval-1.2.3.dist-info").mkdir(parents=True)
    entries: dict[str, list[Any]] = {name: [] for name in (*SINGLE_TURN, *IRRELEVANCE, *MULTI_TURN)}
    answers: dict[str, list[Any]] = {name: [] for name in (*SINGLE_TURN, *MULTI_TURN)}

    def add(category: str, entry: dict[str, Any], *truth: Any) -> None:
        entries[category].append(entry)
        if category in answers:
            answers[category].append({"id": entry["id"], "ground_truth": list(truth)})

    add("simple_python", _entry("simple_python_0", "Square 5!", SQUARE), {"math.square": {"x": [5], "digits": ["", 2]}})
    add("multiple", _entry("multiple_0", "square  5", SQUARE_OF_FLOAT, PAINT), {"math.square": {"x": [5.0, 5]}})
    paint = {
        "area": [{"width": [20], "note": ["", "x"]}],
        "colour": ["red"],
        "coats": ["", [{"n": [1]}]],
    }
    add("live_simple", _entry("live_simple_0", "Paint it", PAINT, system="Be kind."), {"paint": paint})
    add("live_multiple", _entry("live_multiple_0", "Be strict", STRICT), {"strict": {"n": ["many"]}})
    square = {"math.square": {"x": [1]}}
    add("parallel", _entry("parallel_0", "Square 1, twice", SQUARE), square, square)
    add("irrelevance", _entry("irrelevance_0", "Sing", PAINT))
    for category in MULTI_TURN:
        question = [[{"role": "user", "content": "Go"}], [], [{"role": "user", "content": "Look"}]]
        task = {"id": f"{category}_7", "question": question, "initial_config": {"GorillaFileSystem": {}}}
        task |= {"involved_classes": ["GorillaFileSystem"], "path": []}
        add(category, task, ["cd('temp')", "cd(folder='..')"], [], ["tail('a', lines=-3)"])

    _write(root / "data", "BFCL_v4_{}.json", entries)
    _write(root / "data" / "possible_answer", "BFCL_v4_{}.json", answers)
    documents: dict[str, list[Any]] = {name: [] for name in CLASS_DOCUMENTS.values()}
    response = {"type": "dict", "properties": {"result": {"type": "string"}}}
    documents["gorilla_file_system"] = [{**function, "response": response} for function in (CD, TAIL, WC)]
    _write(root / "data" / "multi_turn_func_doc", "{}.json", documents)
    return root


def _write(folder: Path, pattern: str, files: dict[str, list[Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in files.items():
        lines = [json.dumps(record) for record in records]
        (folder / pattern.format(name)).write_text("\n".join(lines), encoding="utf-8")
