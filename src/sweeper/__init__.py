"""sweeper: sweeps over fine-tuned small language models that end in verdicts with intervals.

Example:
    >>> import sweeper
    >>> sweep = sweeper.load_sweep("quickstart")
    >>> study = sweeper.run(sweep, backend="inline")  # doctest: +SKIP
    >>> study.verdict("sweet-spot").label  # doctest: +SKIP
    'inconclusive'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper import api, data, evaluation, models, statistics, toolworld
    from sweeper.api import (
        Study,
        StudyReport,
        StudyVerdict,
        SweepPlan,
        list_sweeps,
        load_sweep,
        open_study,
        plan,
        run,
    )
    from sweeper.errors import SweeperError

__version__ = "0.1.0"
"""Version of the package."""
__all__ = [
    "Study",
    "StudyReport",
    "StudyVerdict",
    "SweepPlan",
    "SweeperError",
    "__version__",
    "api",
    "data",
    "evaluation",
    "list_sweeps",
    "load_sweep",
    "models",
    "open_study",
    "plan",
    "run",
    "statistics",
    "toolworld",
]

_PACKAGES = ("api", "data", "evaluation", "models", "statistics", "toolworld")


def __getattr__(name: str) -> object:
    """Import a package or a name on first use: `import sweeper` itself loads nothing heavy."""
    if name in _PACKAGES:
        return importlib.import_module(f"sweeper.{name}")
    if name in __all__:
        return getattr(importlib.import_module("sweeper.errors" if name == "SweeperError" else "sweeper.api"), name)
    raise AttributeError(f"module `sweeper` has no `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
