"""The entry point of the `toolgen` command: it listens to signals before anything is imported."""

from __future__ import annotations

from toolgen.cli.signals import listen


def main() -> None:
    """Runs the command line."""
    listen()
    from toolgen.cli.app import main as run

    run()
