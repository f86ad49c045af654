"""Tool objects name their arguments, with limits: these are the tool's, and what the framework gives is none of them."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, StructuredTool, tool
from pydantic import BaseModel, Field

from toolgen.catalog.loaders.python_functions import tool_from_function
from toolgen.catalog.python.calls import Answer, Functions
from toolgen.catalog.python.modules import member_of
from toolgen.catalog.schema import schema_errors
from toolgen.errors import CatalogError


class Inner(BaseModel):
    key: str


class Limits(BaseModel):
    city: str = Field(description="Where", min_length=2)
    days: int = Field(3, ge=1, le=7)
    inner: Inner | None = None


SCHEMA = Limits.model_json_schema()
VALID: list[dict[str, Any]] = [{"city": "Oslo"}, {"city": "Oslo", "days": 7, "inner": {"key": "x"}}]
INVALID: list[dict[str, Any]] = [{}, {"city": "O"}, {"city": "Oslo", "days": 9}, {"city": "Oslo", "inner": {}}]


def _all(**given: Any) -> str:
    return repr(given)


def _hinted(city: str, days: int = 3, inner: Any = None) -> str:
    return repr({"city": city, "days": days, "inner": inner})


class Search(BaseTool):
    name: str = "search"
    description: str = "Searches."
    args_schema: type[BaseModel] = Limits

    def _run(
        self, city: str, days: int = 3, inner: Any = None, run_manager: CallbackManagerForToolRun | None = None
    ) -> str:
        return _hinted(city, days, inner)


class Held:
    """As FastMCP (`fn`) and Haystack (`function`) hold a function and its JSON Schema."""

    def __init__(self, function: Any, parameters: Any) -> None:
        self.name, self.fn, self.parameters = "held", function, parameters


class Listed:
    """As LlamaIndex describes a tool, in `metadata`."""

    def __init__(self, function: Any, model: type[BaseModel], **given: Any) -> None:
        self.fn, self.partial_params = function, given
        self.metadata = type("Metadata", (), {"name": "held", "description": "Held.", "fn_schema": model})


OBJECTS = {
    "langchain": StructuredTool.from_function(_hinted, name="held", description="Held.", args_schema=Limits),
    "langchain, open": StructuredTool.from_function(_all, name="held", description="Held.", args_schema=Limits),
    "langchain, JSON": StructuredTool.from_function(_all, name="held", description="Held.", args_schema=SCHEMA),
    "langchain, class": Search(),
    "fastmcp": Held(_hinted, SCHEMA),
    "haystack": Held(_all, SCHEMA),
    "llamaindex": Listed(_all, Limits),
}


def answer(held: Any, arguments: dict[str, Any]) -> Answer:
    return Functions({"f": member_of(held)}).call("f", arguments)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_limits_of_a_tool_object_are_the_tool_s(name: str) -> None:
    made = tool_from_function(OBJECTS[name], on_note=lambda line: None)
    assert list(made.properties) == ["city", "days", "inner"] and list(made.required) == ["city"]
    assert made.properties["city"]["description"] == "Where" and made.properties["days"]["default"] == 3
    assert "title" not in made.properties["city"]
    for arguments in VALID:
        assert not schema_errors(arguments, made.parameters)
        assert not answer(OBJECTS[name], arguments).failed
    for arguments in INVALID:
        assert schema_errors(arguments, made.parameters)
    assert schema_errors({"city": "Oslo", "other": 1}, made.parameters)


@pytest.mark.parametrize(
    "name", [name for name in OBJECTS if "JSON" not in name and name not in ("fastmcp", "haystack")]
)
def test_a_call_is_converted_and_filled_up_as_the_model_says(name: str) -> None:
    inner = "Inner(key='x')"
    assert answer(OBJECTS[name], VALID[1]).text == f"{{'city': 'Oslo', 'days': 7, 'inner': {inner}}}"
    assert answer(OBJECTS[name], VALID[0]).text == "{'city': 'Oslo', 'days': 3, 'inner': None}"
    assert "at least 2 characters" in answer(OBJECTS[name], INVALID[1]).text


def test_arguments_that_a_framework_gives_are_none_of_a_call() -> None:
    def find(city: str, user: Annotated[str, InjectedToolArg] = "me", config: RunnableConfig | None = None) -> str:
        """Finds."""
        return f"{city} for {user}"

    def must(city: str, user: Annotated[str, InjectedToolArg]) -> str:
        """Finds."""
        return city

    def context(city: str, config: RunnableConfig) -> str:
        return city

    notes: list[str] = []
    assert list(tool_from_function(tool(find), on_note=notes.append).properties) == ["city"]
    assert notes == ["user: given by its framework; left out", "config: given by its framework; left out"]
    assert answer(tool(find), {"city": "Oslo"}) == Answer("Oslo for me")
    for held, name in ((tool(must), "user"), (context, "config")):
        with pytest.raises(CatalogError, match=f"its framework gives the parameter '{name}', which no call can give"):
            tool_from_function(held)


def test_arguments_kept_beside_a_function_are_given_to_it() -> None:
    City = type("City", (BaseModel,), {"__annotations__": {"city": str}})
    held = Listed(_hinted, City, days=5)
    assert list(tool_from_function(held).properties) == ["city"]
    assert answer(held, {"city": "Oslo"}).text == "{'city': 'Oslo', 'days': 5, 'inner': None}"


def test_what_an_object_names_and_its_function_does_not_take_is_noted_and_a_list_of_others_is_none() -> None:
    notes: list[str] = []
    more = {"properties": {"city": {"type": "string"}, "zip": {"type": "string"}}}
    assert list(tool_from_function(Held(lambda city: city, more), on_note=notes.append).properties) == ["city"]
    assert notes == ["the tool object names zip, which its function does not take; left out"]
    assert list(tool_from_function(Held(lambda city: city, {"x": {"y": 1}})).properties) == ["city"]
