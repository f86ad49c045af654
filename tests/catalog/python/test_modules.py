"""Modules are imported as Python would; what is a tool is found, what is none is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toolgen.catalog.loaders.python_functions import load_python_functions
from toolgen.catalog.python.calls import Answer
from toolgen.catalog.python.process import PythonProcess
from toolgen.errors import CatalogError


def write(folder: Path, **files: str) -> None:
    """Files by their names without `.py`."""
    for name, content in files.items():
        folder.mkdir(exist_ok=True, parents=True)
        (folder / f"{name}.py").write_text(content)


def test_a_file_imports_what_lies_beside_it_and_each_file_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, helper=f"VALUE = '{name}'\n", tools="import helper\ndef f(a: str = helper.VALUE): ...\n")
    before = list(sys.path)
    loaded = [load_python_functions(str(tmp_path / name / "tools.py")).tools[0] for name in ("one", "two")]
    assert [tool.properties["a"]["default"] for tool in loaded] == ["one", "two"]
    assert list(sys.path) == before and not {"helper", "tools"} & sys.modules.keys()


def test_a_file_in_a_package_is_imported_as_a_part_of_it(tmp_path: Path) -> None:
    write(tmp_path / "outer", __init__="", base="K = 1\n")
    write(tmp_path / "outer" / "inner", __init__="", tools="from ..base import K\ndef g(x: int = K): ...\n")
    (tool,) = load_python_functions(str(tmp_path / "outer" / "inner" / "tools.py")).tools
    assert (tool.id, tool.properties["x"]["default"]) == ("tools&&g", 1)


def test_a_file_may_be_called_like_a_module_of_the_library(tmp_path: Path) -> None:
    write(tmp_path, types="import dataclasses\ndef g(x: int): ...\n")
    assert [tool.id for tool in load_python_functions(str(tmp_path / "types.py")).tools] == ["types&&g"]


def test_what_lies_beside_a_file_may_be_called_like_what_toolgen_imports(tmp_path: Path) -> None:
    names = ("pydantic", "pydantic_core", "jsonschema", "referencing", "docstring_parser", "typing_extensions", "yaml")
    write(tmp_path, **dict.fromkeys(names, "raise RuntimeError\n"), tools="def g(x: 'list[int]' = [1]) -> int: ...\n")
    (tool,) = load_python_functions(str(tmp_path / "tools.py")).tools
    assert tool.properties["x"] == {"type": "array", "items": {"type": "integer"}, "default": [1]}


def test_a_module_is_looked_for_in_the_working_folder_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "mine", __init__="", tools="def g(x: int): ...\n")
    monkeypatch.chdir(tmp_path)
    (tool,) = load_python_functions("mine.tools").tools
    assert tool.endpoint == {"kind": "python", "module": "mine.tools", "function": "g"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("def f(:\n", "SyntaxError"),
        ("1/0\n", "ZeroDivisionError"),
        ("import sys; sys.exit(3)\n", r"exits on import \(3\)"),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("import os; os._exit(4)\n", "it ends the process .exit status 4"),
        ("class E(BaseException):\n    def __str__(self): 1/0\nraise E\n", "E: .its text cannot be read"),
        ("__all__ = 5\n", "cannot read"),
        ("import not_there\n", "No module named 'not_there'$"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path, content: str, reason: str) -> None:
    write(tmp_path, broken=content)
    with pytest.raises(CatalogError, match=reason) as raised:
        load_python_functions(str(tmp_path / "broken.py"))
    assert "\n" not in str(raised.value)


def test_what_a_module_prints_goes_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, loud="import os\nprint('loud')\nos.write(1, b'louder')\ndef f(): ...\n")
    assert len(load_python_functions(str(tmp_path / "loud.py")).tools) == 1
    captured = capfd.readouterr()
    assert captured.out == "" and "loud\nlouder" in captured.err


MEMBERS = '''
import functools, json, logging
from dataclasses import dataclass
from json import dumps
from typing import Annotated

class FunctionTool:
    """As frameworks keep a function: LangChain in `func`, FastMCP in `fn`, smolagents in `forward`."""
    def __init__(self, place, function, name="", description=""):
        self.name, self.description = name or function.__name__, description
        setattr(self, place, function)

def _add(a: int, b: Annotated[int, "Second"] = 2) -> int:
    """Adds.

    Args:
        a: First.
    """
    return a + b

langchain = FunctionTool("func", _add, "add_up", "Adds up.")
fastmcp = FunctionTool("fn", _add)
smolagents = FunctionTool("forward", _add, "forward_add")
partial = functools.partial(_add, b=5)
double = lambda a: 2 * a

class Adder:
    def __call__(self, a: int) -> int:
        """Adds one."""
        return a + 1

class Calculator:
    def sub(self, a: int, b: int) -> int: ...

class Framework(json.JSONEncoder):
    pass

@dataclass
class Record:
    a: int

call_me = Adder()
sub = Calculator().sub
no_object = Calculator.sub
unknown = Framework()
LIMIT = 5
log = logging.getLogger("x")
Numbers = list[int]

async def later(a: int) -> int: ...
async def stream(): yield 1
'''


def test_tool_objects_methods_partials_and_objects_that_can_be_called_are_tools(tmp_path: Path) -> None:
    write(tmp_path, members=MEMBERS)
    loaded = load_python_functions(str(tmp_path / "members.py"))
    tools = {(tool.endpoint or {})["function"]: tool for tool in loaded.tools}
    assert {function: tool.name for function, tool in tools.items()} == {
        "langchain": "add_up",
        "fastmcp": "_add",
        "smolagents": "forward_add",
        "partial": "partial",
        "double": "double",
        "call_me": "call_me",
        "sub": "sub",
        "later": "later",
    }
    assert tools["langchain"].description == "Adds up." and tools["fastmcp"].description == "Adds."
    assert tools["call_me"].description == "Adds one." and tools["partial"].description == "Adds."
    assert tools["partial"].properties["b"] == {"type": "integer", "description": "Second", "default": 5}
    assert tools["fastmcp"].properties["a"] == {"type": "integer", "description": "First."}
    assert [loss.name for loss in loaded.report.losses] == ["stream"]
    named = {note.partition(":")[0]: note for note in loaded.report.notes}
    assert "its methods need an object" in named["Calculator"]
    assert "a method without its object" in named["no_object"]
    assert "an object of type Framework, not a function" in named["unknown"]
    assert not {"LIMIT", "log", "Numbers", "Record", "dumps", "Annotated"} & named.keys()


FRAMEWORKS = """
import functools

def framework_tool(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        return function(*args, **kwargs)
    own = __import__("inspect").signature(function)
    me = type(own.parameters["a"])("self", type(own.parameters["a"]).POSITIONAL_OR_KEYWORD)
    wrapped.__signature__ = own.replace(parameters=[me, *own.parameters.values()])

    class SimpleTool:
        name, description, inputs = function.__name__, "Doubles.", {"a": {"type": "integer", "description": "What to double"}}
        forward = staticmethod(wrapped)

    return SimpleTool()

@framework_tool
def double(a: int) -> int:
    return 2 * a

class Named:
    name, description = "shout", "Shouts."
    args_schema = {"properties": {"text": {"title": "Text", "type": "string", "description": "What to shout"}}}

    def _run(self, text: str) -> str:
        return text.upper()

shout = Named()
"""


def test_tool_objects_that_wrap_or_name_their_function_otherwise_can_be_called(tmp_path: Path) -> None:
    """smolagents gives a wrapped function the signature of a method; classes of LangChain and CrewAI have `_run`."""
    write(tmp_path, frameworks=FRAMEWORKS)
    file = str(tmp_path / "frameworks.py")
    double, shout = (tool for tool in load_python_functions(file).tools if tool.name in ("double", "shout"))
    assert double.properties == {"a": {"type": "integer", "description": "What to double"}}
    assert shout.properties == {"text": {"type": "string", "description": "What to shout"}}
    process = PythonProcess(file)
    assert process.call("double", {"a": 4}, 30) == Answer("8")
    assert process.call("shout", {"text": "hey"}, 30) == Answer("HEY")
    process.close()


def test_a_module_with_nothing_of_its_own_names_what_it_imports(tmp_path: Path) -> None:
    write(tmp_path, again="from textwrap import dedent\nfrom pathlib import Path\n")
    report = load_python_functions(str(tmp_path / "again.py")).report
    assert report.notes == ("dedent: from textwrap; to make it a tool, name it in __all__",)
