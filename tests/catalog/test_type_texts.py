"""Types in text admit what the types themselves do; pydantic is the judge of Python's."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from pydantic import TypeAdapter

from toolgen.catalog.flat_schema import flat_schema
from toolgen.catalog.normalization import normalize_schema
from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.catalog.type_texts import parse_type

VALUES: list[Any] = [None, True, 1, 2.5, "a", "b", "1", [], [1], ["a"], [1, 2], [1, "a"], [1, 2, 3], [[1], [2]], [{"a": 1}],
                     [{"a": "x"}], {}, {"a": 1}, {"a": 2.5}, {"a": "x"}, {"c": 1}, {"a": [1]}, {"a": None}, [None]]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "int",
        "Dict[str, float]",
        "Tuple[int, int]",
        "tuple[int, ...]",
        "List[Dict[str, int]]",
        "typing.List[typing.Any]",
        "Optional[Union[int, str]]",
        "Optional[List[int]]",
        "List[Optional[int]]",
        "Union[List[int], Dict[str, List[int]], None]",
        "Literal['a', 'b']",
        "Literal['a', 1, None]",
        "Optional[Literal['a']]",
        "Dict[Literal['a', 'b'], int]",
        "int | str | None",
        "List['int']",
        "Annotated[int, 'how many']",
        "Any",
    ],
)
def test_a_type_of_python_admits_what_pydantic_admits(text: str) -> None:
    parsed = parse_type(text)
    judge = TypeAdapter(eval(text, {**vars(typing), "typing": typing})).json_schema()
    check_schema(parsed.schema)
    assert parsed.unknown == ()
    for value in VALUES:
        assert bool(schema_errors(value, parsed.schema)) == bool(schema_errors(value, judge)), (value, parsed.schema)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("ArrayList<String>", "List[str]"),
        ("Map<String, List<Integer>>", "Dict[str, List[int]]"),
        ("string[][]", "List[List[str]]"),
        ("Array.<number>", "List[float]"),
        ("Record<'a' | 'b', number>", "Dict[Literal['a', 'b'], float]"),
        ("'a' | 'b' | null", "Optional[Literal['a', 'b']]"),
        ("list of strings", "List[str]"),
        ("int or str", "Union[int, str]"),
        ("java.util.HashMap", "dict"),
    ],
)
def test_other_notations_mean_the_same_as_those_of_python(text: str, same: str) -> None:
    assert parse_type(text) == parse_type(same)
    assert parse_type(text).schema


@pytest.mark.parametrize(
    "text",
    ["Date", "np.ndarray", "Callable[[int], str]", "dict(str, int)", "{a: string}", "List[", "List[" * 9_999, "Literal[b'x']",
     "int|" * 2_400 + "int", "Required[()]", "list of " * 9_999, "a\0b", "int int", "Literal[x]"],
)  # fmt: skip
def test_what_is_no_type_allows_anything_and_is_said(text: str) -> None:
    parsed = parse_type(text)
    assert parsed.schema == {} and parsed.unknown


def test_types_of_parameters_keep_their_parts_and_what_is_unknown_inside_is_noted() -> None:
    notes: list[str] = []
    flat = {
        "scores": {"type": "Dict[str, float]", "description": "by name"},
        "box": {"type": "Optional[Tuple[int, int]]"},
        "tags": {"type": "List[str], optional"},
        "rows": {"type": "List[Frame]"},
    }
    schema = normalize_schema(flat_schema(flat), on_note=notes.append)
    assert schema["required"] == ["scores", "rows"]
    assert not schema_errors({"scores": {"a": 1.5}, "rows": [1], "box": [1, 2], "tags": ["x"]}, schema)
    for wrong in ({"scores": {"a": "x"}}, {"box": [1]}, {"tags": [1]}):
        assert schema_errors({"scores": {}, "rows": [], **wrong}, schema)
    assert notes == ["arguments.rows: unknown type 'Frame' in 'List[Frame]'; any value is allowed there"]


def test_what_stands_beside_the_type_says_more_than_the_type() -> None:
    given = {"type": "object", "properties": {"x": {"items": {"type": "string", "maxLength": 3}, "type": "List[str]"}}}
    assert normalize_schema(given)["properties"]["x"] == {"type": "array", "items": {"type": "string", "maxLength": 3}}
