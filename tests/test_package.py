"""What `import toolgen` gives, and what it must not load."""

from __future__ import annotations

import resource
import subprocess
import sys
from importlib import import_module
from pkgutil import iter_modules

import pytest

import toolgen

PUBLIC = {
    "Agent",
    "AgentRun",
    "BM25Retriever",
    "Budget",
    "Call",
    "Catalog",
    "Checkpoint",
    "Dataset",
    "DenseRetriever",
    "DryRunEnvironment",
    "Environment",
    "GenerativeRetriever",
    "HttpEnvironment",
    "McpEnvironment",
    "PythonEnvironment",
    "Query",
    "Ranking",
    "Retriever",
    "STAGES",
    "SearchResult",
    "Task",
    "Tool",
    "ToolResult",
    "ToolgenError",
    "Trajectory",
    "__version__",
    "add_tools",
    "evaluate_retrieval",
    "load_dataset",
    "record_trajectories",
    "remove_tools",
    "resolve_config",
    "run_stage",
    "save_dataset",
    "select_tools",
    "tool_from_function",
    "update_tools",
}

HEAVY = ("torch", "transformers", "sentence_transformers", "matplotlib")


def loaded_after(code: str) -> set[str]:
    """The heavy libraries that a fresh Python has loaded after running this code."""
    report = f"{code}\nimport sys\nprint('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_the_public_names_are_pinned() -> None:
    assert set(toolgen.__all__) == PUBLIC
    assert set(dir(toolgen)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_can_be_loaded(name: str) -> None:
    assert getattr(toolgen, name) is not None


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Toool'"):
        _ = toolgen.Toool  # type: ignore[attr-defined]


PACKAGES = sorted(f"toolgen.{found.name}" for found in iter_modules(toolgen.__path__) if found.ispkg)


@pytest.mark.parametrize("package", ["toolgen", *PACKAGES])
def test_every_name_of_a_package_is_there_and_listed(package: str) -> None:
    module = import_module(package)
    names = getattr(module, "__all__", ())
    assert set(names) <= set(dir(module))
    for name in names:
        assert getattr(module, name) is not None


@pytest.mark.parametrize(
    "code",
    [
        "import toolgen",
        f"import {', '.join(PACKAGES)}",
        "import toolgen.catalog.loaders, toolgen.retrieval.bm25, toolgen.evaluation.metrics",
        "import toolgen.checkpoint.layout, toolgen.virtualization.options, toolgen.training.config",
        "from toolgen import Tool, Catalog, Query, Call, Trajectory, Dataset, load_dataset, Ranking, Retriever",
        "import toolgen.cli.app; toolgen.cli.app.make_app()",
    ],
)
def test_what_needs_no_model_loads_no_torch(code: str) -> None:
    assert not loaded_after(code)


def test_the_package_itself_is_there_at_once() -> None:
    """Beside what Python itself loads: tens of milliseconds, of which most is reading files."""
    times = []
    for code in ("pass", "import toolgen"):
        runs = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            runs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        times.append(min(runs))
    assert times[1] - times[0] < 0.1


def test_help_is_there_in_a_moment() -> None:
    """Seconds of the processor and not of the clock: the machine may be busy."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "toolgen", "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "quickstart" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
