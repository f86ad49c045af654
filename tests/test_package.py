"""What `import toolgen` gives, and what it must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import toolgen

PUBLIC = {
    "Call",
    "Catalog",
    "Checkpoint",
    "Dataset",
    "Query",
    "Ranking",
    "Retriever",
    "Task",
    "Tool",
    "ToolgenError",
    "Trajectory",
    "__version__",
    "load_dataset",
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
        _ = toolgen.Toool


@pytest.mark.parametrize(
    "code",
    [
        "import toolgen",
        "from toolgen import Tool, Catalog, Query, Call, Trajectory, Dataset, load_dataset, Ranking, Retriever",
        "import toolgen.fetching",
        "import toolgen.catalog, toolgen.catalog.loaders",
        "import toolgen.datasets",
        "import toolgen.retrieval, toolgen.retrieval.bm25",
        "import toolgen.evaluation.metrics",
        "import toolgen.cli.app; toolgen.cli.app.make_app()",
    ],
)
def test_what_needs_no_model_loads_no_torch(code: str) -> None:
    assert not loaded_after(code)
