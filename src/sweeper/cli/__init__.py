"""The command line. `main` is the entry point."""

__all__ = ["main"]


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while it still imports."""
    try:
        from sweeper.cli.app import run_command_line

        run_command_line()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
