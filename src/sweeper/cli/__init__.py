"""The command line. `main` is the entry point."""

from sweeper.cli.app import main

__all__ = ["main"]
