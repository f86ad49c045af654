"""`python -m toolgen`: the command line, for launchers that start a module (`torchrun -m toolgen train ...`)."""

from toolgen.cli.start import main

if __name__ == "__main__":
    main()
