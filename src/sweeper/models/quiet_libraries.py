"""Silencing the progress bars and advice of other libraries: a terminal has one display."""

from __future__ import annotations


def quiet_libraries() -> None:
    """Disable the progress bars of datasets and transformers. Errors and `logging` are unaffected."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
