"""Try a model as a tool-using agent, and judge what it did. Knows no Ray."""

from sweeper.evaluate.read_outcomes import read_outcomes
from sweeper.evaluate.run import evaluate_trial, metrics_of, read_summary, suite_fingerprint
from sweeper.evaluate.tasks import suite

__all__ = ["evaluate_trial", "metrics_of", "read_outcomes", "read_summary", "suite", "suite_fingerprint"]
