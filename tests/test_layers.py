"""The import order of the packages, read from the source: each imports only from those before it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import toolgen

SOURCE = Path(toolgen.__file__).parent

ORDER = (
    "errors",
    "_lazy",
    "files",
    "foreign",
    "fetching",
    "llm",
    "catalog",
    "datasets",
    "virtualization",
    "checkpoint",
    "inference",
    "training",
    "decoding",
    "retrieval",
    "agent",
    "evaluation",
    "reinforcement",
    "planning",
    "serving",
    "cli",
    "__main__",
)
# `Checkpoint.search` makes its retriever: the only import of a later package.
AGAINST_THE_ORDER = {
    ("checkpoint/checkpoint.py", "toolgen.retrieval.generative"),
    ("checkpoint/checkpoint.py", "toolgen.inference.late_tools"),
}
# What tests are made of may use everything that is tested; only the command line may not be among it.
FAKES = "testing"


def package_of(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and full name of every toolgen module that a source imports or names as `toolgen.x`, in functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == "toolgen")
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield node.lineno, f"toolgen.{package}"
        elif isinstance(node, ast.ImportFrom) and node.module == "toolgen":
            yield from ((node.lineno, f"toolgen.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("toolgen."):
            yield node.lineno, node.module
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "toolgen":
            yield node.lineno, f"toolgen.{node.attr}"


def violations(source: str, package: str) -> list[str]:
    """What a source of this package imports although it may not."""
    allowed = {*ORDER} - {"cli"} if package == FAKES else {*ORDER[: ORDER.index(package)]}
    allowed |= {package, "__version__", "__file__"}
    return [
        f"line {line}: '{package}' uses '{module}', but only what comes before it is allowed"
        for line, module in imported_modules(source, package)
        if module != "toolgen" and module.split(".")[1] not in allowed
    ]


SOURCES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem != "__init__")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_file_imports_only_from_earlier_packages(path: Path) -> None:
    package = package_of(path)
    assert package in (*ORDER, FAKES), f"{path}: '{package}' has no place in the order; add it to ORDER in this test"
    name = path.relative_to(SOURCE).as_posix()
    excused = tuple(f"'{module}'," for file, module in AGAINST_THE_ORDER if file == name)
    found = [
        line for line in violations(path.read_text(encoding="utf-8"), package) if not any(e in line for e in excused)
    ]
    assert not found, "\n".join([f"{path} breaks the order {' < '.join(ORDER)}:", *found])


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("catalog", "from toolgen.datasets import Query"),
        ("catalog", "def late():\n    import toolgen.training.loop"),
        ("retrieval", "from toolgen import evaluation"),
        ("agent", "from toolgen import Tool"),
        ("agent", "import toolgen\nprint(toolgen.Tool)"),
        ("evaluation", "from toolgen.testing import tiny_model"),
        ("testing", "from toolgen.cli.app import main"),
    ],
)
def test_an_import_against_the_order_is_noticed(package: str, source: str) -> None:
    assert violations(source, package)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("datasets", "from toolgen.catalog import Tool"),
        ("evaluation", "from toolgen import __version__"),
        ("evaluation", "import toolgen\nprint(toolgen.__version__)"),
        ("agent", "from toolgen.agent.loop import run"),
        ("testing", "from toolgen.agent.loop import run"),
        ("errors", "import toolgenerator"),
    ],
)
def test_an_import_with_the_order_is_allowed(package: str, source: str) -> None:
    assert not violations(source, package)


ONLY_CONSOLE = "cli/console.py"


def written_past(source: str) -> list[str]:
    """What of a source reaches the terminal by another way than the one function that makes texts harmless."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.rpartition(".")[2] in ("print", "echo", "secho", "Console") or name.startswith(
                ("sys.stdout.write", "sys.stderr.write", "warnings.warn")
            ):
                found.append(f"line {node.lineno}: {name}")
        elif isinstance(node, ast.ImportFrom) and node.module == "rich.markup":
            found.append(f"line {node.lineno}: rich.markup")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_one_file_writes_to_the_terminal(path: Path) -> None:
    if path.relative_to(SOURCE).as_posix() != ONLY_CONSOLE:
        assert not written_past(path.read_text(encoding="utf-8")), "print by a function of cli/console.py"


@pytest.mark.parametrize(
    "source",
    ["print(x)", "typer.echo(x)", "console.print(f'[b]{x}[/]')", "Console().rule()", "from rich.markup import escape"],
)
def test_another_way_to_the_terminal_is_noticed(source: str) -> None:
    assert written_past(source)


def test_every_package_says_what_goes_in_and_what_comes_out() -> None:
    for init in sorted(SOURCE.glob("*/__init__.py")):
        lines = (ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or "").splitlines()
        starts = [line[:4] for line in lines if not line.startswith(" ")][:2]
        assert starts == ["In: ", "Out:"], f"{init}: the docstring must open with the lines 'In: ...' and 'Out: ...'"


READERS = frozenset({"from_pretrained", "from_config", "SentenceTransformer"})


def test_foreign_model_folders_are_opened_in_one_place_and_never_run() -> None:
    """Where the libraries are left to themselves, a "y" on stdin runs a folder's code."""
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            settings = {word.arg: ast.unparse(word.value) for word in node.keywords}
            reads_weights = name == "from_pretrained" and "AutoModel" in ast.unparse(node.func)
            if name in READERS:
                found.append(file.name)
                assert settings.get("trust_remote_code") == "False", (
                    f"{file}, line {node.lineno}: says no trust_remote_code"
                )
            if reads_weights:
                assert settings.get("use_safetensors") == "True", f"{file}, line {node.lineno}: says no use_safetensors"
            assert "pickle" not in ast.unparse(node.func), f"{file}, line {node.lineno}: opens a pickle"
            assert ast.unparse(node.func) != "torch.load", f"{file}, line {node.lineno}: opens a pickle"
    assert {*found} == {"opening.py", "testing.py"}


def test_no_function_is_longer_than_sixty_lines() -> None:
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 60, f"{file}: {node.name} has {length} lines"
