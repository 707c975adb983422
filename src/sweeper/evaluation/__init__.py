"""Try a model as a tool-using agent, and judge what it did. Knows no Ray."""

from sweeper.evaluation.outcomes_table import read_outcomes
from sweeper.evaluation.tasks import load_evaluation_suite
from sweeper.evaluation.trial_evaluation import compute_suite_fingerprint, evaluate_trial, extract_metrics, read_summary

__all__ = [
    "compute_suite_fingerprint",
    "evaluate_trial",
    "extract_metrics",
    "load_evaluation_suite",
    "read_outcomes",
    "read_summary",
]
