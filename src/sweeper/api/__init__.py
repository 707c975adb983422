"""The Python API, which the command line itself calls.

Example:
    >>> from sweeper.api import load_sweep, plan, run
    >>> sweep = load_sweep("quickstart", overrides={"axes.seed": [0]})
    >>> len(plan(sweep, storage=None).trials)  # what would run, as a DataFrame
    6
    >>> study = run(sweep, storage="storage", backend="inline")  # doctest: +SKIP
    >>> study.verdict("sweet-spot").interval  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeper.api.answers import (
        AgentEndpoint,
        EvaluationOptions,
        JudgeSettings,
        LabelFile,
        LlmSpec,
        compare_answers,
        evaluate_model,
        judge_answers,
        load_evaluation,
        write_label_sheet,
    )
    from sweeper.api.clusters import (
        RunOptions,
        drain_node,
        start_local_cluster,
        stop_local_cluster,
        submit_run,
        submit_sweep,
    )
    from sweeper.api.plans import SweepPlan, plan, refuse_underpowered
    from sweeper.api.studies import Study, StudyReport, StudyVerdict, open_study, run
    from sweeper.api.sweeps import Sweep, build_schema, list_sweeps, load_sweep
    from sweeper.api.training_data import check_contamination, export_data, inspect_data, load_specs, prepare_data

_MODULES = {
    "answers": (
        "AgentEndpoint",
        "EvaluationOptions",
        "JudgeSettings",
        "LabelFile",
        "LlmSpec",
        "compare_answers",
        "evaluate_model",
        "judge_answers",
        "load_evaluation",
        "write_label_sheet",
    ),
    "clusters": ("RunOptions", "drain_node", "start_local_cluster", "stop_local_cluster", "submit_run", "submit_sweep"),
    "plans": ("SweepPlan", "plan", "refuse_underpowered"),
    "studies": ("Study", "StudyReport", "StudyVerdict", "open_study", "run"),
    "sweeps": ("Sweep", "build_schema", "list_sweeps", "load_sweep"),
    "training_data": ("check_contamination", "export_data", "inspect_data", "load_specs", "prepare_data"),
}

__all__ = [
    "AgentEndpoint",
    "EvaluationOptions",
    "JudgeSettings",
    "LabelFile",
    "LlmSpec",
    "RunOptions",
    "Study",
    "StudyReport",
    "StudyVerdict",
    "Sweep",
    "SweepPlan",
    "build_schema",
    "check_contamination",
    "compare_answers",
    "drain_node",
    "evaluate_model",
    "export_data",
    "inspect_data",
    "judge_answers",
    "list_sweeps",
    "load_evaluation",
    "load_specs",
    "load_sweep",
    "open_study",
    "plan",
    "prepare_data",
    "refuse_underpowered",
    "run",
    "start_local_cluster",
    "stop_local_cluster",
    "submit_run",
    "submit_sweep",
    "write_label_sheet",
]


def __getattr__(name: str) -> object:
    """Import a name on first use: the command line starts without pandas, torch and Ray."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"sweeper.api.{module}"), name)
    raise AttributeError(f"module `sweeper.api` has no `{name}`")
