"""The BFCL importer: on a tiny package in full detail, on the published one for its counts and validity."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from toolgen.catalog.overview import catalog_errors
from toolgen.catalog.schema import schema_errors
from toolgen.catalog.tool import Definition
from toolgen.datasets import Dataset, Query, Task, load_dataset, save_dataset
from toolgen.datasets.bfcl import MORE_FUNCTIONS, canonical_arguments, import_bfcl, parse_call
from toolgen.datasets.bfcl_equal import equal_tools
from toolgen.datasets.bfcl_irrelevance import relabelled
from toolgen.datasets.payloads import BfclAnswer, BfclCalls, BfclSystems
from toolgen.datasets.splits import is_kept_unasked, text_group
from toolgen.errors import DatasetError


@pytest.fixture
def tiny(bfcl_package: Path) -> Dataset:
    return import_bfcl(bfcl_package)


def _queries(dataset: Dataset) -> dict[str, Query]:
    return {query.id: query for split in dataset.queries.values() for query in split}


def _tasks(dataset: Dataset) -> dict[str, Task]:
    return {task.id: task for split in dataset.tasks.values() for task in split}


def test_a_function_name_becomes_one_tool_with_its_definitions_merged(tiny: Dataset) -> None:
    tool = tiny.catalog.get("math&&square")
    assert (tool.provider, tool.name, tool.description, tool.endpoint) == ("math", "square", "Squares a number.", None)
    assert tool.source == {"dataset": "bfcl", "name": "math.square", "definitions": 2}
    assert tool.parameters == {
        "type": "object",
        "properties": {"x": {"type": "number", "description": "Any."}, "digits": {"type": "integer"}},
        "required": ["x"],
        "additionalProperties": False,
    }
    assert tiny.catalog.get("bfcl&&paint").provider == "bfcl"


def test_a_method_becomes_a_simulated_tool_without_the_preamble_of_its_class(tiny: Dataset) -> None:
    tool = tiny.catalog.get("GorillaFileSystem&&cd")
    assert (tool.description, tool.category) == ("Change the folder.", "Gorilla file system")
    assert tool.endpoint == {
        "kind": "simulated",
        "environment": "bfcl",
        "class": "GorillaFileSystem",
        "method": "cd",
    }
    assert tool.returns == {"type": "object", "properties": {"result": {"type": "string"}}}


def test_an_enumeration_spelled_in_a_description_becomes_a_real_one(tiny: Dataset) -> None:
    mode = tiny.catalog.get("GorillaFileSystem&&wc").properties["mode"]
    assert mode == {"type": "string", "description": "What.", "enum": ["l", "w"]}


def test_the_canonical_call_takes_the_first_accepted_values_and_omits_what_may_be_omitted(tiny: Dataset) -> None:
    queries = _queries(tiny)
    assert [dict(c.arguments) for c in queries["simple_python_0"].calls or ()] == [{"x": 5}]
    assert [dict(c.arguments) for c in queries["live_simple_0"].calls or ()] == [
        {"area": {"width": 20}, "colour": "Red"}
    ]
    assert [call.tool for call in queries["parallel_0"].calls or ()] == ["math&&square"] * 2
    assert queries["parallel_0"].tools == ("math&&square",)


def test_a_request_is_a_query_and_a_task_that_keeps_what_the_benchmark_needs(tiny: Dataset) -> None:
    query, task = _queries(tiny)["multiple_0"], _tasks(tiny)["multiple_0"]
    assert (query.text, query.tools, query.calls) == (task.turns[0].text, task.tools, task.calls)
    assert task.kind == "single_turn" and task.category == query.category == "multiple"
    assert task.payload == BfclCalls(answers=(BfclAnswer(accepted={"x": [5.0, 5]}),))
    other = _tasks(tiny)["live_simple_0"]
    assert other.system == "Be kind." and isinstance(other.payload, BfclCalls)


def test_a_task_keeps_the_definition_of_its_own_entry_where_the_merged_tool_has_another(tiny: Dataset) -> None:
    tasks = _tasks(tiny)
    own: dict[str, Any] = {"type": "object", "required": ["x"]}
    own["properties"] = {"x": {"type": "number", "description": "Any."}}
    own["additionalProperties"] = False
    assert tasks["multiple_0"].definitions == (
        Definition(tool="math&&square", description="Squares a number.", parameters=own),
    )
    (twice,) = tasks["parallel_0"].definitions
    assert twice.description == "Does it." and twice.parameters["properties"]["x"] == {"type": "integer"}
    assert tasks["live_simple_0"].definitions == ()
    assert tiny.reports[0].counts["tasks_with_own_definitions"] == 3


def test_ground_truth_that_contradicts_its_function_is_marked_and_reported(tiny: Dataset) -> None:
    assert "'many' is not of type 'integer'" in _queries(tiny)["live_multiple_0"].faults[0]
    (report,) = tiny.reports
    assert report.counts["tasks_with_faults"] == 1
    assert any("live_multiple_0" in note for note in report.notes)


def test_an_irrelevance_request_has_no_tool(tiny: Dataset) -> None:
    query, task = _queries(tiny)["irrelevance_0"], _tasks(tiny)["irrelevance_0"]
    assert (query.tools, query.calls) == ((), ())
    assert task.kind == "irrelevance" and task.no_tool_fits


def test_a_multi_turn_task_keeps_its_turns_and_names_positional_arguments(tiny: Dataset) -> None:
    task = _tasks(tiny)["multi_turn_base_7"]
    assert task.id not in _queries(tiny)
    assert [turn.text for turn in task.turns] == ["Go", MORE_FUNCTIONS, "Look"]
    assert [len(turn.calls or ()) for turn in task.turns] == [2, 0, 1]
    assert task.state == {"GorillaFileSystem": {}}
    assert task.payload == BfclSystems(classes=("GorillaFileSystem",))
    calls = [(call.tool, dict(call.arguments)) for call in task.calls]
    assert calls == [
        ("GorillaFileSystem&&cd", {"folder": "temp"}),
        ("GorillaFileSystem&&cd", {"folder": ".."}),
        ("GorillaFileSystem&&tail", {"file_name": "a", "lines": -3}),
    ]


def test_requests_with_the_same_words_and_variants_of_one_task_share_a_split(tiny: Dataset) -> None:
    split_of = {task.id: split for split, tasks in tiny.tasks.items() for task in tasks}
    assert {query.id: split for split, found in tiny.queries.items() for query in found}.items() <= split_of.items()
    assert split_of["simple_python_0"] == split_of["multiple_0"]
    assert len({split for name, split in split_of.items() if name.startswith("multi_turn")}) == 1


def test_the_version_is_read_from_the_wheel_and_a_folder_above_is_found(bfcl_package: Path) -> None:
    assert import_bfcl(bfcl_package.parent).version == "1.2.3"


def test_another_folder_is_an_error_that_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="simple_python"):
        import_bfcl(tmp_path)


@pytest.mark.parametrize(
    ("accepted", "arguments"),
    [
        ({"n": ["", 3]}, {"n": 3}),
        ({"o": ["", "x"]}, {}),
        ({"o": ["x", ""]}, {}),
        ({"n": []}, {}),
        ({"n": ["3", 3]}, {"n": 3}),
        ({"n": ["three"]}, {"n": "three"}),
        ({"l": [["a"], ["b"]]}, {"l": ["a"]}),
        ({"d": [{"at": [{"x": 1.5}], "z": ["", 1]}]}, {"d": {"at": {"x": 1.5}}}),
    ],
)
def test_accepted_values_resolve_to_one_argument_object(accepted: dict[str, list[object]], arguments: object) -> None:
    schema = {"properties": {"n": {"type": "integer"}, "o": {}, "l": {}, "d": {}}, "required": ["n"]}
    assert canonical_arguments(accepted, schema) == arguments


@pytest.mark.parametrize(
    ("accepted", "text", "arguments"),
    [
        ({"n": [3], "o": ["", "brain"]}, "The brain scans of 3 patients", {"n": 3, "o": "brain"}),
        ({"o": ["brain", ""], "n": [3]}, "A scan", {"n": 3}),
        ({"n": [3], "l": [["status", "date"], ""]}, "The status and the date of 3", {"n": 3, "l": ["status", "date"]}),
        ({"n": [3], "l": [["status", "date"], ""]}, "The status of 3", {"n": 3}),
        ({"n": [3], "o": [3, ""]}, "Take 3", {"n": 3}),
        ({"n": [1], "o": [True, ""]}, "Is 1 true?", {"n": 1}),
        ({"n": ["EUR", "Euro"]}, "From Euro to Dollar", {"n": "EUR"}),
        ({"o": ["EUR", "Euro"]}, "From Euro to Dollar", {"o": "Euro"}),
        ({"d": [{"at": ["", "noon"], "z": ["", 1]}]}, "At noon", {"d": {"at": "noon"}}),
    ],
)
def test_what_the_request_says_is_given_though_it_might_be_left_out(
    accepted: dict[str, list[object]], text: str, arguments: object
) -> None:
    schema = {"properties": {"n": {"type": "integer"}, "o": {}, "l": {}, "d": {}}, "required": ["n"]}
    assert canonical_arguments(accepted, schema, text) == arguments


@pytest.mark.parametrize(
    "text", ["cd(", "cd", "x.cd('a')", "cd(open)", "rm('a')", "cd('a', 'b')", "cd(**{})", "cd(*['a'])"]
)
def test_ground_truth_text_that_is_no_plain_call_is_an_error(tiny: Dataset, text: str) -> None:
    with pytest.raises(DatasetError, match="cannot read the ground-truth call"):
        parse_call(text, {"cd": tiny.catalog.get("GorillaFileSystem&&cd")})


@pytest.fixture(scope="module")
def published(cached_bfcl: Path) -> Dataset:
    return import_bfcl(cached_bfcl)


@pytest.mark.weights
def test_the_published_package_has_the_published_counts(published: Dataset) -> None:
    kinds = Counter(task.kind for task in _tasks(published).values())
    assert kinds == {"single_turn": 2351, "irrelevance": 1124, "multi_turn": 800}
    endpoints = Counter(tool.endpoint is not None for tool in published.catalog)
    assert endpoints == {False: 1287, True: 128}
    assert published.reports[0].counts["definitions"] == 2405


@pytest.mark.weights
def test_requests_without_a_fitting_tool_are_decided_anew_over_the_whole_catalog(published: Dataset) -> None:
    labels = relabelled()
    unanswered = {split: [query for query in found if not query.tools] for split, found in published.queries.items()}
    assert labels.keys() == {query.id for found in unanswered.values() for query in found}
    answers = {query.text for found in published.queries.values() for query in found if query.tools}
    by_text: dict[str, set[str]] = {}
    for query in (query for found in unanswered.values() for query in found):
        label = labels[query.id]
        assert label.reason and (label.decision == "none") == (not query.faults) == (not label.tool)
        assert not label.tool or label.tool in published.catalog
        # BFCL itself calls a tool for the same text elsewhere.
        assert query.text not in answers or label.decision == "fits"
        by_text.setdefault(query.text, set()).add(label.decision)
    assert all(len(decisions) == 1 for decisions in by_text.values())
    counts = {split: sum(not query.faults for query in found) for split, found in unanswered.items()}
    assert counts == {"train": 346, "dev": 58, "test": 95}


@pytest.mark.weights
def test_every_schema_of_the_published_package_is_valid(published: Dataset) -> None:
    assert catalog_errors(published.catalog) == []


@pytest.mark.weights
def test_every_published_call_validates_or_is_listed_as_contradicting_itself(published: Dataset) -> None:
    invalid = set()
    for task in _tasks(published).values():
        catalog = published.catalog.redefined(task.definitions)
        for call in task.calls:
            if schema_errors(call.arguments, catalog.get(call.tool).parameters):
                invalid.add(task.id)
    listed = {task.id for task in _tasks(published).values() if task.faults and task.calls}
    assert invalid <= listed
    assert len(listed) == 23


@pytest.mark.weights
def test_no_training_request_asks_for_a_tool_kept_unasked_or_repeats_one_of_another_split(published: Dataset) -> None:
    train = published.queries["train"]
    assert not any(is_kept_unasked(tool) for query in train for tool in query.tools)
    words = {text_group(query.text) for query in train}
    others = [query for split in ("dev", "test") for query in published.queries[split]]
    assert not words & {text_group(query.text) for query in others}
    assert 0.07 < sum(is_kept_unasked(tool.id) for tool in published.catalog if not tool.endpoint) / 1287 < 0.13


@pytest.mark.weights
def test_the_published_dataset_survives_its_folder(published: Dataset, tmp_path: Path) -> None:
    save_dataset(published, tmp_path / "bfcl")
    assert load_dataset(tmp_path / "bfcl") == published


@pytest.mark.weights
def test_a_function_that_is_missing_is_held_back_until_the_turn_that_has_no_text_of_its_own(published: Dataset) -> None:
    held = [task for task in _tasks(published).values() if any(turn.held_back for turn in task.turns)]
    assert len(held) == 200 and {task.category for task in held} == {"multi_turn_miss_func"}
    needed = 0
    for task in held:
        free = next(place for place, turn in enumerate(task.turns) if turn.text == MORE_FUNCTIONS)
        assert {len(turn.held_back) for turn in task.turns[free:]} == {0}
        assert len({turn.held_back for turn in task.turns[:free]}) == 1 and task.turns[free - 1].calls == ()
        needed += bool({call.tool for call in task.turns[free].calls or ()} & {*task.turns[0].held_back})
    assert needed == 198, "the ground truth of two tasks does without the function"


@pytest.mark.weights
def test_equal_tools_have_all_that_the_others_of_their_group_require(published: Dataset) -> None:
    groups = {id(group): group for group in equal_tools().values()}.values()
    assert sum(len(group.tools) for group in groups) == len(equal_tools())
    for group in groups:
        assert len(group.tools) > 1 and group.reason
        for name, meanings in group.tools.items():
            tool = published.catalog.get(name)
            assert meanings.keys() <= tool.properties.keys() and len({*meanings.values()}) == len(meanings)
            required = {meanings[name] for name in tool.required}
            assert all(required <= {*others.values()} for others in group.tools.values())
