"""`toolgen fetch` prints the folder for programs and the next command for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from toolgen.cli import fetch
from toolgen.cli.app import CommandGroup
from toolgen.errors import FetchError


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    monkeypatch.setenv("TOOLGEN_CACHE", str(tmp_path / "cache"))
    return CliRunner()


@pytest.fixture
def app() -> typer.Typer:
    """An application with `fetch` alone."""
    app = typer.Typer(cls=CommandGroup)
    fetch.register(app)
    app.command("other")(lambda: None)
    return app


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder that has the outline of the BFCL package."""
    for name in ("data", "eval_checker"):
        (tmp_path / "bfcl_eval" / name).mkdir(parents=True)
        (tmp_path / "bfcl_eval" / name / "file").write_text("x")
    return tmp_path / "bfcl_eval"


def test_a_dataset_ends_with_its_folder_and_the_next_command(
    app: typer.Typer, runner: CliRunner, package: Path, tmp_path: Path
) -> None:
    result = runner.invoke(app, ["fetch", "dataset", "bfcl", "--from", str(package)])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'cache' / 'dataset' / 'bfcl'}\n"
    assert "toolgen catalog build bfcl: -o DATASET" in result.stderr
    assert (tmp_path / "cache" / "dataset" / "bfcl" / "bfcl_eval" / "data" / "file").is_file()


def test_the_answer_is_json_on_request(app: typer.Typer, runner: CliRunner, package: Path) -> None:
    result = runner.invoke(app, ["fetch", "dataset", "bfcl", "--from", str(package), "--json"])
    record = json.loads(result.stdout)
    assert (record["name"], record["route"], record["licence"]) == ("bfcl", "local", "unknown")


def test_an_unknown_name_is_wrong_usage(app: typer.Typer, runner: CliRunner) -> None:
    result = runner.invoke(app, ["fetch", "base", "smollm3"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: no base 'smollm3' to fetch; known: smollm2-135m-instruct")
    assert ", toolgen-135m" in result.stderr


def test_a_failed_download_is_one_line(app: typer.Typer, runner: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, **options: object) -> Path:
        raise FetchError("could not download it: no network")

    monkeypatch.setattr(fetch, "fetch_base", offline)
    result = runner.invoke(app, ["fetch", "base", "all-minilm-l6-v2"])
    assert (result.exit_code, result.stderr) == (1, "error: could not download it: no network\n")
