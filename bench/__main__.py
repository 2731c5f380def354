"""Runs the command line: ``python -m bench`` is ``bench``."""

from bench.cli.main import main

if __name__ == "__main__":
    main()
