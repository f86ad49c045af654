"""`toolgen experiment`: runs what is missing, repeats what has changed, and goes on after a failure."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

FILE = """
output: {out}
steps:
  - catalog queries {data} -o {asked} --per-tool 1
datasets: {{tiny: {asked}}}
methods:
  BM25: {{retriever: bm25}}
  again: {{retriever: bm25, candidates: split}}
{more}
split: dev
against: BM25
"""


@pytest.fixture
def file(tmp_path: Path, dataset_folder: Path) -> Path:
    return write(tmp_path, dataset_folder)


def write(tmp_path: Path, data: Path, more: str = "") -> Path:
    path = tmp_path / "experiment.yaml"
    values = {"out": tmp_path / "out", "data": data, "asked": tmp_path / "asked", "more": more}
    path.write_text(FILE.format(**values), encoding="utf-8")
    return path


def test_it_runs_once_and_again_only_what_has_changed(file: Path, toolgen: Invoke, tmp_path: Path) -> None:
    listed = toolgen("experiment", file, "--list")
    assert listed.stdout.count("to do") == 3
    first = toolgen("experiment", file)
    assert first.exit_code == 0, first.stderr
    assert "| all" in first.stdout and "again" in first.stdout
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8").strip() == first.stdout.strip()
    assert toolgen("experiment", file, "--list").stdout.count("done") == 3
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("tiny.*.json")}
    (tmp_path / "out" / "tiny.again.json").unlink()
    second = toolgen("experiment", file, "--json")
    assert second.exit_code == 0 and set(json.loads(second.stdout)["metrics"]["tiny"]) == {"BM25", "again"}
    changed = [path.name for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert changed == ["tiny.again.json"]
    about = tmp_path / "asked" / "dataset.json"
    about.write_text(about.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert toolgen("experiment", file, "--list").stdout.count("to do") == 2


def test_a_method_that_fails_is_named_and_the_others_are_in_the_table(
    toolgen: Invoke, tmp_path: Path, dataset_folder: Path
) -> None:
    file = write(tmp_path, dataset_folder, "  broken: {retriever: toolretriever}")
    result = toolgen("experiment", file)
    assert result.exit_code == 1 and "1 of 3 evaluations failed: tiny/broken" in " ".join(result.stderr.split())
    assert "BM25" in (tmp_path / "out" / "table.md").read_text(encoding="utf-8")


def test_a_step_that_fails_ends_it(toolgen: Invoke, tmp_path: Path, dataset_folder: Path) -> None:
    file = write(tmp_path, dataset_folder / "gone")
    result = toolgen("experiment", file)
    assert result.exit_code != 0 and "failed (exit code" in result.stderr
    assert not (tmp_path / "out" / "table.md").exists()


def test_a_step_needs_an_output(toolgen: Invoke, tmp_path: Path, file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace(" -o ", " "), encoding="utf-8")
    result = toolgen("experiment", file)
    assert result.exit_code == 2 and "one -o OUTPUT" in " ".join(result.stderr.split())


def test_a_step_whose_command_has_changed_is_repeated_with_what_reads_it(
    file: Path, toolgen: Invoke, tmp_path: Path
) -> None:
    assert toolgen("experiment", file).exit_code == 0
    file.write_text(file.read_text(encoding="utf-8").replace("--per-tool 1", "--per-tool 2"), encoding="utf-8")
    rows = json.loads(toolgen("experiment", file, "--list", "--json").stdout)
    assert [row["done"] for row in rows] == [False] * 3


def test_what_somebody_else_has_made_is_taken_until_its_command_changes(
    file: Path, toolgen: Invoke, tmp_path: Path, dataset_folder: Path
) -> None:
    shutil.copytree(dataset_folder, tmp_path / "asked")
    assert [row["done"] for row in json.loads(toolgen("experiment", file, "--list", "--json").stdout)] == [
        True,
        False,
        False,
    ]
    before = (tmp_path / "asked" / "dataset.json").read_bytes()
    assert toolgen("experiment", file).exit_code == 0
    assert (tmp_path / "asked" / "dataset.json").read_bytes() == before
    file.write_text(file.read_text(encoding="utf-8").replace("--per-tool 1", "--per-tool 2"), encoding="utf-8")
    assert toolgen("experiment", file).exit_code == 0
    assert (tmp_path / "asked" / "dataset.json").read_bytes() != before


def test_two_steps_that_make_the_same_are_refused(toolgen: Invoke, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if "--per-tool" in line)
    file.write_text(text.replace(line, f"{line}\n{line}"), encoding="utf-8")
    result = toolgen("experiment", file)
    assert result.exit_code == 2 and "give each an output of its own" in " ".join(result.stderr.split())
