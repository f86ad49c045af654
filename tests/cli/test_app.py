"""The command line as a whole: order, help, versions, and how errors end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner, Result

from toolgen import __version__
from toolgen.cli.app import CommandGroup, _options, make_app
from toolgen.errors import FetchError, Terminated, UsageError

ORDER = [
    "quickstart",
    "fetch",
    "catalog",
    "index",
    "tools",
    "plan",
    "pretrain",
    "virtualize",
    "train",
    "sample",
    "calibrate",
    "search",
    "run",
    "serve",
    "mcp",
    "export",
    "evaluate",
    "experiment",
    "report",
]


def outcome_of(command: Callable[[], None], *options: str) -> Result:
    """What an application with this one command does."""
    app = typer.Typer(cls=CommandGroup, pretty_exceptions_enable=False)
    app.callback()(_options)
    app.command("work")(command)
    return CliRunner().invoke(app, [*options, "work"])


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_the_commands_are_listed_in_the_order_of_the_work() -> None:
    group = typer.main.get_command(make_app())
    assert isinstance(group, CommandGroup)
    assert group.list_commands(None) == ORDER


COMMANDS = (
    "quickstart",
    "fetch base",
    "fetch dataset",
    "catalog build",
    "catalog show",
    "catalog search",
    "catalog diff",
    "catalog validate",
    "catalog duplicates",
    "catalog queries",
    "catalog rewrite",
    "catalog mix",
    "catalog conversations",
    "index",
    "tools list",
    "tools add",
    "tools update",
    "tools remove",
    "plan",
    "pretrain",
    "virtualize",
    "train memorization",
    "train retrieval",
    "train agent",
    "train writer",
    "train reinforce",
    "train preference",
    "train distill",
    "train encoder",
    "sample",
    "calibrate",
    "search",
    "run",
    "serve",
    "mcp",
    "export card",
    "export gguf",
    "evaluate retrieval",
    "evaluate agent",
    "evaluate judge",
    "evaluate base",
    "experiment",
    "report",
)


def test_the_commands_are_those_of_the_design() -> None:
    group = typer.main.get_command(make_app())
    assert isinstance(group, CommandGroup)
    found = []
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found += [f"{name} {child}" for child in inner] if inner else [name]
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(make_app(), [*command.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    assert f"toolgen {command}" in result.output, "no example of itself in the help"


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(make_app(), ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"toolgen {__version__}\n")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (FetchError("no network\nat all"), 1, "error: no network at all\n"),
        (UsageError("wrong [bold]name[/]"), 2, "error: wrong [bold]name[/]\n"),
        (PermissionError(13, "Permission denied", "out.json"), 1, "error: [Errno 13] Permission denied: 'out.json'\n"),
    ],
)
def test_an_expected_error_is_one_line_on_stderr_and_an_exit_code(error: Exception, code: int, line: str) -> None:
    result = outcome_of(raising(error))
    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")


def test_the_traceback_is_shown_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    error = FetchError("no network")
    assert "Traceback" not in outcome_of(raising(error)).stderr
    assert "Traceback" in outcome_of(raising(error), "--debug").stderr
    monkeypatch.setenv("TOOLGEN_DEBUG", "1")
    assert "Traceback" in outcome_of(raising(error)).stderr


def test_an_unexpected_error_is_named_as_such() -> None:
    result = outcome_of(raising(ZeroDivisionError("division by zero")))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: unexpected ZeroDivisionError")
    assert "--debug" in result.stderr


def test_an_interrupt_says_how_to_go_on() -> None:
    result = outcome_of(raising(KeyboardInterrupt()))
    assert result.exit_code == 130
    assert result.stderr == "interrupted; run the same command again to resume\n"


def test_sigterm_has_an_exit_code_of_its_own() -> None:
    result = outcome_of(raising(Terminated()))
    assert result.exit_code == 143
    assert result.stderr == "ended; run the same command again to resume\n"


@pytest.mark.parametrize("arguments", [["fetch", "base"], ["no-such-command"], ["fetch", "base", "x", "--no-such"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(make_app(), arguments).exit_code == 2


def test_the_installed_entry_point_answers() -> None:
    code = "from toolgen.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"toolgen {__version__}\n"), done.stderr
