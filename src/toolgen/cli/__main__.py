"""`python -m toolgen.cli ...`: the `toolgen` command where only the interpreter is known."""

from toolgen.cli.start import main

main()
