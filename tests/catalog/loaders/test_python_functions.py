"""Plain Python functions: type hints and docstrings to tools, and a reason for each that cannot be one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from toolgen.catalog.loaders.python_functions import load_python_functions, tool_from_function
from toolgen.catalog.schema import check_schema, schema_errors
from toolgen.errors import CatalogError

MODULE = '''"""Tools."""
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Place:
    lat: float
    lon: float

def distance(start: Place, goal: Place, unit: str = "km") -> float:
    """Distance of two places.

    Args:
        start: From here.
    """
    return 0.0

def _private(): ...
async def later(): ...
def positional(x, /): ...
def unknown(x: "Nowhere", y: int): ...
'''


@pytest.fixture
def module_file(tmp_path: Path) -> Path:
    file = tmp_path / "geo.py"
    file.write_text(MODULE)
    return file


def test_type_hints_and_docstring_become_a_schema() -> None:
    def add(
        a: int,
        b: Annotated[float, Field(ge=0)] = 1.5,
        how: Literal["up", "down"] = "up",
        *,
        c: list[str] | None = None,
    ) -> int:
        """Adds.

        Args:
            a: The first.
        """
        return a

    tool = tool_from_function(add, provider="p")
    assert (tool.id, tool.description, tool.returns) == ("p&&add", "Adds.", {"type": "integer"})
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "description": "The first."},
            "b": {"type": "number", "minimum": 0, "default": 1.5},
            "how": {"type": "string", "enum": ["up", "down"], "default": "up"},
            "c": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
        },
        "required": ["a"],
        "additionalProperties": False,
    }


def test_a_file_gives_its_public_functions_with_their_endpoint(module_file: Path) -> None:
    loaded = load_python_functions(str(module_file))
    assert [tool.id for tool in loaded.tools] == ["geo&&distance", "geo&&later", "geo&&unknown"]
    tool = loaded.tools[0]
    assert tool.endpoint == {"kind": "python", "file": str(module_file), "function": "distance"}
    check_schema(tool.parameters)
    assert not schema_errors({"start": {"lat": 1, "lon": 2}, "goal": {"lat": 1.5, "lon": 2}}, tool.parameters)
    assert schema_errors({"start": {"lat": "x", "lon": 2}, "goal": {"lat": 1, "lon": 2}}, tool.parameters)


def test_what_cannot_be_a_tool_is_a_loss_with_its_reason(module_file: Path) -> None:
    report = load_python_functions(str(module_file)).report
    reasons = {loss.name: loss.reason for loss in report.losses}
    assert reasons.keys() == {"positional"}
    assert "positional-only" in reasons["positional"]


def test_one_unresolvable_hint_leaves_the_others_alone(module_file: Path) -> None:
    loaded = load_python_functions(str(module_file))
    assert loaded.tools[2].properties == {"x": {}, "y": {"type": "integer"}}
    assert any("Nowhere" in note for note in loaded.report.notes)


def test_all_names_the_public_functions(tmp_path: Path) -> None:
    file = tmp_path / "listed.py"
    file.write_text("__all__ = ['_f', 'CONSTANT', 'missing']\nCONSTANT = 1\ndef _f(): ...\ndef g(): ...\n")
    loaded = load_python_functions(str(file))
    assert [tool.name for tool in loaded.tools] == ["_f"]
    assert len(loaded.report.notes) == 2


def test_a_module_is_found_by_its_dotted_name() -> None:
    loaded = load_python_functions("textwrap")
    shorten = next(tool for tool in loaded.tools if tool.name == "shorten")
    assert shorten.endpoint == {"kind": "python", "module": "textwrap", "function": "shorten"}
    assert shorten.parameters["additionalProperties"] is True


def test_star_arguments_and_missing_hints_are_noted() -> None:
    def free(a, b=3, *rest, **more):  # type: ignore[no-untyped-def]
        pass

    notes: list[str] = []
    tool = tool_from_function(free, on_note=notes.append)
    assert tool.properties == {"a": {}, "b": {"type": "integer", "default": 3}}
    assert (tool.required, tool.parameters["additionalProperties"]) == (("a",), True)
    assert len(notes) == 4


def test_a_type_without_json_form_allows_any_value_and_is_noted() -> None:
    def draw(canvas: type(sys), size: int) -> type(sys):  # type: ignore[valid-type]
        return sys

    notes: list[str] = []
    tool = tool_from_function(draw, on_note=notes.append)
    assert tool.properties == {"canvas": {}, "size": {"type": "integer"}}
    assert tool.returns is None and len(notes) == 2


def test_parameters_whose_names_are_special_to_pydantic_are_kept() -> None:
    def odd(_hidden: int, model_config: str, schema: bool, type: Any) -> None:
        pass

    assert list(tool_from_function(odd).properties) == ["_hidden", "model_config", "schema", "type"]


@pytest.mark.parametrize("source", ["no_such_module_anywhere", "no/such/file.py"])
def test_a_missing_module_or_file_is_one_clear_error(source: str) -> None:
    with pytest.raises(CatalogError, match="no"):
        load_python_functions(source)
