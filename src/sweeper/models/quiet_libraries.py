"""The libraries' own progress bars and advice, silenced: one display per terminal."""

from __future__ import annotations


def quiet_libraries() -> None:
    """Switch off the bars of datasets and transformers. Errors are still raised; warnings still reach `logging`."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
