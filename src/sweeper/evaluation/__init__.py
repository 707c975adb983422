"""Evaluation of a model as a tool-using agent: tasks, agent loop, environments, judges, outcomes. Needs no Ray."""

from sweeper.evaluation.outcomes_table import read_outcomes
from sweeper.evaluation.suite_fingerprint import compute_suite_fingerprint
from sweeper.evaluation.summary import EvaluationSummary, extract_metrics, read_summary
from sweeper.evaluation.tasks import load_evaluation_suite
from sweeper.evaluation.trial_evaluation import evaluate_trial

__all__ = [
    "EvaluationSummary",
    "compute_suite_fingerprint",
    "evaluate_trial",
    "extract_metrics",
    "load_evaluation_suite",
    "read_outcomes",
    "read_summary",
]
