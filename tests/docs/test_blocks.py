"""Every block of the documents is run, or says above itself why not: `<!-- not run: ... -->`.

The pages of GUIDE are one story: they are run in this order in one folder, each with what the pages before it made.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.docs.blocks import DOCS, DOCUMENTS, ROOT, Block, blocks, shell_commands
from tests.serving.conftest import served
from typer.testing import CliRunner

from toolgen.checkpoint import Checkpoint
from toolgen.cli.app import make_app
from toolgen.cli.settings import read_settings
from toolgen.serving.app import make_app as make_server
from toolgen.serving.assistant import Assistant
from toolgen.serving.request_tools import with_room
from toolgen.serving.service import Service
from toolgen.testing import tiny_base
from toolgen.training import STAGES

PAGES = ("training", "agents", "catalogs", "mcp", "measuring", "serving")
GUIDE = [
    DOCS / "start.md",
    DOCS / "guide.md",
    *(DOCS / "guides" / f"{page}.md" for page in PAGES),
    DOCS / "concepts" / "late-binding.md",
]
ADDRESS = "http://127.0.0.1:8000"
SERVER = DOCS / "guides" / "serving.md"
GENERATED = {"cli.md": "console", "tokens.md": "text"}
"""Documents whose blocks of this language another test writes."""


def is_run(document: Path, block: Block) -> bool:
    """Whether a test below runs a block."""
    if block.mark.startswith("not run: "):
        return False
    return document in GUIDE and (block.language in ("sh", "python") or bool(block.file))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_is_run_or_says_why_not(document: Path) -> None:
    if document.is_relative_to(DOCS / "results"):
        return  # they repeat measurements of hours; tests/docs/test_docs.py reads the experiments that they name
    for block in blocks(document):
        excused = block.mark.startswith("not run: ") or GENERATED.get(document.name) == block.language
        assert excused or is_run(document, block), (
            f"nothing runs the block that begins with {block.text.partition(chr(10))[0]!r}; write the line "
            "<!-- not run: REASON --> above it, or make it a block of sh or python on a page of the guide"
        )


def test_the_pages_of_the_guide_work_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tiny random base and one step a stage; what a tiny model answers is not the guide's claim."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    base = tiny_base(tmp_path / "base", max_position_embeddings=4096)
    monkeypatch.chdir(tmp_path)
    for page in GUIDE:
        for block in (block for block in blocks(page) if is_run(page, block)):
            if block.file:
                Path(block.file).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                run_python(page, block)
            else:
                run_commands(block, base)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert read_settings(Path("toolgen.toml")).sources == ["model-3"]


def run_commands(block: Block, base: Path) -> None:
    for arguments in shell_commands(block.text):
        result = CliRunner().invoke(make_app(), smaller(arguments, base))
        # A random model may use up its steps, which `run` reports with 1.
        allowed = (0, 1) if arguments[0] == "run" else (0,)
        assert result.exit_code in allowed, f"toolgen {shlex.join(arguments)}\n{result.output}"
        assert "error:" not in result.stderr


def run_python(page: Path, block: Block) -> None:
    if page != SERVER:
        exec(compile(block.text, str(page), "exec"), {"__name__": "guide"})
        return
    assert ADDRESS in block.text
    with server() as address:
        exec(compile(block.text.replace(ADDRESS, address), str(page), "exec"), {"__name__": "guide"})


@contextmanager
def server() -> Iterator[str]:
    """The address of the guide's last model, served as `toolgen serve model-3` does."""
    checkpoint = with_room(Checkpoint.load("model-3"))
    assistant = Assistant(checkpoint)
    service = Service("model-3", checkpoint.catalog, assistant.retriever(), assistant)
    with served(make_server(service), assistant.close) as address:
        yield address


def smaller(arguments: list[str], base: Path) -> list[str]:
    """The same command with a tiny base, few steps, nobody to ask and no encoder to fetch."""
    match arguments:
        case ["virtualize" | "plan", *_]:
            return [*arguments, "--base", str(base)]
        case ["index", *_]:
            return [*arguments, "--base", str(base), "--no-fit"]
        case ["train", stage, *_] if stage in STAGES and "--show-config" not in arguments:
            return [*arguments, "--set", "steps=1", "--set", "batch_size=2", "--set", "precision=fp32"]
        case [*before, "--teacher", "dense"]:
            return before
        case ["run", *_]:
            return [*arguments, "--max-steps", "2", "--yes"]
    return arguments
