"""Try a model as a tool-using agent, and judge what it did. Knows no Ray."""

from sweeper.evaluate.run import evaluate_trial, read_evaluation, suite_fingerprint
from sweeper.evaluate.tasks import suite

__all__ = ["evaluate_trial", "read_evaluation", "suite", "suite_fingerprint"]
