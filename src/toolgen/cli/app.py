"""The command line as a whole: its commands in the order of the work, and the one place where errors end.

Knows what commands exist, not what they do: each of the modules below adds its own with `register(app)`.
"""

from __future__ import annotations

import os
import traceback
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from toolgen.cli import signals
from toolgen.cli.console import fail, message, show, show_traceback, write_in_any_locale
from toolgen.cli.option_rules import check_options
from toolgen.errors import Terminated, ToolgenError
from toolgen.foreign.shown import one_line

COMMAND_MODULES = (
    "toolgen.cli.quickstart",
    "toolgen.cli.fetch",
    "toolgen.cli.catalog",
    "toolgen.cli.index",
    "toolgen.cli.tools",
    "toolgen.cli.plan",
    "toolgen.cli.pretrain",
    "toolgen.cli.virtualize",
    "toolgen.cli.train",
    "toolgen.cli.sample",
    "toolgen.cli.calibrate",
    "toolgen.cli.search",
    "toolgen.cli.run",
    "toolgen.cli.serve",
    "toolgen.cli.mcp",
    "toolgen.cli.export",
    "toolgen.cli.evaluate",
    "toolgen.cli.experiment",
    "toolgen.cli.report",
)

INTERRUPTED, TERMINATED = 130, 143


class CommandGroup(TyperGroup):
    """Lists commands in the order of the work, and turns exceptions into one line and an exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """typer itself would list plain commands before groups."""
        order = [module.rpartition(".")[2] for module in COMMAND_MODULES]
        return sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order))

    def invoke(self, ctx: Any) -> Any:
        signals.raise_from_now_on()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            _stop(INTERRUPTED if not isinstance(interrupt, Terminated) else TERMINATED)
        except (ToolgenError, OSError) as error:
            if isinstance(error, BrokenPipeError):  # the reader of our output went away: `toolgen search ... | head`
                raise
            _show_traceback_if_asked(ctx)
            fail(str(error))
            raise typer.Exit(error.exit_code if isinstance(error, ToolgenError) else 1) from None
        except Exception as error:
            if (usage := _wrong_usage(error)) is not None:
                fail(usage)
                raise typer.Exit(2) from None
            if _is_control_flow(error):
                if isinstance(said := getattr(error, "message", None), str):
                    error.message = one_line(said)  # type: ignore[attr-defined]
                raise
            if number := signals.received():  # a library took it for a failure of its own
                _stop(128 + number)
            _show_traceback_if_asked(ctx)
            fail(f"unexpected {type(error).__name__}{_place(error)}: {error} (toolgen --debug ... shows the traceback)")
            raise typer.Exit(1) from None

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if (usage := _wrong_usage(error)) is None:
                raise
            fail(usage)
            raise typer.Exit(2) from None


class Command(TyperCommand):
    """Refuses options that would change nothing, then does its work."""

    def invoke(self, ctx: Any) -> Any:
        check_options(ctx)
        return super().invoke(ctx)


def _stop(code: int) -> NoReturn:
    signals.end_from_now_on()
    message(f"{'interrupted' if code == INTERRUPTED else 'ended'}; run the same command again to resume")
    raise typer.Exit(code) from None


def make_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="toolgen",
        cls=CommandGroup,
        help="Every tool is one token: teach a language model a catalog of tools, then let it find and call them.",
        epilog="Example: toolgen quickstart",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for module in COMMAND_MODULES:
        import_module(module).register(app)
    _make_all_check(app)
    return app


def _make_all_check(app: typer.Typer) -> None:
    for command in app.registered_commands:
        command.cls = Command
    for group in app.registered_groups:
        if group.typer_instance:
            _make_all_check(group.typer_instance)


def main() -> None:
    """The entry point of the `toolgen` command."""
    _quiet_libraries()
    write_in_any_locale()
    make_app()()


def _print_version(wanted: bool) -> None:
    if wanted:
        from toolgen import __version__

        show(f"toolgen {__version__}")
        raise typer.Exit


def _options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="TOOLGEN_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    ctx.obj = {"debug": debug}


def _show_traceback_if_asked(ctx: Any) -> None:
    if ctx.obj and ctx.obj["debug"]:
        show_traceback(traceback.format_exc())


def _wrong_usage(error: Exception) -> str | None:
    """What typer says about wrong usage, in one line; None for its other exceptions, such as a call for help."""
    context = getattr(error, "ctx", None)
    if getattr(error, "exit_code", None) != 2 or not _is_control_flow(error) or "Help" in type(error).__name__:
        return None
    words = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    return f"{words}; see {context.command_path} --help" if context else words


def _is_control_flow(error: Exception) -> bool:
    """Whether typer itself handles this exception: an exit, an abort, wrong usage."""
    return any(cls.__module__.startswith(("click", "typer")) for cls in type(error).__mro__)


def _place(error: Exception) -> str:
    """` in file.py, line 12`: the innermost frame of toolgen's own code."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}toolgen{os.sep}" in f.filename]
    return f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def _quiet_libraries() -> None:
    """Our progress lines replace those of the libraries; what the user has set himself is left alone."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
